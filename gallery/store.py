"""The people and photos on disk, one at a time; `exchange` and `check` treat them as a whole."""

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import as_arrays, decode_crop, encode_crop
from gallery.connections import (
    WAIT_FOR_OTHERS_S,
    connect,
    connect_reader,
    is_locked,
    is_unlogged,
)
from gallery.errors import (
    ErasedIdentityError,
    GalleryError,
    InvalidNameError,
    NameTakenError,
    UnknownIdentityError,
    busy,
    other_model,
    replaced,
    sqlite_errors,
)
from gallery.identities import Identity, IdentitySummary, NewPhoto, Photo, Target
from gallery.names import clean_name, is_row_number, is_text, name_key, sort_key
from gallery.private_files import make_private_directory
from gallery.schema import FILE_NAME

Floats = NDArray[np.float32]
WAIT_TO_READ_S = 1.0
"""How long a read waits for a process that recovers the file from a crash."""

MAX_IDLE_READERS = 4

Choose = Callable[[Identity | None], Collection[int]]

NOW = "(julianday('now') - 2440587.5) * 86400.0"  # Unix time in seconds, by the database
_PHOTO_COLUMNS = (
    "photos.photo_id, identity_id, source_sha256, quality, model_id, photos.created_at, "
    "crops.photo_id IS NOT NULL"
)
_PHOTO_TABLES = "photos JOIN identities USING (person) LEFT JOIN crops USING (photo_id)"


class Access(StrEnum):
    """What a gallery's file is opened for."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


class Store:
    """One open gallery file.

    Any thread may call: one connection writes, under a lock; others read, each for one thread at
    a time, and are never held up by a writer, because WAL readers see the last commit. Every
    write is on the disk on return, or waits no longer than `wait_s` for other writers.

    Args:
        directory: where the file is.
        access: whether it is written, and made where it is missing. Opened to read, nothing in
            the directory is changed.
        wait_s: how long a write waits for others, of this process and of another, seconds each.

    Raises:
        GalleryFormatError: if the file is missing, foreign, damaged or newer.
        GalleryError: if the disk or the permissions do not allow it.
    """

    def __init__(
        self, directory: Path, *, access: Access, wait_s: float = WAIT_FOR_OTHERS_S
    ) -> None:
        self.path = directory / FILE_NAME
        self._wait_s = wait_s
        self._write_lock = threading.RLock()
        self._pool_lock = threading.Lock()
        self._idle: list[_Reader] = []
        self._is_closed = False
        self._writer: sqlite3.Connection | None = None
        if access is Access.CREATE:
            _make(directory)
        if access is not Access.READ:
            self._writer = connect(self.path, create=access is Access.CREATE, wait_s=wait_s)
        try:
            self._watcher = self._open_reader()
        except BaseException:
            if self._writer is not None:
                self._writer.close()
            raise
        self._file = self._watcher.file

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._write_lock, self._pool_lock:
            self._is_closed = True
            for reader in (*self._idle, self._watcher):
                reader.connection.close()
            self._idle = []
            if self._writer is not None:
                if self.is_replaced():
                    # Not done by SQLite then: the log left there would be taken for the new file's.
                    with suppress(GalleryError, sqlite3.ProgrammingError):
                        self.shed_log()
                self._writer.close()

    def data_version(self) -> int:
        """Return a number that differs once anybody has committed since; costs microseconds."""
        if self._watcher.unchanged is not None:
            return hash(_identity_of(self.path))
        with self._pool_lock, sqlite_errors(self.path):
            return int(self._watcher.connection.execute("PRAGMA data_version").fetchone()[0])

    def is_locked(self) -> bool:
        """Return whether another process is writing just now; returns at once.

        Raises:
            GalleryError: if the file cannot be written whoever else writes.
        """
        if self._writer is None or not self._write_lock.acquire(blocking=False):
            return False  # a write of this process, which waits or goes on by itself
        try:
            with sqlite_errors(self.path):
                return is_locked(self._writer)
        finally:
            self._write_lock.release()

    def is_replaced(self) -> bool:
        """Return whether the file that is open is no longer the one at its path."""
        return _identity_of(self.path)[:2] != self._file[:2]

    # -- facts about the whole

    def fact(self, key: str) -> str | None:
        """Return a stored fact such as "model_id", None where it was never set."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_facts(self, facts: dict[str, str]) -> None:
        """Store facts, replacing those of the same key."""
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def claim_model(self, model_id: str, embedding_size: int) -> None:
        """Make an empty file this model's; leave another's alone."""
        with self.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO facts VALUES (?, ?)",
                [("model_id", model_id), ("embedding_size", str(embedding_size))],
            )

    # -- people

    def find(self, name_or_id: str) -> Identity:
        """Return the identity of that id, else of that name.

        Raises:
            UnknownIdentityError: if there is neither.
        """
        with self.reading() as connection:
            return Identity(*_find(connection, name_or_id)[1:])

    def identity_of(self, person: int) -> Identity | None:
        """Return a person as of the last commit, None where they are gone."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT identity_id, name FROM identities WHERE person = ?", (person,)
            ).fetchone()
        return None if row is None else Identity(*row)

    def identities(self, identity_ids: Sequence[str] | None = None) -> list[IdentitySummary]:
        """Return everybody by name, or some by their ids, those that exist."""
        columns = (
            "SELECT identity_id, name, (SELECT count(*) FROM photos"
            " WHERE photos.person = identities.person), created_at, notes FROM identities"
        )
        with self.reading() as connection:
            if identity_ids is None:
                rows = connection.execute(columns).fetchall()
            else:
                rows = [
                    row
                    for identity_id in identity_ids
                    for row in connection.execute(
                        f"{columns} WHERE identity_id = ?", (identity_id,)
                    )
                ]
        rows.sort(key=lambda row: sort_key(row[1]))
        return [IdentitySummary(Identity(i, name), *rest) for i, name, *rest in rows]

    def photos(self, identity_id: str) -> list[Photo]:
        """Return a person's photos, oldest first."""
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT {_PHOTO_COLUMNS} FROM {_PHOTO_TABLES}"
                " WHERE identity_id = ? ORDER BY photos.photo_id",
                (identity_id,),
            ).fetchall()
        return [_photo(row) for row in rows]

    def embeddings(self, name_or_id: str) -> Floats:
        """Return a person's (K, D) float32 embeddings, oldest first; K is 0 for nobody."""
        with self.reading() as connection:
            try:
                person = _find(connection, name_or_id)[0]
            except UnknownIdentityError:
                return np.empty((0, 0), np.float32)
            rows = connection.execute(
                "SELECT photo_id, person, embedding FROM photos WHERE person = ? ORDER BY photo_id",
                (person,),
            ).fetchall()
        return as_arrays(rows)[2]

    def photos_of_source(self, source_sha256: str) -> list[tuple[Photo, str]]:
        """Return the photos that came from a file of that hash, with whose names they carry."""
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT {_PHOTO_COLUMNS}, name FROM {_PHOTO_TABLES} WHERE source_sha256 = ?",
                (source_sha256,),
            ).fetchall()
        return [(_photo(row), str(row[7])) for row in rows]

    def crop(self, photo_id: int, *, of: str | None = None) -> NDArray[np.uint8] | None:
        """Return a photo's (112, 112, 3) uint8 RGB crop, None where none is stored.

        Args:
            photo_id: of the photo.
            of: whose it must be, by name or id; None for anybody's.

        Raises:
            UnknownIdentityError: if there is no such person.
        """
        if not is_row_number(photo_id):
            return None
        with self.reading() as connection:
            person = None if of is None else _find(connection, of)[0]
            row = connection.execute(
                "SELECT png FROM crops JOIN photos USING (photo_id)"
                " WHERE photo_id = ?1 AND (?2 IS NULL OR person = ?2)",
                (photo_id, person),
            ).fetchone()
        return None if row is None else decode_crop(row[0])

    def add(
        self,
        target: Target,
        photos: Sequence[NewPhoto],
        model_id: str,
        *,
        choose: Choose | None = None,
    ) -> tuple[Identity | None, list[bool]]:
        """Add photos to a person, making the person if new, in one transaction.

        Args:
            target: whose they are.
            photos: unit embeddings; one whose source the person already has is left out.
            model_id: of the model that embedded them.
            choose: called in the transaction, while nobody else can write, with whom the target
                is by then, None for somebody new; returns the positions of the photos to add.
                None adds all.

        Returns:
            The person, None where there is none and none was made because no photo was chosen;
            and for each photo whether it was added.

        Raises:
            ErasedIdentityError: if the target's id was erased meanwhile.
            ModelMismatchError: if the file has become another model's meanwhile.
        """
        encoded = [None if p.crop is None else encode_crop(p.crop) for p in photos]
        with self.writing() as connection:
            held = connection.execute("SELECT value FROM facts WHERE key = 'model_id'").fetchone()
            if held is not None and held[0] != model_id:
                raise other_model(self.path, str(held[0]), model_id)
            found = _target(connection, target)
            chosen = set(
                range(len(photos))
                if choose is None
                else choose(None if found is None else Identity(*found[1:]))
            )
            if found is None:
                if choose is not None and not chosen:
                    return None, [False] * len(photos)
                found = _insert(connection, clean_name(target.name))
            person, identity_id, name = found
            added = [
                position in chosen and _add_photo(connection, person, photo, png, model_id)
                for position, (photo, png) in enumerate(zip(photos, encoded, strict=True))
            ]
            if any(added):
                _note(connection, "enroll", identity_id, sum(added))
        return Identity(identity_id, name), added

    def rename(self, name_or_id: str, name: str) -> Identity:
        """Give a person another name.

        Raises:
            NameTakenError: if somebody else has it.
            UnknownIdentityError: if there is no such person.
        """
        name = clean_name(name)
        with self.writing() as connection:
            person, identity_id, _ = _find(connection, name_or_id)
            holder = _other_holder(connection, name, person)
            if holder is not None:
                raise NameTakenError(
                    f"{holder} is another person already: merge the two or take another name"
                )
            connection.execute(
                "UPDATE identities SET name = ?, name_key = ? WHERE person = ?",
                (name, name_key(name), person),
            )
            _note(connection, "rename", identity_id, 0)
        return Identity(identity_id, name)

    def set_notes(self, name_or_id: str, notes: str) -> None:
        """Replace the free text about a person."""
        with self.writing() as connection:
            person, identity_id, _ = _find(connection, name_or_id)
            connection.execute("UPDATE identities SET notes = ? WHERE person = ?", (notes, person))
            _note(connection, "notes", identity_id, 0)

    def merge(self, name_or_id: str, into: str) -> Identity:
        """Move all photos of one person to another, named or by id, and end the first.

        A photo that both have is kept once.
        """
        with self.writing() as connection:
            person, identity_id, _ = _find(connection, name_or_id)
            into_person, into_id, into_name = _find(connection, into)
            if person == into_person:
                raise UnknownIdentityError("a person cannot be merged into themself: name two")
            moved = connection.execute(
                "UPDATE OR IGNORE photos SET person = ? WHERE person = ?", (into_person, person)
            ).rowcount
            connection.execute("DELETE FROM identities WHERE person = ?", (person,))
            connection.execute(
                "UPDATE successors SET into_id = ? WHERE into_id = ?", (into_id, identity_id)
            )
            connection.execute(
                "INSERT OR REPLACE INTO successors VALUES (?, ?)", (identity_id, into_id)
            )
            _note(connection, "merge", into_id, moved)
        return Identity(into_id, into_name)

    def split(self, name_or_id: str, photo_ids: Sequence[int], name: str) -> Identity:
        """Move some photos of one person to a new person.

        Raises:
            NameTakenError: if somebody already has the name.
            UnknownIdentityError: if a photo is not this person's.
        """
        name = clean_name(name)
        with self.writing() as connection:
            person = _find(connection, name_or_id)[0]
            holder = _other_holder(connection, name, None)
            if holder is not None:
                raise NameTakenError(f"{holder} is another person already: take another name")
            new, new_id, _ = _insert(connection, name)
            _move(connection, person, photo_ids, new)
            _note(connection, "split", new_id, len(photo_ids))
        return Identity(new_id, name)

    def move(self, name_or_id: str, photo_ids: Sequence[int], into: str) -> Identity:
        """Move some photos of one person to another who is known already, named or by id.

        A photo that both have is kept once.

        Raises:
            UnknownIdentityError: if a photo is not this person's, or somebody is unknown.
        """
        with self.writing() as connection:
            person = _find(connection, name_or_id)[0]
            into_person, into_id, into_name = _find(connection, into)
            _move(connection, person, photo_ids, into_person)
            _note(connection, "move", into_id, len(photo_ids))
        return Identity(into_id, into_name)

    def present(self, identity_ids: Sequence[str]) -> dict[str, Identity]:
        """Return who those ids are now, after renames and merges; erased ones are left out."""
        present = {}
        with self.reading() as connection:
            for identity_id in filter(is_text, identity_ids):
                found = _by_id(connection, identity_id)
                if found is not None:
                    present[identity_id] = Identity(*found[1:])
        return present

    def named(self, name: str) -> Identity | None:
        """Return the person of a name, None where there is none."""
        with self.reading() as connection:
            found = _by_name(connection, name)
        return None if found is None else Identity(*found[1:])

    def removed(self, identity_ids: Sequence[str]) -> set[str]:
        """Return which of those ids were erased here and have not come back."""
        with self.reading() as connection:
            return {
                identity_id
                for identity_id in identity_ids
                if connection.execute(
                    "SELECT 1 FROM removed WHERE identity_id = ?1 AND NOT EXISTS"
                    " (SELECT 1 FROM identities WHERE identity_id = ?1)",
                    (identity_id,),
                ).fetchone()
            }

    def remove(self, name_or_id: str) -> None:
        """Erase a person: name, notes, embeddings, crops, also from the file's free pages."""
        with self.writing() as connection:
            person, identity_id, _ = _find(connection, name_or_id)
            n_photos = connection.execute(
                "SELECT count(*) FROM photos WHERE person = ?", (person,)
            ).fetchone()[0]
            connection.execute("DELETE FROM identities WHERE person = ?", (person,))
            # With whoever was merged into them, so that a log that has not followed yet erases all.
            connection.execute(
                f"INSERT OR REPLACE INTO removed SELECT ?1, {NOW} UNION ALL"
                f" SELECT identity_id, {NOW} FROM successors WHERE into_id = ?1",
                (identity_id,),
            )
            connection.execute("DELETE FROM successors WHERE into_id = ?", (identity_id,))
            _note(connection, "remove", identity_id, n_photos)
        self.shed_log()

    def remove_photo(self, photo_id: int, *, of: str | None = None) -> None:
        """Erase one photo: embedding and crop.

        Args:
            photo_id: of the photo.
            of: whose it must be, by name or id; None for anybody's.

        Raises:
            UnknownIdentityError: if there is no such photo.
        """
        with self.writing() as connection:
            row = connection.execute(
                "SELECT identity_id, person FROM photos JOIN identities USING (person)"
                " WHERE photo_id = ?",
                (photo_id if is_row_number(photo_id) else None,),
            ).fetchone()
            if of is not None and (row is None or row[1] != _find(connection, of)[0]):
                raise UnknownIdentityError(f"there is no photo {photo_id} of that person")
            if row is None:
                raise UnknownIdentityError(f"there is no photo {photo_id}")
            connection.execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))
            _note(connection, "remove_photo", row[0], 1)
        self.shed_log()

    def shed_log(self) -> bool:
        """Fold the write-ahead log into the file and empty it: erased rows are in it too.

        Returns:
            False where another process is reading just now; the next call or the last close
            of the file does it then.
        """
        writer = self._writer
        if writer is None:
            return False
        with self._write_lock, sqlite_errors(self.path):
            is_busy = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not is_busy

    def n_people(self) -> int:
        """Return how many people there are, with or without photos."""
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM identities").fetchone()[0])

    def n_photos(self) -> int:
        """Return how many photos there are of everybody."""
        with self.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM photos").fetchone()[0])

    # -- connections

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold one transaction: all of it is on the disk at the end, or none of it.

        Raises:
            GalleryBusyError: if others have been writing for too long.
            GalleryError: if the file is opened to read, or is another one by now.
        """
        writer = self._writer
        if writer is None:
            raise GalleryError(f"the gallery {self.path.parent} is open for reading alone")
        if not self._write_lock.acquire(timeout=self._wait_s):
            raise busy(self.path)
        try:
            with sqlite_errors(self.path):
                if self.is_replaced():
                    raise replaced(self.path)
                writer.execute("BEGIN IMMEDIATE")
                try:
                    yield writer
                    writer.execute("COMMIT")
                except BaseException:
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")
                    raise
        finally:
            self._write_lock.release()

    @contextmanager
    def reading(self, *, wait_s: float = WAIT_TO_READ_S) -> Iterator[sqlite3.Connection]:
        """Hold a connection of one's own that sees the last commit of anybody.

        Args:
            wait_s: how long to wait for a process that recovers the file or holds all of it.

        Raises:
            GalleryError: if the file is another one by now, or cannot be read.
        """
        with sqlite_errors(self.path):
            if self._writer is not None and self.is_replaced():
                raise replaced(self.path)
            reader = self._take_reader()
            try:
                reader.wait(wait_s)
                yield reader.connection
            except GalleryError:
                self._give_back(reader)
                raise
            except BaseException:
                reader.connection.close()
                raise
            self._give_back(reader)

    def _take_reader(self) -> "_Reader":
        with self._pool_lock:
            if self._is_closed:
                raise GalleryError(f"the gallery {self.path.parent} is closed")
            reader = self._idle.pop() if self._idle else None
        if reader is not None and reader.is_current(self.path):
            return reader
        if reader is not None:
            reader.connection.close()
        return self._open_reader()

    def _give_back(self, reader: "_Reader") -> None:
        with self._pool_lock:
            if not self._is_closed and len(self._idle) < MAX_IDLE_READERS:
                self._idle.append(reader)
                return
        reader.connection.close()

    def _open_reader(self) -> "_Reader":
        file = _identity_of(self.path)
        is_unchanging = self._writer is None and is_unlogged(self.path)
        connection = connect_reader(self.path, is_unchanging=is_unchanging, wait_s=WAIT_TO_READ_S)
        return _Reader(connection, file if is_unchanging else None, file)


@dataclass(slots=True, eq=False)
class _Reader:
    """A connection that reads.

    Attributes:
        connection: to the file, or to a copy of it in memory.
        unchanged: what the file was when it was taken to be unchanging; None where it was not.
        file: device, inode, size and time of change in ns when it was opened.
    """

    connection: sqlite3.Connection
    unchanged: tuple[int, ...] | None
    file: tuple[int, ...]
    wait_s: float = WAIT_TO_READ_S

    def wait(self, wait_s: float) -> None:
        """Set how long a statement waits."""
        if wait_s != self.wait_s:
            self.connection.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
            self.wait_s = wait_s

    def is_current(self, path: Path) -> bool:
        """Return whether the connection sees what is in the file by now."""
        if self.unchanged is None:
            return True
        return is_unlogged(path) and self.unchanged == _identity_of(path)


def _identity_of(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _make(directory: Path) -> None:
    try:
        make_private_directory(directory)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryError(
            f"cannot make the gallery {directory}: {why}; name another directory"
        ) from error


def _find(connection: sqlite3.Connection, name_or_id: str) -> tuple[int, str, str]:
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
        raise UnknownIdentityError(f"nobody here is called so: {error}") from error
    found = row or _by_name(connection, name)
    if found is None:
        raise UnknownIdentityError(f"nobody here is called {name}: see `facewire gallery list`")
    return int(found[0]), str(found[1]), str(found[2])


def _by_name(connection: sqlite3.Connection, name: str) -> tuple[int, str, str] | None:
    """Return the person of exactly that name, else of one that differs in case or width alone.

    Raises:
        InvalidNameError: if it is no name.
        NameTakenError: if several differ from it in no more than that.
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
        raise NameTakenError(f"{name} may be any of {names}: write the name as it is there")
    return (int(rows[0][0]), str(rows[0][1]), str(rows[0][2])) if rows else None


def _other_holder(connection: sqlite3.Connection, name: str, person: int | None) -> str | None:
    """Return the name of a person, other than `person`, that is the same to people as `name`."""
    row = connection.execute(
        "SELECT name FROM identities WHERE (name = ? OR name_key = ?) AND person IS NOT ?",
        (name, name_key(name), person),
    ).fetchone()
    return None if row is None else str(row[0])


def _by_id(connection: sqlite3.Connection, identity_id: str) -> tuple[int, str, str] | None:
    """Return the person of an id, or of the one that it was merged into."""
    row = connection.execute(
        "SELECT person, identity_id, name FROM identities WHERE identity_id = ?"
        " OR identity_id = (SELECT into_id FROM successors WHERE identity_id = ?)"
        " ORDER BY identity_id != ?",
        (identity_id,) * 3,
    ).fetchone()
    return None if row is None else (int(row[0]), str(row[1]), str(row[2]))


def _target(connection: sqlite3.Connection, target: Target) -> tuple[int, str, str] | None:
    if target.identity_id is None:
        return _by_name(connection, target.name)
    found = _by_id(connection, target.identity_id)
    if found is None:
        raise ErasedIdentityError(f"{target.name} was erased while photos were being added")
    return found


def _insert(connection: sqlite3.Connection, name: str) -> tuple[int, str, str]:
    identity_id = token_hex(8)
    cursor = connection.execute(
        f"INSERT INTO identities (identity_id, name, name_key, created_at) VALUES (?, ?, ?, {NOW})",
        (identity_id, name, name_key(name)),
    )
    return int(cursor.lastrowid or 0), identity_id, name


def _move(connection: sqlite3.Connection, person: int, photo_ids: Sequence[int], into: int) -> None:
    if person == into:
        raise UnknownIdentityError("photos cannot be moved to the same person: name another")
    for photo_id in photo_ids:
        is_own = (
            is_row_number(photo_id)
            and connection.execute(
                "SELECT 1 FROM photos WHERE photo_id = ? AND person = ?", (photo_id, person)
            ).fetchone()
        )
        if not is_own:
            raise UnknownIdentityError(f"photo {photo_id} is not of this person")
        moved = connection.execute(
            "UPDATE OR IGNORE photos SET person = ? WHERE photo_id = ?", (into, photo_id)
        ).rowcount
        if not moved:  # the other has it already
            connection.execute("DELETE FROM photos WHERE photo_id = ?", (photo_id,))


def _photo(row: Sequence[Any]) -> Photo:
    photo_id, identity_id, source_sha256, quality, model_id, created_at, has_crop = row[:7]
    return Photo(
        photo_id, identity_id, source_sha256, quality, model_id, created_at, bool(has_crop)
    )


def _add_photo(
    connection: sqlite3.Connection, person: int, photo: NewPhoto, png: bytes | None, model_id: str
) -> bool:
    cursor = connection.execute(
        "INSERT INTO photos (person, source_sha256, quality, model_id, created_at, embedding)"
        f" VALUES (?, ?, ?, ?, {NOW}, ?) ON CONFLICT (person, source_sha256) DO NOTHING",
        (
            person,
            photo.source_sha256,
            photo.quality,
            model_id,
            photo.embedding.astype("<f4").tobytes(),
        ),
    )
    if cursor.rowcount and png is not None:
        connection.execute("INSERT INTO crops VALUES (?, ?)", (cursor.lastrowid, png))
    return bool(cursor.rowcount)


def _note(connection: sqlite3.Connection, action: str, identity_id: str, n_photos: int) -> None:
    connection.execute(
        f"INSERT INTO audit (at, action, identity_id, n_photos) VALUES ({NOW}, ?, ?, ?)",
        (action, identity_id, n_photos),
    )
