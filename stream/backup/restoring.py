"""Restore of a backup into a data directory, as one step."""

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gallery import replacing
from gallery.private_files import FILE_MODE, make_private_directory
from stream.backup.archive import SCHEMAS, Manifest, Part, Reader, opened
from stream.errors import BackupError
from stream.service_lock import only_service

Progress = Callable[[str, int, int], None]
"""Called with a step, and its finished and total bytes."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored backup.

    Attributes:
        manifest: of the backup.
        kept: names of the files that were there before, empty if there were none.
    """

    manifest: Manifest
    kept: tuple[str, ...]


def restore(
    directory: Path, path: Path, *, model_id: str, force: bool, progress: Progress
) -> Restored:
    """Put a backup in the place of all data of a directory, as one step.

    All sums are verified before anything is changed. Ended at any moment, the directory has its
    old data or that of the backup, whole.

    Args:
        directory: of the gallery, the event log and the cameras; created if missing.
        path: of the backup.
        model_id: of the embedding model in use.
        force: whether to replace data; it is kept beside the new.
        progress: see `Progress`.

    Raises:
        BackupError: if the backup is damaged, newer or of another model, or there is data and not
            `force`.
        ConfigError: if a service runs on the directory.
    """
    with opened(path) as backup:
        manifest = backup.manifest
        _refuse_other_model(backup, model_id)
        if not force:
            _refuse_data(directory)
        _each_part(
            backup, progress, "verifying", lambda part, count: backup.copy(part, None, count)
        )
        try:
            make_private_directory(directory)
            with only_service(directory, step="stop it before you restore a backup"):
                replacing.discard(directory)
                if not force:
                    _refuse_data(directory)
                _each_part(
                    backup,
                    progress,
                    "restoring",
                    lambda part, count: _stage(backup, part, directory, count),
                )
                kept = replacing.replace(directory)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            step = " (free some space)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise BackupError(f"cannot restore to {directory}: {why}{step}") from error
    return Restored(manifest, tuple(kept))


def _each_part(
    backup: Reader,
    progress: Progress,
    what: str,
    do: Callable[[Part, Callable[[int], None]], None],
) -> None:
    done, total = 0, backup.manifest.n_bytes

    def count(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        progress(what, done, total)

    for part in backup.manifest.parts:
        do(part, count)


def _stage(backup: Reader, part: Part, directory: Path, count: Callable[[int], None]) -> None:
    """Write a part beside the data file that it will replace, and verify it."""
    path = replacing.staged(directory, part.name)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(handle, "wb") as file:
            backup.copy(part, file, count)
            file.flush()
            os.fsync(file.fileno())
        if part.name in SCHEMAS:
            _verify(backup, part, path)
    except (OSError, BackupError):
        replacing.discard(directory)
        raise


def _verify(backup: Reader, part: Part, path: Path) -> None:
    """Refuse a database that is not one; the sums are right, so it was damaged when written."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise backup.damaged(f"{part.name}: {error}") from error
    if version > SCHEMAS[part.name]:
        raise BackupError(
            f"{backup.path}: {part.name} is of version {version}, this program knows "
            f"{SCHEMAS[part.name]}: update facewire"
        )


def _refuse_other_model(backup: Reader, model_id: str) -> None:
    held = backup.manifest.model_id
    if held is not None and held != model_id:
        raise BackupError(
            f"{backup.path} holds embeddings of {held}, not of {model_id}: name that model by "
            "--model or in [recognizer] model; `facewire gallery reembed` converts the gallery "
            "afterwards"
        )


def _refuse_data(directory: Path) -> None:
    replacing.finish(directory)
    names = replacing.present(directory)
    if names:
        raise BackupError(
            f"there is data in {directory} ({', '.join(names)}): use --force to replace it, which "
            "keeps it beside, or choose another gallery by --gallery"
        )
