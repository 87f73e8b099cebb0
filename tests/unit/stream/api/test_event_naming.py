"""Naming the face of a past event over HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from gallery import Gallery, Identity, Match, NewPhoto
from recognizer import Quality
from stream.api.app import create_app
from stream.events.log import EventLog, LoggedEvent
from stream.frames import Event, EventKind
from tests.fake_service import FakeService
from tests.fakes import EMBEDDING_SIZE, FakeRecognizer, looks_like

HERE = "http://127.0.0.1"
GOOD = Quality(120.0, 300.0, 0.0, 0.0, 0.0, 0.99, 0.5, 0.8)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    with (
        Gallery.open(
            tmp_path, model_id=FakeRecognizer.model_id, embedding_size=EMBEDDING_SIZE
        ) as gallery,
        EventLog.open(tmp_path) as event_log,
    ):
        event_log.follow(gallery)
        yield FakeService(gallery, event_log)


@pytest.fixture
def client(service: FakeService) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url=HERE) as client:  # type: ignore[arg-type]
        yield client


KEPT = 99
"""Tells the embedding that was kept from one that is made from the crop."""


def face(person: int, track: str = "run-1", *, quality: Quality = GOOD) -> Event:
    """Return a stranger's event; its crop has no noise, so that JPEG does not change it."""
    crop = np.full((112, 112, 3), person, np.uint8)
    return Event(
        EventKind.UNKNOWN,
        "door",
        5.0,
        track,
        None,
        4.0,
        crop,
        embedding=looks_like(person, KEPT),
        quality=quality,
    )


def happen(service: FakeService, event: Event) -> LoggedEvent:
    return service.event_log.append(event, 1_700_000_000.25)


def known(service: FakeService, name: str, person: int) -> Identity:
    return service.gallery.photos.add(
        name, [NewPhoto(looks_like(person), None, f"{person:064x}", 0.9)]
    )[0]


def name(client: TestClient, event_id: int, who: str, **fields: object) -> tuple[int, str]:
    """Return the status, and the name or the reason."""
    answer = client.post(f"/api/events/{event_id}/name", json={"name": who, **fields})
    body = answer.json()
    return answer.status_code, body["name"] if answer.status_code == 200 else body["error"]


def names(service: FakeService) -> list[str | None]:
    return [event.name for event in service.event_log.list()][::-1]


def test_a_stranger_of_the_past_gets_a_name(client: TestClient, service: FakeService) -> None:
    first = happen(service, face(3))
    happen(service, replace(face(3), kind=EventKind.EXIT))
    happen(service, face(4, "later run-1"))
    assert name(client, first.id, "  Eve ") == (200, "Eve")
    assert names(service) == ["Eve", "Eve", None]
    (photo,) = service.gallery.photos.of(service.gallery.people.find("Eve").identity_id)
    assert (photo.quality, photo.has_crop) == (GOOD.overall, True)
    np.testing.assert_allclose(
        service.gallery.photos.embeddings("Eve"), [looks_like(3, KEPT)], atol=1e-6
    )  # not made from the crop again
    assert service.gallery_worker.n_changes == 1
    assert name(client, first.id, "Eve") == (200, "Eve"), "asked again it changes nothing"
    assert len(service.gallery.photos.of(photo.identity_id)) == 1


def test_a_track_number_of_the_present_run_is_never_taken_for_the_events(
    client: TestClient, service: FakeService
) -> None:
    old = happen(service, face(3, "an earlier run-1"))
    happen(service, face(4, "run-1"))  # another stranger, in view now
    assert name(client, old.id, "Eve") == (200, "Eve")
    ((found,),) = service.gallery.best(looks_like(3)[np.newaxis])
    assert found.similarity > 0.8
    ((found,),) = service.gallery.best(looks_like(4)[np.newaxis])
    assert found.similarity < 0.3
    assert names(service) == ["Eve", None]


def test_a_face_of_somebody_else_is_refused_in_one_sentence_unless_forced(
    client: TestClient, service: FakeService
) -> None:
    known(service, "Ada", 1)
    event = happen(service, face(1))
    status, reason = name(client, event.id, "Bob")
    assert (status, reason.startswith("cannot enroll Bob: looks like Ada")) == (422, True)
    assert names(service) == [None]
    assert [each.identity.name for each in service.gallery.people.summaries()] == ["Ada"]
    assert name(client, event.id, "Ada") == (200, "Ada")
    assert names(service) == ["Ada"]
    twin = happen(service, face(1, "run-2"))
    assert name(client, twin.id, "Bob")[0] == 422
    assert name(client, twin.id, "Bob", force=True) == (200, "Bob")


def test_a_face_unlike_the_person_is_refused(client: TestClient, service: FakeService) -> None:
    known(service, "Ada", 1)
    event = happen(service, face(5))
    status, reason = name(client, event.id, "Ada")
    assert status == 422
    assert "unlike the other photos of Ada" in reason
    assert name(client, event.id, "Ada", force=True) == (200, "Ada")


def test_a_crop_is_checked_as_every_photo(client: TestClient, service: FakeService) -> None:
    event = happen(service, face(3, quality=replace(GOOD, size_px=20.0)))
    status, reason = name(client, event.id, "Eve")
    assert (status, "20" in reason) == (422, True)
    assert service.gallery.people.summaries() == []


def test_a_crop_that_is_no_upright_face_is_refused(
    client: TestClient, service: FakeService
) -> None:
    crop = np.full((112, 112, 3), 3, np.uint8)
    crop[:, 56:] = 50  # not recognized as the same in a mirror
    event = happen(service, replace(face(3), crop=crop))
    status, _ = name(client, event.id, "Eve")
    assert (status, service.gallery.people.summaries()) == (422, [])


def test_a_wrong_name_of_the_past_is_corrected(client: TestClient, service: FakeService) -> None:
    ada, bob = known(service, "Ada", 1), known(service, "Bob", 2)
    event = happen(service, replace(face(2), kind=EventKind.ENTER, match=Match(ada, 0.5)))
    assert name(client, event.id, "Bob") == (200, "Bob")
    (changed,) = service.event_log.list()
    assert (changed.identity_id, changed.similarity) == (bob.identity_id, None)


def test_another_models_embedding_is_made_anew(client: TestClient, service: FakeService) -> None:
    event = happen(service, face(3))
    service.event_log._connection.execute("UPDATE events SET model_id = 'another'")
    assert name(client, event.id, "Eve") == (200, "Eve")
    np.testing.assert_allclose(
        service.gallery.photos.embeddings("Eve"), [looks_like(3, 3)], atol=1e-6
    )


def test_what_cannot_be_named_says_why(client: TestClient, service: FakeService) -> None:
    down = happen(service, Event(EventKind.CAMERA_DOWN, "door", 1.0, None, None, 1.0, None))
    assert name(client, down.id, "Eve") == (
        422,
        f"event {down.id} has no crop of a face: name another event",
    )
    assert name(client, 999, "Eve") == (404, "there is no event 999: it may have been erased")
    event = happen(service, face(3))
    assert name(client, event.id, " ")[0] == 422
    assert name(client, 2**63, "Eve")[0] == 422
    answer = client.post(f"/api/events/{event.id}/name", json={})
    assert answer.status_code == 422
    assert names(service) == [None, None]
