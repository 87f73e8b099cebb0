"""Export of people, in an open format that any program can read and write.

A directory with two files:

people.jsonl    UTF-8, one JSON object per line. The first is the header: format, version, model_id,
                embedding_size, n_people, n_photos. Each further line is one person: identity_id,
                name, notes, created_at (Unix seconds), photos: a list of source_sha256, quality,
                model_id, created_at.
photos.npz      numpy arrays, for all photos in the order of people.jsonl: embeddings (N, D)
                float32; crop_ends (N,) int64 and crops (bytes,) uint8: the PNG of photo i is
                crops[crop_ends[i - 1]:crop_ends[i]], empty where no crop is kept.

Exporting, importing into an empty gallery and exporting again gives the same bytes.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gallery.errors import GalleryError, GalleryFormatError
from gallery.gallery import Gallery
from gallery.private_files import keep_private
from gallery.store import Store

PEOPLE, PHOTOS = "people.jsonl", "photos.npz"
FORMAT, VERSION = "facewire-people", 1
UNIT_TOLERANCE = 1e-3  # of an embedding's length: rounding errors only


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """Header of an export; also the result of exporting and importing."""

    model_id: str
    embedding_size: int
    n_people: int
    n_photos: int


def export_people(gallery: Gallery, directory: Path, *, replace: bool = False) -> ExportHeader:
    """Export all people to a directory, in files private to this user.

    Args:
        gallery: to export.
        directory: created if missing.
        replace: whether to replace an export in it, once the new one is complete.

    Raises:
        GalleryError: if it cannot be written, or already holds an export.
    """
    for name in (PEOPLE, PHOTOS):
        if not replace and os.path.lexists(directory / name):
            raise GalleryError(
                f"{directory / name} is there already: name another directory, or --replace it"
            )
    people, photos = _read_all(gallery.store)
    header = ExportHeader(
        gallery.model_id, gallery.embedding_size, len(people), len(photos["crop_ends"])
    )
    if not header.n_photos:
        photos["embeddings"] = np.empty((0, gallery.embedding_size), np.float32)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _part(directory / PHOTOS) as photos_part, _part(directory / PEOPLE) as people_part:
            with photos_part.open("xb") as file:
                keep_private(photos_part)
                np.savez(file, **photos)  # type: ignore[arg-type]  # its stub lacks keywords
                _flush(file)
            with people_part.open("xb") as file:
                keep_private(people_part)
                lines = [{"format": FORMAT, "version": VERSION, **asdict(header)}, *people]
                for line in lines:
                    file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                _flush(file)
            # Photos of one export beside people of another would look complete.
            (directory / PEOPLE).unlink(missing_ok=True)
            photos_part.replace(directory / PHOTOS)
            people_part.replace(directory / PEOPLE)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryError(f"cannot export to {directory}: {why}") from error
    return header


def read_header(directory: Path) -> ExportHeader:
    """Return the header of an export.

    Raises:
        GalleryFormatError: if there is no export in the directory.
    """
    return header_of(next(people_lines(directory), {}), directory)


def people_lines(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of people.jsonl, the header first.

    Raises:
        GalleryFormatError: if the file cannot be read or is damaged.
    """
    path = directory / PEOPLE
    try:
        _refuse_special(path)
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise GalleryFormatError(f"{path}, line {number}: not an object")
                yield value
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryFormatError(f"cannot read the export {path}: {why}") from error
    except (ValueError, RecursionError) as error:  # JSON or UTF-8
        raise GalleryFormatError(f"{path} is damaged: {error}") from error


def header_of(line: dict[str, Any], directory: Path) -> ExportHeader:
    """Return the header from the first object of people.jsonl.

    Raises:
        GalleryFormatError: if it is not a header of this version.
    """
    if line.get("format") != FORMAT or line.get("version") != VERSION:
        raise GalleryFormatError(
            f"{directory / PEOPLE} is not an export of version {VERSION}: "
            f'expected a first line with "format": "{FORMAT}"'
        )
    try:
        return ExportHeader(
            str(line["model_id"]),
            int(line["embedding_size"]),
            int(line["n_people"]),
            int(line["n_photos"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GalleryFormatError(f"{directory / PEOPLE} is damaged: {error}") from error


def read_photos(
    directory: Path, header: ExportHeader
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
    """Return embeddings, crop ends, and crops of all photos, as in the format.

    Raises:
        GalleryFormatError: if photos.npz cannot be read, is damaged, or is of another export.
    """
    path = directory / PHOTOS
    try:
        _refuse_special(path)
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)  # a single array has no names
            embeddings, ends, crops = (
                arrays[name] for name in ("embeddings", "crop_ends", "crops")
            )
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise GalleryFormatError(f"cannot read the export {path}: {why}") from error
    except (ValueError, LookupError, EOFError, MemoryError, BadZipFile) as error:
        raise GalleryFormatError(f"{path} is damaged: {error}") from error
    shape = (header.n_photos, header.embedding_size)
    lengths = np.linalg.norm(embeddings, axis=1) if embeddings.shape == shape else np.zeros(1)
    is_whole = (
        embeddings.shape == shape
        and embeddings.dtype == np.float32
        and bool((abs(lengths - 1.0) <= UNIT_TOLERANCE).all())
        and ends.shape == (header.n_photos,)
        and bool((np.diff(ends, prepend=0) >= 0).all())
        and crops.dtype == np.uint8
        and len(crops) == (ends[-1] if len(ends) else 0)
    )
    if not is_whole:
        raise GalleryFormatError(f"{path} is damaged: expected {shape} unit float32 embeddings")
    return embeddings, ends, crops


def _read_all(store: Store) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    people: list[dict[str, Any]] = []
    embeddings: list[bytes] = []
    pngs: list[bytes] = []
    with store.reading(snapshot=True) as connection:
        by_person: dict[int, list[dict[str, Any]]] = {}
        for key, *row in connection.execute(
            "SELECT person, identity_id, name, notes, created_at FROM identities ORDER BY person"
        ):
            by_person[key] = []
            names = ("identity_id", "name", "notes", "created_at")
            people.append({**dict(zip(names, row, strict=True)), "photos": by_person[key]})
        for key, source, quality, model_id, created_at, embedding, png in connection.execute(
            "SELECT person, source_sha256, quality, model_id, created_at, embedding, png"
            " FROM photos LEFT JOIN crops USING (photo_id) ORDER BY person, photo_id"
        ):
            by_person[key].append(
                {
                    "source_sha256": source,
                    "quality": quality,
                    "model_id": model_id,
                    "created_at": created_at,
                }
            )
            embeddings.append(embedding)
            pngs.append(png or b"")
    vectors = np.frombuffer(b"".join(embeddings), "<f4")
    return people, {
        "embeddings": vectors.reshape(len(embeddings), -1) if embeddings else vectors,
        "crop_ends": np.cumsum([len(p) for p in pngs], dtype=np.int64),
        "crops": np.frombuffer(b"".join(pngs), np.uint8),
    }


def _refuse_special(path: Path) -> None:
    """Reject a pipe or device: reading it may never end."""
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "not a regular file", str(path))


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file; a file left there is removed at the end."""
    part = path.with_name(f".{path.name}.{token_hex(8)}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
