"""From a face set to a folder of images for each person."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from trainer.data.labelled import LabelledSet, Person, Progress
from trainer.errors import DataError

LONGEST = 200  # bytes of a folder's name: file systems allow 255


@dataclass(frozen=True, slots=True)
class Extracted:
    """The result of an extraction.

    Attributes:
        n_identities: folders.
        n_images: files.
        renamed: names of people that cannot be folders, and the folder of each.
        left_out: what is wrong with records that were not extracted.
    """

    n_identities: int
    n_images: int
    renamed: dict[str, str]
    left_out: tuple[str, ...]


def extract(source: LabelledSet, folder: Path, *, on_progress: Progress | None = None) -> Extracted:
    """Write FOLDER/NAME/NUMBER.jpg for every image, byte for byte, and `pack` reads it again.

    NUMBER is the id of the record. People without a name get their label as one. The folder is
    written beside its place and renamed when it is complete.

    Args:
        source: the set.
        folder: a new folder.
        on_progress: called with images done and in total.

    Raises:
        DataError: if the folder exists and is not empty, another program writes it, there are no
            images, or the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists: choose a new folder")
    if not source.people:
        raise DataError(f"{source.path} holds no image with a label")
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    renamed: dict[str, str] = {}
    done = 0
    try:
        part.mkdir(parents=True, exist_ok=True)
        lock = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for old in part.iterdir():  # of a program that was stopped
                shutil.rmtree(old)
            taken: set[str] = set()
            for person in source.people:
                name = _folder_name(person, taken)
                if person.name and name != person.name:
                    renamed[person.name] = name
                (part / name).mkdir()
                for number, record in enumerate(source.records(person)):
                    file = part / name / f"{record.record_id:08d}{_suffix(record.image)}"
                    if file.exists():  # ids may repeat
                        file = file.with_stem(f"{file.stem}-{number}")
                    file.write_bytes(record.image)
                    done += 1
                    if on_progress:
                        on_progress(done, source.n_images)
            part.replace(folder.absolute())
        except BlockingIOError as error:
            raise DataError(f"another program writes {folder}: wait, or choose another") from error
        except BaseException:  # a Ctrl-C too
            shutil.rmtree(part, ignore_errors=True)
            raise
        finally:
            os.close(lock)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {(error.strerror or '').lower()}") from error
    return Extracted(len(source.people), done, renamed, tuple(source.left_out))


def _folder_name(person: Person, taken: set[str]) -> str:
    """Return the name of a person, or the label where that is no name for a folder."""
    name = person.name
    is_good = (
        name
        and name == name.strip()
        and not name.startswith(".")
        and not {"/", "\\", "\0"} & set(name)
        and len(os.fsencode(name)) <= LONGEST
    )
    if not is_good or name.casefold() in taken:
        name = stem = f"{int(person.label):06d}" if person.label >= 0 else f"label{person.label:g}"
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
    taken.add(name.casefold())  # some file systems do not tell A from a
    return name


def _suffix(image: bytes) -> str:
    if image.startswith(b"\x89PNG"):
        return ".png"
    return ".jpg" if image.startswith(b"\xff\xd8") else ".bin"
