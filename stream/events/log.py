"""The event log: recognition and camera events with thumbnails, in one SQLite file.

An `EventLog` is used by one thread at a time: the service writes and reads it in a dedicated
thread. Times are seconds since 1970 in the file and ISO 8601 in UTC outside.
"""

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from gallery import Gallery, GalleryError, Identity
from stream.errors import EventLogError, UnknownEventError
from stream.events import identity_sync as event_people
from stream.events import replica, sightings
from stream.events.logged import COLUMNS, LoggedEvent, LoggedFace, logged, stored_quality
from stream.events.schema import FILE_NAME, connect, connect_reader, log_errors, transaction
from stream.events.thumbnails import decode_jpeg, to_jpeg
from stream.frames import Event, EventKind, Sighting

__all__ = [
    "COLUMNS",
    "MAX_LIMIT",
    "EventLog",
    "LoggedEvent",
    "LoggedFace",
    "SightingKeeper",
    "logged",
]

logger = logging.getLogger(__name__)

RETENTION_EVERY = 256
"""Events between two looks at what is too old or too much."""

GALLERY_WAIT_S = 0.5
"""How long an event waits for a gallery that is locked, seconds; never for a database."""

RECEIVED_AT_A_TIME = 100
"""Sightings of other machines that are assigned in one transaction: some 0.1 s."""

MAX_SILENT = 1000
"""Stays of ignored visitors of which the exit is not told either."""

VISITOR = re.compile(r"Visitor (\d{1,18})", re.IGNORECASE)
"""What a visitor without a name is called."""

IN_ZONE = """
id IN (SELECT id FROM events WHERE zones IS NOT NULL
    AND EXISTS (SELECT 1 FROM json_each(zones) WHERE value = ?))
"""

DAY_S = 86_400.0
MAX_LIMIT = 1000


class SightingKeeper(Protocol):
    """Takes part in the storing of sightings; see `stream.visitors.keeping`.

    Attributes:
        is_enabled: whether it does.
    """

    is_enabled: bool

    @property
    def must_wait(self) -> bool:
        """Whether sightings are to be assigned later, or by another machine."""

    def is_ignored(self, sighting: Sighting) -> bool:
        """Return whether nothing is announced or kept of a track."""

    def keep(self, sighting_id: int, sighting: Sighting) -> None:
        """Add to a sighting that was stored just now, in the same transaction."""

    def recall(self, sighting: Sighting, offset_s: float) -> str | None:
        """Return the stay of a track that ended undecided; None where it is not to be kept.

        Args:
            sighting: the track.
            offset_s: seconds from its clock to seconds since 1970.
        """

    def receive(self, sighting_id: int) -> None:
        """Add to a sighting that another machine sent, in a transaction."""

    def named(self, event_ids: Sequence[int]) -> None:
        """Let go of the sightings of events that got a name, in the same transaction."""

    def retain(self, wall_now: float) -> None:
        """Erase what is too old of what it adds itself; `wall_now` is seconds since 1970."""

    def erased(self) -> None:
        """Let go of sightings that were erased."""

    def forget(self) -> None:
        """Read everything again: a transaction was undone."""


class EventLog:
    """The events of one service, newest last.

    Args:
        connection: see `event_schema.connect`.
        path: of the file.
        keep_days: days after which events are erased.
        keep_bytes: file size in bytes above which the oldest events are erased.

    Attributes:
        keep_days, keep_bytes: as given.
        keeper: assigns sightings to visitors; None where there is none.
        keeps_unknown: whether embeddings of unknown faces are kept while `keeper` is off.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, keep_days: float, keep_bytes: int
    ) -> None:
        self._path = path
        self.keep_days = keep_days
        self.keep_bytes = keep_bytes
        self._connection = connection
        self.keeper: SightingKeeper | None = None
        self.keeps_unknown = True
        self._silent: dict[str, None] = {}
        self._until_retention = 0
        self._gallery: Gallery | None = None
        self._revision = -1  # of the gallery, up to which names are synchronized
        self._is_behind = False
        self._n_detached = event_people.n_detached(connection)

    @classmethod
    def open(cls, directory: Path, *, keep_days: float = 30.0, keep_bytes: int = 1 << 30) -> Self:
        """Open the log in a directory, creating both if missing.

        Raises:
            EventLogError: if the file cannot be opened, is damaged, or is of a newer version.
        """
        return cls(
            connect(directory),
            directory / FILE_NAME,
            keep_days=keep_days,
            keep_bytes=keep_bytes,
        )

    @classmethod
    def open_reader(cls, directory: Path) -> Self:
        """Open the log in a directory for reading, beside a running service or on any disk.

        Raises:
            EventLogError: if there is none, or it cannot be read.
        """
        path = directory / FILE_NAME
        return cls(connect_reader(directory), path, keep_days=float("inf"), keep_bytes=1 << 62)

    @property
    def directory(self) -> Path:
        """The directory of the file."""
        return self._path.parent

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for reads by other modules of events; within `reading`."""
        return self._connection

    def reading(self) -> AbstractContextManager[None]:
        """Convert errors of reads over the connection to `EventLogError`."""
        return self._errors("cannot read past events")

    def changing(self) -> AbstractContextManager[None]:
        """Convert errors of changes over the connection to `EventLogError`."""
        return self._errors("cannot change past events")

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
        """Synchronize people in events with a gallery, and erase people removed from it.

        Renames, merges and erasures by any process are applied at once, and before events are
        read or written. People not in the gallery keep their events.

        Raises:
            EventLogError: if the log cannot be written, and a later retry cannot succeed.
        """
        self._gallery = gallery
        try:
            self.reconcile()
        except EventLogError as error:
            if not error.may_pass:
                raise
            logger.warning("%s", error)

    def reconcile(self) -> None:
        """Apply changes of the followed gallery's people; takes microseconds if there are none.

        Raises:
            EventLogError: if the disk does not take it.
        """
        if self._gallery is None:
            return
        with self._errors("cannot bring past events up to date"):
            try:
                revision = self._gallery.revision(wait_s=GALLERY_WAIT_S)
                self._is_behind = False
                if revision == self._revision:
                    return
                event_people.reconcile(self._connection, self._gallery)
                self._n_detached = event_people.n_detached(self._connection)
                self._revision = revision
            except GalleryError as error:  # busy or damaged: the service reports it, and retries
                if not self._is_behind:
                    logger.warning("names of past events are not up to date: %s", error)
                self._is_behind = True

    def notices(self) -> Sequence[str]:
        """Return notices about the log for people, one line each; from any thread."""
        n_people = self._n_detached
        return [event_people.detached_notice(n_people)] if n_people else []

    def _present(self, identity: Identity | None) -> Identity | None:
        """Return the current identity of a person; None if erased meanwhile."""
        if identity is None or self._gallery is None:
            return identity
        try:
            present = self._gallery.people.present([identity.identity_id], wait_s=GALLERY_WAIT_S)
        except GalleryError:
            self._revision = -1  # looked at again, once the gallery can be read
            return identity
        return present.get(identity.identity_id)

    def append(self, event: Event, wall_at: float) -> LoggedEvent:
        """Store an event; it is in the file on return.

        For a person erased from the followed gallery, neither name nor crop is stored.

        Args:
            event: to store.
            wall_at: its time, seconds since 1970.

        Raises:
            EventLogError: if the disk does not take it.
        """
        self.reconcile()
        with self._keeping("cannot keep an event"):
            stored = self._append(event, wall_at)
        self._retain_at_times(wall_at)
        return stored

    def _append(self, event: Event, wall_at: float) -> LoggedEvent:
        """Store an event, in a transaction."""
        identity = self._present(None if event.match is None else event.match.identity)
        previous = self._present(event.previous)
        crop = event.crop if identity is not None or event.match is None else None
        is_searched = crop is not None and (identity is not None or self._searches_unknown)
        embedding = event.embedding if is_searched and self._gallery is not None else None
        run, _, number = (event.track_id or "").rpartition("-")
        values: dict[str, str | float | bytes | None] = {
            "kind": event.kind.value,
            "camera": event.camera,
            "at": wall_at,
            "run": run or None,
            "track_number": int(number) if run else None,
            "identity_id": None if identity is None else identity.identity_id,
            "name": None if identity is None else identity.name,
            "similarity": None if identity is None or not event.match else event.match.similarity,
            "was_known": event.previous is not None if event.kind is EventKind.RENAMED else None,
            "previous_id": None if previous is None else previous.identity_id,
            "previous_name": None if previous is None else previous.name,
            # Text that cannot be encoded as UTF-8 would fail the whole event.
            "detail": event.detail.encode("utf-8", "replace").decode(),
            "crop": None if crop is None else to_jpeg(crop),
            "crop_sha256": None if crop is None else hashlib.sha256(crop.tobytes()).hexdigest(),
            "quality": None
            if crop is None or event.quality is None
            else json.dumps(asdict(event.quality)),
            "embedding": None if embedding is None else embedding.astype("<f4").tobytes(),
            "model_id": None
            if embedding is None or self._gallery is None
            else self._gallery.model_id,
            "zones": json.dumps(event.zones) if event.zones else None,
        }
        values["id"] = replica.next_number(self._connection, "events")
        cursor = self._connection.execute(
            f"INSERT INTO events ({', '.join(values)}) "
            f"VALUES ({', '.join('?' * len(values))}) RETURNING {COLUMNS}",
            list(values.values()),
        )
        (row,) = cursor.fetchall()
        if event.sighting is not None and crop is not None:
            sightings.follow_event(self._connection, row[0])
            self._keep(event.sighting, wall_at - event.at)
            row = self._connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE id = ?", (row[0],)
            ).fetchone()
        return logged(row)

    def _retain_at_times(self, wall_at: float) -> None:
        self._until_retention -= 1
        if self._until_retention < 0:
            self._until_retention = RETENTION_EVERY
            try:
                self.retain(wall_at)
            except EventLogError as error:  # the event is stored; old ones are erased later
                logger.warning("%s", error)

    def keep_sighting(self, sighting: Sighting, offset_s: float) -> Sequence[LoggedEvent]:
        """Store a sighting of a stay that has an event, instead of an earlier one of its track.

        A track that ended undecided has none. Where it shows a visitor who has come again, the
        events of its stay are stored too, of the times at which it came and left; where it shows
        nobody who came before, nothing is.

        Args:
            sighting: a track so far.
            offset_s: seconds from its clock to seconds since 1970.

        Returns:
            The events that were stored with it.

        Raises:
            EventLogError: if the disk does not take it.
        """
        self.reconcile()
        if not sighting.is_announced:
            return self._recall(sighting, offset_s)
        with self._keeping("cannot keep a sighting"):
            self._keep(sighting, offset_s)
        return ()

    def _recall(self, sighting: Sighting, offset_s: float) -> Sequence[LoggedEvent]:
        """Store a track that ended undecided; see `keep_sighting`."""
        if self.keeper is None or self._gallery is None:
            return ()
        with self._errors("cannot read past events"):
            stay = self.keeper.recall(sighting, offset_s)
        if stay is None:
            return ()
        came = Event(
            kind=EventKind.UNKNOWN,
            camera=sighting.camera,
            at=sighting.began,
            track_id=stay,
            match=None,
            first_seen=sighting.began,
            crop=sighting.crop,
            quality=sighting.quality,
            sighting=sighting,
            zones=sighting.zones,
        )
        left = replace(came, kind=EventKind.EXIT, at=sighting.ended, sighting=None)
        with self._keeping("cannot keep a sighting"):
            if stay != sighting.stay:
                self._keep(replace(sighting, stay=stay), offset_s)
                return ()
            events = [self._append(each, each.at + offset_s) for each in (came, left)]
        self._retain_at_times(sighting.ended + offset_s)
        return events

    def _keep(self, sighting: Sighting, offset_s: float) -> None:
        """Store a sighting, in a transaction; without a gallery its embeddings have no model."""
        if self._gallery is not None:
            number = sightings.keep(
                self._connection,
                sighting,
                offset_s,
                self._gallery.model_id,
                is_unknown_kept=self._searches_unknown,
            )
            if self.keeper is not None and number is not None:
                self.keeper.keep(number, sighting)

    @property
    def _searches_unknown(self) -> bool:
        return self.keeps_unknown or (self.keeper is not None and self.keeper.is_enabled)

    def is_silent(self, event: Event) -> bool:
        """Return whether an event is of an ignored visitor, so that it is neither kept nor told."""
        if self.keeper is None or event.track_id is None:
            return False
        if event.kind is EventKind.UNKNOWN and event.sighting is not None:
            if self.keeper.is_ignored(event.sighting):
                self._silent[event.track_id] = None
                while len(self._silent) > MAX_SILENT:
                    del self._silent[next(iter(self._silent))]
                return True
            self._silent.pop(event.track_id, None)
        return event.match is None and event.track_id in self._silent

    def is_ignored(self, stay: str) -> bool:
        """Return whether a stay, by its track's id, is one that `is_silent`; from any thread."""
        return stay in self._silent

    def list(
        self,
        *,
        cursor: int | None = None,
        limit: int = 100,
        camera: str | None = None,
        kinds: Sequence[EventKind] = (),
        name: str | None = None,
        zone: str | None = None,
        after: float | None = None,
        before: float | None = None,
    ) -> list[LoggedEvent]:
        """Return events, newest first.

        Args:
            cursor: an event's id: only older ones are returned; None begins with the newest.
            limit: maximum number, 1 to 1000.
            camera: only of this camera.
            kinds: only of these kinds; all if empty.
            name: only of this person, by name or identity id, or of this visitor, by name or id.
            zone: only of stays that had entered this zone by then.
            after: only from this time on, seconds since 1970.
            before: only before this time, seconds since 1970.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValueError(f"limit must be in [1, {MAX_LIMIT}], got {limit}")
        self.reconcile()
        wanted: list[tuple[str, Sequence[str | float]]] = []
        if cursor is not None:
            wanted.append(("id < ?", (cursor,)))
        if camera is not None:
            wanted.append(("camera = ?", (camera,)))
        if name is not None:
            ids = self._visitor_ids(name)
            marks = ", ".join("?" * len(ids))
            whose = "name = ? OR identity_id = ?"
            if ids:
                own = f"visitor_id IN ({marks})"
                whose += (
                    f" OR {own} OR (kind IN ('exit', 'zone') AND name IS NULL "
                    "AND identity_id IS NULL AND (run, track_number) IN "
                    f"(SELECT run, track_number FROM events WHERE {own}))"
                )
            wanted.append((f"({whose})", (name, name, *ids, *ids)))
        if zone is not None:
            wanted.append((IN_ZONE, (zone,)))
        if after is not None:
            wanted.append(("at >= ?", (after,)))
        if before is not None:
            wanted.append(("at < ?", (before,)))
        if kinds:
            marks = ", ".join("?" * len(kinds))
            wanted.append((f"kind IN ({marks})", [kind.value for kind in kinds]))
        where = " AND ".join(clause for clause, _ in wanted) or "1"
        values = [value for _, group in wanted for value in group]
        with self._errors("cannot read past events"):
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY id DESC LIMIT ?",
                [*values, limit],
            ).fetchall()
        return [logged(row) for row in rows]

    def _visitor_ids(self, who: str) -> Sequence[str]:
        """Return the ids of a visitor, by its name or id, and of those merged into it."""
        number = VISITOR.fullmatch(who)
        where = "visitor_id = ?" if number is None else "number = ?"
        with self._errors("cannot read past events"):
            rows = self._connection.execute(
                "SELECT visitor_id FROM visitors WHERE root = "
                f"(SELECT root FROM visitors WHERE {where})",
                (who if number is None else int(number[1]),),
            ).fetchall()
        return [str(row[0]) for row in rows]

    def crop_jpeg(self, event_id: int) -> bytes | None:
        """Return an event's thumbnail as JPEG, 112x112; None where there is none."""
        self.reconcile()
        with self._errors("cannot read past events"):
            row = self._connection.execute(
                "SELECT crop FROM events WHERE id = ?", (event_id,)
            ).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def sighting_crop(self, sighting_id: int) -> bytes | None:
        """Return a sighting's best crop as JPEG, 112x112; None if there is no such sighting."""
        self.reconcile()
        with self._errors("cannot read past events"):
            row = self._connection.execute(
                "SELECT crop FROM sightings WHERE id = ?", (sighting_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def face(self, event_id: int) -> LoggedFace | None:
        """Return the face of an event; None if it has none, such as a camera event.

        Raises:
            UnknownEventError: if there is no such event.
            EventLogError: if it cannot be read.
        """
        self.reconcile()
        with self._errors("cannot read past events"):
            row = self._connection.execute(
                "SELECT crop, crop_sha256, embedding, model_id, quality FROM events WHERE id = ?",
                (event_id,),
            ).fetchone()
        if row is None:
            raise UnknownEventError(event_id)
        jpeg, sha256, embedding, model_id, quality = row
        if jpeg is None:
            return None
        return LoggedFace(
            crop=decode_jpeg(jpeg),
            crop_sha256=sha256 or hashlib.sha256(jpeg).hexdigest(),
            embedding=None if embedding is None else np.frombuffer(embedding, "<f4"),
            model_id=model_id or "",
            quality=stored_quality(quality),
        )

    def has_exit(self, run: str, track_number: int, since: float) -> bool:
        """Return whether the exit of a stay was written, of a time since 1970 or later."""
        with self._errors("cannot read past events"):
            row = self._connection.execute(
                "SELECT 1 FROM events WHERE run = ? AND track_number = ? AND kind = ? AND at >= ?",
                (run, track_number, EventKind.EXIT.value, since),
            ).fetchone()
        return row is not None

    def count(self, identity_id: str) -> int:
        """Return the number of a person's events."""
        self.reconcile()
        with self._errors("cannot read past events"):
            row = self._connection.execute(
                "SELECT count(*) FROM events WHERE identity_id = ?", (identity_id,)
            ).fetchone()
        return int(row[0])

    def crops(self, identity_id: str) -> Sequence[tuple[int, bytes]]:
        """Return number and thumbnail, a JPEG of 112x112, of a person's events that have one."""
        with self._errors("cannot read past events"):
            return event_people.crops(self._connection, identity_id)

    def reassign(self, event_ids: Sequence[int], identity: Identity) -> None:
        """Assign events to another person.

        Raises:
            EventLogError: if the disk does not take it.
        """
        with self._errors("cannot change past events"):
            event_people.reassign(self._connection, event_ids, identity)

    def name_events(self, event_ids: Sequence[int], identity: Identity) -> int:
        """Assign events to a person, all or none; see `identity_sync.name_event`.

        Returns:
            The number of newly assigned events; 0 if the person was erased meanwhile.

        Raises:
            EventLogError: if the disk does not take it.
        """
        present = self._present(identity)
        if present is None:
            return 0
        with self._keeping("cannot change past events"):
            n_named = sum(
                event_people.name_event(self._connection, event_id, present)
                for event_id in event_ids
            )
            if self.keeper is not None and n_named:
                self.keeper.named(event_ids)
        return n_named

    def changed_elsewhere(self, named: Sequence[int]) -> None:
        """Apply to visitors what another machine did to shared events, which are changed already.

        Args:
            named: ids of events that got a name; there may be erased ones, too.

        Raises:
            EventLogError: if the disk does not take it.
        """
        with self._keeping("cannot change past events"):
            if self.keeper is not None:
                self.keeper.named(named)
        self._let_go()

    def assign_received(self) -> bool:
        """Assign sightings that wait to visitors; return whether some remain for now.

        Raises:
            EventLogError: if the disk does not take it.
        """
        self.reconcile()
        with self._keeping("cannot keep a sighting"):
            if self.keeper is not None and self.keeper.must_wait:
                return False
            numbers = replica.take_received(self._connection, RECEIVED_AT_A_TIME)
            if self.keeper is not None:
                for each in numbers:
                    self.keeper.receive(each)
        return len(numbers) == RECEIVED_AT_A_TIME

    def again(self, event_ids: Sequence[int]) -> Sequence[LoggedEvent]:
        """Return events as they are now, those that are there, oldest first."""
        with self._errors("cannot read past events"):
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE id IN (SELECT value FROM json_each(?)) "
                "ORDER BY id",
                (json.dumps(list(event_ids)),),
            ).fetchall()
        return [logged(row) for row in rows]

    def rename_camera(self, name: str, new_name: str) -> None:
        """Rename a camera in all past events.

        Raises:
            EventLogError: if the disk does not take it.
        """
        what = f"cannot rename {name} in past events"
        with self._errors(what), transaction(self._connection):
            for table in ("events", "sightings"):
                self._connection.execute(
                    f"UPDATE {table} SET camera = ? WHERE camera = ?", (new_name, name)
                )

    def erase_identity(self, identity_id: str) -> int:
        """Erase a person's events, including from free pages and SQLite's write-ahead log.

        Returns:
            The number of erased events.

        Raises:
            EventLogError: if the disk does not take it.
        """
        with self._errors("cannot erase past events"):
            erased = event_people.erase(self._connection, identity_id)
        self._let_go()
        return erased

    def retain(self, wall_now: float) -> int:
        """Erase expired events, then the oldest until the file is small enough; return the count.

        Args:
            wall_now: seconds since 1970.

        Raises:
            EventLogError: if the disk does not take it.
        """
        with self._errors("cannot erase old events"):
            with transaction(self._connection), replica.quietly(self._connection):
                erased = self._expire(wall_now)
            if erased:
                event_people.truncate_log(self._connection)
                self._let_go()
            if self.keeper is not None:
                self.keeper.retain(wall_now)
        return erased

    def _expire(self, wall_now: float) -> int:
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
            self._connection.execute(
                "DELETE FROM long_stays WHERE NOT EXISTS (SELECT 1 FROM events WHERE "
                "events.run = long_stays.run AND events.track_number = long_stays.track_number)"
            )
        return erased

    def _let_go(self) -> None:
        if self.keeper is not None:
            self.keeper.erased()

    def used_bytes(self) -> int:
        """Return the disk space of the events, bytes."""
        with self._errors("cannot read past events"):
            pages, free, size = (
                int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size

    @contextmanager
    def _keeping(self, what: str) -> Iterator[None]:
        """Run one transaction; where it is undone, the keeper reads again what it holds."""
        try:
            with self._errors(what), transaction(self._connection):
                yield
        except BaseException:
            if self.keeper is not None:
                self.keeper.forget()
            raise

    def _errors(self, what: str) -> AbstractContextManager[None]:
        return log_errors(self._path, what)
