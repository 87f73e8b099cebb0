"""Rows of people, found and inserted inside the caller's transaction."""

import sqlite3
from secrets import token_hex

from gallery.errors import (
    ErasedIdentityError,
    InvalidNameError,
    NameTakenError,
    UnknownIdentityError,
)
from gallery.identities import Target
from gallery.names import clean_name, is_text, name_key

PersonRow = tuple[int, str, str]
"""Number within the file, identity id, name."""

NOW = "(julianday('now') - 2440587.5) * 86400.0"  # Unix time in seconds, of the database


def find_person(connection: sqlite3.Connection, name_or_id: str) -> PersonRow:
    """Return the person of an id, else of a name.

    Raises:
        UnknownIdentityError: if there is neither.
    """
    row = (
        is_text(name_or_id)
        and connection.execute(
            "SELECT person, identity_id, name FROM identities"
            " WHERE identity_id = ? OR name = ? ORDER BY identity_id != ?",
            (name_or_id,) * 3,
        ).fetchone()
    )
    try:
        name = name_or_id if row else clean_name(name_or_id)
    except InvalidNameError as error:
        raise UnknownIdentityError(f"no such person: {error}") from error
    found = row or person_of_name(connection, name)
    if found is None:
        raise UnknownIdentityError(f"no person named {name}: see `facewire gallery list`")
    return int(found[0]), str(found[1]), str(found[2])


def person_of_name(connection: sqlite3.Connection, name: str) -> PersonRow | None:
    """Return the person of exactly that name, else of one that differs only in case or width.

    Raises:
        InvalidNameError: if it is not a valid name.
        NameTakenError: if several names differ from it only in that.
    """
    name = clean_name(name)
    columns = "SELECT person, identity_id, name FROM identities"
    rows = connection.execute(f"{columns} WHERE name = ?", (name,)).fetchall()
    if not rows:
        rows = connection.execute(
            f"{columns} WHERE name_key = ? ORDER BY person", (name_key(name),)
        ).fetchall()
    if len(rows) > 1:
        names = ", ".join(row[2] for row in rows)
        raise NameTakenError(f"{name} is ambiguous: {names}; write the name exactly as shown")
    return (int(rows[0][0]), str(rows[0][1]), str(rows[0][2])) if rows else None


def person_of_id(connection: sqlite3.Connection, identity_id: str) -> PersonRow | None:
    """Return the person of an id, or the one it was merged into."""
    row = connection.execute(
        "SELECT person, identity_id, name FROM identities WHERE identity_id = ?"
        " OR identity_id = (SELECT into_id FROM successors WHERE identity_id = ?)"
        " ORDER BY identity_id != ?",
        (identity_id,) * 3,
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), str(row[2]))


def other_holder(connection: sqlite3.Connection, name: str, person: int | None) -> str | None:
    """Return the name of a person, other than `person`, with the same comparison key as `name`."""
    row = connection.execute(
        "SELECT name FROM identities WHERE (name = ? OR name_key = ?) AND person IS NOT ?",
        (name, name_key(name), person),
    ).fetchone()
    return None if row is None else str(row[0])


def target_person(connection: sqlite3.Connection, target: Target) -> PersonRow | None:
    """Return the existing person of a target; None for a new one.

    Raises:
        ErasedIdentityError: if the target's id was erased.
    """
    if target.identity_id is None:
        return person_of_name(connection, target.name)
    found = person_of_id(connection, target.identity_id)
    if found is None:
        raise ErasedIdentityError(f"{target.name} was erased while photos were being added")
    return found


def insert_person(connection: sqlite3.Connection, name: str) -> PersonRow:
    """Insert a person with a unique name, as of `clean_name`."""
    identity_id = token_hex(8)
    cursor = connection.execute(
        f"INSERT INTO identities (identity_id, name, name_key, created_at) VALUES (?, ?, ?, {NOW})",
        (identity_id, name, name_key(name)),
    )
    return int(cursor.lastrowid or 0), identity_id, name


def note(connection: sqlite3.Connection, action: str, identity_id: str, n_photos: int) -> None:
    """Add an entry to the audit table, which holds no names."""
    connection.execute(
        f"INSERT INTO audit (at, action, identity_id, n_photos) VALUES ({NOW}, ?, ?, ?)",
        (action, identity_id, n_photos),
    )
