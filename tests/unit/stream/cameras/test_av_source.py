import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from stream.cameras import av_source as capture
from stream.cameras.address import Address, SourceSettings, parse_address
from stream.cameras.av_source import AvSource, History
from stream.cameras.conversion import Captured
from stream.cameras.source import open_source
from stream.errors import SourceEnded, SourceUnavailable
from tests.fake_time import FakeTime

COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def write_video(
    path: Path, *, n: int = 6, fps: int = 100, size: tuple[int, int] = (48, 64), bframes: int = 0
) -> Path:
    """Write a video whose frames are red, green, blue, red, and so on.

    A bare .h264 has no length, like a live stream.
    """
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=fps, options={"bf": str(bframes), "crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
        for number in range(n):
            image = np.full((*size, 3), COLORS[number % 3], np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def open_file(
    path: Path,
    *,
    loop: bool = False,
    live: bool = False,
    target_fps: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AvSource:
    address = parse_address(str(path))
    if live:
        address = Address(address.file, address.label, None, address.options, True, None)
    return AvSource(
        address,
        clock=clock,
        settings=SourceSettings(loop=loop, target_fps=target_fps),
        history=History(),
    )


def open_in_fake_time(path: Path) -> AvSource:
    """Open a file whose waits take no time."""
    source = open_file(path, clock=(fake_time := FakeTime()))
    source._closing = fake_time
    return source


def read_to_end(source: AvSource) -> list[Captured]:
    frames = []
    try:
        while True:
            frames.append(source.read())
    except SourceEnded:
        return frames


def colour_of(image: np.ndarray) -> int:
    return int(np.argmax(image[image.shape[0] // 2, image.shape[1] // 2]))


def test_pictures_are_rgb_frames_at_the_speed_of_the_file(tmp_path: Path) -> None:
    source = open_in_fake_time(write_video(tmp_path / "a.mp4", n=10, fps=50))
    frames = [source.read() for _ in range(10)]
    assert source.fps == 50
    assert source.size == (48, 64)
    assert [colour_of(frame.image) for frame in frames] == [i % 3 for i in range(10)]
    np.testing.assert_allclose(frames[0].image[24, 32], COLORS[0], atol=6)
    np.testing.assert_allclose(np.diff([frame.captured_at for frame in frames]), 1 / 50)
    source.close()


def test_a_file_ends(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.mp4", n=3))
    for _ in range(3):
        source.read()
    with pytest.raises(SourceEnded, match=r"a\.mp4 has been played to its end"):
        source.read()
    source.close()


def test_a_looped_file_goes_on_without_a_seam(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.mp4", n=3), loop=True)
    frames = [source.read() for _ in range(12)]
    assert [colour_of(frame.image) for frame in frames] == [0, 1, 2] * 4
    source.close()


def test_the_end_of_a_live_stream_is_a_fault(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.h264", n=3), live=True, loop=True)
    for _ in range(3):
        source.read()
    with pytest.raises(SourceUnavailable, match="ended the stream"):
        source.read()


def test_pictures_between_pictures_keep_their_order(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.h264", n=30, bframes=3), live=True)
    colours = [colour_of(source.read().image) for _ in range(24)]
    assert colours == [0, 1, 2] * 8


def test_the_size_may_change(tmp_path: Path) -> None:
    a = write_video(tmp_path / "a.h264", n=5, size=(48, 64))
    b = write_video(tmp_path / "b.h264", n=5, size=(96, 128))
    (tmp_path / "both.h264").write_bytes(a.read_bytes() + b.read_bytes())
    source = open_file(tmp_path / "both.h264", live=True)
    sizes = [source.read().image.shape[:2] for _ in range(10)]
    assert sizes == [(48, 64)] * 5 + [(96, 128)] * 5
    assert source.size == (96, 128)


def test_fewer_pictures_on_demand(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.mp4", n=50, fps=100), target_fps=20)
    frames = read_to_end(source)
    assert 8 <= len(frames) <= 12


def test_damage_is_counted_and_survived(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", n=40)
    data = bytearray(path.read_bytes())
    start = len(data) // 2
    data[start : start + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(data)
    source = open_file(path)
    assert 20 <= len(read_to_end(source)) <= 40


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("none.mp4", lambda path: None, "no such file"),
        ("empty.mp4", lambda path: path.touch(), "not a video"),
        ("noise.mp4", lambda path: path.write_bytes(bytes(range(256)) * 40), "not a video"),
        ("notes.txt", lambda path: path.write_text("hello\n" * 50), "not a video"),
        ("cut.mp4", lambda path: cut(path), "not a video"),
        ("folder", lambda path: path.mkdir(), "it is a directory"),
        ("sound.wav", lambda path: write_sound(path), "not a video"),
        ("pipe", os.mkfifo, "it is a pipe"),
    ],
)
def test_what_is_no_video_is_refused(
    tmp_path: Path, name: str, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(SourceUnavailable, match=rf"cannot open \S*{name}: .*{reason}"):
        open_file(tmp_path / name)


def cut(path: Path) -> None:
    write_video(path)
    path.write_bytes(path.read_bytes()[:400])


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))


def test_close_works_from_anywhere_any_number_of_times(tmp_path: Path) -> None:
    source = open_file(write_video(tmp_path / "a.mp4"), loop=True)
    source.read()
    source.close()
    source.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        source.read()


def test_an_unknown_host_is_told_from_other_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(
        SourceUnavailable, match=r"cannot open the camera at cam\.test: unknown host cam\.test"
    ):
        open_source("rtsp://u:secret@cam.test/x", clock=time.monotonic)


def test_a_name_server_that_does_not_answer_holds_nobody_for_longer_than_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: answered.wait(30))
    settings = SourceSettings(open_timeout_s=0.01)
    with pytest.raises(SourceUnavailable, match=r"no answer from DNS about cam.test in 0.01 s"):
        open_source("http://cam.test/x", clock=time.monotonic, settings=settings)
    answered.set()


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        # a, b, c, d of ISO/IEC 14496-12 section 8.3.2: upright, a quarter clockwise, half, three.
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
    ],
)
def test_a_phones_film_is_turned_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    path = tmp_path / "phone.mp4"
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=100)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)

    source = open_file(path)
    shown = source.read().image
    height, width = shown.shape[:2]
    assert (height, width) == ((48, 64) if matrix[0] else (64, 48)) == source.size
    quarters = shown[height // 4 :: height // 2, width // 4 :: width // 2, 0] > 128
    assert [*zip(*np.nonzero(quarters), strict=True)] == [corner]


def write_junk(path: Path, n: int) -> Path:
    """Write one frame and then packets that are none, each marked as a keyframe."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=100)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        image = np.zeros((48, 64, 3), np.uint8)
        (good,) = stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        for number in range(n):
            packet = good if number == 0 else av.Packet(b"junk" * 20)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 100), stream
            out.mux(packet)
    return path


class Clock:
    """A clock that advances by some seconds each time it is read."""

    def __init__(self, step_s: float) -> None:
        self.now = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def open_live(path: Path, clock: Callable[[], float], **settings: float) -> AvSource:
    address = parse_address(str(path))
    return AvSource(
        Address(address.file, "rtsp://cam/x", None, address.options, True, None),
        clock=clock,
        settings=SourceSettings(**settings),  # type: ignore[arg-type]
        history=History(),
    )


@pytest.mark.parametrize("live", [False, True])
def test_what_cannot_be_decoded_is_given_up(tmp_path: Path, live: bool) -> None:
    path = write_junk(tmp_path / "junk.avi", 1000)
    # Four seconds at 100 frames a second, by the film's own time or by the clock.
    source = open_live(path, Clock(0.005)) if live else open_file(path)
    source.read()
    with pytest.raises(SourceUnavailable, match=r"lost .*its video cannot be decoded"):
        source.read()
    assert 200 < source.damaged < 500


def test_a_stream_joined_long_before_its_next_keyframe_plays_from_there(tmp_path: Path) -> None:
    whole = tmp_path / "whole.h264"
    with av.open(str(whole), "w") as out:
        stream: Any = out.add_stream(
            "libx264", rate=25, options={"x264-params": "keyint=300:scenecut=0:bframes=0"}
        )
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        random = np.random.default_rng(0)
        for _ in range(320):
            image = random.integers(0, 255, (48, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    units = whole.read_bytes().split(b"\x00\x00\x01")
    # The parameter sets stand before each keyframe alone: 11 s without them, and then the keyframe.
    keyframes = [number for number, unit in enumerate(units) if unit and unit[0] & 31 == 7]
    assert len(keyframes) == 2
    (tmp_path / "joined.h264").write_bytes(b"\x00\x00\x01" + b"\x00\x00\x01".join(units[20:]))
    source = open_live(tmp_path / "joined.h264", Clock(0.01))
    assert source.read().image.shape == (48, 64, 3)
    assert len([source.read() for _ in range(15)]) == 15


def test_silence_is_noticed_by_the_clock(tmp_path: Path) -> None:
    # Every read advances it by the time that a camera may be silent.
    source = open_live(write_video(tmp_path / "a.h264"), Clock(7.0), read_timeout_s=7.0)
    with pytest.raises(
        SourceUnavailable, match="lost rtsp://cam/x: timed out, no data for over 7 s"
    ):
        source.read()


def write_tracks(path: Path, sizes: list[tuple[int, int]], *, default: int | None = None) -> Path:
    """Write a film with several videos, the first red, the next green, and so on."""
    with av.open(str(path), "w") as out:
        streams = []
        for number, size in enumerate(sizes):
            stream: Any = out.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *size, "yuv444p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for _ in range(3):
            for number, stream in enumerate(streams):
                image = np.full((*sizes[number], 3), COLORS[number], np.uint8)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            out.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("sizes", "default", "best"),
    [
        ([(120, 160), (360, 640)], None, 1),
        ([(360, 640), (120, 160)], 1, 0),
        ([(120, 160), (120, 160)], 1, 1),
        ([(120, 160), (120, 160)], None, 0),
    ],
)
def test_the_largest_video_is_taken(
    tmp_path: Path, sizes: list[tuple[int, int]], default: int | None, best: int
) -> None:
    source = open_file(write_tracks(tmp_path / "a.mkv", sizes, default=default))
    frame = source.read()
    assert frame.image.shape[:2] == sizes[best]
    assert colour_of(frame.image) == best
    source.close()


def test_the_cover_of_an_album_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        cover = out.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        image = np.zeros((48, 64, 3), np.uint8)
        out.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp")
        frame.sample_rate = 8000
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
        out.mux(cover.encode())
    with pytest.raises(SourceUnavailable, match="not a video"):
        open_file(path)


def test_frames_too_large_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MAX_PIXELS", 60 * 60)
    with pytest.raises(SourceUnavailable, match="its frames of 100x80 are larger than"):
        open_file(write_video(tmp_path / "a.mp4", size=(80, 100)))


def test_a_packet_too_large_ends_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MAX_PACKET", 20)
    source = open_live(write_video(tmp_path / "a.h264"), time.monotonic)
    with pytest.raises(SourceUnavailable, match="MiB at once") as caught:
        source.read()
    assert caught.value.retry_after_s > 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_between_frames_and_hevc_from_a_film(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        options = {"bf": "3", "crf": "10", "x265-params": "log-level=none"}
        stream: Any = out.add_stream(codec, rate=100, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(30):
            image = np.full((64, 64, 3), COLORS[number % 3], np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    source = open_file(path)
    assert [colour_of(source.read().image) for _ in range(24)] == [0, 1, 2] * 8
    source.close()


def test_times_that_jump_back_hold_nothing_up(tmp_path: Path) -> None:
    once = write_video(tmp_path / "a.ts", n=30, fps=100).read_bytes()
    (tmp_path / "thrice.ts").write_bytes(3 * once)
    frames = read_to_end(open_in_fake_time(tmp_path / "thrice.ts"))
    assert len(frames) >= 85
    steps = np.diff([frame.captured_at for frame in frames])
    np.testing.assert_allclose(steps, 1 / 100, atol=1e-4)


# A playlist that stands still


def stalled_playlist(folder: Path) -> Path:
    """Write a live HLS stream of six short segments that grows no more."""
    with av.open(
        str(folder / "live.m3u8"),
        "w",
        format="hls",
        options={"hls_time": "0.2", "hls_list_size": "6", "hls_flags": "omit_endlist"},
    ) as out:
        stream: Any = out.add_stream("libx264", rate=100, options={"g": "20", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(120):
            image = np.full((48, 64, 3), 2 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return folder / "live.m3u8"


def test_a_playlist_that_stands_still_is_not_played_again(tmp_path: Path) -> None:
    stalled_playlist(tmp_path)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    history = History()

    def play() -> tuple[int, str]:
        source = open_source(
            f"http://127.0.0.1:{server.server_port}/live.m3u8",
            clock=time.monotonic,
            settings=SourceSettings(read_timeout_s=1.0),
            history=history,
        )
        n_frames = 0
        try:
            while True:
                source.read()
                n_frames += 1
        except SourceUnavailable as error:
            return n_frames, str(error)

    try:
        n_frames, reason = play()
        assert n_frames >= 40
        assert "timed out" in reason or "ended the stream" in reason
        n_rest, again = 0, play()
        while again[0]:  # the first time may end early on a busy machine
            n_rest += again[0]
            again = play()
        assert n_frames + n_rest <= 120, "nothing is played twice"
        for n_frames, reason in (again, play()):
            assert n_frames == 0, "all of it was seen before"
            assert reason.endswith("the camera repeats old video, its playlist is not updated")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
