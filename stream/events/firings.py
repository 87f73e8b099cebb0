"""Which rules fired for which events, and the state of rules, in the event log's database.

What a rule has still to deliver follows from both: see `Outbox`. A firing is erased with its event.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.events.log import COLUMNS, LoggedEvent, logged
from stream.events.schema import BUSY_TIMEOUT_S, FILE_NAME, log_errors, transaction
from stream.events.webhook_queue import connect
from stream.frames import EventKind

STATES = """
CREATE TABLE IF NOT EXISTS rule_states (
    rule TEXT PRIMARY KEY,
    fired INTEGER NOT NULL DEFAULT 0,
    last_at TEXT,
    paused_until REAL
) STRICT
"""

WHAT = "cannot keep the state of rules"
HOOK = "rules"
"""The key, in the table of webhooks, of the last event that all rules have seen."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """State of a rule, over restarts.

    Attributes:
        fired: events for which it fired.
        last_at: time of the last one, ISO 8601 in UTC; None before the first.
        paused_until: seconds since 1970, infinity for until it is switched on; None if it is on.
    """

    fired: int = 0
    last_at: str | None = None
    paused_until: float | None = None


class Firings:
    """The firings of a service's rules, over their own connection; for one thread at a time.

    Args:
        directory: of the event log, which must have been opened before.

    Raises:
        EventLogError: if the file cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        with log_errors(self._path, WHAT):
            self._connection = connect(self._path)
            self._connection.execute(STATES)
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def state(self, rule: str) -> RuleState:
        """Return the state of a rule."""
        with log_errors(self._path, WHAT):
            row = self._connection.execute(
                "SELECT fired, last_at, paused_until FROM rule_states WHERE rule = ?", (rule,)
            ).fetchone()
        return RuleState() if row is None else RuleState(*row)

    def record(self, event: LoggedEvent, rules: Sequence[str]) -> None:
        """Store that an event was seen by all rules, and for which of them it fired, in one step.

        Raises:
            EventLogError: if it cannot be written.
        """
        with log_errors(self._path, WHAT), transaction(self._connection):
            for rule in rules:
                self._connection.execute(
                    "INSERT OR IGNORE INTO rule_firings (rule, event_id) "
                    "SELECT ?, id FROM events WHERE id = ?",
                    (rule, event.id),
                )
                self._connection.execute(
                    "INSERT INTO rule_states (rule, fired, last_at) VALUES (?, 1, ?) "
                    "ON CONFLICT (rule) DO UPDATE "
                    "SET fired = fired + 1, last_at = excluded.last_at",
                    (rule, event.at),
                )
            self._connection.execute(
                "UPDATE webhooks SET done = max(done, ?) WHERE hook = ?", (event.id, HOOK)
            )

    def pause(self, rule: str, until: float | None) -> None:
        """Store until when a rule is paused; see `RuleState`."""
        with log_errors(self._path, WHAT):
            self._connection.execute(
                "INSERT INTO rule_states (rule, paused_until) VALUES (?, ?) "
                "ON CONFLICT (rule) DO UPDATE SET paused_until = excluded.paused_until",
                (rule, until),
            )

    def recent(self, rule: str, *, since: float) -> Iterator[LoggedEvent]:
        """Yield the events for which a rule fired since then (seconds since 1970), oldest first."""
        with log_errors(self._path, WHAT):
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE "
                "id IN (SELECT event_id FROM rule_firings WHERE rule = ?) "
                "AND at > ? ORDER BY id",
                (rule, since),
            ).fetchall()
        return map(logged, rows)

    def newest(self, kinds: Sequence[EventKind], *, limit: int) -> Iterator[LoggedEvent]:
        """Yield the newest events of some kinds, newest first."""
        marks = ", ".join("?" * len(kinds))
        with log_errors(self._path, WHAT):
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE kind IN ({marks}) ORDER BY id DESC LIMIT ?",
                (*(kind.value for kind in kinds), limit),
            ).fetchall()
        return map(logged, rows)

    def crop(self, event_id: int) -> bytes | None:
        """Return the crop of an event as JPEG; None if it has none."""
        with log_errors(self._path, WHAT):
            row = self._connection.execute(
                "SELECT crop FROM events WHERE id = ?", (event_id,)
            ).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def replace(
        self,
        *,
        forget: Collection[str],
        hooks: Collection[str],
        is_first: bool = False,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """Store that other rules are in use, in one step.

        Args:
            forget: rules of which nothing stays.
            hooks: keys of receivers whose positions are deleted.
            is_first: whether there was no rule: all events so far count as seen.
            keep: called before the end of the step, which is undone if it raises.

        Raises:
            EventLogError: if it cannot be written.
        """
        with log_errors(self._path, WHAT), transaction(self._connection):
            for rule in forget:
                self._connection.execute("DELETE FROM rule_states WHERE rule = ?", (rule,))
                self._connection.execute("DELETE FROM rule_firings WHERE rule = ?", (rule,))
            for hook in hooks:
                self._connection.execute("DELETE FROM webhooks WHERE hook = ?", (hook,))
            if is_first:
                self._connection.execute(
                    "INSERT OR REPLACE INTO webhooks "
                    "SELECT ?, coalesce((SELECT max(id) FROM events), 0), 0",
                    (HOOK,),
                )
            keep()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()
