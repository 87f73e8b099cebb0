import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery import Identity, Match
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
