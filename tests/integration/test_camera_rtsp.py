"""A camera on a real RTSP server that stops, hangs, and returns with another size."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.cameras.camera import Camera, CameraState
from stream.cameras.source import RtspTransport, SourceSettings, open_source
from stream.config import CameraConfig
from stream.frames import Frame
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor
from stream.video.channel import VideoChannel
from stream.video.packet_hub import PacketHub
from tests.relay import Relay
from tests.rtsp_server import RtspServer, why_unavailable

pytestmark = pytest.mark.integration

PATIENCE_S = 300.0

PASSWORD = "s3cret/of:the@door"


@pytest.fixture(scope="module", autouse=True)
def _gstreamer() -> None:
    if reason := why_unavailable():
        pytest.skip(reason)


class Watched:
    """A running camera, its frames and what it said of itself."""

    def __init__(self, url: str, name: str, transport: RtspTransport) -> None:
        self.frames: list[Frame] = []
        self.states: list[tuple[CameraState, str]] = []
        self.camera = Camera(
            config=CameraConfig(name=name, url=url),
            open_source=lambda config: open_source(
                url,
                clock=time.monotonic,
                settings=SourceSettings(rtsp_transport=transport),
            ),
            is_pushed=False,
            video=VideoChannel(
                name,
                hub=PacketHub(time.monotonic),
                bitrate_kbps=0,
                figures=Figures(),
                supervisor=Supervisor(clock=time.monotonic),
                clock=time.monotonic,
            ),
            deliver=self.frames.append,
            on_state=lambda camera, state, reason: self.states.append((state, reason)),
            figures=Figures(),
            supervisor=Supervisor(clock=time.monotonic),
            clock=time.monotonic,
        )

    @property
    def state(self) -> CameraState:
        return self.camera.status(dropped=0).state

    def await_frames(self, n: int) -> None:
        """Wait for n new frames."""
        n_before = len(self.frames)
        until(lambda: len(self.frames) >= n_before + n)


@contextmanager
def running(url: str, name: str = "door", *, transport: RtspTransport = "tcp") -> Iterator[Watched]:
    watched = Watched(url, name, transport)
    watched.camera.start()
    try:
        yield watched
    finally:
        watched.camera.stop()
        watched.camera.join(time.monotonic() + 5)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_a_killed_camera_returns_and_hurts_no_other() -> None:
    with (
        RtspServer(user="admin", password=PASSWORD) as server,
        RtspServer() as other_server,
        running(server.url) as door,
        running(other_server.url, "yard") as yard,
    ):
        door.await_frames(5)
        yard.await_frames(5)
        for size in ((480, 848), (240, 320)):
            server.kill()
            until(lambda: door.state is CameraState.FAILING)
            # Four seconds of them, in which the delay between two tries reaches its bound.
            yard.await_frames(100)
            server.size = size
            server.start()
            door.await_frames(5)
            assert door.frames[-1].image.shape == (*size, 3)
            assert door.state is CameraState.LIVE
        assert door.camera.status(dropped=0).reconnects == 2
        assert [frame.seq for frame in door.frames] == list(range(len(door.frames)))
        assert not any(PASSWORD in reason or "door@" in reason for _, reason in door.states)


def test_a_hanging_camera_is_failing_and_comes_back() -> None:
    with RtspServer() as server, running(server.url) as door:
        door.await_frames(5)
        server.hang()
        until(lambda: door.state is CameraState.FAILING)
        assert "timed out" in door.states[-1][1]
        server.go_on()
        # An attempt that began while it hung may have to end first.
        door.await_frames(5)


def test_a_wrong_password_is_not_tried_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        RtspServer(user="admin", password=PASSWORD) as server,
        running(server.url_for("admin", "wrong-one")) as door,
    ):
        until(lambda: door.state is CameraState.FAILING)
        assert door.states[-1][1].endswith("wrong user name or password")
        # Cameras lock out who tries too often.
        until(lambda: "retrying" in caplog.text)
        (delay_s,) = re.findall(r"retrying in ([\d.]+) s", caplog.text)
        assert float(delay_s) >= 10
        assert door.frames == []


def test_a_camera_may_return_with_another_codec() -> None:
    with RtspServer() as server, running(server.url) as door:
        door.await_frames(5)
        for codec in ("h265", "h264"):
            server.kill()
            until(lambda: door.state is CameraState.FAILING)
            server.codec = codec
            server.start()
            door.await_frames(5)
            assert door.state is CameraState.LIVE


def test_damaged_packets_cost_pictures_and_nothing_else() -> None:
    with (
        RtspServer() as server,
        RtspServer() as other_server,
        Relay(server.port) as relay,
        running(f"rtsp://127.0.0.1:{relay.port}/live") as door,
        running(other_server.url, "yard") as yard,
    ):
        door.await_frames(5)
        yard.await_frames(5)
        for part in (0.1, 1.0):
            relay.damaged = part
            yard.await_frames(100)
        relay.damaged = 0.0
        door.await_frames(25)
        assert door.state is CameraState.LIVE


def test_by_udp_lost_and_damaged_packets_hurt_no_other_camera_and_leave_nothing() -> None:
    with RtspServer() as server, RtspServer() as other_server:
        before = threading.active_count(), n_open_files()
        with (
            Relay(server.port) as relay,
            running(f"rtsp://127.0.0.1:{relay.port}/live", transport="udp") as door,
            running(other_server.url, "yard", transport="udp") as yard,
        ):
            door.await_frames(5)
            yard.await_frames(5)
            for dropped, damaged in ((0.02, 0.0), (0.3, 0.0), (0.0, 0.1), (0.2, 0.5)):
                relay.dropped, relay.damaged = dropped, damaged
                yard.await_frames(75)
                if dropped == 0.02:
                    door.await_frames(15)
            relay.dropped = relay.damaged = 0.0
            assert (relay.n_dropped > 20, relay.n_damaged > 20) == (True, True)
            door.await_frames(25)
            # Nothing at all arrives for a while.
            relay.dropped = 1.0
            until(lambda: door.state is CameraState.FAILING)
            assert "timed out" in door.states[-1][1]
            relay.dropped = 0.0
            door.await_frames(25)
            assert door.state is CameraState.LIVE
            assert [state for state, _ in yard.states] == [CameraState.LIVE]
        assert (threading.active_count(), n_open_files()) == before


@pytest.mark.parametrize("step_s", [-3600, 3600, 11 * 3600])
def test_a_jump_of_the_cameras_clock_is_not_even_noticed(step_s: int) -> None:
    with (
        RtspServer() as server,
        Relay(server.port) as relay,
        running(f"rtsp://127.0.0.1:{relay.port}/live") as door,
    ):
        door.await_frames(10)
        relay.clock_step = step_s * 90_000
        door.await_frames(50)
        times = [frame.captured_at for frame in door.frames]
        assert times == sorted(times)
        assert [state for state, _ in door.states] == [CameraState.LIVE]


def test_a_camera_that_fails_again_and_again_leaves_nothing_behind() -> None:
    with RtspServer() as server, running(server.url) as door:
        door.await_frames(5)
        before = threading.active_count(), n_open_files()
        for _ in range(4):
            server.restart()
            door.await_frames(5)
        after = threading.active_count(), n_open_files()
    assert after == before


def n_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
