"""Errors of `gallery`.

GalleryError
├── GalleryFormatError      the directory holds no gallery that this version can read
│   └── GalleryDamagedError it holds one whose file is damaged
├── InvalidNameError        a text is not a valid name of a person
├── ModelMismatchError      a probe or an embedding comes from another model than the gallery's
├── NameTakenError          another identity already has the name
├── UnknownIdentityError    no identity has that id or name
│   └── ErasedIdentityError the identity was erased after the work for it had started
├── GalleryBusyError        another process holds the file's write lock for too long
├── GalleryFullError        the disk is full
├── GalleryUnreachableError the server of the gallery's database does not answer
└── GalleryReplacedError    the file at the path is no longer the one that was opened
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class GalleryError(Exception):
    """Any expected failure of this package; the message is one line for the user."""


class GalleryFormatError(GalleryError):
    """Raised when a directory or file is not a gallery, is damaged, or is of a newer version."""


class GalleryDamagedError(GalleryFormatError):
    """Raised when a gallery's file is damaged; `facewire gallery check --repair` repairs it."""


class InvalidNameError(GalleryError, ValueError):
    """Raised when a name is empty, invisible, too long, or has control characters."""


class ModelMismatchError(GalleryError):
    """Raised when an embedding comes from another model than the gallery's."""


class NameTakenError(GalleryError):
    """Raised when another identity already has the name; merge the two instead."""


class UnknownIdentityError(GalleryError):
    """Raised when no identity has the given id or name."""


class ErasedIdentityError(UnknownIdentityError):
    """Raised when an identity was erased after work for it started, such as adding its photos."""


class GalleryBusyError(GalleryError):
    """Raised when another process writes for longer than the wait limit; nothing was changed."""


class GalleryFullError(GalleryError):
    """Raised when the disk is full; nothing was changed."""


class GalleryUnreachableError(GalleryError):
    """Raised when the gallery's database server is away; nothing was changed."""


class GalleryReplacedError(GalleryError):
    """Raised when the file at a gallery's path is no longer the one that was opened."""


def busy(place: str) -> GalleryBusyError:
    """Return the error for a write lock that another process holds."""
    return GalleryBusyError(
        f"the gallery {place} is busy: another process is writing to it; try again later"
    )


def replaced(path: Path) -> GalleryReplacedError:
    """Return the error for a gallery file that was moved, deleted or replaced while open."""
    return GalleryReplacedError(
        f"the gallery file {path} was replaced or deleted while it was open: put it back, or start "
        "again with what is there now"
    )


def other_model(place: str, held: str, wanted: str) -> ModelMismatchError:
    """Return the error for a gallery that was converted to another model while open."""
    return ModelMismatchError(
        f"the gallery {place} now holds embeddings of {held}, not of {wanted}: "
        "start again with that model"
    )


_NEXT_STEPS = {
    sqlite3.SQLITE_READONLY: "it is read-only for this user; change its permissions",
    sqlite3.SQLITE_PERM: "it is not accessible for this user; change its permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or created here; check the permissions",
    sqlite3.SQLITE_IOERR: "the disk gave an error or is full; check it and try again",
}


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Convert SQLite's errors about `path` to one-line errors.

    Raises:
        GalleryFormatError: if the file is damaged or not a database.
        GalleryBusyError: if another process holds the lock too long.
        GalleryFullError: if the disk is full.
        GalleryError: for missing permissions, and similar.

    Source: https://www.sqlite.org/rescode.html; the low byte is the primary code.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise busy(str(path.parent)) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise GalleryFormatError(
                f"{path} is not a gallery: name another directory, nothing was changed"
            ) from error
        if code == sqlite3.SQLITE_CORRUPT:
            raise GalleryDamagedError(
                f"{path} is damaged ({error}): run `facewire gallery check`"
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise GalleryFullError(
                f"cannot use the gallery {path}: the disk is full; free some space and try again"
            ) from error
        step = _NEXT_STEPS.get(code, str(error))
        raise GalleryError(f"cannot use the gallery {path}: {step}") from error
