"""Cameras by the HTTP API, and video by WHEP and WHIP."""

from dataclasses import replace

import pytest

from gallery import Identity, Match
from tests.fake_service import status, track
from tests.unit.stream.api.asking import SDP, assert_error


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
