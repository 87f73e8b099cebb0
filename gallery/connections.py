"""Connections to the gallery's file: for writing, and for reading without any change."""

import errno
import shutil
import sqlite3
import stat
import time
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gallery.errors import GalleryError, GalleryFormatError, sqlite_errors
from gallery.names import name_key
from gallery.private_files import keep_private, make_private_file
from gallery.replacing import finish
from gallery.schema import is_old, migrate, pragma, refuse_foreign
from gallery.store import WAIT_FOR_OTHERS_S

SQLITE_MAGIC = b"SQLite format 3\0"
_NOT_RECOVERABLE_HERE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def connect(path: Path, *, create: bool, wait_s: float = WAIT_FOR_OTHERS_S) -> sqlite3.Connection:
    """Open the database at `path` for writing; an older version is migrated.

    Nothing is written before the file is verified as a gallery or as new.

    Args:
        path: the file.
        create: whether to create a missing file.
        wait_s: how long a write waits for another process's write, seconds.

    Raises:
        GalleryFormatError: if it is missing and `create` is false, foreign, damaged or newer.
        GalleryBusyError: if an older version cannot be migrated now.
        GalleryError: if the disk or the permissions do not allow it.
    """
    finish(path.parent)
    if not _is_there(path) and not create:
        raise _missing(path)
    if create:
        make_private_file(path)
    with ExitStack() as on_failure, sqlite_errors(path):
        connection = sqlite3.connect(
            path, timeout=wait_s, isolation_level=None, check_same_thread=False
        )
        on_failure.callback(connection.close)
        _add_functions(connection)
        refuse_foreign(connection, path)
        keep_private(path)
        _prepare(connection)
        on_failure.pop_all()
    return connection


def connect_reader(path: Path, *, is_unchanging: bool, wait_s: float) -> sqlite3.Connection:
    """Open the database at `path` read-only: nothing is created, changed or locked.

    SQLite creates two files beside a database that it reads, and leaves them there, unless it is
    opened as immutable. It is immutable while there is no write-ahead log: a writer creates one
    first. Check `is_unlogged` before each use.

    Args:
        path: the file.
        is_unchanging: whether no process has it open for writing.
        wait_s: how long a read waits for a process that recovers the file from a crash, seconds.

    Raises:
        GalleryFormatError: if it is missing, foreign, damaged or newer.
        GalleryError: if the permissions do not allow it.

    Source: https://www.sqlite.org/wal.html, "Read-Only Databases".
    """
    finish(path.parent)
    if not _is_there(path):
        raise _missing(path)
    mode = "immutable=1" if is_unchanging else "mode=ro"
    with ExitStack() as on_failure, sqlite_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=wait_s,
            isolation_level=None,
            check_same_thread=False,
        )
        on_failure.callback(lambda: connection.close())  # of what the name stands for then
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
        on_failure.pop_all()
    return connection


def is_unlogged(path: Path) -> bool:
    """Return whether a database has no write-ahead log: no process has it open for writing."""
    return not path.with_name(path.name + "-wal").exists()


def is_locked(connection: sqlite3.Connection) -> bool:
    """Return whether another connection is writing now; does not wait.

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
    connection.execute("PRAGMA secure_delete = ON")  # overwrites erased people in free pages
    connection.execute("PRAGMA temp_store = MEMORY")
    if is_old(connection):
        migrate(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL may lose the last commits
    # Fails now if the file cannot be written, rather than at the first enrollment.
    is_locked(connection)


def _add_functions(connection: sqlite3.Connection) -> None:
    connection.create_function("name_key", 1, name_key, deterministic=True)
    connection.create_function("unix_now", 0, time.time)


def _missing(path: Path) -> GalleryFormatError:
    return GalleryFormatError(f"there is no gallery in {path.parent}: enroll somebody first")


def _recovered_copy(path: Path) -> sqlite3.Connection:
    """Return an in-memory copy of a file with a write-ahead log that cannot be read in place.

    A killed process leaves a log, and SQLite must write beside it to read it: a gallery copied
    to read-only media with its log is read from a copy.
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
    """Return a migrated in-memory copy of an older version's file."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with ExitStack() as on_failure:
        on_failure.callback(copy.close)
        _add_functions(copy)
        connection.backup(copy)
        migrate(copy)
        on_failure.pop_all()
    connection.close()
    return copy


def _is_there(path: Path) -> bool:
    """Return whether the file exists; reject one that is not a database.

    SQLite treats a file shorter than its header as an empty database, and overwrites it. A file
    with a journal beside it was interrupted during its creation: SQLite rolls that back.

    Only a file too short for a database is opened here. Closing any file drops the process's
    locks on it (POSIX), including those of its open connections; another process could then
    consider itself the last one, and delete the log to which this one still writes.
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
