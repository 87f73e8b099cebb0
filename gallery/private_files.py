"""Files and directories private to their owner: they hold faces, names and passwords."""

import os
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it makes them with the mode of the database."""

OWN_FILES = ("gallery.sqlite3", "events.db", "cameras.json", "rules.json", "push.json")
"""How the names of all files in a data directory begin."""


def make_private_directory(directory: Path, *, own: tuple[str, ...] = OWN_FILES) -> None:
    """Create a directory private to this user, with its missing parents.

    An existing one is made private if it holds only files of this program. In a directory with
    other files, only this program's files are private.

    Args:
        directory: the directory.
        own: prefixes of the names of the program's files in it.

    Raises:
        OSError: if it cannot be created.
    """
    missing = []
    at = directory
    while not at.exists():
        missing.append(at)
        at = at.parent
    for each in reversed(missing):
        each.mkdir(DIRECTORY_MODE, exist_ok=True)
    if not missing and _is_own(directory, own):
        _close_to_others(directory)
    if not directory.is_dir():
        directory.mkdir()  # raises its error


def make_private_file(path: Path) -> None:
    """Create an empty file private to this user, unless it exists.

    Nothing is raised if it cannot be created: opening it fails with the reason.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))


def keep_private(path: Path) -> None:
    """Remove the permissions of others on a file and on SQLite's files beside it.

    The file is not opened: closing it would drop SQLite's locks on it. A file of another user or
    on a read-only disk is not changed.
    """
    for each in (path, *(path.with_name(path.name + suffix) for suffix in SIDE_FILES)):
        _close_to_others(each)


def _is_own(directory: Path, own: tuple[str, ...]) -> bool:
    try:
        return all(entry.name.startswith(own) for entry in directory.iterdir())
    except OSError:
        return False


def _close_to_others(path: Path) -> None:
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OTHERS:
            path.chmod(mode & ~OTHERS)
