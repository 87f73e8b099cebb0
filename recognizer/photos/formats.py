"""Opens photo files in the formats that phones, cameras and the web write.

Each format is recognized by its first bytes and opened by Pillow's reader for it alone, so that
nothing else that Pillow reads (PostScript, icons, film) is ever tried on an upload. The readers
are imported with the first photo: a service without photos starts without them.
"""

import logging
import struct
import warnings
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from recognizer.faces import Image

# what Pillow, pi-heif and littleCMS raise on damaged or malicious files
FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    ImageCms.PyCMSError,
)
_ORIENTATION = 0x112  # EXIF tag
_JP2_EXIF = b"JpgTiffExif->JP2"  # the UUID of a box of JPEG 2000, which Pillow passes over
_HEIF_BRANDS = frozenset(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"]
)
_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_PROFILED = frozenset(["L", "RGB", "CMYK", "LAB"])  # modes that littleCMS converts
STRIP_ROWS = 64
_SRGB_DIFFERENCE = 3  # levels; profiles that differ less from sRGB are sRGB


def open_photo(data: bytes) -> Pillow.Image | None:
    """Read a photo's header.

    Args:
        data: the file's bytes.

    Returns:
        The image, its pixels not decoded yet; None if it is in none of the formats.

    Raises:
        FAULTS: if the header is damaged.
    """
    # warnings about damaged metadata, without the photo's name: it is read anyway, or refused
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    stream = BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(stream)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(stream)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(stream)
    if data.startswith((b"GIF87a", b"GIF89a")):
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(stream)
    if data.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        from PIL.TiffImagePlugin import TiffImageFile

        return TiffImageFile(stream)
    if data.startswith(b"BM"):
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(stream)
    if data.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

        photo = Jpeg2KImageFile(stream)
        if (at := data.find(_JP2_EXIF)) >= 0:
            photo.info["exif"] = b"Exif\0\0" + data[at + len(_JP2_EXIF) :]
        return photo
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(stream)
    if brands & _HEIF_BRANDS:
        from pi_heif import HeifImageFile  # applies the rotation and mirroring of the container

        heif: Pillow.Image = HeifImageFile(stream)
        return heif
    return None


def orientation(photo: Pillow.Image) -> int:
    """Return a decoded photo's EXIF orientation, 1 to 8; 1 if it is missing or invalid."""
    try:
        value = photo.getexif().get(_ORIENTATION, 1)
    except FAULTS:
        return 1
    return value if value in range(1, 9) else 1


def reduced(photo: Pillow.Image, by: int) -> Pillow.Image:
    """Return a decoded photo averaged over squares of `by` pixels."""
    if photo.mode.startswith("I;"):
        photo = photo.convert("I")
    elif photo.mode not in ("L", "RGB", "CMYK", "I", "F"):
        photo = photo.convert("RGB")
    info, photo = photo.info, photo.reduce(by)
    photo.info = info
    return photo


def to_rgb(photo: Pillow.Image) -> Image:
    """Return a decoded photo's pixels as (H, W, 3) uint8 sRGB; an alpha channel is dropped."""
    if photo.mode.startswith("I") or photo.mode == "F":
        return np.repeat(_eight_bits(np.asarray(photo))[:, :, None], 3, axis=2)
    transform = _transform(photo)
    image = np.empty((photo.height, photo.width, 3), np.uint8)
    # strips that fit the processor's cache: four times as fast as the whole at once
    for top in range(0, photo.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, photo.height)
        strip = photo.crop((0, top, photo.width, bottom))
        if strip.mode not in _PROFILED:
            strip = strip.convert(_plain_mode(strip.mode))
        if transform is not None:
            strip = ImageCms.applyTransform(strip, transform) or strip
        image[top:bottom] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return image


def oriented(image: Image, value: int) -> Image:
    """Return an image turned and mirrored by its EXIF orientation."""
    if value in (5, 6, 7, 8):
        image = np.asarray(cv2.transpose(image), np.uint8)
    if value in (2, 3, 6, 7):
        image = np.asarray(cv2.flip(image, 1), np.uint8)
    if value in (3, 4, 7, 8):
        image = np.asarray(cv2.flip(image, 0), np.uint8)
    return image


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file (ISO/IEC 14496-12, section 4.3)."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _eight_bits(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return gray levels of 16 or 32 bits, or floating ones, as 8 bits."""
    levels = np.nan_to_num(gray.astype(np.float32), posinf=0, neginf=0)
    most = float(levels.max(initial=0))
    if gray.dtype.kind == "f" and most <= 1:
        white = 1.0
    elif most <= 255:
        white = 255.0
    else:
        white = max(65535.0, most)
    return np.asarray((levels * (255 / white)).clip(0, 255), np.uint8)


def _plain_mode(mode: str) -> str:
    """Return the mode of the colors alone, to which a color profile applies."""
    return "L" if mode in ("1", "LA", "La") else "RGB"


def _transform(photo: Pillow.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the transform of a photo's colors to sRGB; None if none is needed or possible."""
    srgb = ImageCms.createProfile("sRGB")
    if photo.mode == "LAB":
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, "LAB", "RGB")
    profile = photo.info.get("icc_profile")
    if not profile:
        return None
    mode = photo.mode if photo.mode in _PROFILED else _plain_mode(photo.mode)
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB")
        return None if mode == "RGB" and _is_identity(transform) else transform
    except FAULTS:
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    steps = np.arange(0, 256, 51).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    image = Pillow.fromarray(cube)
    changed = ImageCms.applyTransform(image, transform) or image
    return int(np.abs(np.asarray(changed).astype(int) - cube).max()) <= _SRGB_DIFFERENCE
