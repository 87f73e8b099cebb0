import base64
import json
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from gallery import Gallery, Identity, Match, NewPhoto
from gallery.errors import GalleryUnreachableError
from stream.api.app import create_app
from stream.api.proxies import TrustedProxies
from stream.api.security import BODY_BYTES, UPLOAD_BYTES, Attempts, Keys
from stream.events.log import EventLog
from stream.frames import Event, EventKind
from stream.integrations.delivery import DeliveryStatus
from stream.integrations.mqtt.client import MqttStatus
from stream.integrations.status import of_mqtt, of_webhook
from tests.fake_service import FakeService, status, track
from tests.fakes import EMBEDDING_SIZE, FakeFace, FakeRecognizer, looks_like

TOKEN = "correct horse battery"
HERE = "http://127.0.0.1:8080"
SDP = {"content-type": "application/sdp"}


@pytest.fixture
def service(tmp_path):
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        yield FakeService(gallery, event_log)


@pytest.fixture
def client(service):
    with TestClient(create_app(service), base_url=HERE) as client:
        yield client


@pytest.fixture
def guarded(service):
    with TestClient(create_app(service, token=TOKEN), base_url=HERE) as client:
        yield client


def enrol(service, name, person):
    crop = np.full((112, 112, 3), person, np.uint8)
    return service.gallery.photos.add(
        name, [NewPhoto(looks_like(person), crop, f"{person:064x}", 0.9)]
    )[0]


def photo(service, *faces):
    """Return a PNG in which the fake recognizer detects these faces."""
    frame = service.world.frame(faces, at=0.0, scene=len(service.world.scenes))
    _, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    return png.tobytes()


def assert_error(answer, status_code, *words):
    assert answer.status_code == status_code
    body = answer.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    for word in words:
        assert word in body["error"]


# The page


def test_page_and_its_modules_come_from_here_alone(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "<title>facewire</title>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-cache"
    assert " style=" not in page.text
    assert "<script>" not in page.text
    for part in ("app.js", "style.css", "icon.svg", "glyphs.svg", "connection/link.js"):
        assert client.get(f"/{part}").status_code == 200
    assert_error(client.get("/nothing.js"), 404)


def test_openapi_is_served_without_foreign_pages(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert "/api/cameras/{camera}/whep" in paths
    assert client.get("/docs").status_code == 404


# Who may ask


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080"])
def test_foreign_host_is_refused(client, host):
    answer = client.get("/api/cameras", headers={"host": host})
    assert_error(answer, 421, "name")
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_foreign_origin_is_refused(client, service, origin):
    headers = {"origin": origin}
    assert_error(client.get("/api/cameras", headers=headers), 403, "other sites")
    assert_error(client.delete("/api/cameras/door", headers=headers), 403)
    assert "door" in service.cameras.by_name


def test_own_origin_passes(client):
    assert client.get("/api/cameras", headers={"origin": HERE}).status_code == 200


def test_allowed_host_passes(service):
    app = create_app(service, allowed_hosts=["cams.example"])
    with TestClient(app, base_url="https://cams.example") as client:
        headers = {"origin": "https://cams.example"}
        assert client.get("/api/cameras", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/api/cameras", "/api/events", "/metrics", "/openapi.json"])
def test_token_is_needed_for_all_that_tells(guarded, path):
    assert_error(guarded.get(path), 401, "token")
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_without_token_health_gives_no_reasons(guarded, service):
    service.complaints = ["camera door is failing: cannot open rtsp://192.0.2.7/live"]
    assert guarded.get("/healthz").json()["problems"] == []
    trusted = guarded.get("/healthz", headers={"authorization": f"Bearer {TOKEN}"})
    assert trusted.json()["problems"] == service.complaints


def test_signing_in_sets_a_cookie_that_opens(guarded):
    assert_error(guarded.post("/api/session", json={"token": "wrong"}), 403)
    answer = guarded.post("/api/session", json={"token": TOKEN})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in answer.headers["set-cookie"]
    assert Keys(TOKEN).cookie in guarded.cookies
    assert guarded.get("/api/cameras").status_code == 200


def test_signing_out_forgets_the_browser(guarded):
    guarded.post("/api/session", json={"token": TOKEN})
    assert guarded.delete("/api/session").status_code == 204
    assert_error(guarded.get("/api/cameras"), 401)
    assert guarded.delete("/api/session").status_code == 204


def test_guessing_the_token_is_refused_after_some_and_locks_nobody_out(guarded):
    for _ in range(Attempts.MAX_FAILURES):
        assert_error(guarded.post("/api/session", json={"token": "wrong"}), 403)
    refused = guarded.post("/api/session", json={"token": "wrong"})
    assert_error(refused, 429, "wait")
    assert refused.headers["retry-after"] == "60"
    assert guarded.post("/api/session", json={"token": TOKEN}).status_code == 204


def test_guessing_by_bearer_is_refused_too_and_locks_nobody_out(guarded):
    wrong = {"authorization": "Bearer wrong"}
    for _ in range(Attempts.MAX_FAILURES):
        assert_error(guarded.get("/api/cameras", headers=wrong), 401)
    assert_error(guarded.get("/api/cameras", headers=wrong), 429, "wait")
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/cameras", headers=right).status_code == 200
    assert guarded.get("/healthz", headers=wrong).status_code == 200


def test_a_client_does_not_choose_its_address(guarded):
    for number in range(Attempts.MAX_FAILURES + 1):
        headers = {"authorization": "Bearer wrong", "x-forwarded-for": f"192.0.2.{number}"}
        answer = guarded.get("/api/cameras", headers=headers)
    assert_error(answer, 429)


def test_a_trusted_proxy_tells_addresses_apart(service):
    app = create_app(service, token=TOKEN, proxies=TrustedProxies(["10.0.0.0/8"]))
    wrong = {"authorization": "Bearer wrong"}
    with TestClient(app, base_url=HERE, client=("10.0.0.1", 1)) as client:

        def ask(forwarded):
            return client.get("/api/cameras", headers={**wrong, "x-forwarded-for": forwarded})

        # What the browser itself sent stands before what the proxy added.
        for number in range(Attempts.MAX_FAILURES):
            assert_error(ask(f"198.51.100.{number}, 192.0.2.7"), 401)
        assert_error(ask("192.0.2.7"), 429)
        assert_error(ask("192.0.2.8"), 401)


@pytest.fixture
def viewer(service):
    app = create_app(service, token=TOKEN, viewer_token="only looking around")
    with TestClient(app, base_url=HERE) as client:
        client.post("/api/session", json={"token": "only looking around"})
        yield client


def test_a_viewer_watches_and_reads(viewer, service):
    assert viewer.get("/api/session").json()["role"] == "viewer"
    for path in ("/api/cameras", "/api/events", "/api/identities", "/metrics", "/"):
        assert viewer.get(path).status_code == 200
    answer = viewer.post("/api/cameras/door/whep", content="v=0 offer", headers=SDP)
    assert answer.status_code == 201
    assert viewer.delete(answer.headers["location"]).status_code == 200
    service.complaints = ["camera door is failing"]
    assert viewer.get("/healthz").json()["problems"] == service.complaints


def test_a_viewer_changes_nothing(viewer, service):
    ada = enrol(service, "Ada", 1)
    answers = [
        viewer.post("/api/cameras", json={"name": "yard", "url": "yard.mp4"}),
        viewer.patch("/api/cameras/door", json={"enabled": False}),
        viewer.delete("/api/cameras/door"),
        viewer.post("/api/cameras/door/tracks/run-5/name", json={"name": "Ada"}),
        viewer.post("/api/whip", content="v=0 offer", headers=SDP),
        viewer.delete(f"/api/identities/{ada.identity_id}"),
        viewer.patch(f"/api/identities/{ada.identity_id}", json={"name": "Eve"}),
    ]
    for answer in answers:
        assert_error(answer, 403, "viewers may only watch")
    assert list(service.cameras.by_name) == ["door"]
    assert [each.identity.name for each in service.gallery.people.summaries()] == ["Ada"]


def test_a_viewer_brings_no_camera_over_the_socket(viewer, service):
    with viewer.websocket_connect("ws://127.0.0.1:8080/api/ws") as socket:
        socket.send_json({"type": "offer", "id": "1", "publish": "phone", "sdp": "v=0"})
        while (message := socket.receive_json())["type"] != "error":
            pass
    assert "viewers may only watch" in message["message"]
    assert list(service.cameras.by_name) == ["door"]


def test_the_role_is_told(guarded, client, service):
    zone = service.visit_rules.zone_name
    assert client.get("/api/session").json() == {"role": "admin", "time_zone": zone}
    assert guarded.get("/api/session").json() == {"role": None, "time_zone": ""}
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/session", headers=right).json()["role"] == "admin"


def test_signing_in_without_need_is_harmless(client):
    assert client.post("/api/session", json={"token": "any"}).status_code == 204


def test_large_bodies_are_refused(client):
    body = b"x" * (BODY_BYTES + 1)
    assert_error(client.post("/api/whip", content=body, headers=SDP), 413, "larger")
    chunks = (b"x" * 65536 for _ in range(5))  # without an announced length
    assert_error(client.post("/api/whip", content=chunks, headers=SDP), 413, "larger")


def test_large_uploads_are_refused(client):
    files = {"photo": ("big.png", b"\0" * (UPLOAD_BYTES + 1))}
    assert_error(client.post("/api/identify", files=files), 413, "larger")


# Cameras


def test_cameras_are_listed_with_masked_passwords(client, service):
    service.cameras.put(status("yard", reason="cannot open rtsp://user:***@192.0.2.8: timed out"))
    door, yard = client.get("/api/cameras").json()
    assert door["name"] == "door"
    assert (door["state"], door["fps_in"], door["latency_p95_ms"]) == ("live", 25.0, 51.3)
    assert (yard["state"], yard["reason"][:11]) == ("failing", "cannot open")


def test_camera_is_added_and_removed(client, service):
    new = {"name": "yard", "url": "rtsp://user:hunter2@192.0.2.8/live"}
    answer = client.post("/api/cameras", json=new)
    assert answer.status_code == 201
    assert answer.headers["location"] == "/api/cameras/yard"
    assert "hunter2" not in answer.text
    assert_error(client.post("/api/cameras", json=new), 409, "already")
    assert client.delete("/api/cameras/yard").status_code == 204
    assert_error(client.delete("/api/cameras/yard"), 404, "yard")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "name"),
        ({"name": "a b", "url": "rtsp://user:hunter2@h/"}, "letters"),
        ({"name": "yard"}, "url"),
        ({"name": "yard", "url": "x", "colour": "red"}, "colour"),
        ([], "body"),
    ],
)
def test_wrong_camera_is_one_line_without_its_password(client, body, word):
    answer = client.post("/api/cameras", json=body)
    assert_error(answer, 422, word)
    assert "hunter2" not in answer.text


def test_camera_is_changed_and_shows_its_settings(client, service):
    whole = client.get("/api/cameras/door").json()["settings"]
    assert whole == {
        "url": "rtsp://***@192.0.2.7/live",
        "rtsp_transport": "tcp",
        "loop": True,
        "target_fps": None,
        "min_face_px": None,
        "rotation": 0,
        "region": None,
        "zones": {},
        "open_timeout_s": 10.0,
        "read_timeout_s": 5.0,
        "frozen_after_s": 30.0,
        "pixel_aspect": "auto",
        "deinterlace": "auto",
        "verify_tls": True,
        "enabled": True,
    }
    change = {"min_face_px": 60, "rotation": 90, "region": [0, 0.25, 0.5, 1], "target_fps": 5}
    change["zones"] = {"porch": [[0, 0.5], [0.4, 0.5], [0.4, 1]]}
    answer = client.patch("/api/cameras/door", json=change)
    assert answer.status_code == 200
    assert answer.json()["settings"] == {**whole, **change}
    answer = client.patch("/api/cameras/door", json={"region": None, "enabled": False})
    assert answer.json()["settings"] == {**whole, **change, "region": None, "enabled": False}
    assert client.patch("/api/cameras/door", json={}).status_code == 200
    assert_error(client.get("/api/cameras/none"), 404, "none")
    assert_error(client.patch("/api/cameras/none", json={}), 404, "none")


def test_a_camera_has_the_rotation_that_its_faces_suggest(client, service):
    assert client.get("/api/cameras/door").json()["suggested_rotation"] is None
    service.cameras.put(replace(status("yard"), suggested_rotation=180))
    assert client.get("/api/cameras/yard").json()["suggested_rotation"] == 180


def test_a_camera_is_renamed(client, service):
    answer = client.patch("/api/cameras/door", json={"name": "front", "rotation": 90})
    assert (answer.status_code, answer.json()["name"]) == (200, "front")
    assert answer.json()["settings"]["rotation"] == 90
    assert_error(client.get("/api/cameras/door"), 404, "door")
    service.cameras.put(status("yard"))
    assert_error(client.patch("/api/cameras/front", json={"name": "yard"}), 409, "already there")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "a b"}, "must be 1 to 64 letters, digits, - or _"),
        ({"name": ""}, "must be 1 to 64"),
        ({"name": None}, "name"),
        ({"rotation": 45}, "rotation"),
        ({"min_face_px": 5}, "min_face_px"),
        ({"target_fps": 0}, "target_fps"),
        ({"region": [0.5, 0, 0.5, 1]}, "x1 < x2"),
        ({"region": [0, 0, 1]}, "region"),
        ({"region": [0, 0, 2, 1]}, "region"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"url": None}, "url"),
    ],
)
def test_wrong_change_is_one_line(client, change, word):
    answer = client.patch("/api/cameras/door", json=change)
    assert answer.status_code in {400, 422}
    assert_error(answer, answer.status_code, word)


def test_snapshot(client, service):
    answer = client.get("/api/cameras/door/snapshot.jpg?width=320")
    assert (answer.content, answer.headers["content-type"]) == (b"jpeg of door", "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"
    service.cameras.put(status("dark"))
    assert_error(client.get("/api/cameras/dark/snapshot.jpg"), 503, "dark")
    assert_error(client.get("/api/cameras/none/snapshot.jpg"), 404, "none")
    assert_error(client.get("/api/cameras/door/snapshot.jpg?width=1"), 422, "width")


def test_tracks(client, service):
    assert client.get("/api/cameras/door/tracks").json()["tracks"] == []
    ada = Match(Identity("a1", "Ada"), 0.87654)
    service.cameras.show_faces("door", (track(1), track(2, ada)))
    answer = client.get("/api/cameras/door/tracks").json()
    assert (answer["width"], answer["height"]) == (1280, 720)
    stranger, known = answer["tracks"]
    assert stranger == {
        "track_id": "run-1",
        "box": [10.04, 20.0, 110.0, 140.0],
        "state": "unknown",
        "name": None,
        "identity_id": None,
        "similarity": None,
        "age_s": 2.0,
        "zones": [],
    }
    assert (known["name"], known["similarity"]) == ("Ada", 0.87654)


def test_track_is_named(client, service):
    service.cameras.show_faces("door", (track(5),))
    answer = client.post("/api/cameras/door/tracks/run-5/name", json={"name": "  Ada  Lovelace "})
    assert answer.json()["name"] == "Ada Lovelace"
    assert_error(
        client.post("/api/cameras/door/tracks/run-6/name", json={"name": "Ada"}), 404, "left"
    )
    empty = client.post("/api/cameras/door/tracks/run-5/name", json={"name": "  "})
    assert_error(empty, 422, "cannot be empty")


# WHEP and WHIP


def test_whep_answers_and_hangs_up_any_number_of_times(client, service):
    answer = client.post("/api/cameras/door/whep", content="v=0 offer", headers=SDP)
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("application/sdp")
    assert answer.text == "v=0 answer"
    location = answer.headers["location"]
    assert location == "/api/cameras/door/whep/peer0"
    assert client.patch(location, content="x").status_code == 405
    assert client.delete(location).status_code == 200
    assert client.delete(location).status_code == 200
    assert service.peers.closed == ["peer0"]


def test_viewers_get_the_turn_servers_by_every_way(client, service):
    server = {"urls": "turn:turn.example.org", "username": "me", "credential": 's"e\\cret'}
    answer = client.get("/api/ice-servers")
    assert answer.json() == {"ice_servers": [server], "valid_s": 86400}
    assert answer.headers["cache-control"] == "no-store"
    link = (
        '<turn:turn.example.org>; rel="ice-server"; username="me"; credential="s\\"e\\\\cret"'
        '; credential-type="password"'
    )
    for path in ("/api/cameras/door/whep", "/api/whip?name=phone"):
        answer = client.post(path, content="v=0 offer", headers=SDP)
        assert answer.headers["link"] == link


def test_turn_servers_are_for_those_who_may_watch(guarded):
    assert_error(guarded.get("/api/ice-servers"), 401)


def test_whep_refuses_what_is_no_offer(client):
    path = "/api/cameras/door/whep"
    assert_error(client.post(path, content="bad", headers=SDP), 400, "cannot be answered")
    assert_error(client.post(path, json={"sdp": "v=0"}), 400, "application/sdp")
    assert_error(client.post(path, content=b"\xff\xfe", headers=SDP), 400, "UTF-8")
    assert_error(client.post("/api/cameras/none/whep", content="v=0", headers=SDP), 404)


def test_whip_brings_a_camera_until_it_leaves(client, service):
    answer = client.post("/api/whip?name=phone", content="v=0 offer", headers=SDP)
    assert answer.status_code == 201
    assert "phone" in service.cameras.by_name
    taken = client.post("/api/whip?name=phone", content="v=0 offer", headers=SDP)
    assert_error(taken, 409, "already")
    assert client.delete(answer.headers["location"]).status_code == 200
    client.get("/healthz")  # a turn of the loop, in which the camera leaves
    assert "phone" not in service.cameras.by_name


def test_whip_of_a_bad_offer_or_name_leaves_no_camera(client, service):
    assert_error(client.post("/api/whip?name=phone", content="bad", headers=SDP), 400)
    assert_error(client.post("/api/whip?name=a/b", content="v=0", headers=SDP), 400, "letters")
    assert list(service.cameras.by_name) == ["door"]


# People


def test_people_are_listed_renamed_merged_and_erased(client, service):
    assert client.get("/api/identities").json() == []
    ada, bob = enrol(service, "Ada", 1), enrol(service, "Bob", 2)
    people = client.get("/api/identities").json()
    assert [(p["name"], p["n_photos"]) for p in people] == [("Ada", 1), ("Bob", 1)]

    path = f"/api/identities/{ada.identity_id}"
    assert client.patch(path, json={"name": "Ada L."}).json()["name"] == "Ada L."
    assert_error(client.patch(path, json={"name": "Bob"}), 409, "Bob")
    assert_error(client.patch(path, json={"name": " "}), 422, "empty")
    assert_error(client.patch(path, json={}), 422, "either")
    merged = client.patch(path, json={"merge_into": bob.identity_id})
    assert merged.json() == {"identity_id": bob.identity_id, "name": "Bob"}
    assert_error(client.patch(path, json={"name": "Eve"}), 404)

    assert client.delete(f"/api/identities/{bob.identity_id}").status_code == 204
    assert client.get("/api/identities").json() == []
    assert_error(client.delete(f"/api/identities/{bob.identity_id}"), 404)
    assert service.gallery_worker.n_changes == 3


def test_erasing_a_person_erases_their_events(client, service):
    ada = enrol(service, "Ada", 1)
    happen(service, EventKind.ENTER, match=Match(ada, 0.9))
    happen(service, EventKind.UNKNOWN, track_id=2)
    client.delete(f"/api/identities/{ada.identity_id}")
    events = client.get("/api/events").json()["events"]
    assert [event["kind"] for event in events] == ["unknown"]


def test_photos_are_split_off_with_the_events_that_show_them(client, service):
    gallery, log = service.gallery, service.event_log
    ada = enrol(service, "Ada", 1)
    for person in (2, 3):
        enrol(service, "Ada", person)
    path = f"/api/identities/{ada.identity_id}"
    for person in (1, 2, 3):
        # Crops without noise, so that the fake still recognizes them after JPEG.
        crop = np.full((112, 112, 3), person, np.uint8)
        log.append(
            Event(EventKind.ENTER, "door", 1.0, f"run-{person}", Match(ada, 0.9), 0.5, crop, ""),
            1000.0,
        )
    whole = client.get(path).json()
    assert (whole["name"], whole["n_events"], len(whole["photos"])) == ("Ada", 3, 3)
    ids = [each["photo_id"] for each in whole["photos"]]
    bob = client.post(f"{path}/split", json={"photo_ids": ids[1:2], "name": "Bob"}).json()
    assert bob["name"] == "Bob"
    assert len(gallery.photos.of(bob["identity_id"])) == 1
    also = client.post(f"{path}/split", json={"photo_ids": ids[2:], "name": "Bob"})
    assert also.json() == bob
    assert len(gallery.photos.of(bob["identity_id"])) == 2
    assert {e.track_id: e.name for e in log.list()} == {
        "run-1": "Ada",
        "run-2": "Bob",
        "run-3": "Bob",
    }
    assert log.count(ada.identity_id) + log.count(bob["identity_id"]) == 3
    assert_error(client.post(f"{path}/split", json={"photo_ids": [999], "name": "Eve"}), 404, "999")
    assert_error(client.post(f"{path}/split", json={"photo_ids": [], "name": "Eve"}), 422)
    assert_error(client.post(f"{path}/split", json={"photo_ids": ids[:1], "name": "Ada"}), 404)
    assert_error(client.get("/api/identities/nobody"), 404)


def test_the_one_face_in_view_is_enrolled(client, service):
    path, body = "/api/identities/from-camera", {"camera": "door", "name": "Ada"}
    assert_error(client.post(path, json=body), 409, "nobody is in view of door")
    service.cameras.show_faces("door", (track(5), track(6)))
    assert_error(client.post(path, json=body), 409, "2 people are in view")
    service.cameras.show_faces("door", (track(5),))
    answer = client.post(path, json=body)
    assert answer.status_code == 201
    assert answer.json()["name"] == "Ada"
    assert_error(client.post(path, json={"camera": "none", "name": "Ada"}), 404, "none")


def test_photos_are_added_listed_shown_and_removed(client, service):
    files = [("photos", ("one.png", photo(service, FakeFace(3, 200))))]
    answer = client.post("/api/identities", data={"name": "Ada"}, files=files)
    assert answer.status_code == 201
    report = answer.json()
    assert report["identity"]["name"] == "Ada"
    assert [each["image"] for each in report["enrolled"]] == ["one.png"]
    base = f"/api/identities/{report['identity']['identity_id']}"

    files = [
        ("photos", ("two.png", photo(service, FakeFace(3, 220)))),
        ("photos", ("nobody.png", photo(service))),
        ("photos", ("text.jpg", b"this is no picture")),
    ]
    report = client.post(f"{base}/photos", files=files).json()
    assert [each["image"] for each in report["enrolled"]] == ["two.png"]
    reasons = {each["image"]: each["reason"] for each in report["rejected"]}
    assert reasons == {"nobody.png": "no_face", "text.jpg": "unreadable"}

    first, second = client.get(f"{base}/photos").json()
    crop = client.get(f"{base}/photos/{first['photo_id']}.jpg")
    assert cv2.imdecode(np.frombuffer(crop.content, np.uint8), 1).shape == (112, 112, 3)
    assert client.get(f"{base}/photo.jpg").status_code == 200
    assert client.delete(f"{base}/photos/{second['photo_id']}").status_code == 204
    assert_error(client.delete(f"{base}/photos/{second['photo_id']}"), 404)
    assert_error(client.get(f"{base}/photos/{second['photo_id']}.jpg"), 404)
    assert_error(client.get("/api/identities/nobody/photo.jpg"), 404)


def test_photos_that_are_all_rejected_are_422_with_reasons(client, service):
    files = [("photos", ("nobody.png", photo(service)))]
    answer = client.post("/api/identities", data={"name": "Ada"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["detail"] == "no face found"
    assert client.get("/api/identities").json() == []


def test_a_photo_of_two_lists_its_faces_and_a_second_request_names_one(client, service):
    both = ("both.png", photo(service, FakeFace(3, 200), FakeFace(4, 400)))
    answer = client.post("/api/identities", data={"name": "Ada"}, files=[("photos", both)])
    assert answer.status_code == 422
    (refused,) = answer.json()["rejected"]
    assert (refused["reason"], refused["photo"], refused["face"]) == ("several_faces", 0, None)
    assert [face["index"] for face in refused["faces"]] == [0, 1]
    assert refused["faces"][0]["box"][0] < refused["faces"][1]["box"][0]
    assert refused["size"] == [640, 240]
    kind, data = refused["faces"][1]["crop"].split(",")
    assert kind == "data:image/jpeg;base64"
    assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1).shape == (112, 112, 3)

    body = {"name": "Ada", "face": "1"}
    answer = client.post("/api/identities", data=body, files=[("photos", both)]).json()
    (enrolled,) = answer["enrolled"]
    identity_id = answer["identity"]["identity_id"]
    (kept,) = client.get(f"/api/identities/{identity_id}/photos").json()
    assert (enrolled["photo"], enrolled["photo_id"]) == (0, kept["photo_id"])
    files = [("photos", ("four.png", photo(service, FakeFace(4, 100))))]
    assert client.post("/api/identities/Ada/photos", files=files).status_code == 201
    files = [("photos", both), ("photos", both)]
    answer = client.post("/api/identities", data=body, files=files)
    assert_error(answer, 422, "face is of one photo, got 2")


def test_what_harms_recognition_is_listed_with_the_requests_that_mend_it(client, service):
    enrol(service, "Ada", 1)
    enrol(service, "Augusta", 1)
    answer = client.get("/api/gallery/hygiene").json()
    (alike,) = [each for each in answer["findings"] if each["kind"] == "alike"]
    assert {person["name"] for person in alike["people"]} == {"Ada", "Augusta"}
    assert client.get("/api/gallery/hygiene?limit=1").json()["total"] == answer["total"]
    mend = alike["mend"][0]
    assert client.request(mend["method"], mend["path"], json=mend["body"]).status_code == 200
    after = client.get("/api/gallery/hygiene").json()
    assert alike["id"] not in [each["id"] for each in after["findings"]]
    for each in after["findings"]:
        assert each["kind"] == "redundant"
        mend = each["mend"][0]
        assert client.request(mend["method"], mend["path"], json=mend["body"]).status_code == 204
    assert client.get("/api/gallery/hygiene").json()["findings"] == []


def test_the_calibration_has_its_histogram(client, service):
    assert_error(client.get("/api/gallery/calibration"), 409, "pairs of different people")
    for person in range(1, 9):
        enrol(service, f"Person {person}", person)
    answer = client.get("/api/gallery/calibration", params={"far": 0.4}).json()
    histogram = answer["histogram"]
    assert sum(histogram["impostor"]) == answer["impostors"] > 0
    assert sum(histogram["genuine"]) == answer["genuine"]
    assert len(histogram["edges"]) == len(histogram["impostor"]) + 1
    assert answer["in_use"] == pytest.approx(service.matching.threshold, abs=1e-6)


def test_too_many_photos_are_refused(client):
    files = [("photos", (f"{i}.png", b"x")) for i in range(51)]
    assert_error(
        client.post("/api/identities", data={"name": "Ada"}, files=files), 413, "at most 50"
    )


def test_identify_names_whom_it_knows(client, service):
    enrol(service, "Ada", 1)
    data = photo(service, FakeFace(1, 100), FakeFace(2, 400))
    answer = client.post("/api/identify", files={"photo": ("both.png", data)}).json()
    assert answer["image"] == "both.png"
    known, stranger = answer["faces"]
    assert known["match"]["name"] == "Ada"
    assert known["match"]["similarity"] > 0.4
    assert len(known["landmarks"]) == 5
    assert stranger["match"] is None


def test_identify_of_nobody_and_of_no_picture(client, service):
    empty = client.post("/api/identify", files={"photo": ("empty.png", photo(service))})
    assert empty.json() == {"image": "empty.png", "faces": []}
    assert_error(client.post("/api/identify", files={"photo": ("a.txt", b"hello")}), 422, "a.txt")
    assert_error(client.post("/api/identify"), 422, "photo")


def test_identify_lists_the_nearest_people_of_a_stranger(client, service):
    for person in (1, 2, 3):
        enrol(service, f"Person {person}", person)
    files = {"photo": ("stranger.png", photo(service, FakeFace(4, 100)))}
    (face,) = client.post("/api/identify", files=files, data={"candidates": 2}).json()["faces"]
    assert face["match"] is None
    similarities = [each["similarity"] for each in face["candidates"]]
    assert len(similarities) == 2
    assert similarities == sorted(similarities, reverse=True)
    assert {"name", "similarity", "identity_id"} == set(face["candidates"][0])
    (face,) = client.post("/api/identify", files=files).json()["faces"]
    assert face["candidates"] == []
    for wrong in ("-1", "21", "many"):
        answer = client.post("/api/identify", files=files, data={"candidates": wrong})
        assert_error(answer, 422, "candidates")


def test_identify_answers_each_of_several_photos(client, service):
    enrol(service, "Ada", 1)
    files = [
        ("photo", ("ada.png", photo(service, FakeFace(1, 100)))),
        ("photo", ("text.jpg", b"this is no photo")),
        ("photo", ("nobody.png", photo(service))),
    ]
    first, second, third = client.post("/api/identify", files=files).json()
    assert first["image"] == "ada.png"
    assert first["faces"][0]["match"]["name"] == "Ada"
    assert (second["image"], second["faces"]) == ("text.jpg", [])
    assert "text.jpg" in second["error"]
    assert third == {"image": "nobody.png", "faces": []}
    many = [("photo", (f"{i}.png", b"x")) for i in range(51)]
    assert_error(client.post("/api/identify", files=many), 413, "at most 50")


def test_people_are_listed_by_pages_and_searched(client, service):
    for number, name in enumerate(["bob", "Ada", "Cay", "Ånna"], 1):
        enrol(service, name, number)
    first = client.get("/api/identities?limit=3")
    assert [each["name"] for each in first.json()] == ["Ada", "Ånna", "bob"]
    assert first.headers["x-total-count"] == "4"
    rest = client.get("/api/" + first.links["next"]["url"])
    assert [each["name"] for each in rest.json()] == ["Cay"]
    assert rest.headers["x-total-count"] == "4"
    assert rest.links == {}
    found = client.get("/api/identities?q=ann")
    assert [each["name"] for each in found.json()] == ["Ånna"]
    assert found.headers["x-total-count"] == "1"
    for query in ("limit=0", "limit=1001", "cursor=%3F", "q=" + "x" * 201):
        assert_error(client.get(f"/api/identities?{query}"), 422)


def test_people_are_changed_by_name_as_they_are_shown_by_name(client, service):
    enrol(service, "Ada", 1)
    enrol(service, "Bob", 2)
    enrol(service, "Cay", 3)
    assert client.get("/api/identities/Ada").json()["name"] == "Ada"
    assert client.patch("/api/identities/Ada", json={"name": "Ada L."}).status_code == 200
    merged = client.patch("/api/identities/Bob", json={"merge_into": "ada l."})
    assert merged.json()["name"] == "Ada L."
    (photo_id, other_id) = (
        each["photo_id"] for each in client.get("/api/identities/Ada%20L./photos").json()
    )
    split = {"photo_ids": [other_id], "name": "Bob"}
    assert client.post("/api/identities/Ada%20L./split", json=split).json()["name"] == "Bob"
    files = [("photos", ("more.png", photo(service, FakeFace(3, 200))))]
    assert client.post("/api/identities/Cay/photos", files=files).status_code == 201
    assert client.delete(f"/api/identities/Ada%20L./photos/{photo_id}").status_code == 204
    assert client.delete("/api/identities/Ada%20L.").status_code == 204
    names = [each["name"] for each in client.get("/api/identities").json()]
    assert names == ["Bob", "Cay"]


def test_a_photo_is_shown_and_removed_as_its_own_persons_alone(client, service):
    files = [("photos", ("one.png", photo(service, FakeFace(3, 200))))]
    client.post("/api/identities", data={"name": "Ada"}, files=files)
    enrol(service, "Bob", 1)
    (of_ada,) = client.get("/api/identities/Ada/photos").json()
    path = f"photos/{of_ada['photo_id']}"
    assert client.get(f"/api/identities/Ada/{path}.jpg").status_code == 200
    assert_error(client.get(f"/api/identities/Bob/{path}.jpg"), 404, "of that person")
    assert_error(client.delete(f"/api/identities/Bob/{path}"), 404, "of that person")
    assert_error(client.get(f"/api/identities/nobody/{path}.jpg"), 404, "nobody")


def test_a_twin_is_added_by_force(client, service):
    enrol(service, "Ada", 3)
    files = [("photos", ("twin.png", photo(service, FakeFace(3, 200))))]
    answer = client.post("/api/identities", data={"name": "Eve"}, files=files)
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["reason"] == "other_person"
    forced = {"name": "Eve", "force": "true"}
    assert client.post("/api/identities", data=forced, files=files).status_code == 201
    more = [("photos", ("twin.png", photo(service, FakeFace(1, 200))))]
    assert client.post("/api/identities/Eve/photos", files=more).status_code == 422
    answer = client.post("/api/identities/Eve/photos", data={"force": "true"}, files=more)
    assert answer.status_code == 201


@pytest.mark.parametrize("way", ["by id", "by name"])
@pytest.mark.parametrize("change", ["erase", "rename", "merge"])
def test_photos_go_to_the_person_they_were_sent_for(client, service, monkeypatch, way, change):
    """Even if another process changes the person while the photos are processed."""
    ada = enrol(service, "Ada", 3)
    eve = enrol(service, "Eve", 1)
    detect = service.recognizer.detect

    def change_and_detect(images, **options):
        with Gallery.open_any(Path(service.gallery.store.place)) as elsewhere:
            if change == "erase":
                elsewhere.people.remove("Ada")
            elif change == "rename":
                elsewhere.people.rename("Ada", "Ada Lovelace")
            else:
                elsewhere.people.merge("Ada", "Eve")
        return detect(images, **options)

    monkeypatch.setattr(service.recognizer, "detect", change_and_detect)
    files = [("photos", ("one.png", photo(service, FakeFace(3, 200))))]
    if way == "by id":
        answer = client.post(f"/api/identities/{ada.identity_id}/photos", files=files)
    else:
        answer = client.post("/api/identities", data={"name": "Ada"}, files=files)
    names = [each["name"] for each in client.get("/api/identities").json()]
    if change == "erase":
        assert answer.status_code == 422
        (rejected,) = answer.json()["rejected"]
        assert rejected["reason"] == "erased"
        assert rejected["detail"] == "Ada was erased while photos were being added"
        assert names == ["Eve"]
        return
    assert answer.status_code == 201
    wanted = (ada.identity_id, "Ada Lovelace") if change == "rename" else (eve.identity_id, "Eve")
    assert tuple(answer.json()["identity"].values()) == wanted
    assert len(service.gallery.photos.of(wanted[0])) == (2 if change == "rename" else 3)
    assert "Ada" not in names


def test_a_busy_gallery_is_503_for_writes_and_readable(client, service):
    ada = enrol(service, "Ada", 1)
    service.gallery.store._wait_s = 0.05
    service.gallery.store._writer.execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(
        Path(service.gallery.store.place, "gallery.sqlite3"), isolation_level=None
    )
    holder.execute("BEGIN IMMEDIATE")
    path = f"/api/identities/{ada.identity_id}"
    files = [("photos", ("more.png", photo(service, FakeFace(1, 200))))]
    writes = [
        client.patch(path, json={"name": "Eve"}),
        client.delete(path),
        client.post(f"{path}/photos", files=files),
        client.post("/api/identities", data={"name": "Bob"}, files=files),
    ]
    for answer in writes:
        assert_error(answer, 503, "is busy: another process is writing to it")
        assert int(answer.headers["retry-after"]) > 0
    assert client.get(path).json()["name"] == "Ada"
    assert client.get("/api/identities").headers["x-total-count"] == "1"
    holder.close()
    assert client.patch(path, json={"name": "Eve"}).status_code == 200


def test_picture_bomb_is_refused_before_it_is_decoded(client):
    # A PNG's header that claims 60,000 x 60,000 pixels.
    header = b"IHDR" + (60000).to_bytes(4) * 2 + b"\x08\2\0\0\0"
    chunks = b"\0\0\0\r" + header + zlib.crc32(header).to_bytes(4) + b"\0\0\0\0IDAT"
    bomb = b"\x89PNG\r\n\x1a\n" + chunks
    answer = client.post("/api/identify", files={"photo": ("bomb.png", bomb)})
    assert_error(answer, 422, "60000x60000")


# Events and figures


def happen(service, kind, *, match=None, camera="door", track_id=1):
    is_face = kind not in (EventKind.CAMERA_UP, EventKind.CAMERA_DOWN)
    crop = np.zeros((112, 112, 3), np.uint8) if is_face else None
    event = Event(kind, camera, 5.0, f"run-{track_id}" if is_face else None, match, 4.0, crop)
    return service.event_log.append(event, 1_700_000_000.25)


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


# The contract


@pytest.mark.parametrize(
    "path",
    ["/api/cameras", "/api/cameras/door/snapshot.jpg", "/healthz", "/metrics", "/", "/app.js"],
)
def test_head_answers_as_get_without_the_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/cameras", "GET, HEAD, POST"),
        ("POST", "/api/cameras/door", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/api/cameras/door/whep", "POST"),
        ("HEAD", "/api/whip", "POST"),
        ("OPTIONS", "/api/identities/from-camera", "POST"),
        ("OPTIONS", "/api/identities", "GET, HEAD, POST"),
        ("DELETE", "/api/identities/x/photos/1.jpg", "GET, HEAD"),
        ("PATCH", "/api/session", "DELETE, GET, HEAD, POST"),
        ("TRACE", "/api/events", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_what_is_not_done_says_what_is(client, method, path, allow):
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert ", ".join(sorted(answer.headers["allow"].split(", "))) == allow
    if method != "HEAD":
        assert_error(answer, 405)


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/cameras/", "/nothing"])
def test_what_is_not_there_is_said_so(client, path):
    assert_error(client.get(path), 404)
    assert client.head(path).status_code == 404


def test_every_refusal_is_documented_as_it_is_sent(client):
    document = client.get("/openapi.json").json()
    assert document == client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{"bearer": []}, {}]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            for each in ("400", "401", "403", "413", "421", "422", "429", "503"):
                schema = answers[each]["content"]["application/json"]["schema"]
                assert "ErrorJson" in json.dumps(schema), f"{method} {path} {each}"
            assert ("404" in answers) >= ("{" in path), f"{method} {path}"
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("get", "/api/cameras/{camera}/snapshot.jpg", "200", "image/jpeg"),
        ("get", "/api/events/{event_id}/crop.jpg", "200", "image/jpeg"),
        ("get", "/metrics", "200", "text/plain"),
        ("post", "/api/cameras/{camera}/whep", "201", "application/sdp"),
        ("post", "/api/whip", "201", "application/sdp"),
        ("get", "/api/cameras", "200", "application/json"),
    ],
)
def test_the_kind_of_each_answer_is_documented(client, method, path, status, kind):
    operation = client.get("/openapi.json").json()["paths"][path][method]
    assert list(operation["responses"][status]["content"]) == [kind]
    if kind == "application/sdp":
        assert list(operation["requestBody"]["content"]) == [kind]


# What no browser sends


@pytest.mark.parametrize("origin", ["http://[", "http://a:b", "\\", "http://127.0.0.1:99999999"])
def test_an_origin_that_is_none_is_refused(client, origin):
    assert_error(client.get("/healthz", headers={"origin": origin}), 403)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"token": "\xff"}',
        b'{"token": 1e400}',
        b'{"token": NaN}',
        b'{"token": ' + b"9" * 5000 + b"}",
        b'"token"',
        b"null",
    ],
)
@pytest.mark.parametrize("path", ["/api/session", "/api/cameras"])
def test_json_that_is_none_is_refused(guarded, body, path):
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    answer = guarded.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]


def test_half_a_character_is_refused_wherever_text_is_taken(client, service):
    half = '"/x\\ud800"'
    for method, path, body in (
        ("POST", "/api/cameras", f'{{"name": "yard", "url": {half}}}'),
        ("PATCH", "/api/cameras/door", f'{{"url": {half}}}'),
        ("POST", "/api/session", f'{{"token": {half}}}'),
        ("POST", "/api/identities/from-camera", f'{{"camera": {half}, "name": "Ada"}}'),
        ("POST", "/api/identities/from-camera", f'{{"camera": "door", "name": {half}}}'),
        ("PATCH", "/api/identities/x", f'{{"merge_into": {half}}}'),
    ):
        headers = {"content-type": "application/json"}
        answer = client.request(method, path, content=body, headers=headers)
        assert answer.status_code in (400, 422), path
        assert list(answer.json()) == ["error"]
    assert client.get("/api/cameras").status_code == 200
    assert list(service.cameras.by_name) == ["door"]


def test_viewers_see_no_address_of_a_camera(viewer, service):
    service.cameras.put(status("yard", url="rtsp://u:secret@192.0.2.8/live"))
    for camera in (*viewer.get("/api/cameras").json(), viewer.get("/api/cameras/yard").json()):
        assert (camera["url"], camera["settings"]["url"]) == ("", "")
    with viewer.websocket_connect("ws://127.0.0.1:8080/api/ws") as socket:
        while (message := socket.receive_json())["type"] != "cameras":
            pass
    assert "192.0.2" not in json.dumps(message)


def test_addresses_in_old_events_are_masked(client, service):
    event = Event(
        EventKind.CAMERA_DOWN,
        "door",
        5.0,
        None,
        None,
        4.0,
        None,
        detail="cannot open rtsp://h/user=admin_password=secret_x: timed out",
    )
    service.event_log.append(event, 1_700_000_000.0)
    assert "secret" not in client.get("/api/events").text


def test_uploads_have_places(service):
    app = create_app(service, max_uploads=2)
    with TestClient(app, base_url=HERE) as client:
        files = {"photo": ("a.png", photo(service))}
        for _ in range(5):  # each gives its place back
            assert client.post("/api/identify", files=files).status_code == 200


def test_pages_have_places(service):
    app = create_app(service, max_pages=2)
    with (
        TestClient(app, base_url=HERE) as client,
        client.websocket_connect("ws://127.0.0.1:8080/api/ws") as first,
        client.websocket_connect("ws://127.0.0.1:8080/api/ws") as second,
    ):
        assert first.receive_json()["type"] == "cameras"
        closed = second.receive()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
        assert "too many pages" in closed["reason"]


def test_a_database_that_is_away_is_503_and_says_so(client, service, monkeypatch):
    def away(**_):
        raise GalleryUnreachableError("cannot reach the gallery's database")

    monkeypatch.setattr(service.gallery.store, "reading", away)
    answer = client.get("/api/identities/nobody")
    assert answer.status_code == 503
    assert answer.json()["error"] == "cannot reach the gallery's database"
