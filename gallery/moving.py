"""Copying of a whole gallery from one store to another, checked row by row."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gallery.address import Place, is_address
from gallery.blobs import Embedding
from gallery.errors import GalleryDamagedError, GalleryError, GalleryFormatError
from gallery.facts import Facts
from gallery.file import GalleryFile
from gallery.opening import open_store
from gallery.private_files import SIDE_FILES
from gallery.schema import FILE_NAME
from gallery.store import Access, Connection, Store

BATCH = 500  # rows in memory at a time, 10 MB of crops

TABLES: dict[str, tuple[str, ...]] = {
    "facts": ("key", "value"),
    "identities": ("person", "identity_id", "name", "notes", "created_at", "name_key"),
    "photos": (
        *("photo_id", "person", "source_sha256", "quality", "model_id", "created_at"),
        "embedding",
    ),
    "crops": ("photo_id", "png"),
    "audit": ("entry", "at", "action", "identity_id", "n_photos"),
    "successors": ("identity_id", "into_id"),
    "removed": ("identity_id", "at"),
    "journal": ("revision", "person", "photo_id"),
}
"""Columns of each table, its key first; a table after those that it refers to."""

Progress = Callable[[int, int], None]
"""Takes the number of rows copied so far, and of all."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Result of a copy.

    Attributes:
        rows: number of rows by table.
        sha256: digest of all rows by table, the same in both stores.
    """

    rows: dict[str, int]
    sha256: dict[str, str]


def copy_gallery(source: Place, target: Place, *, progress: Progress | None = None) -> Moved:
    """Copy a gallery with all ids, revisions and its own id to an empty place.

    The copy is written, read back and compared in one transaction: it is complete at the end, or
    the target stays empty. The source does not change.

    Args:
        source: place of the gallery; what others write meanwhile is not copied.
        target: a directory without a gallery, or the address of a database without one.
        progress: called after each batch.

    Raises:
        GalleryFormatError: if there is no gallery at the source, or it is empty.
        GalleryError: if the target holds a gallery, or a store cannot be used.
    """
    with ExitStack() as stack:
        old = open_store(source, access=Access.READ)
        stack.callback(old.close)
        if Facts(old).get("model_id") is None:
            raise GalleryFormatError(f"the gallery {old.place} is empty: there is nothing to move")
        on_failure = stack.enter_context(ExitStack())
        if not is_address(target):
            on_failure.callback(_erase_new, Path(target))
        new = open_store(target, access=Access.CREATE)
        on_failure.callback(new.close)
        stack.callback(new.close)
        with old.reading(snapshot=True) as reading, new.writing() as writing:
            _refuse_full(writing, new)
            moved = _copy(reading, writing, old, new, progress or _nothing)
        on_failure.pop_all()
    return moved


def _erase_new(directory: Path) -> None:
    """Erase the file of a gallery that holds nobody."""
    with suppress(GalleryError, OSError):
        with closing(GalleryFile(directory, access=Access.READ)) as file:
            if Facts(file).get("model_id") is not None:
                return
        for suffix in ("", *SIDE_FILES):
            (directory / (FILE_NAME + suffix)).unlink(missing_ok=True)


def _nothing(done: int, total: int) -> None:
    pass


def _refuse_full(connection: Connection, store: Store) -> None:
    for table in ("identities", "photos", "audit", "removed"):
        if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
            raise GalleryError(
                f"{store.place} holds a gallery already: name an empty directory or database, "
                "nothing was changed"
            )


def _copy(
    reading: Connection, writing: Connection, old: Store, new: Store, progress: Progress
) -> Moved:
    total = sum(
        int(reading.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in TABLES
    )
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    done = 0
    for table in TABLES:
        insert = _insert(table)
        # The new store's own id, and what its triggers noted.
        writing.execute(f"DELETE FROM {table}")
        digest, n = hashlib.sha256(), 0
        for batch in _batches(reading, table):
            for row in batch:
                _add(digest, row)
            writing.executemany(insert, batch)
            n += len(batch)
            done += len(batch)
            progress(done, total)
        rows[table], digests[table] = n, digest.hexdigest()
    new.set_last_numbers(writing, old.last_numbers(reading))
    for table in TABLES:
        digest, n = hashlib.sha256(), 0
        for batch in _batches(writing, table):
            for row in batch:
                _add(digest, row)
            n += len(batch)
        if (n, digest.hexdigest()) != (rows[table], digests[table]):
            raise GalleryDamagedError(
                f"the table {table} came out differently in {new.place}: nothing was changed there"
            )
    return Moved(rows, digests)


def _insert(table: str) -> str:
    columns = TABLES[table]
    return f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"


def _batches(connection: Connection, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield all rows of a table by key, a few at a time."""
    columns = TABLES[table]
    select = f"SELECT {','.join(columns)} FROM {table}"
    order = f" ORDER BY {columns[0]} LIMIT {BATCH}"
    batch = connection.execute(select + order).fetchall()
    while batch:
        if table == "photos":
            batch = [(*row[:-1], Embedding(row[-1])) for row in batch]
        if table == "facts":  # shards belong to a database, not to its people
            yield [row for row in batch if not row[0].startswith("shard")]
        else:
            yield batch
        batch = connection.execute(
            f"{select} WHERE {columns[0]} > ?{order}", (batch[-1][0],)
        ).fetchall()


def _add(digest: "hashlib._Hash", row: tuple[Any, ...]) -> None:
    """Add a row to a digest, each value with its type and length."""
    for value in row:
        match value:
            case None:
                digest.update(b"n")
            case float():
                digest.update(b"f" + struct.pack("<d", value))
            case int():
                digest.update(b"i" + struct.pack("<q", value))
            case str() | bytes():
                data = value.encode() if isinstance(value, str) else value
                digest.update(b"s" + struct.pack("<q", len(data)) + data)
            case _:
                raise TypeError(f"a column holds {type(value).__name__}")
