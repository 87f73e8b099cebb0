"""Levels of dark, foggy and backlit images, brought to those that the networks were trained on.

MTCNN finds 56 % of LFW's faces at 12 % brightness under noise, none at 6 % or in dense fog, and all
of them after their levels are stretched. SFace needs the same and less noise. An image with enough
contrast stays as it is, and what is done grows steadily with what is missing: two frames of nearly
the same light become nearly the same image, without a memory of those before.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Floats, Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

SAMPLES = 4096  # pixels of an image that are counted
TAILS = (0.005, 0.995)  # shares of the pixels below the darkest and the brightest that count
# range of gray levels between them: from the first nothing is done, up to the second everything. In
# daylight LFW's photos have 164 at least, those at half brightness 118, a film's dark scenes 133
IMAGE_RANGE = (120, 90)
# shares of the pixels with one gray level from which it is partly, and wholly, a background like
# that of a scan or a collage, which tells nothing of the light; how many others must be counted
PLAIN = (0.5, 0.6)
LEAST = 8
SIGNAL = 4.0  # gray levels that areas of an image must differ by, or it holds nothing but noise
AREAS = 32  # on its longer side
BRIGHTEST = 225.0  # gray level of the brightest that count, with room for small lights
MIDDLE = 100.0  # mean gray level wanted of a dark image after that
MIN_GAMMA = 0.5
GAMMAS = (0.5, 2.0)  # of an image in which no face is found otherwise
# of the equalization that is tried last: how much steeper than before a curve may be, and parts
# along each side
CLIP_LIMIT, TILES = 3.0, 8

CROP_TAILS = (2, 98)  # percent
# the same of the inner part of an aligned face: LFW's crops in daylight have 53 at least
CROP_RANGE = (50, 40)
INNER = slice(16, 96)  # pixels of the 112 that show the face
CROP_LEVELS = (20.0, 230.0)  # of the darkest and the brightest that count
# Gaussian deviation, pixels. Color is less sharp than lightness in any photo, and its noise counts
# for more: at 6 % brightness TAR at FAR 1e-2 is 0.98 with 3, and 0.91 with 1 for both
LUMA_BLUR, COLOR_BLUR = 1.0, 3.0


def normalized(image: Image) -> Image:
    """Return an image with the levels that a detector needs; the same array where it has them.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    curve = _curve(image)
    return image if curve is None else np.asarray(cv2.LUT(image, curve), np.uint8)


def retoned(image: Image) -> Iterator[Image]:
    """Yield an image with its shadows lifted, its highlights darkened, and its parts equalized.

    For a face before a bright window, or in the light of a lamp. Nothing in the levels of a whole
    image tells that it needs this: try it where no face is found.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    levels = np.arange(256, dtype=np.float64) / 255
    for gamma in GAMMAS:
        yield np.asarray(
            cv2.LUT(image, np.asarray(np.rint(255 * levels**gamma), np.uint8)), np.uint8
        )
    yield _equalized(image)


def _equalized(image: Image) -> Image:
    """Return an image with the contrast of each of its parts raised, its colors kept.

    Source: Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV, 1994.
    """
    luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    luma = cv2.createCLAHE(CLIP_LIMIT, (TILES, TILES)).apply(luma)
    return np.asarray(cv2.cvtColor(cv2.merge((luma, red, blue)), cv2.COLOR_YCrCb2RGB), np.uint8)


def normalized_crops(crops: Image) -> Image:
    """Return aligned faces with the levels and the noise that an embedding network needs.

    Each is measured by itself: a face in the shadow of a bright image is a dark one.

    Args:
        crops: (N, 112, 112, 3) uint8 RGB.

    Returns:
        The same array where all of them have these levels.
    """
    if not len(crops):
        return crops
    inner = crops[:, INNER, INNER][:, ::2, ::2] @ LUMA
    low, high = np.percentile(inner.reshape(len(crops), -1), CROP_TAILS, axis=1)
    shares = _share(high - low, CROP_RANGE)
    if not shares.any():
        return crops
    result = crops.copy()
    for row in np.flatnonzero(shares):
        share = np.float32(shares[row])
        blended = (1 - share) * crops[row] + share * _cleared(crops[row])
        result[row] = np.rint(blended)
    return result


def _cleared(crop: Image) -> Floats:
    """Return a crop smoothed and stretched, float32 in [0, 255]."""
    pixels = crop.astype(np.float32)
    luma = pixels @ LUMA
    color = cv2.GaussianBlur(pixels - luma[..., None], (0, 0), sigmaX=COLOR_BLUR)
    luma = np.asarray(cv2.GaussianBlur(luma, (0, 0), sigmaX=LUMA_BLUR), np.float32)
    low, high = np.percentile(luma[INNER, INNER], CROP_TAILS)
    gain = (CROP_LEVELS[1] - CROP_LEVELS[0]) / max(high - low, 1.0)
    stretched = (luma[..., None] + color - low) * gain + CROP_LEVELS[0]
    return np.asarray(stretched.clip(0, 255), np.float32)


def _curve(image: Image) -> NDArray[np.uint8] | None:
    """Return the (256,) new gray levels of an image; None where the present ones are right."""
    step = max(1, round((image.shape[0] * image.shape[1] / SAMPLES) ** 0.5))
    sample = np.ascontiguousarray(image[::step, ::step])
    luma = np.asarray(cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY), np.uint8)
    counts = np.bincount(luma.ravel(), minlength=256)
    levels = np.arange(256, dtype=np.float64)
    background = float(_share(np.array(counts.max() / luma.size), PLAIN))
    others = counts.copy()
    others[counts.argmax()] = 0
    curve = np.zeros_like(levels)
    for share, shown in ((1 - background, counts), (background, others)):
        if share:
            curve += share * _stretched(levels, shown, counts)
    rounded = np.asarray(np.rint(curve), np.uint8)
    if np.array_equal(rounded, levels) or not _has_signal(image):
        return None
    return rounded


def _stretched(
    levels: NDArray[np.float64], shown: NDArray[np.intp], counts: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the (256,) new gray levels by the pixels of each level that tell of the light."""
    if shown.sum() < LEAST:
        return levels
    low, high = np.searchsorted(np.cumsum(shown), np.array(TAILS) * shown.sum())
    share = float(_share(np.array(high - low), IMAGE_RANGE))
    if share == 0:
        return levels
    stretched = ((levels - low) * (BRIGHTEST / max(int(high - low), 1))).clip(0, 255)
    mean = float(counts @ stretched / counts.sum())
    gamma = np.log(MIDDLE / 255) / np.log(max(mean, 1.0) / 255)
    curve = 255 * (stretched / 255) ** np.clip(gamma, MIN_GAMMA, 1.0)
    return np.asarray((1 - share) * levels + share * curve)


def _has_signal(image: Image) -> bool:
    """Return whether the image shows anything: noise is the same in all its areas."""
    scale = AREAS / max(image.shape[:2])
    if scale >= 1:
        return bool(np.ptp(image) > 0)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return bool(np.ptp(cv2.resize(image, size, interpolation=cv2.INTER_AREA) @ LUMA) >= SIGNAL)


def _share(found: NDArray[np.floating] | NDArray[np.integer], span: tuple[float, float]) -> Floats:
    """Return 0 up to the first end of a span, 1 from the second on, steady between."""
    start, end = span
    return np.asarray(((found - start) / (end - start)).clip(0, 1), np.float32)
