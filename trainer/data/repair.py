"""A repaired copy of a set: labels from 0 without gaps, identity records, no damaged images."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.data.faceset import SIDE, FaceSetWriter, check_free, decode, read_property
from trainer.data.recordio import Record, read_payload, scan_records, unpack_record
from trainer.errors import DataError, RecordError

NAMES = "names.txt"  # of people, in the order of their labels


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """The result of a repair.

    Attributes:
        n_images: in the copy.
        labels: (K,) float64, the old labels in the order of the new ones.
        left_out: what is wrong with images that are not in the copy.
    """

    n_images: int
    labels: NDArray[np.float64]
    left_out: tuple[str, ...]


def repair(
    source: Path,
    out: Path,
    *,
    name: str = "train",
    check_images: bool = True,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Repaired:
    """Copy a set, grouped by the first label of each image; the images stay byte for byte.

    All records of the `.rec` file are read. Its index, identity records and `property` are not
    needed, and may be missing or wrong.

    Args:
        source: directory of the set.
        out: directory of the copy, another one.
        name: of the files of both.
        check_images: leave out images that cannot be decoded.
        replace: replace a set in `out`.
        on_progress: called with images done and in total.

    Raises:
        RecordError: if the set cannot be read.
        DataError: if nothing is left, the copy cannot be written, or `out` holds a set.
    """
    if out.resolve() == source.resolve():
        raise DataError(f"the copy of {source} needs another directory")
    if not replace:
        check_free(out, name)
    path = source / f"{name}.rec"
    if not path.exists():
        raise RecordError(f"cannot find {path} (`facewire-train pack` makes one)")
    left_out: list[str] = []
    offsets, labels = _labels_of(path, left_out)
    values, places = np.unique(labels, return_inverse=True)
    groups = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    kept: list[int] = []
    n_images = done = 0
    try:
        with (
            path.open("rb") as stream,
            FaceSetWriter(out, name=name, size=_size_of(source), replace=replace) as writer,
        ):
            for place, rows in enumerate(groups):
                images, extra = [], []
                for offset in offsets[rows]:
                    done += 1
                    if on_progress:
                        on_progress(done, len(offsets))
                    record = _record(stream, int(offset), str(path))
                    try:
                        if check_images:
                            decode(record.image, name=f"{path}, record {record.record_id}")
                    except RecordError as error:
                        left_out.append(str(error))
                        continue
                    images.append(record.image)
                    extra.append(record.labels[1:])
                writer.add(images, extra)
                n_images += len(images)
                if images:
                    kept.append(place)
            if not n_images:
                raise DataError(f"{path} holds no image with a label: there is nothing to copy")
        _copy_names(source, out, values[kept])
    except OSError as error:
        raise DataError(f"cannot write to {out}: {(error.strerror or '').lower()}") from error
    return Repaired(n_images, values[kept], tuple(left_out))


def _labels_of(path: Path, left_out: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the byte positions of all images and their first labels; adds what has none."""
    offsets, labels = array("q"), array("d")
    end = 0
    with path.open("rb") as stream:
        for offset, record_id in scan_records(path):
            if offset > end:
                left_out.append(f"{path}: bytes {end} to {offset} are no record")
            try:
                record = _record(stream, offset, str(path))
            except RecordError as error:
                left_out.append(f"{path}, record {record_id}: {error}")
                continue
            finally:
                end = stream.tell()
            if not record.image:
                continue  # an identity record
            if not record.labels or not np.isfinite(record.labels[0]):
                left_out.append(f"{path}, record {record_id}: it has no label")
                continue
            offsets.append(offset)
            labels.append(record.labels[0])
        size = path.stat().st_size
        if size > end:
            left_out.append(f"{path}: bytes {end} to {size} are no record")
    return np.array(offsets, np.int64), np.array(labels, np.float64)


def _record(stream: BinaryIO, offset: int, name: str) -> Record:
    stream.seek(offset)
    return unpack_record(read_payload(stream, name=name) or b"")


def _size_of(source: Path) -> tuple[int, int]:
    """Return the size of images that `property` names, 112x112 without it."""
    try:
        known = read_property(source)
    except RecordError:
        known = None
    return (known.height, known.width) if known else (SIDE, SIDE)


def _copy_names(source: Path, out: Path, labels: NDArray[np.float64]) -> None:
    """Copy the names of people by their new labels, where the set has names for all of them."""
    (out / NAMES).unlink(missing_ok=True)
    if not (source / NAMES).exists():
        return
    names = (source / NAMES).read_text("utf-8").splitlines()
    if all(label in range(len(names)) for label in labels):
        lines = (f"{names[int(label)]}\n" for label in labels)
        (out / NAMES).write_text("".join(lines), "utf-8")
