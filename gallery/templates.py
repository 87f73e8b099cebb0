"""What the index is built from: every template in the file, and what changed since."""

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import as_arrays
from gallery.store import Store

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

JOURNAL_ROWS = 200_000  # a process further behind than this reads everything again


def revision(store: Store) -> int:
    """Return the number of the last change."""
    with store.reading() as connection:
        return _revision(connection)


def all_templates(store: Store, batch: int = 8_192) -> Iterator[tuple[Ids, Ids, Floats]]:
    """Yield all photo ids, persons and embeddings, a batch at a time, as of one moment."""
    with store.reading() as connection:
        cursor = connection.execute("SELECT photo_id, person, embedding FROM photos")
        while rows := cursor.fetchmany(batch):
            yield as_arrays(rows)


def changes_since(store: Store, revision: int) -> tuple[int, list[int]] | None:
    """Return the last revision and the photos changed since; None where too much is lost."""
    with store.reading() as connection:
        connection.execute("BEGIN")
        try:
            last = _revision(connection)
            first = connection.execute("SELECT min(revision) FROM journal").fetchone()[0]
            if last > revision and (first is None or first > revision + 1):
                return None
            rows = connection.execute(
                "SELECT DISTINCT photo_id FROM journal WHERE revision > ? AND photo_id IS NOT NULL",
                (revision,),
            ).fetchall()
        finally:
            connection.execute("COMMIT")
    return last, [row[0] for row in rows]


def vectors(store: Store, photo_ids: Sequence[int]) -> dict[int, Floats]:
    """Return the (D,) float32 embedding of each photo that exists."""
    ids, _, embeddings = templates_of(store, photo_ids)
    return dict(zip(ids.tolist(), embeddings, strict=True))


def templates_of(store: Store, photo_ids: Sequence[int]) -> tuple[Ids, Ids, Floats]:
    """Return photo ids, persons and embeddings of those photos that exist."""
    rows: list[tuple[int, int, bytes]] = []
    with store.reading() as connection:
        for start in range(0, len(photo_ids), 500):
            some = photo_ids[start : start + 500]
            marks = ",".join("?" * len(some))
            rows += connection.execute(
                "SELECT photo_id, person, embedding FROM photos"
                f" WHERE photo_id IN ({marks}) ORDER BY photo_id",
                some,
            ).fetchall()
    return as_arrays(rows)


def trim_journal(store: Store) -> None:
    """Drop the oldest entries of the journal, once it is twice as long as it needs to be."""
    with store.reading() as connection:
        first, last = connection.execute(
            "SELECT min(revision), max(revision) FROM journal"
        ).fetchone()
    if first is not None and last - first > 2 * JOURNAL_ROWS:
        with store.writing() as connection:
            connection.execute("DELETE FROM journal WHERE revision <= ?", (last - JOURNAL_ROWS,))


def _revision(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").fetchone()
    return 0 if row is None else int(row[0])
