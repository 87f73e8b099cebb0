import asyncio
from typing import Any

import pytest

from gallery import Gallery
from stream.api.publisher import publish
from stream.errors import ConfigError, SignalingError
from stream.events.log import EventLog
from tests.fake_service import FakeService


@pytest.fixture
def service(tmp_path):
    with (
        Gallery.open(tmp_path, model_id="m", embedding_size=4) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        yield FakeService(gallery, event_log)


def rooms(service: FakeService) -> tuple[Any, Any, Any]:
    return service.cameras, service.peers, service.leaving


def test_a_camera_stays_while_its_sender_does(service):
    async def scenario():
        told = []
        answer = await publish(
            service.cameras,
            service.peers,
            service.leaving,
            "me",
            "v=0",
            is_shown_back=True,
            on_close=lambda: told.append("gone"),
        )
        assert "me" in service.cameras.by_name
        with pytest.raises(ConfigError, match="already"):
            await publish(*rooms(service), "me", "v=0", is_shown_back=True)
        await service.peers.close(answer.peer_id)
        await asyncio.sleep(0)
        assert "me" not in service.cameras.by_name
        assert told == ["gone"]

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65])
def test_a_name_must_fit_addresses(service, name):
    with pytest.raises(SignalingError, match="letters"):
        asyncio.run(publish(*rooms(service), name, "v=0", is_shown_back=False))


def test_a_refused_offer_leaves_no_camera(service):
    with pytest.raises(SignalingError):
        asyncio.run(publish(*rooms(service), "me", "bad", is_shown_back=False))
    assert list(service.cameras.by_name) == ["door"]


def test_a_page_that_leaves_in_the_middle_leaves_no_camera(service):
    async def never(*arguments, **named):
        await asyncio.Event().wait()

    async def scenario():
        service.peers.receive = never
        offering = asyncio.create_task(publish(*rooms(service), "me", "v=0", is_shown_back=True))
        await asyncio.sleep(0)
        assert "me" in service.cameras.by_name
        offering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await offering
        assert "me" not in service.cameras.by_name

    asyncio.run(scenario())
