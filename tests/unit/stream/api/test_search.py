"""Searching past sightings over HTTP."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from starlette.testclient import TestClient

from gallery import Gallery, Identity, NewPhoto
from stream.api.app import create_app
from stream.events.log import EventLog
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeFace, FakeRecognizer, looks_like
from tests.sightings import sight, writer

HERE = "http://127.0.0.1"
NOON = 1_700_000_000.0


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        service = FakeService(gallery, event_log)
        yield service
        service.search.search.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url=HERE) as client:  # type: ignore[arg-type]
        yield client


@pytest.fixture
def db(service: FakeService, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = writer(tmp_path)
    yield connection
    connection.close()


def seen(db: sqlite3.Connection, number: int, person: int, **more) -> None:
    sight(
        db,
        number,
        looks_like(person, number),
        model_id=FakeRecognizer.model_id,
        **{"at": NOON + number, **more},
    )


def known(service: FakeService, name: str, person: int) -> Identity:
    return service.gallery.photos.add(
        name, [NewPhoto(looks_like(person), None, f"{person:064x}", 0.9)]
    )[0]


def photo_of(service: FakeService, *faces: FakeFace) -> bytes:
    frame = service.world.frame(faces, at=0.0)
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", bgr)[1])


def ids(answer) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [match["event"]["id"] for match in answer.json()["matches"]]


def test_an_event_finds_the_past_of_its_face(client: TestClient, db) -> None:
    for number in range(1, 9):
        seen(db, number, number % 2, camera=("door", "yard")[number > 4], visitor_id="v")
    answer = client.post("/api/search", json={"event_id": 3})
    assert sorted(ids(answer)) == [1, 3, 5, 7]
    document = answer.json()
    assert set(document) == {"searched_face", "unsearched_faces", "matches"}
    assert document["searched_face"] is None
    assert document["unsearched_faces"] == []
    assert set(document["matches"][0]) == {"event", "similarity", "visitor_id"}
    assert document["matches"][0]["visitor_id"] == "v"
    similarities = [match["similarity"] for match in document["matches"]]
    assert similarities == sorted(similarities, reverse=True)
    assert sorted(ids(client.post("/api/search?camera=yard", json={"event_id": 3}))) == [5, 7]
    assert len(ids(client.post("/api/search?limit=2", json={"event_id": 3}))) == 2
    bounds = {"after": "2023-11-14T22:13:25Z", "before": "2023-11-14T22:13:27Z"}
    assert ids(client.post("/api/search", params=bounds, json={"event_id": 3})) == [5]
    assert ids(client.post("/api/search?min_similarity=1", json={"event_id": 3})) in ([], [3])


def test_people_and_visitors_are_searched(client: TestClient, service: FakeService, db) -> None:
    ada = known(service, "Ada", 1)
    seen(db, 1, 1)
    seen(db, 2, 2, visitor_id="v2")
    seen(db, 3, 2)
    assert ids(client.post("/api/search", json={"identity_id": ada.identity_id})) == [1]
    assert sorted(ids(client.post("/api/search", json={"visitor_id": "v2"}))) == [2, 3]


def test_the_largest_face_of_a_photo_is_searched(
    client: TestClient, service: FakeService, db
) -> None:
    seen(db, 1, 1)
    seen(db, 2, 2)
    photo = photo_of(service, FakeFace(2, 400, 100, 60), FakeFace(1, 100, 100, 90))
    answer = client.post("/api/search", files={"file": ("a.png", photo, "image/png")})
    assert ids(answer) == [1]
    document = answer.json()
    assert len(document["searched_face"]["box"]) == 4
    assert set(document["searched_face"]) == {"box", "score", "quality"}
    assert [face["reason"] for face in document["unsearched_faces"]] == ["smaller"]


def test_what_cannot_be_searched_is_refused(client: TestClient, service: FakeService) -> None:
    photo = photo_of(service)

    def refused(status: int, words: str, **request) -> None:
        answer = client.post("/api/search", **request)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]

    refused(422, "no face in the photo", files={"file": ("a.png", photo, "image/png")})
    refused(422, "cannot", files={"file": ("a.png", b"no image", "image/png")})
    refused(422, "a photo is needed", files={"photo": ("a.png", photo, "image/png")})
    refused(422, "send a photo", content=b"x", headers={"content-type": "text/plain"})
    refused(422, "JSON", content=b"{", headers={"content-type": "application/json"})
    refused(422, "give one of", json={})
    refused(422, "give one of", json={"event_id": 1, "visitor_id": "v"})
    refused(422, "extra", json={"event": 1})
    refused(404, "event 77", json={"event_id": 77})
    refused(404, "nobody", json={"identity_id": "nobody"})
    refused(404, "no such visitor", json={"visitor_id": "nobody"})
    refused(422, "limit", json={"event_id": 1}, params={"limit": 0})
    refused(422, "min_similarity", json={"event_id": 1}, params={"min_similarity": 2})


def test_the_past_of_a_new_person_gets_the_name(
    client: TestClient, service: FakeService, db
) -> None:
    for number in range(1, 7):
        seen(db, number, number % 2)
    bob = known(service, "Bob", 0)
    ada = known(service, "Ada", 1)
    address = f"/api/identities/{ada.identity_id}/past"
    past = client.get(address).json()
    assert past["count"] == 3
    assert past["since"] == "2023-11-14T22:13:21.000Z"
    assert sorted(match["event"]["id"] for match in past["matches"]) == [1, 3, 5]
    assert client.post(address, json={"event_ids": [1, 2]}).status_code == 409
    assert {event.name for event in service.event_log.list()} == {None}
    assert client.post(address, json={"event_ids": [1]}).json()["name"] == "Ada"
    assert [event.id for event in service.event_log.list(name="Ada")] == [1]
    assert client.post(address, json={"event_ids": None}).status_code == 200
    assert [event.id for event in service.event_log.list(name="Ada")] == [5, 3, 1]
    assert client.get(address).json() == {"count": 0, "since": None, "matches": []}
    assert client.get(f"/api/identities/{bob.identity_id}/past").json()["count"] == 3
