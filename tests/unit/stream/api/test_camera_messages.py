import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gallery import Gallery
from stream.api import camera_messages
from stream.api.camera_messages import CHECK_S, PERIOD_S, CameraMessages
from stream.api.signaling import Conversation
from stream.budget import Budget, Client
from stream.cameras.camera import CameraStatus
from stream.events.log import EventLog
from stream.schemas.cameras import camera_json
from tests.fake_service import FakeCameras, FakeService, status
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer

N_PAGES = 5


class Clock:
    """A clock in seconds that only the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Cameras(FakeCameras):
    """Counts how often it was asked about its cameras."""

    n_asked = 0

    def statuses(self) -> list[CameraStatus]:
        self.n_asked += 1
        return super().statuses()


class Socket:
    """A page that reads all it is sent."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def receive(self) -> None:
        await asyncio.Event().wait()

    async def send_text(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        yield FakeService(gallery, event_log)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """List the cameras whose JSON was built, and for which role."""
    made: list[tuple[str, bool]] = []

    def counting(each: CameraStatus, *, is_admin: bool, machine: str) -> object:
        made.append((each.name, is_admin))
        return camera_json(each, is_admin=is_admin, machine=machine)

    monkeypatch.setattr(camera_messages, "camera_json", counting)
    return made


def test_all_pages_share_one_look_and_one_text(
    service: FakeService, built: list[tuple[str, bool]]
) -> None:
    async def scenario() -> list[Socket]:
        messages = CameraMessages(cameras, clock)  # type: ignore[arg-type]
        sockets = [Socket() for _ in range(N_PAGES)]
        talks = [
            asyncio.create_task(
                Conversation(
                    service,  # type: ignore[arg-type]
                    socket,  # type: ignore[arg-type]
                    client=Client(f"192.0.2.{number}", is_admin=number > 0),
                    pages=Budget("pages", N_PAGES),
                    cameras=messages,
                ).run()
            )
            for number, socket in enumerate(sockets)
        ]
        async with asyncio.timeout(300):
            while not all(socket.texts for socket in sockets):
                await asyncio.sleep(0)
            assert (cameras.n_asked, sorted(built)) == (1, [("door", False), ("door", True)])
            cameras.put(status("yard", reason="timed out"))
            clock.now += 2 * CHECK_S
            while any(len(socket.texts) < 2 for socket in sockets):
                await asyncio.sleep(CHECK_S / 10)
        for talk in talks:
            talk.cancel()
        await asyncio.wait(talks)
        return sockets

    clock, cameras = Clock(), Cameras()
    cameras.put(status("door"))
    sockets = asyncio.run(scenario())
    assert (cameras.n_asked, len(built)) == (2, 2 + 2 * 2)
    viewer, *administrators = sockets
    assert {len(socket.texts) for socket in sockets} == {2}, "nothing without a change"
    assert {tuple(socket.texts) for socket in administrators} == {tuple(administrators[0].texts)}
    for socket in sockets:
        first, second = (json.loads(text) for text in socket.texts)
        assert first["type"] == second["type"] == "cameras"
        assert [each["name"] for each in first["cameras"]] == ["door"]
        assert [each["name"] for each in second["cameras"]] == ["door", "yard"]
        assert all(bool(each["url"]) == (socket is not viewer) for each in second["cameras"])


def test_a_message_lasts_until_a_state_changes_or_its_figures_are_old(service: FakeService) -> None:
    clock = Clock()
    messages = CameraMessages(service.cameras, clock)  # type: ignore[arg-type]
    first = messages.current()
    camera = service.cameras.get("door")
    camera.shown = replace(camera.shown, fps_in=3.0)
    clock.now += PERIOD_S / 2
    assert messages.current() is first
    camera.shown = replace(camera.shown, reason="timed out")
    assert messages.current() is first, "one look a tick"
    clock.now += 2 * CHECK_S
    second = messages.current()
    assert json.loads(second.text(is_admin=True))["cameras"][0]["reason"] == "timed out"
    clock.now += PERIOD_S
    third = messages.current()
    assert third is not second
    assert third.text(is_admin=False) is third.text(is_admin=False)
