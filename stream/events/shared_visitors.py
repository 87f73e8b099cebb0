"""The visitors of an event log as one machine's copy of those that several machines share.

One machine at a time assigns: triggers note what it changes in `outgoing_visitors`, in the
transaction that changes it, until the database has it. Every other machine only applies what comes
from there. Which sightings the assigning machine has not seen is known on every machine, in
`received`, so that any of them can take over. A log that is not shared has none of these tables.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream.events import replica
from stream.events.identity_sync import fact

PULLED, CHANGED = "visitors_pulled", "visitors_changed"
"""Facts of the log: the revision up to which its visitors are those of the database, none before
they are; and the last of these at which others changed something."""

LED, BOUND = "visitors_led", "visitors_bound"
"""The generation in which this machine assigned last, and the first number that is not reserved for
new visitors of this machine."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "visitors": (
        *("number", "visitor_id", "first_seen", "last_seen", "visit_count", "is_ignored", "root"),
        *("merged_into", "merged_at", "kept", "kept_model", "kept_poor"),
        *("merged_time", "merged_similarity"),
    ),
    "visitors_apart": ("one", "other"),
    "visitor_proposals": ("one", "other", "id", "similarity"),
    "visitor_sightings": ("id", "visitor_id", "ended", "n_shots"),
    "visitor_events": ("id", "visitor_id", "visit_count"),
}
"""The shared tables and their columns, the key first."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "visitors": ("number",),
    "visitors_apart": ("one", "other"),
    "visitor_proposals": ("one", "other"),
    "visitor_sightings": ("id",),
    "visitor_events": ("id",),
}

SOURCES: Mapping[str, str] = {"visitor_sightings": "sightings", "visitor_events": "events"}
"""Tables of the log of which some columns are a shared table of their own."""

Row = tuple[Any, ...]
Key = tuple[str, int, int]
"""A shared table, and the key of a row of it: two numbers, or one and 0."""

_TABLES = """
CREATE TABLE IF NOT EXISTS outgoing_visitors (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    part TEXT NOT NULL,
    one INTEGER NOT NULL,
    other INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS guessed (
    sighting_id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL
) STRICT
"""
_NOTE = "INSERT INTO outgoing_visitors (part, one, other) VALUES"
_LOUD = "NOT EXISTS (SELECT 1 FROM quiet)"

_DIFFER = {
    part: " OR ".join(f"old.{each} IS NOT new.{each}" for each in columns)
    for part, columns in COLUMNS.items()
}

TRIGGERS = {
    f"outgoing_{part}_{what.lower()}": (
        f"AFTER {what} ON {part} WHEN {_LOUD}"
        + (f" AND ({_DIFFER[part]})" if what == "UPDATE" else "")
        + f" BEGIN {_NOTE} ('{part}', {key.format('old' if what == 'DELETE' else 'new')}); END"
    )
    for part, key in (
        ("visitors", "{0}.number, 0"),
        ("visitors_apart", "{0}.one, {0}.other"),
        ("visitor_proposals", "{0}.one, {0}.other"),
    )
    for what in ("INSERT", "UPDATE", "DELETE")
} | {
    "outgoing_visitor_of_sighting": (
        "AFTER UPDATE OF visitor_id ON sightings WHEN old.visitor_id IS NOT new.visitor_id "
        f"AND {_LOUD} BEGIN {_NOTE} ('visitor_sightings', new.id, 0); END"
    ),
    "outgoing_visitor_of_event": (
        "AFTER UPDATE OF visitor_id, visit_count ON events WHEN (old.visitor_id "
        "IS NOT new.visitor_id OR old.visit_count IS NOT new.visit_count) "
        f"AND {_LOUD} BEGIN {_NOTE} ('visitor_events', new.id, 0); END"
    ),
}


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of shared visitors.

    Attributes:
        rows: by table, as they are now.
        erased: keys of erased rows.
    """

    rows: Mapping[str, Sequence[Row]]
    erased: Sequence[Key]

    def __bool__(self) -> bool:
        return bool(self.erased) or any(self.rows.values())


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables and triggers that are missing; in a transaction."""
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    for name, body in TRIGGERS.items():
        connection.execute(f"CREATE TRIGGER IF NOT EXISTS {name} {body}")


def forget(connection: sqlite3.Connection) -> None:
    """Share the visitors anew, as a log that was never shared; in a transaction."""
    connection.execute("DELETE FROM outgoing_visitors")
    connection.execute("DELETE FROM guessed")
    connection.execute("DELETE FROM facts WHERE key IN (?, ?, ?, ?)", (PULLED, CHANGED, LED, BOUND))


# What is assigned, and what waits


def assigned(connection: sqlite3.Connection, sighting_id: int) -> None:
    """Note that this machine has assigned a sighting, to a visitor or none."""
    connection.execute(f"{_NOTE} ('visitor_sightings', ?, 0)", (sighting_id,))
    connection.execute("DELETE FROM received WHERE sighting_id = ?", (sighting_id,))


def wait(connection: sqlite3.Connection, sighting_id: int) -> None:
    """Note that a sighting is to be assigned, by whichever machine assigns."""
    connection.execute("INSERT OR IGNORE INTO received VALUES (?)", (sighting_id,))


def guess(
    connection: sqlite3.Connection, sighting_id: int, event_id: int, visitor_id: str, count: int
) -> None:
    """Write whose sighting and event it seems to be, until the assigning machine has said so."""
    with replica.quietly(connection):
        connection.execute(
            "UPDATE sightings SET visitor_id = ? WHERE id = ?", (visitor_id, sighting_id)
        )
        connection.execute(
            "UPDATE events SET visitor_id = ?, visit_count = ? WHERE id = ?",
            (visitor_id, count, event_id),
        )
        connection.execute("INSERT OR REPLACE INTO guessed VALUES (?, ?)", (sighting_id, event_id))


def drop_guess(connection: sqlite3.Connection, sighting_id: int) -> None:
    """Take back what was guessed of a sighting."""
    if not connection.execute(
        "SELECT 1 FROM guessed WHERE sighting_id = ?", (sighting_id,)
    ).fetchone():
        return
    with replica.quietly(connection):
        _drop_guess(connection, sighting_id)


def _drop_guess(connection: sqlite3.Connection, sighting_id: int) -> None:
    for (event_id,) in connection.execute(
        "DELETE FROM guessed WHERE sighting_id = ? RETURNING event_id", (sighting_id,)
    ).fetchall():
        connection.execute(
            "UPDATE events SET visitor_id = NULL, visit_count = NULL WHERE id = ?", (event_id,)
        )
        connection.execute("UPDATE sightings SET visitor_id = NULL WHERE id = ?", (sighting_id,))


# From here to the others


def has_notes(connection: sqlite3.Connection) -> bool:
    """Return whether changes of this machine are not in the database."""
    return connection.execute("SELECT 1 FROM outgoing_visitors LIMIT 1").fetchone() is not None


def noted(connection: sqlite3.Connection) -> tuple[int, Changes]:
    """Return the last note, and all that was changed up to it; in a transaction."""
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM outgoing_visitors").fetchone()
    keys = connection.execute("SELECT DISTINCT part, one, other FROM outgoing_visitors").fetchall()
    rows: dict[str, list[Row]] = {part: [] for part in COLUMNS}
    erased: list[Key] = []
    for part, one, other in keys:
        key = (one, other)[: len(KEYS[part])]
        where = " AND ".join(f"{each} = ?" for each in KEYS[part])
        row = connection.execute(f"{_select(part)} WHERE {where}", key).fetchone()
        if row is not None:
            rows[part].append(row)
        elif part not in SOURCES:  # those are erased with their sighting or event
            erased.append((part, one, other))
    return int(last), Changes(rows, erased)


def sent(connection: sqlite3.Connection, last: int) -> None:
    """Forget the notes up to one; in a transaction."""
    connection.execute("DELETE FROM outgoing_visitors WHERE seq <= ?", (last,))


def everything(connection: sqlite3.Connection) -> Changes:
    """Return all visitors of the log."""
    rows = {
        part: connection.execute(
            _select(part) + (" WHERE visitor_id IS NOT NULL" if part in SOURCES else "")
        ).fetchall()
        for part in COLUMNS
    }
    return Changes(rows, ())


# From the others to here


def apply(connection: sqlite3.Connection, changes: Changes) -> None:
    """Write what others changed, without a note; in a transaction.

    What this machine changed meanwhile stays as it is.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")
    own = set(connection.execute("SELECT part, one, other FROM outgoing_visitors").fetchall())

    def news(part: str) -> list[Row]:
        n = len(KEYS[part])
        return [
            row
            for row in changes.rows.get(part, ())
            if not own or (part, row[0], row[1] if n == 2 else 0) not in own
        ]

    with replica.quietly(connection):
        columns = COLUMNS["visitors"]
        connection.executemany(
            f"INSERT INTO visitors ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
            "ON CONFLICT (number) DO UPDATE SET "
            + ", ".join(f"{each} = excluded.{each}" for each in columns[1:]),
            news("visitors"),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO visitors_apart VALUES (?, ?)", news("visitors_apart")
        )
        for row in news("visitor_proposals"):
            connection.execute(
                "DELETE FROM visitor_proposals WHERE (one = ? AND other = ?) OR id = ?", row[:3]
            )
            connection.execute(
                "INSERT INTO visitor_proposals (one, other, id, similarity) VALUES (?, ?, ?, ?)",
                row,
            )
        for part, one, other in changes.erased:  # behind: what was merged with them is not any more
            key = (one, other)[: len(KEYS[part])]
            where = " AND ".join(f"{each} = ?" for each in KEYS[part])
            connection.execute(f"DELETE FROM {part} WHERE {where}", key)
        for key, visitor_id, ended, n_shots in news("visitor_sightings"):
            _drop_guess(connection, key)
            connection.execute(
                "UPDATE sightings SET visitor_id = ? WHERE id = ?", (visitor_id, key)
            )
            connection.execute(
                "DELETE FROM received WHERE sighting_id = ?1 AND NOT EXISTS (SELECT 1 "
                "FROM sightings WHERE id = ?1 AND (ended > ?2 OR n_shots > ?3))",
                (key, ended, n_shots),
            )
        connection.executemany(
            "UPDATE events SET visitor_id = ?, visit_count = ? WHERE id = ?",
            [(visitor_id, count, key) for key, visitor_id, count in news("visitor_events")],
        )


def replace_all(connection: sqlite3.Connection, changes: Changes) -> None:
    """Have the visitors of the database and no others; in a transaction.

    Sightings of which this machine assigned more than the database has are assigned again.
    """
    connection.execute(
        "INSERT OR IGNORE INTO received SELECT one FROM outgoing_visitors "
        "JOIN sightings ON sightings.id = one WHERE part = 'visitor_sightings'"
    )
    connection.execute("DELETE FROM outgoing_visitors")
    connection.execute("DELETE FROM guessed")
    with replica.quietly(connection):
        connection.execute("DELETE FROM visitors")
        connection.execute("UPDATE sightings SET visitor_id = NULL WHERE visitor_id IS NOT NULL")
        connection.execute(
            "UPDATE events SET visitor_id = NULL, visit_count = NULL WHERE visitor_id IS NOT NULL"
        )
    apply(connection, changes)


def state(connection: sqlite3.Connection) -> tuple[str | None, ...]:
    """Return what differs once others have changed visitors, or this machine begins to assign."""
    return fact(connection, CHANGED), fact(connection, LED)


# The numbers of new visitors


def next_number(connection: sqlite3.Connection) -> int:
    """Return the number of the next visitor."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'visitors'").fetchone()
    return 1 if row is None else int(row[0]) + 1


def begin_numbers(connection: sqlite3.Connection, first: int) -> None:
    """Give the next visitor a number; in a transaction."""
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'visitors'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('visitors', ?)", (first - 1,))


def has_number(connection: sqlite3.Connection) -> bool:
    """Return whether a number is reserved for the next visitor."""
    bound = fact(connection, BOUND)
    return bound is not None and next_number(connection) < int(bound)


def _select(part: str) -> str:
    return f"SELECT {', '.join(COLUMNS[part])} FROM {SOURCES.get(part, part)}"
