"""People in the folders of Double Take and DeepFace."""

from contextlib import suppress
from pathlib import Path

from stream.enrollment.folders import PeopleFolder, read_people_folder

CACHES = (".pkl", ".pickle")
"""Embeddings of DeepFace's networks. Reading one would run whatever code is in it."""


def read_double_take(directory: Path) -> PeopleFolder:
    """Return the people of Double Take's storage, or of the folder `train` in it.

    Its database holds what detectors answered, and no photos.

    Raises:
        EnrolmentError: if there are none.
    """
    return read_people_folder(first_folder(directory, (".storage", "train"), ("train",)))


def read_deepface(directory: Path) -> PeopleFolder:
    """Return the people of a `db_path` of DeepFace; its pickled embeddings are never read.

    Raises:
        EnrolmentError: if there are none.
    """
    return read_people_folder(directory, ignore=lambda name: name.lower().endswith(CACHES))


def first_folder(directory: Path, *below: tuple[str, ...]) -> Path:
    """Return the first of some folders below a directory that exists, else the directory."""
    for parts in below:
        with suppress(OSError):  # such as a name that is too long: reported when it is read
            if directory.joinpath(*parts).is_dir():
                return directory.joinpath(*parts)
    return directory
