"""Facts about a face set: counts, sizes, damage, and a contact sheet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.faceset import FaceSet, histogram, images_per_class, resize_short
from trainer.data.labels import read_labels
from trainer.errors import DataError, RecordError

SHEET_COLUMNS = 16
SHEET_ROWS = 12


@dataclass(frozen=True, slots=True)
class Inspected:
    """Facts about a set.

    Attributes:
        n_images: in it.
        n_identities: with at least one image.
        n_classes: that a classifier needs.
        histogram: number of identities by their number of images.
        sizes: number of images by "HxW", of those inspected.
        damaged: errors of records that cannot be decoded, of those inspected.
        labels: what is wrong or unusual about the class labels; empty if nothing.
        n_looked_at: number of images decoded.
    """

    n_images: int
    n_identities: int
    n_classes: int
    histogram: dict[int, int]
    sizes: dict[str, int]
    damaged: tuple[str, ...]
    labels: str
    n_looked_at: int


def inspect(
    faces: FaceSet, *, limit: int = 2000, on_progress: Callable[[int, int], None] | None = None
) -> Inspected:
    """Return facts about a set.

    Args:
        faces: the set.
        limit: maximum number of images to decode, evenly spread; 0 for all.
        on_progress: called with images done and in total.
    """
    sizes: dict[str, int] = {}
    damaged = []
    chosen = list(_spread(faces.keys, limit or len(faces)))
    for number, key in enumerate(chosen, 1):
        if on_progress:
            on_progress(number, len(chosen))
        try:
            height, width = faces.read(key)[0].shape[:2]
        except RecordError as error:
            damaged.append(str(error))
            continue
        name = f"{height}x{width}"
        sizes[name] = sizes.get(name, 0) + 1
    found = read_labels(faces)
    return Inspected(
        n_images=len(faces),
        n_identities=len(images_per_class(faces)),
        n_classes=faces.n_classes,
        histogram=histogram(faces),
        sizes=dict(sorted(sizes.items())),
        damaged=tuple(damaged),
        labels=found.fault(faces.n_classes) or found.warning(faces.n_classes),
        n_looked_at=len(chosen),
    )


def _spread(keys: Sequence[int] | NDArray[np.integer[Any]], limit: int) -> Iterator[int]:
    n = min(limit, len(keys))
    return (int(keys[i * len(keys) // n]) for i in range(n))


def contact_sheet(faces: FaceSet) -> Image:
    """Return a sheet of up to 12 identities, one a row, with up to 16 images each, RGB."""
    groups = [group for group in faces.groups if len(group)]
    rows = [groups[i * len(groups) // n] for n in [min(SHEET_ROWS, len(groups))] for i in range(n)]
    sheet = np.full((112 * len(rows), 112 * SHEET_COLUMNS, 3), 255, np.uint8)
    for y, group in enumerate(rows):
        for x, key in enumerate(group[:SHEET_COLUMNS]):
            cell = sheet[112 * y : 112 * y + 112, 112 * x : 112 * x + 112]
            try:
                cell[:] = resize_short(faces.read(int(key))[0])
            except RecordError:
                cell[:] = (255, 0, 0)  # red: damaged
    return sheet


def write_picture(path: Path, image: Image) -> None:
    """Write an (H, W, 3) RGB image as PNG or JPEG.

    Raises:
        DataError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise DataError(f"cannot write {path}")
