"""What webhooks still owe their receivers, kept in the event log's own file.

Deliveries go out in the order of the events, so one number a webhook says it all: the last event
that is done with. Every later one is owed, whether the service was stopped, killed or never ran.
"""

import hashlib
import sqlite3
from collections.abc import Sequence, Set
from contextlib import closing
from pathlib import Path

from stream.errors import EventLogError
from stream.events import BUSY_TIMEOUT_S, COLUMNS, FILE_NAME, LoggedEvent, logged
from stream.frames import EventKind

TABLE = """
CREATE TABLE IF NOT EXISTS webhooks (
    hook TEXT PRIMARY KEY,
    done INTEGER NOT NULL,
    dead INTEGER NOT NULL
) STRICT
"""


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
        try:
            self._connection = sqlite3.connect(
                directory / FILE_NAME,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(TABLE)
            # A webhook that is new hears of nothing that was before it.
            self._connection.execute(
                "INSERT OR IGNORE INTO webhooks "
                "SELECT ?, coalesce((SELECT max(id) FROM events), 0), 0",
                (hook,),
            )
        except sqlite3.Error as error:
            raise EventLogError(f"cannot keep what webhooks are owed: {error}") from error

    def owed(self, kinds: Set[EventKind], *, limit: int) -> tuple[list[LoggedEvent], int]:
        """Return the newest events that are not done with, oldest first, and the dead letters.

        Args:
            kinds: of events to deliver; all where empty.
            limit: how many events at most; those before them are dead letters.
        """
        with closing(
            self._connection.execute("SELECT done, dead FROM webhooks WHERE hook = ?", [self._hook])
        ) as answer:
            done, dead = answer.fetchone()
        wanted = sorted(kind.value for kind in kinds or EventKind)
        where = f"FROM events WHERE id > ? AND kind IN ({', '.join('?' * len(wanted))})"
        with closing(
            self._connection.execute(f"SELECT count(*) {where}", [done, *wanted])
        ) as answer:
            count = int(answer.fetchone()[0])
        with closing(
            self._connection.execute(
                f"SELECT {COLUMNS} {where} ORDER BY id DESC LIMIT ?", [done, *wanted, limit]
            )
        ) as rows:
            events = [logged(row) for row in rows]
        return events[::-1], int(dead) + max(0, count - limit)

    def settle(self, event_id: int, dead: int) -> None:
        """Keep that an event and all before it are done with, and how many were dead letters.

        Raises:
            EventLogError: if the disk does not take it.
        """
        try:
            self._connection.execute(
                "UPDATE webhooks SET done = max(done, ?), dead = ? WHERE hook = ?",
                (event_id, dead, self._hook),
            )
        except sqlite3.Error as error:
            raise EventLogError(f"cannot keep what webhooks are owed: {error}") from error

    def forget_others(self, hooks: Sequence[str]) -> None:
        """Forget every webhook but these: one that is configured again later begins anew."""
        marks = ", ".join("?" * len(hooks))
        self._connection.execute(f"DELETE FROM webhooks WHERE hook NOT IN ({marks})", hooks)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()


def hook_keys(urls: Sequence[str]) -> list[str]:
    """Return what webhooks are known by across restarts: never the URL, which may hold a secret.

    Their order does not matter but for two of the same URL.
    """
    return [
        f"{hashlib.sha256(url.encode()).hexdigest()[:32]}-{urls[:number].count(url)}"
        for number, url in enumerate(urls)
    ]
