"""An open gallery file: one connection for writing, and several for reading."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gallery.connections import (
    connect,
    connect_reader,
    is_locked,
    is_unlogged,
)
from gallery.errors import (
    GalleryError,
    busy,
    replaced,
    sqlite_errors,
)
from gallery.private_files import make_private_directory
from gallery.schema import FILE_NAME
from gallery.store import WAIT_FOR_OTHERS_S, WAIT_TO_READ_S, Access, Connection

MAX_IDLE_READERS = 4


class GalleryFile:
    """One open gallery file.

    Thread-safe: one connection writes, under a lock; others read, each for one thread at a time,
    and never wait for a writer, because WAL readers see the last commit. Every write is on disk
    on return, or waits at most `wait_s` for other writers.

    Args:
        directory: of the file.
        access: whether it is written, and created if missing. Opened for reading, nothing in the
            directory is changed.
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
        with ExitStack() as on_failure:
            if self._writer is not None:
                on_failure.callback(self._writer.close)
            self._watcher = self._open_reader()
            on_failure.pop_all()
        self._file = self._watcher.file

    @property
    def place(self) -> str:
        """As `Store`."""
        return str(self.path.parent)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._write_lock, self._pool_lock:
            self._is_closed = True
            for reader in (*self._idle, self._watcher):
                reader.connection.close()
            self._idle = []
            if self._writer is not None:
                if self._is_replaced():
                    # SQLite does not do it then: the old log would be used for the new file.
                    with suppress(GalleryError, sqlite3.ProgrammingError):
                        self.truncate_log()
                self._writer.close()

    def data_version(self) -> int:
        """Return a number that changes with every commit of any process; takes microseconds."""
        if self._watcher.unchanged is not None:
            return hash(_identity_of(self.path))
        with self._pool_lock, sqlite_errors(self.path):
            return int(self._watcher.connection.execute("PRAGMA data_version").fetchone()[0])

    def is_locked(self) -> bool:
        """Return whether another process is writing now; does not wait.

        Raises:
            GalleryError: if the file cannot be written at all.
        """
        if self._writer is None or not self._write_lock.acquire(blocking=False):
            return False  # a write of this process, which waits or continues by itself
        try:
            with sqlite_errors(self.path):
                return is_locked(self._writer)
        finally:
            self._write_lock.release()

    def refuse_replaced(self) -> None:
        """As `Store`."""
        if self._is_replaced():
            self.truncate_log()  # else the new file would be opened with the old file's log
            raise replaced(self.path)

    def truncate_log(self) -> bool:
        """Write the write-ahead log back to the file and empty it: it also holds erased rows.

        Returns:
            False if another process is reading now; the next call or the last close of the
            file does it then.
        """
        writer = self._writer
        if writer is None:
            return False
        with self._write_lock, sqlite_errors(self.path):
            is_busy = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not is_busy

    def last_numbers(self, connection: Connection) -> dict[str, int]:
        """As `Store`."""
        return dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())

    def set_last_numbers(self, connection: Connection, numbers: dict[str, int]) -> None:
        """As `Store`."""
        connection.execute("DELETE FROM sqlite_sequence")
        connection.executemany(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", list(numbers.items())
        )

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: all of it is on disk at the end, or none of it.

        Raises:
            GalleryBusyError: if others have been writing for too long.
            GalleryError: if the file is opened for reading, or was replaced.
        """
        writer = self._writer
        if writer is None:
            raise GalleryError(f"the gallery {self.path.parent} is open for reading only")
        if not self._write_lock.acquire(timeout=self._wait_s):
            raise busy(self.place)
        try:
            with sqlite_errors(self.path):
                if self._is_replaced():
                    raise replaced(self.path)
                writer.execute("BEGIN IMMEDIATE")
                try:
                    yield writer
                    writer.execute("COMMIT")
                finally:
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")
        finally:
            self._write_lock.release()

    @contextmanager
    def reading(
        self, *, wait_s: float = WAIT_TO_READ_S, snapshot: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """Yield an exclusive reading connection that sees the last commit of any process.

        Args:
            wait_s: how long to wait for a process that recovers or locks the file, seconds.
            snapshot: whether all statements see the state of the first one.

        Raises:
            GalleryError: if the file was replaced, or cannot be read.
        """
        with sqlite_errors(self.path):
            if self._writer is not None and self._is_replaced():
                raise replaced(self.path)
            reader = self._take_reader()
            is_usable = False
            try:
                reader.wait(wait_s)
                if snapshot:
                    reader.connection.execute("BEGIN")
                yield reader.connection
                is_usable = True
            except GalleryError:
                is_usable = True
                raise
            finally:
                if is_usable:
                    if reader.connection.in_transaction:
                        reader.connection.execute("COMMIT")
                    self._give_back(reader)
                else:
                    reader.connection.close()

    def _is_replaced(self) -> bool:
        return _identity_of(self.path)[:2] != self._file[:2]

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
    """A reading connection.

    Attributes:
        connection: to the file, or to an in-memory copy of it.
        unchanged: state of the file when it was opened as immutable; None if it was not.
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
        """Return whether the connection sees the current content of the file."""
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
