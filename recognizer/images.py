"""Pictures from files and uploads: bytes in, RGB out, or one clear line.

Size and completeness are read from the header before anything is decoded, so that a small file
that claims to be a huge picture costs nothing.
"""

import struct
from pathlib import Path

import cv2
import numpy as np

from recognizer.errors import ImageError
from recognizer.faces import MAX_SIDE, Image

MAX_PIXELS = 100_000_000  # 300 MB once decoded: above any camera's picture, below any server's RAM
MAX_BYTES = 256 * 1024 * 1024  # a 100 megapixel picture stays below this even as a bitmap of RGBA
FORMATS = "JPEG, PNG, WebP, BMP or TIFF"

# JPEG markers that carry the size: SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
# markers that stand alone, without a length: TEM, RST0..RST7, SOI
_JPEG_BARE = frozenset([0x01, *range(0xD0, 0xD9)])
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture file.

    Args:
        path: JPEG, PNG, WebP, BMP or TIFF.
        max_pixels: refuse larger pictures without decoding them.

    Returns:
        (H, W, 3) uint8 RGB, as `decode_image`.

    Raises:
        ImageError: if it cannot be read; the message names the file and the reason.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(f"cannot read {path}: {size} bytes, more than {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    return decode_image(data, name=str(path), max_pixels=max_pixels)


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a picture.

    Gray pictures become RGB, 16 bits become 8, CMYK becomes RGB, the EXIF rotation is applied,
    and an alpha channel is dropped: a face is judged by its own colours, transparent or not.

    Args:
        data: the file's bytes.
        name: what to call it in errors.
        max_pixels: refuse larger pictures without decoding them.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: if it is empty, no picture, cut off, damaged, or too large.
    """
    if not data:
        raise ImageError(f"cannot read {name}: the file is empty")
    try:
        height, width, is_complete = _inspect(data)
    except (struct.error, IndexError):  # the header itself ends early
        raise ImageError(f"cannot read {name}: the picture is cut off") from None
    except _UnknownFormatError:
        raise ImageError(f"cannot read {name}: not a {FORMATS} picture") from None
    if height * width > max_pixels:
        raise ImageError(
            f"cannot read {name}: {width}x{height} is more than {max_pixels} pixels (shrink it)"
        )
    if max(height, width) > MAX_SIDE:
        raise ImageError(
            f"cannot read {name}: {width}x{height} has a side of more than {MAX_SIDE} pixels "
            "(shrink or cut it)"
        )
    if not is_complete:
        raise ImageError(f"cannot read {name}: the picture is cut off")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"cannot read {name}: damaged picture") from error
    if image is None:
        raise ImageError(f"cannot read {name}: damaged picture")
    return np.asarray(image, np.uint8)


class _UnknownFormatError(Exception):
    """The bytes start like none of the formats."""


def _inspect(data: bytes) -> tuple[int, int, bool]:
    """Return height and width in pixels, and whether the picture's end is there."""
    if data.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", data, 16)
        return height, width, _is_png_complete(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        height, width = _webp_size(data)
        return height, width, len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"BM"):
        return _inspect_bmp(data)
    if data.startswith((b"II*\x00", b"MM\x00*")):
        height, width = _tiff_size(data)
        return height, width, True  # the decoder itself refuses a TIFF that is cut off
    raise _UnknownFormatError


def _inspect_jpeg(data: bytes) -> tuple[int, int, bool]:
    """Walk the segments up to the first scan (ITU T.81, annex B)."""
    position = 2
    height = width = 0
    while True:
        while data[position] == 0xFF:  # fill bytes may precede a marker
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_BARE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
        if marker == _JPEG_START_OF_SCAN:
            # inside scans 0xFF is always followed by 0x00 or RSTn: this can only be the end
            return height, width, data.find(b"\xff\xd9", position + length) >= 0
        position += length


def _is_png_complete(data: bytes) -> bool:
    position = 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length  # length, type, data, CRC
    return False


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return height and width (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        return 1 + int.from_bytes(data[27:30], "little"), width
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _inspect_bmp(data: bytes) -> tuple[int, int, bool]:
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    row = (abs(width) * bits + 31) // 32 * 4
    is_complete = compression != 0 or len(data) >= pixels_at + row * abs(height)
    return abs(height), abs(width), is_complete


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Return height and width from the first directory (TIFF 6.0, section 2)."""
    order = "<" if data[0:1] == b"I" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    size = {_TIFF_WIDTH: 0, _TIFF_HEIGHT: 0}
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in size:
            is_short = kind == 3
            (size[tag],) = struct.unpack_from(order + ("H" if is_short else "I"), data, entry + 8)
    return size[_TIFF_HEIGHT], size[_TIFF_WIDTH]
