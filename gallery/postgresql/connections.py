"""Connections to a PostgreSQL database that fail in bounded time, and their errors."""

import re
import select
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg import errors, waiting
from psycopg.abc import PQGen
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import TupleRow

from gallery.address import shown
from gallery.blobs import Embedding
from gallery.errors import (
    GalleryError,
    GalleryFullError,
    GalleryUnreachableError,
    busy,
)

T = TypeVar("T")

REFUSED = re.compile("authentication failed|no password supplied|role .* does not exist")
"""What a server says to a wrong user or password; a failed connection has no error code."""

POLL_S = 0.05
"""How often a wait for the server checks its limit, seconds."""

_DEFAULTS: dict[str, str | int] = {
    "connect_timeout": 3,
    # A server that vanishes without a word is noticed within 20 s, even between statements.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "facewire",
}


class ServerSilentError(psycopg.OperationalError):
    """Raised when the server has not answered for the connection's limit."""


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A connection on which no call waits longer for a silent server than a limit.

    The timeouts of PostgreSQL itself are kept by the server: one that is frozen keeps none.

    Attributes:
        silence_s: the limit, seconds.
    """

    silence_s = 10.0

    def wait(self, gen: PQGen[T], interval: float = POLL_S, timeout: float | None = None) -> T:
        """Run a generator of psycopg, as its own method does."""
        return super().wait(_limited(gen, self.silence_s), min(interval, POLL_S), timeout)


def _limited(gen: PQGen[T], silence_s: float) -> Generator[Any, Any, T]:
    silent_s = 0.0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silent_s = 0.0 if ready != waiting.Ready.NONE else silent_s + POLL_S
            if silent_s > silence_s:
                raise ServerSilentError(f"it has not answered for {silence_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result


def connect(address: str) -> BoundedConnection:
    """Open a connection that commits each statement, outside of explicit transactions.

    Raises:
        GalleryError: if the server cannot be reached, or refuses.
    """
    place = shown(address)
    try:
        options = {**_DEFAULTS, **conninfo_to_dict(address)}
    except psycopg.Error as error:  # its message may hold the password
        raise GalleryError(f"the address of the database {place} cannot be read") from error
    with database_errors(place):
        connection = BoundedConnection.connect(autocommit=True, **options)  # type: ignore[arg-type]
        connection.prepare_threshold = 3
    return connection


def is_dead(connection: psycopg.Connection[Any]) -> bool:
    """Return whether an idle connection can no longer be used; takes microseconds.

    An idle connection has nothing to read, except the server's farewell or the end of the stream.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def is_idle(connection: psycopg.Connection[Any]) -> bool:
    """Return whether no transaction is open on a connection that still works."""
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def roll_back(connection: psycopg.Connection[Any]) -> bool:
    """Undo an open transaction, if any; return whether the connection still works."""
    if not is_idle(connection):
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
    return is_idle(connection)


def is_about_values(error: GalleryError) -> bool:
    """Return whether the server refused values of a statement, which it would always refuse."""
    return isinstance(error.__cause__, errors.DataError | errors.IntegrityError)


class Statements:
    """A connection that takes the statements that SQLite takes: `?` for values.

    Args:
        connection: on which they run; numbers, texts and vectors come in binary form.
    """

    def __init__(self, connection: psycopg.Connection[TupleRow]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[TupleRow]:
        """Run one statement with values for its `?`."""
        return self._connection.execute(_translated(sql), parameters, binary=True)

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any]], /
    ) -> psycopg.Cursor[TupleRow]:
        """Run one statement for each sequence of values, without a wait between them."""
        cursor = self._connection.cursor()
        cursor.executemany(_translated(sql), parameters)
        return cursor


@lru_cache(1024)
def _translated(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()


def use_vectors(connection: psycopg.Connection[Any]) -> None:
    """Make columns of pgvector's type take and return `Embedding`.

    Raises:
        GalleryError: if the database lacks the extension.
    """
    row = connection.execute("SELECT to_regtype('vector')::oid").fetchone()
    if row is None or row[0] is None:
        raise GalleryError("the database has no type vector: run CREATE EXTENSION vector in it")
    dumper = type("VectorDumper", (_VectorDumper,), {"oid": row[0]})
    connection.adapters.register_dumper(Embedding, dumper)
    connection.adapters.register_loader(row[0], _VectorLoader)


class _VectorDumper(Dumper):
    """Little-endian float32 to the binary form of pgvector's vector.

    Source: vector_send in pgvector's src/vector.c: int16 size, int16 zero, float32, big-endian.
    """

    format = Format.BINARY

    def dump(self, obj: bytes) -> Buffer:
        numbers = np.frombuffer(obj, "<f4")
        return np.array([len(numbers), 0], ">u2").tobytes() + numbers.astype(">f4").tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Embedding:
        return Embedding(np.frombuffer(data, ">f4", offset=4).astype("<f4").tobytes())


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Convert psycopg's errors to one-line errors of the gallery.

    Args:
        place: the address without its password.

    Raises:
        GalleryUnreachableError: if the server cannot be reached or went away.
        GalleryBusyError: if another transaction holds the lock too long.
        GalleryFullError: if the server's disk is full.
        GalleryError: for a wrong user or password, missing permissions, and similar.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html.
    """
    try:
        yield
    except errors.LockNotAvailable as error:
        raise busy(place) from error
    except (errors.DiskFull, errors.OutOfMemory) as error:
        raise GalleryFullError(
            f"cannot use the gallery {place}: the database server is out of space; free some and "
            "try again"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise GalleryError(
            f"cannot use the gallery {place}: {_first_line(error)}; grant it to this user"
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise GalleryError(
            f"cannot change the gallery {place}: the server is a read-only copy; name the primary"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if REFUSED.search(str(error)):
            raise GalleryError(
                f"cannot use the gallery {place}: {_first_line(error)}; check its user and "
                "password, which PGPASSWORD or ~/.pgpass can hold"
            ) from error
        raise GalleryUnreachableError(
            f"cannot reach the gallery's database {place}: {_first_line(error)}; people can be "
            "added and changed again once it is back"
        ) from error
    except psycopg.Error as error:
        raise GalleryError(f"cannot use the gallery {place}: {_first_line(error)}") from error


def _first_line(error: psycopg.Error) -> str:
    """Return the reason alone: further lines may quote values, such as names."""
    text = (error.diag.message_primary or str(error)).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line.rpartition("FATAL:  ")[2].removeprefix("connection failed: ")
