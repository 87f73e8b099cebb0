"""Import of an export's people; the format is described in `gallery.exchange`."""

import itertools
import re
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.blobs import Embedding
from gallery.errors import GalleryFormatError, InvalidNameError, ModelMismatchError
from gallery.exchange import PEOPLE, header_of, people_lines, read_photos
from gallery.gallery import Gallery
from gallery.names import MAX_NAME_LENGTH, escaped, is_storable, name_key, repaired_name
from gallery.person_rows import add_crop, number_of
from gallery.store import Connection

MAX_TIME = 253_402_300_799.0  # Unix seconds of the last year with four digits
MAX_NOTES_LENGTH = 100_000  # characters
IDENTITY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class OnClash(StrEnum):
    """Handling of a person of an import with the name of another person in the gallery."""

    SKIP = "skip"
    RENAME = "rename"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class Clash:
    """A person of an import with the name of another person in the gallery.

    Attributes:
        name: of both.
        identity_id: of the person in the import.
        held_id: of the person in the gallery.
        became: the name of the imported person in the gallery; None if skipped.
    """

    name: str
    identity_id: str
    held_id: str
    became: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import.

    Attributes:
        model_id, embedding_size: of the export.
        n_people: number of new people.
        n_photos: number of new photos.
        clashes: people with the name of another person, in the order of the export.
    """

    model_id: str
    embedding_size: int
    n_people: int
    n_photos: int
    clashes: tuple[Clash, ...]


def import_people(
    gallery: Gallery, directory: Path, *, on_clash: OnClash = OnClash.SKIP
) -> Imported:
    """Add all people of an export in one transaction; none on an error.

    A person of the same id gets the missing photos; its name and notes do not change.

    Args:
        gallery: to add to, of the same model.
        directory: of the export.
        on_clash: handling of a person with the name of another person: skipped, added under the
            name with a number, or their photos added to that person.

    Raises:
        GalleryFormatError: if the directory holds no complete export.
        ModelMismatchError: if it is of another model.
        GalleryBusyError: if another process holds the gallery.
    """
    lines = people_lines(directory)
    header = header_of(next(lines, {}), directory)
    if (header.model_id, header.embedding_size) != (gallery.model_id, gallery.embedding_size):
        raise ModelMismatchError(
            f"{directory} holds embeddings of {escaped(header.model_id[:100])}, the gallery of "
            f"{gallery.model_id}: import into a gallery of that model"
        )
    people = list(lines)
    own_ids = {str(person.get("identity_id")) for person in people}
    embeddings, ends, crops = read_photos(directory, header)
    n_people = n_photos = row = 0
    clashes: list[Clash] = []
    with gallery.store.writing() as connection:
        try:
            for person in people:
                key, is_new, clash = _add_person(connection, person, own_ids, on_clash)
                n_people += is_new
                clashes += [clash] if clash else []
                for photo in person["photos"]:
                    start = ends[row - 1] if row else 0
                    png = crops[start : ends[row]].tobytes()
                    if key is not None:
                        n_photos += _add_photo(
                            connection, key, photo, embeddings[row], png, header.model_id
                        )
                    row += 1
        except InvalidNameError as error:
            raise GalleryFormatError(f"cannot import {directory / PEOPLE}: {error}") from error
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise GalleryFormatError(f"{directory / PEOPLE} is damaged: {error}") from error
        if row != header.n_photos or len(people) != header.n_people:
            raise GalleryFormatError(
                f"{directory / PEOPLE} is not complete: {len(people)} of {header.n_people} people"
            )
    gallery.refresh()
    return Imported(header.model_id, header.embedding_size, n_people, n_photos, tuple(clashes))


def _add_person(
    connection: Connection, person: dict[str, Any], own_ids: Set[str], on_clash: OnClash
) -> tuple[int | None, bool, Clash | None]:
    """Return the person to add photos to, None to skip them, and whether that person is new."""
    identity_id, name = str(person["identity_id"]), repaired_name(person["name"])
    if not IDENTITY_ID.fullmatch(identity_id):
        raise ValueError(f"an identity_id is 1 to 64 letters and digits, got {identity_id[:80]!r}")
    row = connection.execute(
        # A person merged since the export is the person they were merged into.
        "SELECT person FROM identities WHERE identity_id = ? OR identity_id ="
        " (SELECT into_id FROM successors WHERE identity_id = ?) ORDER BY identity_id != ?",
        (identity_id,) * 3,
    ).fetchone()
    if row is not None:
        return int(row[0]), False, None
    clash = None
    if (holder := _other_holder(connection, name, own_ids)) is not None:
        held, held_id = holder
        if on_clash is not OnClash.RENAME:
            is_merged = on_clash is OnClash.MERGE
            clash = Clash(name, identity_id, held_id, name if is_merged else None)
            return (held if is_merged else None), False, clash
        new_name = _free_name(connection, name, own_ids)
        clash = Clash(name, identity_id, held_id, new_name)
        name = new_name
    connection.execute(
        "INSERT INTO identities (identity_id, name, name_key, notes, created_at)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            identity_id,
            name,
            name_key(name),
            _text(person["notes"]),
            _number(person["created_at"], MAX_TIME),
        ),
    )
    return number_of(connection, identity_id), True, clash


def _other_holder(connection: Connection, name: str, own_ids: Set[str]) -> tuple[int, str] | None:
    """Return person and id of the holder of an imported person's name, None if there is none.

    Two names of an older gallery may differ only in case: its export holds both.
    """
    held = connection.execute(
        "SELECT person, identity_id, name FROM identities WHERE name = ? OR name_key = ?"
        " ORDER BY name != ?",
        (name, name_key(name), name),
    ).fetchall()
    for key, held_id, held_name in held:
        if held_name == name or held_id not in own_ids:
            return int(key), str(held_id)
    return None


def _free_name(connection: Connection, name: str, own_ids: Set[str]) -> str:
    for number in itertools.count(2):
        suffix = f" ({number})"
        candidate = name[: MAX_NAME_LENGTH - len(suffix)] + suffix
        if _other_holder(connection, candidate, own_ids) is None:
            return candidate
    raise AssertionError  # there are more numbers than people


def _add_photo(
    connection: Connection,
    person: int,
    photo: dict[str, Any],
    embedding: NDArray[np.float32],
    png: bytes,
    model_id: str,
) -> int:
    if photo["model_id"] != model_id:
        raise ValueError("a photo is of another model than the export")
    cursor = connection.execute(
        "INSERT INTO photos (person, source_sha256, quality, model_id, created_at, embedding)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (person, source_sha256) DO NOTHING",
        (
            person,
            _sha256(photo["source_sha256"]),
            _number(photo["quality"], 1.0),
            model_id,
            _number(photo["created_at"], MAX_TIME),
            Embedding.of(embedding),
        ),
    )
    if cursor.rowcount and png:
        add_crop(connection, person, photo["source_sha256"], png)
    return int(cursor.rowcount)


def _number(value: Any, largest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is expected")
    number = float(value)
    if not 0.0 <= number <= largest:
        raise ValueError(f"a number must be in 0 to {largest:g}")
    return number


def _text(value: object) -> str:
    text = str(value)
    if not is_storable(text) or len(text) > MAX_NOTES_LENGTH:
        raise ValueError(f"notes are at most {MAX_NOTES_LENGTH} characters of text")
    return text


def _sha256(digits: object) -> str:
    if not isinstance(digits, str) or not SHA256.fullmatch(digits):
        raise ValueError(f"source_sha256 must be 64 hexadecimal digits, got {str(digits)[:80]!r}")
    return digits
