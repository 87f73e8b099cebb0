"""Decodes photos from files and uploads, or raises one clear line.

Pillow decodes all formats. OpenCV takes 41 ms for a JPEG of 12 megapixels and Pillow 52, but
OpenCV prints libjpeg's and libpng's complaints to stderr, without the name of the file.

One rule of size applies to every photo. A photo of more pixels than are of use is decoded at half
or a quarter of its size, so that one of 200 megapixels needs no more memory than a smaller one;
a photo in a format that can only be decoded as a whole must be smaller.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from recognizer.errors import ImageError
from recognizer.faces import MAX_SIDE, Image
from recognizer.files import read_file
from recognizer.photos import jpeg

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 220_000_000  # of a JPEG, decoded at reduced size: phones have up to 200 megapixels
MAX_WHOLE_PIXELS = 110_000_000  # of what must be decoded as a whole: 440 MB for a while
FULL_PIXELS = 66_000_000  # up to here nothing is reduced: 200 MB as RGB, phones of 64 megapixels
MAX_BYTES = 256 * 1024 * 1024  # a 64 megapixel photo stays below this even as a bitmap of RGBA
MAX_REDUCTION = 8  # the most that the DCT of a JPEG offers
FORMATS = "JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF, BMP or JPEG 2000"


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photo.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright by its metadata.
        scale: pixels of the file per pixel of `image`, 1 or more.
    """

    image: Image
    scale: float


def read_image(path: Path) -> Image:
    """Read a photo file; see `read_photo`."""
    return read_photo(path).image


def read_photo(path: Path) -> Photo:
    """Read a photo file.

    Args:
        path: in one of `FORMATS`; the end of its name does not matter.

    Raises:
        ImageError: if it cannot be read; the message names the file and the reason.
    """
    try:
        data = read_file(path, max_bytes=MAX_BYTES)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    return decode_photo(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> Image:
    """Decode a photo to (H, W, 3) uint8 RGB; see `decode_photo`."""
    return decode_photo(data, name=name).image


def decode_photo(data: bytes, *, name: str) -> Photo:
    """Decode a photo.

    Gray, palette, CMYK and 16-bit photos become RGB of 8 bits, a color profile becomes sRGB, the
    orientation of EXIF or of the container is applied, the first frame of an animation is taken,
    and an alpha channel is dropped: faces keep their own colors, transparent or not.

    Args:
        data: the file's bytes, in one of `FORMATS`.
        name: for error messages.

    Returns:
        The photo, at reduced size if it has more than `FULL_PIXELS`.

    Raises:
        ImageError: if it is empty, no photo, cut off, damaged, or too large.
    """
    from recognizer.photos.formats import FAULTS, open_photo

    if not data:
        raise ImageError(f"cannot read {name}: the file is empty")
    try:
        opened = open_photo(data)
    except FAULTS:
        raise ImageError(f"cannot read {name}: the photo is cut off or damaged") from None
    if opened is None:
        raise ImageError(f"cannot read {name}: not a {FORMATS} photo")
    if opened.format == "JPEG":
        return _decode_jpeg(data, cast("JpegImageFile", opened), name)
    return _decode(opened, name, is_whole=True)


def _decode_jpeg(data: bytes, opened: "JpegImageFile", name: str) -> Photo:
    from recognizer.photos.formats import open_photo

    try:
        scans = jpeg.read_scans(data, opened)
    except ValueError:
        raise ImageError(f"cannot read {name}: the photo is cut off or damaged") from None
    if scans.n > jpeg.MAX_SCANS:
        raise ImageError(f"cannot read {name}: more than {jpeg.MAX_SCANS} scans (save it again)")
    is_whole = not scans.is_sequential
    if scans.end_at >= 0:
        return _decode(opened, name, is_whole=is_whole)
    photos = []
    for completed in jpeg.completions(data) if scans.is_final else ():
        if (again := open_photo(completed)) is not None:
            photos.append(_decode(again, name, is_whole=is_whole))
    if len(photos) != 2 or not np.array_equal(photos[0].image, photos[1].image):
        raise ImageError(f"cannot read {name}: the photo is cut off")
    return photos[0]


def _decode(opened: "Pillow.Image", name: str, *, is_whole: bool) -> Photo:
    from recognizer.photos.formats import FAULTS, orientation, oriented, reduced, to_rgb

    width, height = opened.size
    most = MAX_WHOLE_PIXELS if is_whole else MAX_PIXELS
    if width * height > most:
        raise ImageError(
            f"cannot read {name}: {width}x{height} is more than {most // 1_000_000} megapixels "
            "(shrink it)"
        )
    reduction = _reduction(width, height)
    if max(width, height) > MAX_SIDE * reduction:
        raise ImageError(
            f"cannot read {name}: {width}x{height} has a side of more than "
            f"{MAX_SIDE * reduction} pixels (shrink or cut it)"
        )
    try:
        if reduction > 1 and not is_whole:
            size = max(1, width // reduction), max(1, height // reduction)
            opened.draft(opened.mode, size)
        opened.load()
        turned = orientation(opened)
        photo = opened
        if max(photo.size) > MAX_SIDE or photo.width * photo.height > FULL_PIXELS:
            photo = reduced(photo, reduction)
        image = to_rgb(photo)
    except (*FAULTS, MemoryError):
        raise ImageError(f"cannot read {name}: the photo is cut off or damaged") from None
    image = oriented(image, turned)
    return Photo(image, max(width, height) / max(image.shape[:2]))


def _reduction(width: int, height: int) -> int:
    """Return by which power of two a photo is reduced."""
    reduction = 1
    while reduction < MAX_REDUCTION and (
        width * height > FULL_PIXELS * reduction**2 or max(width, height) > MAX_SIDE * reduction
    ):
        reduction *= 2
    return reduction
