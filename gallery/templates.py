"""Reading of the templates in the file, and of the changes since a revision."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import as_arrays
from gallery.file import GalleryFile
from gallery.identities import Identity

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BATCH = 500
"""Rows read at a time: SQLite takes up to 999 or 32,766 values, by its version."""

JOURNAL_ROWS = 200_000  # a process further behind than this reads everything again


def revision(file: GalleryFile) -> int:
    """Return the number of the last change."""
    with file.reading() as connection:
        return _revision(connection)


def count(file: GalleryFile) -> int:
    """Return the number of templates."""
    with file.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM photos").fetchone()[0])


def all_templates(file: GalleryFile, batch: int = 8_192) -> Iterator[tuple[Ids, Ids, Floats]]:
    """Yield all photo ids, persons and embeddings in batches, from one snapshot."""
    with file.reading() as connection:
        cursor = connection.execute("SELECT photo_id, person, embedding FROM photos")
        while rows := cursor.fetchmany(batch):
            yield as_arrays(rows)


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes since a revision.

    Attributes:
        revision: the last one.
        photo_ids: of added, moved or erased photos.
        persons: of added, renamed or erased people.
    """

    revision: int
    photo_ids: list[int]
    persons: list[int]


def changes_since(file: GalleryFile, revision: int) -> Changes | None:
    """Return the changes since a revision; None if the journal does not reach back so far."""
    with file.reading() as connection:
        connection.execute("BEGIN")
        try:
            last = _revision(connection)
            first = connection.execute("SELECT min(revision) FROM journal").fetchone()[0]
            if last > revision and (first is None or first > revision + 1):
                return None
            photo_ids, persons = (
                [
                    row[0]
                    for row in connection.execute(
                        f"SELECT DISTINCT {column} FROM journal"
                        f" WHERE revision > ? AND {column} IS NOT NULL",
                        (revision,),
                    )
                ]
                for column in ("photo_id", "person")
            )
        finally:
            connection.execute("COMMIT")
    return Changes(last, photo_ids, persons)


def all_names(file: GalleryFile) -> dict[int, Identity]:
    """Return all identities by person."""
    with file.reading() as connection:
        return {
            person: Identity(identity_id, name)
            for person, identity_id, name in connection.execute(
                "SELECT person, identity_id, name FROM identities"
            )
        }


def names_of(file: GalleryFile, persons: Sequence[int]) -> dict[int, Identity]:
    """Return the identities of the existing ones of some persons."""
    found = {}
    for some in batched(persons, BATCH):
        marks = ",".join("?" * len(some))
        with file.reading() as connection:
            rows = connection.execute(
                f"SELECT person, identity_id, name FROM identities WHERE person IN ({marks})", some
            ).fetchall()
        found.update({person: Identity(identity_id, name) for person, identity_id, name in rows})
    return found


def vectors(file: GalleryFile, photo_ids: Sequence[int], model_id: str) -> dict[int, Floats]:
    """Return the (D,) float32 embedding of each existing photo; none of another model.

    Raises:
        GalleryError: if the file cannot be read at once; a search never waits.
    """
    with file.reading(wait_s=0.0) as connection:
        held = connection.execute("SELECT value FROM facts WHERE key = 'model_id'").fetchone()
        rows = [] if held is None or held[0] != model_id else _rows_of(connection, photo_ids)
    ids, _, embeddings = as_arrays(rows)
    return dict(zip(ids.tolist(), embeddings, strict=True))


def templates_of(file: GalleryFile, photo_ids: Sequence[int]) -> tuple[Ids, Ids, Floats]:
    """Return photo ids, persons and embeddings of the existing ones of some photos."""
    with file.reading() as connection:
        rows = _rows_of(connection, photo_ids)
    return as_arrays(rows)


def _rows_of(
    connection: sqlite3.Connection, photo_ids: Sequence[int]
) -> list[tuple[int, int, bytes]]:
    rows: list[tuple[int, int, bytes]] = []
    for some in batched(photo_ids, BATCH):
        marks = ",".join("?" * len(some))
        rows += connection.execute(
            "SELECT photo_id, person, embedding FROM photos"
            f" WHERE photo_id IN ({marks}) ORDER BY photo_id",
            some,
        ).fetchall()
    return rows


def batched(ids: Sequence[int], n: int) -> Iterator[Sequence[int]]:
    """Yield a sequence in parts of n."""
    for start in range(0, len(ids), n):
        yield ids[start : start + n]


def trim_journal(file: GalleryFile) -> None:
    """Drop the oldest entries of the journal, once it is twice as long as needed."""
    with file.reading() as connection:
        first, last = connection.execute(
            "SELECT min(revision), max(revision) FROM journal"
        ).fetchone()
    if first is not None and last - first > 2 * JOURNAL_ROWS:
        with file.writing() as connection:
            connection.execute("DELETE FROM journal WHERE revision <= ?", (last - JOURNAL_ROWS,))


def _revision(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").fetchone()
    return 0 if row is None else int(row[0])
