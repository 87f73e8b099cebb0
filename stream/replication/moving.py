"""Copying of past events to a shared log and back, checked row by row."""

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gallery.address import Place, is_address
from gallery.private_files import make_private_directory, make_private_file
from stream.errors import EventLogError
from stream.events import replica
from stream.events.schema import FILE_NAME, connect, connect_reader, log_errors
from stream.replication.database import clean
from stream.replication.replicator import Replicator

BATCH = 200
"""Rows compared at a time; each holds at most 45 KiB."""

FOREVER = 1e6
"""Days: nothing expires while it is copied."""

Progress = Callable[[int, int], None]
"""Takes the number of rows copied so far, and of all."""


@dataclass(frozen=True, slots=True)
class MovedEvents:
    """Result of a copy.

    Attributes:
        rows: number of rows by table.
        sha256: digest of all rows by table, the same in both places.
    """

    rows: dict[str, int]
    sha256: dict[str, str]


def copy_events(
    source: Place, directory: Path, target: Place, *, progress: Progress | None = None
) -> MovedEvents:
    """Copy past events to a database, or from one; what is there already is completed.

    To a database, the events of the directory are added to those of other machines. To a
    directory, the events of all machines are.

    Args:
        source: where the people are; a database if the target is a directory.
        directory: of the event log that belongs to it.
        target: where they are copied to.
        progress: called after each batch.

    Raises:
        GalleryError: if the database cannot be used.
        EventLogError: if a log cannot be used, or a row came out differently.
    """
    if is_address(target):  # another database than the source, or the first
        if not (directory / FILE_NAME).exists():
            return MovedEvents({}, {})
        return _exchanged(directory, str(target), progress)
    new = Path(target)
    if (directory / FILE_NAME).exists() and not (new / FILE_NAME).exists():
        _copy_file(directory, new)
    moved = _exchanged(new, str(source), progress)
    with log_errors(new / FILE_NAME, "cannot change the event log"), closing(connect(new)) as log:
        replica.leave(log)
    return moved


def _copy_file(directory: Path, new: Path) -> None:
    """Copy a whole event log: visitors and what waits for receivers are in it, too."""
    path = new / FILE_NAME
    make_private_directory(new)
    make_private_file(path)
    with (
        log_errors(path, "cannot copy the event log"),
        closing(connect_reader(directory)) as source,
        closing(sqlite3.connect(path)) as target,
    ):
        source.backup(target)


def _exchanged(directory: Path, address: str, progress: Progress | None) -> MovedEvents:
    connect(directory).close()
    with closing(Replicator(directory, address, keep_days=FOREVER)) as replicator:
        replicator.enter()
        replicator.exchange(progress or _nothing)
        moved = _compared(replicator)
        replicator.leave()
        return moved


def _compared(replicator: Replicator) -> MovedEvents:
    """Compare all rows of a log with those of the shared log."""
    rows: dict[str, int] = {}
    digests: dict[str, str] = {}
    for part in replica.PARTS:
        digest, n, last = hashlib.sha256(), 0, -1
        while batch := replicator.own_rows(part, after=last, limit=BATCH):
            last = int(batch[-1][0])
            shared = sorted(replicator.shared_rows(part, [int(row[0]) for row in batch]))
            if shared != [clean(row) for row in batch]:
                raise EventLogError(
                    f"the table {part} came out differently in the database: is a service running "
                    "that writes there? run the command again"
                )
            for row in shared:
                digest.update(repr(row).encode())
            n += len(batch)
        if replicator.count_shared(part) != n:
            raise EventLogError(
                f"the database holds other rows of the table {part}: is a service running that "
                "writes there? run the command again"
            )
        rows[part], digests[part] = n, digest.hexdigest()
    return MovedEvents(rows, digests)


def _nothing(done: int, total: int) -> None:
    pass
