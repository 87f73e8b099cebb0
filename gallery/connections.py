"""Connections to the gallery's file: to write, and to read without changing anything."""

import errno
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gallery.errors import GalleryError, GalleryFormatError, sqlite_errors
from gallery.names import name_key
from gallery.private_files import keep_private, make_private_file
from gallery.schema import is_old, migrate, pragma, refuse_foreign

SQLITE_MAGIC = b"SQLite format 3\0"
WAIT_FOR_OTHERS_S = 10.0  # how long a command's write waits: another's batch takes far less
_NOT_RECOVERABLE_HERE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def connect(path: Path, *, create: bool, wait_s: float = WAIT_FOR_OTHERS_S) -> sqlite3.Connection:
    """Open the database at `path` for writing, bringing an older version up to date.

    Nothing is written before the file has proved to be ours or to be new.

    Args:
        path: the file.
        create: whether a missing file is made.
        wait_s: how long a write waits for another process's write, seconds.

    Raises:
        GalleryFormatError: if it is missing and not to be made, foreign, damaged or newer.
        GalleryBusyError: if an older version cannot be brought up to date now.
        GalleryError: if the disk or the permissions do not allow it.
    """
    if not _is_there(path) and not create:
        raise _missing(path)
    if create:
        make_private_file(path)
    with sqlite_errors(path):
        connection = sqlite3.connect(
            path, timeout=wait_s, isolation_level=None, check_same_thread=False
        )
    try:
        with sqlite_errors(path):
            connection.create_function("name_key", 1, name_key, deterministic=True)
            refuse_foreign(connection, path)
            keep_private(path)
            _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, is_unchanging: bool, wait_s: float) -> sqlite3.Connection:
    """Open the database at `path` for reading alone: nothing is made, changed or locked.

    SQLite makes two files beside a database that it reads, and leaves them there, unless it is
    opened as unchanging. It is unchanging while there is no write-ahead log: a writer makes one
    first. `is_unlogged` says so; ask it before each use.

    Args:
        path: the file.
        is_unchanging: whether nobody has it open for writing.
        wait_s: how long a read waits for a process that recovers the file from a crash, seconds.

    Raises:
        GalleryFormatError: if it is missing, foreign, damaged or newer.
        GalleryError: if the permissions do not allow it.

    Source: https://www.sqlite.org/wal.html, "Read-Only Databases".
    """
    if not _is_there(path):
        raise _missing(path)
    mode = "immutable=1" if is_unchanging else "mode=ro"
    with sqlite_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=wait_s,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        with sqlite_errors(path):
            try:
                pragma(connection, "user_version")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _NOT_RECOVERABLE_HERE:
                    raise
                connection.close()
                connection = _recovered_copy(path)
            refuse_foreign(connection, path)
            connection.execute("PRAGMA temp_store = MEMORY")
            if is_old(connection):
                connection = _migrated_copy(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_unlogged(path: Path) -> bool:
    """Return whether all of a database is in its file: no process has it open for writing."""
    return not path.with_name(path.name + "-wal").exists()


def is_locked(connection: sqlite3.Connection) -> bool:
    """Return whether another connection is writing just now; returns at once.

    Raises:
        sqlite3.Error: if the file cannot be written at all.
    """
    wait_ms = pragma(connection, "busy_timeout")
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return True
    finally:
        connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
    return False


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # erased people leave no bytes in free pages
    connection.execute("PRAGMA temp_store = MEMORY")
    if is_old(connection):
        migrate(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL may lose the last commits
    # Proves that the file can be written now, rather than at the first enrollment.
    is_locked(connection)


def _missing(path: Path) -> GalleryFormatError:
    return GalleryFormatError(f"there is no gallery in {path.parent}: enroll somebody first")


def _recovered_copy(path: Path) -> sqlite3.Connection:
    """Return a copy in memory of a file whose write-ahead log cannot be read where it lies.

    A process that was killed leaves a log, and SQLite needs to write beside it to read it: a
    gallery that was copied to read-only media so is read from a copy.
    """
    with TemporaryDirectory(prefix="facewire-") as scratch:
        copied = Path(scratch, path.name)
        try:
            for name in (path.name, path.name + "-wal"):
                shutil.copyfile(path.with_name(name), copied.with_name(name))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise GalleryError(f"cannot read the gallery {path}: {why}") from error
        with closing(sqlite3.connect(copied, isolation_level=None)) as source:
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            source.backup(copy)
    return copy


def _migrated_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a copy in memory of an older version's file, brought up to date."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    copy.create_function("name_key", 1, name_key, deterministic=True)
    try:
        connection.backup(copy)
        migrate(copy)
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy


def _is_there(path: Path) -> bool:
    """Return whether the file exists; refuse one that is no database.

    SQLite takes a file shorter than its own first bytes for an empty database, and overwrites
    it. A file with a journal beside it was interrupted while being made: SQLite rolls that back.

    Only a file too short for a database is opened here. To close any file of this process drops
    the process's locks on it (POSIX), those of its open connections too; another process would
    then take itself for the last one, and delete the log that this one goes on writing to.
    Source: https://www.sqlite.org/howtocorrupt.html, 2.2.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        start = b""
        if 0 < status.st_size < len(SQLITE_MAGIC):
            start = path.read_bytes()
        is_interrupted = path.with_name(path.name + "-journal").exists()
    except FileNotFoundError:
        return False
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryError(f"cannot read the gallery {path}: {why}") from error
    if start and not is_interrupted:
        raise GalleryFormatError(
            f"{path} is not a gallery: name another directory, nothing was changed"
        )
    return True
