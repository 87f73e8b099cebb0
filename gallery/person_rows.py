"""Rows of people, found and inserted inside the caller's transaction."""

from secrets import token_hex

from gallery.errors import (
    ErasedIdentityError,
    InvalidNameError,
    NameTakenError,
    UnknownIdentityError,
)
from gallery.identities import Target
from gallery.names import clean_name, is_storable, name_key
from gallery.store import Connection

PersonRow = tuple[int, str, str]
"""Number within the store, identity id, name."""

NOBODY = -1  # no person has this number

NOW = "unix_now()"  # Unix time in seconds, of the database


def find_person(connection: Connection, name_or_id: str) -> PersonRow:
    """Return the person of an id, else of a name.

    Raises:
        UnknownIdentityError: if there is neither.
    """
    row = (
        is_storable(name_or_id)
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


def person_of_name(connection: Connection, name: str) -> PersonRow | None:
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


def person_of_id(connection: Connection, identity_id: str) -> PersonRow | None:
    """Return the person of an id, or the one it was merged into."""
    row = connection.execute(
        "SELECT person, identity_id, name FROM identities WHERE identity_id = ?"
        " OR identity_id = (SELECT into_id FROM successors WHERE identity_id = ?)"
        " ORDER BY identity_id != ?",
        (identity_id,) * 3,
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), str(row[2]))


def other_holder(connection: Connection, name: str, person: int | None) -> str | None:
    """Return the name of a person, other than `person`, with the same comparison key as `name`."""
    row = connection.execute(
        "SELECT name FROM identities WHERE (name = ? OR name_key = ?) AND person != ?",
        (name, name_key(name), NOBODY if person is None else person),
    ).fetchone()
    return None if row is None else str(row[0])


def target_person(connection: Connection, target: Target) -> PersonRow | None:
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


def insert_person(connection: Connection, name: str) -> PersonRow:
    """Insert a person with a unique name, as of `clean_name`."""
    identity_id = token_hex(8)
    connection.execute(
        f"INSERT INTO identities (identity_id, name, name_key, created_at) VALUES (?, ?, ?, {NOW})",
        (identity_id, name, name_key(name)),
    )
    return number_of(connection, identity_id), identity_id, name


def number_of(connection: Connection, identity_id: str) -> int:
    """Return the number within the store of a person who exists."""
    row = connection.execute(
        "SELECT person FROM identities WHERE identity_id = ?", (identity_id,)
    ).fetchone()
    return int(row[0])


def add_crop(connection: Connection, person: int, source_sha256: str, png: bytes) -> None:
    """Store the crop of a photo that was just inserted."""
    connection.execute(
        "INSERT INTO crops (photo_id, png) SELECT photo_id, ? FROM photos"
        " WHERE person = ? AND source_sha256 = ?",
        (png, person, source_sha256),
    )


def move_photos(connection: Connection, which: str, value: int, into: int) -> int:
    """Move photos to another person, except those that the person has already.

    Args:
        connection: writing.
        which: condition on the photos, with one `?`.
        value: of the condition.
        into: number of the other person.

    Returns:
        How many were moved.
    """
    return connection.execute(
        f"UPDATE photos SET person = ? WHERE {which} AND source_sha256 NOT IN"
        " (SELECT source_sha256 FROM photos WHERE person = ?)",
        (into, value, into),
    ).rowcount


def note(connection: Connection, action: str, identity_id: str, n_photos: int) -> None:
    """Add an entry to the audit table, which holds no names."""
    connection.execute(
        f"INSERT INTO audit (at, action, identity_id, n_photos) VALUES ({NOW}, ?, ?, ?)",
        (action, identity_id, n_photos),
    )
