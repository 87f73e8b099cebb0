"""Synchronizes people in past events with the gallery, whichever process changes it."""

import logging
import sqlite3
from collections.abc import Sequence

from gallery import Gallery, Identity
from stream.events.schema import transaction

logger = logging.getLogger(__name__)

# Skips from one person to the next in the index: one step per person, not per event.
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
PREVIOUS_NAMES = """
SELECT DISTINCT previous_id, previous_name FROM events
WHERE was_known IS NOT NULL AND previous_id IS NOT NULL
"""


def reconcile(connection: sqlite3.Connection, gallery: Gallery) -> None:
    """Rename, merge and erase people in the log as they were in the gallery.

    Only people removed from the gallery are erased. People not in it, because it is a new,
    restored or replaced one, are detached: their events keep the name, and are linked again once
    the person is in the gallery.

    Raises:
        GalleryError: if the gallery cannot be read now.
        sqlite3.Error: if the log cannot be written.
    """
    held = [(str(row[0]), str(row[1])) for row in connection.execute(NAMES)]
    previous = [(str(row[0]), row[1]) for row in connection.execute(PREVIOUS_NAMES)]
    ids = sorted({identity_id for identity_id, _ in (*held, *previous)})
    present = gallery.people.present(ids)
    absent = [identity_id for identity_id in ids if identity_id not in present]
    removed = gallery.people.removed(absent)
    detached = set(absent) - removed
    changes: list[tuple[str, tuple[str | None, ...]]] = []
    for columns, names in (
        (("identity_id", "name"), held),
        (("previous_id", "previous_name"), previous),
    ):
        statement = "UPDATE events SET {0} = ?, {1} = ? WHERE {0} = ? AND {1} IS ?".format(*columns)
        changes += [
            (statement, (now.identity_id, now.name, identity_id, name))
            for identity_id, name in names
            if (now := present.get(identity_id)) is not None
            and (now.identity_id, now.name) != (identity_id, name)
        ]
    before = {str(row[0]) for row in connection.execute("SELECT identity_id FROM detached")}
    is_other = fact(connection, "gallery_id") != gallery.gallery_id
    if not (removed or changes or is_other or before != detached):
        return
    with transaction(connection):
        for identity_id in sorted(removed):
            _erase(connection, identity_id)
        for statement, values in changes:
            connection.execute(statement, values)
        if before != detached:
            connection.execute("DELETE FROM detached")
            connection.executemany("INSERT INTO detached VALUES (?)", [(i,) for i in detached])
        connection.execute(
            "INSERT OR REPLACE INTO facts VALUES ('gallery_id', ?)", (gallery.gallery_id,)
        )
    if removed:
        truncate_log(connection)
    if detached - before:
        logger.warning("%s", detached_notice(len(detached)))
    elif before and not detached:
        logger.info("the gallery knows everybody in past events again: they are linked")


def n_detached(connection: sqlite3.Connection) -> int:
    """Return the number of people in past events that are not in the gallery."""
    return int(connection.execute("SELECT count(*) FROM detached").fetchone()[0])


def detached_notice(n_people: int) -> str:
    """Return the notice about people that are not in the gallery."""
    people = "1 person" if n_people == 1 else f"{n_people} people"
    return (
        f"past events show {people} whom this gallery does not know, because it is another one or "
        "was restored: their events keep the names, and are linked again once it knows them"
    )


def fact(connection: sqlite3.Connection, key: str) -> str | None:
    """Return a stored fact about the log as a whole, None where it was never set."""
    row = connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def erase(connection: sqlite3.Connection, identity_id: str) -> int:
    """Erase a person's events, including from free pages and SQLite's write-ahead log.

    Returns:
        The number of erased events.
    """
    with transaction(connection):
        erased = _erase(connection, identity_id)
    truncate_log(connection)
    return erased


def truncate_log(connection: sqlite3.Connection) -> None:
    """Empty SQLite's write-ahead log, which also holds erased rows."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _erase(connection: sqlite3.Connection, identity_id: str) -> int:
    # The earlier name before a correction is in the event of another person. An event of version 1
    # without an identifiable person has only the name.
    connection.execute(
        "UPDATE events SET previous_id = NULL, previous_name = NULL WHERE was_known IS NOT NULL "
        "AND (previous_id = ?1 OR previous_id IS NULL AND previous_name IN "
        "(SELECT name FROM events WHERE identity_id = ?1))",
        (identity_id,),
    )
    # Before the naming the same track was a stranger: the face is of this person too, unless the
    # track was later corrected to another person.
    erased = connection.execute(
        "DELETE FROM events WHERE identity_id IS NULL AND (run, track_number) IN ("
        "SELECT run, track_number FROM events AS named WHERE identity_id = ?1 AND id = ("
        "SELECT max(id) FROM events AS last WHERE last.run = named.run "
        "AND last.track_number = named.track_number AND last.identity_id IS NOT NULL))",
        (identity_id,),
    ).rowcount
    erased += connection.execute(
        "DELETE FROM events WHERE identity_id = ?", (identity_id,)
    ).rowcount
    connection.execute("DELETE FROM detached WHERE identity_id = ?", (identity_id,))
    return erased


def crops(connection: sqlite3.Connection, identity_id: str) -> list[tuple[int, bytes]]:
    """Return number and thumbnail, a JPEG of 112x112, of a person's events that have one."""
    rows = connection.execute(
        "SELECT id, crop FROM events WHERE identity_id = ? AND crop IS NOT NULL ORDER BY id",
        (identity_id,),
    )
    return [(int(row[0]), bytes(row[1])) for row in rows]


def reassign(connection: sqlite3.Connection, event_ids: Sequence[int], identity: Identity) -> None:
    """Assign events to another person."""
    with transaction(connection):
        connection.executemany(
            "UPDATE events SET identity_id = ?, name = ? WHERE id = ?",
            [(identity.identity_id, identity.name, event_id) for event_id in event_ids],
        )


def name_event(connection: sqlite3.Connection, event_id: int, identity: Identity) -> int:
    """Assign an event to a person, and the events of its track that had the same person.

    Call it in a transaction.

    Returns:
        The number of newly assigned events.
    """
    row = connection.execute(
        "SELECT run, track_number, identity_id FROM events WHERE id = ?", (event_id,)
    ).fetchone()
    if row is None:
        return 0
    return connection.execute(
        "UPDATE events SET identity_id = ?1, name = ?2, similarity = NULL "
        "WHERE identity_id IS NOT ?1 AND (id = ?3 "
        "OR (run = ?4 AND track_number = ?5 AND identity_id IS ?6))",
        (identity.identity_id, identity.name, event_id, *row),
    ).rowcount
