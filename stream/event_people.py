"""Whom past events show: kept as the gallery has it, whoever changes people, in any process."""

import sqlite3
from collections.abc import Sequence

from gallery import Gallery, Identity

# Names are compared by it without reading events; made in logs that are older than it, too.
NAMES_INDEX = "CREATE INDEX IF NOT EXISTS events_by_person ON events (identity_id, name)"
# Steps from one person to the next in that index: as many steps as people, not as events.
NAMES = """
WITH RECURSIVE held (identity_id, name) AS (
    SELECT * FROM (SELECT identity_id, name FROM events WHERE identity_id IS NOT NULL
                   ORDER BY identity_id, name LIMIT 1)
    UNION ALL
    SELECT next.identity_id, next.name FROM held, events AS next WHERE next.id = (
        SELECT id FROM events
        WHERE (identity_id, name) > (held.identity_id, held.name)
        ORDER BY identity_id, name LIMIT 1)
)
SELECT identity_id, name FROM held
"""
TRACK_S = 86_400.0
"""A track number of the same camera within a day is the same appearance."""


def settle(connection: sqlite3.Connection, gallery: Gallery) -> None:
    """Rename, merge and erase in the log what was renamed, merged and erased in the gallery.

    Raises:
        GalleryError: if the gallery cannot be read now.
        sqlite3.Error: if the log cannot be written.
    """
    held = [(str(row[0]), str(row[1])) for row in connection.execute(NAMES)]
    present = gallery.present([identity_id for identity_id, _ in held])
    for identity_id, name in held:
        identity = present.get(identity_id)
        if identity is None:
            erase(connection, identity_id)
        elif (identity.identity_id, identity.name) != (identity_id, name):
            connection.execute(
                "UPDATE events SET identity_id = ?, name = ? WHERE identity_id = ? AND name = ?",
                (identity.identity_id, identity.name, identity_id, name),
            )
            connection.execute(
                "UPDATE events SET detail = ? WHERE detail = ?",
                (f"was {identity.name}", f"was {name}"),
            )


def erase(connection: sqlite3.Connection, identity_id: str) -> int:
    """Erase a person's events, with their free pages and their traces in SQLite's log.

    Returns:
        How many events there were.
    """
    # What they were called before a correction is said in the detail of a RENAMED event.
    names = connection.execute(
        "SELECT DISTINCT name FROM events WHERE identity_id = ?", (identity_id,)
    ).fetchall()
    for (name,) in names:
        connection.execute("UPDATE events SET detail = '' WHERE detail = ?", (f"was {name}",))
    # Before they were named they were a stranger, on the same track: the face is theirs too.
    erased = connection.execute(
        "DELETE FROM events WHERE identity_id IS NULL AND track_id IS NOT NULL AND EXISTS ("
        "SELECT 1 FROM events AS named WHERE named.identity_id = ? "
        "AND named.camera = events.camera AND named.track_id = events.track_id "
        "AND abs(named.at - events.at) < ?)",
        (identity_id, TRACK_S),
    ).rowcount
    erased += connection.execute(
        "DELETE FROM events WHERE identity_id = ?", (identity_id,)
    ).rowcount
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return erased


def crops(connection: sqlite3.Connection, identity_id: str) -> list[tuple[int, bytes]]:
    """Return number and thumbnail, a JPEG of 112x112, of a person's events that have one."""
    rows = connection.execute(
        "SELECT id, crop FROM events WHERE identity_id = ? AND crop IS NOT NULL ORDER BY id",
        (identity_id,),
    )
    return [(int(row[0]), bytes(row[1])) for row in rows]


def reassign(connection: sqlite3.Connection, event_ids: Sequence[int], identity: Identity) -> None:
    """Make events another person's."""
    connection.executemany(
        "UPDATE events SET identity_id = ?, name = ? WHERE id = ?",
        [(identity.identity_id, identity.name, event_id) for event_id in event_ids],
    )
