"""A set of faces in RecordIO: identities, and which records are of each.

Layout: record 0 holds two labels [A, B]; images have keys 1..A-1; identity records A..B-1 hold two
labels [s, e): the images s..e-1 are of that person. A file without such a record 0 is all images.
`property` is one line, `n_identities,height,width`.
"""

import fcntl
import math
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.framing import MAGIC
from trainer.data.index import MAX_OFFSET, smallest
from trainer.data.recordio import Closing, Record, RecordReader, RecordWriter
from trainer.errors import DataError, RecordError

SIDE = 112  # pixels: crops are 112x112
HEADER_KEY = 0
NAMES = "names.txt"  # of people, in the order of their labels
REJECTED = "rejected.json"
PART = ".part"  # below the directory of a set: files that are not in place
COMPLETE = "complete"  # in there: the names of the files, written when all of them are complete
EXACT_FLOAT32 = 1 << 24  # whole numbers up to here survive float32
IDENTITY = np.dtype(  # an identity record in the file
    [
        *(("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4")),
        *(("ids", "<u8", 2), ("labels", "<f4", 2)),
    ]
)


@dataclass(frozen=True, slots=True)
class Property:
    """The `property` file: counts and the size of the images."""

    n_identities: int
    height: int
    width: int


class FaceSet:
    """The images of a set by their keys, with the images of every identity.

    Attributes:
        path: of the `.rec` file.
        n_classes: number of classes that a classifier needs: the `property` file's, or one more
            than the largest label seen.
        groups: image keys of each identity, in the file's order; one group of all where the set has
            no identity records.
        keys: the N of all groups, one after the other.
        has_identities: the set has identity records.
    """

    def __init__(self, directory: Path, *, name: str = "train", min_images: int = 0) -> None:
        """Open `DIRECTORY/NAME.rec`.

        Args:
            directory: of the set.
            name: of the files.
            min_images: identities with fewer images are left out (`data_images_filter`).

        Raises:
            RecordError: if the set is missing or damaged.
        """
        self.path = check_there(directory, name)
        self.reader = RecordReader(self.path)
        if not self.reader.offsets:
            raise RecordError(f"{self.path} is empty")
        offsets = self.reader.offsets
        header = self.reader.read(HEADER_KEY if HEADER_KEY in offsets else next(iter(offsets)))
        self.has_identities = header.is_vector and not header.image and len(header.labels) == 2
        self.keys: Keys | NDArray[np.integer[Any]]
        self.groups: Groups | list[NDArray[np.integer[Any]] | Keys]
        if self.has_identities:
            ranges = self._read_ranges(header)
            sizes = np.maximum(ranges[:, 1] - ranges[:, 0], 0)
            ranges = ranges[sizes >= min_images]
            ranges[:, 1] = ranges.max(axis=1)
            self.groups, self.keys = Groups(ranges), Keys(ranges)
        else:
            known = self.reader.offsets.key_range
            self.keys = (
                self.reader.offsets.keys_array
                if known is None
                else Keys(np.array([[known.start, known.stop]], np.int64))
            )
            self.groups = [self.keys]
        if not len(self.keys):
            raise DataError(
                f"no identity of {self.path} has {min_images} images (lower data.min_images)"
            )
        self.property = read_property(directory)
        self.n_classes = self.property.n_identities if self.property else self._count_classes()

    def _read_ranges(self, header: Record) -> NDArray[np.int64]:
        """Return the (K, 2) first image key of each identity, and the one after the last."""
        first, end = (round(label) for label in header.labels)
        labels = self._read_identities(range(first, end))
        if labels is None:  # one by one, to name the one that is wrong
            rows = []
            for key in range(first, end):
                row = self.reader.read(key).labels
                if len(row) < 2:
                    raise RecordError(f"{self.path}: record {key} is no identity record")
                rows.append(row[:2])
            labels = np.array(rows, np.float64).reshape(-1, 2)
        is_odd = ~((labels >= 0) & (labels <= MAX_OFFSET)).all(axis=1)
        if is_odd.any():
            place = int(is_odd.argmax())
            raise RecordError(
                f"{self.path}: record {first + place} names no images: "
                f"{labels[place, 0]:.0f} to {labels[place, 1]:.0f}"
            )
        return np.rint(labels).astype(np.int64)

    def _read_identities(self, keys: range) -> NDArray[np.float64] | None:
        """Return the (K, 2) labels of identity records that follow each other; None for others.

        One by one, those of MS1M take two seconds.
        """
        try:
            positions = self.reader.offsets.positions(keys)
        except KeyError:
            return None
        size = IDENTITY.itemsize
        if not len(positions) or (np.diff(positions) != size).any():
            return None
        with self.path.open("rb") as file:
            file.seek(int(positions[0]))
            data = file.read(size * len(positions))
        if len(data) < size * len(positions):
            return None
        rows = np.frombuffer(data, IDENTITY)
        n_bytes = size - 8  # after magic word and length
        if not ((rows["magic"] == MAGIC) & (rows["length"] == n_bytes) & (rows["flag"] == 2)).all():
            return None
        return np.asarray(rows["labels"], np.float64)

    def _count_classes(self) -> int:
        labels = (self.label(int(key)) for key in self.keys)  # what is damaged is left out later
        largest = max((x for x in labels if x is not None and math.isfinite(x)), default=None)
        if largest is None:
            raise RecordError(f"{self.path} holds no image with a label")
        return 1 + int(largest)

    def __len__(self) -> int:
        return len(self.keys)

    def label(self, key: int) -> float | None:
        """Return the first label of an image; NaN without one, None if the record is damaged."""
        try:
            labels = self.reader.read(key).labels
        except RecordError:
            return None
        return labels[0] if labels else math.nan

    def read(self, key: int) -> tuple[Image, tuple[float, ...]]:
        """Return an image, (H, W, 3) uint8 RGB, and its labels.

        Raises:
            RecordError: if it is damaged; the message names the record.
        """
        record = self.reader.read(key)
        return decode(record.image, name=f"{self.path}, record {key}"), record.labels


class Groups(Sequence[range]):
    """The image keys of each identity, which follow each other in a file.

    Args:
        ranges: (K, 2) first key, and the one after the last.
    """

    def __init__(self, ranges: NDArray[np.int64]) -> None:
        self._ranges = smallest(ranges)

    @overload
    def __getitem__(self, number: int) -> range: ...

    @overload
    def __getitem__(self, number: slice) -> "list[range]": ...

    def __getitem__(self, number: int | slice) -> "range | list[range]":
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        first, end = self._ranges[number]
        return range(int(first), int(end))

    def __len__(self) -> int:
        return len(self._ranges)


class Keys(Sequence[int]):
    """Keys in ranges one after the other, computed when they are asked for.

    Args:
        ranges: (K, 2) first key, and the one after the last, no range ending before it begins.
    """

    def __init__(self, ranges: NDArray[np.int64]) -> None:
        self._ends = np.cumsum(ranges[:, 1] - ranges[:, 0])  # places after the last of each
        self._shifts = ranges[:, 1] - self._ends  # from a place to its key

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> list[int]: ...

    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place = int(place) % len(self)
        return place + int(self._shifts[np.searchsorted(self._ends, place, side="right")])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def tolist(self) -> list[int]:
        """Return all keys."""
        return list(self)


def read_property(directory: Path) -> Property | None:
    """Read the first line of `DIRECTORY/property`; None where there is none.

    insightface's rec_builder writes a second line, its rec2shufrec four.

    Raises:
        RecordError: if it is not `n,height,width`.
    """
    path = directory / "property"
    if not path.exists():
        return None
    try:
        first = next(iter(path.read_text("utf-8").strip().splitlines()), "")
        n, height, width = (int(value) for value in first.split(","))
    except ValueError as error:
        raise RecordError(
            f"the first line of {path} must be `n_identities,height,width`"
        ) from error
    return Property(n, height, width)


def decode(encoded: bytes, *, name: str) -> Image:
    """Decode a JPEG or PNG to (H, W, 3) uint8 RGB.

    Raises:
        RecordError: if it is neither; `name` says which.
    """
    if not encoded:
        raise RecordError(f"{name}: holds no image")
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise RecordError(f"{name}: the image cannot be decoded")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def encode(image: Image, *, quality: int = 95) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image as JPEG; quality 1..100, or as PNG with 0."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if quality == 0:
        return cv2.imencode(".png", bgr)[1].tobytes()
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def resize_short(image: Image, side: int = SIDE) -> Image:
    """Bring an image to side x side as the reference's loader does: bicubic, the short side first.

    Args:
        image: (H, W, 3) uint8 RGB.
        side: pixels.

    Returns:
        (side, side, 3) uint8 RGB; the middle where the image is not square.
    """
    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    size = (side, side * height // width) if height > width else (side * width // height, side)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    return np.asarray(resized[top : top + side, left : left + side], np.uint8)


class FaceSetWriter(Closing):
    """Writes a set; a context manager that completes it when it is left without an error.

    The files are written beside their place and renamed when they are complete; where that is
    interrupted, the next `FaceSet` or writer of the directory renames the rest. Images of one
    identity must come together, identities in the order of their labels.

    Args:
        directory: of the set; made where it is missing.
        name: of the files.
        size: height and width of the images, pixels, for `property`.
        replace: replace a set that is there.

    Raises:
        DataError: if there is a set, unless it may be replaced, or another program writes one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "train",
        size: tuple[int, int] = (SIDE, SIDE),
        replace: bool = False,
    ) -> None:
        if not replace:
            check_free(directory, name)
        self._directory, self._name, self.size = directory, name, size
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise DataError(
                f"another program writes a set to {directory}: wait, or choose another directory"
            ) from error
        self._part = directory / PART
        _place(directory)
        shutil.rmtree(self._part, ignore_errors=True)  # of a program that was killed
        self._part.mkdir()
        self._records = RecordWriter(self._part / f"{name}.rec")
        self._ranges: list[tuple[int, int]] = []
        self._names: list[str] = []
        self._next = 1
        self._is_placing = False

    def add(
        self,
        images: Sequence[bytes],
        extra_labels: Sequence[Sequence[float]] = (),
        *,
        name: str = "",
    ) -> None:
        """Append one identity with its encoded images.

        Args:
            images: JPEG or PNG; an identity without any is not added.
            extra_labels: where given, further labels of each image, kept after the class.
            name: of the person, for `names.txt`, which is written if every person has one.
        """
        if not images:
            return
        label, start = float(len(self._ranges)), self._next
        for number, image in enumerate(images):
            extra = tuple(extra_labels[number]) if extra_labels else ()
            self._records.write(self._next, Record((label, *extra), self._next, image))
            self._next += 1
        self._ranges.append((start, self._next))
        self._names.append(" ".join(name.splitlines()))  # one line each
        if self._next > EXACT_FLOAT32:
            raise DataError("more than 16,777,215 images: the format cannot count further")

    def attach(self, file: str, text: str) -> None:
        """Add a text file to the directory, put in place together with the set."""
        (self._part / file).write_text(text, "utf-8", "backslashreplace")

    def complete(self) -> None:
        """Write the identity records, record 0, `property` and `names.txt`; all of it to disk.

        Leaving the context does it too; call it to complete several sets before one is in place.
        """
        if (self._part / COMPLETE).exists():
            return
        first = self._next
        for number, (start, end) in enumerate(self._ranges):
            key = first + number
            self._records.write(key, Record((start, end), key, b"", is_vector=True))
        last = first + len(self._ranges)
        self._records.write(HEADER_KEY, Record((first, last), HEADER_KEY, b"", is_vector=True))
        self._records.close()
        height, width = self.size
        self.attach("property", f"{len(self._ranges)},{height},{width}\n")
        if all(self._names):
            self.attach(NAMES, "".join(f"{name}\n" for name in self._names))
        files = [file.name for file in self._part.iterdir()]
        for file in files:
            _flush(self._part / file)
        scratch = self._part / f"{COMPLETE}.tmp"
        scratch.write_text("".join(f"{file}\n" for file in files), "utf-8")
        _flush(scratch)
        scratch.replace(self._part / COMPLETE)

    def place(self) -> None:
        """Rename the files of a complete set to their places."""
        self._is_placing = True
        _place(self._directory)

    def close(self) -> None:
        """Close the files and remove what is not complete."""
        self._records.close()
        if not self._is_placing:
            shutil.rmtree(self._part, ignore_errors=True)
        os.close(self._lock)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.complete()
                self.place()
        finally:
            self.close()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _place(directory: Path) -> None:
    """Rename the files of a complete set that are not in place; the caller holds the lock."""
    part = directory / PART
    try:
        files = (part / COMPLETE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return
    for name in {NAMES, REJECTED} - set(files):  # of the set that is replaced
        (directory / name).unlink(missing_ok=True)
    # the .rec goes first and comes last: no moment in which old and new files are mixed
    files.sort(key=lambda name: name.endswith(".rec"))
    if (part / files[-1]).exists():
        (directory / files[-1]).unlink(missing_ok=True)
    for name in files:
        if (part / name).exists():
            (part / name).replace(directory / name)
    shutil.rmtree(part)


def finish_placing(directory: Path) -> None:
    """Put a complete set in place where a program was stopped while it did so.

    Raises:
        RecordError: if the directory cannot be written.
    """
    if not (directory / PART / COMPLETE).exists():
        return
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a writer that is about to do so holds it for a moment
        _place(directory)
    except OSError as error:
        raise RecordError(
            f"a new set in {directory / PART} cannot be put in place: {error.strerror}"
        ) from error
    finally:
        os.close(lock)


def check_free(directory: Path, name: str = "train") -> None:
    """Refuse a directory that holds a set.

    Raises:
        DataError: naming it.
    """
    for suffix in (".rec", ".idx"):
        if (path := directory / f"{name}{suffix}").exists():
            raise DataError(f"{path} exists: choose another directory, or replace it (--replace)")


def check_there(directory: Path, name: str = "train") -> Path:
    """Return the `.rec` file of a set, put in place where that was interrupted.

    Raises:
        RecordError: if there is no set, or it cannot be put in place.
    """
    finish_placing(directory)
    if not (path := directory / f"{name}.rec").exists():
        raise RecordError(f"cannot find {path} (`facewire-train pack` makes one)")
    return path


def histogram(faces: FaceSet) -> dict[int, int]:
    """Return how many identities have how many images: {images: identities}, sorted."""
    counts: dict[int, int] = defaultdict(int)
    for size in images_per_class(faces):
        counts[int(size)] += 1
    return dict(sorted(counts.items()))


def images_per_class(faces: FaceSet) -> NDArray[np.int64]:
    """Return the number of images of each identity that has any, in the order of identities."""
    if faces.has_identities:
        return np.array([len(group) for group in faces.groups], np.int64)
    labels = [label for key in faces.keys if (label := faces.label(int(key))) is not None]
    return np.unique(labels, return_counts=True)[1].astype(np.int64)
