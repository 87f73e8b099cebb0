"""Cameras in worker processes: real processes, networks and demo scenes."""

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from prometheus_client import generate_latest

from recognizer import default_cache, fetch_photos
from stream.api.metrics import registry_of
from stream.cameras.camera import CameraState
from stream.config import CameraChange, CameraConfig, Config, data_dir
from stream.demo.scene import DemoScene
from stream.errors import EnrolmentError, UnknownTrackError
from stream.events.log import EventLog, LoggedEvent
from stream.frames import EventKind, FrameResult, Track
from stream.service import Service
from stream.video.rendition import Feed

pytestmark = pytest.mark.integration

PATIENCE_S = 120.0  # three processes open their networks, on a busy machine


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))


@asynccontextmanager
async def opened(*cameras: str) -> AsyncIterator[Service]:
    """A service with two workers, on the demo's scene."""
    tables = {
        "recognizer": {"workers": 2},
        "cameras": [{"name": name, "url": "demo:"} for name in cameras],
    }
    async with Service.open(Config.model_validate(tables)) as service:
        yield service


def tracks(service: Service, camera: str) -> tuple[Track, ...]:
    result = service.cameras.get(camera).latest
    return () if result is None else result.tracks


def names(service: Service, camera: str) -> set[str]:
    return {track.match.identity.name for track in tracks(service, camera) if track.match}


async def events(service: Service, camera: str | None = None) -> list[LoggedEvent]:
    found: list[LoggedEvent] = await service.journal.run(
        service.event_log.list, camera=camera, limit=500
    )
    return found[::-1]


async def is_named(service: Service, camera: str, name: str) -> bool:
    """Enroll the first face in view; return whether it was good enough and still there."""
    seen = tracks(service, camera)
    if not seen:
        return False
    try:
        await service.naming.name_track(camera, seen[0].track_id, name)
    except (EnrolmentError, UnknownTrackError):
        return False
    return True


def is_balanced(found: list[LoggedEvent]) -> bool:
    """Whether everybody who came has left, once."""
    came = [each.track_id for each in found if each.kind in (EventKind.ENTER, EventKind.UNKNOWN)]
    left = [each.track_id for each in found if each.kind is EventKind.EXIT]
    return bool(came) and sorted(map(str, came)) == sorted(map(str, left))


def test_a_face_named_in_one_worker_is_known_in_the_other_and_the_video_is_theirs() -> None:
    async def scenario() -> None:
        async with opened("left", "right") as service:
            assert [len(worker._cameras) for worker in service.workers] == [1, 1]
            await until(lambda: tracks(service, "left") and tracks(service, "right"))
            assert len({worker.pid for worker in service.workers} | {os.getpid()}) == 3
            status = service.cameras.statuses()[0]
            assert (status.state, status.width, status.height) == (CameraState.LIVE, 1280, 720)

            video = service.cameras.get("right").video.hub.subscribe(Feed(raw=True))
            first = await asyncio.wait_for(video.recv(), PATIENCE_S)
            assert first.is_keyframe
            assert bytes(first)
            following = await asyncio.wait_for(video.recv(), PATIENCE_S)
            assert following.pts is not None
            assert first.pts is not None
            assert following.pts > first.pts
            assert isinstance(following.opaque, FrameResult)  # its faces come with it
            assert following.opaque.frame.camera == "right"
            video.close()
            jpeg = await asyncio.to_thread(service.cameras.get("left").snapshot, max_width=320)
            assert jpeg is not None
            assert jpeg.startswith(b"\xff\xd8")

            with pytest.raises(UnknownTrackError, match="has left the picture"):
                await service.naming.name_track("left", "no such track", "Ada")
            async with asyncio.timeout(PATIENCE_S):
                while not await is_named(service, "left", "Ada"):
                    await asyncio.sleep(0.1)
            await until(lambda: "Ada" in names(service, "left"))
            await until(lambda: "Ada" in names(service, "right"))

            await service.cameras.change(
                "right",
                CameraChange(name="door").applied_to(service.cameras.get("right").config),
            )
            await until(lambda: tracks(service, "door"))
            await service.cameras.remove("door")
            assert [each.name for each in service.cameras] == ["left"]
            assert is_balanced(await events(service, "door"))
            await service.cameras.add(CameraConfig(name="again", url="demo:"))
            async with asyncio.timeout(PATIENCE_S):
                while not any(each.track_id for each in await events(service, "again")):
                    await asyncio.sleep(0.05)
        # A stop is the exit of everybody present.
        with EventLog.open(data_dir() / "gallery", keep_days=1, keep_bytes=1 << 30) as log:
            assert is_balanced(log.list(camera="left", limit=500))
            assert is_balanced(log.list(camera="again", limit=500))

    asyncio.run(scenario())


async def has_moved(service: Service, camera: str, worker: int) -> None:
    """Wait until a camera's frames come from this worker."""
    pid = service.workers[worker].pid
    assert pid is not None
    await until(lambda: camera in (service.workers[worker].loads() or {}))


def test_a_camera_that_moves_keeps_its_tracks_its_people_and_its_viewers() -> None:
    async def scenario() -> None:
        async with opened("left", "right") as service:
            async with asyncio.timeout(PATIENCE_S):
                while not any(each.track_id for each in await events(service, "left")):
                    await asyncio.sleep(0.05)
            video = service.cameras.get("left").video.hub.subscribe()
            last = await asyncio.wait_for(video.recv(), PATIENCE_S)
            old = {each.track_id for each in tracks(service, "left")}
            await service.cameras.move("left", 1)
            await has_moved(service, "left", 1)
            assert service.workers[0].loads() == {}
            assert service.cameras.get("left").state is CameraState.LIVE
            async with asyncio.timeout(PATIENCE_S):  # the same viewer goes on
                while not (packet := await video.recv()).is_keyframe:
                    pass
            video.close()
            assert last.pts is not None
            assert packet.pts is not None
            assert packet.pts > last.pts
            await until(lambda: old & {each.track_id for each in tracks(service, "left")})
            assert await is_announced_once(service, "left")
            # The cameras that stayed, and names, are as before.
            async with asyncio.timeout(PATIENCE_S):
                while not await is_named(service, "left", "Ada"):
                    await asyncio.sleep(0.1)
            await until(lambda: "Ada" in names(service, "right"))
            await service.cameras.move("left", 0)
            await has_moved(service, "left", 0)
            await until(lambda: "Ada" in names(service, "left"))
            await service.cameras.remove("left")
            assert is_balanced(await events(service, "left"))
            assert service.cameras.statuses()[0].reconnects == 0

    asyncio.run(scenario())


def test_workers_are_started_as_cameras_are_added_and_take_those_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.workers.growth.usable_cpus", lambda: 4)
    monkeypatch.setattr("stream.workers.growth.CAMERAS_OF_ONE", 1)

    async def scenario() -> None:
        tables = {"cameras": [{"name": "left", "url": "demo:"}]}
        async with Service.open(Config.model_validate(tables)) as service:
            assert service.workers == []
            async with asyncio.timeout(PATIENCE_S):
                while not any(each.track_id for each in await events(service, "left")):
                    await asyncio.sleep(0.05)
                while not await is_named(service, "left", "Ada"):
                    await asyncio.sleep(0.1)
            video = service.cameras.get("left").video.hub.subscribe()
            last = await asyncio.wait_for(video.recv(), PATIENCE_S)
            await service.cameras.add(CameraConfig(name="right", url="demo:"))
            await until(lambda: service.growth.moves == 2)
            assert len(service.workers) == 2
            await until(lambda: [len(worker.loads() or {}) for worker in service.workers] == [1, 1])
            assert service.cameras.get("left").state is CameraState.LIVE
            async with asyncio.timeout(PATIENCE_S):  # the same viewer goes on
                packet = await video.recv()
                while not packet.is_keyframe or (packet.pts or 0) <= (last.pts or 0):
                    packet = await video.recv()
            video.close()
            await until(lambda: "Ada" in names(service, "right"))
            assert await is_announced_once(service, "left")
            await service.cameras.remove("left")
            assert is_balanced(await events(service, "left"))
            await service.cameras.add(CameraConfig(name="third", url="demo:"))
            await until(lambda: tracks(service, "third"))
            assert len(service.workers) == 2  # as many as half the processors

    asyncio.run(scenario())


async def is_announced_once(service: Service, camera: str) -> bool:
    """Whether no stay was announced twice, or ended twice."""
    found = [each for each in await events(service, camera) if each.track_id is not None]
    came = [each.track_id for each in found if each.kind in (EventKind.ENTER, EventKind.UNKNOWN)]
    left = [each.track_id for each in found if each.kind is EventKind.EXIT]
    return len(came) == len(set(came)) and len(left) == len(set(left))


def film(path: Path, *, fps: int, is_still: bool, start_s: float = 10.0) -> Path:
    """Write four seconds of the demo in 640x360, whose people move or not."""
    scene = DemoScene(fetch_photos(default_cache(), None))
    with av.open(str(path), "w") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(fps)}
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        n, every = 4 * fps, max(1, fps // 15)
        for number in range(n):
            if number % every == 0:
                image = scene.render(start_s + (0 if is_still else number / fps))
                small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(small.astype(np.uint8), format="rgb24"))
            )
        out.mux(stream.encode(None))
    return path


def test_a_camera_moves_from_a_worker_that_falls_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # No machine has time for a scan between two frames of such a film.
    busy = film(tmp_path / "busy.mp4", fps=240, is_still=False)
    still = film(tmp_path / "still.mp4", fps=4, is_still=True)
    urls = {"busy1": busy, "still1": still, "busy2": busy, "still2": still, "busy3": busy}
    tables = {
        "recognizer": {"workers": 2},
        "cameras": [{"name": name, "url": str(url)} for name, url in urls.items()],
    }

    async def scenario() -> None:
        async with Service.open(Config.model_validate(tables)) as service:
            first, second = service.workers
            await until(lambda: len(first.loads() or {}) == 3 and len(second.loads() or {}) == 2)
            async with asyncio.timeout(2 * PATIENCE_S):
                while not service.rebalancer.moves:
                    await asyncio.sleep(0.1)
            moved = re.findall(r"camera (busy\d): moved to recognition worker 2", caplog.text)[0]
            await has_moved(service, moved, 1)
            await until(lambda: tracks(service, moved))
            assert service.cameras.get(moved).state is CameraState.LIVE
            assert await is_announced_once(service, moved)
            page = generate_latest(registry_of(service)).decode()
            assert re.search(r"^facewire_camera_moves_total [1-9]", page, re.MULTILINE)
        pattern = f"camera {moved}: moved to recognition worker 2, since recognition worker 1 lost"
        assert pattern in caplog.text

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    with EventLog.open(data_dir() / "gallery", keep_days=1, keep_bytes=1 << 30) as log:
        for name in ("busy1", "busy2", "busy3"):
            assert is_balanced(log.list(camera=name, limit=500)) or not [
                each for each in log.list(camera=name, limit=500) if each.track_id
            ]


def test_a_worker_that_dies_is_replaced_and_those_present_leave_once() -> None:
    async def scenario() -> None:
        async with opened("left", "right") as service:
            async with asyncio.timeout(PATIENCE_S):
                while not await events_of_people(service, "left"):
                    await asyncio.sleep(0.05)
            await until(lambda: tracks(service, "right"))
            video = service.cameras.get("left").video.hub.subscribe()
            await asyncio.wait_for(video.recv(), PATIENCE_S)
            pid, captured = service.workers[0].pid, service.cameras.statuses()[1].captured
            old = {each.track_id for each in await events(service, "left")}
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: service.cameras.statuses()[0].state is CameraState.FAILING)
            assert any("recognition worker 1 has ended" in line for line in service.problems())
            assert is_balanced(await events_of_people(service, "left", are_all=True))
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            assert service.workers[0].pid != pid
            async with asyncio.timeout(PATIENCE_S):  # the same viewer goes on
                while not (await video.recv()).is_keyframe:
                    pass
            video.close()
            await until(lambda: tracks(service, "left"))
            assert not old & {each.track_id for each in tracks(service, "left")}
            # The other worker's camera went on meanwhile.
            await until(lambda: service.cameras.statuses()[1].captured > captured)
            assert service.cameras.statuses()[1].reconnects == 0

    async def events_of_people(
        service: Service, camera: str, *, are_all: bool = False
    ) -> list[LoggedEvent]:
        return [each for each in await events(service, camera) if each.track_id is not None]

    asyncio.run(scenario())
