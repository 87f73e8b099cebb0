"""Visits and attendance as CSV: RFC 4180, without formulas."""

import csv
import io
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gallery import Identity, Match
from stream.events.attendance import Attendance
from stream.events.visits import Visit
from stream.frames import Track, TrackState
from stream.schemas.visits import (
    attendance_csv,
    clock,
    presence_json,
    to_csv,
    visit_json,
    visits_csv,
)

BERLIN = ZoneInfo("Europe/Berlin")
VISIT = Visit(7, "Ada", "id-ada", None, ("door", "hall"), 1_795_766_400.0, None, False, None)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(name: str) -> None:
    ((cell,),) = list(csv.reader(io.StringIO(to_csv(["name"], [[name]]), newline="")))[1:]
    assert cell == "'" + name


def test_quotes_commas_and_numbers_are_read_back() -> None:
    text = to_csv(["a", "b", "c"], [['Ada "the" first, Lovelace', -1.5, None]])
    assert text.splitlines(keepends=True)[0] == "a,b,c\r\n"
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row == {"a": 'Ada "the" first, Lovelace', "b": "-1.5", "c": ""}


def test_a_visit_that_goes_on_lasts_until_now() -> None:
    now = VISIT.began + 90.5
    assert visit_json(VISIT, now=now)["duration_s"] == 90.5
    text = visits_csv([VISIT], zone=BERLIN, now=now)
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["from"], row["to"]) == ("2026-11-27T09:00:00+01:00", "")
    assert (row["duration_s"], row["duration"]) == ("90.5", "0:01:30")
    assert row["cameras"] == "door > hall"


def test_attendance_has_times_of_its_zone() -> None:
    attended = Attendance(
        date(2026, 11, 27), "Ada", "id-ada", None, VISIT.began, VISIT.began + 60, 60.0, 2, True
    )
    (row,) = csv.DictReader(io.StringIO(attendance_csv([attended], zone=BERLIN), newline=""))
    assert (row["first_seen"], row["last_seen"]) == (
        "2026-11-27T09:00:00+01:00",
        "2026-11-27T09:01:00+01:00",
    )
    assert (row["total_s"], row["total"], row["visits"]) == ("60.0", "0:01:00", "2")


def test_long_durations_have_many_hours() -> None:
    assert (clock(0.4), clock(3_661), clock(360_000)) == ("0:00:00", "1:01:01", "100:00:00")


def track(number: int, state: TrackState, name: str = "") -> Track:
    match = Match(Identity(f"id-{name}", name), 0.8) if name else None
    return Track(f"r-{number}", np.zeros(4, np.float32), 0.9, 1.0, 2.0, state, match, f"r-{number}")


def test_presence_counts_people_and_strangers_without_ignored_and_undecided_ones() -> None:
    door = [
        track(1, TrackState.KNOWN, "Ada"),
        track(2, TrackState.UNKNOWN),
        track(3, TrackState.UNKNOWN),
        track(4, TrackState.UNDECIDED),
    ]
    hall = [track(5, TrackState.KNOWN, "Ada"), track(6, TrackState.UNDECIDED)]
    answer = presence_json(
        [("door", door), ("hall", hall)], now=9.0, is_ignored=lambda stay: stay == "r-3"
    )
    assert answer["count"] == 2
    assert [(row["count"], row["n_unknown"]) for row in answer["cameras"]] == [(2, 1), (1, 0)]
