"""The event log's schema: one SQLite database, its tables and their versions.

A track is `run` and `track_number`: the number counts from 1 in each run of the service, the run is
random, so that both together are unique. In events it is the first track of a stay, which may have
more; each has its sighting. Names are only shown, never used for lookup: people are
`identity_id`, and the earlier person of a track is `previous_id`.
"""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from gallery import replacing
from gallery.private_files import keep_private, make_private_directory, make_private_file
from stream.errors import EventLogBusyError, EventLogError, EventLogFullError

logger = logging.getLogger(__name__)

FILE_NAME = "events.db"
BUSY_TIMEOUT_S = 0.5
"""How long a lock of another program is waited for; events are kept in memory after that."""

OPEN_TIMEOUT_S = 10.0
"""The same while the log is opened: a service that does not start keeps nothing at all."""

FULL_BYTES = 1 << 20
"""Free bytes on a disk below which a failed write is called a full disk."""

VERSION_1 = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    camera TEXT NOT NULL,
    at REAL NOT NULL,
    track_id INTEGER,
    identity_id TEXT,
    name TEXT,
    similarity REAL,
    detail TEXT NOT NULL,
    crop BLOB
) STRICT;
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_identity ON events (identity_id);
"""

# Version 1 stored only track numbers. Within one connection of a camera they are unique, since no
# track outlives the connection and each begins with a camera_up: that event identifies the run.
# It stored the earlier person of a track as "was NAME" in `detail`; "was unknown" was a stranger,
# unless the track had been a person of that name.
VERSION_2 = """
ALTER TABLE events RENAME COLUMN track_id TO track_number;
ALTER TABLE events ADD COLUMN run TEXT;
ALTER TABLE events ADD COLUMN was_known INTEGER;
ALTER TABLE events ADD COLUMN previous_id TEXT;
ALTER TABLE events ADD COLUMN previous_name TEXT;
ALTER TABLE events ADD COLUMN crop_sha256 TEXT;
ALTER TABLE events ADD COLUMN quality TEXT;
ALTER TABLE events ADD COLUMN embedding BLOB;
ALTER TABLE events ADD COLUMN model_id TEXT;
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE detached (identity_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
DROP INDEX IF EXISTS events_by_identity;
CREATE INDEX IF NOT EXISTS events_by_person ON events (identity_id, name);
CREATE TEMP TABLE connections AS SELECT camera, id FROM events WHERE kind = 'camera_up';
CREATE INDEX temp.connections_by_camera ON connections (camera, id);
UPDATE events SET run = 'v1.' || coalesce(
    (SELECT max(connections.id) FROM connections
        WHERE connections.camera = events.camera AND connections.id < events.id),
    '0.' || camera)
    WHERE track_number IS NOT NULL;
DROP TABLE temp.connections;
CREATE INDEX events_by_track ON events (run, track_number) WHERE run IS NOT NULL;
CREATE INDEX events_by_previous ON events (previous_id, previous_name)
    WHERE was_known IS NOT NULL;
UPDATE events SET was_known = detail != 'was unknown' OR EXISTS (
        SELECT 1 FROM events AS before WHERE before.run = events.run
        AND before.track_number = events.track_number AND before.id < events.id
        AND before.name = 'unknown')
    WHERE kind = 'renamed';
UPDATE events SET previous_name = substr(detail, 5)
    WHERE was_known AND detail LIKE 'was _%';
CREATE TEMP TABLE holders AS SELECT name, min(identity_id) AS identity_id FROM events
    WHERE identity_id IS NOT NULL GROUP BY name HAVING count(DISTINCT identity_id) = 1;
UPDATE events SET previous_id = (
        SELECT identity_id FROM holders WHERE holders.name = events.previous_name)
    WHERE previous_name IS NOT NULL;
DROP TABLE temp.holders;
UPDATE events SET detail = '' WHERE was_known IS NOT NULL;
"""

# A track is kept with the newest event of its stay that says who it is, and erased with it.
VERSION_3 = """
ALTER TABLE events ADD COLUMN visitor_id TEXT;
ALTER TABLE events ADD COLUMN visit_count INTEGER;
CREATE TABLE sightings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    track_number INTEGER NOT NULL,
    stay INTEGER NOT NULL,
    event_id INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    camera TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL NOT NULL,
    is_over INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    template BLOB NOT NULL,
    exemplars BLOB NOT NULL,
    n_good INTEGER NOT NULL,
    good_s REAL NOT NULL,
    face_px REAL NOT NULL,
    quality TEXT NOT NULL,
    crop BLOB NOT NULL,
    visitor_id TEXT,
    UNIQUE (run, track_number)
) STRICT;
CREATE INDEX sightings_by_event ON sightings (event_id);
CREATE INDEX sightings_by_stay ON sightings (run, stay);
CREATE INDEX sightings_by_visitor ON sightings (visitor_id) WHERE visitor_id IS NOT NULL;
CREATE INDEX events_by_visitor ON events (visitor_id) WHERE visitor_id IS NOT NULL
"""

# Unknown people who come again. `root` is the visitor itself, or the one into whom it was merged;
# `kept` holds templates of an ignored one, float16, which outlive its sightings.
VERSION_4 = """
CREATE TABLE visitors (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    visitor_id TEXT NOT NULL UNIQUE,
    first_seen REAL NOT NULL,
    last_seen REAL NOT NULL,
    visit_count INTEGER NOT NULL,
    is_ignored INTEGER NOT NULL,
    root INTEGER,
    merged_into INTEGER REFERENCES visitors (number) ON DELETE CASCADE,
    merged_at INTEGER,
    kept BLOB,
    kept_model TEXT
) STRICT;
CREATE INDEX visitors_by_root ON visitors (root);
CREATE INDEX visitors_by_merge ON visitors (merged_into) WHERE merged_into IS NOT NULL;
CREATE TABLE visitors_apart (
    one INTEGER NOT NULL REFERENCES visitors (number) ON DELETE CASCADE,
    other INTEGER NOT NULL REFERENCES visitors (number) ON DELETE CASCADE,
    PRIMARY KEY (one, other)
) STRICT, WITHOUT ROWID;
CREATE INDEX visitors_apart_by_other ON visitors_apart (other);
CREATE TABLE visitor_proposals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    one INTEGER NOT NULL REFERENCES visitors (number) ON DELETE CASCADE,
    other INTEGER NOT NULL REFERENCES visitors (number) ON DELETE CASCADE,
    similarity REAL NOT NULL,
    UNIQUE (one, other)
) STRICT;
CREATE INDEX visitor_proposals_by_other ON visitor_proposals (other)
"""
# What an index of sightings in memory reads again, whichever process changed it. An index that is
# further behind than the rows kept here is filled anew.
VERSION_5 = """
CREATE TABLE sighting_changes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    sighting_id INTEGER NOT NULL
) STRICT;
CREATE TRIGGER sighting_added AFTER INSERT ON sightings BEGIN
    INSERT INTO sighting_changes (sighting_id) VALUES (new.id);
    DELETE FROM sighting_changes WHERE revision <= last_insert_rowid() - 100000;
END;
CREATE TRIGGER sighting_changed AFTER UPDATE OF template, camera, event_id ON sightings
WHEN old.template IS NOT new.template OR old.camera IS NOT new.camera
    OR old.event_id IS NOT new.event_id BEGIN
    INSERT INTO sighting_changes (sighting_id) VALUES (new.id);
    DELETE FROM sighting_changes WHERE revision <= last_insert_rowid() - 100000;
END;
CREATE TRIGGER sighting_erased AFTER DELETE ON sightings BEGIN
    INSERT INTO sighting_changes (sighting_id) VALUES (old.id);
    DELETE FROM sighting_changes WHERE revision <= last_insert_rowid() - 100000;
END;
"""
VERSION_6 = """
ALTER TABLE visitors ADD COLUMN kept_poor INTEGER NOT NULL DEFAULT 0
"""
# Stays that go on, or lasted for half a day and more, by their tracks: a day's visits are read from
# the events of that day and the 12 hours around it, in which such a stay may have none. Stays whose
# service was killed are kept here, too.
VERSION_7 = """
CREATE TABLE long_stays (
    run TEXT NOT NULL,
    track_number INTEGER NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    PRIMARY KEY (run, track_number)
) STRICT, WITHOUT ROWID;
INSERT INTO long_stays
    SELECT run, track_number, min(at), max(CASE WHEN kind = 'exit' THEN at END)
    FROM events WHERE run IS NOT NULL GROUP BY run, track_number
    HAVING max(at) - min(at) >= 43200 OR (sum(kind = 'exit') = 0 AND run =
        (SELECT run FROM events WHERE run IS NOT NULL ORDER BY id DESC LIMIT 1));
CREATE TRIGGER stay_began AFTER INSERT ON events
WHEN new.kind IN ('enter', 'unknown') AND new.run IS NOT NULL BEGIN
    INSERT OR IGNORE INTO long_stays (run, track_number, began)
        VALUES (new.run, new.track_number, new.at);
END;
CREATE TRIGGER stay_ended AFTER INSERT ON events
WHEN new.kind = 'exit' AND new.run IS NOT NULL BEGIN
    DELETE FROM long_stays
        WHERE run = new.run AND track_number = new.track_number AND new.at - began < 43200;
    UPDATE long_stays SET ended = new.at
        WHERE run = new.run AND track_number = new.track_number;
END;
"""
# A list of names as JSON; null outside of all zones. The index answers which events are of a zone
# without reading the rows, which hold crops.
VERSION_8 = """
ALTER TABLE events ADD COLUMN zones TEXT;
CREATE INDEX events_by_zones ON events (zones) WHERE zones IS NOT NULL
"""
# Shots of any quality, by which another machine can assign the track to a visitor, too.
VERSION_9 = """
ALTER TABLE sightings ADD COLUMN n_shots INTEGER NOT NULL DEFAULT 0
"""
# When a visitor was merged, seconds since 1970, and the average cosine where no person did it.
VERSION_10 = """
ALTER TABLE visitors ADD COLUMN merged_time REAL;
ALTER TABLE visitors ADD COLUMN merged_similarity REAL
"""
MIGRATIONS = (
    VERSION_1,
    VERSION_2,
    VERSION_3,
    VERSION_4,
    VERSION_5,
    VERSION_6,
    VERSION_7,
    VERSION_8,
    VERSION_9,
    VERSION_10,
)

# Pages and webhook receivers identify events by number. A new log starts counting at the time in
# milliseconds, so that it reuses no number of an earlier log.
FIRST_NUMBER = "INSERT INTO sqlite_sequence VALUES ('events', strftime('%s', 'now') * 1000)"


def connect(directory: Path) -> sqlite3.Connection:
    """Open the log in a directory, creating both if missing, private to this user.

    Raises:
        EventLogError: if the file cannot be opened, is damaged, or is of a newer version.
    """
    path = directory / FILE_NAME
    replacing.finish(directory)
    try:
        make_private_directory(directory)
        make_private_file(path)
        # Opened by the thread that starts the service, used by the event writer's thread.
        connection = sqlite3.connect(
            path, timeout=OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        raise EventLogError(f"cannot open the event log {path}: {error}") from error
    with ExitStack() as on_failure, log_errors(path, "cannot open the event log"):
        on_failure.callback(connection.close)
        _prepare(connection, path)
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        on_failure.pop_all()
    return connection


def connect_reader(directory: Path) -> sqlite3.Connection:
    """Open the log in a directory read-only, also on a read-only disk.

    A log of an older version is migrated, which requires writing.

    Raises:
        EventLogError: if there is none, or it is damaged or of a newer version.
    """
    path = directory / FILE_NAME
    what = "cannot read the event log"
    replacing.finish(directory)
    with log_errors(path, what):
        try:
            connection = _reading(path, "mode=ro")
        except sqlite3.OperationalError:
            # SQLite creates two files beside a log that it reads, which fails here.
            connection = _reading(path, "immutable=1")
    with ExitStack() as on_failure:
        on_failure.callback(connection.close)
        with log_errors(path, what):
            version = _version(connection)
        _refuse_newer(version, path)
        on_failure.pop_all()
    if version == len(MIGRATIONS):
        return connection
    connection.close()
    return connect(directory)


@contextmanager
def log_errors(path: Path, what: str) -> Iterator[None]:
    """Convert SQLite's errors about the log's file to one-line errors.

    Args:
        path: the file.
        what: the failed operation, such as "cannot keep an event".

    Raises:
        EventLogBusyError: if another program holds the file.
        EventLogFullError: if the disk is full.
        EventLogError: otherwise.

    Source: https://www.sqlite.org/rescode.html; the low byte is the primary code.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise EventLogBusyError(
                f"{what}: another program holds {path}, try again in a moment"
            ) from error
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
            raise EventLogFullError(
                f"{what}: the disk of {path} is full, free some space"
            ) from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise EventLogError(
                f"{what}: {path} is damaged ({error}), move it away to begin a new one"
            ) from error
        may_pass = code in {
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
        }
        raise EventLogError(f"{what} in {path}: {error}", may_pass=may_pass) from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run one transaction: all of it is in the file at the end, or none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_full(path: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < FULL_BYTES
    return False


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create or migrate a database to this version."""
    _refuse_newer(_version(connection), path)
    keep_private(path)
    # Events hold faces and names: erased data is overwritten.
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = NORMAL")
    if _version(connection) < len(MIGRATIONS):
        with transaction(connection):
            version = _version(connection)  # read again: another process may have migrated it
            if version:
                logger.info(
                    "bringing %s to version %d: this may take a minute", path, len(MIGRATIONS)
                )
            for script in MIGRATIONS[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            if version == 0:
                connection.execute(FIRST_NUMBER)
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; those of a trigger are part of it."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n"):
        yield statement


def _reading(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _refuse_newer(version: int, path: Path) -> None:
    if version > len(MIGRATIONS):
        raise EventLogError(
            f"the event log {path} is of version {version}, this program knows "
            f"{len(MIGRATIONS)}: update facewire"
        )


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as answer:
        return int(answer.fetchone()[0])
