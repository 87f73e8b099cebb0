"""Check and repair of a gallery file."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from secrets import token_hex

import numpy as np

from gallery.address import Place, is_address
from gallery.blobs import decode_crop
from gallery.connections import connect
from gallery.errors import GalleryDamagedError, GalleryError, GalleryFormatError
from gallery.opening import open_store
from gallery.person_rows import NOW
from gallery.private_files import keep_private
from gallery.replacing import finish
from gallery.schema import FILE_NAME
from gallery.store import Access, Connection

logger = logging.getLogger(__name__)

MAX_NAMED = 20  # problems of one kind that are listed one by one
UNIT_TOLERANCE = 1e-3  # of an embedding's length
SAME_NAMES = (
    "SELECT name_key, name FROM identities WHERE name_key IN"
    " (SELECT name_key FROM identities GROUP BY name_key HAVING count(*) > 1)"
    " ORDER BY name_key, person"
)
_TABLES = ("facts", "identities", "photos", "crops", "audit", "successors", "removed")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Result of a check.

    Attributes:
        problems: one line each; empty for an intact gallery.
        repaired: the repairs, one line each; empty unless repair was requested.
        notes: not damage, but needs a decision, one line each.
        n_people: readable people, after the repair.
        n_photos: readable photos, after the repair.
    """

    problems: tuple[str, ...]
    repaired: tuple[str, ...]
    notes: tuple[str, ...]
    n_people: int
    n_photos: int


def check(place: Place, *, repair: bool = False) -> CheckReport:
    """Verify a gallery, and repair it if requested.

    A damaged file is kept beside the repaired one, under its name with `.damaged`. A database
    checks its files itself: only what is in the rows is verified there.

    Args:
        place: of the gallery; no service should have it open during a repair.
        repair: whether to drop unusable rows, and to copy the readable rows of a damaged file
            into a new one.

    Raises:
        GalleryFormatError: if there is no gallery, or none of it can be recovered.
        GalleryError: if the disk or the permissions do not allow it.
    """
    if is_address(place):
        return _check_database(place, repair=repair)
    directory = Path(place)
    finish(directory)
    path = directory / FILE_NAME
    if not directory.is_dir() or FILE_NAME not in {file.name for file in directory.iterdir()}:
        raise GalleryFormatError(f"there is no gallery in {directory}: nothing to check")
    damage = _damage(path)
    repaired: list[str] = []
    if damage:
        if not repair:
            return CheckReport(tuple(damage), (), (), 0, 0)
        repaired.append(_salvage(path))
    connection = connect(path, create=False)
    try:
        report = _check_rows(connection, repair=repair)
    finally:
        connection.close()
    return replace(
        report, problems=(*damage, *report.problems), repaired=(*repaired, *report.repaired)
    )


def _check_database(place: Place, *, repair: bool) -> CheckReport:
    access = Access.WRITE if repair else Access.READ
    with (
        closing(open_store(place, access=access)) as store,
        store.writing() if repair else store.reading(snapshot=True) as connection,
    ):
        return _check_rows(connection, repair=repair)


def _check_rows(connection: Connection, *, repair: bool) -> CheckReport:
    problems = tuple(text for text, _ in _faults(connection))
    repaired = tuple(_repair(connection)) if repair else ()
    rows = connection.execute(SAME_NAMES).fetchall()
    notes = tuple(
        f"{' and '.join(name for _, name in same)} are the same name except for case, width or "
        "invisible characters: merge them, or rename all but one"
        for _, same in groupby(rows, key=lambda row: row[0])
    )
    people, photos = (
        int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for table in ("identities", "photos")
    )
    return CheckReport(problems, repaired, notes, people, photos)


def _damage(path: Path) -> list[str]:
    """Return the problems that SQLite finds, even if the file cannot be opened."""
    try:
        connection = connect(path, create=False)
    except GalleryDamagedError as error:  # a foreign or newer file must not be repaired
        return [str(error).split(":")[0]]
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MAX_NAMED})").fetchall()
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.DatabaseError as error:
        return [f"{path} is damaged ({error})"]
    finally:
        connection.close()
    found = [" ".join(str(row[0]).split()) for row in rows if row[0] != "ok"]
    return found + [
        f"row {row[1]} of {row[0]} refers to a missing row" for row in orphans[:MAX_NAMED]
    ]


def _faults(connection: Connection) -> Iterator[tuple[str, int]]:
    """Yield each unusable photo or crop: a line about it and the photo's id."""
    facts = dict(connection.execute("SELECT key, value FROM facts").fetchall())
    size = int(facts.get("embedding_size", 0))
    for photo_id, model_id, blob in connection.execute(
        "SELECT photo_id, model_id, embedding FROM photos"
    ):
        if model_id != facts.get("model_id"):
            yield f"photo {photo_id} is of model {model_id}", photo_id
        elif len(blob) != 4 * size:
            yield f"photo {photo_id} has {len(blob)} bytes instead of {4 * size}", photo_id
        else:
            vector = np.frombuffer(blob, "<f4")
            length = float(np.linalg.norm(vector)) if np.isfinite(vector).all() else np.nan
            if not abs(length - 1.0) <= UNIT_TOLERANCE:
                yield f"photo {photo_id} has an embedding of length {length:.3f}", photo_id
    for photo_id, png in connection.execute("SELECT photo_id, png FROM crops"):
        try:
            decode_crop(png)
        except GalleryDamagedError:
            yield f"the crop of photo {photo_id} is damaged", -photo_id


def _repair(connection: Connection) -> list[str]:
    done = []
    for text, photo_id in list(_faults(connection)):
        # A photo with a damaged crop is still usable; it is marked by the sign of its id.
        table = "photos" if photo_id > 0 else "crops"
        connection.execute(f"DELETE FROM {table} WHERE photo_id = ?", (abs(photo_id),))
        done.append(f"{text}: dropped")
    return done


def _salvage(path: Path) -> str:
    """Copy every readable row of a damaged file into a new file that replaces it."""
    part = path.with_name(path.name + ".repaired")
    part.unlink(missing_ok=True)
    source = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None)
    target = connect(part, create=True)
    try:
        target.execute("PRAGMA foreign_keys = OFF")  # a photo may precede its person
        target.execute("BEGIN")
        new_id = target.execute("SELECT * FROM facts WHERE key = 'gallery_id'").fetchone()
        target.execute("DELETE FROM facts")  # the file keeps its id if that is readable
        copied = {table: _copy(source, target, table) for table in _TABLES}
        copied["identities"] += _recover_people(source, target)
        target.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", new_id)
        target.execute(  # an older file has no such records
            "INSERT OR IGNORE INTO removed"
            " SELECT identity_id, max(at) FROM audit WHERE action = 'remove' GROUP BY identity_id"
        )
        target.execute("UPDATE identities SET name_key = name_key(name)")
        target.execute("DELETE FROM crops WHERE photo_id NOT IN (SELECT photo_id FROM photos)")
        target.execute("COMMIT")
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        source.close()
        target.close()
    if not copied["facts"]:
        part.unlink(missing_ok=True)
        raise GalleryFormatError(
            f"nothing of {path} can be read: restore it from a backup, or move it away"
        )
    kept = path.with_name(path.name + ".damaged")
    if kept.exists():
        raise GalleryError(f"{kept} exists already: move it away and try again")
    path.rename(kept)
    keep_private(kept)
    for suffix in ("-wal", "-shm"):  # they belong to the damaged file
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(kept.with_name(kept.name + suffix))
    os.sync()
    part.rename(path)
    return (
        f"saved {copied['identities']} people and {copied['photos']} photos; "
        f"the damaged file is kept as {kept}"
    )


def _recover_people(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    """Restore the unreadable person of photos, from the indexes if possible."""
    missing = target.execute(
        "SELECT DISTINCT person FROM photos WHERE person NOT IN (SELECT person FROM identities)"
    ).fetchall()
    held: dict[str, dict[int, str]] = {"identity_id": {}, "name": {}}
    for column, values in held.items():
        # Sorted by a unique column, both columns are read only from its index.
        with suppress(sqlite3.DatabaseError):
            for person, value in source.execute(
                f"SELECT person, {column} FROM identities ORDER BY {column}"
            ):
                values[person] = value
    for (person,) in missing:
        target.execute(
            "INSERT INTO identities (person, identity_id, name, created_at)"
            f" VALUES (?, ?, ?, {NOW})",
            (
                person,
                held["identity_id"].get(person, token_hex(8)),
                held["name"].get(person, f"recovered person {person}"),
            ),
        )
    return len(missing)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    """Copy the readable rows of a table, skipping damaged ones."""
    # An older file has no name keys: they are derived from the names.
    columns = [
        row[1] for row in target.execute(f"PRAGMA table_info({table})") if row[1] != "name_key"
    ]
    key = columns[0]
    insert = _insert(table, columns)
    select = f"SELECT {','.join(columns)} FROM {table} NOT INDEXED"
    copied = 0
    for order in ("ASC", "DESC"):  # from both ends toward the damage
        try:
            for row in source.execute(f"{select} ORDER BY {key} {order}"):
                copied += target.execute(insert, row).rowcount
            return copied
        except sqlite3.DatabaseError as error:
            logger.warning("a part of %s cannot be read: %s", table, error)
    return copied + _copy_by_key(source, target, table, columns)


def _copy_by_key(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, columns: list[str]
) -> int:
    """Copy each row by its number: rows on intact pages are found behind a damaged page."""
    if table in {"facts", "successors", "removed"}:  # their keys are not numbers
        return 0
    try:
        last = source.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    except sqlite3.DatabaseError:
        last = None
    insert = _insert(table, columns)
    copied = 0
    misses = 0
    number = 0
    while number < (last[0] if last else 10**7) and misses < 10_000:
        number += 1
        try:
            row = source.execute(
                f"SELECT {','.join(columns)} FROM {table} WHERE rowid = ?", (number,)
            ).fetchone()
        except sqlite3.DatabaseError:
            row = None
        misses = 0 if row else misses + 1
        if row:
            copied += target.execute(insert, row).rowcount
    return copied


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ",".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({','.join(columns)}) VALUES ({marks})"
