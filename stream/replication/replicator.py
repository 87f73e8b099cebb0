"""Keeps one machine's event log and the log that several machines share the same.

Everything is written to the machine's own log first, and read there: the database delays nothing
and may be away. This thread sends what changed here, in order and again until it is there, and
writes what others changed into the own log.
"""

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, closing
from pathlib import Path

from gallery import GalleryError
from gallery.errors import GalleryUnreachableError
from gallery.postgresql.connections import is_about_values
from stream.errors import EventLogError
from stream.events import replica, shared_visitors
from stream.events.identity_sync import fact
from stream.events.logged import COLUMNS, LoggedEvent, logged
from stream.events.replica import PARTS
from stream.events.schema import FILE_NAME, connect, log_errors, transaction
from stream.events.shared_visitors import Changes
from stream.replication.database import Change, News, NotThisMachineError, Row, SharedLog, missing
from stream.replication.presence import Meeting, Presence
from stream.replication.visitor_tables import ASSIGNING
from stream.replication.visitors import VisitorReplicator

logger = logging.getLogger(__name__)

LOOK_S = 0.25
"""Seconds between two looks for changes."""

BEAT_S = 2.0
"""Seconds between two signs of this machine, and between looks for what no announcement told."""

EXPIRE_S = 3600.0
"""Seconds between two erasures of events that are too old."""

MAX_SESSIONS = 30
"""Processes in a row that may be killed while they enter, without the machine's number lost."""

BATCH = 100
"""Changes sent at a time; each holds at most 45 KiB."""

FRESH_S = 60.0
"""Age up to which events of others are shown at once, seconds."""

OPENING_OF_EXIT = """
SELECT opening.id FROM events AS gone JOIN events AS opening
    ON opening.run = gone.run AND opening.track_number = gone.track_number
    AND opening.kind IN ('enter', 'unknown')
WHERE gone.id = ? AND gone.kind = 'exit' ORDER BY opening.id LIMIT 1
"""
"""The event with which the stay of an exit begins; none for an event that is not an exit."""


class Replicator:
    """Sends and receives changes of an event log; `turn` and its helpers in one thread at a time.

    Args:
        directory: of the event log, which must have been opened before.
        address: of the database.
        keep_days: days after which this machine's events are erased there.
        name: of this machine, for messages on others.

    Attributes:
        cameras: returns the names of the cameras that run on this machine.
        is_placed: returns whether a camera is placed on a machine by the cluster: it is owned by
            its placement alone, and by nobody whose camera of that name just runs.
        visitors: keeps the visitors the same, too.
        arrived: called with new events of others, oldest first; must not block.
        changed: called after others named or erased events, or refused them, with the ids of
            events of visitors of this machine that were named; must not block.
        presence: returns what this machine says of itself to the others; None for nothing.
        met: called with what the others said, after each time that something was said.
        node: number of this machine in the shared log.
        trouble: why nothing can be sent now, one line; empty if it can.
        clashes: one line for each camera that another machine owns.
        n_waiting: changes that were not sent yet.
        refused: events and sightings that the database refused, because another machine owned the
            camera; they are erased here, except those that were written while that was known.
    """

    def __init__(self, directory: Path, address: str, *, keep_days: float, name: str = "") -> None:
        self.node = 0
        self.trouble = ""
        self.clashes: list[str] = []
        self.n_waiting = self.refused = 0
        self._path = directory / FILE_NAME
        self._keep_days = keep_days
        self.cameras: Callable[[], Iterable[str]] = tuple
        self.is_placed: Callable[[str], bool] = _is_not_placed
        self.arrived: Callable[[list[LoggedEvent]], None] = _nothing
        self.changed: Callable[[list[int]], None] = _nothing
        self.presence: Callable[[], Presence | None] = lambda: None
        self.met: Callable[[Meeting], None] = lambda meeting: None
        self._name = name or socket.gethostname()
        self._session = secrets.token_hex(8)
        self._is_entered = self._has_visitors = False
        self._receives = True
        self._receive_lock = threading.Lock()
        self._tried_at = float("-inf")
        self._beat_at = self._beat_wall_at = self._expired_at = float("-inf")
        self._shared = SharedLog(address)
        self._local = connect(directory)
        self.visitors = VisitorReplicator(self._shared, self._local, self._local_errors)
        self.visitors.changed = lambda named: self.changed(named)

    def close(self) -> None:
        """Close the file and the connection."""
        self._shared.close()
        self._local.close()

    def enter(self) -> None:
        """Register this machine in the shared log, and begin to note changes.

        Raises:
            GalleryError: if the database cannot be reached or used.
            EventLogError: if the log cannot be written.
        """
        with self._local_errors():
            stored = fact(self._local, replica.NODE)
            # The first is known to the database; each later one may be, unless it was away.
            sessions = (fact(self._local, replica.SESSION) or "").split()
            sessions = [each for each in sessions if each != self._session]
            sessions = [*sessions[:1], *sessions[1:][-MAX_SESSIONS:], self._session]
            log = fact(self._local, replica.SHARED_LOG)
            # Stored first: if this process is killed now, the next one is known by one of them.
            replica.put_fact(self._local, replica.SESSION, " ".join(sessions))
            node = None if stored is None else int(stored)
            member = self._shared.enter(node, sessions, self._name)
            is_known = member.shared_log == log and replica.is_shared(self._local)
            if not is_known or member.revision < self._pulled():
                logger.info(
                    "the events of this machine are shared from now on in %s: one moment",
                    self._shared.where,
                )
                self._join(member.node, member.shared_log)
            elif member.is_new:
                self._become(member.node)
            replica.put_fact(self._local, replica.SESSION, self._session)
            self._disown()
            self.node = member.node
        self._is_entered = True
        self._beat_at = float("-inf")

    def enter_later(self, why: GalleryUnreachableError) -> None:
        """Begin without the database, which is away: `turn` enters once it is back.

        Args:
            why: what `enter` raised.

        Raises:
            GalleryUnreachableError: if this log was never shared: it gets its number first.
            EventLogError: if the log cannot be written.
        """
        with self._local_errors():
            if not replica.is_shared(self._local):
                raise why
            self._disown()
        self._fail(str(why.__cause__ or why))
        self._count()

    def _disown(self) -> None:
        """Own no camera: what an earlier process owned may be another machine's by now."""
        with transaction(self._local):
            replica.make_tables(self._local)  # of a log that an earlier version began to share
            shared_visitors.make_tables(self._local)
            self._local.execute("DELETE FROM quiet")
            self._local.execute("DELETE FROM owned")

    def _join(self, node: int, shared_log: str) -> None:
        """Share the whole log anew."""
        replica.join(self._local, node, shared_log)
        with transaction(self._local):
            shared_visitors.make_tables(self._local)
            shared_visitors.forget(self._local)

    def _become(self, node: int) -> None:
        """Take another number: this log was copied or restored. Everything is read again."""
        with transaction(self._local):
            replica.put_fact(self._local, replica.NODE, str(node))
            replica.put_fact(self._local, replica.PULLED, "0")
            shared_visitors.forget(self._local)

    def receive_no_more(self) -> None:
        """Leave what others change to the next start; from any thread.

        On return, `arrived` and `changed` have returned, and are called no more.
        """
        with self._receive_lock:
            self._receives = False

    def turn(self) -> None:
        """Send and receive what there is; what fails is tried again at the next turn."""
        try:
            now = time.monotonic()
            if not self._is_entered:
                if now - self._tried_at < BEAT_S:
                    return
                self._tried_at = now
                self.enter()
            is_due = self._is_due()
            if is_due:
                self._beat()
            while self._send():
                if self._is_due():  # much to send, or the machine was frozen
                    self._beat()
            if self.visitors.send():
                with self._receive_lock:
                    if self._receives:
                        self.visitors.seen()
            if self._receives and (self._shared.has_news() or is_due or self.visitors.waits):
                while self._receive():
                    pass
                with self._receive_lock:
                    if self._receives:
                        self.visitors.receive()
                        self.visitors.exchange_requests()
            if now - self._expired_at >= EXPIRE_S:
                self._shared.expire(time.time() - self._keep_days * 86_400)
                self.visitors.expire()
                self._expired_at = now
            if self.trouble:
                logger.info("the shared event log is up to date again")
            self.trouble = ""
        except NotThisMachineError:
            logger.warning("the event log was copied or restored: it gets another number")
            self.enter()
        except GalleryUnreachableError as error:
            self._fail(str(error.__cause__ or error))
        except (GalleryError, EventLogError) as error:
            self._fail(str(error))
        finally:
            self._count()

    def hurry(self) -> None:
        """Give the next sign of this machine at the next turn; from any thread."""
        self._beat_at = float("-inf")

    def exchange(self, progress: Callable[[int, int], None]) -> None:
        """Send and receive everything that there is.

        Args:
            progress: called after each batch with the number of changes sent, and of all.

        Raises:
            GalleryError: if the database cannot be used.
            EventLogError: if the log cannot be used.
        """
        self._beat()
        self._count()
        total = self.n_waiting
        while self._send():
            self._count()
            progress(max(0, total - self.n_waiting), total)
        while self._receive():
            pass
        self.visitors.receive()

    def own_rows(self, part: str, *, after: int, limit: int) -> list[Row]:
        """Return rows of a table of this log by their keys, without those that stay here alone."""
        with self._local_errors():
            return self._local.execute(
                f"SELECT {', '.join(PARTS[part])} FROM {part} WHERE id > ? AND id NOT IN "
                "(SELECT id FROM outgoing WHERE part = ? AND is_checked = ?) ORDER BY id LIMIT ?",
                (after, part, replica.ALONE, limit),
            ).fetchall()

    def shared_rows(self, part: str, keys: Sequence[int]) -> list[Row]:
        """Return rows of a table of the shared log by their keys, those that are there."""
        return self._shared.rows(part, keys)

    def count_shared(self, part: str) -> int:
        """Return the number of rows of a table of the shared log."""
        return self._shared.count(part)

    def leave(self) -> None:
        """Send what there is, and give up the cameras, so that others may have them at once.

        Nothing is received.
        """
        self._beat_at = self._tried_at = float("-inf")
        self.receive_no_more()
        self.turn()
        if not self.trouble:
            try:
                self.visitors.leave()
                with self._local_errors():
                    self._shared.leave()
                    replica.put_fact(self._local, replica.LIVE_MACHINES, "")
            except (GalleryError, EventLogError) as error:
                self._fail(str(error))

    def take_over(self, camera: str) -> None:
        """Become the owner of a camera, instead of another machine if one owns it.

        Raises:
            GalleryError: if the database cannot be reached.
        """
        generation = self._shared.take_over(camera)
        with self._local_errors(), transaction(self._local):
            self._local.execute("INSERT OR REPLACE INTO owned VALUES (?, ?)", (camera, generation))

    def hold(self, generations: Mapping[str, int]) -> None:
        """Own cameras that were placed on this machine, before they run; from any thread.

        Raises:
            EventLogError: if the log cannot be written.
        """
        with self._local_errors(), closing(connect(self._path.parent)) as connection:
            if replica.is_shared(connection):
                with transaction(connection):
                    connection.executemany(
                        "INSERT OR REPLACE INTO owned VALUES (?, ?)", list(generations.items())
                    )
        self._beat_at = float("-inf")

    def _fail(self, why: str) -> None:
        reason = why.strip().splitlines()[0] if why.strip() else "it does not answer"
        trouble = (
            f"the shared event log in {self._shared.where} cannot be reached: {reason}; events are "
            "kept on this machine until it is back"
        )
        if not self.trouble:
            logger.warning("%s", trouble)
        self.trouble = trouble
        self.visitors.fail(f"visitors cannot be changed here: {trouble.partition(';')[0]}")
        self._shared.close()
        self._beat_at = float("-inf")

    def _count(self) -> None:
        try:
            with self._local_errors():
                row = self._local.execute(
                    "SELECT count(*) FROM outgoing WHERE is_checked <> ?", (replica.ALONE,)
                ).fetchone()
                self.n_waiting = int(row[0])
        except EventLogError as error:
            self.trouble = self.trouble or str(error)

    # The cameras of this machine

    def _pulled(self) -> int:
        """Return the revision up to which this log has what others wrote."""
        return int(fact(self._local, replica.PULLED) or 0)

    def _is_due(self) -> bool:
        # The monotonic clock stands still while a machine sleeps, the other one may be set.
        return (
            time.monotonic() - self._beat_at >= BEAT_S
            or abs(time.time() - self._beat_wall_at) >= BEAT_S
            or self._has_visitors is not self.visitors.assigns()
        )

    def _beat(self) -> None:
        """Say that this machine runs; own its cameras, and those of which events wait."""
        at = time.monotonic()
        self._beat_at, self._beat_wall_at = at, time.time()
        self._has_visitors = self.visitors.assigns()
        owned = self._shared.beat(has_visitors=self._has_visitors)
        assigning = owned.pop(ASSIGNING, None)
        with self._local_errors():
            if self._shared.revision < self._pulled():
                logger.warning("the shared event log was restored: what it lacks is sent again")
                self._join(self.node, fact(self._local, replica.SHARED_LOG) or "")
        known, live = self._shared.machines()
        with self._local_errors():
            for key, numbers in ((replica.MACHINES, known), (replica.LIVE_MACHINES, live)):
                if replica.machines(self._local, key) != numbers:
                    replica.put_fact(self._local, key, " ".join(map(str, numbers)))
            running = set(self.cameras())
            waiting = self._unowned()
            wanted = running | waiting
            others: dict[str, str] = {}
            placed = {each for each in wanted | owned.keys() if self.is_placed(each)}
            self._send_as_last(waiting & placed - owned.keys())
            if unclaimed := sorted(wanted - owned.keys() - placed):
                claimed, others = self._shared.claim(unclaimed)
                owned |= claimed
            before = dict(self._local.execute("SELECT camera, generation FROM owned").fetchall())
            if owned != before or waiting & owned.keys():
                self._own(owned)
            if unused := sorted(owned.keys() - wanted - placed):
                self._shared.release(unused)
                self._own({each: owned[each] for each in owned.keys() - set(unused)})
        with self._receive_lock:
            if self._receives:
                self.visitors.beat(assigning, at)
        if (presence := self.presence()) is not None:
            self.met(self._shared.meet(presence))
        self.clashes = [
            f"camera {camera} runs on {name}, too: rename it on one of the two; its events are "
            "kept on this machine alone"
            for camera, name in sorted(others.items())
        ]

    def _send_as_last(self, cameras: Set[str]) -> None:
        """Send what was seen on cameras after they were placed elsewhere, as of this machine.

        The database decides by the time at which it was seen.
        """
        if not cameras:
            return
        last = self._shared.last_generations(sorted(cameras))
        with transaction(self._local):
            for camera in cameras:
                for part in PARTS:
                    self._local.execute(
                        "UPDATE outgoing SET generation = ?, is_checked = ? WHERE part = ? "
                        "AND is_checked = ? AND generation IS NULL "
                        f"AND id IN (SELECT id FROM {part} WHERE camera = ?)",
                        (
                            last.get(camera),
                            replica.CHECKED if camera in last else replica.ALONE,
                            *(part, replica.CHECKED, camera),
                        ),
                    )

    def _unowned(self) -> set[str]:
        """Return the cameras of which rows wait that were written while they were not owned."""
        return {
            str(row[0])
            for part in PARTS
            for row in self._local.execute(
                f"SELECT DISTINCT camera FROM outgoing JOIN {part} ON {part}.id = outgoing.id "
                f"WHERE part = '{part}' AND is_checked = {replica.CHECKED} AND generation IS NULL"
            )
        }

    def _own(self, owned: dict[str, int]) -> None:
        with transaction(self._local):
            self._local.execute("DELETE FROM owned")
            self._local.executemany("INSERT INTO owned VALUES (?, ?)", list(owned.items()))
            for part in PARTS:
                self._local.execute(
                    "UPDATE outgoing SET generation = owned.generation, is_checked = ? "
                    f"FROM owned JOIN {part} ON {part}.camera = owned.camera "
                    f"WHERE part = '{part}' AND outgoing.id = {part}.id AND is_checked = ? "
                    "AND outgoing.generation IS NULL",
                    (replica.LATE, replica.CHECKED),
                )

    # From here to the others

    def _send(self) -> bool:
        """Send some changes; return whether there were any.

        A row that is not there yet is first sent once its camera is owned, with all its changes.
        """
        with self._local_errors():
            entries = self._local.execute(
                "SELECT part, id, max(seq), max(generation), max(NOT is_checked), "
                "max(is_erased) FROM ("
                "SELECT * FROM outgoing AS note WHERE generation IS NOT NULL OR is_erased "
                "OR (NOT is_checked AND NOT EXISTS (SELECT 1 FROM outgoing AS held "
                "WHERE held.part = note.part AND held.id = note.id "
                f"AND held.is_checked = {replica.CHECKED} AND held.generation IS NULL)) "
                "ORDER BY seq LIMIT ?) GROUP BY part, id ORDER BY min(seq)",
                (BATCH,),
            ).fetchall()
            changes = [
                Change(part, key, generation, self._row(part, key), bool(is_changed))
                for part, key, _, generation, is_changed, is_erased in entries
                if is_erased or self._row(part, key) is not None
            ]
        if not entries:
            return False
        changes += self._events_of(changes)
        refused = self._written(changes)
        earlier = self._earlier(refused)
        alone = self._alone(refused - earlier.keys())
        with self._local_errors(), transaction(self._local):
            self._local.executemany(
                "DELETE FROM outgoing WHERE part = ? AND id = ? AND seq <= ? "
                "AND (is_checked <> ? OR ?)",
                [(*entry[:3], replica.ALONE, entry[-1]) for entry in entries],
            )
            for part, key in alone:
                self._local.execute(
                    "INSERT INTO outgoing (part, id, is_checked, is_erased) SELECT ?1, ?2, ?3, 0 "
                    "WHERE NOT EXISTS (SELECT 1 FROM outgoing "
                    "WHERE part = ?1 AND id = ?2 AND is_checked = ?3)",
                    (part, key, replica.ALONE),
                )
            with replica.quietly(self._local):
                for part, key in refused - alone - earlier.keys():
                    self._local.execute(f"DELETE FROM {part} WHERE id = ?", (key,))
                for (part, key), row in earlier.items():
                    if not self._is_noted(part, key):
                        self._local.execute(_upsert(part), row)
        if refused:
            self.refused += len(refused)
            logger.warning(
                "%d events and sightings were refused: another machine owned the camera, or they "
                "were erased",
                len(refused),
            )
            with self._receive_lock:
                if self._receives:
                    self.changed([])
        return True

    def _earlier(self, refused: Set[tuple[str, int]]) -> dict[tuple[str, int], Row]:
        """Return what the database has instead of refused reports of tracks."""
        keys = sorted(key for part, key in refused if part == "sightings")
        at = PARTS["sightings"].index("event_id")
        rows = self._shared.rows("sightings", keys) if keys else []
        with self._local_errors():
            return {
                ("sightings", int(row[0])): row
                for row in rows
                if self._row("events", row[at]) is not None
            }

    def _alone(self, refused: Set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return refused rows that stay here, and sightings of events that do.

        An exit of a stay that the others know is not among them: the owner writes it.
        """
        if not refused:
            return set()
        at = PARTS["sightings"].index("event_id")
        with self._local_errors():
            late = {
                each
                for each in refused
                if self._local.execute(
                    "SELECT 1 FROM outgoing WHERE part = ? AND id = ? AND is_checked >= ?",
                    (*each, replica.LATE),
                ).fetchone()
            }
            events = {
                key: row[at]
                for part, key in refused
                if part == "sightings" and (row := self._row(part, key)) is not None
            }
            began = {
                key: opening[0]
                for part, key in late
                if part == "events"
                and (opening := self._local.execute(OPENING_OF_EXIT, (key,)).fetchone()) is not None
            }
        keys = sorted({*events.values(), *began.values()})
        shared = {row[0] for row in self._shared.rows("events", keys)}
        late -= {("events", key) for key, opening in began.items() if opening in shared}
        return late | {
            ("sightings", key) for key, event_id in events.items() if event_id not in shared
        }

    def _written(self, changes: Sequence[Change]) -> set[tuple[str, int]]:
        try:
            return self._shared.write(changes)
        except GalleryError as error:
            if not is_about_values(error):
                raise
            if len(changes) == 1:
                logger.error("event or sighting %d stays here alone: %s", changes[0].id, error)
                return set()
        return {refused for each in changes for refused in self._written([each])}

    def _row(self, part: str, key: int) -> Row | None:
        row: Row | None = self._local.execute(
            f"SELECT {', '.join(PARTS[part])} FROM {part} WHERE id = ?", (key,)
        ).fetchone()
        return row

    def _events_of(self, changes: Sequence[Change]) -> list[Change]:
        """Return the events of sightings, of which some are noted behind these changes."""
        known = {each.id for each in changes if each.part == "events"}
        at = PARTS["sightings"].index("event_id")
        found = []
        with self._local_errors():
            for each in changes:
                if each.part != "sightings" or each.row is None or each.row[at] in known:
                    continue
                known.add(each.row[at])
                noted = self._local.execute(
                    "SELECT max(generation) FROM outgoing WHERE part = 'events' AND id = ? "
                    "HAVING max(is_checked)",
                    (each.row[at],),
                ).fetchone()
                row = self._row("events", each.row[at])
                if noted is not None and noted[0] is not None and row is not None:
                    found.append(Change("events", each.row[at], int(noted[0]), row))
        return found

    # From the others to here

    def _receive(self) -> bool:
        """Write some changes of others into the own log; return whether there were any."""
        with self._local_errors():
            after = self._pulled()
        news = self._shared.news(after)
        if news is None:
            return False
        with self._local_errors():
            for part, keys in missing(news).items():
                wanted = [key for key in sorted(keys) if self._row(part, key) is None]
                if wanted:
                    news.rows[part].extend(self._shared.rows(part, wanted))
        at = PARTS["sightings"].index("id")
        assigned, keeping = self.visitors.of_rows(
            [row[at] for row in news.rows["sightings"]], [row[0] for row in news.rows["events"]]
        )
        # Together: what is in the log already is not received again.
        with self._receive_lock:
            if not self._receives:
                return False
            with self._local_errors():
                new, named = self._apply(news, assigned, keeping)
                fresh = [self._logged(key) for key in sorted(new)]
            if news.rows["sightings"]:
                self.visitors.seen()
            if arrived := [each for each in fresh if each is not None]:
                self.arrived(arrived)
            if named or news.erased:
                self.changed(named)
        return True

    def _apply(
        self, news: News, assigned: Changes, keeping: Set[int]
    ) -> tuple[list[int], list[int]]:
        """Store rows of others, except those that were changed here meanwhile.

        Args:
            news: the rows.
            assigned: to whom they are assigned, as far as they are.
            keeping: the machines that keep visitors: what others see is not assigned.

        Returns:
            The ids of fresh events, and of events of visitors that were named.
        """
        with transaction(self._local):
            new, named = self._store(news, keeping)
            shared_visitors.apply(self._local, assigned)
        return new, named

    def _store(self, news: News, keeping: Set[int]) -> tuple[list[int], list[int]]:
        new: list[int] = []
        named: list[int] = []
        fresh_at = time.time() - FRESH_S
        name = PARTS["events"].index("name")
        at = PARTS["events"].index("at")
        run, track_number, event_id = (
            PARTS["sightings"].index(each) for each in ("run", "track_number", "event_id")
        )
        with replica.quietly(self._local):
            for part, rows in news.rows.items():
                for row in rows:
                    if self._is_noted(part, row[0]):
                        continue
                    if part == "sightings" and self._row("events", row[event_id]) is None:
                        continue  # erased meanwhile
                    if part == "sightings":  # another number of the same track was erased
                        self._local.execute(
                            "DELETE FROM sightings WHERE run = ? AND track_number = ? AND id <> ?",
                            (row[run], row[track_number], row[0]),
                        )
                    if part == "events":
                        held = self._local.execute(
                            "SELECT visitor_id FROM events WHERE id = ?", (row[0],)
                        ).fetchone()
                        if held is None and row[at] > fresh_at:
                            new.append(int(row[0]))
                        if held is not None and held[0] is not None and row[name] is not None:
                            named.append(int(row[0]))
                    self._local.execute(_upsert(part), row)
                    if part == "sightings" and row[0] & replica.MAX_NODE in keeping:
                        shared_visitors.wait(self._local, row[0])
            for part, key in news.erased:
                self._local.execute(f"DELETE FROM {part} WHERE id = ?", (key,))
            replica.put_fact(self._local, replica.PULLED, str(news.revision))
        return new, named

    def _is_noted(self, part: str, key: int) -> bool:
        return (
            self._local.execute(
                "SELECT 1 FROM outgoing WHERE part = ? AND id = ?", (part, key)
            ).fetchone()
            is not None
        )

    def _logged(self, key: int) -> LoggedEvent | None:
        row = self._local.execute(f"SELECT {COLUMNS} FROM events WHERE id = ?", (key,)).fetchone()
        return None if row is None else logged(row)

    def _local_errors(self) -> AbstractContextManager[None]:
        return log_errors(self._path, "cannot share past events")


def _upsert(part: str) -> str:
    columns = PARTS[part]
    changed = ", ".join(f"{each} = excluded.{each}" for each in columns[1:])
    return (
        f"INSERT INTO {part} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
        f"ON CONFLICT (id) DO UPDATE SET {changed}"
    )


def _nothing(events: Sequence[object] = ()) -> None:
    pass


def _is_not_placed(camera: str) -> bool:
    return False
