"""Replacement of all files of a data directory as one step, whole even after kill -9.

The new files are written beside the old ones under names that end in `.new`. One file that lists
the replacement, `replacement.json`, is renamed into place last: from that moment on the new files
are the data, and whoever opens the directory next moves those that are not yet in place. The old
files are kept under names that end in `.before-restore-TIME`.
"""

import fcntl
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gallery.errors import GalleryError
from gallery.private_files import FILE_MODE, OWN_FILES, SIDE_FILES

MARKER = "replacement.json"
NEW = ".new"
KEPT = ".before-restore-"


def staged(directory: Path, name: str) -> Path:
    """Return where the new file of that name is written before the replacement."""
    return directory / (name + NEW)


def present(directory: Path) -> list[str]:
    """Return the names of the data files that are in a directory."""
    return [name for name in OWN_FILES if os.path.lexists(directory / name)]


def discard(directory: Path) -> None:
    """Erase new files of a replacement that was interrupted before it became valid.

    Nobody else may be replacing the files of that directory now.
    """
    finish(directory)
    for path in (*(staged(directory, name) for name in OWN_FILES), _part(directory)):
        with suppress(OSError):  # missing, or on a read-only disk, where nothing is replaced
            path.unlink()


def replace(directory: Path) -> list[str]:
    """Put the staged files in the place of all data files of a directory, as one step.

    The staged files must be complete and on disk. A data file without a staged one is moved away
    too.

    Returns:
        The names of the files that are kept, empty if there were none.

    Raises:
        OSError: if the directory cannot be written.
    """
    suffix = _free_suffix(directory)
    kept = [name + suffix for name in present(directory)]
    names = [name for name in OWN_FILES if staged(directory, name).exists()]
    document = {"new": names, "suffix": suffix}
    part = _part(directory)
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(directory)
    part.replace(directory / MARKER)
    sync_directory(directory)
    finish(directory)
    return kept


def finish(directory: Path) -> None:
    """Complete a replacement that was interrupted after it became valid; else do nothing.

    Called by whatever opens a file of the directory; takes microseconds if there is none.

    Raises:
        GalleryError: if the directory cannot be written.
    """
    marker = directory / MARKER
    if not os.path.lexists(marker):
        return
    try:
        with marker.open("rb") as file:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            if marker.exists():  # else another process has completed it meanwhile
                _complete(directory, **json.load(file))
    except FileNotFoundError:
        return  # completed by another process
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryError(
            f"a restore of {directory} was interrupted and cannot be completed: {why}; "
            "run the command as a user that can write there"
        ) from error
    except (ValueError, TypeError) as error:
        raise GalleryError(
            f"{marker} is damaged: move it away and restore the backup again"
        ) from error


def _complete(directory: Path, new: list[str], suffix: str) -> None:
    for name in OWN_FILES:
        is_new = name in new
        if is_new and not staged(directory, name).exists():
            continue  # already in place
        for side in ("", *SIDE_FILES):
            # SQLite finds the log of a database by its name: both are moved.
            with suppress(FileNotFoundError):
                (directory / (name + side)).rename(directory / (name + suffix + side))
        if is_new:
            staged(directory, name).rename(directory / name)
    sync_directory(directory)
    (directory / MARKER).unlink()
    sync_directory(directory)


def _free_suffix(directory: Path) -> str:
    suffix = first = KEPT + datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while any(os.path.lexists(directory / (name + suffix)) for name in OWN_FILES):
        number += 1
        suffix = f"{first}-{number}"
    return suffix


def _part(directory: Path) -> Path:
    return directory / (MARKER + ".part")


def sync_directory(directory: Path) -> None:
    """Flush the names in a directory to the disk, where the file system can."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
