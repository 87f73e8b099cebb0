"""Writing of a backup, also while a service runs on the directory."""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from gallery import replacing
from gallery import schema as gallery_schema
from gallery.private_files import DIRECTORY_MODE, FILE_MODE, OWN_FILES
from recognizer import read_file, refuse_special
from recognizer.files import take_name
from stream.backup.archive import SCHEMAS, Manifest, Writer
from stream.cameras.store import FILE_NAME as CAMERAS
from stream.cameras.store import CameraStore
from stream.config_file import MAX_BYTES
from stream.errors import BackupError
from stream.events import schema as events_schema
from stream.integrations.push.devices import FILE_NAME as DEVICES
from stream.integrations.rules.store import FILE_NAME as RULES
from stream.integrations.rules.store import RuleStore

GALLERY, EVENTS = gallery_schema.FILE_NAME, events_schema.FILE_NAME

PAGES = 256
"""Pages copied between two updates of the progress bar: 1 MiB."""

WAIT_S = 10.0
"""How long a process is waited for that recovers a database from a crash, seconds."""

COUNTED = {
    GALLERY: {"people": "identities", "photos": "photos"},
    EVENTS: {"events": "events", "sightings": "sightings", "visitors": "visitors"},
}
"""Tables whose rows are counted, where a database has them."""

Progress = Callable[[str, int, int], None]
"""Called with a step, and its finished and total bytes."""


def save(directory: Path, path: Path, *, replace: bool, progress: Progress) -> Manifest:
    """Write a backup of a data directory: all of it under its name, or nothing.

    The databases are copied from one moment each, the event log's first: whoever is named in an
    event is in the gallery too. They can be read and written meanwhile.

    Args:
        directory: of the gallery, the event log and the cameras.
        path: of the backup, which is private to this user.
        replace: whether an existing file of that name may be replaced.
        progress: see `Progress`.

    Raises:
        BackupError: if there is nothing to save, a database is damaged, or the file cannot be
            written.
    """
    replacing.finish(directory)
    if not replacing.present(directory):
        raise BackupError(
            f"there is nothing to back up in {directory}: choose a gallery by --gallery or --config"
        )
    if _is_data_of(directory, path):
        raise BackupError(f"{path} is a data file itself: name another file")
    with _write_errors(path):
        if not replace and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "", str(path))
        if os.path.lexists(path):
            refuse_special(path)
        with _scratch(path) as scratch:
            manifest = _write(directory, scratch, progress)
            _publish(scratch / "backup", path, replace=replace)
    return manifest


def _write(directory: Path, scratch: Path, progress: Progress) -> Manifest:
    counts: dict[str, int] = {}
    model_id = None
    present = replacing.present(directory)
    with ExitStack() as stack:
        file = stack.enter_context(_private(scratch / "backup"))
        writer = Writer(file)
        stack.callback(writer.release)
        # Both snapshots begin now, before the first is copied.
        sources = {
            name: stack.enter_context(_snapshot(directory / name))
            for name in (EVENTS, GALLERY)
            if name in present
        }
        for name in (GALLERY, EVENTS):
            if name not in sources:
                continue
            copy = scratch / name
            facts = _copy(sources[name], copy, directory / name, progress)
            counts.update(facts.counts)
            model_id = model_id or facts.model_id
            writer.add(
                name,
                copy,
                version=facts.version,
                progress=lambda done, total, name=name: progress(  # type: ignore[misc]
                    f"packing {name}", done, total
                ),
            )
            copy.unlink()  # at most one database is on the disk twice
        if CAMERAS in present:
            store = CameraStore.open(directory, ())
            counts["cameras"] = len(store.edits) + len(store.dormant)
        if RULES in present:
            counts["rules"] = len(RuleStore(directory, ()).rules())
        for name in (CAMERAS, RULES, DEVICES):
            if name in present:
                copy = scratch / name
                with _private(copy) as part:
                    part.write(read_file(directory / name, max_bytes=MAX_BYTES))
                writer.add(name, copy, version=None, progress=lambda done, total: None)
        manifest = writer.close(
            facewire=version("facewire"),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            model_id=model_id,
            counts=counts,
        )
        file.flush()
        os.fsync(file.fileno())
    return manifest


class _Facts:
    """What is known of a copied database: its version, model and numbers of rows."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        tables = {
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
        self.version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        self.counts = {
            word: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for word, table in COUNTED[name].items()
            if table in tables
        }
        self.model_id: str | None = None
        if name == GALLERY and "facts" in tables:
            row = connection.execute("SELECT value FROM facts WHERE key = 'model_id'").fetchone()
            self.model_id = None if row is None else str(row[0])


@contextmanager
def _snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, and keep it at its state of now until the end."""
    with ExitStack() as stack:
        for mode in ("mode=ro", "immutable=1"):  # the second on a read-only disk
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}",
                uri=True,
                timeout=WAIT_S,
                isolation_level=None,
            )
            try:
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            except sqlite3.Error as error:
                connection.close()
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                if mode == "mode=ro" and code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                    continue
                raise BackupError(f"cannot read {path}: {error}") from error
            stack.callback(connection.close)
            break
        yield connection


def _copy(source: sqlite3.Connection, copy: Path, path: Path, progress: Progress) -> _Facts:
    """Copy a snapshot to a new file, verify the copy, and return what is in it."""
    with _private(copy):
        pass
    known = SCHEMAS[path.name]
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        try:
            page = int(source.execute("PRAGMA page_size").fetchone()[0])
            source.backup(
                target,
                pages=PAGES,
                progress=lambda status, remaining, total: progress(
                    f"copying {path.name}", (total - remaining) * page, total * page
                ),
            )
            target.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log
            problems = target.execute("PRAGMA quick_check(1)").fetchall()
            if problems != [("ok",)]:
                raise BackupError(_damaged(path))
            facts = _Facts(target, path.name)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise BackupError(_damaged(path)) from error
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy)) from error
            raise BackupError(f"cannot copy {path}: {error}") from error
    if facts.version > known:
        raise BackupError(
            f"{path} is of version {facts.version}, this program knows {known}: update facewire"
        )
    return facts


def _is_data_of(directory: Path, path: Path) -> bool:
    is_beside = os.path.realpath(path.parent) == os.path.realpath(directory)
    return is_beside and path.name.startswith(OWN_FILES)


def _damaged(path: Path) -> str:
    step = "run `facewire gallery check`" if path.name == GALLERY else "move it away"
    return f"{path} is damaged, no backup is written: {step}"


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Make the private folder beside the backup in which it is written.

    What a killed backup to the same file has left there is erased.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    scratch.mkdir(DIRECTORY_MODE, exist_ok=True)
    handle = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(
                f"another backup to {path} is being written: wait for it, or name another file"
            ) from None
        except OSError:  # some network file systems have no locks
            pass
        for entry in scratch.iterdir():
            entry.unlink()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        os.close(handle)


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE), "w+b")


def _publish(part: Path, path: Path, *, replace: bool) -> None:
    take_name(part, path, replace=replace)
    replacing.sync_directory(path.parent)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise BackupError(f"{path} already exists: name another file, or use --replace") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        step = " (free some space)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise BackupError(f"cannot write the backup {path}: {why}{step}") from error
