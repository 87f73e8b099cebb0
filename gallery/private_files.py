"""Files and directories that only their owner can read: they hold faces, names and passwords."""

import os
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE, DIRECTORY_MODE = 0o600, 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it makes them with the mode of the database."""

OWN_FILES = ("gallery.sqlite3", "events.db", "cameras.json")
"""How the names of all files in a data directory begin."""


def make_private_directory(directory: Path, *, own: tuple[str, ...] = OWN_FILES) -> None:
    """Make a directory, with its missing parents, that only this user can enter.

    One that exists is closed to others where it holds nothing but the files of this program. In a
    directory that also serves something else, the files alone are private.

    Args:
        directory: the directory.
        own: how the names of the program's files in it begin.

    Raises:
        OSError: if it cannot be made.
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
        directory.mkdir()  # raises what is wrong with it


def make_private_file(path: Path) -> None:
    """Make an empty file that only this user can read, unless there is one.

    Nothing is raised where it cannot be made: opening it fails with the reason.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))


def keep_private(path: Path) -> None:
    """Take others' rights to a file, and to what SQLite keeps beside it, away.

    The file is not opened: closing it again would drop SQLite's locks on it. A file of another
    user or on a read-only disk stays as it is.
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
