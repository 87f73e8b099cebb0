"""The gallery's schema: one SQLite database, its tables and their versions.

The index in memory is built from this file. The schema of a version is written once below and never
edited: a change is a new entry in `MIGRATIONS`.
"""

import logging
import sqlite3
from pathlib import Path

from gallery.errors import GalleryFormatError

logger = logging.getLogger(__name__)

FILE_NAME = "gallery.sqlite3"
APPLICATION_ID = 0x46574731  # "FWG1": distinguishes the file from other SQLite databases

# `journal` lists changes, so that other processes need not read everything again.
# `audit` holds no names, so that no data of an erased person is left in it.
# AUTOINCREMENT: ids are never reused, so an old id can never refer to another person.
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
    # Other stores of person ids, such as an event log, find people after a merge.
    """
    CREATE TABLE successors (
        identity_id TEXT PRIMARY KEY,
        into_id TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX successors_by_into ON successors (into_id);
    """,
    # Other stores of person ids, such as an event log, must distinguish an erased person from one
    # who is not in a new, restored or replaced gallery. `removed` holds no names.
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

NAMES_COMPARED = 4  # the version since which names are compared by their visible characters


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Reject a database of another program or of a later version.

    Raises:
        GalleryFormatError: if it is one.
    """
    version = pragma(connection, "user_version")
    is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if not is_new and pragma(connection, "application_id") != APPLICATION_ID:
        raise GalleryFormatError(
            f"{path} is a database of another program: name another directory, nothing was changed"
        )
    if version > len(MIGRATIONS):
        raise GalleryFormatError(
            f"{path} has format {version}, this version reads up to {len(MIGRATIONS)}: "
            "upgrade facewire"
        )


def is_old(connection: sqlite3.Connection) -> bool:
    """Return whether the file is of an earlier version than this program writes."""
    return pragma(connection, "user_version") < len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the file to the current version, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")  # of two processes, the second finds it migrated
    version = pragma(connection, "user_version")
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
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if n_doubles:  # no names: others can read logs
        logger.warning(
            "%d people of the gallery have a name that differs from another's in case or width "
            "only: see `facewire gallery check`",
            n_doubles,
        )


def _statements(script: str) -> list[str]:
    # executescript() would commit the open transaction first, so the script is split here.
    statements, pending = [], ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of a setting of the connection."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
