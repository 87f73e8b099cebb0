"""The images of a set by their labels, read from the `.rec` file alone."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.data.faceset import NAMES, SIDE, check_there, read_property
from trainer.data.framing import read_payload, scan_records
from trainer.data.recordio import Record, unpack_record
from trainer.errors import DataError, RecordError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """The images of one label.

    Attributes:
        label: first label of the images.
        name: in the set's `names.txt`; "" without one.
        offsets: (N,) int64 byte positions of the records, in the order of the file.
    """

    label: float
    name: str
    offsets: NDArray[np.int64]


class LabelledSet:
    """All images of a set, grouped by their first label.

    All records of the `.rec` file are read. Its index, identity records and `property` are not
    needed, and may be missing or wrong.

    Attributes:
        directory: of the set.
        path: of the `.rec` file.
        people: in the order of their labels.
        left_out: what is wrong with records that cannot be used.
        size: height and width in pixels that `property` states, 112x112 without it.
        n_images: of all people.
    """

    def __init__(
        self, directory: Path, *, name: str = "train", on_progress: Progress | None = None
    ) -> None:
        """Read the labels of `DIRECTORY/NAME.rec`.

        Args:
            directory: of the set.
            name: of the files.
            on_progress: called with bytes read and in total.

        Raises:
            RecordError: if the set is missing or cannot be read.
        """
        self.directory, self.path = directory, check_there(directory, name)
        self.left_out: list[str] = []
        offsets, labels = self._read_labels(on_progress)
        values, places = np.unique(labels, return_inverse=True)
        rows = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
        names = _names_of(directory, values)
        self.people = [
            Person(float(value), name, offsets[row])
            for value, name, row in zip(values, names, rows if len(values) else [], strict=True)
        ]
        self.size = _size_of(directory)
        self.n_images = len(offsets)

    def _read_labels(
        self, on_progress: Progress | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the byte positions of all images and their first labels."""
        offsets, labels = array("q"), array("d")
        end, size = 0, self.path.stat().st_size
        with self.path.open("rb") as stream:
            for offset, record_id in scan_records(self.path):
                if offset > end:
                    self.left_out.append(f"{self.path}: bytes {end} to {offset} are no record")
                try:
                    record = _record(stream, offset, str(self.path))
                except RecordError as error:
                    self.left_out.append(f"{self.path}, record {record_id}: {error}")
                    continue
                finally:
                    end = stream.tell()
                if on_progress:
                    on_progress(end, size)
                if not record.image:
                    continue  # an identity record
                if not record.labels or not np.isfinite(record.labels[0]):
                    self.left_out.append(f"{self.path}, record {record_id}: it has no label")
                    continue
                offsets.append(offset)
                labels.append(record.labels[0])
        if size > end:
            self.left_out.append(f"{self.path}: bytes {end} to {size} are no record")
        return np.array(offsets, np.int64), np.array(labels, np.float64)

    def records(self, person: Person) -> Iterator[Record]:
        """Yield the records of a person, in the order of the file.

        Raises:
            RecordError: if the file changed meanwhile.
        """
        with self.path.open("rb") as stream:
            for offset in person.offsets:
                yield _record(stream, int(offset), str(self.path))

    def need_names(self, purpose: str) -> None:
        """Refuse a set whose people have no names.

        Raises:
            DataError: with `purpose`, such as "append to faces".
        """
        if not all(person.name for person in self.people):
            raise DataError(
                f"cannot {purpose}: {self.directory} has no {NAMES} with a name for every label"
            )


def _record(stream: BinaryIO, offset: int, name: str) -> Record:
    stream.seek(offset)
    return unpack_record(read_payload(stream, name=name) or b"")


def _names_of(directory: Path, labels: NDArray[np.float64]) -> list[str]:
    """Return the names of people by their labels; "" for all where one has none."""
    path = directory / NAMES
    names = path.read_text("utf-8").splitlines() if path.exists() else []
    if all(label in range(len(names)) for label in labels):
        return [names[int(label)] for label in labels]
    return [""] * len(labels)


def _size_of(directory: Path) -> tuple[int, int]:
    """Return the size of images that `property` states, 112x112 without it."""
    try:
        known = read_property(directory)
    except RecordError:
        known = None
    return (known.height, known.width) if known else (SIDE, SIDE)
