"""A repaired copy of a set: labels from 0 without gaps, identity records, no damaged images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.faceset import FaceSetWriter, check_free, decode
from trainer.data.labelled import LabelledSet
from trainer.errors import DataError, RecordError


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
    faces = LabelledSet(source, name=name)
    left_out = faces.left_out
    kept: list[float] = []
    n_images = done = 0
    try:
        with FaceSetWriter(out, name=name, size=faces.size, replace=replace) as writer:
            for person in faces.people:
                images, extra = [], []
                for record in faces.records(person):
                    done += 1
                    if on_progress:
                        on_progress(done, faces.n_images)
                    try:
                        if check_images:
                            decode(record.image, name=f"{faces.path}, record {record.record_id}")
                    except RecordError as error:
                        left_out.append(str(error))
                        continue
                    images.append(record.image)
                    extra.append(record.labels[1:])
                writer.add(images, extra, name=person.name)
                n_images += len(images)
                if images:
                    kept.append(person.label)
            if not n_images:
                raise DataError(f"{faces.path} holds no image with a label: nothing to copy")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {(error.strerror or '').lower()}") from error
    return Repaired(n_images, np.array(kept, np.float64), tuple(left_out))
