"""A camera's life, its source scripted: it fails, comes back, ends, and is stopped."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av
import numpy as np
import pytest

from stream.cameras import camera as camera_module
from stream.cameras.camera import Camera, CameraState
from stream.cameras.conversion import Captured
from stream.cameras.pacing import Backoff
from stream.config import CameraConfig
from stream.errors import SourceEnded, SourceUnavailable
from stream.frames import Frame, FrameResult, Matrix, Pixels, Planes
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor
from stream.video.channel import VideoChannel
from stream.video.packet_hub import PacketHub


class ScriptedSource:
    """Yields the given number of frames, then raises."""

    fps = 25.0
    size = (4, 6)
    damaged = 2
    is_live = True

    def __init__(self, n_frames: int, end: Exception) -> None:
        self.n_left = n_frames
        self._end = end
        self.is_closed = False
        self.target_fps: float | None = None

    def read(self) -> Captured:
        if self.n_left == 0:
            raise self._end
        self.n_left -= 1
        image = np.zeros((4, 6, 3), np.uint8)
        image[0, 0] = 255, 0, 0
        return Captured(time.monotonic(), Pixels(image))

    def set_target_fps(self, target_fps: float | None) -> None:
        self.target_fps = target_fps

    def close(self) -> None:
        self.is_closed = True


class HangingSource(ScriptedSource):
    """Yields its frames, then waits for the test's signal, then fails."""

    def __init__(self, n_frames: int, end: Exception) -> None:
        super().__init__(n_frames, end)
        self.is_waiting = False
        self.go_on = threading.Event()

    def read(self) -> Captured:
        if self.n_left == 0:
            self.is_waiting = True
            self.go_on.wait(300)
            self.is_closed = False
        return super().read()


class Log:
    """The reports of a camera, and a wait for further ones."""

    def __init__(self) -> None:
        self.states: list[tuple[CameraState, str]] = []
        self.frames: list[Frame] = []

    def has_more_than(self, n_frames: int) -> bool:
        return len(self.frames) > n_frames

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < deadline, (self.states, len(self.frames))
            time.sleep(0.002)


@contextmanager
def running(
    sources: list[ScriptedSource | Exception], log: Log, **settings: object
) -> Iterator[Camera]:
    script = iter(sources)

    def open_source(config: CameraConfig) -> ScriptedSource:
        step = next(script)
        if isinstance(step, Exception):
            raise step
        return step

    camera = Camera(
        config=CameraConfig.model_validate(
            {"name": "door", "url": "rtsp://user:hunter2@host/live", **settings}
        ),
        open_source=open_source,
        is_pushed=False,
        video=VideoChannel(
            "door",
            hub=PacketHub(time.monotonic),
            bitrate_kbps=0,
            figures=Figures(),
            supervisor=Supervisor(clock=time.monotonic),
            clock=time.monotonic,
        ),
        deliver=log.frames.append,
        on_state=lambda camera, state, reason: log.states.append((state, reason)),
        figures=Figures(),
        supervisor=Supervisor(clock=time.monotonic),
        clock=time.monotonic,
    )
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()
        camera.join(time.monotonic() + 5)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.cameras.pacing.Backoff.delay_s", lambda *_: 0.001)


def test_a_camera_that_dies_comes_back_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    gone = SourceUnavailable("lost it")
    first = ScriptedSource(2, gone)
    with (
        caplog.at_level(logging.WARNING),
        running([first, gone, gone, ScriptedSource(3, SourceEnded("over"))], log) as camera,
    ):
        log.until(lambda: len(log.states) == 4)
        status = camera.status(dropped=7)
    assert log.states == [
        (CameraState.LIVE, ""),
        (CameraState.FAILING, "lost it"),
        (CameraState.LIVE, ""),
        (CameraState.ENDED, "over"),
    ]
    assert [frame.seq for frame in log.frames] == [0, 1, 2, 3, 4], "no number comes twice"
    assert first.is_closed
    assert (status.reconnects, status.captured, status.dropped) == (1, 5, 7)
    assert status.damaged == 4, "of both sessions"
    assert caplog.text.count("lost it") == 1, "one line a reason, however often it is tried"


def test_a_surprise_is_logged_with_its_traceback_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()
    steps = [ScriptedSource(1, ZeroDivisionError("oops")), ScriptedSource(1, SourceEnded("over"))]
    with running([*steps], log):
        log.until(lambda: log.states[-1:] == [(CameraState.ENDED, "over")])
    assert (CameraState.FAILING, "unexpected failure, see the log") in log.states
    assert "ZeroDivisionError: oops" in caplog.text


def test_a_stopped_camera_ends_its_threads_and_closes_its_source() -> None:
    log = Log()
    endless = ScriptedSource(10**9, SourceEnded("never"))
    with running([endless], log) as camera:
        log.until(lambda: len(log.frames) > 3)
        assert camera.latest is None, "nothing is recognised yet"
    assert endless.is_closed
    assert [t.name for t in threading.enumerate() if t.name.endswith("-door")] == []


def test_a_camera_is_switched_off_and_on() -> None:
    log = Log()
    sources = [ScriptedSource(10**9, SourceEnded("never")) for _ in range(2)]
    with running([*sources], log) as camera:
        log.until(lambda: log.frames)
        camera.change(camera.config.model_copy(update={"enabled": False}))
        assert (camera.state, camera.latest) == (CameraState.OFF, None)
        log.until(lambda: sources[0].is_closed)
        n_left, n_frames = sources[0].n_left, len(log.frames)
        camera.change(camera.config.model_copy(update={"enabled": True}))
        log.until(lambda: camera.state is CameraState.LIVE)
    assert n_left - sources[0].n_left <= 1, "only the read that was under way goes on"
    assert len(log.frames) > n_frames
    assert [state for state, _ in log.states] == ["live", "off", "connecting", "live"]


def test_a_camera_that_is_off_is_not_opened() -> None:
    log = Log()
    with running([ScriptedSource(1, SourceEnded("over"))], log, enabled=False) as camera:
        assert (camera.state, log.frames) == (CameraState.OFF, [])
        camera.change(camera.config.model_copy(update={"enabled": True}))
        log.until(lambda: camera.state is CameraState.ENDED)
    # Opened before, the script would have been at its end.
    assert [state for state, _ in log.states] == ["connecting", "live", "ended"]


def test_only_another_way_to_it_opens_a_camera_anew() -> None:
    log = Log()
    sources = [ScriptedSource(10**9, SourceEnded("never")) for _ in range(2)]
    with running([*sources], log) as camera:
        log.until(lambda: log.frames)
        camera.change(camera.config.model_copy(update={"target_fps": 5.0, "rotation": 90}))
        log.until(lambda: sources[0].target_fps == 5.0)
        log.until(lambda: log.frames[-1].image.shape == (6, 4, 3))
        assert not sources[0].is_closed
        camera.change(camera.config.model_copy(update={"url": "rtsp://other/live"}))
        log.until(lambda: sources[1].target_fps == 5.0)
        assert sources[0].is_closed
        assert [frame.seq for frame in log.frames] == list(range(len(log.frames)))


def test_a_hanging_source_holds_up_no_change() -> None:
    log = Log()
    hanging = HangingSource(1, SourceEnded("never"))
    with running([hanging, ScriptedSource(10**9, SourceEnded("never"))], log) as camera:
        log.until(lambda: hanging.is_waiting)
        camera.change(camera.config.model_copy(update={"url": "rtsp://other/live"}))
        log.until(lambda: camera.state is CameraState.LIVE)
        hanging.go_on.set()  # what it brings now, and its failure, count for nothing
        log.until(lambda: hanging.is_closed)
        assert camera.state is CameraState.LIVE


@pytest.mark.parametrize(("rotation", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_pictures_are_turned_clockwise(rotation: int, corner: tuple[int, int]) -> None:
    log = Log()
    with running([ScriptedSource(1, SourceEnded("over"))], log, rotation=rotation):
        log.until(lambda: log.frames)
    assert log.frames[0].image[corner].tolist() == [255, 0, 0], "the upper left corner is red"


def test_a_snapshot_is_a_jpeg_of_the_last_recognised_frame() -> None:
    log = Log()
    with running([ScriptedSource(10**9, SourceEnded("never"))], log) as camera:
        assert camera.snapshot() is None
        log.until(lambda: log.frames)
        camera.video.show(FrameResult(log.frames[0], (), (), {}))
        jpeg = camera.snapshot()
        status = camera.status(dropped=0)
    assert jpeg is not None
    assert jpeg.startswith(b"\xff\xd8")
    assert (status.width, status.height) == (6, 4)
    assert (status.name, status.url) == ("door", "rtsp://***@host/live")


@pytest.mark.parametrize(
    ("rotation", "turned_by", "suggested"), [(0, 0, None), (0, 180, 180), (0, 90, 270), (90, 90, 0)]
)
def test_the_suggested_rotation_makes_the_faces_upright(
    rotation: int, turned_by: int, suggested: int | None
) -> None:
    log = Log()
    with running([ScriptedSource(10**9, SourceEnded("never"))], log, rotation=rotation) as camera:
        assert camera.status(dropped=0).suggested_rotation is None
        log.until(lambda: log.frames)
        camera.video.show(FrameResult(log.frames[0], (), (), {}, turned_by))
        assert camera.status(dropped=0).suggested_rotation == suggested
        camera.change(camera.config.model_copy(update={"rotation": 270}))
        assert camera.status(dropped=0).suggested_rotation is None


class PlanesSource(ScriptedSource):
    """Gives frames as YUV planes, as decoders do."""

    def read(self) -> Captured:
        planes = Planes(av.VideoFrame(6, 4, "yuv420p"), Matrix.BT601)
        return Captured(super().read().captured_at, Pixels(None, planes))


@pytest.mark.parametrize("rotation", [0, 90])
def test_frames_are_converted_to_rgb_only_where_they_are_rotated(rotation: int) -> None:
    log = Log()
    with running([PlanesSource(1, SourceEnded("over"))], log, rotation=rotation):
        log.until(lambda: log.frames)
    assert log.frames[0].pixels.has_image == bool(rotation)
    assert (log.frames[0].planes is None) == bool(rotation)
    assert log.frames[0].size == ((6, 4) if rotation else (4, 6))


class StillSource(ScriptedSource):
    """Gives the same frame for a minute by the frames' own clock, then other ones."""

    def read(self) -> Captured:
        frame = super().read()
        n = 80 - self.n_left
        image = frame.image.copy()
        image[1, 1] = 0 if n <= 61 else n
        return Captured(float(n), Pixels(image))


@pytest.mark.parametrize("is_live", [True, False])
def test_a_camera_that_sends_the_same_frame_for_long_is_frozen_until_another(is_live: bool) -> None:
    log = Log()
    source = StillSource(79, SourceEnded("over"))
    source.is_live = is_live
    with running([source], log, frozen_after_s=30):
        log.until(lambda: log.states[-1:] == [(CameraState.ENDED, "over")])
    states = [(str(state), reason) for state, reason in log.states[:-1]]
    if not is_live:
        assert states == [("live", "")], "a film may stand still"
        return
    assert states == [("live", ""), ("frozen", "the same frame for 30 s"), ("live", "")]
    assert 28 <= sum(frame.captured_at <= 61 for frame in log.frames) <= 31, "none while frozen"
    assert log.frames[-1].captured_at == 80


def test_a_camera_that_closes_after_three_frames_is_left_alone_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    class Recorded(Backoff):
        def delay_s(self, alive_s: float | None) -> float:
            waits.append(super().delay_s(alive_s))
            return 0.001

    monkeypatch.undo()
    monkeypatch.setattr(camera_module, "Backoff", Recorded)
    log = Log()
    sources = [ScriptedSource(3, SourceUnavailable("closed")) for _ in range(8)]
    with running([*sources, SourceEnded("over")], log):
        log.until(lambda: log.states[-1:] == [(CameraState.ENDED, "over")])
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
