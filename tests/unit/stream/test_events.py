import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery import Gallery, Identity, Match
from stream.errors import EventLogError
from stream.events import DAY_S, FILE_NAME, RETENTION_EVERY, EventLog
from stream.frames import Event, EventKind

NOON = 1_700_000_000.25


def event(
    kind: EventKind = EventKind.ENTER,
    *,
    camera: str = "door",
    name: str | None = "Ann",
    crop: np.ndarray | None = None,
    detail: str = "",
) -> Event:
    match = None if name is None else Match(Identity(f"id-{name}", name), 0.71)
    return Event(kind, camera, 12.0, 7, match, 11.5, crop, detail)


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
    assert (kept.id, kept.kind, kept.camera, kept.track_id) == (1, EventKind.ENTER, "door", 7)
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
    np.testing.assert_allclose(bgr[50, 50], [120, 120, 200], atol=4)
    assert log.crop_jpeg(log.append(event(), NOON).id) is None


def test_it_is_all_there_after_opening_again(tmp_path: Path) -> None:
    with EventLog.open(tmp_path) as first:
        kept = first.append(event(crop=photo()), NOON)
    with EventLog.open(tmp_path) as second:
        assert second.list() == [kept]
        assert second.append(event(), NOON).id == kept.id + 1
    second.close()


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
        log.append(event(EventKind.RENAMED, name="Ann", detail="was Zebulon Quartz"), NOON)
        assert log.erase_identity("id-Zebulon Quartz") == 20
        (kept,) = log.list()
        assert (kept.name, kept.detail) == ("Ann", "")
        for file in tmp_path.iterdir():
            assert b"Zebulon" not in file.read_bytes(), file.name


def test_an_erased_person_is_erased_as_the_stranger_they_were(log: EventLog) -> None:
    log.append(event(EventKind.UNKNOWN, name=None, camera="yard"), NOON)
    log.append(event(EventKind.UNKNOWN, name=None), NOON - 2 * DAY_S)
    log.append(event(EventKind.UNKNOWN, name=None, crop=photo()), NOON)
    log.append(event(EventKind.RENAMED, name="Eve"), NOON + 60)
    assert log.erase_identity("id-Eve") == 2
    assert [kept.id for kept in log.list()] == [2, 1], "another camera's, another day's"


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path, model_id="m", embedding_size=4) as opened:
        yield opened


def enrolled(people: Gallery, name: str, number: int) -> Identity:
    row = np.eye(1, 4, number % 4, dtype=np.float32)[0]
    return people.enroll(name, row, crop=None, source_sha256=f"{number:064x}", quality=0.5)


def seen(identity: Identity, kind: EventKind = EventKind.ENTER, detail: str = "") -> Event:
    return Event(kind, "door", 12.0, 7, Match(identity, 0.7), 11.5, photo(), detail)


def test_past_events_bear_the_present_name_whoever_changed_it(
    log: EventLog, people: Gallery, tmp_path: Path
) -> None:
    log.follow(people)
    ann, bob = enrolled(people, "Ann", 1), enrolled(people, "Bob", 2)
    log.append(seen(ann), NOON)
    log.append(seen(bob, EventKind.RENAMED, "was Ann"), NOON)
    with Gallery.open(tmp_path, model_id="m", embedding_size=4) as other_process:
        other_process.rename(ann.identity_id, "Anna")
        assert [(e.name, e.detail) for e in log.list()] == [("Bob", "was Anna"), ("Anna", "")]
        assert [e.name for e in log.list(name="Anna")] == ["Anna"]
        other_process.merge(ann.identity_id, bob.identity_id)
        assert {(e.name, e.identity_id) for e in log.list()} == {("Bob", bob.identity_id)}
        # What was seen before the merge and is written after it.
        assert log.append(seen(ann), NOON).name == "Bob"
        carl = enrolled(people, "Carl", 3)
        other_process.merge(bob.identity_id, carl.identity_id)
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
        other_process.remove(ann.identity_id)
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
    people.remove(ann.identity_id)
    people.rename(bob.identity_id, "Robert")
    with EventLog.open(tmp_path) as log:
        log.follow(people)
        assert [e.name for e in log.list()] == ["Robert"]


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
    with sqlite3.connect(people.store.path) as breaker:
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
