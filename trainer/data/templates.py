"""The lists of template verification: images of templates, and pairs of templates.

A template is all that is known of a person at one time: photos and frames of videos. What belongs
together (a photo, or the frames of one video) is a media.

Source: IJB-B (Whitelam et al. 2017) and IJB-C (Maze et al. 2018), in the files that insightface
gives: `ijbc_face_tid_mid.txt` and `ijbc_template_pair_label.txt`.
"""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Templates:
    """Images by media, and media by template.

    Attributes:
        path: of the list.
        images: N files, each once, in the order of the list.
        lines: N numbers of the lines that name them first, from 1.
        image_of_row: (R,) index of the image of a row of the list.
        media_of_row: (R,) index of its media; a media of two templates counts as two.
        template_of_media: (M,) index of the template of a media.
        index: of a template, by its id.
    """

    path: Path
    images: tuple[Path, ...]
    lines: tuple[int, ...]
    image_of_row: Indices
    media_of_row: Indices
    template_of_media: Indices
    index: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class TemplatePairs:
    """Pairs of templates.

    Attributes:
        name: shown in results.
        a: (P,) index of the first template.
        b: (P,) index of the second one.
        is_same: (P,) bool, whether they are of one person.
    """

    name: str
    a: Indices
    b: Indices
    is_same: NDArray[np.bool_]


def read_templates(path: Path, directory: Path) -> Templates:
    """Read a list of images: `IMAGE TEMPLATE MEDIA` a row; ids are whole numbers.

    Args:
        path: of the list.
        directory: of the images; the list names them with their suffix.

    Raises:
        DataError: if a row is something else, an image is missing, or there is no row.
    """
    if not directory.is_dir():
        raise DataError(f"cannot find the folder {directory} of the images (--images)")
    images: dict[str, int] = {}
    files, lines = list[Path](), list[int]()
    index: dict[int, int] = {}
    media: dict[tuple[int, int], int] = {}
    image_of_row, media_of_row = array("q"), array("q")
    for number, line in _lines(path):
        fields = line.rsplit(maxsplit=2)  # a name may have blanks
        ids = _whole(fields[1:])
        if len(fields) != 3 or ids is None:
            raise DataError(
                f"{path}, line {number}: expected `IMAGE TEMPLATE MEDIA`, "
                "such as `12.jpg 3 40`, with whole numbers for template and media"
            )
        name = fields[0]
        if name not in images:
            file = directory / name
            if not file.is_file():
                raise DataError(f"{path}, line {number}: cannot find the image {file}")
            images[name] = len(files)
            files.append(file)
            lines.append(number)
        template = index.setdefault(ids[0], len(index))
        image_of_row.append(images[name])
        media_of_row.append(media.setdefault((template, ids[1]), len(media)))
    if not files:
        raise DataError(f"{path} names no images")
    return Templates(
        path=path,
        images=tuple(files),
        lines=tuple(lines),
        image_of_row=np.array(image_of_row, np.int64),
        media_of_row=np.array(media_of_row, np.int64),
        template_of_media=np.array([template for template, _ in media], np.int64),
        index=index,
    )


def read_template_pairs(path: Path, templates: Templates) -> TemplatePairs:
    """Read pairs: `TEMPLATE TEMPLATE LABEL` a row; the label is 1 for one person, 0 for two.

    Raises:
        DataError: if a row is something else, names a template that is not in the list, or one
            template twice, or if there is no row.
    """
    a, b, is_same = array("q"), array("q"), array("b")
    for number, line in _lines(path):
        fields = line.split()
        ids = _whole(fields)
        if ids is None or len(ids) != 3:
            raise DataError(
                f"{path}, line {number}: expected `TEMPLATE TEMPLATE LABEL`, such as `3 17 0`, "
                "in whole numbers"
            )
        if ids[2] not in (0, 1):
            raise DataError(
                f"{path}, line {number}: the label is {ids[2]}, "
                "expected 1 (one person) or 0 (two people)"
            )
        for template in ids[:2]:
            if template not in templates.index:
                raise DataError(
                    f"{path}, line {number}: template {template} is not in {templates.path}"
                )
        if ids[0] == ids[1]:
            raise DataError(
                f"{path}, line {number}: template {ids[0]} is compared with itself, "
                "which measures nothing"
            )
        a.append(templates.index[ids[0]])
        b.append(templates.index[ids[1]])
        is_same.append(ids[2])
    if not a:
        raise DataError(f"{path} names no pairs")
    return TemplatePairs(
        path.stem, np.array(a, np.int64), np.array(b, np.int64), np.array(is_same, bool)
    )


def _whole(fields: list[str]) -> list[int] | None:
    """Return whole numbers; None if one is not."""
    try:
        return [int(field) for field in fields]
    except ValueError:
        return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers from 1; one at a time."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8") from error
