"""Visits, presence and attendance as JSON and CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from stream.events.attendance import Attendance
from stream.events.visits import Visit

if TYPE_CHECKING:  # `facewire report` needs no camera
    from stream.frames import Track

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet computes.

Source: https://owasp.org/www-community/attacks/CSV_Injection
"""


class VisitJson(TypedDict):
    """One or several stays of one person; times are ISO 8601 in UTC.

    `ended` is null while the visit goes on, and `duration_s` is then that until now. `is_exact` is
    false where the service was killed, so that the end is an estimate. `id` is the event with which
    the visit began, `crop_event_id` one with the person's crop. `zones` are those that the person
    has entered, each once, in that order. A stranger that comes again is called `visitor`, such as
    "Visitor 12".
    """

    id: int
    name: str | None
    identity_id: str | None
    visitor_id: str | None
    visitor: str | None
    cameras: list[str]
    began: str
    ended: str | None
    duration_s: float
    is_exact: bool
    crop_event_id: int | None
    zones: list[str]


class VisitsJson(TypedDict):
    """Visits, newest first; `cursor` asks for the older ones, null at the end."""

    visits: list[VisitJson]
    cursor: int | None


class AttendanceJson(TypedDict):
    """One person on one day; times are ISO 8601 with the offset of the report's time zone.

    `total_s` counts the time on several cameras once. `is_exact` is false where a visit goes on or
    its end is an estimate.
    """

    day: str
    name: str | None
    identity_id: str | None
    visitor_id: str | None
    visitor: str | None
    first_seen: str
    last_seen: str
    total_s: float
    n_visits: int
    is_exact: bool


class PresentJson(TypedDict):
    """A person in view; `since` is ISO 8601 in UTC."""

    name: str
    identity_id: str
    since: str


class CameraPresenceJson(TypedDict):
    """Who is in view of a camera; `n_unknown` counts the faces that match nobody.

    Ignored visitors, and faces of which it is not decided yet who they are, are not counted.
    """

    camera: str
    count: int
    people: list[PresentJson]
    n_unknown: int


class PresenceJson(TypedDict):
    """Who is in view now; `count` counts a person on several cameras once."""

    at: str
    count: int
    cameras: list[CameraPresenceJson]


def visit_json(visit: Visit, *, now: float) -> VisitJson:
    """Return a visit as JSON; `now` is seconds since 1970."""
    ended = max(now, visit.began) if visit.ended is None else visit.ended
    return {
        "id": visit.visit_id,
        "name": visit.name,
        "identity_id": visit.identity_id,
        "visitor_id": visit.visitor_id,
        "visitor": visit.visitor,
        "cameras": list(visit.cameras),
        "began": utc(visit.began),
        "ended": None if visit.ended is None else utc(visit.ended),
        "duration_s": round(ended - visit.began, 3),
        "is_exact": visit.is_exact or visit.ended is None,
        "crop_event_id": visit.crop_id,
        "zones": list(visit.zones),
    }


def attendance_json(row: Attendance, *, zone: tzinfo | None) -> AttendanceJson:
    """Return attendance as JSON, in a time zone; None for the system's."""
    return {
        "day": row.day.isoformat(),
        "name": row.name,
        "identity_id": row.identity_id,
        "visitor_id": row.visitor_id,
        "visitor": row.visitor,
        "first_seen": local(row.first_seen, zone),
        "last_seen": local(row.last_seen, zone),
        "total_s": round(row.total_s, 3),
        "n_visits": row.n_visits,
        "is_exact": row.is_exact,
    }


def presence_json(
    cameras: "Sequence[tuple[str, Sequence[Track]]]",
    *,
    now: float,
    is_ignored: Callable[[str], bool] = lambda stay: False,
) -> PresenceJson:
    """Return who is in view of each camera.

    Args:
        cameras: name and tracks of each.
        now: seconds since 1970.
        is_ignored: whether a stay is of an ignored visitor, who is not counted.
    """
    rows: list[CameraPresenceJson] = []
    known: set[str] = set()
    for camera, tracks in cameras:
        people: dict[str, PresentJson] = {}
        n_unknown = 0
        for track in sorted(tracks, key=lambda track: track.first_seen):
            if track.match is None:
                # A face that is not decided yet may be a known person's.
                n_unknown += track.state.value == "unknown" and not is_ignored(track.stay)
                continue
            identity = track.match.identity
            people.setdefault(
                identity.identity_id,
                {
                    "name": identity.name,
                    "identity_id": identity.identity_id,
                    "since": utc(now - (track.last_seen - track.first_seen)),
                },
            )
        known |= people.keys()
        rows.append(
            {
                "camera": camera,
                "count": len(people) + n_unknown,
                "people": list(people.values()),
                "n_unknown": n_unknown,
            }
        )
    count = len(known) + sum(row["n_unknown"] for row in rows)
    return {"at": utc(now), "count": count, "cameras": rows}


VISIT_COLUMNS = (
    *("name", "from", "to", "duration_s", "duration", "cameras", "is_exact"),
    *("identity_id", "visitor_id", "id", "zones"),
)
ATTENDANCE_COLUMNS = (
    *("day", "name", "first_seen", "last_seen", "total_s", "total", "visits", "is_exact"),
    *("identity_id", "visitor_id"),
)


def visits_csv(visits: Iterable[Visit], *, zone: tzinfo | None, now: float) -> str:
    """Return visits as CSV, with times in a time zone; None for the system's."""
    rows = []
    for visit in visits:
        seconds = (max(now, visit.began) if visit.ended is None else visit.ended) - visit.began
        rows.append(
            (
                visit.name or visit.visitor,
                local(visit.began, zone),
                None if visit.ended is None else local(visit.ended, zone),
                round(seconds, 3),
                clock(seconds),
                " > ".join(visit.cameras),
                "yes" if visit.is_exact or visit.ended is None else "no",
                visit.identity_id,
                visit.visitor_id,
                visit.visit_id,
                " > ".join(visit.zones),
            )
        )
    return to_csv(VISIT_COLUMNS, rows)


def attendance_csv(attended: Iterable[Attendance], *, zone: tzinfo | None) -> str:
    """Return attendance as CSV, with times in a time zone; None for the system's."""
    return to_csv(
        ATTENDANCE_COLUMNS,
        [
            (
                row.day.isoformat(),
                row.name or row.visitor,
                local(row.first_seen, zone),
                local(row.last_seen, zone),
                round(row.total_s, 3),
                clock(row.total_s),
                row.n_visits,
                "yes" if row.is_exact else "no",
                row.identity_id,
                row.visitor_id,
            )
            for row in attended
        ],
    )


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Return a table as CSV (RFC 4180), whose texts no spreadsheet takes for formulas."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_safe(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def local(at: float, zone: tzinfo | None) -> str:
    """Return a time as ISO 8601 in a time zone, with its offset, to the second."""
    return datetime.fromtimestamp(at, zone or UTC).astimezone(zone).isoformat(timespec="seconds")


def utc(at: float) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
