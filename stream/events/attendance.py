"""Attendance: how long each person was there on each day."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from stream.errors import StreamError
from stream.events.visits import Visit


@dataclass(frozen=True, slots=True)
class Attendance:
    """One person on one day.

    Attributes:
        day: in the time zone of the report.
        name, identity_id: the person; None for a stranger.
        visitor_id: of a stranger.
        visitor: what the stranger is called, such as "Visitor 12".
        first_seen, last_seen: seconds since 1970, within the day.
        total_s: seconds of all visits within the day; visits on several cameras count once.
        n_visits: visits that touch the day.
        is_exact: false where a visit's end is an estimate, or the visit goes on.
    """

    day: date
    name: str | None
    identity_id: str | None
    visitor_id: str | None
    first_seen: float
    last_seen: float
    total_s: float
    n_visits: int
    is_exact: bool
    visitor: str | None = None


def start_of_day(day: date, zone: tzinfo | None) -> float:
    """Return when a day begins, seconds since 1970.

    Args:
        day: of the calendar; days on which daylight saving changes have 23 or 25 hours.
        zone: the time zone; None for the system's.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def day_of(at: float, zone: tzinfo | None) -> date:
    """Return the day of a time in seconds since 1970; `zone` None for the system's."""
    return datetime.fromtimestamp(at, zone).date()


def report_days(
    first: date | None, last: date | None, today: date, *, option: str = ""
) -> tuple[date, date]:
    """Return the first and the last day of a report; today where they are not given.

    Args:
        first: the first day; None for today, or the last day if that is earlier.
        last: the last day, included; None for today, or the first day if that is later.
        today: in the time zone of the report.
        option: what precedes the names from and to in messages.

    Raises:
        StreamError: if the first is after the last, or a day is not in the years 1970 to 9000.
    """
    last = last or max(today, first or today)
    first = first or min(today, last)
    if first > last:
        raise StreamError(f"{option}from must not be after {option}to: {first} is after {last}")
    if not 1970 <= first.year <= last.year <= 9000:
        raise StreamError(f"{option}from and {option}to must be in the years 1970 to 9000")
    return first, last


def attendance(
    visits: Iterable[Visit], *, first: date, last: date, zone: tzinfo | None, now: float
) -> list[Attendance]:
    """Return who was there on each day, by day and name.

    Strangers without a visitor's id are left out: nothing tells which of their visits are of one
    person. So are those seen too briefly to be sure that they are a person of their own.

    Args:
        visits: see `stream.events.visits.read_visits`.
        first: the first day of the report.
        last: its last day, included.
        zone: the time zone whose days are meant; None for the system's.
        now: seconds since 1970; visits that go on last until now.
    """
    found: dict[tuple[date, str], Attendance] = {}
    for visit in visits:
        who = visit.identity_id or visit.name or visit.visitor_id
        if who is None or visit.is_provisional:
            continue
        ended = max(visit.began, now if visit.ended is None else visit.ended)
        day = max(first, day_of(visit.began, zone))
        while day <= last and (begins := start_of_day(day, zone)) <= ended:
            next_day = day + timedelta(days=1)
            since = max(visit.began, begins)
            until = min(ended, start_of_day(next_day, zone))
            if until > since or visit.began >= begins:
                before = found.get((day, who))
                found[day, who] = Attendance(
                    day=day,
                    name=visit.name,
                    identity_id=visit.identity_id,
                    visitor_id=visit.visitor_id,
                    first_seen=since if before is None else min(before.first_seen, since),
                    last_seen=until if before is None else max(before.last_seen, until),
                    total_s=until - since + (0.0 if before is None else before.total_s),
                    n_visits=1 + (0 if before is None else before.n_visits),
                    is_exact=visit.is_exact and (before is None or before.is_exact),
                    visitor=visit.visitor,
                )
            day = next_day
    return sorted(
        found.values(),
        key=lambda row: (row.day, row.name or "\uffff" + (row.visitor or ""), row.first_seen),
    )
