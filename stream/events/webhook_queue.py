"""Durable queue of undelivered webhook events, stored in the event log's database.

Deliveries go out in the order of the events, so one number a webhook is enough: the last event
that is done with. Every later one is pending, whether the service was stopped, killed or never ran.
"""

import hashlib
import sqlite3
from collections.abc import Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Any

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


WHAT = "cannot keep what webhooks are to deliver"


class Outbox:
    """One webhook's place in the event log, by a connection of its own; for one thread at a time.

    Args:
        directory: of the event log, which has been opened before.
        hook: which webhook it is, see `hook_keys`.

    Raises:
        EventLogError: if the file cannot be used.
    """

    def __init__(self, directory: Path, hook: str) -> None:
        self._hook = hook
        self._path = directory / FILE_NAME
        with log_errors(self._path, WHAT):
            self._connection = _connect(self._path)
            # A webhook that is new gets nothing of what was before it.
            self._connection.execute(
                "INSERT OR IGNORE INTO webhooks "
                "SELECT ?, coalesce((SELECT max(id) FROM events), 0), 0",
                (hook,),
            )

    def pending(self, kinds: Set[EventKind], *, limit: int) -> tuple[list[LoggedEvent], int]:
        """Return the newest events that are not done with, oldest first, and the dead letters.

        Args:
            kinds: of events to deliver; all where empty.
            limit: how many events at most; those before them are dead letters.
        """
        wanted = sorted(kind.value for kind in kinds or EventKind)
        where = f"FROM events WHERE id > ? AND kind IN ({', '.join('?' * len(wanted))})"
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
        """Return an event as the log has it now, None where it was erased.

        People are renamed, merged and erased while their events wait for a receiver.

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
        """Keep that an event and all before it are done with, and how many were dead letters.

        Raises:
            EventLogError: if the disk does not take it.
        """
        with log_errors(self._path, WHAT):
            self._connection.execute(
                "UPDATE webhooks SET done = max(done, ?), dead = ? WHERE hook = ?",
                (event_id, dead, self._hook),
            )

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def _rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        with closing(self._connection.execute(statement, values)) as rows:
            return rows.fetchall()


def forget_others(directory: Path, hooks: Sequence[str]) -> None:
    """Forget every webhook but these: one that is configured again later begins anew.

    Args:
        directory: of the event log, which has been opened before.
        hooks: those that are configured, see `hook_keys`; none where there are no webhooks.

    Raises:
        EventLogError: if the file cannot be used.
    """
    path = directory / FILE_NAME
    marks = ", ".join("?" * len(hooks))
    with log_errors(path, WHAT), closing(_connect(path)) as connection:
        connection.execute(f"DELETE FROM webhooks WHERE hook NOT IN ({marks})", hooks)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(TABLE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def hook_keys(urls: Sequence[str]) -> list[str]:
    """Return what webhooks are known by across restarts: never the URL, which may hold a secret.

    Their order does not matter but for two of the same URL.
    """
    return [
        f"{hashlib.sha256(url.encode()).hexdigest()[:32]}-{urls[:number].count(url)}"
        for number, url in enumerate(urls)
    ]
