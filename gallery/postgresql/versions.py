"""Versions of the tables in a database: each part of the program has its own."""

from collections.abc import Sequence

import psycopg
from psycopg import errors

from gallery.errors import GalleryError, GalleryFormatError

SCHEMA = "facewire"
LOCK = 0x46574731
"""Key of the advisory lock that one writer of all processes holds; "FWG1"."""


def version_of(connection: psycopg.Connection[tuple[object, ...]], part: str) -> int:
    """Return the version of a part's tables in this database, 0 if it has none."""
    known = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.versions",)).fetchone()
    if known is None or known[0] is None:
        return 0
    row = connection.execute(
        f"SELECT version FROM {SCHEMA}.versions WHERE part = %s", (part,)
    ).fetchone()
    return 0 if row is None else int(str(row[0]))


def refuse_newer(version: int, scripts: Sequence[str], place: str) -> None:
    """Reject tables of a later version of this program.

    Raises:
        GalleryFormatError: if they are.
    """
    if version > len(scripts):
        raise GalleryFormatError(
            f"{place} has format {version}, this version reads up to {len(scripts)}: "
            "upgrade facewire"
        )


def migrate(
    connection: psycopg.Connection[tuple[object, ...]],
    part: str,
    scripts: Sequence[str],
    place: str,
) -> None:
    """Create or update the tables of a part, in one transaction.

    Args:
        connection: outside of a transaction.
        part: name of the part, such as "gallery".
        scripts: one for each version, never edited later.
        place: the address without its password.

    Raises:
        GalleryFormatError: if the tables are of a later version.
        GalleryError: if the database lacks pgvector.
    """
    refuse_newer(version_of(connection, part), scripts, place)
    with connection.transaction():
        # Of two processes, the second finds it done.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        version = version_of(connection, part)
        if version == len(scripts):
            return
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
            raise GalleryError(
                f"the server of {place} lacks pgvector: install it there, such as with "
                "apt install postgresql-16-pgvector"
            ) from error
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.versions"
            " (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"
        )
        for script in scripts[version:]:
            connection.execute(script.encode())
        connection.execute(
            f"INSERT INTO {SCHEMA}.versions VALUES (%s, %s)"
            " ON CONFLICT (part) DO UPDATE SET version = excluded.version",
            (part, len(scripts)),
        )
