"""Visits: stays of one person, on one camera or several, joined from the event log.

A stay is what a camera's events say of one person: it begins with `enter` or `unknown` and ends
with `exit`, at the latest when the service stops. A service that is killed writes no exits. Its
stays end when the service starts again, at most `UNSEEN_S` after the last event of that run; until
it does, at the log's last event. Such ends are estimates.

A person's stays that overlap, or follow within a gap, are one visit. Who it is, is what the newest
event of the stay says, so that naming a face changes the whole stay. Strangers are joined by their
visitor's id; without one, each stay is a visit.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stream.events.replica import (
    IS_OWN,
    LIVE_MACHINES,
    MACHINES,
    MAX_NODE,
    machine_of,
    machines,
)
from stream.events.sightings import PROVISIONAL
from stream.frames import EventKind

GAP_S = 120.0
"""Default of the longest time between two stays of one visit, seconds."""

UNSEEN_S = 3600.0
"""Longest time for which a killed service's people are assumed to have stayed, seconds."""

LOOKBACK_S = 12 * 3600.0
"""How far from a range its stays are looked for, seconds; `long_stays` has earlier ones, and those
of a person whose visit lasts longer are all read."""

STEP_S = 3600.0

ENTER, EXIT, UNKNOWN, RENAMED, ZONE, UP, DOWN = (
    EventKind.ENTER.value,
    EventKind.EXIT.value,
    EventKind.UNKNOWN.value,
    EventKind.RENAMED.value,
    EventKind.ZONE.value,
    EventKind.CAMERA_UP.value,
    EventKind.CAMERA_DOWN.value,
)


COLUMNS = (
    "id, kind, camera, at, run, track_number, identity_id, name, visitor_id, "
    "crop IS NOT NULL, zones"
)
"""What `Row` makes an event of."""


@dataclass(frozen=True, slots=True)
class VisitRules:
    """How the events of a service become visits.

    Attributes:
        live_run: the run of the service that goes on now; None if none does.
        gap_s: longest time between two stays of one visit, seconds.
        zone: the time zone whose days reports use; None for the system's.
    """

    live_run: str | None
    gap_s: float = GAP_S
    zone: ZoneInfo | None = None

    @property
    def zone_name(self) -> str:
        """IANA's name of the zone, such as Europe/Berlin; empty if the system does not tell."""
        if self.zone is not None:
            return self.zone.key
        try:
            system = os.environ.get("TZ") or os.path.realpath("/etc/localtime")
            return ZoneInfo(system.rpartition("zoneinfo/")[2].removeprefix(":")).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ""


class Row(NamedTuple):
    """An event as visits need it.

    `at` is seconds since 1970, `track` None for cameras, `zones` a JSON list or None for none.
    """

    id: int
    kind: str
    camera: str
    at: float
    run: str | None
    track: int | None
    identity_id: str | None
    name: str | None
    visitor_id: str | None
    has_crop: int
    zones: str | None = None


@dataclass(slots=True, eq=False)
class Stay:
    """One person in view of one camera.

    Attributes:
        event_id: the event with which it began.
        crop_id: the newest event of it that has a crop; None where none has.
        began, ended: seconds since 1970; `ended` is None while the stay goes on.
        is_exact: whether the end is that of an exit event.
        zones: those of the camera that the person has entered, as a JSON list; None for none.
    """

    event_id: int
    camera: str
    run: str
    began: float
    ended: float | None
    is_exact: bool
    identity_id: str | None
    name: str | None
    visitor_id: str | None
    crop_id: int | None
    last_kind: str
    zones: str | None

    @property
    def machine(self) -> int:
        """The number of the machine that saw it; 0 in a log that was never shared."""
        return machine_of(self.event_id)

    @property
    def who(self) -> str | None:
        """The key by which stays are of one person; None for a stranger without a visitor's id."""
        return _who(self.identity_id, self.name, self.visitor_id)


def _who(identity_id: str | None, name: str | None, visitor_id: str | None) -> str | None:
    if identity_id is not None:
        return "i" + identity_id
    if name is not None:
        return "n" + name
    return None if visitor_id is None else "v" + visitor_id


@dataclass(frozen=True, slots=True)
class Visit:
    """One or several stays of one person.

    Attributes:
        visit_id: the event with which it began.
        name, identity_id: the person; None for a stranger.
        visitor_id: of a stranger; None without visitors.
        cameras: those that saw the person, in the order of the stays.
        began, ended: seconds since 1970; `ended` is None while the visit goes on.
        is_exact: false where the service was killed, so that the end is an estimate.
        visitor: what a stranger is called, such as "Visitor 12"; None without visitors.
        is_provisional: whether that one was seen too briefly to be sure that it is a person of its
            own.
        crop_id: an event that has the person's crop; None where none has.
        zones: those of the cameras that the person has entered, each once, in that order.
    """

    visit_id: int
    name: str | None
    identity_id: str | None
    visitor_id: str | None
    cameras: tuple[str, ...]
    began: float
    ended: float | None
    is_exact: bool
    crop_id: int | None
    visitor: str | None = None
    zones: tuple[str, ...] = ()
    is_provisional: bool = False

    @property
    def who(self) -> str | None:
        """The key of the person, as of its stays."""
        return _who(self.identity_id, self.name, self.visitor_id)

    def is_of(self, who: str) -> bool:
        """Return whether a name, identity id, visitor or visitor id is this person's."""
        return who in (self.name, self.identity_id, self.visitor_id, self.visitor)


@dataclass(slots=True)
class Stays:
    """The stays of events that are added oldest first.

    Attributes:
        earlier: returns the events of a run and track number before the first that is added.
        all: every stay so far.
        open: those without an end, by run and track number.
    """

    earlier: Callable[[str, int], Iterable[Row]] = lambda run, track: ()
    all: list[Stay] = field(default_factory=list)
    open: dict[tuple[str, int], Stay] = field(default_factory=dict)
    _by_track: dict[tuple[str, int], Stay] = field(default_factory=dict)
    _renamed: dict[tuple[str, int], Stay] = field(default_factory=dict)  # open, renamed last
    _last_at: dict[str, float] = field(default_factory=dict)  # of each run's newest event
    _run: dict[int, str] = field(default_factory=dict)  # of each machine
    _is_up: set[tuple[int, str]] = field(default_factory=set)

    def add(self, row: Row) -> None:
        """Add the next event."""
        event_id, kind, camera, at, run, track, *_ = row
        machine = machine_of(event_id)
        if run is None or track is None:
            if kind == UP:
                # Between two starts of a camera is a stop, unless the service was killed.
                if (machine, camera) in self._is_up:
                    self.stop(at, machine)
                self._is_up.add((machine, camera))
            elif kind == DOWN:
                self._is_up.discard((machine, camera))
            return
        if run != self._run.get(machine):
            if machine in self._run:
                self.stop(at, machine)
            self._run[machine] = run
        self._last_at[run] = at
        key = (run, track)
        if kind not in (ENTER, UNKNOWN) and key not in self._by_track:
            for before in self.earlier(run, track):
                self._add(key, before)
        self._add(key, row)

    def _add(self, key: tuple[str, int], row: Row) -> None:
        """Add an event of a face."""
        stay = self._by_track.get(key)
        if row.kind in (ENTER, UNKNOWN):
            if key not in self.open:
                self._begin(key, row)
        elif row.kind == EXIT:
            self._exit(key, stay, row)
        elif row.kind == ZONE:
            if stay is not None:
                stay.zones = row.zones or stay.zones
        else:
            if stay is None:
                stay = self._begin(key, row)
            else:
                _tell(stay, row)
            if key in self.open:
                self._renamed[key] = stay

    def run_until(self, run: str, at: float) -> None:
        """Note when a run wrote an event that is not added."""
        self._last_at[run] = at

    def stop(self, at: float, machine: int) -> None:
        """End a machine's open stays, because its service does not run at `at`."""
        for key, stay in list(self.open.items()):
            if stay.machine == machine:
                known_at = self._last_at.get(stay.run, stay.began)
                stay.ended = max(stay.began, min(at, known_at + UNSEEN_S))
                del self.open[key]
                self._renamed.pop(key, None)

    def _begin(self, key: tuple[str, int], row: Row) -> Stay:
        stay = Stay(
            event_id=row.id,
            camera=row.camera,
            run=key[0],
            began=row.at,
            ended=None,
            is_exact=False,
            identity_id=row.identity_id,
            name=row.name,
            visitor_id=row.visitor_id,
            crop_id=row.id if row.has_crop else None,
            last_kind=row.kind,
            zones=row.zones,
        )
        self.all.append(stay)
        self._by_track[key] = self.open[key] = stay
        return stay

    def _exit(self, key: tuple[str, int], stay: Stay | None, row: Row) -> None:
        """End a stay, and those of tracks that were found to be of the same person."""
        if stay is not None and stay.last_kind != EXIT:
            _tell(stay, row)
            stay.ended, stay.is_exact = row.at, True
        self.open.pop(key, None)
        self._renamed.pop(key, None)
        for other_key, other in list(self._renamed.items()):
            if (other.camera, other.identity_id, other.name) == (
                row.camera,
                row.identity_id,
                row.name,
            ):
                other.ended = row.at
                # Of strangers it is not known which. An exit of its own corrects either.
                other.is_exact = row.name is not None
                del self.open[other_key], self._renamed[other_key]


def _tell(stay: Stay, row: Row) -> None:
    """Set who a stay shows from a later event of it."""
    stay.identity_id, stay.name = row.identity_id, row.name
    stay.visitor_id = row.visitor_id or stay.visitor_id
    stay.last_kind = row.kind
    stay.zones = row.zones or stay.zones
    if row.has_crop:
        stay.crop_id = row.id


def join(stays: Iterable[Stay], *, gap_s: float) -> list[Visit]:
    """Return the visits of stays, oldest first.

    Args:
        stays: in any order.
        gap_s: longest time between two stays of one visit, seconds.
    """
    visits: list[Visit] = []
    last: dict[str, int] = {}  # index in `visits`
    for stay in sorted(stays, key=lambda stay: (stay.began, stay.event_id)):
        who = stay.who
        index = None if who is None else last.get(who)
        before = None if index is None else visits[index]
        if before is None or (before.ended is not None and stay.began > before.ended + gap_s):
            if who is not None:
                last[who] = len(visits)
            visits.append(
                Visit(
                    stay.event_id,
                    stay.name,
                    stay.identity_id,
                    stay.visitor_id,
                    (stay.camera,),
                    stay.began,
                    stay.ended,
                    stay.is_exact,
                    stay.crop_id,
                    zones=_zones(stay),
                )
            )
            continue
        assert index is not None
        ended, is_exact = before.ended, before.is_exact
        if ended is not None and (stay.ended is None or stay.ended > ended):
            ended, is_exact = stay.ended, stay.is_exact
        is_new = stay.camera != before.cameras[-1]
        visits[index] = replace(
            before,
            cameras=(*before.cameras, stay.camera) if is_new else before.cameras,
            name=stay.name,
            ended=ended,
            is_exact=is_exact,
            crop_id=stay.crop_id or before.crop_id,
            zones=tuple(dict.fromkeys(before.zones + _zones(stay))),
        )
    return visits


def _zones(stay: Stay) -> tuple[str, ...]:
    return () if stay.zones is None else tuple(json.loads(stay.zones))


def read_visits(
    connection: sqlite3.Connection,
    *,
    after: float,
    before: float,
    live_run: str | None,
    gap_s: float = GAP_S,
    name: str | None = None,
) -> list[Visit]:
    """Return the visits that overlap a range of time, oldest first; whole, not cut to the range.

    Args:
        connection: of the event log.
        after: begin of the range, seconds since 1970.
        before: its end.
        live_run: the run of the service that goes on now; None if none does.
        gap_s: longest time between two stays of one visit, seconds.
        name: only of this person, by name, identity id, visitor or visitor id.
    """
    visitors = _visitors(connection)
    if name is None:
        stays = _stays(connection, after=after, before=before, live_run=live_run, gap_s=gap_s)
    else:
        ids = [each for each, root in visitors.items() if name in root]
        stays = _stays_of(connection, name, ids, live_run=live_run)
    for stay in stays:
        stay.visitor_id = visitors.get(stay.visitor_id or "", (None, ""))[0]
    visits = join(stays, gap_s=gap_s)
    if name is None and (longer := _longer(visits, after=after, before=before, gap_s=gap_s)):
        known = {stay.event_id for stay in stays}
        for who, visit in longer.items():
            whom = visit.identity_id or visit.name or visit.visitor_id or ""
            ids = [each for each, root in visitors.items() if whom in root]
            for stay in _stays_of(connection, whom, ids, live_run=live_run):
                stay.visitor_id = visitors.get(stay.visitor_id or "", (None, ""))[0]
                if stay.who == who and stay.event_id not in known:
                    stays.append(stay)
        visits = join(stays, gap_s=gap_s)
    doubtful = _provisional(connection, {each.visitor_id for each in visits})
    return [
        visit
        for each in visits
        if each.began < before and (each.ended is None or each.ended >= after)
        for visit in [
            replace(
                each,
                visitor=visitors[each.visitor_id][1],
                is_provisional=each.visitor_id in doubtful,
            )
            if each.visitor_id
            else each
        ]
        if name is None or visit.is_of(name)
    ]


def _longer(
    visits: Sequence[Visit], *, after: float, before: float, gap_s: float
) -> dict[str, Visit]:
    """Return the visits that may have stays which were not looked for, by the person's key.

    They overlap a range of time and reach as far from it as stays are looked for.
    """
    found = {}
    for visit in visits:
        began, ended = visit.began, visit.ended
        if began >= before or (ended is not None and ended < after) or visit.who is None:
            continue
        is_cut = began <= after - LOOKBACK_S + gap_s
        if is_cut or (ended is not None and ended + gap_s >= before + LOOKBACK_S):
            found[visit.who] = visit
    return found


def _stays(
    connection: sqlite3.Connection,
    *,
    after: float,
    before: float,
    live_run: str | None,
    gap_s: float,
) -> list[Stay]:
    """Return the stays of the visits that overlap a range of time; see `read_visits`."""
    since = after - LOOKBACK_S

    def earlier(run: str, track: int) -> Iterator[Row]:
        return _rows(connection, 0.0, since, (run, track))

    stays = Stays(earlier)
    _add_long(connection, stays, since)
    for row in _begins(connection, since):
        stays.add(row)
    until = before + gap_s
    for row in _rows(connection, since, until):
        stays.add(row)
    last_at = connection.execute("SELECT max(at) FROM events").fetchone()[0] or 0.0
    going = {
        stay.who
        for stay in stays.all
        if stay.began < before and (stay.ended is None or stay.ended + gap_s >= before)
    } - {None}

    def goes_on(stay: Stay) -> bool:
        if stay.who not in going:
            return stay.ended is None and stay.began < before
        return stay.ended is None or stay.ended + gap_s >= until

    # Visits that go on past the range end at an event after it.
    while until <= last_at and until < before + LOOKBACK_S and any(map(goes_on, stays.all)):
        for row in _rows(connection, until, until + STEP_S):
            stays.add(row)
        until += STEP_S
    # The run that follows tells when the service was killed, in whichever time.
    others = machines(connection, LIVE_MACHINES)
    for machine in sorted({stay.machine for stay in stays.open.values()}):
        following = next(_rows(connection, until, float("inf"), faces=True, machine=machine), None)
        if following is not None:
            stays.add(following)
        elif any(
            stay.machine == machine and not _is_live(stay, live_run, others)
            for stay in stays.open.values()
        ):
            stays.stop(last_at, machine)
    for key, stay in list(stays.open.items()):
        for row in _rows(connection, until, float("inf"), key):
            stays.add(row)
        if stay.ended is None and not _is_live(stay, live_run, others):
            stay.ended = max(stay.began, until)
    return stays.all


def _is_live(stay: Stay, live_run: str | None, others: Sequence[int]) -> bool:
    """Return whether the service that wrote a stay may still run, here or on another machine."""
    return stay.run == live_run or (live_run is not None and stay.machine in others)


def _stays_of(
    connection: sqlite3.Connection, name: str, visitor_ids: Sequence[str], *, live_run: str | None
) -> list[Stay]:
    """Return all stays that were ever said to be of a person, without reading all events."""
    marks = ", ".join("?" * len(visitor_ids))
    rows = connection.execute(
        "WITH people AS (SELECT DISTINCT identity_id, name FROM events "
        "WHERE name = ?1 OR identity_id = ?1), tracks AS ("
        "SELECT run, track_number FROM events JOIN people USING (identity_id) "
        "UNION SELECT run, track_number FROM events WHERE identity_id IS NULL AND name = ?1 "
        f"UNION SELECT run, track_number FROM events WHERE visitor_id IN ({marks})) "
        f"SELECT {COLUMNS} FROM tracks CROSS JOIN events USING (run, track_number) "
        "WHERE events.run IS NOT NULL ORDER BY at, id",
        (name, *visitor_ids),
    )
    stays = Stays()
    for row in map(Row._make, rows):
        stays.add(row)
    others = machines(connection, LIVE_MACHINES)
    found = []
    for stay in stays.all:
        is_live = stay.ended is None and _is_live(stay, live_run, others)
        if stay.last_kind == EXIT or (is_live and stay.last_kind != RENAMED):
            found.append(stay)
            continue
        # Its end is told by events of others.
        at = stay.began
        around = _stays(connection, after=at, before=at + 1e-3, live_run=live_run, gap_s=0.0)
        found += [each for each in around if each.event_id == stay.event_id]
    return found


def list_visits(
    connection: sqlite3.Connection,
    *,
    after: float | None,
    before: float,
    live_run: str | None,
    gap_s: float = GAP_S,
    camera: str | None = None,
    name: str | None = None,
    cursor: int | None = None,
    limit: int = 100,
) -> tuple[list[Visit], int | None]:
    """Return visits, newest first, and the cursor of the next, older ones; None at the end.

    Args:
        connection: of the event log.
        after: only visits that go on at this time or later, seconds since 1970.
        before: only visits that began before this time, seconds since 1970.
        live_run: see `read_visits`.
        gap_s: longest time between two stays of one visit, seconds.
        camera: only visits that this camera saw.
        name: see `read_visits`.
        cursor: a visit's id: only visits that began before it.
        limit: maximum number.
    """
    newest = (before, 0)
    if cursor is not None:
        at = connection.execute(
            "SELECT at FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1", (cursor,)
        ).fetchone()
        if at is None:
            return [], None
        newest = min(newest, (float(at[0]), cursor))
    first_at = connection.execute("SELECT min(at) FROM events").fetchone()[0]
    bottom = max(after or 0.0, before if first_at is None else float(first_at))
    span_s = 2 * STEP_S if name is None else float("inf")  # those of one person are all read
    while True:
        low = max(bottom, newest[0] - span_s)
        found = [
            each
            for each in read_visits(
                connection,
                after=low,
                before=newest[0] + 1e-3,
                live_run=live_run,
                gap_s=gap_s,
                name=name,
            )
            if (each.began, each.visit_id) < newest and (camera is None or camera in each.cameras)
        ]
        found.sort(key=lambda each: (each.began, each.visit_id), reverse=True)
        is_all = low <= bottom
        # A visit of an earlier window may have begun before one of this window.
        sure = found if is_all else [each for each in found if each.began >= low]
        if is_all or len(sure) > limit:
            page = sure[:limit]
            return page, page[-1].visit_id if len(sure) > limit else None
        span_s *= 4


def newest_run(connection: sqlite3.Connection) -> str | None:
    """Return the run of this machine's newest event of a face; None where there is none."""
    row = connection.execute(
        f"SELECT run FROM events WHERE run IS NOT NULL AND {IS_OWN} ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def _rows(
    connection: sqlite3.Connection,
    after: float,
    before: float,
    track: tuple[str, int] | None = None,
    *,
    faces: bool = False,
    machine: int = 0,
) -> Iterator[Row]:
    """Yield the events of a range of time, oldest first; those of faces, or of one track alone.

    Those of one machine alone, unless it is 0.
    """
    where = f"at >= ? AND at < ? AND {_of(machine)}"
    if track is not None:
        where += " AND run = ? AND track_number = ?"
    elif faces:
        where += " AND run IS NOT NULL"
    yield from map(
        Row._make,
        connection.execute(
            f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY at, id",
            (after, before, *(track or ())),
        ),
    )


def _of(machine: int) -> str:
    return "1" if machine == 0 else f"(id & {MAX_NODE}) = {machine}"


def _add_long(connection: sqlite3.Connection, stays: Stays, since: float) -> None:
    """Add the events before a time of the stays that went on then, however long ago they began."""
    for machine in machines(connection, MACHINES) or [0]:
        _add_long_of(connection, stays, since, machine)


def _add_long_of(connection: sqlite3.Connection, stays: Stays, since: float, machine: int) -> None:
    newest = connection.execute(
        f"SELECT run, at FROM events WHERE at < ? AND run IS NOT NULL AND {_of(machine)} "
        "ORDER BY at DESC LIMIT 1",
        (since,),
    ).fetchone()
    if newest is None:
        return
    run, at = str(newest[0]), float(newest[1])
    tracks = connection.execute(
        "SELECT track_number FROM long_stays WHERE run = ? AND began < ? "
        "AND (ended IS NULL OR ended >= ?)",
        (run, since, since),
    ).fetchall()
    rows = [
        row
        for (track,) in tracks
        for own in [list(_rows(connection, 0.0, since, (run, int(track))))]
        if own and not _is_ended_by_another(connection, own, since)
        for row in own
    ]
    for row in sorted(rows, key=lambda row: (row.at, row.id)):
        stays.add(row)
    stays.run_until(run, at)


def _is_ended_by_another(connection: sqlite3.Connection, rows: Sequence[Row], until: float) -> bool:
    """Return whether a stay, with its events so far, is of a person who was found to have left.

    Of strangers it cannot be told.
    """
    row = next((each for each in reversed(rows) if each.kind != ZONE), rows[-1])
    if row.kind != RENAMED:
        return False
    if row.identity_id is None:
        return True
    return (
        connection.execute(
            "SELECT 1 FROM events WHERE identity_id = ? AND kind = ? AND camera = ? "
            "AND at >= ? AND at < ? LIMIT 1",
            (row.identity_id, EXIT, row.camera, row.at, until),
        ).fetchone()
        is not None
    )


def _begins(connection: sqlite3.Connection, at: float) -> list[Row]:
    """Return camera events that tell which cameras were up at a time, oldest first."""
    rows: Iterable[tuple[Any, ...]] = connection.execute(
        f"SELECT {COLUMNS} FROM events WHERE at >= ? AND at < ? "
        "AND kind IN ('camera_up', 'camera_down') ORDER BY at, id",
        (at - STEP_S, at),
    )
    return [Row._make(row) for row in rows]


def _visitors(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return id and label of each visitor, by its id and those that were merged into it."""
    rows = connection.execute(
        "SELECT each.visitor_id, root.visitor_id, root.number "
        "FROM visitors AS each JOIN visitors AS root ON root.number = each.root"
    )
    return {row[0]: (row[1], f"Visitor {row[2]}") for row in rows}


def _provisional(connection: sqlite3.Connection, visitor_ids: set[str | None]) -> set[str]:
    """Return which of some visitors were seen too briefly to be sure."""
    rows = connection.execute(
        "SELECT visitor_id FROM visitors AS root "
        f"WHERE visitor_id IN (SELECT value FROM json_each(?)) AND {PROVISIONAL}",
        (json.dumps([each for each in visitor_ids if each is not None]),),
    )
    return {str(each) for (each,) in rows}
