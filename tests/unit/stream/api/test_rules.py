"""The HTTP API of notifications: rules, what viewers see of them, and devices."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from stream.frames import Event, EventKind
from stream.service import Service
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer
from tests.mosquitto import until
from tests.ports import HeldPort
from tests.unit.stream.integrations.test_push_encryption import AUTH, BROWSER_POINT

HERE = "http://127.0.0.1:8080"
TOKEN, VIEWER = "correct horse battery", "only looking around"

NTFY = {
    "type": "webhook",
    "url": "https://ntfy.sh/my-secret-topic?x={name}",
    "headers": {"Authorization": "Bearer tk_secret"},
    "body": "{text}",
    "format": "text",
}
RULE = {"name": "Strangers at night", "who": ["unknown"], "hours": "22:00-06:00", "then": [NTFY]}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        fake = FakeService(gallery, event_log)
        yield fake
        fake.rules.stop()
        fake.rules.join(lambda: 10.0)


@cache
def an_app(**settings: Any) -> FastAPI:
    """Return an application without a service; FastAPI needs 0.3 s for the first request."""
    return create_app(MagicMock(), **settings)


@pytest.fixture
def client(service: FakeService) -> TestClient:
    app = an_app()
    app.state.service = service
    return TestClient(app, base_url=HERE)


@pytest.fixture
def admin(service: FakeService) -> TestClient:
    return _guarded(service, TOKEN)


@pytest.fixture
def viewer(service: FakeService) -> TestClient:
    return _guarded(service, VIEWER)


def _guarded(service: FakeService, token: str) -> TestClient:
    app = an_app(token=TOKEN, viewer_token=VIEWER)
    app.state.service = service
    return TestClient(app, base_url=HERE, headers={"authorization": f"Bearer {token}"})


def test_a_rule_is_made_listed_changed_and_removed(
    client: TestClient, service: FakeService
) -> None:
    assert client.get("/api/rules").json() == {
        "rules": [],
        "services": ["phone"],
        "groups": ["family"],
        "has_apprise": True,
        "has_broker": False,
        "time_zone": service.visit_rules.zone_name,
    }
    answer = client.post("/api/rules", json=RULE)
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/api/rules/{made['rule_id']}"
    assert (made["name"], made["who"], made["kinds"]) == (
        "Strangers at night",
        ["unknown"],
        ["enter", "unknown"],
    )
    assert (made["fired"], made["last_fired"], made["is_paused"]) == (0, None, False)
    path = answer.headers["location"]
    changed = client.put(path, json={**RULE, "name": "At night"})
    assert changed.json()["name"] == "At night"
    assert [rule["name"] for rule in client.get("/api/rules").json()["rules"]] == ["At night"]
    assert client.delete(path).status_code == 204
    assert client.get("/api/rules").json()["rules"] == []
    for gone in (client.put(path, json=RULE), client.delete(path), client.post(f"{path}/test")):
        assert gone.status_code == 404
        assert "there is no rule" in gone.json()["error"]


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [
        ({"name": ""}, 422, "name: "),
        ({"hours": "25:00-26:00"}, 422, 'must be like "22:00-06:00"'),
        ({"days": ["someday"]}, 422, "days"),
        ({"then": []}, 422, "then"),
        ({"then": [{"type": "carrier pigeon"}]}, 422, "then"),
        ({"then": [{**NTFY, "url": "https://h/{nobody}"}]}, 422, "{nobody} is no placeholder"),
        ({"then": [{"type": "apprise", "service": "other"}]}, 400, "the service 'other'"),
        ({"who": ["@nobodies"]}, 400, "the group 'nobodies'"),
        ({"rooms": ["porch"]}, 422, "extra"),
        ({"zones": ["the porch"]}, 422, "must be 1 to 64 letters, digits, - or _"),
        ({"kinds": ["zone"]}, 422, "name the zones under `zones`"),
    ],
)
def test_what_a_rule_cannot_be(
    client: TestClient, change: dict[str, object], status: int, problem: str
) -> None:
    answer = client.post("/api/rules", json={**RULE, **change})
    assert answer.status_code == status
    assert problem.lower() in answer.json()["error"].lower()
    assert "secret" not in answer.json()["error"]


def test_a_name_is_taken_once(client: TestClient) -> None:
    assert client.post("/api/rules", json=RULE).status_code == 201
    assert "already" in client.post("/api/rules", json=RULE).json()["error"]


def test_secrets_are_shown_to_nobody_and_kept_when_they_come_back(
    admin: TestClient, viewer: TestClient, service: FakeService
) -> None:
    path = admin.post("/api/rules", json=RULE).headers["location"]
    (shown,) = admin.get("/api/rules").json()["rules"]
    settings = shown["then"][0]["settings"]
    assert settings["url"] == "https://ntfy.sh/***"
    assert settings["headers"] == {"Authorization": "***"}
    for each in (admin, viewer):
        assert "secret" not in each.get("/api/rules").text
        assert "secret" not in each.get("/metrics").text
    (seen,) = viewer.get("/api/rules").json()["rules"]
    assert seen["then"][0]["settings"] is None
    assert shown["then"][0]["label"] == "webhook at https://ntfy.sh"
    answer = admin.put(path, json={**RULE, "then": [{**settings, "body": "{name}"}]})
    assert answer.status_code == 200
    (action,) = service.rules.statuses()[0].config.then
    assert action.url == NTFY["url"]
    assert action.headers == NTFY["headers"]
    assert action.body == "{name}"
    for unknown in (
        {**settings, "url": "https://other.example/***"},
        {**settings, "headers": {"X-New": "***"}},
    ):
        answer = admin.put(path, json={**RULE, "then": [unknown]})
        assert (answer.status_code, answer.json()["error"]) == (
            422,
            "enter the address and headers in full, without ***",
        )
    assert admin.post("/api/rules", json={**RULE, "name": "b", "then": [settings]}).status_code == (
        422
    )


def test_viewers_see_no_address_of_what_fails(
    admin: TestClient, viewer: TestClient, service: FakeService
) -> None:
    with HeldPort() as held:
        hook = {"type": "webhook", "url": f"http://127.0.0.1:{held.port}/"}
        device = {
            "name": "Ada's telephone",
            "endpoint": f"http://127.0.0.1:{held.port}/push",
            "p256dh": BROWSER_POINT,
            "auth": AUTH,
        }
        assert admin.post("/api/push/devices", json=device).status_code == 201
        then = [hook, {"type": "push"}]
        rule = {"name": "Door: night", "kinds": ["camera_down"], "then": then}
        assert admin.post("/api/rules", json=rule).status_code == 201
        down = Event(EventKind.CAMERA_DOWN, "door", 1.0, None, None, 1.0, None)
        service.rules.offer(service.event_log.append(down, 1_795_000_000.0))
        until(lambda: len(service.rules.problems(zones=())) == 2)
        (shown,) = admin.get("/api/rules").json()["rules"]
        (seen,) = viewer.get("/api/rules").json()["rules"]
    assert [each["label"] for each in shown["then"]] == [
        f"webhook at http://127.0.0.1:{held.port}",
        "subscribed devices",
    ]
    assert "Ada's telephone" in shown["then"][1]["trouble"]
    assert [(each["label"], each["trouble"]) for each in seen["then"]] == [
        ("webhook", "fails"),
        ("push", "fails"),
    ]


def test_viewers_read_only(admin: TestClient, viewer: TestClient) -> None:
    path = admin.post("/api/rules", json=RULE).headers["location"]
    assert viewer.get("/api/rules").status_code == 200
    for answer in (
        viewer.post("/api/rules", json=RULE),
        viewer.put(path, json=RULE),
        viewer.delete(path),
        viewer.post(f"{path}/test"),
        viewer.post(f"{path}/pause", json={"is_paused": True}),
    ):
        assert answer.status_code == 403


def test_a_rule_is_paused_for_an_hour_and_until_it_is_switched_on(client: TestClient) -> None:
    path = f"{client.post('/api/rules', json=RULE).headers['location']}/pause"
    paused = client.post(path, json={"is_paused": True, "for_s": 3600}).json()
    assert paused["is_paused"]
    assert paused["paused_until"] is not None
    paused = client.post(path, json={"is_paused": True}).json()
    assert (paused["is_paused"], paused["paused_until"]) == (True, None)
    assert not client.post(path, json={"is_paused": False}).json()["is_paused"]
    assert client.post(path, json={"is_paused": True, "for_s": 0}).status_code == 422


def test_a_device_is_added_listed_and_removed(admin: TestClient, viewer: TestClient) -> None:
    known = {
        "name": "Chrome on Android",
        "endpoint": "https://fcm.googleapis.com/fcm/send/abc",
        "p256dh": BROWSER_POINT,
        "auth": AUTH,
    }
    other = {**known, "name": "Other", "endpoint": "https://192.0.2.1/push"}
    assert len(viewer.get("/api/push").json()["public_key"]) == 87
    answer = viewer.post("/api/push/devices", json=known)
    assert (answer.status_code, answer.json()["role"]) == (201, "viewer")
    refused = viewer.post("/api/push/devices", json=other)
    assert (refused.status_code, "browser's push service" in refused.json()["error"]) == (422, True)
    assert admin.post("/api/push/devices", json=other).status_code == 201
    assert admin.post("/api/push/devices", json=other).status_code == 201, "the same one again"
    assert viewer.get("/api/push").json()["devices"] == []
    listed = admin.get("/api/push").json()
    assert [each["name"] for each in listed["devices"]] == ["Chrome on Android", "Other"]
    assert AUTH not in admin.get("/api/push").text
    path = f"/api/push/devices/{answer.json()['device_id']}"
    assert viewer.delete(path).status_code == 204
    assert viewer.delete(path).status_code == 404
    bad = admin.post("/api/push/devices", json={**known, "auth": "x"})
    assert (bad.status_code, "16 bytes" in bad.json()["error"]) == (422, True)


def test_metrics_count_what_rules_did(service: FakeService) -> None:
    client = TestClient(create_app(cast(Service, service)), base_url=HERE)
    client.post("/api/rules", json=RULE)
    lines = client.get("/metrics").text.splitlines()
    assert 'facewire_rule_fired_total{rule="Strangers at night"} 0.0' in lines
    assert (
        'facewire_notification_delivered_events_total{action="webhook",number="1",'
        'rule="Strangers at night"} 0.0'
    ) in lines
