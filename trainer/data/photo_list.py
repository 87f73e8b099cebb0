"""Lists of photos with their labels: the `.lst` files of MXNet and of the reference's tools."""

import math
from dataclasses import dataclass
from pathlib import Path

from recognizer import Image
from trainer.errors import DataError

BOX, LANDMARKS = 4, 10  # numbers in a row of the reference: x1 y1 x2 y2; five x, then five y


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo of one person.

    Attributes:
        path: of the file.
        is_aligned: the image is a crop, whatever its size.
        box: x1, y1, x2, y2 in pixels of the face that is meant; () for the main face.
        landmarks: five points x, y in pixels, one after the other; () if unknown.
        labels: further labels of the image, after the class.
    """

    path: Path
    is_aligned: bool = False
    box: tuple[float, ...] = ()
    landmarks: tuple[float, ...] = ()
    labels: tuple[float, ...] = ()


def read_photo_list(path: Path) -> dict[str, list[Photo]]:
    """Read a list of photos; fields are separated by tabs.

    Two kinds of rows are known: `NUMBER LABEL [LABEL...] PATH` of MXNet's im2rec, and
    `ALIGNED PATH LABEL [BOX [LANDMARKS]]` of the reference's face2rec2, where ALIGNED is 0 or 1.
    Paths are relative to the folder of the list.

    Returns:
        The photos of each label, labels in ascending order. People are named after the folder of
        their photos, where each has one of its own, else after their labels.

    Raises:
        DataError: if the list cannot be read, a row is of neither kind, or there is none.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a list of photos in UTF-8") from error
    people: dict[float, list[Photo]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _photo_of(line.strip("\r\n").split("\t"), path.parent)
        if row is None:
            raise DataError(
                f"{path}, line {number}: expected NUMBER<tab>LABEL<tab>PATH, or "
                "ALIGNED<tab>PATH<tab>LABEL with the box and landmarks after it"
            )
        people.setdefault(row[0], []).append(row[1])
    if not people:
        raise DataError(f"{path} names no photos")
    people = dict(sorted(people.items()))
    folders = [{photo.path.parent.name for photo in photos} for photos in people.values()]
    own = [next(iter(names)) for names in folders if len(names) == 1]
    are_names = len(own) == len(set(own)) == len(people) and all(own)
    names = own if are_names else [f"{label:g}" for label in people]
    return dict(zip(names, people.values(), strict=True))


def _photo_of(fields: list[str], folder: Path) -> tuple[float, Photo] | None:
    """Return the label and photo of a row; None if it is of no known kind."""
    if len(fields) < 3 or _number(fields[0]) is None:
        return None
    middle = [_number(field) for field in fields[1:-1]]
    if None not in middle and _number(fields[-1]) is None:
        label, *more = (value for value in middle if value is not None)
        return label, Photo(folder / fields[-1], labels=tuple(more))
    rest = [value for field in fields[2:] if (value := _number(field)) is not None]
    if len(rest) != len(fields) - 2 or fields[0] not in ("0", "1"):
        return None
    if len(rest) not in (1, 1 + BOX, 1 + BOX + LANDMARKS):
        return None
    x, y = rest[5:10], rest[10:]
    landmarks = tuple(value for point in zip(x, y, strict=True) for value in point)
    return rest[0], Photo(folder / fields[1], fields[0] == "1", tuple(rest[1:5]), landmarks)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def around(image: Image, box: tuple[float, ...]) -> Image:
    """Return the part of an image around a face, half of the box wider on each side.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: x1, y1, x2, y2 in pixels.

    Returns:
        (h, w, 3) uint8 RGB, empty if the box is outside of the image.
    """
    x1, y1, x2, y2 = box
    dx, dy = max(x2 - x1, 0) / 2, max(y2 - y1, 0) / 2
    rows = slice(max(round(y1 - dy), 0), max(round(y2 + dy), 0))
    return image[rows, max(round(x1 - dx), 0) : max(round(x2 + dx), 0)]
