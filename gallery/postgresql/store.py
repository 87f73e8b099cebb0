"""An open gallery in a PostgreSQL database: one writer, several readers, and one that listens."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from gallery.address import shown
from gallery.errors import GalleryError, GalleryFormatError, GalleryUnreachableError, busy
from gallery.postgresql import versions
from gallery.postgresql.connections import (
    BoundedConnection,
    Statements,
    connect,
    database_errors,
    is_dead,
    is_idle,
    roll_back,
    use_vectors,
)
from gallery.postgresql.schema import CHANNEL, MIGRATIONS, NUMBERED, PART
from gallery.store import WAIT_FOR_OTHERS_S, WAIT_TO_READ_S, Access, Connection

MAX_IDLE_READERS = 4
READ_SILENCE_S = 10.0
"""How long a read waits for a server that does not answer, seconds."""

SEARCH_SILENCE_S = 0.25
"""As `READ_SILENCE_S`, for a read of a search, which must not wait."""

WRITE_SILENCE_S = 10.0
"""How long a write waits, beyond its wait for other writers, seconds."""

AWAY_S = 5.0
"""How long no search tries to connect again to a server that was away, seconds."""


class PostgresStore:
    """The store of a gallery in a PostgreSQL database.

    Thread-safe, as `Store`. Its connections are opened when they are needed, and again after the
    server was away. Changes by other processes are announced by the server (LISTEN).

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
        access: whether it is written, and its tables are created if missing.
        wait_s: how long a write waits for others, of this process and of another, seconds each.
        is_away: whether the server is known to be away: it is reached at a later use.

    Raises:
        GalleryFormatError: if there is no gallery, or a newer one.
        GalleryError: if the server cannot be reached or refuses.
    """

    def __init__(
        self,
        address: str,
        *,
        access: Access,
        wait_s: float = WAIT_FOR_OTHERS_S,
        is_away: bool = False,
    ) -> None:
        self._address = address
        self._place = shown(address)
        self._access = access
        self._is_writable = access is not Access.READ
        self._is_prepared = False
        self._wait_s = wait_s
        self._write_lock = threading.RLock()
        self._pool_lock = threading.Lock()
        self._listen_lock = threading.Lock()
        self._idle: list[BoundedConnection] = []
        self._is_closed = False
        self._writer: BoundedConnection | None = None
        self._listener: BoundedConnection | None = None
        self._version = 0
        self._failed_at = time.monotonic() if is_away else -AWAY_S
        if not is_away:
            with ExitStack() as on_failure:
                connection = self._connect()
                on_failure.callback(connection.close)
                self._idle.append(connection)
                self.data_version()  # listens before anything is read
                on_failure.pop_all()

    @property
    def place(self) -> str:
        """As `Store`: the address without its password."""
        return self._place

    def close(self) -> None:
        """As `Store`."""
        with self._write_lock, self._listen_lock, self._pool_lock:
            self._is_closed = True
            for connection in (*self._idle, self._writer, self._listener):
                if connection is not None:
                    connection.close()
            self._idle, self._writer, self._listener = [], None, None

    def data_version(self) -> int:
        """As `Store`: counts the server's announcements; raises while the server is away."""
        with self._listen_lock, database_errors(self._place):
            if self._listener is not None:
                try:
                    self._listener.pgconn.consume_input()
                    while self._listener.pgconn.notifies() is not None:
                        self._version += 1
                except psycopg.OperationalError:
                    self._listener.close()
                    self._listener = None
            if self._listener is None:
                self._refuse_closed()
                listener = self._connect()
                listener.execute(f"LISTEN {CHANNEL}")
                self._listener = listener
                self._version += 1  # whatever was announced meanwhile
            return self._version

    def is_locked(self) -> bool:
        """As `Store`."""
        if not self._is_writable or not self._write_lock.acquire(blocking=False):
            return False  # a write of this process, which waits or continues by itself
        try:
            with self.reading() as connection:
                row = connection.execute(
                    "SELECT pg_try_advisory_xact_lock_shared(?)", (versions.LOCK,)
                ).fetchone()
        finally:
            self._write_lock.release()
        return row is None or not row[0]

    def refuse_replaced(self) -> None:
        """As `Store`; a database is not replaced while it is open."""

    def truncate_log(self) -> bool:
        """As `Store`; the server empties its own log."""
        return True

    def last_numbers(self, connection: Connection) -> dict[str, int]:
        """As `Store`."""
        numbers = {
            table: connection.execute(
                f"SELECT last_value, is_called FROM {table}_{column}_seq"
            ).fetchone()
            for table, column in NUMBERED.items()
        }
        return {table: row[0] for table, row in numbers.items() if row[1]}

    def set_last_numbers(self, connection: Connection, numbers: dict[str, int]) -> None:
        """As `Store`."""
        for table, number in numbers.items():
            connection.execute(
                "SELECT setval(CAST(? AS regclass), ?)",
                (f"{versions.SCHEMA}.{table}_{NUMBERED[table]}_seq", number),
            )

    @contextmanager
    def writing(self) -> Iterator[Statements]:
        """As `Store`."""
        if not self._is_writable:
            raise GalleryError(f"the gallery {self._place} is open for reading only")
        if not self._write_lock.acquire(timeout=self._wait_s):
            raise busy(self._place)
        try:
            with database_errors(self._place):
                writer = self._take_writer()
                try:
                    writer.execute("BEGIN")
                    writer.execute(f"SET LOCAL lock_timeout = {max(1, round(self._wait_s * 1000))}")
                    writer.execute("SELECT pg_advisory_xact_lock(%s)", (versions.LOCK,))
                    yield Statements(writer)
                    writer.execute("COMMIT")
                finally:
                    if not roll_back(writer):
                        writer.close()
        finally:
            self._write_lock.release()

    @contextmanager
    def reading(
        self, *, wait_s: float = WAIT_TO_READ_S, snapshot: bool = False
    ) -> Iterator[Statements]:
        """As `Store`."""
        may_wait = wait_s >= WAIT_TO_READ_S
        with database_errors(self._place):
            reader = self._take_reader(may_wait=may_wait)
            try:
                reader.silence_s = READ_SILENCE_S if may_wait else SEARCH_SILENCE_S
                if snapshot:
                    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield Statements(reader)
                if snapshot:
                    reader.execute("COMMIT")
            except psycopg.OperationalError:
                self._failed_at = time.monotonic()
                raise
            finally:
                if snapshot:
                    roll_back(reader)
                self._give_back(reader)

    def _prepare(self, connection: BoundedConnection) -> None:
        """Check or create the tables, with the first connection that succeeds."""
        access = self._access
        if access is Access.CREATE:
            versions.migrate(connection, PART, MIGRATIONS, self._place)
            return
        version = versions.version_of(connection, PART)
        if version == 0:
            raise GalleryFormatError(f"there is no gallery in {self._place}: enroll somebody first")
        versions.refuse_newer(version, MIGRATIONS, self._place)
        if version < len(MIGRATIONS) and access is Access.READ:
            raise GalleryFormatError(
                f"{self._place} has format {version}, which is older: open it for writing once"
            )
        versions.migrate(connection, PART, MIGRATIONS, self._place)

    def _connect(self) -> BoundedConnection:
        try:
            connection = connect(self._address)
        except GalleryUnreachableError:
            self._failed_at = time.monotonic()
            raise
        with ExitStack() as on_failure:
            on_failure.callback(connection.close)
            with database_errors(self._place):
                connection.execute(f"SET search_path = {versions.SCHEMA}, public")
                if not self._is_prepared:
                    self._prepare(connection)
                    self._is_prepared = True
                use_vectors(connection)
            on_failure.pop_all()
        self._failed_at = -AWAY_S
        return connection

    def _take_writer(self) -> BoundedConnection:
        self._refuse_closed()
        if self._writer is None or is_dead(self._writer):
            if self._writer is not None:
                self._writer.close()
            self._writer = self._connect()
        self._writer.silence_s = self._wait_s + WRITE_SILENCE_S
        return self._writer

    def _take_reader(self, *, may_wait: bool) -> BoundedConnection:
        while True:
            with self._pool_lock:
                self._refuse_closed()
                reader = self._idle.pop() if self._idle else None
            if reader is None:
                break
            if not is_dead(reader):
                return reader
            reader.close()
        if not may_wait and time.monotonic() - self._failed_at < AWAY_S:
            raise GalleryUnreachableError(f"the gallery's database {self._place} was away just now")
        return self._connect()

    def _give_back(self, reader: BoundedConnection) -> None:
        with self._pool_lock:
            is_kept = not self._is_closed and len(self._idle) < MAX_IDLE_READERS
            if is_kept and is_idle(reader):
                self._idle.append(reader)
                return
        reader.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise GalleryError(f"the gallery {self._place} is closed")
