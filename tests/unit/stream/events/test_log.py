import hashlib
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery import Gallery, Identity, Match, NewPhoto
from gallery.exchange import export_people
from gallery.importing import import_people
from recognizer import Quality
from stream.errors import (
    EventLogBusyError,
    EventLogError,
    EventLogFullError,
    UnknownEventError,
)
from stream.events import identity_sync as event_people
from stream.events import schema as event_schema
from stream.events.log import DAY_S, RETENTION_EVERY, EventLog
from stream.events.schema import FILE_NAME
from stream.events.webhook_queue import Outbox
from stream.frames import Event, EventKind

NOON = 1_700_000_000.25


def event(
    kind: EventKind = EventKind.ENTER,
    *,
    camera: str = "door",
    name: str | None = "Ann",
    crop: np.ndarray | None = None,
    detail: str = "",
    track: str | None = "run-7",
    previous: str | None = None,
) -> Event:
    match = None if name is None else Match(Identity(f"id-{name}", name), 0.71)
    was = None if previous is None else Identity(f"id-{previous}", previous)
    return Event(kind, camera, 12.0, track, match, 11.5, crop, detail, was)


def photo(gray: int = 120) -> np.ndarray:
    crop = np.full((112, 112, 3), gray, np.uint8)
    crop[:, :, 0] = 200
    return crop


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog.open(tmp_path) as opened:
        yield opened


def test_a_new_log_is_empty(log: EventLog) -> None:
    assert log.list() == []
    assert log.crop_jpeg(1) is None
    assert log.retain(NOON) == 0


def test_what_was_appended_is_listed(log: EventLog) -> None:
    kept = log.append(event(crop=photo()), NOON)
    assert (kept.kind, kept.camera, kept.track_id) == (EventKind.ENTER, "door", "run-7")
    assert (kept.name, kept.identity_id, kept.similarity) == ("Ann", "id-Ann", 0.71)
    assert kept.at == "2023-11-14T22:13:20.250Z"
    assert kept.has_crop
    assert log.list() == [kept]


def test_strangers_and_cameras_have_no_name(log: EventLog) -> None:
    stranger = log.append(event(EventKind.UNKNOWN, name=None), NOON)
    down = Event(EventKind.CAMERA_DOWN, "door", 1.0, None, None, 1.0, None, "connection refused")
    camera = log.append(down, NOON)
    assert (stranger.name, stranger.identity_id, stranger.similarity) == (None, None, None)
    assert (camera.track_id, camera.has_crop, camera.detail) == (None, False, "connection refused")
    assert log.list() == [camera, stranger]


def test_the_crop_comes_back_as_jpeg_in_its_colours(log: EventLog) -> None:
    kept = log.append(event(crop=photo()), NOON)
    jpeg = log.crop_jpeg(kept.id)
    assert jpeg is not None
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    np.testing.assert_allclose(bgr[50, 50], [120, 120, 200], atol=4)
    assert log.crop_jpeg(log.append(event(), NOON).id) is None


def test_it_is_all_there_after_opening_again(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as first:
        kept = first.append(event(crop=photo()), NOON)
    with EventLog.open(tmp_path) as second:
        assert second.list() == [kept]
        assert second.append(event(), NOON).id == kept.id + 1
    second.close()


def test_a_log_begun_anew_uses_no_number_again(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as first:
        last = [first.append(event(), NOON).id for _ in range(5)][-1]
    for file in tmp_path.iterdir():
        file.unlink()
    began = int(time.time())
    while int(time.time()) == began:  # numbers count on from the time, in whole seconds
        time.sleep(0.01)
    with EventLog.open(tmp_path) as anew:
        assert anew.append(event(), NOON).id > last


def test_pages_are_walked_by_cursor(log: EventLog) -> None:
    ids = [log.append(event(), NOON + i).id for i in range(10)]
    walked: list[int] = []
    cursor = None
    while page := log.list(cursor=cursor, limit=3):
        walked += [kept.id for kept in page]
        cursor = walked[-1]
    assert walked == ids[::-1]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, ["Dot", "Cy", "Bob", "Ann"]),
        ({"camera": "yard"}, ["Bob"]),
        ({"kinds": [EventKind.EXIT]}, ["Cy"]),
        ({"kinds": [EventKind.EXIT, EventKind.ENTER]}, ["Dot", "Cy", "Bob", "Ann"]),
        ({"name": "Ann"}, ["Ann"]),
        ({"name": "Ann", "camera": "yard"}, []),
        ({"after": NOON + 1.0}, ["Dot"]),
        ({"before": NOON + 1.0, "kinds": [EventKind.EXIT]}, ["Cy"]),
        ({"after": NOON, "before": NOON}, []),
        ({"camera": "'; DROP TABLE events; --"}, []),
    ],
)
def test_filters_narrow_the_list(
    log: EventLog, filters: dict[str, object], names: list[str]
) -> None:
    log.append(event(name="Ann"), NOON)
    log.append(event(name="Bob", camera="yard"), NOON)
    log.append(event(EventKind.EXIT, name="Cy"), NOON)
    log.append(event(name="Dot", camera="gate"), NOON + 1.0)
    assert [kept.name for kept in log.list(**filters)] == names  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_limit_out_of_range_is_refused(log: EventLog, limit: int) -> None:
    with pytest.raises(ValueError, match=f"got {limit}"):
        log.list(limit=limit)


def test_an_erased_person_leaves_no_byte(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as log:
        for i in range(20):
            log.append(event(name="Zebulon Quartz", crop=photo(i)), NOON)
        log.append(event(EventKind.RENAMED, name="Ann", previous="Zebulon Quartz"), NOON)
        assert log.list(limit=1)[0].detail == "was Zebulon Quartz"
        assert log.erase_identity("id-Zebulon Quartz") == 20
        (kept,) = log.list()
        assert (kept.name, kept.detail) == ("Ann", "")
        for file in tmp_path.iterdir():
            assert b"Zebulon" not in file.read_bytes(), file.name


def test_an_erased_person_is_erased_as_the_stranger_they_were(log: EventLog) -> None:
    log.append(event(EventKind.UNKNOWN, name=None, track="run-7"), NOON - 2 * DAY_S)
    log.append(event(EventKind.UNKNOWN, name=None, track="run-8"), NOON)
    log.append(event(EventKind.UNKNOWN, name=None, track="later run-7", crop=photo()), NOON)
    log.append(event(EventKind.RENAMED, name="Eve", track="run-7"), NOON + 60)
    assert log.erase_identity("id-Eve") == 2
    assert [kept.track_id for kept in log.list()] == ["later run-7", "run-8"]


def test_a_stranger_whose_track_was_found_to_be_another_s_stays(log: EventLog) -> None:
    log.append(event(EventKind.UNKNOWN, name=None), NOON)
    log.append(event(EventKind.RENAMED, name="Ann"), NOON + 1)
    log.append(event(EventKind.RENAMED, name="Bob", previous="Ann"), NOON + 2)
    assert log.erase_identity("id-Ann") == 1
    assert [(kept.kind, kept.name, kept.detail) for kept in log.list()] == [
        ("renamed", "Bob", ""),
        ("unknown", None, ""),
    ]
    assert log.erase_identity("id-Bob") == 2


def test_a_person_named_unknown_is_no_stranger(log: EventLog, people: Gallery) -> None:
    log.follow(people)
    odd, ann = enrolled(people, "unknown", 1), enrolled(people, "Ann", 2)
    log.append(replace(seen(ann, EventKind.RENAMED), previous=None), NOON)
    log.append(replace(seen(ann, EventKind.RENAMED), previous=odd), NOON)
    details = [(e.detail, e.previous_name) for e in log.list()]
    assert details == [("was unknown", "unknown"), ("was unknown", None)]
    people.people.rename(odd.identity_id, "Otto")
    assert [e.detail for e in log.list()] == ["was Otto", "was unknown"]
    people.people.remove(odd.identity_id)
    assert [e.detail for e in log.list()] == ["", "was unknown"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a directory with a log as version 1 wrote it, in two runs of the service."""
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(Path(__file__).with_name("event_log_v1.sql").read_text())
    connection.close()
    return tmp_path


def test_an_older_log_is_kept_with_tracks_told_apart_by_run(old: Path) -> None:
    with EventLog.open(old) as log:
        kept = {e.id: e for e in log.list()}
        assert list(kept) == list(range(16, 0, -1))
        assert all(log.crop_jpeg(e.id) for e in kept.values() if e.track_id)
        tracks = {e.id: e.track_id for e in kept.values() if e.track_id}
        assert tracks[4] == tracks[5] == "v1.1-2"
        assert tracks[11] == "v1.9-2", "the same number after a restart"
        assert tracks[3] == tracks[8] != tracks[12] == tracks[13]
        assert [(kept[i].detail, kept[i].previous_name) for i in (5, 7, 13, 15, 16)] == [
            ("was unknown", None),
            ("was Bob", "Bob"),
            ("was unknown", None),
            ("was unknown", "unknown"),
            ("connection refused", None),
        ]
        assert log.append(event(), NOON).id == 18, "no number is used again"
        assert log.erase_identity("b2b2b2b2b2b2b2b2") == 3
        left = {e.id: e for e in log.list()}
        assert kept.keys() - left.keys() == {6, 12, 13}
        assert left[7].detail == ""
        assert log.erase_identity("a1a1a1a1a1a1a1a1") == 4
        assert 11 in {e.id for e in log.list()}, "a stranger of another run"
    with closing(Outbox(old, "0123456789abcdef0123456789abcdef-0")) as outbox:
        assert outbox.pending(frozenset(), limit=9)[0][-1].id == 18


def test_an_older_log_that_cannot_be_brought_up_to_date_is_left_as_it_is(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*event_schema.MIGRATIONS[:1], event_schema.VERSION_2 + "CREATE NONSENSE")
    with monkeypatch.context() as patch:
        patch.setattr(event_schema, "MIGRATIONS", broken)
        with pytest.raises(EventLogError, match="cannot open the event log"):
            EventLog.open(old)
    with closing(sqlite3.connect(old / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(track_id) FROM events").fetchone() == (11,)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path, model_id="m", embedding_size=4) as opened:
        yield opened


def enrolled(people: Gallery, name: str, number: int) -> Identity:
    row = np.eye(1, 4, number % 4, dtype=np.float32)[0]
    return people.photos.add(name, [NewPhoto(row, None, f"{number:064x}", 0.5)])[0]


def seen(
    identity: Identity, kind: EventKind = EventKind.ENTER, previous: Identity | None = None
) -> Event:
    match = Match(identity, 0.7)
    return Event(kind, "door", 12.0, "run-7", match, 11.5, photo(), "", previous)


def test_past_events_bear_the_present_name_whoever_changed_it(
    log: EventLog, people: Gallery, tmp_path: Path
) -> None:
    log.follow(people)
    ann, bob = enrolled(people, "Ann", 1), enrolled(people, "Bob", 2)
    log.append(seen(ann), NOON)
    log.append(seen(bob, EventKind.RENAMED, ann), NOON)
    with Gallery.open(tmp_path, model_id="m", embedding_size=4) as other_process:
        other_process.people.rename(ann.identity_id, "Anna")
        assert [(e.name, e.detail) for e in log.list()] == [("Bob", "was Anna"), ("Anna", "")]
        assert [e.name for e in log.list(name="Anna")] == ["Anna"]
        other_process.people.merge(ann.identity_id, bob.identity_id)
        assert {(e.name, e.identity_id) for e in log.list()} == {("Bob", bob.identity_id)}
        # What was seen before the merge and is written after it.
        assert log.append(seen(ann), NOON).name == "Bob"
        carl = enrolled(people, "Carl", 3)
        other_process.people.merge(bob.identity_id, carl.identity_id)
        assert {e.name for e in log.list()} == {"Carl"}
        assert log.append(seen(ann), NOON).name == "Carl"


def test_whoever_is_erased_anywhere_is_erased_here(
    log: EventLog, people: Gallery, tmp_path: Path
) -> None:
    log.follow(people)
    ann, bob = enrolled(people, "Ann Arbor", 1), enrolled(people, "Bob", 2)
    log.append(seen(ann), NOON)
    log.append(seen(bob), NOON)
    with Gallery.open(tmp_path, model_id="m", embedding_size=4) as other_process:
        other_process.people.remove(ann.identity_id)
    late = log.append(seen(ann), NOON)  # seen just before
    assert (late.name, late.identity_id, late.has_crop) == (None, None, False)
    assert [e.name for e in log.list()] == [None, "Bob"]
    assert log.count(bob.identity_id) == 1
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Ann Arbor" not in files
    assert ann.identity_id.encode() not in b"".join(
        file.read_bytes() for file in tmp_path.glob("events*")
    )


def test_a_log_takes_in_at_its_start_what_was_changed_without_it(
    tmp_path: Path, people: Gallery
) -> None:
    ann, bob = enrolled(people, "Ann", 1), enrolled(people, "Bob", 2)
    with EventLog.open(tmp_path) as log:
        log.append(seen(ann), NOON)
        log.append(seen(bob), NOON)
    people.people.remove(ann.identity_id)
    people.people.rename(bob.identity_id, "Robert")
    with EventLog.open(tmp_path) as log:
        log.follow(people)
        assert [e.name for e in log.list()] == ["Robert"]


def test_history_survives_another_gallery_and_is_linked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def opened(directory: str) -> Gallery:
        return Gallery.open(tmp_path / directory, model_id="m", embedding_size=4)

    with opened("own") as own, EventLog.open(tmp_path) as log:
        log.follow(own)
        ann, bob = enrolled(own, "Ann", 1), enrolled(own, "Bob", 2)
        log.append(seen(ann), NOON)
        log.append(seen(bob, EventKind.RENAMED, ann), NOON)
        export_people(own, tmp_path / "export")
        shutil.copytree(tmp_path / "own", tmp_path / "backup")
        carl = enrolled(own, "Carl", 3)
        log.append(seen(carl), NOON)
        assert log.notices() == []

    def names(directory: str) -> list[tuple[str | None, bool]]:
        with opened(directory) as gallery, EventLog.open(tmp_path) as log:
            log.follow(gallery)
            n_people = sum(e.identity_id is None for e in log.list())
            assert [line for line in log.notices() if f"show {n_people} pe" in line] or not n_people
            assert len(log.notices()) == bool(n_people)
            return [(e.name, e.identity_id is not None) for e in log.list()]

    everybody = ["Carl", "Bob", "Ann"]
    assert names("fresh") == [(name, False) for name in everybody]
    assert "this gallery does not know" in caplog.text
    with opened("fresh") as fresh:
        import_people(fresh, tmp_path / "export")
    assert names("fresh") == [("Carl", False), ("Bob", True), ("Ann", True)]
    assert names("backup") == [("Carl", False), ("Bob", True), ("Ann", True)]
    assert names("own") == [(name, True) for name in everybody]
    with opened("fresh") as fresh:  # an erased person is erased wherever their id comes from
        fresh.people.remove(ann.identity_id)
    assert names("fresh") == [("Carl", False), ("Bob", True)]
    with EventLog.open(tmp_path) as log:
        assert [(e.name, e.detail) for e in log.list()] == [("Carl", ""), ("Bob", "")]


def test_the_log_knows_which_gallery_it_belongs_to(tmp_path: Path, people: Gallery) -> None:
    with EventLog.open(tmp_path) as log:
        log.follow(people)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        (kept,) = connection.execute("SELECT value FROM facts WHERE key = 'gallery_id'").fetchone()
    assert kept == people.gallery_id


def test_a_past_event_gets_its_name_with_the_others_of_its_track(
    log: EventLog, people: Gallery
) -> None:
    log.follow(people)
    ann, bob = enrolled(people, "Ann", 1), enrolled(people, "Bob", 2)
    others = [
        event(EventKind.UNKNOWN, name=None, track="run-8"),
        event(EventKind.UNKNOWN, name=None, track="later run-7"),
        seen(bob),
    ]
    for other in others:
        log.append(other, NOON)
    first = log.append(event(EventKind.UNKNOWN, name=None), NOON)
    log.append(event(EventKind.EXIT, name=None), NOON)
    assert log.name_events([first.id], ann) == 2
    assert log.name_events([first.id], ann) == 0
    assert log.name_events([999], ann) == 0
    named = [(e.kind, e.name, e.similarity) for e in log.list()]
    assert named == [
        ("exit", "Ann", None),
        ("unknown", "Ann", None),
        ("enter", "Bob", 0.7),
        ("unknown", None, None),
        ("unknown", None, None),
    ]
    assert log.name_events([first.id], bob) == 2, "a wrong name is corrected"


def test_a_past_event_gets_no_name_of_a_person_erased_meanwhile(
    log: EventLog, people: Gallery
) -> None:
    log.follow(people)
    ann = enrolled(people, "Ann", 1)
    first = log.append(event(EventKind.UNKNOWN, name=None), NOON)
    people.people.remove(ann.identity_id)
    log.reconcile()
    assert log.name_events([first.id], ann) == 0
    assert [each.name for each in log.list()] == [None]


def test_the_face_of_an_event_is_kept_with_embedding_model_and_quality(
    log: EventLog, people: Gallery, tmp_path: Path
) -> None:
    embedding = np.eye(1, 4, 2, dtype=np.float32)[0]
    quality = Quality(80.0, 50.5, 1.0, 2.0, 3.0, 0.9, 0.5, 0.7)
    stranger = replace(
        event(EventKind.UNKNOWN, name=None, crop=photo()), embedding=embedding, quality=quality
    )
    without = log.append(stranger, NOON)  # no model is known before a gallery is followed
    log.follow(people)
    whole = log.append(stranger, NOON)
    face = log.face(whole.id)
    assert face is not None
    np.testing.assert_array_equal(face.embedding, embedding)
    assert (face.model_id, face.quality) == ("m", quality)
    assert face.crop_sha256 == hashlib.sha256(photo().tobytes()).hexdigest()
    np.testing.assert_allclose(face.crop.astype(int), photo().astype(int), atol=8)
    bare = log.face(without.id)
    assert bare is not None
    assert (bare.embedding, bare.model_id, bare.quality) == (None, "", quality)
    down = Event(EventKind.CAMERA_DOWN, "door", 1.0, None, None, 1.0, None)
    assert log.face(log.append(down, NOON).id) is None
    with pytest.raises(UnknownEventError, match="no event 999"):
        log.face(999)
    with sqlite3.connect(tmp_path / FILE_NAME) as other:
        other.execute("UPDATE events SET quality = '{}', crop = x'00' WHERE id = ?", [whole.id])
        other.execute("UPDATE events SET quality = '{}' WHERE id = ?", [without.id])
    other.close()
    older = log.face(without.id)
    assert older is not None
    assert older.quality is None
    with pytest.raises(EventLogError, match="crop of a past event is damaged"):
        log.face(whole.id)


def test_events_are_made_anothers(log: EventLog, people: Gallery) -> None:
    log.follow(people)
    ann, bob = enrolled(people, "Ann", 1), enrolled(people, "Bob", 2)
    kept = [log.append(seen(ann), NOON).id for _ in range(3)]
    assert [number for number, _ in log.crops(ann.identity_id)] == kept
    log.reassign(kept[1:], bob)
    assert [e.name for e in log.list()] == ["Bob", "Bob", "Ann"]


def test_a_gallery_that_cannot_be_read_costs_no_event(
    log: EventLog, people: Gallery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.follow(people)
    ann = enrolled(people, "Ann", 1)
    with sqlite3.connect(Path(people.store.place, "gallery.sqlite3")) as breaker:
        breaker.execute("ALTER TABLE identities RENAME TO hidden")
        breaker.execute("ALTER TABLE journal RENAME TO hidden_too")
        breaker.commit()
        assert log.append(seen(ann), NOON).name == "Ann"
        breaker.execute("ALTER TABLE hidden RENAME TO identities")
        breaker.execute("ALTER TABLE hidden_too RENAME TO journal")
    breaker.close()
    assert [e.name for e in log.list()] == ["Ann"]


def test_old_events_are_erased(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=2) as log:
        log.append(event(name="Old"), NOON - 3 * DAY_S)
        log.append(event(name="New"), NOON)
        assert log.retain(NOON) == 1
        assert [kept.name for kept in log.list()] == ["New"]


def test_a_full_log_loses_its_oldest_events(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    with EventLog.open(tmp_path, keep_bytes=500_000) as log:
        for i in range(2 * RETENTION_EVERY):
            newest = log.append(event(crop=noise), NOON + i)
        log.retain(NOON + 1000)
        left = log.list(limit=1000)
    assert 10 < len(left) < RETENTION_EVERY
    assert left[0] == newest
    assert [kept.id for kept in left] == list(range(newest.id, newest.id - len(left), -1))


def test_a_limit_below_an_empty_file_ends(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_bytes=1) as log:
        log.append(event(), NOON)
        log.retain(NOON)
        assert log.list() == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EventLogError, match=r"cannot open the event log .*events\.db"):
        EventLog.open(tmp_path / "file" / "below")


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(EventLogError, match="move it away to begin a new one"):
        EventLog.open(tmp_path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    EventLog.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(EventLogError, match="is of version 99"):
        EventLog.open(tmp_path)


def test_a_disk_that_takes_nothing_is_told(log: EventLog, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as other:
        other.execute("DROP TABLE events")
    other.close()
    with pytest.raises(EventLogError, match="cannot keep an event"):
        log.append(event(), NOON)


def test_past_events_bear_a_cameras_new_name(log: EventLog) -> None:
    log.append(event(camera="door"), NOON)
    log.append(event(camera="yard"), NOON)
    log.rename_camera("door", "front")
    assert [each.camera for each in log.list()] == ["yard", "front"]
    assert log.list(camera="door") == []


def test_what_cannot_be_written_as_text_costs_no_event(log: EventLog) -> None:
    assert log.append(event(EventKind.CAMERA_DOWN, detail="no \ud800"), NOON).detail == "no ?"


@pytest.fixture
def lock(tmp_path: Path, log: EventLog) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of the log as another program does."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_log_that_another_program_holds_says_so(
    log: EventLog, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    log._connection.execute("PRAGMA busy_timeout = 10")
    changes = (
        lambda: log.append(event(), NOON),
        lambda: log.rename_camera("a", "b"),
        lambda: log.erase_identity("x"),
        lambda: log.reassign([1], Identity("x", "X")),
        lambda: log.name_events([1], Identity("x", "X")),
        lambda: log.retain(NOON),
    )
    for change in changes:
        with pytest.raises(EventLogBusyError, match="another program holds"):
            change()
    assert log.list() == []
    lock.execute("ROLLBACK")
    kept = log.append(event(), NOON)
    assert log.list() == [kept]


def test_a_full_disk_says_so(log: EventLog) -> None:
    log._connection.execute("PRAGMA max_page_count = 1")  # as good as a disk without room
    noise = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    with pytest.raises(EventLogFullError, match="is full, free some space"):
        log.append(event(crop=noise), NOON)
    assert log.list() == []


def test_nobody_else_can_read_the_log_new_or_old(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "demo"
    for _ in range(2):
        with EventLog.open(directory) as log, closing(Outbox(directory, "hook")):
            log.append(event(), NOON)
            files = list(directory.iterdir())
            assert len(files) == 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        directory.chmod(0o755)  # as an older version made them
        (directory / FILE_NAME).chmod(0o644)


def test_a_log_is_read_where_nothing_can_be_written(tmp_path: Path, old: Path) -> None:
    with EventLog.open(tmp_path / "new") as log:
        log.append(event(), NOON)
        with EventLog.open_reader(tmp_path / "new") as beside:
            assert beside.list() == log.list()
    (tmp_path / "new").chmod(0o500)
    with EventLog.open_reader(tmp_path / "new") as reader:
        assert [kept.name for kept in reader.list()] == ["Ann"]
        with pytest.raises(EventLogError, match="readonly"):
            reader.append(event(), NOON)
    (tmp_path / "new").chmod(0o700)
    with EventLog.open_reader(old) as brought_up_to_date:
        assert len(brought_up_to_date.list()) == 16
    with pytest.raises(EventLogError, match="cannot read the event log"):
        EventLog.open_reader(tmp_path / "nowhere")


def test_a_service_starts_while_another_program_holds_the_log(
    log: EventLog, people: Gallery, lock: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    ann = enrolled(people, "Ann", 1)
    log._connection.execute("PRAGMA busy_timeout = 10")
    log.follow(people)
    assert "another program holds" in caplog.text
    lock.execute("ROLLBACK")
    assert log.append(seen(ann), NOON).name == "Ann"
    assert event_people.fact(log._connection, "gallery_id") == people.gallery_id


def test_events_are_found_by_zone_as_the_stay_went_on(log: EventLog) -> None:
    zoned = [
        log.append(replace(event(kind), zones=zones), NOON + number)
        for number, (kind, zones) in enumerate(
            [
                (EventKind.ENTER, ()),
                (EventKind.ZONE, ("porch",)),
                (EventKind.ZONE, ("porch", "path")),
                (EventKind.EXIT, ("porch", "path")),
            ]
        )
    ]
    assert [each.zones for each in zoned] == [(), ("porch",), ("porch", "path"), ("porch", "path")]
    assert log.list(zone="porch") == zoned[:0:-1]
    assert log.list(zone="path", camera="door", limit=1) == [zoned[3]]
    assert log.list(zone="path", kinds=[EventKind.ZONE], cursor=zoned[3].id) == [zoned[2]]
    for other in ("por", "porch,path", "%", '"porch"', ""):
        assert log.list(zone=other) == []
