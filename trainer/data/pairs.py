"""Verification pairs: the `.bin` files of the face-recognition literature, and LFW's `pairs.txt`.

A `.bin` is a pickle, and unpickling can run code; only lists, bytes, booleans and numpy arrays are
let through here, everything else is refused by name.
"""

import io
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.faceset import decode, resize_short
from trainer.errors import DataError, RecordError

PICKLE_PROTOCOL = 2  # what Python 2 wrote, and what every reader in the field takes
_ALLOWED = {
    *(("numpy.core.multiarray", name) for name in ("_reconstruct", "scalar")),
    *(("numpy._core.multiarray", name) for name in ("_reconstruct", "scalar")),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *(("builtins", name) for name in ("list", "tuple", "bool", "bytearray", "bytes")),
    *(("__builtin__", name) for name in ("list", "tuple", "bool", "bytearray", "bytes")),
}


@dataclass(frozen=True, slots=True, eq=False)
class PairSet:
    """2 N images and N answers: images 2 i and 2 i + 1 make pair i.

    Attributes:
        name: shown in results.
        images: encoded, JPEG or PNG; decoded one by one, never all at once.
        is_same: (N,) bool.
    """

    name: str
    images: Sequence[bytes]
    is_same: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len(self.images) != 2 * len(self.is_same):
            raise RecordError(
                f"{self.name} holds {len(self.images)} images for {len(self.is_same)} pairs"
            )

    def image(self, index: int) -> Image:
        """Decode an image to (112, 112, 3) uint8 RGB.

        Raises:
            RecordError: if it cannot be decoded.
        """
        return resize_short(decode(self.images[index], name=f"{self.name}, image {index}"))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise RecordError(f"refused: it asks for {module}.{name}, which image pairs never need")
        return super().find_class("builtins" if module == "__builtin__" else module, name)


def alternate(pairs: PairSet) -> PairSet:
    """Put pairs of one person and of two in turn, what is left over of one kind last.

    LFW's lists have one kind after the other. With a list of a single fold, each of the ten folds
    of the protocol would contain only one kind, and its accuracy would mean little.
    """
    same, other = np.flatnonzero(pairs.is_same), np.flatnonzero(~pairs.is_same)
    n = min(len(same), len(other))
    order = [*np.stack([same[:n], other[:n]], axis=1).ravel(), *same[n:], *other[n:]]
    images = [pairs.images[k] for i in order for k in (2 * i, 2 * i + 1)]
    return PairSet(pairs.name, images, pairs.is_same[order])


def read_bin(path: Path) -> PairSet:
    """Read a `.bin` of any known make.

    Raises:
        RecordError: if it is missing, damaged, or holds anything but images and answers.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    try:
        # Python 2 wrote images as str: without encoding="bytes" they do not decode
        loaded = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error
    # a damaged pickle can raise nearly any exception of the allowed constructors
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        MemoryError,
        ImportError,
    ) as error:
        raise RecordError(f"{path} is no verification file: {error}") from error
    if not isinstance(loaded, (tuple, list)) or len(loaded) != 2:
        raise RecordError(f"{path} is no verification file: expected (images, answers)")
    images, answers = loaded
    if not isinstance(images, (list, tuple)):
        raise RecordError(f"{path} is no verification file: the images are no list")
    encoded = [_as_bytes(image, path) for image in images]
    is_same = np.asarray(answers)
    if is_same.ndim != 1 or is_same.dtype.kind not in "biu":
        raise RecordError(f"{path} is no verification file: the answers are no booleans")
    return PairSet(path.stem, encoded, is_same.astype(bool))


def _as_bytes(image: object, path: Path) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return bytes(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        return image.tobytes()
    raise RecordError(f"{path} is no verification file: an image is a {type(image).__name__}")


def write_bin(path: Path, pairs: PairSet) -> None:
    """Write a `.bin` that every reader in the field takes: lists of bytes and bools.

    It is written beside its place and renamed.
    """
    plain = ([bytes(image) for image in pairs.images], [bool(same) for same in pairs.is_same])
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(pickle.dumps(plain, PICKLE_PROTOCOL))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class PhotoPair:
    """Two photos below the directory of the photos, and whether they show one person."""

    a: str
    b: str
    is_same: bool


def read_pairs_txt(path: Path) -> list[PhotoPair]:
    """Read LFW's pairs.txt or the reference's pairs_label.txt.

    The first has rows `NAME i j` for one person, `NAME i OTHER j` for two; photo i of NAME is
    NAME/NAME_%04d, of any suffix. The second names any two photos, `PATH PATH LABEL`, with label 1
    for one person, 0 or -1 for two. A first line of one or two numbers (folds, pairs a fold) is
    passed over. Fields are separated by tabs, or by blanks where there are no tabs.

    Raises:
        DataError: if a line is something else, or there is no pair.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        fields = line.strip().split("\t") if "\t" in line.strip() else line.split()
        if not fields or (number == 1 and len(fields) <= 2 and all(f.isdigit() for f in fields)):
            continue
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            a, b, same = (fields[0], fields[1]), (fields[0], fields[2]), True
        elif len(fields) == 4 and fields[1].isdigit() and fields[3].isdigit():
            a, b, same = (fields[0], fields[1]), (fields[2], fields[3]), False
        elif len(fields) == 3 and fields[2] in ("1", "0", "-1"):
            pairs.append(PhotoPair(fields[0], fields[1], fields[2] == "1"))
            continue
        else:
            raise DataError(
                f"{path}, line {number}: expected `NAME i j`, `NAME i OTHER j` or "
                "`PATH PATH LABEL` with label 1 for one person and 0 for two"
            )
        pairs.append(PhotoPair(_photo(*a), _photo(*b), same))
    if not pairs:
        raise DataError(f"{path} names no pairs")
    return pairs


def _photo(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}"
