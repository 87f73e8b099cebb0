"""From photos to aligned crops: the face that a labelled photo is about."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recognizer import Image, Recognizer, read_image
from recognizer.models.measuring import main_face
from trainer.data.faceset import SIDE, encode
from trainer.data.pairs import PairSet, PhotoPair
from trainer.errors import DataError

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".jpe", ".jfif", ".mpo", ".heic", ".heif", ".avif", ".gif", ".jp2"),
)


def find_photo(directory: Path, stem: str) -> Path:
    """Return a photo by its path below the directory; NAME/NAME_0001 is of any suffix.

    Raises:
        DataError: if there is none.
    """
    if (directory / stem).is_file():
        return directory / stem
    for suffix in PHOTO_SUFFIXES:
        for candidate in (stem + suffix, stem + suffix.upper()):
            if (directory / candidate).is_file():
                return directory / candidate
    raise DataError(f"cannot find {directory / stem}.jpg (or .png, ...)")


def is_crop(image: Image) -> bool:
    """Whether an image is an aligned crop: photos are seldom exactly 112x112."""
    return image.shape[:2] == (SIDE, SIDE)


def crop_of(image: Image, recognizer: Recognizer) -> Image | None:
    """Return the aligned crop of a photo's main face; None if no face is found."""
    (detections,) = recognizer.detect([image])
    best = main_face(detections, image)
    if best < 0:
        return None
    return recognizer.align(image, detections.landmarks[best : best + 1])[0]


def pairs_of_photos(
    directory: Path,
    pairs: Sequence[PhotoPair],
    *,
    name: str,
    open_detector: Callable[[], Recognizer],
    on_progress: Callable[[int, int], None] | None = None,
) -> PairSet:
    """Make a pair set of photos: each is detected and aligned once, crops are taken as they are.

    Args:
        directory: of the photos, DIRECTORY/NAME/NAME_0001.jpg.
        pairs: of photos.
        name: of the set.
        open_detector: called at the first photo that is not a crop.
        on_progress: called with photos done and photos in all.

    Returns:
        The set; a photo without a face is an image of zero bytes.

    Raises:
        DataError: if a photo is missing.
        ImageError: if one cannot be read.
    """
    stems = list(dict.fromkeys(stem for pair in pairs for stem in (pair.a, pair.b)))
    crops: dict[str, bytes] = {}
    recognizer: Recognizer | None = None
    paths = {stem: find_photo(directory, stem) for stem in stems}  # before any is detected
    for number, (stem, path) in enumerate(paths.items(), 1):
        image = read_image(path)
        if is_crop(image):
            crops[stem] = path.read_bytes()
        else:
            recognizer = recognizer or open_detector()
            crop = crop_of(image, recognizer)
            crops[stem] = b"" if crop is None else encode(crop, quality=0)
        if on_progress:
            on_progress(number, len(paths))
    images = [crops[stem] for pair in pairs for stem in (pair.a, pair.b)]
    return PairSet(name, images, np.array([pair.is_same for pair in pairs], bool))
