import asyncio
import time
from itertools import pairwise
from typing import Any, cast

import av
import numpy as np
import pytest

from stream.cameras.conversion import Converter
from stream.frames import Frame, FrameResult, Matrix, Track, TrackState
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor
from stream.video.channel import VideoChannel, VideoOut
from stream.video.encoder import Codec, VideoPacket
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def black(at: float, height: int = 96, width: int = 128) -> FrameResult:
    return FrameResult(Frame("c", 0, at, np.zeros((height, width, 3), np.uint8)), (), (), {})


def send(out: VideoOut, result: FrameResult) -> int:
    return out.send(out.render(result), result)


async def read(hub: PacketHub, feed: Feed) -> asyncio.Task[VideoPacket]:
    task = asyncio.create_task(hub.subscribe(feed).recv())
    await asyncio.sleep(0)
    return task


async def test_nothing_is_encoded_for_nobody() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    hub.subscribe()
    assert send(out, black(0.0)) == 0
    assert out._encoders == {}


async def test_frames_wait_for_the_encoder_only_while_somebody_watches() -> None:
    hub = PacketHub(lambda: 0.0)
    video = VideoChannel(
        "c",
        hub=hub,
        bitrate_kbps=0,
        figures=Figures(),
        supervisor=Supervisor(clock=time.monotonic),
        clock=time.monotonic,
    )
    video.show(black(0.0))
    assert video.latest is not None
    assert video.n_waiting == 0
    reading = await read(hub, Feed())
    video.show(black(0.04))
    assert video.n_waiting == 1
    reading.cancel()


async def test_one_encoder_serves_all_and_goes_with_the_last() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewers = [hub.subscribe() for _ in range(3)]
    first = [asyncio.create_task(viewer.recv()) for viewer in viewers]
    await asyncio.sleep(0)
    assert send(out, black(0.0)) > 0
    assert set(out._encoders) == {Feed()}
    packets = await asyncio.gather(*first)
    assert all(packet is packets[0] for packet in packets)
    for viewer in viewers:
        viewer.close()
    assert send(out, black(0.04)) == 0
    assert out._encoders == {}


async def test_each_codec_in_use_has_its_encoder() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    first = [await read(hub, Feed(codec)) for codec in Codec]
    send(out, black(0.0))
    packets = await asyncio.gather(*first)
    assert all(packet.is_keyframe for packet in packets)
    assert set(out._encoders) == {Feed(codec) for codec in Codec}


async def test_a_new_size_starts_with_a_keyframe() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewer = hub.subscribe()
    task = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    for at, size in ((0.0, (96, 128)), (0.04, (96, 128)), (0.08, (48, 64)), (0.12, (48, 64))):
        send(out, black(at, *size))
    packets = [await task, *[await viewer.recv() for _ in range(3)]]
    assert [packet.is_keyframe for packet in packets] == [True, False, True, False]
    assert [packet.pts for packet in packets] == [0, 3600, 7200, 10800]


async def test_the_small_rendition_has_half_the_size_and_raw_ones_bring_their_faces() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    feeds = [Feed(), Feed(small=True), Feed(raw=True), Feed(small=True, raw=True)]
    first = [await read(hub, feed) for feed in feeds]
    track = Track(
        "1", np.array([80, 80, 400, 300], np.float32), 0.9, 0, 0, TrackState.UNKNOWN, None
    )
    black_frame = black(0.0, 360, 640)
    result = FrameResult(black_frame.frame, (track,), (), {})
    pictures = out.render(result)
    out.send(pictures, result)
    packets = dict(zip(feeds, await asyncio.gather(*first), strict=True))
    for feed in feeds:
        picture = pictures[feed]
        assert isinstance(picture, np.ndarray)
        assert picture.shape == ((180, 320, 3) if feed.small else (360, 640, 3))
        assert picture.any() != feed.raw
        assert packets[feed].opaque is (result if feed.raw else None)
        assert packets[feed].is_keyframe
    # The box's left edge, at half of 80.
    small = pictures[Feed(small=True)]
    assert isinstance(small, np.ndarray)
    assert small[100, 36:45].any()
    assert not small[100, :36].any()


@pytest.mark.parametrize("codec", Codec)
async def test_lossy_links_get_fewer_bits(codec: Codec) -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25, bitrate=1_000_000)
    viewer = hub.subscribe(Feed(codec))
    waiting = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    rng, sizes = np.random.default_rng(0), list[int]()
    for number in range(120):
        viewer.share = 0.4 if number >= 60 else 1.0
        noise = rng.integers(100, 140, (90, 160, 3), np.uint8)
        image = np.repeat(np.repeat(noise, 4, 0), 4, 1)
        sizes.append(send(out, FrameResult(Frame("c", number, number / 25, image), (), (), {})))
        await waiting
        waiting = asyncio.create_task(viewer.recv())
        await asyncio.sleep(0)
    waiting.cancel()
    assert sum(sizes[90:]) < 0.7 * sum(sizes[30:60])


async def bits_of(
    shares: list[float], *, bitrate: int, codec: Codec, first: int = 0
) -> tuple[list[int], list[VideoPacket]]:
    """Bits of each frame, of noise that exceeds any rate, with a viewer's share at each."""
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25, bitrate=bitrate)
    viewer = hub.subscribe(Feed(codec))
    waiting = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    bits, packets = list[int](), list[VideoPacket]()
    for number, share in enumerate(shares, first):
        viewer.share = share
        # A still scene fills the encoder's buffer, which allows the largest frame after it.
        top = 101 if 110 <= number < 130 else 140
        noise = np.random.default_rng(number).integers(100, top, (90, 160, 3), np.uint8)
        frame = Frame("c", number, number / 25, np.repeat(np.repeat(noise, 4, 0), 4, 1))
        bits.append(8 * send(out, FrameResult(frame, (), (), {})))
        packets.append(await waiting)
        waiting = asyncio.create_task(viewer.recv())
        await asyncio.sleep(0)
    waiting.cancel()
    return bits, packets


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(("before", "after"), [(0.3, 1.0), (1.0, 0.3), (1.0, 0.7), (0.8, 1.0)])
async def test_a_changed_rate_sends_what_a_fresh_encoder_would(
    codec: Codec, before: float, after: float
) -> None:
    bits, packets = await bits_of([before] * 50 + [after] * 100, bitrate=1_000_000, codec=codec)
    fresh, _ = await bits_of([after] * 100, bitrate=1_000_000, codec=codec, first=50)
    assert sum(bits[75:]) == pytest.approx(sum(fresh[25:]), rel=0.2)
    assert max(bits[50:]) < 1.3 * max(fresh)
    # No gap: each frame arrives, decodable, and later than the previous one.
    times = [packet.pts for packet in packets]
    assert len(times) == 150
    assert all(a is not None and b is not None and a < b for a, b in pairwise(times))
    decoder: Any = av.CodecContext.create({Codec.H264: "h264", Codec.VP8: "libvpx"}[codec], "r")
    assert sum(len(decoder.decode(packet)) for packet in packets) == 150


async def test_another_encoder_goes_on_in_time_where_the_clock_stands_still() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    viewer = hub.subscribe()
    task = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    for size in ((96, 128), (96, 128), (48, 64), (48, 64)):
        send(out, black(1.0, *size))
    packets = [await task, *[await viewer.recv() for _ in range(3)]]
    assert [packet.pts for packet in packets] == [90000, 90090, 90180, 90270]


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 100), (100, 1), (2, 3), (15, 17), (1, 9000), (9000, 1), (20, 20000)]
)
async def test_a_picture_of_any_size_is_sent(
    codec: Codec, small: bool, size: tuple[int, int]
) -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25)
    task = await read(hub, Feed(codec, small=small))
    track = Track("1", np.array([0, 0, 1, 1], np.float32), 0.9, 0, 0, TrackState.UNKNOWN, None)
    frame = Frame("c", 0, 0.0, np.full((*size, 3), 120, np.uint8))
    assert send(out, FrameResult(frame, (track,), (), {})) > 0
    packet = await task
    decoder: Any = av.CodecContext.create({Codec.H264: "h264", Codec.VP8: "libvpx"}[codec], "r")
    (shown,) = decoder.decode(packet)
    assert 16 <= min(shown.width, shown.height) <= max(shown.width, shown.height) <= 8192


COLORS = ((220, 40, 30), (30, 200, 60), (40, 60, 210), (230, 210, 40))
"""RGB of the quarters of a known picture."""


def known_picture(
    height: int, width: int, *, matrix: Matrix, tag: int, pix_fmt: str = "yuv420p", full: bool
) -> av.VideoFrame:
    """A decoded frame of four colors with `tag` as its matrix, 2 for unspecified."""
    image = np.empty((height, width, 3), np.uint8)
    for number, color in enumerate(COLORS):
        rows = slice(height // 2) if number < 2 else slice(height // 2, None)
        columns = slice(width // 2) if number % 2 == 0 else slice(width // 2, None)
        image[rows, columns] = color
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format=pix_fmt,
        dst_colorspace={Matrix.BT601: "ITU601", Matrix.BT709: "ITU709"}[matrix],
        dst_color_range="JPEG" if full else "MPEG",
    )
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    return frame


async def shown(feed: Feed, result: FrameResult) -> av.VideoFrame:
    """Send a frame and decode what a viewer of the feed gets."""
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25, bitrate=20_000_000)
    task = await read(hub, feed)
    send(out, result)
    name = {Codec.H264: "h264", Codec.VP8: "libvpx"}[feed.codec]
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
    (frame,) = decoder.decode(await task)
    return frame


def captured(picture: av.VideoFrame, *tracks: Track) -> FrameResult:
    converted = Converter(None, "off").convert(picture, None, 0.0)
    return FrameResult(Frame("c", 0, 0.0, converted.pixels), tracks, (), {})


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    ("size", "matrix", "tag", "pix_fmt", "full"),
    [
        ((96, 128), Matrix.BT601, 2, "yuv420p", False),
        ((96, 128), Matrix.BT601, 5, "yuv420p", False),
        ((96, 128), Matrix.BT709, 1, "yuv420p", False),
        ((720, 1280), Matrix.BT709, 2, "yuv420p", False),
        ((720, 1280), Matrix.BT601, 6, "yuv420p", False),
        # Taken by way of RGB: full range, another form, odd sides.
        ((96, 128), Matrix.BT601, 5, "yuv420p", True),
        ((96, 128), Matrix.BT709, 1, "yuv422p", False),
        ((97, 129), Matrix.BT601, 5, "yuv420p", False),
    ],
)
async def test_raw_video_has_the_colors_of_its_source(
    codec: Codec,
    small: bool,
    size: tuple[int, int],
    matrix: Matrix,
    tag: int,
    pix_fmt: str,
    full: bool,
) -> None:
    picture = known_picture(*size, matrix=matrix, tag=tag, pix_fmt=pix_fmt, full=full)
    frame = await shown(Feed(codec, small=small, raw=True), captured(picture))
    # Players follow the color tags of a stream; VP8 is always BT.601.
    said = "ITU709" if codec is Codec.H264 and frame.colorspace == 1 else "ITU601"
    image = frame.to_ndarray(format="rgb24", src_colorspace=said)
    height, width = image.shape[:2]
    for number, color in enumerate(COLORS):
        y, x = height * (1 + 2 * (number // 2)) // 4, width * (1 + 2 * (number % 2)) // 4
        np.testing.assert_allclose(image[y, x], color, atol=8)


UNREAL = (40, 230, 220)
"""YUV that no RGB in range is: converted to RGB and back it is another."""


def unreal(matrix: Matrix) -> FrameResult:
    picture = av.VideoFrame(128, 96, "yuv420p")
    for plane, level in zip(picture.planes, UNREAL, strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    picture.colorspace, picture.color_range = matrix, 1
    return captured(picture)


def levels(frame: av.VideoFrame) -> list[int]:
    return [bytes(plane)[plane.line_size * 20 + 20] for plane in frame.planes]


@pytest.mark.parametrize(
    ("codec", "matrix", "is_kept"),
    [
        (Codec.H264, Matrix.BT601, True),
        (Codec.H264, Matrix.BT709, True),
        (Codec.VP8, Matrix.BT601, True),
        (Codec.VP8, Matrix.BT709, False),
    ],
)
async def test_video_is_not_converted_on_its_way(
    codec: Codec, matrix: Matrix, is_kept: bool
) -> None:
    result = unreal(matrix)
    for raw in (True, False):
        frame = await shown(Feed(codec, raw=raw), result)
        assert bool(np.abs(np.subtract(levels(frame), UNREAL)).max() <= 3) is is_kept
        assert not (is_kept and result.frame.pixels.has_image)
        if codec is Codec.H264:
            assert (frame.colorspace, frame.color_range) == (matrix, 1)


async def test_feeds_of_one_frame_share_its_planes_and_go_on_without_them() -> None:
    hub = PacketHub(lambda: 0.0)
    out = VideoOut(hub, fps=25, bitrate=5_000_000)
    feeds = [Feed(codec, raw=raw) for codec in Codec for raw in (True, False)]
    viewers = {feed: hub.subscribe(feed) for feed in feeds}
    first = {feed: asyncio.create_task(viewer.recv()) for feed, viewer in viewers.items()}
    await asyncio.sleep(0)
    with_planes, without = unreal(Matrix.BT709), black(0.08)
    for result in (with_planes, with_planes, without, without):
        send(out, result)
    for feed in feeds:
        packets = [await first[feed], *[await viewers[feed].recv() for _ in range(3)]]
        keys = [packet.is_keyframe for packet in packets]
        is_reopened = feed.codec is Codec.H264  # VP8 has no BT.709
        assert keys == [True, False, is_reopened, False]
        times = [packet.pts for packet in packets]
        assert times == sorted(set(times))  # type: ignore[type-var]
