"""Cameras added, changed and removed in a running service, with real nets and the demo's people."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from recognizer import default_cache, fetch_photos
from stream.cameras.camera import CameraState
from stream.cameras.push_source import PushCamera
from stream.cameras.store import CameraStore, Edit
from stream.config import CameraChange, CameraConfig, Config, load_config
from stream.demo.scene import DemoScene
from stream.errors import ConfigError, UnknownCameraError
from stream.frames import EventKind
from stream.service import Service
from tests.rtsp_camera import RtspCamera, access_units
from tests.viewers import PATIENCE_S, until
from tests.web_camera import WebCamera, jpeg, ok

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))


@asynccontextmanager
async def opened(config: Config | None = None) -> AsyncIterator[Service]:
    async with Service.open(config or load_config()) as service:
        yield service


async def change(service: Service, name: str, /, **changes: object) -> None:
    config = CameraChange.model_validate(changes).applied_to(service.cameras.get(name).config)
    await service.cameras.change(name, config)


def boxes(service: Service) -> list[list[float]]:
    result = service.cameras.get("demo").latest
    return [track.box.tolist() for track in result.tracks] if result else []


async def kinds(service: Service, camera: str = "demo") -> list[str]:
    events = await service.journal.run(service.event_log.list, camera=camera)
    return [event.kind.value for event in reversed(events)]


def test_limits_turns_and_rates_take_effect_at_once() -> None:
    async def scenario() -> None:
        async with opened() as service:
            await until(lambda: len(boxes(service)) >= 2)
            await change(service, "demo", region=[0, 0, 0.5, 1])
            await until(lambda: boxes(service) and all(x1 < 640 for x1, *_ in boxes(service)))
            found = boxes(service)
            assert found
            assert all((x1 + x2) / 2 <= 640 for x1, _, x2, _ in found)
            await change(service, "demo", region=None, min_face_px=1000)
            await change(service, "demo", rotation=90)
            await until(lambda: service.cameras.statuses()[0].width == 720)
            await until(lambda: not boxes(service))  # lying, and too small
            await change(service, "demo", rotation=0, min_face_px=None, target_fps=5)
            await until(lambda: len(boxes(service)) >= 2)
            captured = service.cameras.statuses()[0].captured
            await until(lambda: service.cameras.statuses()[0].captured > captured + 5)
            status = service.cameras.statuses()[0]
            assert status.config.target_fps == 5
            assert (status.reconnects, status.state) == (0, CameraState.LIVE)

    asyncio.run(scenario())


def test_a_camera_switched_off_lets_its_people_go_and_its_viewers_wait() -> None:
    async def scenario() -> None:
        async with opened() as service:
            subscription = service.cameras.get("demo").video.hub.subscribe()
            await asyncio.wait_for(subscription.recv(), PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                while "enter" not in await kinds(service):
                    await asyncio.sleep(0.05)
            await change(service, "demo", enabled=False)
            assert service.cameras.statuses()[0].state is CameraState.OFF
            assert service.problems() == []
            told = await kinds(service)
            n_in = told.count("enter") + told.count("unknown")
            assert told.count("exit") >= n_in - told.count("renamed")
            assert told.count("camera_down") == 1
            await change(service, "demo", enabled=True)
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            async with asyncio.timeout(PATIENCE_S):  # queued packets, then the new ones
                while (await subscription.recv()).is_keyframe is False:
                    pass
            subscription.close()

    asyncio.run(scenario())


def test_changes_survive_a_restart_and_passwords_stay(tmp_path: Path) -> None:
    url = "rtsp://user:hunter2@127.0.0.1:9/live"

    async def first() -> None:
        async with opened() as service:
            await service.cameras.add(CameraConfig(name="door", url=url))
            masked = service.cameras.statuses()[1].url
            assert masked == "rtsp://***@127.0.0.1:9/live"
            await change(service, "door", url=masked, target_fps=3)
            with pytest.raises(ConfigError, match="type the URL whole"):
                await change(service, "door", url="rtsp://user:***@elsewhere/live")
            await change(service, "door", url="rtsp://***@127.0.0.1:9/other")
            await change(service, "door", url="rtsp://***@127.0.0.1:9/live")
            with pytest.raises(ConfigError, match="no known kind"):
                await change(service, "door", url="gopher://x")
            await change(service, "demo", min_face_px=60)

    async def second() -> None:
        async with opened() as service:
            demo, door = service.cameras.statuses()
            assert (door.config.url, door.config.target_fps) == (url, 3)
            assert demo.config.min_face_px == 60
            await service.cameras.remove("door")
            await service.cameras.remove("demo")

    async def third() -> None:
        async with opened() as service:
            assert service.cameras.statuses() == []

    asyncio.run(first())
    assert (tmp_path / "demo" / "cameras.json").stat().st_mode & 0o777 == 0o600
    asyncio.run(second())
    asyncio.run(third())


def test_a_removed_camera_tells_who_left_and_that_it_is_down() -> None:
    async def scenario() -> list[str]:
        async with opened() as service:
            async with asyncio.timeout(PATIENCE_S):
                while "enter" not in await kinds(service):
                    await asyncio.sleep(0.05)
            await service.cameras.remove("demo")
            return await kinds(service)

    told = asyncio.run(scenario())
    assert told[0] == EventKind.CAMERA_UP
    assert "exit" in told
    assert told[-1] == EventKind.CAMERA_DOWN


def test_a_pushed_cameras_settings_are_those_of_any_and_are_kept(tmp_path: Path) -> None:
    async def first() -> None:
        async with opened() as service:
            camera = await service.cameras.push("phone")
            await change(service, "phone", region=[0, 0, 0.5, 1], pixel_aspect="2:1")
            assert service.pipeline._limits["phone"].region == (0, 0, 0.5, 1)
            with pytest.raises(ConfigError, match="no URL"):
                await change(service, "phone", url="demo:")
            await camera.close()
            assert [status.name for status in service.cameras.statuses()] == ["demo"]

    async def second() -> None:
        async with opened() as service:
            assert [status.name for status in service.cameras.statuses()] == ["demo"]
            camera = await service.cameras.push("phone")
            assert service.pipeline._limits["phone"].region == (0, 0, 0.5, 1)
            picture = av.VideoFrame.from_ndarray(np.zeros((72, 64, 3), np.uint8), format="rgb24")
            async with asyncio.timeout(PATIENCE_S):
                while service.cameras.statuses()[1].width != 128:
                    camera.on_frame(picture)
                    await asyncio.sleep(0.05)
            await service.cameras.remove("phone")
            await camera.close()
            assert (await service.cameras.push("phone")).name == "phone"
            assert service.cameras.statuses()[1].config.region is None, "removed with its settings"

    asyncio.run(first())
    asyncio.run(second())


def test_limits_hold_for_a_pushed_camera_from_its_first_frame() -> None:
    async def scenario() -> None:
        config = load_config(overrides={"recognizer": {"min_face_px": 61}})
        async with opened(config) as service:
            await service.cameras.push("phone")
            assert service.pipeline._limits["phone"].min_face_px == 61

    asyncio.run(scenario())


def test_a_sender_that_crashed_comes_back_at_once_and_people_stay() -> None:
    async def scenario() -> list[str]:
        async with opened() as service:
            scene = DemoScene(fetch_photos(default_cache(), None))
            picture = av.VideoFrame.from_ndarray(scene.render(3.0), format="rgb24")
            crashed = await service.cameras.push("phone")
            replaced: list[str] = []
            crashed.on_replaced = lambda: replaced.append("phone")
            async with asyncio.timeout(2 * PATIENCE_S):
                while not {"enter", "unknown"} & set(await kinds(service, "phone")):
                    crashed.on_frame(picture)
                    await asyncio.sleep(0.1)
                # It sends no more, and its connection has not noticed yet.
                again = await service.cameras.push("phone")
            assert replaced == ["phone"]
            await crashed.close()
            before = service.cameras.statuses()[1].captured
            async with asyncio.timeout(PATIENCE_S):
                while service.cameras.statuses()[1].captured < before + 20:
                    again.on_frame(picture)
                    await asyncio.sleep(0.1)
                while service.cameras.get("phone").latest is None:
                    await asyncio.sleep(0.1)
            sending = asyncio.create_task(send_on(again, picture))
            with pytest.raises(ConfigError, match="already being sent"):
                await service.cameras.push("phone")
            sending.cancel()
            told = await kinds(service, "phone")
            await again.close()
            return told

    async def send_on(camera: PushCamera, picture: av.VideoFrame) -> None:
        while True:
            camera.on_frame(picture)
            await asyncio.sleep(0.05)

    told = asyncio.run(scenario())
    assert "exit" not in told
    assert told.count("camera_up") == 1


def test_people_stay_while_a_camera_is_away_and_leave_when_it_is_for_long() -> None:
    async def scenario() -> tuple[list[str], list[str]]:
        config = load_config(overrides={"events": {"camera_away_s": 8.0, "absence_s": 1.0}})
        async with opened(config) as service:
            scene = DemoScene(fetch_photos(default_cache(), None))
            camera = await service.cameras.push("phone")
            picture = av.VideoFrame.from_ndarray(scene.render(3.0), format="rgb24")

            async def send(until: Callable[[list[str]], bool]) -> None:
                while not until(await kinds(service, "phone")):
                    camera.on_frame(picture)
                    await asyncio.sleep(0.1)

            async with asyncio.timeout(3 * PATIENCE_S):
                await send(lambda told: bool({"enter", "unknown"} & set(told)))
                n_frames = service.cameras.statuses()[1].captured
                await send(lambda _: service.cameras.statuses()[1].captured > n_frames + 15)
                # Away until it is said to be, longer than people may be.
                await until(lambda: service.cameras.statuses()[1].state is CameraState.FAILING)
                n_frames = service.cameras.statuses()[1].captured
                await send(lambda _: service.cameras.statuses()[1].captured > n_frames + 15)
                short = await kinds(service, "phone")
                while "exit" not in await kinds(service, "phone"):
                    await asyncio.sleep(0.1)
            long = await kinds(service, "phone")
            await camera.close()
            return short, long

    short, long = asyncio.run(scenario())
    assert "exit" not in short
    assert long.count("exit") == long.count("enter") + long.count("unknown")


@pytest.mark.parametrize("kind", ["rtsp", "http"])
def test_a_camera_that_comes_and_goes_makes_few_events(kind: str) -> None:
    body = b"".join(b"--x\r\n\r\n" + jpeg(number) + b"\r\n" for number in range(3))

    async def scenario(url: str, n_sessions: Callable[[], int]) -> list[str]:
        cameras = [{"name": "door", "url": url}]
        config = load_config(overrides={"cameras": {"list": cameras}})
        async with opened(config) as service:
            async with asyncio.timeout(3 * PATIENCE_S):
                while n_sessions() < 5 or "camera_down" not in await kinds(service, "door"):
                    await asyncio.sleep(0.1)
            return await kinds(service, "door")

    if kind == "rtsp":
        with RtspCamera(access_units(3, gop=1)) as rtsp:
            told = asyncio.run(scenario(rtsp.url, lambda: rtsp.n_plays))
    else:
        with WebCamera(lambda asked, number: ok("multipart/x-mixed-replace", body)) as web:
            told = asyncio.run(scenario(web.url(), lambda: len(web.asked)))
    assert told == ["camera_up", "camera_down"]


def test_a_frozen_camera_is_a_problem_that_is_told() -> None:
    async def scenario(url: str) -> None:
        cameras = [{"name": "door", "url": url, "target_fps": 20, "frozen_after_s": 0.5}]
        config = load_config(overrides={"cameras": {"list": cameras}})
        async with opened(config) as service:
            await until(lambda: service.cameras.statuses()[0].state is CameraState.FROZEN)
            assert service.problems() == ["camera door is frozen: the same frame for 0.5 s"]
            assert service.cameras.get("door").latest is None
            await change(service, "door", frozen_after_s=0)
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)

    with WebCamera(lambda asked, number: ok("image/jpeg", jpeg(), length=True)) as camera:
        asyncio.run(scenario(camera.url()))


def test_a_renamed_camera_goes_on_with_its_people_viewers_and_past(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened() as service:
            subscription = service.cameras.get("demo").video.hub.subscribe()
            await asyncio.wait_for(subscription.recv(), PATIENCE_S)
            async with asyncio.timeout(PATIENCE_S):
                while "enter" not in await kinds(service):
                    await asyncio.sleep(0.05)
            result = service.cameras.get("demo").latest
            before = {track.track_id for track in result.tracks} if result else set()
            with pytest.raises(ConfigError, match="must be 1 to 64 letters"):
                await change(service, "demo", name="a b")
            await service.cameras.add(CameraConfig(name="yard", url="demo:", enabled=False))
            with pytest.raises(ConfigError, match="'yard' is already there"):
                await change(service, "demo", name="yard")
            await change(service, "demo", name="front")
            await until(
                lambda: (
                    (last := service.cameras.get("front").latest) and last.frame.camera == "front"
                )
            )
            after = service.cameras.get("front").latest
            assert after is not None
            assert before & {track.track_id for track in after.tracks}
            with pytest.raises(UnknownCameraError):
                service.cameras.get("demo")
            told = await kinds(service, "front")
            assert told[0] == EventKind.CAMERA_UP
            assert EventKind.CAMERA_DOWN not in told
            assert await kinds(service, "demo") == []
            encoded = service.cameras.statuses()[0].encoded
            await until(lambda: service.cameras.statuses()[0].encoded > encoded + 5)
            async with asyncio.timeout(PATIENCE_S):
                await subscription.recv()
            assert service.cameras.get("front").video.hub.n_viewers == 1
            status = service.cameras.statuses()[0]
            assert (status.name, status.state, status.reconnects) == (
                "front",
                CameraState.LIVE,
                0,
            )
            subscription.close()

    async def again() -> None:
        async with opened() as service:
            assert {camera.name for camera in service.cameras.statuses()} == {"front", "yard"}

    asyncio.run(scenario())
    asyncio.run(again())


def test_a_camera_renamed_in_the_configuration_is_the_same_camera(tmp_path: Path) -> None:
    def configured(*names: str) -> Config:
        cameras = [CameraConfig(name=name, url="demo:", target_fps=5) for name in names]
        return Config.model_validate(
            {"gallery": {"directory": tmp_path}, "cameras": [each.model_dump() for each in cameras]}
        )

    async def scenario() -> None:
        async with opened(configured("one")) as service:
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            camera = service.cameras.get("one")
            await service.reconfigure(configured("two", "three"))
            assert [status.name for status in service.cameras.statuses()] == ["two", "three"]
            assert service.cameras.get("two") is camera
            await until(
                lambda: all(s.state is CameraState.LIVE for s in service.cameras.statuses())
            )
            for name in ("two", "three"):
                told = await kinds(service, name)
                assert told.count(EventKind.CAMERA_UP) == 1
                assert EventKind.CAMERA_DOWN not in told

    asyncio.run(scenario())


def test_a_camera_whose_name_a_browser_has_is_started_when_that_leaves(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = Config.model_validate({"gallery": {"directory": tmp_path}, "cameras": []})
        async with opened(config) as service:
            sender = await service.cameras.push("gate")
            gate = CameraConfig(name="gate", url="demo:", target_fps=5)
            await service.cameras.place([gate])
            assert service.cameras.get("gate").is_pushed
            await sender.close()
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            assert service.cameras.get("gate").config == gate
            await service.cameras.place([])
            assert not service.cameras.statuses()
            told = await kinds(service, "gate")
            assert told.count("camera_up") == 1
            assert "camera_down" not in told  # it goes on, on another machine

    asyncio.run(scenario())


def test_a_browser_cannot_take_the_name_that_a_camera_is_given_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, may_end = threading.Event(), threading.Event()
    write = CameraStore._write

    def write_slowly(store: CameraStore, edits: list[Edit]) -> None:
        began.set()
        may_end.wait(PATIENCE_S)
        write(store, edits)

    monkeypatch.setattr(CameraStore, "_write", write_slowly)

    async def scenario() -> None:
        async with opened() as service:
            renaming = asyncio.create_task(change(service, "demo", name="gate"))
            await asyncio.to_thread(began.wait, PATIENCE_S)
            with pytest.raises(ConfigError, match="already there"):
                await service.cameras.push("gate")
            may_end.set()
            await renaming
            assert [status.name for status in service.cameras.statuses()] == ["gate"]
            assert not service.cameras.statuses()[0].is_pushed
            await (await service.cameras.push("demo")).close()  # the old name is free

    asyncio.run(scenario())
