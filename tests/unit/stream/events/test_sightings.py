import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, Identity, Match, NewPhoto
from recognizer import Quality
from stream.events import schema
from stream.events.log import EventLog
from stream.events.schema import FILE_NAME
from stream.events.thumbnails import decode_jpeg
from stream.frames import Event, EventKind, Sighting

NOON = 1_700_000_000.25
SIZE = 4
QUALITY = Quality(80.0, 60.0, 0.0, 0.0, 0.0, 0.99, 0.5, 0.8)
CROP = np.full((112, 112, 3), 90, np.uint8)


def unit(number: int) -> np.ndarray:
    return np.eye(SIZE, dtype=np.float32)[number]


def sighting(track: str = "run-7", *, stay: str = "run-7", face: int = 0) -> Sighting:
    return Sighting(
        camera="door",
        track_id=track,
        stay=stay,
        began=10.0,
        ended=12.0,
        is_over=False,
        template=unit(face),
        exemplars=np.stack([unit(face), unit(1)]),
        n_good=3,
        good_s=0.3,
        n_shots=3,
        face_px=80.0,
        crop=CROP,
        quality=QUALITY,
    )


def event(
    kind: EventKind = EventKind.UNKNOWN,
    identity: Identity | None = None,
    *,
    seen: Sighting | None = None,
) -> Event:
    match = None if identity is None else Match(identity, 0.7)
    return Event(kind, "door", 12.0, "run-7", match, 10.0, CROP, sighting=seen)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "g", model_id="m", embedding_size=SIZE) as opened:
        yield opened


@pytest.fixture
def log(tmp_path: Path, gallery: Gallery) -> Iterator[EventLog]:
    with EventLog.open(tmp_path / "g") as opened:
        opened.follow(gallery)
        yield opened


def rows(tmp_path: Path, what: str = "*") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(tmp_path / "g" / FILE_NAME)) as connection:
        return connection.execute(f"SELECT {what} FROM sightings ORDER BY id").fetchall()


def test_a_track_is_kept_with_its_event(tmp_path: Path, log: EventLog) -> None:
    kept = log.append(event(seen=sighting()), NOON)
    ((event_id, began, ended, model_id, template, exemplars),) = rows(
        tmp_path, "event_id, began, ended, model_id, template, exemplars"
    )
    assert (event_id, began, ended, model_id) == (kept.id, NOON - 2, NOON, "m")
    assert isinstance(template, bytes)
    assert isinstance(exemplars, bytes)
    np.testing.assert_array_equal(np.frombuffer(template, "<f2"), unit(0))
    assert np.frombuffer(exemplars, "<f2").reshape(-1, SIZE).shape == (2, SIZE)


def test_a_later_report_takes_the_place_of_an_earlier_one(tmp_path: Path, log: EventLog) -> None:
    log.append(event(seen=sighting()), NOON)
    log.keep_sighting(replace(sighting(), ended=20.0, is_over=True, n_good=9), NOON - 12)
    log.keep_sighting(sighting("run-8"), NOON - 12)
    assert rows(tmp_path, "track_number, stay, n_good, is_over, ended") == [
        (7, 7, 9, 1, NOON + 8),
        (8, 7, 3, 0, NOON),
    ]


def test_a_track_without_an_event_is_not_kept(tmp_path: Path, log: EventLog) -> None:
    log.keep_sighting(sighting(), NOON - 12)
    assert rows(tmp_path) == []


def test_a_renamed_stay_keeps_its_tracks_with_the_new_name(
    tmp_path: Path, log: EventLog, gallery: Gallery
) -> None:
    ann, _ = gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    log.append(event(seen=sighting()), NOON)
    named = log.append(event(EventKind.RENAMED, ann, seen=sighting("run-8")), NOON)
    assert rows(tmp_path, "event_id") == [(named.id,), (named.id,)]


def test_embeddings_of_unknown_faces_are_left_out_where_they_are_not_wanted(
    tmp_path: Path, log: EventLog, gallery: Gallery
) -> None:
    log.keeps_unknown = False
    unknown = replace(event(seen=sighting()), embedding=unit(0))
    stored = log.append(unknown, NOON)
    log.keep_sighting(sighting(), NOON)
    face = log.face(stored.id)
    assert face is not None
    assert face.embedding is None
    assert stored.has_crop
    assert rows(tmp_path) == []
    ada, _ = gallery.photos.add("Ada", [NewPhoto(unit(0), None, "0" * 64, 0.9)])
    log.append(event(EventKind.RENAMED, ada, seen=sighting()), NOON + 1)
    assert len(rows(tmp_path)) == 1
    log.append(event(EventKind.RENAMED, seen=sighting()), NOON + 2)  # it was not Ada
    assert rows(tmp_path) == []


def test_it_is_erased_with_its_event(tmp_path: Path, log: EventLog, gallery: Gallery) -> None:
    ann, _ = gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    log.append(event(EventKind.ENTER, ann, seen=sighting()), NOON)
    gallery.people.remove(ann.identity_id)
    log.reconcile()
    assert rows(tmp_path) == []
    log.append(event(seen=sighting()), NOON)
    assert len(rows(tmp_path)) == 1
    log.retain(NOON + 40 * 86_400)
    assert rows(tmp_path) == []


def test_nothing_is_kept_of_a_person_who_was_erased_meanwhile(
    tmp_path: Path, log: EventLog, gallery: Gallery
) -> None:
    ann, _ = gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    gallery.people.remove(ann.identity_id)
    log.append(event(EventKind.ENTER, ann, seen=sighting()), NOON)
    log.keep_sighting(sighting(), NOON - 12)
    assert rows(tmp_path) == []


def test_it_goes_with_a_camera_that_is_renamed(tmp_path: Path, log: EventLog) -> None:
    log.append(event(seen=sighting()), NOON)
    log.rename_camera("door", "hall")
    assert rows(tmp_path, "camera") == [("hall",)]


def test_an_older_log_gets_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        schema.connect(tmp_path / "g").close()
    schema.connect(tmp_path / "g").close()
    assert rows(tmp_path) == []


def test_its_best_crop_is_a_jpeg(log: EventLog) -> None:
    log.append(event(seen=sighting()), NOON)
    crop = log.sighting_crop(1)
    assert crop is not None
    np.testing.assert_allclose(decode_jpeg(crop), CROP, atol=2)
    assert log.sighting_crop(2) is None
