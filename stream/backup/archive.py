"""The format of a backup: a zip file with the data files and, last, a manifest.

manifest.json   format, version, facewire, created_at, model_id, counts, and for each part: name,
                bytes, sha256, schema (the version of a database; null for JSON).
gallery.sqlite3, events.db, cameras.json, rules.json, push.json
                the data files, uncompressed; those that did not exist are left out.
"""

import hashlib
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gallery import schema as gallery_schema
from recognizer import refuse_special
from stream.errors import BackupError
from stream.events import schema as events_schema

MANIFEST = "manifest.json"
FORMAT, VERSION = "facewire-backup", 1
MAX_MANIFEST_BYTES = 1 << 20
CHUNK = 1 << 20

SCHEMAS = {
    gallery_schema.FILE_NAME: len(gallery_schema.MIGRATIONS),
    events_schema.FILE_NAME: len(events_schema.MIGRATIONS),
}
"""The versions of the databases that this program knows."""

DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    # of a damaged directory of the zip file: an unknown compression, an encrypted part, a name
    # that is not text, a number out of range
    NotImplementedError,
    RuntimeError,
    KeyError,
    ValueError,
    OverflowError,
)

Progress = Callable[[int, int], None]
"""Called with the finished and all steps."""


class Part(BaseModel):
    """One data file of a backup."""

    model_config = ConfigDict(frozen=True)

    name: Literal["gallery.sqlite3", "events.db", "cameras.json", "rules.json", "push.json"]
    bytes: int = Field(ge=0)
    sha256: str
    schema_version: int | None = Field(alias="schema")


class Manifest(BaseModel):
    """What a backup holds.

    Attributes:
        facewire: version of the program that wrote it.
        created_at: time in ISO 8601, UTC.
        model_id: of the gallery's embeddings; None for an empty gallery, or without one.
        counts: number of people, photos, events and so on.
        parts: the data files.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["facewire-backup"] = "facewire-backup"
    version: int = VERSION
    facewire: str
    created_at: str
    model_id: str | None
    counts: dict[str, int]
    parts: tuple[Part, ...]

    @property
    def n_bytes(self) -> int:
        """The size of all data files, bytes."""
        return sum(part.bytes for part in self.parts)


class Writer:
    """Writes a backup into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._parts: list[Part] = []

    def add(self, name: str, path: Path, *, version: int | None, progress: Progress) -> None:
        """Add a data file; `progress` gets its bytes."""
        total, done, digest = path.stat().st_size, 0, hashlib.sha256()
        with path.open("rb") as source, self._zip.open(name, "w", force_zip64=True) as part:
            while chunk := source.read(CHUNK):
                part.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, total)
        self._parts.append(
            Part.model_validate(
                {"name": name, "bytes": done, "sha256": digest.hexdigest(), "schema": version}
            )
        )

    def close(
        self, *, facewire: str, created_at: str, model_id: str | None, counts: Mapping[str, int]
    ) -> Manifest:
        """Add the manifest and complete the zip file."""
        manifest = Manifest(
            facewire=facewire,
            created_at=created_at,
            model_id=model_id,
            counts=dict(counts),
            parts=tuple(self._parts),
        )
        text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2) + "\n"
        self._zip.writestr(MANIFEST, text)
        self._zip.close()
        return manifest

    def release(self) -> None:
        """Release the zip file, complete or not; safe to call twice."""
        with suppress(OSError, ValueError):  # of the disk that stopped the backup
            self._zip.close()


class Reader:
    """A backup that is open for reading; see `opened`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = archive
        self.manifest = self._read_manifest()

    def copy(self, part: Part, target: IO[bytes] | None, progress: Callable[[int], None]) -> None:
        """Verify a part, and write it to a file if one is given; `progress` gets each length.

        Raises:
            BackupError: if it is damaged.
            OSError: if the file cannot be written.
        """
        digest, n_bytes = hashlib.sha256(), 0
        with self._damages():
            source = self._zip.open(part.name)
        with source:
            while True:
                with self._damages():
                    chunk = source.read(CHUNK)
                if not chunk:
                    break
                n_bytes += len(chunk)
                if n_bytes > part.bytes:
                    break
                digest.update(chunk)
                if target is not None:
                    target.write(chunk)
                progress(len(chunk))
        if n_bytes != part.bytes or digest.hexdigest() != part.sha256:
            raise self.damaged(f"the sum of {part.name} is wrong")

    def damaged(self, why: object) -> BackupError:
        """Return the error for a damaged backup."""
        return BackupError(f"{self.path} is damaged ({why}): use another backup")

    @contextmanager
    def _damages(self) -> Iterator[None]:
        try:
            yield
        except DAMAGES as error:
            raise self.damaged(str(error) or type(error).__name__) from error
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _read_manifest(self) -> Manifest:
        with self._damages():
            if MANIFEST not in self._zip.namelist():
                raise BackupError(f"{self.path} is not a backup of facewire: name another file")
            with self._zip.open(MANIFEST) as file:
                document = json.loads(file.read(MAX_MANIFEST_BYTES))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BackupError(f"{self.path} is not a backup of facewire: name another file")
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise BackupError(
                f"{self.path} is a backup of version {version}, this program knows {VERSION}: "
                "update facewire"
            )
        try:
            manifest = Manifest.model_validate(document)
        except ValidationError as error:
            raise self.damaged("its manifest is not valid") from error
        names = [part.name for part in manifest.parts]
        if manifest.version != VERSION or len(set(names)) != len(names):
            raise self.damaged("its manifest is not valid")
        for part in manifest.parts:
            known = SCHEMAS.get(part.name)
            if known is not None and (part.schema_version or 0) > known:
                raise BackupError(
                    f"{self.path}: {part.name} is of version {part.schema_version}, this program "
                    f"knows {known}: update facewire"
                )
        return manifest


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Open a backup and read its manifest.

    Raises:
        BackupError: if it is missing, damaged, or of a newer version.
    """
    try:
        refuse_special(path)
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BackupError(f"cannot read the backup {path}: not a regular file")
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise BackupError(
                f"{path} is not a backup, or is truncated: use another backup"
            ) from error
        except DAMAGES as error:
            raise BackupError(f"{path} is damaged ({error}): use another backup") from error
        except OSError as error:
            raise _unreadable(path, error) from error
        with archive:
            yield Reader(path, archive)


def _unreadable(path: Path, error: Exception) -> BackupError:
    why = (getattr(error, "strerror", None) or str(error)).lower()
    return BackupError(f"cannot read the backup {path}: {why}")
