"""Where a gallery is stored: one interface over SQLite and PostgreSQL.

The statements of this package run on both. They use `?` for values, `ON CONFLICT`, the function
`unix_now()`, and nothing that only one of the two understands.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol

WAIT_FOR_OTHERS_S = 10.0
"""How long a command's write waits for another process: others' batches take far less, seconds."""

WAIT_TO_READ_S = 1.0
"""How long a read waits for a store that is being recovered or does not answer, seconds."""


class Access(StrEnum):
    """Access mode of a gallery's store."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of rows that were inserted, changed or deleted."""

    def fetchone(self) -> Any:
        """Return the next row, None at the end."""

    def fetchall(self) -> list[Any]:
        """Return the remaining rows."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection to the store, inside a transaction of `Store.writing` or a read."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement with values for its `?`."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement for each sequence of values."""


class Store(Protocol):
    """The store of one gallery.

    Thread-safe. One transaction writes at a time, of all processes; readers see the last commit
    and do not wait for it.
    """

    @property
    def place(self) -> str:
        """The directory, or the address without its password: for messages."""

    def close(self) -> None:
        """Close all connections; safe to call twice."""

    def data_version(self) -> int:
        """Return a number that changes with every commit of any process; takes microseconds.

        Raises:
            GalleryError: if the store cannot be reached now.
        """

    def is_locked(self) -> bool:
        """Return whether another process is writing now; does not wait.

        Raises:
            GalleryError: if the store cannot be written at all.
        """

    def refuse_replaced(self) -> None:
        """Check that the open store is still the one at its place.

        Raises:
            GalleryReplacedError: if it was moved, deleted or replaced.
        """

    def truncate_log(self) -> bool:
        """Remove erased rows from the log of changes, where the store keeps one in a file.

        Returns:
            False if it could not be done now; it is then done later.
        """

    def last_numbers(self, connection: Connection) -> dict[str, int]:
        """Return the highest number that was given to a row, by table: erased rows count."""

    def set_last_numbers(self, connection: Connection, numbers: dict[str, int]) -> None:
        """Give further rows higher numbers than these, by table."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Run one transaction: all of it is on disk at the end, or none of it.

        Raises:
            GalleryBusyError: if others have been writing for too long.
            GalleryError: if the store is opened for reading, or cannot be written.
        """

    def reading(
        self, *, wait_s: float = WAIT_TO_READ_S, snapshot: bool = False
    ) -> AbstractContextManager[Connection]:
        """Yield an exclusive reading connection that sees the last commit of any process.

        Args:
            wait_s: how long to wait for a store that is locked or does not answer, seconds; with
                less than `WAIT_TO_READ_S`, a database that was away just now is not tried again.
            snapshot: whether all statements see the state of the first one.

        Raises:
            GalleryError: if the store was replaced, or cannot be read.
        """
