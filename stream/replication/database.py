"""The shared event log in PostgreSQL: what one machine writes there and reads from others."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from gallery import GalleryError
from gallery.postgresql.connections import Statements, database_errors
from stream.events.replica import CHANGED, MAX_NODE, PARTS
from stream.replication import numbers, presence
from stream.replication.connection import SharedConnection
from stream.replication.presence import Meeting, Presence
from stream.replication.schema import CHANNEL, MIGRATIONS, PART

LEASE_S = 15.0
"""Seconds without a sign of a machine after which others may take its cameras over."""

DAY_S = 86_400.0
SILENCE_S = 10.0
"""How long a server that does not answer is waited for, seconds."""

BATCH = 200
"""Changes read at a time; each holds at most 45 KiB."""

SEEN_AT = {"events": "at", "sightings": "ended"}
"""The column with the moment at which a row's camera must have been its machine's."""

Row = tuple[Any, ...]


class NotThisMachineError(GalleryError):
    """Raised when another process writes as this machine: its log was copied or restored."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What the database knows of this machine.

    Attributes:
        node: its number.
        shared_log: id of the log that is shared.
        is_new: whether the number was given just now.
        revision: the last that was given.
    """

    node: int
    shared_log: str
    is_new: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one row, to be written.

    Attributes:
        part: its table.
        id: its key.
        generation: of the camera's ownership; None for a change by people alone.
        row: its columns as in `PARTS`; None if it is to be erased.
        is_changed: whether people changed it.
    """

    part: str
    id: int
    generation: int | None
    row: Row | None
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What others changed.

    Attributes:
        revision: up to which this is everything.
        rows: rows by table, as they are now.
        erased: table and key of erased rows.
    """

    revision: int
    rows: dict[str, list[Row]]
    erased: list[tuple[str, int]]


class SharedLog(SharedConnection):
    """The shared log; for one thread at a time.

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.

    Attributes:
        revision: the last that was given, at the last `beat`.
    """

    TABLES = ((PART, MIGRATIONS),)
    CHANNEL = CHANNEL

    def __init__(self, address: str) -> None:
        super().__init__(address, silence_s=SILENCE_S)
        self._node = 0
        self._session = ""
        self._ahead_s = 0.0
        self.revision = 0

    def enter(self, node: int | None, sessions: Sequence[str], name: str) -> Membership:
        """Register this process as the one that writes for its machine.

        Args:
            node: number that the machine got earlier; None for a new one.
            sessions: ids of processes of this log, of which one must be the last that wrote; the
                last of them is this process.
            name: of the machine, for messages.

        Raises:
            EventLogError: if all numbers of machines are taken.
        """
        with self._writing() as statements:
            ((shared_log,),) = statements.execute("SELECT log_id FROM event_log").fetchall()
            revision = self._last_revision(statements)
            found = None
            if node is not None:
                found = statements.execute(
                    "UPDATE nodes SET session = ?, name = ?, seen = server_now() "
                    "WHERE node = ? AND session = ANY(?) RETURNING node",
                    (sessions[-1], name, node, list(sessions)),
                ).fetchone()
            is_new = found is None
            if found is None:
                self._node = numbers.give(statements, name, sessions[-1])
            else:
                self._node = int(found[0])
                self._end(statements, "node = ?", node)
        self._session = sessions[-1]
        return Membership(self._node, str(shared_log), is_new, revision)

    @property
    def node(self) -> int:
        """The number of this machine."""
        return self._node

    @contextmanager
    def writing(self) -> Iterator[Statements]:
        """Run one transaction of this machine, of the writers of all machines one at a time.

        Raises:
            NotThisMachineError: if another process writes as this machine.
        """
        with self._writing() as statements:
            self._refuse_other(statements)
            yield statements

    def reading(self, *, is_snapshot: bool = False) -> AbstractContextManager[Statements]:
        """Run one transaction that writes nothing of which the order counts."""
        return self._reading(is_snapshot=is_snapshot)

    def assign(self, statements: Statements, name: str) -> int:
        """Become the owner of a camera, or of another name; return the generation."""
        return self._assign(statements, name)

    def beat(self, *, has_visitors: bool = False) -> dict[str, int]:
        """Say that this machine runs; return the generations of what it owns.

        Args:
            has_visitors: whether it keeps visitors.

        Raises:
            NotThisMachineError: if another process writes as this machine.
        """
        with self._reading() as statements:
            seen = statements.execute(
                "UPDATE nodes SET seen = server_now(), has_visitors = ? "
                "WHERE node = ? AND session = ?",
                (has_visitors, self._node, self._session),
            )
            if not seen.rowcount:
                raise NotThisMachineError("another process writes as this machine")
            self._read_clock(statements)
            self.revision = self._last_revision(statements)
            rows = statements.execute(
                "SELECT camera, generation FROM assignments WHERE node = ? AND ended IS NULL",
                (self._node,),
            )
            return {str(camera): int(generation) for camera, generation in rows}

    def machines(self) -> tuple[list[int], list[int]]:
        """Return the numbers of all machines, and of the others that run now."""
        with self._reading() as statements:
            rows = statements.execute(
                "SELECT node, seen > server_now() - ? FROM nodes ORDER BY node", (LEASE_S,)
            ).fetchall()
        numbers = [int(node) for node, _ in rows]
        return numbers, [int(node) for node, is_live in rows if is_live and node != self._node]

    def meet(self, own: Presence) -> Meeting:
        """Publish what this machine says of itself; return what the others said."""
        with self._reading() as statements:
            return presence.meet(statements, self._node, own, ahead_s=self._ahead_s, since_s=DAY_S)

    def claim(self, cameras: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
        """Become the owner of cameras that no other running machine owns.

        Returns:
            The generation of each camera that is this machine's now, and the name of the machine
            that owns it of the others.
        """
        owned, others = {}, {}
        with self._writing() as statements:
            self._refuse_other(statements)
            for camera in cameras:
                row = statements.execute(
                    "SELECT nodes.node, nodes.name, generation, seen > server_now() - ? "
                    "FROM assignments JOIN nodes ON nodes.node = assignments.node "
                    "WHERE camera = ? AND ended IS NULL",
                    (LEASE_S, camera),
                ).fetchone()
                if row is not None and row[0] == self._node:
                    owned[camera] = int(row[2])
                    continue
                if row is not None and row[3]:
                    others[camera] = str(row[1])
                    continue
                owned[camera] = self._assign(statements, camera)
        return owned, others

    def last_generations(self, cameras: Sequence[str]) -> dict[str, int]:
        """Return the last generation in which this machine owned each of some cameras, if any."""
        with self._reading() as statements:
            rows = statements.execute(
                "SELECT camera, max(generation) FROM assignments "
                "WHERE node = ? AND camera = ANY(?) GROUP BY camera",
                (self._node, list(cameras)),
            ).fetchall()
        return {str(camera): int(generation) for camera, generation in rows}

    def take_over(self, camera: str) -> int:
        """Become the owner of a camera, instead of another machine; return the generation."""
        with self._writing() as statements:
            self._refuse_other(statements)
            return self._assign(statements, camera)

    def release(self, cameras: Sequence[str]) -> None:
        """Own cameras no longer."""
        with self._writing() as statements:
            self._end(statements, "node = ? AND camera = ANY(?)", self._node, list(cameras))

    def leave(self) -> None:
        """Say that this machine runs no longer, and own no camera."""
        with self._writing() as statements:
            presence.leave(statements, self._node)
            self._end(statements, "node = ?", self._node)
            statements.execute(
                "UPDATE nodes SET seen = server_now() - ? WHERE node = ? AND session = ?",
                (LEASE_S, self._node, self._session),
            )

    def write(self, changes: Sequence[Change]) -> set[tuple[str, int]]:
        """Write changes, all in one transaction; twice has the effect of once.

        Returns:
            Table and key of the rows that were refused, because their camera was another machine's
            at that moment, or because they were erased. Of a sighting, an earlier report may be
            there.

        Raises:
            NotThisMachineError: if another process writes as this machine.
        """
        checked: list[Change] = []
        with self._writing() as statements:
            self._refuse_other(statements)
            # First: a track may have a new sighting since.
            self._erase(statements, "sightings", changes)
            for part, columns in PARTS.items():
                own = [each for each in changes if each.part == part and each.row is not None]
                seen = [each for each in own if each.generation is not None]
                changed = [each for each in own if each.is_changed]
                if seen:
                    at = columns.index(SEEN_AT[part])
                    statements.executemany(
                        _insert(part),
                        [
                            (
                                *clean(each.row),
                                *(each.id & MAX_NODE, each.generation),
                                *(float((each.row or ())[at]) + self._ahead_s, self._node),
                            )
                            for each in seen
                        ],
                    )
                if changed:
                    statements.executemany(_update(part), [self._changed(each) for each in changed])
                checked += seen
            # Behind the sightings, which may follow a newer event.
            self._erase(statements, "events", changes)
            return self._refused(statements, checked)

    def _refused(self, statements: Statements, checked: Sequence[Change]) -> set[tuple[str, int]]:
        """Return those of some changes that are not in the database now."""
        refused = set()
        for part, columns in PARTS.items():
            sent = [each for each in checked if each.part == part]
            seen = "template" if part == "sightings" else "id"
            rows = statements.execute(
                f"SELECT id, {seen} FROM {part} WHERE id = ANY(?)", ([each.id for each in sent],)
            )
            held = {int(row[0]): row[1] for row in rows}
            at = columns.index(seen)
            refused |= {
                (part, each.id) for each in sent if held.get(each.id) != (each.row or ())[at]
            }
        return refused

    def _changed(self, change: Change) -> Row:
        """Return the values of an `_update`."""
        row = dict(zip(PARTS[change.part], clean(change.row), strict=True))
        values = [row[each] for each in CHANGED[change.part]]
        event = [row["event_id"]] if change.part == "sightings" else []
        return (*values, self._node, change.id, *values, *event)

    def _erase(self, statements: Statements, part: str, changes: Sequence[Change]) -> None:
        erased = [each.id for each in changes if each.part == part and each.row is None]
        if erased:
            statements.execute(f"DELETE FROM {part} WHERE id = ANY(?)", (erased,))
            statements.execute(
                "INSERT INTO erased (part, id, changed_by) SELECT ?, unnest(?::bigint[]), ?"
                " ON CONFLICT DO NOTHING",
                (part, erased, self._node),
            )

    def expire(self, before: float) -> int:
        """Erase events of before a moment, seconds since 1970; return the number.

        Those of this machine, and of machines that have not run for a day.
        """
        with self._writing() as statements:
            return statements.execute(
                "DELETE FROM events WHERE at < ? AND (node = ? OR node NOT IN "
                "(SELECT node FROM nodes WHERE seen > server_now() - ?))",
                (before, self._node, DAY_S),
            ).rowcount

    def has_news(self) -> bool:
        """Return whether the server announced a change since the last call; does not wait."""
        if self._connection is None:
            return True
        with database_errors(self.where):
            return self._announced()

    def news(self, after: int) -> News | None:
        """Return the next changes by others after a revision; None if there are none."""
        tables = (*PARTS, "erased")
        oldest = " UNION ALL ".join(
            f"(SELECT revision FROM {table} WHERE revision > ? ORDER BY revision LIMIT {BATCH})"
            for table in tables
        )
        with self._reading(is_snapshot=True) as statements:
            (last,) = statements.execute(
                "SELECT max(revision) FROM "
                f"(SELECT revision FROM ({oldest}) AS each ORDER BY revision LIMIT {BATCH}) AS few",
                (after,) * len(tables),
            ).fetchone() or (None,)
            if last is None:
                return None
            where = "WHERE revision > ? AND revision <= ? AND changed_by <> ? ORDER BY revision"
            values = (after, last, self._node)
            rows = {
                part: statements.execute(
                    f"SELECT {', '.join(columns)} FROM {part} {where}", values
                ).fetchall()
                for part, columns in PARTS.items()
            }
            erased = statements.execute(f"SELECT part, id FROM erased {where}", values).fetchall()
        return News(int(last), rows, [(str(part), int(key)) for part, key in erased])

    def rows(self, part: str, keys: Sequence[int]) -> list[Row]:
        """Return rows of a table by their keys, those that are there."""
        with self._reading() as statements:
            return statements.execute(
                f"SELECT {', '.join(PARTS[part])} FROM {part} WHERE id = ANY(?)", (list(keys),)
            ).fetchall()

    def count(self, part: str) -> int:
        """Return the number of rows of a table."""
        with self._reading() as statements:
            ((n,),) = statements.execute(f"SELECT count(*) FROM {part}").fetchall()
        return int(n)

    def _last_revision(self, statements: Statements) -> int:
        ((revision,),) = statements.execute(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM event_revisions"
        ).fetchall()
        return int(revision)

    def _read_clock(self, statements: Statements) -> None:
        """Note how far the server's clock is ahead; either clock may be set at any time."""
        began = time.time()
        ((now,),) = statements.execute("SELECT server_now()").fetchall()
        self._ahead_s = float(now) - (began + time.time()) / 2

    def _refuse_other(self, statements: Statements) -> None:
        if not statements.execute(
            "SELECT 1 FROM nodes WHERE node = ? AND session = ?", (self._node, self._session)
        ).fetchone():
            raise NotThisMachineError("another process writes as this machine")

    def _assign(self, statements: Statements, camera: str) -> int:
        self._end(statements, "camera = ?", camera)
        row = statements.execute(
            "INSERT INTO assignments (camera, node, began) VALUES (?, ?, server_now()) "
            "RETURNING generation",
            (camera, self._node),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _end(self, statements: Statements, where: str, *values: object) -> None:
        statements.execute(
            f"UPDATE assignments SET ended = server_now() WHERE ended IS NULL AND {where}", values
        )

    def _begin(self, statements: Statements) -> None:
        self._read_clock(statements)


def _insert(part: str) -> str:
    # A row that is there is sent again, because the answer was lost or the log is shared anew: what
    # others changed meanwhile stays. The owner of a camera also sends more of a track.
    columns = (*PARTS[part], "node", "generation", "server_at", "changed_by")
    changed = ", ".join(f"{each} = excluded.{each}" for each in columns[1:])
    more = "excluded.generation > 0 OR " if part == "sightings" else ""
    held, sent = (", ".join(f"{of}.{each}" for each in PARTS[part]) for of in (part, "excluded"))
    return (
        f"INSERT INTO {part} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT (id) DO UPDATE SET {changed} WHERE ({held}) IS DISTINCT FROM ({sent}) "
        f"AND ({more}{part}.changed_by = excluded.changed_by)"
    )


def _update(part: str) -> str:
    columns = CHANGED[part]
    marks = ", ".join("?" * len(columns))
    exists = " AND EXISTS (SELECT 1 FROM events WHERE id = ?)" if part == "sightings" else ""
    return (
        f"UPDATE {part} SET {', '.join(f'{each} = ?' for each in columns)}, changed_by = ? "
        f"WHERE id = ? AND ({', '.join(columns)}) IS DISTINCT FROM ({marks}){exists}"
    )


def clean(row: Row | None) -> Row:
    """Return values as PostgreSQL holds them: its texts have no null character."""
    return tuple(
        value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row or ()
    )


def missing(news: News) -> Mapping[str, set[int]]:
    """Return the keys of events that rows refer to, and that are not among the rows, by table."""
    events = {int(row[0]) for row in news.rows["events"]}
    at = PARTS["sightings"].index("event_id")
    return {"events": {int(row[at]) for row in news.rows["sightings"]} - events}
