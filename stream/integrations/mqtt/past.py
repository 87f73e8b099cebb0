"""What the event log has of people, visitors and faces, over a connection of its own."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.events.schema import FILE_NAME, connect_reader, log_errors
from stream.events.sightings import PROVISIONAL
from stream.visitors import tables
from stream.visitors.tables import Visitor

WHAT = "cannot read past events"

MAX_VISITORS = 50
"""Visitors that are published: those seen last."""

SEEN = "SELECT id, identity_id, camera, at, similarity FROM events WHERE "


@dataclass(frozen=True, slots=True)
class LastSeen:
    """The newest event of a person; `at` is seconds since 1970."""

    event_id: int
    identity_id: str
    camera: str
    at: float
    similarity: float | None


class Past:
    """Reads the event log; for one thread.

    Args:
        directory: of the event log, which must have been opened before.

    Raises:
        EventLogError: if it cannot be read, as by each method.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._connection = connect_reader(directory)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def version(self) -> int:
        """Return a number that is another one after each change by somebody else."""
        with self._reading() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def newest_id(self) -> int:
        """Return the id of the newest event; 0 if there is none."""
        with self._reading() as connection:
            return int(connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])

    def since(self, event_id: int) -> list[LastSeen]:
        """Return the events of known people after an event, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                f"{SEEN} id > ? AND identity_id IS NOT NULL ORDER BY id", (event_id,)
            ).fetchall()
        return [LastSeen(*row) for row in rows]

    def newest_of(self, identity_ids: Iterable[str]) -> dict[str, LastSeen]:
        """Return the newest event of each of some people who have any."""
        found = {}
        with self._reading() as connection:
            for identity_id in identity_ids:
                row = connection.execute(
                    f"{SEEN} id = (SELECT max(id) FROM events WHERE identity_id = ?)",
                    (identity_id,),
                ).fetchone()
                if row is not None:
                    found[identity_id] = LastSeen(*row)
        return found

    def seen_last(self, limit: int) -> list[str]:
        """Return the ids of the people who were seen last, the latest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT identity_id FROM events WHERE identity_id IS NOT NULL "
                "GROUP BY identity_id ORDER BY max(id) DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def are_there(self, event_ids: Sequence[int]) -> bool:
        """Return whether all of some events are still in the log."""
        with self._reading() as connection:
            return all(
                connection.execute("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone()
                for event_id in event_ids
            )

    def face_of(self, camera: str) -> tuple[int, bytes] | None:
        """Return the newest event of a camera that has a crop, and the crop as JPEG."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT id, crop FROM events WHERE camera = ? AND crop IS NOT NULL "
                "ORDER BY at DESC LIMIT 1",
                (camera,),
            ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def cameras_with_faces(self, event_id: int) -> set[str]:
        """Return the cameras with an event after this one that has a crop."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT camera FROM events WHERE id > ? AND crop IS NOT NULL", (event_id,)
            ).fetchall()
        return {str(row[0]) for row in rows}

    def visitors(self) -> list[Visitor]:
        """Return the visitors seen last, without ignored and doubtful ones."""
        with self._reading() as connection:
            return tables.read(
                connection,
                f"AND NOT root.is_ignored AND NOT {PROVISIONAL}",
                "LIMIT ?",
                (MAX_VISITORS,),
            )

    def visitor_of(self, stay: str) -> str | None:
        """Return the id of the visitor of a stay, by its track's id; None if there is none."""
        run, _, number = stay.rpartition("-")
        with self._reading() as connection:
            row = connection.execute(
                "SELECT root.visitor_id FROM events "
                "JOIN visitors AS own ON own.visitor_id = events.visitor_id "
                "JOIN visitors AS root ON root.number = own.root "
                "WHERE events.run = ? AND events.track_number = ? ORDER BY events.id DESC LIMIT 1",
                (run, int(number)),
            ).fetchone()
        return None if row is None else str(row[0])

    def last_of_visitor(self, visitor_id: str) -> tuple[int, str] | None:
        """Return the newest event of a visitor, and its camera; None if there is none."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT events.id, events.camera FROM events "
                "JOIN visitors AS own ON own.visitor_id = events.visitor_id "
                "JOIN visitors AS root ON root.number = own.root "
                "WHERE root.visitor_id = ? ORDER BY events.id DESC LIMIT 1",
                (visitor_id,),
            ).fetchone()
        return None if row is None else (int(row[0]), str(row[1]))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with log_errors(self._path, WHAT):
            yield self._connection
