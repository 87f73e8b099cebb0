"""What happened in front of the cameras, kept in one SQLite file with thumbnails.

An `EventLog` is used by one thread at a time, whichever: the service writes and reads it in a
thread of its own. Times are seconds since 1970 in the file and ISO 8601 in UTC outside.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, GalleryError, Identity, Match
from stream import event_people
from stream.errors import EventLogError
from stream.frames import Event, EventKind

logger = logging.getLogger(__name__)

FILE_NAME = "events.db"
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    camera TEXT NOT NULL,
    at REAL NOT NULL,
    track_id INTEGER,
    identity_id TEXT,
    name TEXT,
    similarity REAL,
    detail TEXT NOT NULL,
    crop BLOB
) STRICT;
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_identity ON events (identity_id);
"""

COLUMNS = "id, kind, camera, at, track_id, name, identity_id, similarity, crop IS NOT NULL, detail"

CROP_QUALITY = 90
RETENTION_EVERY = 256
"""Events between two looks at what is too old or too much."""

DAY_S = 86_400.0
MAX_LIMIT = 1000
BUSY_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as it is kept.

    Attributes:
        id: grows with every event, never reused.
        kind: what happened.
        camera: the camera's name.
        at: when, ISO 8601 in UTC with milliseconds.
        track_id: the track it is about; None for camera events.
        name, identity_id, similarity: who it is; None for strangers and camera events.
        has_crop: whether `EventLog.crop_jpeg` has a thumbnail.
        detail: one line for people; may be empty.
    """

    id: int
    kind: EventKind
    camera: str
    at: str
    track_id: int | None
    name: str | None
    identity_id: str | None
    similarity: float | None
    has_crop: bool
    detail: str


class EventLog:
    """The events of one service, newest last.

    Args:
        connection: to a database of this schema.
        keep_days: days after which events are erased.
        keep_bytes: size of the file above which the oldest events are erased.

    Attributes:
        keep_days, keep_bytes: as given.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, keep_days: float, keep_bytes: int
    ) -> None:
        self.keep_days = keep_days
        self.keep_bytes = keep_bytes
        self._connection = connection
        self._until_retention = 0
        self._gallery: Gallery | None = None
        self._revision = -1  # of the gallery, up to which names are as they are there

    @classmethod
    def open(cls, directory: Path, *, keep_days: float = 30.0, keep_bytes: int = 1 << 30) -> Self:
        """Open the log in a directory, making both where they are missing.

        Raises:
            EventLogError: if the file cannot be opened, is damaged, or is of a newer version.
        """
        path = directory / FILE_NAME
        try:
            directory.mkdir(parents=True, exist_ok=True)
            # Opened by the thread that starts the service, used by the one that writes events.
            connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise EventLogError(f"cannot open the event log {path}: {error}") from error
        try:
            _prepare(connection, path)
        except sqlite3.Error as error:
            connection.close()
            raise EventLogError(
                f"cannot read the event log {path}: {error} (move it away to begin a new one)"
            ) from error
        except EventLogError:
            connection.close()
            raise
        return cls(connection, keep_days=keep_days, keep_bytes=keep_bytes)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def follow(self, gallery: Gallery) -> None:
        """Call people from now on as the gallery calls them, and forget whom it forgets.

        Whoever renames, merges or erases them, in whatever process: it is taken in here at once,
        and before events are read or written.

        Raises:
            EventLogError: if the disk does not take it.
        """
        self._gallery = gallery
        self.settle()

    def settle(self) -> None:
        """Take in what the followed gallery's people have become; microseconds if nothing.

        Raises:
            EventLogError: if the disk does not take it.
        """
        if self._gallery is None:
            return
        try:
            revision = self._gallery.revision()
            if revision == self._revision:
                return
            event_people.settle(self._connection, self._gallery)
            self._revision = revision
        except GalleryError as error:  # busy or damaged: the service says so, and tries again
            logger.warning("names of past events are not up to date: %s", error)
        except sqlite3.Error as error:
            raise EventLogError(f"cannot bring past events up to date: {error}") from error

    def _present(self, match: Match | None) -> Match | None:
        """Return whom a match means now; None where they have been erased meanwhile."""
        if match is None or self._gallery is None:
            return match
        try:
            present = self._gallery.present([match.identity.identity_id])
        except GalleryError:
            return match
        identity = present.get(match.identity.identity_id)
        return None if identity is None else Match(identity, match.similarity)

    def append(self, event: Event, wall_at: float) -> LoggedEvent:
        """Keep an event; it is in the file on return.

        Of somebody whom the followed gallery has erased meanwhile neither name nor picture is kept.

        Args:
            event: what happened.
            wall_at: when, seconds since 1970.

        Raises:
            EventLogError: if the disk does not take it.
        """
        self.settle()
        match = self._present(event.match)
        identity = None if match is None else match.identity
        crop = event.crop if identity is not None or event.match is None else None
        row = (
            event.kind.value,
            event.camera,
            wall_at,
            event.track_id,
            None if identity is None else identity.identity_id,
            None if identity is None else identity.name,
            None if match is None else match.similarity,
            event.detail,
            None if crop is None else _to_jpeg(crop),
        )
        try:
            cursor = self._connection.execute(
                "INSERT INTO events (kind, camera, at, track_id, identity_id, name, similarity, "
                "detail, crop) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._until_retention -= 1
            if self._until_retention < 0:
                self._until_retention = RETENTION_EVERY
                self.retain(wall_at)
        except sqlite3.Error as error:
            raise EventLogError(f"cannot keep an event: {error}") from error
        return LoggedEvent(
            id=int(cursor.lastrowid or 0),
            kind=event.kind,
            camera=event.camera,
            at=_iso(wall_at),
            track_id=event.track_id,
            name=row[5],
            identity_id=row[4],
            similarity=row[6],
            has_crop=crop is not None,
            detail=event.detail,
        )

    def list(
        self,
        *,
        cursor: int | None = None,
        limit: int = 100,
        camera: str | None = None,
        kinds: Sequence[EventKind] = (),
        name: str | None = None,
        after: float | None = None,
        before: float | None = None,
    ) -> list[LoggedEvent]:
        """Return events, newest first.

        Args:
            cursor: an event's id: only older ones are returned; None begins with the newest.
            limit: how many at most, 1 to 1000.
            camera: only of this camera.
            kinds: only of these kinds; all where empty.
            name: only of this person, by name or identity id.
            after: only from this moment on, seconds since 1970.
            before: only up to this moment, itself excluded.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit must be in [1, {MAX_LIMIT}], got {limit}")
        self.settle()
        wanted: list[tuple[str, Sequence[str | float]]] = []
        if cursor is not None:
            wanted.append(("id < ?", (cursor,)))
        if camera is not None:
            wanted.append(("camera = ?", (camera,)))
        if name is not None:
            wanted.append(("(name = ? OR identity_id = ?)", (name, name)))
        if after is not None:
            wanted.append(("at >= ?", (after,)))
        if before is not None:
            wanted.append(("at < ?", (before,)))
        if kinds:
            marks = ", ".join("?" * len(kinds))
            wanted.append((f"kind IN ({marks})", [kind.value for kind in kinds]))
        where = " AND ".join(clause for clause, _ in wanted) or "1"
        values = [value for _, group in wanted for value in group]
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY id DESC LIMIT ?",
            [*values, limit],
        )
        return [logged(row) for row in rows]

    def crop_jpeg(self, event_id: int) -> bytes | None:
        """Return an event's thumbnail as JPEG, 112x112; None where there is none."""
        self.settle()
        row = self._connection.execute(
            "SELECT crop FROM events WHERE id = ?", (event_id,)
        ).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def count(self, identity_id: str) -> int:
        """Return how many events of a person there are."""
        self.settle()
        row = self._connection.execute(
            "SELECT count(*) FROM events WHERE identity_id = ?", (identity_id,)
        ).fetchone()
        return int(row[0])

    def crops(self, identity_id: str) -> Sequence[tuple[int, bytes]]:
        """Return number and thumbnail, a JPEG of 112x112, of a person's events that have one."""
        return event_people.crops(self._connection, identity_id)

    def reassign(self, event_ids: Sequence[int], identity: Identity) -> None:
        """Make events another person's."""
        event_people.reassign(self._connection, event_ids, identity)

    def rename_camera(self, name: str, new_name: str) -> None:
        """Let all events of a camera bear its new name.

        Raises:
            EventLogError: if the disk does not take it.
        """
        try:
            self._connection.execute(
                "UPDATE events SET camera = ? WHERE camera = ?", (new_name, name)
            )
        except sqlite3.Error as error:
            raise EventLogError(f"cannot rename {name} in past events: {error}") from error

    def erase_identity(self, identity_id: str) -> int:
        """Erase a person's events, with their free pages and their traces in SQLite's log.

        Returns:
            How many events there were.
        """
        return event_people.erase(self._connection, identity_id)

    def retain(self, wall_now: float) -> int:
        """Erase what is too old, then the oldest until the file is small enough; return how many.

        Args:
            wall_now: seconds since 1970.
        """
        erased = self._connection.execute(
            "DELETE FROM events WHERE at < ?", (wall_now - self.keep_days * DAY_S,)
        ).rowcount
        while self.used_bytes() > self.keep_bytes:
            # A tenth at a time, so that a full log is not cut at every event.
            batch = self._connection.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY id "
                "LIMIT max(1, (SELECT count(*) FROM events) / 10))"
            ).rowcount
            if batch == 0:
                break
            erased += batch
        if erased:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return erased

    def used_bytes(self) -> int:
        """Return how much of the disk the events take."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


def logged(row: Sequence[Any]) -> LoggedEvent:
    """Return the event of a row of COLUMNS."""
    event_id, kind, camera, at, track_id, name, identity_id, similarity, has_crop, detail = row
    who = (track_id, name, identity_id, similarity)
    return LoggedEvent(event_id, EventKind(kind), camera, _iso(at), *who, bool(has_crop), detail)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a new or existing database to this schema."""
    # Events hold faces and names: what is erased is overwritten.
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = NORMAL")
    with closing(connection.execute("PRAGMA user_version")) as answer:
        version = int(answer.fetchone()[0])
    if version > SCHEMA_VERSION:
        raise EventLogError(
            f"the event log {path} is of version {version}, this program knows {SCHEMA_VERSION}: "
            "update facewire"
        )
    if version == 0:
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    connection.execute(event_people.NAMES_INDEX)


def _to_jpeg(crop: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])
    return jpeg.tobytes()


def _iso(wall_at: float) -> str:
    moment = datetime.fromtimestamp(wall_at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
