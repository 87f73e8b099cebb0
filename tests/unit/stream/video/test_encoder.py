from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.video.encoder import CLOCK_HZ, Codec, Encoder, VideoPacket, bitrate_for

DECODERS = {Codec.H264: "h264", Codec.VP8: "libvpx"}


def picture(number: int = 0, size: tuple[int, int] = (120, 160)) -> NDArray[np.uint8]:
    """A smooth moving image."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x + number, y + number, x + y], axis=2).astype(np.uint8) // 2 + 40


def decode(packets: list[VideoPacket], codec: Codec = Codec.H264) -> list[NDArray[np.uint8]]:
    decoder: Any = av.CodecContext.create(DECODERS[codec], "r")
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    return [frame.to_ndarray(format="rgb24") for frame in frames]


def nal_types(packet: VideoPacket) -> list[int]:
    return [unit[0] & 31 for unit in bytes(packet).split(b"\0\0\1")[1:]]


@pytest.mark.parametrize("codec", Codec)
def test_each_picture_becomes_one_packet_at_once(codec: Codec) -> None:
    encoder = Encoder(160, 120, 25, codec=codec)
    packets = []
    for number in range(10):
        made = encoder.encode(picture(number), number / 25, keyframe=False)
        assert len(made) == 1
        packets += made
    images = decode(packets, codec)
    assert len(images) == 10
    for number, image in enumerate(images):
        assert np.abs(image.astype(int) - picture(number)).mean() < 6


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("pattern", [[], [0], [3], [1, 2], [4, 9]])
def test_keyframes_come_at_the_start_and_when_asked(codec: Codec, pattern: list[int]) -> None:
    encoder = Encoder(160, 120, 25, codec=codec)
    keys = [
        number
        for number in range(12)
        if encoder.encode(picture(number), number / 25, keyframe=number in pattern)[0].is_keyframe
    ]
    assert keys == sorted({0, *pattern})


@pytest.mark.parametrize("codec", Codec)
def test_a_joiner_decodes_from_any_keyframe(codec: Codec) -> None:
    encoder = Encoder(160, 120, 25, codec=codec)
    packets = [
        encoder.encode(picture(number), number / 25, keyframe=number == 5)[0] for number in range(8)
    ]
    images = decode(packets[5:], codec)
    assert len(images) == 3
    assert np.abs(images[0].astype(int) - picture(5)).mean() < 6


def test_keyframes_come_every_two_seconds() -> None:
    encoder = Encoder(160, 120, 10)
    keys = [
        number
        for number in range(50)
        if encoder.encode(picture(number), number / 10, keyframe=False)[0].is_keyframe
    ]
    assert keys == [0, 20, 40]


def test_h264_is_what_every_browser_takes() -> None:
    encoder = Encoder(1280, 720, 25)
    packet = encoder.encode(picture(size=(720, 1280)), 0.0, keyframe=False)[0]
    units = bytes(packet).split(b"\0\0\1")[1:]
    profile, constraints, level = units[0][1:4]
    assert nal_types(packet)[:2] == [7, 8], "parameter sets stand in the stream"
    assert (profile, constraints & 0xC0, level) == (66, 0xC0, 31), "constrained baseline 3.1"
    later = encoder.encode(picture(1, (720, 1280)), 0.04, keyframe=True)[0]
    assert nal_types(later)[:2] == [7, 8]
    assert 5 in nal_types(later), "a keyframe is an IDR"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ([0.0], [0]),
        ([1.0, 1.04], [90000, 93600]),
        # The clock stands still or goes back; 90 ticks are a millisecond.
        ([1.0, 1.0, 1.0], [90000, 90090, 90180]),
        ([1.0, 0.5, 1.5], [90000, 90090, 135000]),
        # Long after the machine was started.
        ([30e6, 30e6 + 0.04], [2_700_000_000_000, 2_700_000_003_600]),
    ],
)
def test_times_are_the_capture_times_and_rise(at: list[float], expected: list[int]) -> None:
    encoder = Encoder(160, 120, 25)
    packets = [encoder.encode(picture(), each, keyframe=False)[0] for each in at]
    assert [packet.pts for packet in packets] == expected
    assert all(Fraction(packet.time_base) == Fraction(1, CLOCK_HZ) for packet in packets)


@pytest.mark.parametrize("size", [(2, 2), (121, 160), (120, 161), (121, 161), (3, 3)])
def test_odd_sizes_lose_a_line(size: tuple[int, int]) -> None:
    height, width = size
    encoder = Encoder(width, height, 25)
    image = picture(size=size)
    shown = decode(encoder.encode(image, 0.0, keyframe=False))[0]
    assert shown.shape == (height - height % 2, width - width % 2, 3)
    assert np.abs(shown.astype(int) - image[: shown.shape[0], : shown.shape[1]]).mean() < 8


def test_colours_survive() -> None:
    image = np.zeros((64, 192, 3), np.uint8)
    for index, colour in enumerate([(220, 30, 30), (30, 220, 30), (30, 30, 220)]):
        image[:, 64 * index : 64 * index + 64] = colour
    encoder = Encoder(192, 64, 25)
    decoder: Any = av.CodecContext.create("h264", "r")
    frame = decoder.decode(encoder.encode(image, 0.0, keyframe=False)[0])[0]
    # BT.601 in studio range must be said, for players guess BT.709 from 720p on.
    assert (frame.colorspace, frame.color_range) == (6, 1)
    np.testing.assert_allclose(
        frame.to_ndarray(format="rgb24")[32, 32::64], image[32, 32::64], atol=8
    )


def test_another_size_is_refused() -> None:
    encoder = Encoder(160, 120, 25)
    assert encoder.fits(picture().shape[:2])
    assert not encoder.fits((120, 162))
    with pytest.raises(ValueError, match=r"expected .* \(120, 160\) in BT601, got \(120, 162\)"):
        encoder.encode(picture(size=(120, 162)), 0.0, keyframe=False)


@pytest.mark.parametrize("size", [(0, 0), (1, 100), (100, 1)])
def test_nothing_is_too_small_to_say_so(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 2x2"):
        Encoder(*size, 25)


def test_noise_stays_within_the_bitrate_and_keyframes_do_not_burst() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    encoder = Encoder(640, 360, 25, 1_000_000)
    sizes = [
        encoder.encode(np.roll(base, 3 * number, axis=1), number / 25, keyframe=False)[0].size
        for number in range(100)
    ]
    assert sum(sizes[25:]) * 8 / 3 < 1_300_000
    assert max(sizes[25:]) * 8 < 0.6 * 1_000_000


def noise_bits(encoder: Encoder, n: int) -> list[int]:
    """Bits of frames that exceed any rate."""
    rng = np.random.default_rng(1)
    base = rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    return [
        8 * encoder.encode(np.roll(base, 3 * i, axis=1), i / 25, keyframe=False)[0].size
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("opened", "asked", "is_taken"),
    [
        (1_000_000, 1_050_000, True),
        (1_000_000, 800_000, True),
        (1_000_000, 1_200_000, False),
        (1_000_000, 700_000, False),
        (300_000, 1_000_000, False),
        (1_000_000, 300_000, False),
    ],
)
def test_a_rate_that_the_buffer_does_not_suit_takes_another_encoder(
    opened: int, asked: int, is_taken: bool
) -> None:
    assert Encoder(640, 360, 25, opened).set_bitrate(asked) is is_taken


def test_small_steps_do_not_add_up_beyond_the_buffer() -> None:
    encoder, rate, n_taken = Encoder(640, 360, 25, 1_000_000), 1_000_000, 0
    while encoder.set_bitrate(rate := round(rate * 0.88)):
        n_taken += 1
    assert n_taken == 2


def test_a_rate_that_is_taken_is_kept() -> None:
    encoder = Encoder(640, 360, 25, 1_000_000)
    noise_bits(encoder, 25)
    assert encoder.set_bitrate(800_000)
    encoder.last_pts = None
    lowered, fresh = noise_bits(encoder, 100), noise_bits(Encoder(640, 360, 25, 800_000), 100)
    assert sum(lowered[50:]) == pytest.approx(sum(fresh[50:]), rel=0.15)


@pytest.mark.parametrize(
    ("width", "height", "low", "high"),
    [(1280, 720, 3.0, 3.0), (1920, 1080, 4.9, 5.1), (640, 360, 1.2, 1.3), (3840, 2160, 11, 13)],
)
def test_the_bitrate_suits_the_size(width: int, height: int, low: float, high: float) -> None:
    assert low <= bitrate_for(width, height) / 1e6 <= high
