import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stream.errors import EventLogError, UnknownEventError
from stream.events import search as search_module
from stream.events.log import EventLog
from stream.events.search import SightingReader, SightingSearch, scan, spread
from stream.events.search_index import Filter
from tests.sightings import sight, writer

SIZE = 32


def face(number: int, noise: float = 0.0, shot: int = 0) -> np.ndarray:
    row = np.random.default_rng(number).standard_normal(SIZE)
    row /= np.linalg.norm(row)
    row += noise * np.random.default_rng([number, shot]).standard_normal(SIZE)
    return (row / np.linalg.norm(row)).astype(np.float32)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def db(log: EventLog, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = writer(tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def search(tmp_path: Path, log: EventLog) -> Iterator[SightingSearch]:
    opened = SightingSearch(tmp_path, model_id="fake", embedding_size=SIZE)
    yield opened
    opened.close()


def events(search: SightingSearch, probe: np.ndarray, **filters) -> list[int]:
    found = search.find(probe[np.newaxis], limit=10, min_similarity=0.5, only=Filter(**filters))
    slow, _ = scan(
        search.reader(), probe[np.newaxis], limit=10, min_similarity=0.5, only=Filter(**filters)
    )
    assert [each.event.id for each in slow] == [each.event.id for each in found]
    return [each.event.id for each in found]


def test_nothing_was_seen(search: SightingSearch) -> None:
    assert events(search, face(1)) == []
    assert not search.is_loading


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(EventLogError, match="cannot read the event log"):
        SightingSearch(tmp_path / "none", model_id="fake", embedding_size=SIZE).refresh()


def test_sightings_are_found_by_face_camera_and_time(
    search: SightingSearch, db, monkeypatch
) -> None:
    monkeypatch.setattr(search_module, "CHUNK", 3)
    for i in range(1, 21):
        sight(db, i, face(i % 5, 0.03, i), camera=("door", "yard")[i % 2], at=1000.0 + i)
    assert set(events(search, face(2))) == {2, 7, 12, 17}
    assert set(events(search, face(2), camera="yard")) == {7, 17}
    assert set(events(search, face(2), after=1007.0, before=1012.0)) == {7}


def test_the_answer_has_event_and_visitor(search: SightingSearch, db) -> None:
    sight(db, 5, face(1), name="Ann", visitor_id="v1")
    sight(db, 6, face(1, 0.05, 6), event_id=5)  # the same stay
    (found,) = search.find(face(1)[np.newaxis], limit=10, min_similarity=0.4)
    assert (found.event.id, found.event.name, found.sighting_id) == (5, "Ann", 5)
    assert found.visitor_id == "v1"
    assert found.similarity == pytest.approx(1.0, abs=1e-3)


def test_the_strangers_like_a_person_are_found_behind_any_number_of_named_ones(search, db) -> None:
    for i in range(1, 301):  # more similar than the strangers, and more than are read at first
        sight(db, i, face(1), name="Ann" if i > 20 else "Bob")
    for i in range(301, 306):
        sight(db, i, face(1, 0.1, i))
    found = search.find_strangers(
        face(1)[np.newaxis], identity_id="id-Ann", limit=4, min_similarity=0.5
    )
    assert len(found) == 4
    assert {each.event.id for each in found} <= set(range(301, 306))
    similarities = [each.similarity for each in found]
    assert similarities == sorted(similarities, reverse=True)


def test_what_is_kept_later_is_found_and_what_is_erased_is_gone(search, db, log) -> None:
    sight(db, 1, face(1))
    assert events(search, face(1)) == [1]
    sight(db, 2, face(1, 0.03, 2), name="Ann")
    db.execute("UPDATE sightings SET template = ? WHERE id = 1", (face(9).astype("<f2").tobytes(),))
    assert events(search, face(1)) == [2]
    assert events(search, face(9)) == [1]
    log.erase_identity("id-Ann")  # the cascade erases the sighting
    search.follow()
    assert len(search) == 1
    assert events(search, face(1)) == []
    db.execute("DELETE FROM events")
    search.follow()
    assert len(search) == 0


def test_an_index_too_far_behind_is_filled_anew(search: SightingSearch, db) -> None:
    sight(db, 1, face(1))
    assert events(search, face(1)) == [1]
    sight(db, 2, face(2))
    db.execute("DELETE FROM events WHERE id = 1")
    db.execute(
        "DELETE FROM sighting_changes WHERE revision < (SELECT max(revision) FROM sighting_changes)"
    )
    assert events(search, face(1)) == []
    assert events(search, face(2)) == [2]


def test_a_search_that_fails_while_it_reads_all_is_begun_anew(
    search: SightingSearch, db, monkeypatch
) -> None:
    def failing(self: SightingReader, only: Filter | None = None) -> Iterator[object]:
        yield next(whole(self, only))
        raise EventLogError("the disk is gone")

    for number in range(1, 7):
        sight(db, number, face(number))
    whole = SightingReader.all
    monkeypatch.setattr(search_module, "CHUNK", 3)
    monkeypatch.setattr(SightingReader, "all", failing)
    with pytest.raises(EventLogError, match="the disk is gone"):
        search.find(face(5)[np.newaxis], limit=10, min_similarity=0.5)
    assert not search.is_loading
    monkeypatch.undo()
    assert events(search, face(5)) == [5]


def test_other_models_are_left_out_and_counted(search: SightingSearch, db) -> None:
    sight(db, 1, face(1), model_id="other")
    sight(db, 2, face(1))
    assert events(search, face(1)) == [2]
    assert search.n_foreign == 1
    db.execute("DELETE FROM events WHERE id = 1")
    search.follow()
    assert search.n_foreign == 0


def test_a_renamed_camera_is_searched_by_its_new_name(search: SightingSearch, db) -> None:
    sight(db, 1, face(1))
    assert events(search, face(1), camera="door") == [1]
    db.execute("UPDATE sightings SET camera = 'gate'")
    assert events(search, face(1), camera="door") == []
    assert events(search, face(1), camera="gate") == [1]


def test_the_faces_of_an_event_and_of_a_visitor(search: SightingSearch, db) -> None:
    sight(db, 1, face(1))
    sight(db, 2, face(2), event_id=1, visitor_id="v")
    reader: SightingReader = search.reader()
    assert len(reader.of_event(1)) == 2
    np.testing.assert_allclose(reader.of_visitor("v"), face(2)[np.newaxis], atol=1e-3)
    assert reader.of_visitor("nobody").shape == (0, SIZE)
    with pytest.raises(UnknownEventError):
        reader.of_event(99)


def test_the_most_different_probes_are_kept() -> None:
    probes = np.stack([face(1), face(1, 0.001, 1), face(2), face(3)])
    np.testing.assert_array_equal(
        spread(probes, 3), probes[[0, *sorted((2, 3), key=lambda i: probes[i] @ probes[0])]]
    )
    assert spread(probes, 9) is probes
