import asyncio
import json
import time
from typing import Any, cast

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from gallery import Gallery
from stream.api.app import create_app
from stream.api.camera_messages import CameraMessages
from stream.api.signaling import (
    MAX_MESSAGE,
    MAX_WAITING,
    Close,
    Conversation,
    Follow,
    Publish,
    Watch,
    offer_id_of,
    parse,
)
from stream.budget import Budget, Client
from stream.errors import SignalingError
from stream.events.log import EventLog
from stream.frames import Event, EventKind
from tests.fake_service import FakeService, status, track
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer

ME = Client("192.0.2.9", is_admin=True)
HERE = "http://127.0.0.1:8080"
SOCKET = "ws://127.0.0.1:8080/api/ws"


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ({"type": "offer", "id": "1", "camera": "door", "sdp": "v"}, Watch("1", "door", "v")),
        (
            {"type": "offer", "id": "1", "camera": "door", "sdp": "v", "small": True, "raw": 1},
            Watch("1", "door", "v", small=True),
        ),
        ({"type": "offer", "id": "1", "publish": "me", "sdp": "v"}, Publish("1", "me", "v")),
        ({"type": "close", "id": "1"}, Close("1")),
        ({"type": "follow", "camera": "door"}, Follow("door")),
        ({"type": "follow", "camera": None}, Follow(None)),
    ],
)
def test_messages_are_read(message, request_):
    assert parse(json.dumps(message)) == request_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"type": "offer"}',
        '{"type": "offer", "id": 1, "camera": "door", "sdp": "v"}',
        '{"type": "offer", "id": "1", "camera": "door", "sdp": null}',
        '{"type": "follow"}',
        '{"type": "close"}',
        '{"type": "shutdown"}',
        "[" * 100_000,
        " " * (MAX_MESSAGE + 1),
    ],
)
def test_wrong_messages_are_refused_in_one_line(text):
    with pytest.raises(SignalingError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "offer_id"),
    [("", None), ("[1]", None), ('{"id": 4}', None), ('{"id": "4"}', "4"), ("[" * 100_000, None)],
)
def test_refusals_name_the_offer_where_there_is_one(text, offer_id):
    assert offer_id_of(text) == offer_id


@pytest.fixture
def service(tmp_path):
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        yield FakeService(gallery, event_log)


@pytest.fixture
def client(service):
    with TestClient(create_app(service), base_url=HERE) as client:
        yield client


def hear(socket, kind):
    """Return the next message of a kind, of the few that come."""
    for _ in range(50):
        message = socket.receive_json()
        if message["type"] == kind:
            return message
    raise AssertionError(f"no message of type {kind}")


def test_cameras_are_told_at_once_and_on_change(client, service):
    with client.websocket_connect(SOCKET) as socket:
        assert [each["name"] for each in hear(socket, "cameras")["cameras"]] == ["door"]
        service.cameras.put(status("yard", reason="timed out"))
        told = hear(socket, "cameras")["cameras"]
        assert [(each["name"], each["reason"]) for each in told] == [
            ("door", ""),
            ("yard", "timed out"),
        ]


def test_offers_are_answered_and_closed(client, service):
    with client.websocket_connect(SOCKET) as socket:
        offer = {"type": "offer", "id": "1", "camera": "door", "sdp": "v=0"}
        socket.send_json(offer)
        answer = hear(socket, "answer")
        assert answer == {
            "type": "answer",
            "id": "1",
            "peer": "peer0",
            "sdp": "v=0 answer",
            "via": "facewire",
            "notice": "",
        }
        socket.send_json(offer)
        assert "once" in hear(socket, "error")["message"]
        socket.send_json({"type": "close", "id": "1"})
        socket.send_json({"type": "close", "id": "1"})
        socket.send_json({**offer, "id": "2"})
        assert hear(socket, "answer")["id"] == "2"
    assert service.peers.closed == ["peer0", "peer1"]
    assert not service.peers.open


def test_refused_offers_name_their_reason(client, service):
    with client.websocket_connect(SOCKET) as socket:
        socket.send_json({"type": "offer", "id": "1", "camera": "none", "sdp": "v=0"})
        error = hear(socket, "error")
        assert (error["id"], error["message"]) == ("1", "there is no camera named 'none'")
        socket.send_json({"type": "offer", "id": "2", "camera": "door", "sdp": "bad"})
        assert hear(socket, "error")["id"] == "2"
        socket.send_text("hello")
        assert hear(socket, "error")["id"] is None


def test_a_browser_brings_its_camera_until_its_socket_closes(client, service):
    with client.websocket_connect(SOCKET) as socket:
        socket.send_json({"type": "offer", "id": "1", "publish": "me", "sdp": "v=0"})
        hear(socket, "answer")
        assert "me" in service.cameras.by_name
        socket.send_json({"type": "offer", "id": "2", "publish": "me", "sdp": "v=0"})
        assert "already" in hear(socket, "error")["message"]
    client.get("/healthz")
    assert "me" not in service.cameras.by_name


def test_a_peer_that_ends_is_told(client, service):
    with client.websocket_connect(SOCKET) as socket:
        socket.send_json({"type": "offer", "id": "1", "camera": "door", "sdp": "v=0"})
        answer = hear(socket, "answer")
        client.delete(f"/api/cameras/door/whep/{answer['peer']}")
        assert hear(socket, "closed") == {"type": "closed", "id": "1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        '{"type": "follow", "camera": "\\ud800"}',
        '{"type": "offer", "id": "\\ud800", "camera": "door", "sdp": "v"}',
        '{"type": "offer", "id": "1", "camera": "door", "sdp": "\\ud800"}',
        '{"type": "offer", "id": "' + "1" * 1000 + '", "camera": "door", "sdp": "v"}',
        '{"type": "offer", "id": "1", "publish": {}, "sdp": "v"}',
        '{"type": ' + "9" * 5000 + "}",
    ],
)
def test_a_message_that_is_none_is_answered_and_the_page_stays(client, text):
    with client.websocket_connect(SOCKET) as socket:
        socket.send_text(text)
        assert hear(socket, "error")["message"]
        socket.send_bytes(b"\x00\xff")
        assert hear(socket, "error")["message"] == "a message must be JSON"
        socket.send_json({"type": "offer", "id": "7", "camera": "door", "sdp": "v=0"})
        assert hear(socket, "answer")["id"] == "7"


def test_followed_faces_are_told_once_a_frame(client, service):
    service.cameras.show_faces("door", (track(4),))
    with client.websocket_connect(SOCKET) as socket:
        socket.send_json({"type": "follow", "camera": "none"})
        socket.send_json({"type": "follow", "camera": "door"})
        message = hear(socket, "tracks")
        assert (message["camera"], message["width"]) == ("door", 1280)
        assert message["tracks"][0]["track_id"] == "run-4"


def test_events_are_told_live(client, service):
    with client.websocket_connect(SOCKET) as socket:
        hear(socket, "cameras")
        crop = np.zeros((112, 112, 3), np.uint8)
        event = service.event_log.append(
            Event(EventKind.UNKNOWN, "door", 1.0, "run-9", None, 0.5, crop), 1_700_000_000.0
        )
        client.portal.call(service.journal.events.publish, event)
        told = hear(socket, "event")["event"]
        assert (told["id"], told["kind"], told["has_crop"]) == (event.id, "unknown", True)


def test_foreign_sites_get_no_socket(client):
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect(SOCKET, headers={"origin": "http://evil.example"}),
    ):
        pass
    assert caught.value.code == 1008


def test_without_the_token_there_is_no_socket(service):
    app = create_app(service, token="correct horse battery")
    with (
        TestClient(app, base_url=HERE) as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(SOCKET),
    ):
        pass


class SilentSocket:
    """A page that opens its socket and never reads."""

    def __init__(self):
        self.code = None

    async def receive(self):
        await asyncio.Event().wait()

    async def send_text(self, text):
        await asyncio.Event().wait()

    async def close(self, code, reason):
        self.code = code


def test_a_page_that_does_not_read_is_let_go(service):
    async def scenario():
        socket = SilentSocket()
        cameras = CameraMessages(service.cameras, time.monotonic)
        talk = asyncio.create_task(
            Conversation(
                service, cast(Any, socket), client=ME, pages=Budget("pages", 2), cameras=cameras
            ).run()
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        crop = np.zeros((112, 112, 3), np.uint8)
        event = service.event_log.append(
            Event(EventKind.UNKNOWN, "door", 1.0, "run-9", None, 0.5, crop), 1_700_000_000.0
        )
        for _ in range(MAX_WAITING + 2):
            service.journal.events.publish(event)
            await asyncio.sleep(0)
        await asyncio.wait_for(talk, 5)
        return socket.code

    assert asyncio.run(scenario()) == 1013
