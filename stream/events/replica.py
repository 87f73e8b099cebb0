"""The event log as one machine's copy of a log that several machines share.

Triggers note every change in `outgoing`, in the transaction that makes it, until it is in the
database that all machines share; what others changed is written without a note. So the file is a
queue on disk as well: nothing waits for the database, and nothing is lost while it is away. A log
that is not shared has none of these tables and triggers.

Rows are numbered without asking anybody: the time in milliseconds and the machine's number, which
the database gave it once.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stream.events.identity_sync import fact
from stream.events.schema import transaction

NODE_BITS = 10
MAX_NODE = (1 << NODE_BITS) - 1
"""Highest number of a machine; milliseconds since 1970 beside it fit in what JSON can hold."""

NODE, SHARED_LOG, SESSION, PULLED = "node", "shared_log", "shared_session", "shared_revision"
"""Facts of the log: its machine's number, the log that it shares, the last process that wrote
there, and the revision up to which it has what others wrote."""

IS_OWN = (
    f"(id & {MAX_NODE}) = "
    f"coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE key = '{NODE}'), id & {MAX_NODE})"
)
"""Of an event that this machine wrote; of every event where the log is not shared."""

MACHINES, LIVE_MACHINES = "machines", "live_machines"
"""Facts of the log: the numbers of all machines, and of those that ran lately, space between."""

PARTS: dict[str, tuple[str, ...]] = {
    "events": (
        *("id", "kind", "camera", "at", "run", "track_number", "identity_id", "name"),
        *("similarity", "was_known", "previous_id", "previous_name", "detail"),
        *("crop", "crop_sha256", "quality", "embedding", "model_id", "zones"),
    ),
    "sightings": (
        *("id", "run", "track_number", "stay", "event_id", "camera", "began", "ended", "is_over"),
        *("model_id", "template", "exemplars", "n_good", "good_s", "face_px", "quality", "crop"),
        "n_shots",
    ),
}
"""The shared tables and their shared columns, the key first; a table after those it refers to."""

CHECKED, LATE, ALONE = 1, 2, 3
"""Values of `is_checked` in `outgoing`, which is 0 for a change by people. CHECKED: the camera must
be this machine's at that moment. LATE: the same, of a row that was written while it was not; where
it is refused, it becomes ALONE, which stays on this machine and is not sent."""

CHANGED = {
    "events": tuple(each for each in PARTS["events"][1:] if each != "zones"),
    "sightings": ("camera", "event_id"),
}
"""The columns that people change; the others are what the camera's owner saw."""

_TABLES = """
CREATE TABLE IF NOT EXISTS outgoing (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL,
    id INTEGER NOT NULL,
    generation INTEGER,
    is_checked INTEGER NOT NULL,
    is_erased INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outgoing_by_row ON outgoing (part, id);
CREATE TABLE IF NOT EXISTS owned (
    camera TEXT PRIMARY KEY, generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quiet (row INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS received (sighting_id INTEGER PRIMARY KEY) STRICT
"""
_NOTE = "INSERT INTO outgoing (part, id, generation, is_checked, is_erased) VALUES"
_OWN = "(SELECT generation FROM owned WHERE camera = new.camera)"
_WHEN = "WHEN {not_}EXISTS (SELECT 1 FROM quiet)"

# SQLite's `UPDATE OF` fires on columns that stay the same, too, as those of each report of a track.
_DIFFER = {
    part: f"({' OR '.join(f'old.{each} IS NOT new.{each}' for each in columns)}) AND "
    for part, columns in CHANGED.items()
}

# What a camera's owner writes is checked by the database against its generation; what people change
# is not. Rows that are too old leave the queue with their erasure.
TRIGGERS = {
    f"outgoing_{part}_{name}": f"AFTER {what} ON {part} {_WHEN.format(not_=not_)} BEGIN {do}; END"
    for part, seen in (("events", ""), ("sightings", "template"))
    for name, what, not_, do in (
        ("added", "INSERT", "NOT ", f"{_NOTE} ('{part}', new.id, {_OWN}, 1, 0)"),
        (
            *("seen", f"UPDATE OF {seen}", "NOT "),
            f"{_NOTE} ('{part}', new.id, {_OWN}, 1, 0)",
        ),
        (
            "changed",
            f"UPDATE OF {', '.join(CHANGED[part])}",
            _DIFFER[part] + "NOT ",
            f"{_NOTE} ('{part}', new.id, NULL, 0, 0)",
        ),
        ("erased", "DELETE", "NOT ", f"{_NOTE} ('{part}', old.id, NULL, 0, 1)"),
        ("expired", "DELETE", "", f"DELETE FROM outgoing WHERE part = '{part}' AND id = old.id"),
    )
    if seen or name != "seen"
}


def next_number(connection: sqlite3.Connection, table: str) -> int | None:
    """Return the number of the next row of a shared log; None where SQLite numbers the rows.

    It is higher than all that the table ever held, and no other machine gives it.
    """
    node = fact(connection, NODE)
    if node is None:
        return None
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    last = 0 if row is None else int(row[0]) >> NODE_BITS
    return max(int(time.time() * 1000), last + 1) << NODE_BITS | int(node)


def machine_of(event_id: int) -> int:
    """Return the number of the machine that wrote an event; 0 in a log that was never shared."""
    return event_id & MAX_NODE if event_id >> 50 else 0  # as milliseconds since 1970 and a machine


def machines(connection: sqlite3.Connection, key: str) -> list[int]:
    """Return the machines of a fact, `MACHINES` or `LIVE_MACHINES`; none in a log not shared."""
    return [int(each) for each in (fact(connection, key) or "").split()]


def put_fact(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Store a fact about the log as a whole."""
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))


@contextmanager
def quietly(connection: sqlite3.Connection) -> Iterator[None]:
    """Change rows of a shared log without a note for others; within a transaction."""
    if not is_shared(connection):
        yield
        return
    connection.execute("INSERT INTO quiet VALUES (1)")
    yield
    connection.execute("DELETE FROM quiet")


def is_shared(connection: sqlite3.Connection) -> bool:
    """Return whether the log notes changes for others."""
    row = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = 'outgoing_events_added'"
    ).fetchone()
    return row is not None


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a shared log that are missing; in a transaction."""
    for statement in _TABLES.split(";"):
        connection.execute(statement)


def take_received(connection: sqlite3.Connection, limit: int) -> list[int]:
    """Return sightings of other machines that are to be assigned here, each once; in a transaction.

    The oldest come first.
    """
    rows = connection.execute(
        "DELETE FROM received WHERE sighting_id IN "
        "(SELECT sighting_id FROM received ORDER BY sighting_id LIMIT ?) RETURNING sighting_id",
        (limit,),
    ).fetchall()
    return sorted(int(row[0]) for row in rows)


def join(connection: sqlite3.Connection, node: int, shared_log: str) -> None:
    """Begin to share a log: everything in it is noted for others.

    A log that was never shared gets new numbers for its events and sightings, in their order.

    Args:
        connection: to the event log.
        node: number of this machine in the shared log, 1 to `MAX_NODE`.
        shared_log: id of the shared log.

    Raises:
        sqlite3.Error: if the log cannot be written.
    """
    with transaction(connection):
        _drop_triggers(connection)
        make_tables(connection)
        for table in ("outgoing", "owned", "quiet"):
            connection.execute(f"DELETE FROM {table}")
        if fact(connection, NODE) is None:
            _renumber(connection, node)
        for key, value in (
            *((NODE, str(node)), (SHARED_LOG, shared_log), (PULLED, "0")),
            *((MACHINES, str(node)), (LIVE_MACHINES, "")),
        ):
            put_fact(connection, key, value)
        for part in PARTS:
            connection.execute(
                "INSERT INTO outgoing (part, id, generation, is_checked, is_erased) "
                f"SELECT '{part}', id, 0, 1, 0 FROM {part} ORDER BY id"
            )
        _create_triggers(connection)


def leave(connection: sqlite3.Connection) -> None:
    """Note no more changes; does nothing to a log that is not shared."""
    if not is_shared(connection):
        return
    with transaction(connection):
        _drop_triggers(connection)
        connection.execute("DELETE FROM outgoing")
        connection.execute("DELETE FROM facts WHERE key = ?", (SHARED_LOG,))


def _drop_triggers(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'outgoing\\_%' "
        "ESCAPE '\\'"
    ).fetchall()
    for (name,) in rows:
        connection.execute(f"DROP TRIGGER {name}")


def _create_triggers(connection: sqlite3.Connection) -> None:
    for name, body in TRIGGERS.items():
        connection.execute(f"CREATE TRIGGER {name} {body}")


def _renumber(connection: sqlite3.Connection, node: int) -> None:
    """Give all rows numbers that no other machine gives; positions of webhooks go with them."""
    connection.execute("PRAGMA defer_foreign_keys = ON")
    # The old and the new number of a sighting: an index in memory reads both again.
    note = "INSERT INTO sighting_changes (sighting_id) SELECT id FROM sightings"
    connection.execute(note)
    for table, column in [*((part, "id") for part in PARTS), *_references(connection)]:
        # By way of negative numbers, so that no new number meets an old one.
        connection.execute(f"UPDATE {table} SET {column} = -{column}")
        connection.execute(f"UPDATE {table} SET {column} = (-{column} << {NODE_BITS}) | {node}")
    connection.execute(note)
    for table in PARTS:
        connection.execute(
            "UPDATE sqlite_sequence SET seq = "
            f"max((seq << {NODE_BITS}) | {node}, (SELECT coalesce(max(id), 0) FROM {table})) "
            "WHERE name = ?",
            (table,),
        )
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'webhooks'").fetchone():
        connection.execute(f"UPDATE webhooks SET done = (done << {NODE_BITS}) | {MAX_NODE}")


def _references(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return tables and their columns that refer to rows of the shared tables."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return [
        (str(table), str(column))
        for (table,) in tables
        for _, _, target, column, *_ in connection.execute(
            f"PRAGMA foreign_key_list({table})"
        ).fetchall()
        if target in PARTS
    ]
