"""Visits from events: joined stays, kills, names, ranges; and attendance by day."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gallery import Identity, Match
from stream.events.attendance import Attendance, attendance, day_of, start_of_day
from stream.events.log import EventLog
from stream.events.visits import (
    UNSEEN_S,
    Row,
    Stays,
    Visit,
    VisitRules,
    join,
    list_visits,
    read_visits,
)
from stream.frames import Event, EventKind

BERLIN = ZoneInfo("Europe/Berlin")
ADA = ("id-ada", "Ada")
BOB = ("id-bob", "Bob")


class Events:
    """Events that are written one after the other."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def face(
        self,
        kind: str,
        at: float,
        track: int,
        who: tuple[str, str] | None = None,
        *,
        camera: str = "door",
        run: str = "r",
        visitor: str | None = None,
        zones: str | None = None,
    ) -> None:
        identity_id, name = who or (None, None)
        number = len(self.rows) + 1
        self.rows.append(
            Row(number, kind, camera, at, run, track, identity_id, name, visitor, True, zones)
        )

    def camera(self, kind: str, at: float, camera: str = "door") -> None:
        number = len(self.rows) + 1
        self.rows.append(Row(number, kind, camera, at, None, None, None, None, None, False))

    def visits(self, gap_s: float = 120.0) -> list[Visit]:
        stays = Stays()
        for row in self.rows:
            stays.add(row)
        return join(stays.all, gap_s=gap_s)


@pytest.fixture
def events() -> Events:
    return Events()


def spans(visits: list[Visit]) -> list[tuple[str | None, float, float | None]]:
    return [(visit.name, visit.began, visit.ended) for visit in visits]


def test_no_events_are_no_visits(events: Events) -> None:
    assert events.visits() == []


def test_enter_and_exit_are_one_visit(events: Events) -> None:
    events.face("enter", 100, 1, ADA)
    events.face("exit", 160, 1, ADA)
    (visit,) = events.visits()
    assert visit == Visit(1, "Ada", "id-ada", None, ("door",), 100, 160, True, 2)


def test_a_visit_has_the_zones_of_its_stays_each_once(events: Events) -> None:
    events.face("zone", 90, 9, ADA, zones='["gate"]')  # of a stay whose begin is not known
    events.face("enter", 100, 1, ADA)
    events.face("zone", 110, 1, ADA, zones='["gate"]')
    events.face("enter", 120, 2, ADA, camera="hall", zones='["desk"]')
    events.face("exit", 130, 1, ADA, zones='["gate", "path"]')
    events.face("zone", 140, 2, ADA, camera="hall", zones='["desk", "gate"]')
    (visit,) = events.visits()
    assert visit.zones == ("gate", "path", "desk")
    assert visit.ended is None


def test_stays_on_several_cameras_are_one_visit(events: Events) -> None:
    events.face("enter", 100, 1, ADA)
    events.face("enter", 150, 2, ADA, camera="hall")
    events.face("exit", 160, 1, ADA)
    events.face("enter", 170, 3, BOB)
    events.face("exit", 200, 2, ADA, camera="hall")
    events.face("exit", 210, 3, BOB)
    events.face("enter", 320, 4, ADA)  # 120 s later
    events.face("exit", 330, 4, ADA)
    ada, bob = events.visits()
    assert (ada.cameras, ada.began, ada.ended) == (("door", "hall", "door"), 100, 330)
    assert (bob.began, bob.ended) == (170, 210)
    assert spans(events.visits(gap_s=119)) == [
        ("Ada", 100, 200),
        ("Bob", 170, 210),
        ("Ada", 320, 330),
    ]


def test_a_stay_within_another_does_not_shorten_the_visit(events: Events) -> None:
    events.face("enter", 100, 1, ADA)
    events.face("enter", 110, 2, ADA, camera="hall")
    events.face("exit", 120, 2, ADA, camera="hall")
    events.face("exit", 900, 1, ADA)
    assert spans(events.visits()) == [("Ada", 100, 900)]


def test_strangers_are_joined_by_their_visitor_alone(events: Events) -> None:
    for track, visitor in ((1, None), (2, None), (3, "v"), (4, "v")):
        events.face("unknown", 100 + track, track, visitor=visitor)
        events.face("exit", 110 + track, track)
    found = [(visit.visitor_id, visit.began, visit.ended) for visit in events.visits()]
    assert found == [(None, 101, 111), (None, 102, 112), ("v", 103, 114)]


def test_the_newest_name_is_that_of_the_whole_stay(events: Events) -> None:
    events.face("unknown", 100, 1)
    events.face("renamed", 130, 1, BOB)
    events.face("renamed", 140, 1, ADA)
    events.face("exit", 200, 1, ADA)
    assert spans(events.visits()) == [("Ada", 100, 200)]


def test_a_second_track_of_a_person_ends_with_the_person(events: Events) -> None:
    # A face that turns out to be of somebody present has no exit of its own.
    events.face("enter", 100, 1, ADA)
    events.face("unknown", 110, 2)
    events.face("renamed", 120, 2, ADA)
    events.face("exit", 200, 1, ADA)
    events.face("enter", 1000, 3, BOB)
    events.face("exit", 1010, 3, BOB)
    assert spans(events.visits()) == [("Ada", 100, 200), ("Bob", 1000, 1010)]


def test_a_stay_of_a_killed_service_ends_at_the_next_start(events: Events) -> None:
    events.camera("camera_up", 90)
    events.face("enter", 100, 1, ADA)
    events.camera("camera_up", 400)  # no camera_down before it: the service was killed
    events.face("enter", 700, 1, ADA, run="s")
    events.face("exit", 720, 1, ADA, run="s")
    killed, later = events.visits()
    assert (killed.began, killed.ended, killed.is_exact) == (100, 400, False)
    assert (later.began, later.ended, later.is_exact) == (700, 720, True)


def test_a_camera_that_returns_ends_no_stay(events: Events) -> None:
    events.camera("camera_up", 90)
    events.face("enter", 100, 1, ADA)
    events.camera("camera_down", 110)
    events.camera("camera_up", 115)
    events.face("exit", 200, 1, ADA)
    assert spans(events.visits()) == [("Ada", 100, 200)]


def test_a_night_without_the_service_is_no_stay(events: Events) -> None:
    events.face("enter", 100, 1, ADA)
    events.face("enter", 90_000, 1, BOB, run="s")
    events.face("exit", 90_010, 1, BOB, run="s")
    assert spans(events.visits())[0] == ("Ada", 100, 100 + UNSEEN_S)


def test_a_visit_goes_on_while_a_stay_does(events: Events) -> None:
    events.face("enter", 100, 1, ADA)
    events.face("enter", 110, 2, ADA, camera="hall")
    events.face("exit", 120, 2, ADA, camera="hall")
    assert spans(events.visits()) == [("Ada", 100, None)]


def write(log: EventLog, kind: EventKind, at: float, track: str, name: str | None) -> int:
    match = Match(Identity(f"id-{name}", name), 0.7) if name else None
    crop = np.zeros((112, 112, 3), np.uint8)
    return log.append(Event(kind, "door", 0.0, track, match, 0.0, crop), at).id


def test_a_range_has_whole_visits(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        for number in range(10):
            at = 1e6 + number * 7200
            write(log, EventKind.ENTER, at, f"r-{number}", "Ada")
            write(log, EventKind.EXIT, at + 4000, f"r-{number}", "Ada")
        write(log, EventKind.ENTER, 1e6 + 80_000, "r-99", "Ada")

        def within(after: float, before: float, live: str | None = "r") -> list[object]:
            found = read_visits(log.connection, after=after, before=before, live_run=live)
            return [(v.began - 1e6, v.ended and v.ended - 1e6) for v in found]

        assert within(0, 1e6) == []
        assert within(1e6 + 4001, 1e6 + 7200) == []
        # Begun before the range, and ended after it.
        assert within(1e6 + 3000, 1e6 + 3001) == [(0, 4000)]
        assert within(1e6 + 3000, 1e6 + 7201) == [(0, 4000), (7200, 11_200)]
        assert within(1e6 + 79_000, 1e6 + 90_000) == [(80_000, None)]
        # Without a service, the end is the last that is known.
        assert within(1e6 + 79_000, 1e6 + 90_000, None) == [(80_000, 80_000)]


def test_a_kill_before_days_without_the_service_is_no_long_stay(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        write(log, EventKind.ENTER, 1e6, "r-1", "Ada")
        write(log, EventKind.ENTER, 1e6 + 60 * 3600, "s-1", "Bob")
        for name in (None, "Ada"):
            (visit,) = read_visits(
                log.connection, after=1e6 - 60, before=1e6 + 60, live_run="s", name=name
            )
            assert (visit.ended, visit.is_exact) == (1e6 + UNSEEN_S, False)


def test_a_stay_of_days_is_whole(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        write(log, EventKind.ENTER, 1e6, "r-1", "Ada")
        write(log, EventKind.ENTER, 1e6 + 50 * 3600, "r-2", "Bob")
        write(log, EventKind.EXIT, 1e6 + 60 * 3600, "r-1", "Ada")
        for at in (1e6, 1e6 + 30 * 3600, 1e6 + 60 * 3600 - 30):
            (visit, *_) = read_visits(log.connection, after=at - 1, before=at + 1, live_run="r")
            assert (visit.name, visit.began, visit.ended) == ("Ada", 1e6, 1e6 + 60 * 3600)
            assert visit.is_exact


def test_a_stay_that_goes_on_for_days_is_in_each_of_them(tmp_path: Path) -> None:
    def visits(log: EventLog, hour: float, live: str | None) -> list[Visit]:
        at = 1e6 + hour * 3600
        return read_visits(log.connection, after=at, before=at + 3600, live_run=live)

    with EventLog.open(tmp_path, keep_days=1e9) as log:
        write(log, EventKind.ENTER, 1e6, "r-1", "Ada")
        write(log, EventKind.UNKNOWN, 1e6 + 60, "r-2", None)
        write(log, EventKind.RENAMED, 1e6 + 90, "r-2", "Eve")
        write(log, EventKind.ENTER, 1e6 + 100, "r-3", "Eve")
        write(log, EventKind.EXIT, 1e6 + 200, "r-3", "Eve")  # of both tracks
        for hour in range(1, 72):
            write(log, EventKind.ENTER, 1e6 + hour * 3600, f"r-{hour + 9}", "Bob")
            write(log, EventKind.EXIT, 1e6 + hour * 3600 + 1, f"r-{hour + 9}", "Bob")
        for hour in (20, 40, 71.5):
            (ada, *others) = visits(log, hour, "r")
            assert (ada.name, ada.began, ada.ended) == ("Ada", 1e6, None)
            assert {visit.name for visit in others} <= {"Bob"}
        (row,) = [
            v
            for v in list_visits(
                log.connection, after=1e6 + 40 * 3600, before=1e6 + 41 * 3600, live_run="r"
            )[0]
            if v.name == "Ada"
        ]
        assert row == visits(log, 40, "r")[0]
        # Killed: its people stayed for an hour after its last event, at most.
        write(log, EventKind.ENTER, 1e6 + 90 * 3600, "s-1", "Bob")
        (ada, *_) = visits(log, 65, "s")
        assert (ada.ended, ada.is_exact) == (1e6 + 71 * 3600 + 1 + UNSEEN_S, False)
        assert visits(log, 88, "s") == []
        kept = log.connection.execute("SELECT count(*) FROM long_stays").fetchone()[0]
        assert kept == 3  # Ada's, the stranger's, and Bob's that goes on
        log.keep_days = 2.0
        log.retain(1e6 + 92 * 3600)
        assert log.connection.execute("SELECT run FROM long_stays").fetchall() == [("s",)]


def test_stays_of_an_older_log_are_known_by_their_length(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        write(log, EventKind.ENTER, 1e6, "r-1", "Ada")
        write(log, EventKind.ENTER, 1e6 + 10, "r-2", "Bob")
        write(log, EventKind.EXIT, 1e6 + 20, "r-2", "Bob")
        write(log, EventKind.EXIT, 1e6 + 13 * 3600, "r-1", "Ada")
        write(log, EventKind.ENTER, 1e6 + 13 * 3600 + 1, "r-3", "Bob")
        stays = log.connection.execute("SELECT * FROM long_stays").fetchall()
        for trigger in ("stay_began", "stay_ended"):
            log.connection.execute(f"DROP TRIGGER {trigger}")
        log.connection.execute("DROP TABLE long_stays")
        log.connection.execute("DROP INDEX events_by_zones")
        log.connection.execute("ALTER TABLE events DROP COLUMN zones")
        log.connection.execute("ALTER TABLE sightings DROP COLUMN n_shots")
        for column in ("merged_time", "merged_similarity"):
            log.connection.execute(f"ALTER TABLE visitors DROP COLUMN {column}")
        log.connection.execute("PRAGMA user_version = 6")
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        assert log.connection.execute("SELECT * FROM long_stays").fetchall() == stays


def test_a_visit_of_many_stays_is_whole_on_every_page(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        for number in range(200):
            at = 1e6 + 100 * number
            write(log, EventKind.ENTER, at, f"r-{2 * number}", "Ada")
            write(log, EventKind.UNKNOWN, at + 5, f"r-{2 * number + 1}", None)
            write(log, EventKind.EXIT, at + 10, f"r-{2 * number + 1}", None)
            write(log, EventKind.EXIT, at + 50, f"r-{2 * number}", "Ada")
        found, cursor = [], None
        while not found or cursor is not None:
            page, cursor = list_visits(
                log.connection, after=None, before=2e6, live_run="r", cursor=cursor, limit=50
            )
            found += page
        (ada,) = [visit for visit in found if visit.name]
        assert (ada.began, ada.ended) == (1e6, 1e6 + 199 * 100 + 50)


def test_a_visit_of_many_stays_is_whole_however_far_it_reaches(tmp_path: Path) -> None:
    last = 60 * 1800
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        for number in range(61):  # half an hour each, with others between
            at, track = 1e6 + number * 1800, f"r-{2 * number}"
            write(log, EventKind.ENTER, at, track, "Ada")
            write(log, EventKind.ENTER, at + 60, f"r-{2 * number + 1}", "Bob")
            write(log, EventKind.EXIT, at + 70, f"r-{2 * number + 1}", "Bob")
            if number < 60:
                write(log, EventKind.EXIT, at + 1750, track, "Ada")

        def visits(at: float) -> list[tuple[str | None, float, float | None]]:
            found = read_visits(log.connection, after=at, before=at + 600, live_run="r")
            return [(v.name, v.began - 1e6, v.ended and v.ended - 1e6) for v in found]

        for hour in (0, 5, 15, 25, 29.9):
            assert ("Ada", 0, None) in visits(1e6 + hour * 3600)
        write(log, EventKind.EXIT, 1e6 + last + 100, "r-120", "Ada")
        for hour in (0, 5, 15, 25, 30):
            assert ("Ada", 0, last + 100) in visits(1e6 + hour * 3600)
        assert [name for name, *_ in visits(1e6 + last + 300)] == []


def test_a_visitor_of_many_stays_is_whole_however_far_it_reaches(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        log.connection.execute(
            "INSERT INTO visitors (visitor_id, first_seen, last_seen, visit_count, is_ignored,"
            " root) VALUES ('v1', 1e6, 1e6, 1, 0, 1)"
        )
        for number in range(40):
            at = 1e6 + number * 1800
            write(log, EventKind.UNKNOWN, at, f"r-{number}", None)
            write(log, EventKind.EXIT, at + 1750, f"r-{number}", None)
        log.connection.execute("UPDATE events SET visitor_id = 'v1'")
        for hour in (0, 10, 19):
            at = 1e6 + hour * 3600
            (visit,) = read_visits(log.connection, after=at, before=at + 60, live_run="r")
            assert (visit.visitor, visit.began, visit.ended) == (
                "Visitor 1",
                1e6,
                1e6 + 39 * 1800 + 1750,
            )


@pytest.mark.parametrize("seed", range(10))
def test_visits_of_one_person_are_those_of_all(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ("Ada", "Bob", "Eve", None)
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        at, present = 1e6, list[tuple[str, str | None]]()
        for number in range(300):
            at += float(random.exponential(300))
            run = f"run{number // 60}"
            present = [each for each in present if each[0].startswith(run)]  # the others: killed
            action = random.random()
            if action < 0.5 or not present:
                name = names[random.integers(4)]
                kind = EventKind.UNKNOWN if name is None else EventKind.ENTER
                present.append((f"{run}-{number}", name))
                write(log, kind, at, *present[-1])
                continue
            track, name = present.pop(random.integers(len(present)))
            if action < 0.6:
                present.append((track, names[random.integers(3)]))
                write(log, EventKind.RENAMED, at, *present[-1])
            else:
                write(log, EventKind.EXIT, at, track, name)
        ask = partial(list_visits, log.connection, after=None, before=2e6, limit=1000)
        for live_run in (None, "run4"):
            everybody, _ = ask(live_run=live_run)
            assert len(everybody) > 50
            for name in ("Ada", "id-Bob", "Eve", "nobody"):
                assert ask(live_run=live_run, name=name) == (
                    [visit for visit in everybody if visit.is_of(name)],
                    None,
                )


def test_pages_have_every_visit_once_newest_first(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        ids = []
        for number in range(60):
            at = 1e6 + number * 5000
            name = "Ada" if number % 3 else "Bob"
            ids.append(write(log, EventKind.ENTER, at, f"r-{number}", name))
            write(log, EventKind.EXIT, at + 100, f"r-{number}", name)

        def pages(limit: int, name: str | None = None, after: float | None = None) -> list[int]:
            found: list[int] = []
            cursor = None
            while True:
                page, cursor = list_visits(
                    log.connection,
                    after=after,
                    before=2e6,
                    live_run=None,
                    cursor=cursor,
                    limit=limit,
                    name=name,
                )
                found += [visit.visit_id for visit in page]
                assert len(page) <= limit
                if cursor is None:
                    return found

        assert pages(7) == ids[::-1] == pages(1000)
        assert pages(3, "id-Bob") == ids[::3][::-1]
        assert pages(4, after=1e6 + 50 * 5000) == ids[50:][::-1]
        assert pages(5, "Nobody") == []


def test_merged_visitors_are_one(tmp_path: Path) -> None:
    with EventLog.open(tmp_path, keep_days=1e9) as log:
        for track in (1, 2):
            event = write(log, EventKind.UNKNOWN, 1e6 + track, f"r-{track}", None)
            write(log, EventKind.EXIT, 1e6 + track + 10, f"r-{track}", None)
            log.connection.execute(
                "UPDATE events SET visitor_id = ? WHERE id = ?", (f"v{track}", event)
            )
            log.connection.execute(
                "INSERT INTO visitors (visitor_id, first_seen, last_seen, visit_count, is_ignored,"
                " root) VALUES (?, 1e6, 1e6, 1, 0, 1)",
                (f"v{track}",),
            )
        (one,) = read_visits(log.connection, after=1e6, before=2e6, live_run=None)
        assert (one.visitor_id, one.visitor, one.ended) == ("v1", "Visitor 1", 1e6 + 12)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def visit(name: str, began: str, ended: str | None, number: int = 1) -> Visit:
    end = None if ended is None else moment(ended)
    return Visit(number, name, f"id-{name}", None, ("door",), moment(began), end, True, None)


def report(*visits: Visit, first: str, last: str, now: str = "2030-01-01T00Z") -> list[Attendance]:
    days = date.fromisoformat(first), date.fromisoformat(last)
    return attendance(visits, first=days[0], last=days[1], zone=BERLIN, now=moment(now))


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-27", 24)]
)
def test_a_day_has_the_hours_of_its_time_zone(day: str, hours: int) -> None:
    (row,) = report(visit("Ada", "2026-03-01T00Z", "2026-12-31T00Z"), first=day, last=day)
    assert row.total_s == hours * 3600
    assert datetime.fromtimestamp(row.first_seen, BERLIN).isoformat()[:19] == f"{day}T00:00:00"
    assert day_of(row.last_seen - 1, BERLIN).isoformat() == day


@pytest.mark.parametrize(
    ("began", "ended", "seconds"),
    [
        # 01:30 to 03:30 by the clock: an hour is left out in March, and comes twice in October.
        ("2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00", 3600),
        ("2026-10-25T01:30+02:00", "2026-10-25T03:30+01:00", 3 * 3600),
    ],
)
def test_a_visit_over_the_changeover_has_its_real_duration(
    began: str, ended: str, seconds: int
) -> None:
    (row,) = report(visit("Ada", began, ended), first=began[:10], last=began[:10])
    assert (row.total_s, row.n_visits) == (seconds, 1)


def test_a_visit_over_midnight_is_split_by_day() -> None:
    night = visit("Ada", "2026-11-26T23:30+01:00", "2026-11-27T00:45+01:00")
    later = visit("Ada", "2026-11-27T09:00+01:00", "2026-11-27T10:00+01:00", 2)
    bob = visit("Bob", "2026-11-27T09:30+01:00", None, 3)
    rows = report(
        night, later, bob, first="2026-11-26", last="2026-11-27", now="2026-11-27T09:40+01:00"
    )
    assert [(row.day.day, row.name, row.total_s, row.n_visits) for row in rows] == [
        (26, "Ada", 1800, 1),
        (27, "Ada", 2700 + 3600, 2),
        (27, "Bob", 600, 1),
    ]
    assert rows[1].first_seen == start_of_day(date(2026, 11, 27), BERLIN)
    assert rows[1].last_seen == moment("2026-11-27T10:00+01:00")


def test_strangers_are_listed_by_visitor_alone() -> None:
    known = visit("Ada", "2026-11-27T09:00Z", "2026-11-27T10:00Z")
    stranger = Visit(2, None, None, None, ("door",), known.began, known.ended, True, None)
    visitor = Visit(3, None, None, "v", ("door",), known.began, known.ended, True, None)
    doubtful = replace(visitor, visitor_id="w", is_provisional=True)
    rows = report(known, stranger, visitor, doubtful, first="2026-11-27", last="2026-11-27")
    assert [(row.name, row.visitor_id) for row in rows] == [("Ada", None), (None, "v")]


def test_a_day_of_another_zone_is_another_day() -> None:
    at = datetime(2026, 11, 26, 23, 30, tzinfo=UTC).timestamp()
    assert day_of(at, BERLIN) == date(2026, 11, 27)
    assert day_of(at, ZoneInfo("America/New_York")) == date(2026, 11, 26)


def test_the_zone_of_reports_has_a_name(monkeypatch):
    assert VisitRules(live_run=None, zone=BERLIN).zone_name == "Europe/Berlin"
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert VisitRules(live_run=None).zone_name == "Asia/Tokyo"
    monkeypatch.setenv("TZ", ":America/Lima")
    assert VisitRules(live_run=None).zone_name == "America/Lima"
    monkeypatch.setenv("TZ", "CET-1CEST")
    assert VisitRules(live_run=None).zone_name == ""
