"""Reading of the templates in a store, and of the changes since a revision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import as_arrays
from gallery.identities import Identity
from gallery.store import WAIT_TO_READ_S, Connection, Store

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BATCH = 500
"""Rows read at a time: SQLite takes up to 999 or 32,766 values, by its version."""

JOURNAL_ROWS = 200_000  # a process further behind than this reads everything again


@dataclass(frozen=True, slots=True)
class Share:
    """The people whom one of several searches holds: those with this remainder of their number.

    Numbers count up, so that the shares are equal. All photos of a person are in one.

    Attributes:
        number: of the share, from 0.
        of: how many there are.
    """

    number: int
    of: int

    def holds(self, persons: Ids) -> NDArray[np.bool_]:
        """Return which of (M,) int64 people are in it, (M,)."""
        is_held: NDArray[np.bool_] = persons % self.of == self.number
        return is_held

    @property
    def condition(self) -> str:
        """The same in SQL, of a table with the column `person`."""
        return f"person % {self.of} = {self.number}" if self.of > 1 else "1 = 1"


ALL = Share(0, 1)
"""Everybody."""


def revision(store: Store, *, wait_s: float = WAIT_TO_READ_S) -> int:
    """Return the number of the last change; see `Store.reading` for `wait_s`."""
    with store.reading(wait_s=wait_s) as connection:
        return revision_in(connection)


def count(store: Store, share: Share = ALL) -> int:
    """Return the number of templates."""
    with store.reading() as connection:
        counted = f"SELECT count(*) FROM photos WHERE {share.condition}"
        return int(connection.execute(counted).fetchone()[0])


def count_people(store: Store) -> int:
    """Return the number of people, with or without photos."""
    with store.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM identities").fetchone()[0])


def all_templates(
    store: Store, batch: int = 8_192, share: Share = ALL
) -> Iterator[tuple[Ids, Ids, Floats]]:
    """Yield all photo ids, ascending, persons and embeddings in batches, from one snapshot."""
    last = 0
    with store.reading(snapshot=True) as connection:
        while rows := connection.execute(
            "SELECT photo_id, person, embedding FROM photos"
            f" WHERE photo_id > ? AND {share.condition} ORDER BY photo_id LIMIT ?",
            (last, batch),
        ).fetchall():
            yield as_arrays(rows)
            last = rows[-1][0]


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


def changes_since(store: Store, revision: int) -> Changes | None:
    """Return the changes since a revision; None if the journal does not reach back so far."""
    with store.reading(snapshot=True) as connection:
        return changes_in(connection, revision)


def changes_in(connection: Connection, revision: int) -> Changes | None:
    """As `changes_since`, over a connection that reads a snapshot."""
    last = revision_in(connection)
    if last < revision:  # an older copy of the store was restored
        return None
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
    return Changes(last, photo_ids, persons)


def all_names(store: Store, share: Share = ALL) -> dict[int, Identity]:
    """Return all identities by person."""
    with store.reading() as connection:
        return {
            person: Identity(identity_id, name)
            for person, identity_id, name in connection.execute(
                f"SELECT person, identity_id, name FROM identities WHERE {share.condition}"
            )
        }


def names_of(
    store: Store, persons: Sequence[int], *, wait_s: float = WAIT_TO_READ_S
) -> dict[int, Identity]:
    """Return the identities of the existing ones of some persons."""
    found = {}
    for some in batched(persons, BATCH):
        marks = ",".join("?" * len(some))
        with store.reading(wait_s=wait_s) as connection:
            rows = connection.execute(
                f"SELECT person, identity_id, name FROM identities WHERE person IN ({marks})", some
            ).fetchall()
        found.update({person: Identity(identity_id, name) for person, identity_id, name in rows})
    return found


def vectors(store: Store, photo_ids: Sequence[int], model_id: str) -> dict[int, Floats]:
    """Return the (D,) float32 embedding of each existing photo; none of another model.

    Raises:
        GalleryError: if the store cannot be read at once; a search never waits.
    """
    with store.reading(wait_s=0.0) as connection:
        held = connection.execute("SELECT value FROM facts WHERE key = 'model_id'").fetchone()
        rows = [] if held is None or held[0] != model_id else _rows_of(connection, photo_ids)
    ids, _, embeddings = as_arrays(rows)
    return dict(zip(ids.tolist(), embeddings, strict=True))


def templates_of(store: Store, photo_ids: Sequence[int]) -> tuple[Ids, Ids, Floats]:
    """Return photo ids, persons and embeddings of the existing ones of some photos."""
    with store.reading() as connection:
        rows = _rows_of(connection, photo_ids)
    return as_arrays(rows)


def _rows_of(connection: Connection, photo_ids: Sequence[int]) -> list[tuple[int, int, bytes]]:
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


def trim_journal(store: Store) -> None:
    """Drop the oldest entries of the journal, once it is twice as long as needed."""
    with store.reading() as connection:
        first, last = connection.execute(
            "SELECT min(revision), max(revision) FROM journal"
        ).fetchone()
    if first is not None and last - first > 2 * JOURNAL_ROWS:
        with store.writing() as connection:
            connection.execute("DELETE FROM journal WHERE revision <= ?", (last - JOURNAL_ROWS,))


def revision_in(connection: Connection) -> int:
    """As `revision`, over a connection."""
    row = connection.execute("SELECT max(revision) FROM journal").fetchone()
    return int(row[0] or 0)
