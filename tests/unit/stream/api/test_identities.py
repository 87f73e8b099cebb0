"""People and their photos by the HTTP API."""

import base64
import sqlite3
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery import Gallery, Match
from stream.frames import Event, EventKind
from tests.fake_service import track
from tests.fakes import FakeFace
from tests.unit.stream.api.asking import assert_error, enrol, happen, photo


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
