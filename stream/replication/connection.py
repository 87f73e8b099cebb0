"""A connection to the tables that machines share in PostgreSQL, and its transactions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from gallery.address import shown
from gallery.postgresql import versions
from gallery.postgresql.connections import (
    BoundedConnection,
    Statements,
    connect,
    database_errors,
    roll_back,
)
from stream.replication.schema import LOCK

WAIT_FOR_OTHERS_S = 5.0
"""How long a write waits for those of other machines, seconds."""

IDLE_S = 4.0
"""Seconds after which the server ends a transaction of a process that is frozen: it holds the lock
for which the writers of all machines wait."""


class SharedConnection:
    """One connection; for one thread at a time.

    It is opened at its first use, and again after a failure. Every method that uses it raises
    GalleryUnreachableError while the server is away, or another GalleryError.

    Args:
        address: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
        silence_s: how long a server that does not answer is waited for, seconds.

    Attributes:
        where: the address without its password.
    """

    TABLES: ClassVar[Sequence[tuple[str, Sequence[str]]]]
    """The names of the groups of tables that are used, and their migrations."""

    CHANNEL: ClassVar[str] = ""
    """Whose announcements are received; empty for none."""

    def __init__(self, address: str, *, silence_s: float) -> None:
        self.where = shown(address)
        self._address = address
        self._silence_s = silence_s
        self._connection: BoundedConnection | None = None

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin(self, statements: Statements) -> None:
        """Do what a new connection begins with."""

    def _announced(self) -> bool:
        """Return whether a change was announced since the last call; on an open connection."""
        assert self._connection is not None
        found = False
        self._connection.pgconn.consume_input()
        while self._connection.pgconn.notifies() is not None:
            found = True
        return found

    def _open(self) -> BoundedConnection:
        if self._connection is None or self._connection.closed:
            connection = connect(self._address)
            connection.silence_s = self._silence_s
            with database_errors(self.where):
                try:
                    connection.execute(f"SET search_path = {versions.SCHEMA}, public".encode())
                    connection.execute(
                        f"SET idle_in_transaction_session_timeout = {round(IDLE_S * 1000)}".encode()
                    )
                    for part, migrations in self.TABLES:
                        versions.migrate(connection, part, migrations, self.where)
                    if self.CHANNEL:
                        connection.execute(f"LISTEN {self.CHANNEL}".encode())
                    self._begin(Statements(connection))
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[Statements]:
        """Run one transaction, of the writers of all machines one at a time."""
        with self._transaction("BEGIN") as statements:
            statements.execute(f"SET LOCAL lock_timeout = {round(WAIT_FOR_OTHERS_S * 1000)}")
            statements.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
            yield statements

    @contextmanager
    def _reading(self, *, is_snapshot: bool = False) -> Iterator[Statements]:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if is_snapshot else "BEGIN"
        with self._transaction(begin) as statements:
            yield statements

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Statements]:
        with database_errors(self.where):
            connection = self._open()
            try:
                connection.execute(begin.encode())
                yield Statements(connection)
                connection.execute("COMMIT")
            finally:
                if not roll_back(connection):
                    self.close()
