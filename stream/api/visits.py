"""The HTTP API of visits, presence and attendance, as JSON and CSV."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from stream.api.rooms import ClientDep, EventLogDep, JournalDep, ServiceDep
from stream.errors import StreamError
from stream.events.attendance import attendance, day_of, report_days, start_of_day
from stream.events.log import EventLog
from stream.events.recorder import Journal
from stream.events.visits import Visit, list_visits, read_visits
from stream.front.signed_calls import Caller
from stream.inputs import Day, Moment, Reference, RowNumber
from stream.schemas.visits import (
    AttendanceJson,
    PresenceJson,
    VisitsJson,
    attendance_csv,
    attendance_json,
    presence_json,
    visit_json,
    visits_csv,
)

router = APIRouter()

T = TypeVar("T")

CSV = "text/csv"
_PRESENCE: TypeAdapter[PresenceJson] = TypeAdapter(PresenceJson)

MAX_DAYS = 366
"""Days of one report."""

Format = Annotated[
    Literal["json", "csv"] | None, Query(description="json or csv; else by the header Accept")
]
AS_CSV: dict[int | str, dict[str, object]] = {
    200: {"content": {CSV: {"schema": {"type": "string"}}}}
}


@router.get("/api/visits", response_model=VisitsJson, responses=AS_CSV)
async def visits(
    service: ServiceDep,
    event_log: EventLogDep,
    journal: JournalDep,
    request: Request,
    after: Annotated[Moment | None, Query(description="that go on at this time or later")] = None,
    before: Annotated[Moment | None, Query(description="that began before this time")] = None,
    camera: Reference | None = None,
    name: Annotated[
        Reference | None, Query(description="only of this person, or visitor, by name or id")
    ] = None,
    cursor: Annotated[RowNumber | None, Query(description="only visits older than this")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    format: Format = None,
) -> VisitsJson | Response:
    """List visits, newest first; `cursor` of the answer asks for the next page.

    A person's stays on one camera or several that overlap, or follow within `visit_gap_s`, are one
    visit. As CSV it is a table of the same, with times in the configured time zone.
    """
    now = time.time()
    rules = service.visit_rules

    def find(log: EventLog) -> tuple[list[Visit], int | None]:
        return list_visits(
            log.connection,
            after=None if after is None else after.timestamp(),
            before=now + 1.0 if before is None else min(now + 1.0, before.timestamp()),
            live_run=rules.live_run,
            gap_s=rules.gap_s,
            camera=camera,
            name=name,
            cursor=cursor,
            limit=limit,
        )

    found, older = await _read(event_log, journal, find)
    if _is_csv(request, format):
        return _table("visits.csv", visits_csv(found, zone=rules.zone, now=now))
    return {"visits": [visit_json(each, now=now) for each in found], "cursor": older}


@router.get("/api/report", response_model=list[AttendanceJson], responses=AS_CSV)
async def report(
    service: ServiceDep,
    event_log: EventLogDep,
    journal: JournalDep,
    request: Request,
    first: Annotated[
        Day | None, Query(alias="from", description="first day, such as 2026-11-01; else today")
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="last day, included; else today")
    ] = None,
    name: Annotated[Reference | None, Query(description="only of this person")] = None,
    format: Format = None,
) -> list[AttendanceJson] | Response:
    """Return each person's first and last time, total time and visits of each day.

    Days are those of the configured time zone, at most 366. Strangers are listed where they have a
    visitor's id.
    """
    now = time.time()
    rules = service.visit_rules
    zone = rules.zone
    today = day_of(now, zone)
    since, until = report_days(first, last, today)
    if (until - since).days >= MAX_DAYS:
        raise StreamError(
            f"a report covers {MAX_DAYS} days at most, from {since} to {until} is more"
        )

    def find(log: EventLog) -> list[Visit]:
        return read_visits(
            log.connection,
            after=start_of_day(since, zone),
            before=min(now + 1.0, start_of_day(until + timedelta(days=1), zone)),
            live_run=rules.live_run,
            gap_s=rules.gap_s,
            name=name,
        )

    found = await _read(event_log, journal, find)
    rows = attendance(found, first=since, last=until, zone=zone, now=now)
    if _is_csv(request, format):
        return _table(f"report-{since}-{until}.csv", attendance_csv(rows, zone=zone))
    return [attendance_json(row, zone=zone) for row in rows]


@router.get("/api/presence")
async def presence(
    service: ServiceDep, event_log: EventLogDep, client: ClientDep, request: Request
) -> PresenceJson:
    """Return who is in view now, per camera, and how many, without ignored visitors.

    With the cameras of other machines, if those answer.
    """
    seen = []
    cameras = service.cameras
    for status in cameras.statuses():
        latest = cameras.get(status.name).latest
        seen.append((status.name, () if latest is None else latest.tracks))
    own = presence_json(seen, now=time.time(), is_ignored=event_log.is_ignored)
    if service.front is None or request.state.is_forwarded:
        return own
    return joined_presence(own, await service.front.gather("/api/presence", Caller.of(client)))


async def _read(event_log: EventLog, journal: Journal, find: Callable[[EventLog], T]) -> T:
    """Read the log over a connection of its own, so that no event waits for it to be written."""
    await journal.run(event_log.reconcile)

    def read() -> T:
        with closing(EventLog.open_reader(event_log.directory)) as log, log.reading():
            return find(log)

    return await asyncio.to_thread(read)


def _is_csv(request: Request, format: str | None) -> bool:
    if format is not None:
        return format == "csv"
    accepted = request.headers.get("accept", "")
    return CSV in accepted and "json" not in accepted


def _table(name: str, text: str) -> Response:
    return Response(
        text,
        media_type=f"{CSV}; charset=utf-8; header=present",
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "private, no-store",
        },
    )


def joined_presence(own: PresenceJson, others: Sequence[bytes]) -> PresenceJson:
    """Return who is in view of the cameras of several machines.

    Args:
        own: this machine's.
        others: JSON of the others; what is not of this form is left out.
    """
    rows = {row["camera"]: row for row in own["cameras"]}
    for text in others:
        with suppress(ValidationError):
            for row in _PRESENCE.validate_json(text)["cameras"]:
                rows.setdefault(row["camera"], row)
    known = {person["identity_id"] for row in rows.values() for person in row["people"]}
    count = len(known) + sum(row["n_unknown"] for row in rows.values())
    return {"at": own["at"], "count": count, "cameras": list(rows.values())}
