"""Events, health, integrations and figures by the HTTP API."""

import json
import sqlite3

from starlette.testclient import TestClient

from gallery import Match
from stream.api.app import create_app
from stream.frames import Event, EventKind
from stream.integrations.delivery import DeliveryStatus
from stream.integrations.mqtt.client import MqttStatus
from stream.integrations.status import of_mqtt, of_webhook
from tests.unit.stream.api.asking import HERE, TOKEN, assert_error, enrol, happen


def test_what_runs_and_how_long_it_remembers(client, service):
    about = client.get("/api/about").json()
    assert about["keep_days"] == service.event_log.keep_days
    assert about["threshold"] == service.matching.threshold
    assert 0 <= about["used_mib"] < about["keep_mib"]


def test_integrations_are_listed_with_what_is_wrong(client, service):
    assert client.get("/api/integrations").json() == {"integrations": []}
    away = MqttStatus(
        broker="192.0.2.5:1883",
        is_connected=False,
        published=7,
        dropped=0,
        errors=2,
        waiting=3,
        trouble="cannot be reached: connection refused",
    )
    hook = DeliveryStatus("1 at https://192.0.2.9", 5, 0, 1, 0, "")
    service.linked = [of_mqtt(away, waiting=3, dropped=2), of_webhook(hook)]
    assert client.get("/api/integrations").json()["integrations"] == [
        {
            "name": "MQTT",
            "where": "192.0.2.5:1883",
            "is_working": False,
            "detail": "7 messages published, 3 wait, 2 messages dropped",
            "trouble": "the broker 192.0.2.5:1883 cannot be reached: connection refused",
        },
        {
            "name": "Webhook 1",
            "where": "https://192.0.2.9",
            "is_working": True,
            "detail": "5 events delivered, 1 given up",
            "trouble": "",
        },
    ]


def test_a_viewer_sees_that_an_integration_fails_but_no_address(viewer, service):
    hook = DeliveryStatus("1 at https://192.0.2.9", 5, 1, 0, 1, "cannot be reached at 192.0.2.9")
    service.linked = [of_webhook(hook)]
    (shown,) = viewer.get("/api/integrations").json()["integrations"]
    assert (shown["name"], shown["where"], shown["trouble"]) == ("Webhook 1", "", "fails")
    service.problems = lambda *, is_admin: ["webhook 1 at 192.0.2.9" if is_admin else "webhook 1"]
    assert viewer.get("/healthz").json()["problems"] == ["webhook 1"]
    viewer.post("/api/session", json={"token": TOKEN})
    admin = viewer.get("/healthz")
    assert admin.json()["problems"] == ["webhook 1 at 192.0.2.9"]


def test_events_are_paged_and_filtered(client, service):
    assert client.get("/api/events").json() == {"events": [], "cursor": None}
    ada = enrol(service, "Ada", 1)
    happen(service, EventKind.CAMERA_UP)
    happen(service, EventKind.ENTER, match=Match(ada, 0.9))
    happen(service, EventKind.UNKNOWN, camera="yard")
    page = client.get("/api/events?limit=2").json()
    assert [event["kind"] for event in page["events"]] == ["unknown", "enter"]
    assert page["events"][1]["name"] == "Ada"
    assert page["events"][1]["at"] == "2023-11-14T22:13:20.250Z"
    rest = client.get(f"/api/events?limit=2&cursor={page['cursor']}").json()
    assert [event["kind"] for event in rest["events"]] == ["camera_up"]
    assert rest["cursor"] is None
    only = client.get("/api/events?kind=enter&kind=unknown&camera=yard").json()
    assert [event["camera"] for event in only["events"]] == ["yard"]
    day = "after=2023-11-14T00:00:00Z&before=2023-11-15T00:00:00Z"
    assert len(client.get(f"/api/events?{day}").json()["events"]) == 3
    later = client.get("/api/events?after=2023-11-15T00:00:00%2B01:00").json()
    assert later["events"] == []
    assert_error(client.get("/api/events?after=today"), 422, "after")
    assert_error(client.get("/api/events?kind=party"), 422, "kind")
    assert_error(client.get("/api/events?limit=0"), 422, "limit")


def test_event_pictures(client, service):
    with_crop = happen(service, EventKind.UNKNOWN)
    without = happen(service, EventKind.CAMERA_UP)
    answer = client.get(f"/api/events/{with_crop.id}/crop.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, no-cache", "the person may be erased"
    seen = {"if-none-match": answer.headers["etag"]}
    again = client.get(f"/api/events/{with_crop.id}/crop.jpg", headers=seen)
    assert (again.status_code, again.content) == (304, b"")
    assert_error(client.get(f"/api/events/{without.id}/crop.jpg"), 404)
    assert_error(client.get("/api/events/999/crop.jpg"), 404)


def test_health(client, service):
    healthy = client.get("/healthz")
    assert (healthy.status_code, healthy.json()["status"]) == (200, "ready")
    assert healthy.json()["is_demo"] is True
    service.complaints = ["camera door is failing: timed out"]
    assert client.get("/healthz").json()["status"] == "degraded"
    service.is_recognizing = False
    assert client.get("/healthz").status_code == 503


def test_people_whom_the_gallery_does_not_know_are_a_notice_and_no_problem(client, service):
    ada = enrol(service, "Ada", 1)
    happen(service, EventKind.ENTER, match=Match(ada, 0.9))
    assert client.get("/healthz").json()["notices"] == []
    with service.gallery.store.writing() as connection:  # as in a backup without her
        connection.execute("DELETE FROM identities")
    (event,) = client.get("/api/events").json()["events"]
    assert (event["name"], event["identity_id"]) == ("Ada", None)
    health = client.get("/healthz").json()
    assert (health["status"], health["problems"]) == ("ready", [])
    (notice,) = health["notices"]
    assert "1 person whom this gallery does not know" in notice


def test_a_log_of_events_that_cannot_be_used_is_no_mistake_of_who_asks(client, service, tmp_path):
    kept = happen(service, EventKind.UNKNOWN)
    log = service.event_log
    log._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(log._path, isolation_level=None)
    ada = enrol(service, "Ada", 1)
    happen(service, EventKind.ENTER, match=Match(ada, 0.9))
    other.execute("BEGIN IMMEDIATE")
    assert client.get("/api/events").status_code == 200, "reading needs no lock"
    other.execute("ROLLBACK")
    bob = enrol(service, "Bob", 2)
    log.append(Event(EventKind.ENTER, "door", 5.0, "run-9", Match(bob, 0.9), 4.0, None), 1.0)
    other.execute("BEGIN IMMEDIATE")
    service.gallery.people.rename(ada.identity_id, "Ada L.")
    assert_error(client.get("/api/events"), 503, "another program holds")
    refused = client.delete(f"/api/identities/{bob.identity_id}")
    assert_error(refused, 503, "the person is erased; their past events will be")
    other.execute("ROLLBACK")
    assert "Bob" not in client.get("/api/events").text
    assert client.get("/api/events").json()["events"][0]["name"] == "Ada L."
    for _ in range(100):
        happen(service, EventKind.ENTER, match=Match(ada, 0.9))
    log._connection.execute("PRAGMA max_page_count = 1")  # as good as a disk without room
    service.gallery.people.rename(ada.identity_id, "Ada " + 190 * "L")
    assert_error(client.get("/api/events"), 507, "full")
    other.execute("DROP TABLE events")
    other.close()
    assert_error(client.get(f"/api/events/{kept.id}/crop.jpg"), 503, "no such table")


def test_metrics_hold_histograms(client, service):
    service.figures.stage("detect")(0.004)
    service.figures.latency("door")(0.03)
    service.figures.time_to_name.observe(0.25)
    service.figures.tick(4, 2)
    text = client.get("/metrics").text
    assert 'facewire_stage_seconds_bucket{le="0.005",stage="detect"} 1.0' in text
    assert 'facewire_camera_latency_seconds_count{camera="door"} 1.0' in text
    assert 'facewire_time_to_name_seconds_bucket{le="0.2"} 0.0' in text
    assert 'facewire_time_to_name_seconds_bucket{le="0.3"} 1.0' in text
    assert 'facewire_tick_frames_bucket{le="4.0"} 1.0' in text
    service.figures.forget("door")
    assert "facewire_camera_latency_seconds_count{" not in client.get("/metrics").text


def test_metrics_count_every_drop(client):
    text = client.get("/metrics").text
    assert 'facewire_camera_captured_frames_total{camera="door"} 100.0' in text
    assert 'facewire_camera_dropped_frames_total{camera="door",cause="recognition"} 3.0' in text
    assert 'facewire_camera_dropped_frames_total{camera="door",cause="encoder"} 1.0' in text
    assert 'facewire_camera_dropped_frames_total{camera="door",cause="viewers"} 6.0' in text
    assert 'facewire_camera_dropped_frames_total{camera="door",cause="damaged"} 5.0' in text
    assert 'facewire_camera_encoder_queue{camera="door"} 2.0' in text
    assert 'facewire_queue_depth{queue="events"} 2.0' in text
    assert 'facewire_camera_up{camera="door"} 1.0' in text


def test_surprises_say_nothing_of_their_insides(service):
    service.cameras = lambda: 1 / 0
    client = TestClient(create_app(service), base_url=HERE, raise_server_exceptions=False)
    answer = client.get("/api/cameras")
    assert_error(answer, 500, "see the service's log")
    assert "division" not in json.dumps(answer.json())
