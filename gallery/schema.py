"""The gallery's file: one SQLite database, its tables and their versions.

The truth is here and nowhere else; the index in memory is built from it. What a version of the
file looks like is written once below and never edited: a change is a new entry in `MIGRATIONS`.
"""

import errno
import logging
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from gallery.errors import GalleryError, GalleryFormatError, sqlite_errors
from gallery.names import name_key
from gallery.private_files import keep_private, make_private_file

logger = logging.getLogger(__name__)

FILE_NAME = "gallery.sqlite3"
APPLICATION_ID = 0x46574731  # "FWG1": tells our file from any other SQLite database
SQLITE_MAGIC = b"SQLite format 3\0"
WAIT_FOR_OTHERS_S = 10.0  # how long a command's write waits: another's batch takes far less

# `journal` is how another process learns what changed without reading everything again.
# `audit` holds no names, so that erasing a person leaves nothing of them in it.
# AUTOINCREMENT: ids are never reused, so an old id can never mean another person.
MIGRATIONS = (
    """
    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE identities (
        person INTEGER PRIMARY KEY AUTOINCREMENT,
        identity_id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        notes TEXT NOT NULL DEFAULT '',
        created_at REAL NOT NULL
    );
    CREATE TABLE photos (
        photo_id INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER NOT NULL REFERENCES identities (person) ON DELETE CASCADE,
        source_sha256 TEXT NOT NULL,
        quality REAL NOT NULL,
        model_id TEXT NOT NULL,
        created_at REAL NOT NULL,
        embedding BLOB NOT NULL,
        UNIQUE (person, source_sha256)
    );
    CREATE INDEX photos_by_source ON photos (source_sha256);
    CREATE TABLE crops (
        photo_id INTEGER PRIMARY KEY REFERENCES photos (photo_id) ON DELETE CASCADE,
        png BLOB NOT NULL
    );
    CREATE TABLE journal (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        person INTEGER,
        photo_id INTEGER
    );
    CREATE TABLE audit (
        entry INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        action TEXT NOT NULL,
        identity_id TEXT NOT NULL,
        n_photos INTEGER NOT NULL
    );
    CREATE TRIGGER identity_added AFTER INSERT ON identities
        BEGIN INSERT INTO journal (person) VALUES (new.person); END;
    CREATE TRIGGER identity_changed AFTER UPDATE ON identities
        BEGIN INSERT INTO journal (person) VALUES (new.person); END;
    CREATE TRIGGER identity_removed AFTER DELETE ON identities
        BEGIN INSERT INTO journal (person) VALUES (old.person); END;
    CREATE TRIGGER photo_added AFTER INSERT ON photos
        BEGIN INSERT INTO journal (photo_id) VALUES (new.photo_id); END;
    CREATE TRIGGER photo_changed AFTER UPDATE ON photos
        BEGIN INSERT INTO journal (photo_id) VALUES (new.photo_id); END;
    CREATE TRIGGER photo_removed AFTER DELETE ON photos
        BEGIN INSERT INTO journal (photo_id) VALUES (old.photo_id); END;
    """,
    # What else knows people by their id, such as a log of events, finds them after a merge.
    """
    CREATE TABLE successors (
        identity_id TEXT PRIMARY KEY,
        into_id TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX successors_by_into ON successors (into_id);
    """,
    # What else keeps ids of this gallery, such as a log of events, must tell a person who was
    # erased from one whom a fresh, restored or exchanged gallery does not know. `removed` holds
    # no names.
    """
    CREATE TABLE removed (
        identity_id TEXT PRIMARY KEY,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO removed
        SELECT identity_id, max(at) FROM audit WHERE action = 'remove' GROUP BY identity_id;
    INSERT INTO facts VALUES (
        'gallery_id',
        lower(printf('%s-%s-4%s-%s%s-%s', hex(randomblob(4)), hex(randomblob(2)),
            substr(hex(randomblob(2)), 2), substr('89ab', 1 + (random() & 3), 1),
            substr(hex(randomblob(2)), 2), hex(randomblob(6))))
    );
    """,
    # Anna, anna and Anna in full width are one name. Not UNIQUE: galleries made before this may
    # hold two of them, who stay as they are.
    """
    ALTER TABLE identities ADD COLUMN name_key TEXT NOT NULL DEFAULT '';
    UPDATE identities SET name_key = name_key(name);
    CREATE INDEX identities_by_name_key ON identities (name_key);
    """,
)


NAMES_COMPARED = 4  # the version since which names are compared by what people see
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
            _refuse_foreign(connection, path)
            keep_private(path)
            _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, is_unchanging: bool, wait_s: float) -> sqlite3.Connection:
    """Open the database at `path` for reading alone: nothing is made, changed or locked.

    SQLite makes two files beside a database that it reads, and leaves them there, unless told
    that the database does not change. That is so while there is no write-ahead log: whoever
    writes makes one first. `is_unlogged` says so; ask it before each use.

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
                _pragma(connection, "user_version")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _NOT_RECOVERABLE_HERE:
                    raise
                connection.close()
                connection = _recovered_copy(path)
            _refuse_foreign(connection, path)
            connection.execute("PRAGMA temp_store = MEMORY")
            if _pragma(connection, "user_version") < len(MIGRATIONS):
                connection = _migrated_copy(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_unlogged(path: Path) -> bool:
    """Return whether all of a database is in its file: no process has it open for writing."""
    return not path.with_name(path.name + "-wal").exists()


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
        _migrate(copy)
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


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if not is_new and _pragma(connection, "application_id") != APPLICATION_ID:
        raise GalleryFormatError(
            f"{path} is a database of another program: name another directory, nothing was changed"
        )
    if version > len(MIGRATIONS):
        raise GalleryFormatError(
            f"{path} has format {version}, this version reads up to {len(MIGRATIONS)}: "
            "upgrade facewire"
        )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # erased people leave no bytes in free pages
    connection.execute("PRAGMA temp_store = MEMORY")
    if _pragma(connection, "user_version") < len(MIGRATIONS):
        _migrate(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # WAL with NORMAL may lose the last commits
    # Proves that the file can be written now, rather than at the first enrollment.
    is_locked(connection)


def is_locked(connection: sqlite3.Connection) -> bool:
    """Return whether another connection is writing just now; returns at once.

    Raises:
        sqlite3.Error: if the file cannot be written whoever else writes.
    """
    wait_ms = _pragma(connection, "busy_timeout")
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


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")  # of two processes, the second finds the work done
    version = _pragma(connection, "user_version")
    try:
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        n_doubles = 0
        if version < NAMES_COMPARED <= len(MIGRATIONS):
            n_doubles = connection.execute(
                "SELECT count(*) - count(DISTINCT name_key) FROM identities"
            ).fetchone()[0]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if n_doubles:  # no names: logs are read by others
        logger.warning(
            "%d people of the gallery have a name that differs from another's in case or width "
            "alone: see `facewire gallery check`",
            n_doubles,
        )


def _statements(script: str) -> list[str]:
    # executescript() would commit the open transaction first, so the script is cut by hand.
    statements, pending = [], ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
