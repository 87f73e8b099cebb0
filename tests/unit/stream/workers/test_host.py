"""A host whose process was never started: what it does with messages."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gallery import Identity, Match
from stream.cameras.camera import CameraState
from stream.cameras.host import Carried
from stream.config import CameraConfig
from stream.errors import WorkerError
from stream.frames import Event, EventKind
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor
from stream.workers.host import STALE_S, WorkerHost
from stream.workers.process import Load, Setup
from stream.workers.wire import Message

ADA = Match(Identity("1", "Ada"), 0.9)


class Host(WorkerHost):
    """A host that keeps what it logs, and what it would send."""

    def __init__(self) -> None:
        self.logged: list[Event] = []
        self.sent: list[tuple[str, tuple[object, ...]]] = []
        self.gathers = False
        super().__init__(
            1,
            lambda: cast(Setup, None),
            log=self.logged.append,
            keep=lambda sighting: None,
            figures=Figures(),
            gathers=lambda: self.gathers,
            supervisor=Supervisor(clock=time.monotonic),
            clock=lambda: 100.0,
        )

    def send(self, kind: str, *arguments: object) -> None:
        self.sent.append((kind, arguments))


def entered(track_id: str, camera: str = "door") -> Event:
    crop = np.zeros((112, 112, 3), np.uint8)
    return Event(EventKind.ENTER, camera, 50.0, track_id, ADA, 49.0, crop)


def test_a_worker_is_told_once_that_strangers_are_to_be_gathered() -> None:
    host = Host()
    status = Message("status", ({}, Load(ticks=3), []))
    host._handle(status)
    host.gathers = True
    host._handle(status)
    host._handle(status)
    assert host.sent == [("gathers", (True,))]
    assert host.ticks == 3


def test_those_present_at_the_end_of_a_worker_leave_once() -> None:
    host = Host()
    host._handle(Message("event", (entered("run-1"),)))
    host._handle(Message("event", (entered("run-2"),)))
    host._handle(Message("event", (replace(entered("run-2"), kind=EventKind.EXIT),)))
    del host.logged[:]
    host._ended()
    host._ended()
    (gone,) = host.logged
    assert (gone.kind, gone.track_id, gone.at) == (EventKind.EXIT, "run-1", 100.0)
    assert gone.match == ADA


def test_figures_of_former_processes_still_count() -> None:
    host = Host()
    host._handle(Message("status", ({}, Load(ticks=3, cpu_s=1.5), [])))
    host._ended()
    host._handle(Message("status", ({}, Load(ticks=4, cpu_s=0.5), [])))
    assert (host.ticks, host.cpu_s) == (7, 2.0)


def test_those_present_move_with_their_camera_and_leave_once_by_its_new_worker() -> None:
    async def scenario() -> None:
        before, after = Host(), Host()
        camera = before.start(CameraConfig(name="door", url="demo:"), lambda *state: None)
        before._handle(Message("state", ("door", CameraState.LIVE, "")))
        before._handle(Message("event", (entered("run-1"),)))
        before._handle(Message("event", (entered("run-2", "yard"),)))
        before._ask = _answered
        carried = await before.release("door")
        assert before.loads() is None
        assert list(carried.present) == ["run-1"]
        assert await after.adopt(carried, lambda *state: None) is camera
        assert ("start", (camera.config,)) in after.sent
        assert camera.state is CameraState.LIVE  # the picture goes on
        after._handle(Message("state", ("door", CameraState.FAILING, "lost")))
        assert camera.state is CameraState.FAILING
        before._ended()
        after._ended()
        after._ended()
        assert [each.track_id for each in before.logged[2:]] == ["run-2"]
        assert [(each.kind, each.track_id) for each in after.logged] == [(EventKind.EXIT, "run-1")]

    asyncio.run(scenario())


def test_a_camera_of_the_service_s_process_keeps_its_state_and_viewers_in_a_worker() -> None:
    async def scenario() -> None:
        was = Host().start(CameraConfig(name="door", url="demo:"), lambda *state: None)
        was.enter(CameraState.LIVE, "")  # type: ignore[attr-defined]
        local: Any = SimpleNamespace(
            name=was.name, config=was.config, video=was.video, status=was.status
        )
        host, told = Host(), []
        viewer = local.video.hub.subscribe()
        carried = Carried(local, None, {"run-1": entered("run-1")})
        camera = await host.adopt(carried, lambda camera, state, reason: told.append(state))
        assert (camera.name, camera.state, told) == ("door", CameraState.LIVE, [])
        assert camera.video.hub is local.video.hub
        assert host.sent[0] == ("start", (camera.config,))
        del host.sent[:]
        viewer.request_keyframe()
        assert [kind for kind, _ in host.sent] == ["demand"]  # the worker learns what is watched
        host._handle(Message("state", ("door", CameraState.FAILING, "lost")))
        assert told == [CameraState.FAILING]
        host._ended()
        assert [each.track_id for each in host.logged] == ["run-1"]

    asyncio.run(scenario())


def test_a_worker_is_ready_once_its_networks_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(type(host), "is_alive", property(lambda host: True))
    assert not host.is_ready
    host._handle(Message("status", ({}, Load(), [])))
    assert host.is_ready
    host._ended()
    assert not host.is_ready


def test_a_worker_that_has_not_sent_its_load_takes_no_camera(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, now = Host(), [100.0]
    monkeypatch.setattr(host, "_clock", lambda: now[0])
    monkeypatch.setattr(type(host), "is_alive", property(lambda host: True))
    assert host.loads() is None, "it opens its networks"
    host._handle(Message("status", ({}, Load(), [])))
    assert host.loads() == {}
    now[0] += STALE_S + 0.1
    assert host.loads() is None, "it does not answer"
    host._handle(Message("status", ({}, Load(), [])))
    host._ended()
    assert host.loads() is None, "it is started again"


def test_a_call_that_no_process_would_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(type(host._thread), "is_running", property(lambda thread: True))
    with pytest.raises(WorkerError, match="is being started"):
        host.call("release", "door").result(timeout=0)


async def _answered(kind: str, *arguments: object) -> Any:
    return None


def test_a_camera_stays_with_a_worker_that_ends_as_it_should_move() -> None:
    host = Host()
    host.start(CameraConfig(name="door", url="demo:"), lambda *state: None)
    with pytest.raises(WorkerError, match="is being started: try again"):
        asyncio.run(host.release("door"))
    assert host.dropped("door") == 0
