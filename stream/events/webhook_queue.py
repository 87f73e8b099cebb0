"""Durable queue of undelivered events, stored in the event log's database.

Events are delivered in order, so one number per receiver is enough: the last event that is done.
All later ones are pending, whether the service was stopped, killed or not running; of the receivers
of a rule, those for which it fired.
"""

import hashlib
import sqlite3
from collections.abc import Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Any

from stream.events import replica
from stream.events.log import COLUMNS, LoggedEvent, logged
from stream.events.schema import FILE_NAME, OPEN_TIMEOUT_S, log_errors
from stream.frames import EventKind

TABLE = """
CREATE TABLE IF NOT EXISTS webhooks (
    hook TEXT PRIMARY KEY,
    done INTEGER NOT NULL,
    dead INTEGER NOT NULL
) STRICT
"""

FIRINGS = """
CREATE TABLE IF NOT EXISTS rule_firings (
    rule TEXT NOT NULL,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    PRIMARY KEY (rule, event_id)
) STRICT, WITHOUT ROWID
"""

FIRINGS_BY_EVENT = "CREATE INDEX IF NOT EXISTS rule_firings_by_event ON rule_firings (event_id)"

WHAT = "cannot keep the queue of webhooks"

OF_RULES = "rule"
"""Begins the keys of the receivers of rules."""


class Outbox:
    """A receiver's position in the event log, over its own connection; for one thread at a time.

    Args:
        directory: of the event log, which must have been opened before.
        hook: key of the receiver; of webhooks, see `hook_keys`.
        rule: whose firings it receives; empty for all events.

    Raises:
        EventLogError: if the file cannot be used.
    """

    def __init__(self, directory: Path, hook: str, *, rule: str = "") -> None:
        self._hook = hook
        self._rule = rule
        self._path = directory / FILE_NAME
        with log_errors(self._path, WHAT):
            self._connection = connect(self._path)
            try:
                # A new webhook gets no earlier events.
                self._connection.execute(
                    "INSERT OR IGNORE INTO webhooks "
                    "SELECT ?, coalesce((SELECT max(id) FROM events), 0), 0",
                    (hook,),
                )
            except BaseException:
                self._connection.close()
                raise

    def pending(self, kinds: Set[EventKind], *, limit: int) -> tuple[list[LoggedEvent], int]:
        """Return the newest pending events, oldest first, and the count of dead letters.

        Args:
            kinds: of events to deliver; all if empty.
            limit: maximum number of events; those before them are dead letters.
        """
        wanted = sorted(kind.value for kind in kinds or EventKind)
        where = f"FROM events WHERE id > ? AND kind IN ({', '.join('?' * len(wanted))})"
        # Of a log that is shared, each machine delivers what it wrote.
        where += f" AND {replica.IS_OWN}"
        if self._rule:
            where += " AND id IN (SELECT event_id FROM rule_firings WHERE rule = ?)"
            wanted.append(self._rule)
        with log_errors(self._path, WHAT):
            (done, dead), *_ = self._rows(
                "SELECT done, dead FROM webhooks WHERE hook = ?", self._hook
            )
            ((count,),) = self._rows(f"SELECT count(*) {where}", done, *wanted)
            rows = self._rows(
                f"SELECT {COLUMNS} {where} ORDER BY id DESC LIMIT ?", done, *wanted, limit
            )
        events = [logged(row) for row in rows]
        return events[::-1], int(dead) + max(0, count - limit)

    def current(self, event: LoggedEvent) -> LoggedEvent | None:
        """Return an event as currently logged; None if it was erased.

        People can be renamed, merged and erased while their events are pending.

        Raises:
            EventLogError: if the file cannot be read.
        """
        with log_errors(self._path, WHAT):
            rows = self._rows(f"SELECT {COLUMNS} FROM events WHERE id = ?", event.id)
            last = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        if rows:
            return logged(rows[0])
        return None if last and event.id <= last[0][0] else event

    def mark_done(self, event_id: int, dead: int) -> None:
        """Store that an event and all before it are done, and the count of dead letters.

        Raises:
            EventLogError: if it cannot be written.
        """
        with log_errors(self._path, WHAT):
            self._connection.execute(
                "UPDATE webhooks SET done = max(done, ?), dead = ? WHERE hook = ?",
                (event_id, dead, self._hook),
            )

    def crop(self, event_id: int) -> bytes | None:
        """Return the crop of an event as JPEG; None if it has none.

        Raises:
            EventLogError: if the file cannot be read.
        """
        with log_errors(self._path, WHAT):
            rows = self._rows("SELECT crop FROM events WHERE id = ?", event_id)
        return bytes(rows[0][0]) if rows and rows[0][0] is not None else None

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        with closing(self._connection.execute(statement, values)) as rows:
            return rows.fetchall()


def forget_others(directory: Path, hooks: Sequence[str]) -> None:
    """Delete the state of all other webhooks; a webhook that is added again starts over.

    The receivers of rules keep theirs.

    Args:
        directory: of the event log, which must have been opened before.
        hooks: keys of the configured webhooks, see `hook_keys`; may be empty.

    Raises:
        EventLogError: if the file cannot be used.
    """
    path = directory / FILE_NAME
    marks = ", ".join("?" * len(hooks))
    with log_errors(path, WHAT), closing(connect(path)) as connection:
        connection.execute(
            f"DELETE FROM webhooks WHERE hook NOT IN ({marks}) AND hook NOT GLOB ?",
            (*hooks, f"{OF_RULES}*"),
        )


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection to the event log's file, with the tables of receivers and firings."""
    connection = sqlite3.connect(
        path, timeout=OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        for statement in (TABLE, FIRINGS, FIRINGS_BY_EVENT):
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def hook_keys(urls: Sequence[str]) -> list[str]:
    """Return the keys of webhooks, the same after a restart; never the URL, which may be secret.

    The order of the URLs matters only between two that are equal.
    """
    return [
        f"{hashlib.sha256(url.encode()).hexdigest()[:32]}-{urls[:number].count(url)}"
        for number, url in enumerate(urls)
    ]
