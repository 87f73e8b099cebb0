"""Damage to crops as cameras do it: few pixels, darkness with noise, blur, strong compression.

In these ranges a person still sees who it is, and a network begins to fail.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.faceset import decode, encode

Rng = np.random.Generator

SMALL_SIDE = (24, 32)  # pixels of the whole crop; the face is a little smaller
DARK_GAIN = (0.06, 0.25)  # of linear light
PHOTONS = (15.0, 60.0)  # that a pixel of full white counts: shot noise
READ_NOISE = (1.0, 4.0)  # standard deviation, gray levels
GAUSS_SIGMA = (1.8, 3.5)  # px
MOTION_PX = (9, 17)
JPEG_QUALITY = (4, 14)
SHRINKING = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
GROWING = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)
SECOND = 0.3  # of the crops of training have a second kind of damage
GAMMA = 2.2


def small(crop: Image, rng: Rng) -> Image:
    """Scale down to 24 to 32 pixels and back, by any of the usual interpolations."""
    side = int(rng.integers(SMALL_SIDE[0], SMALL_SIDE[1] + 1))
    height, width = crop.shape[:2]
    few = cv2.resize(crop, (side, side), interpolation=SHRINKING[rng.integers(len(SHRINKING))])
    grown = cv2.resize(few, (width, height), interpolation=GROWING[rng.integers(len(GROWING))])
    return np.asarray(grown, np.uint8)


def dark(crop: Image, rng: Rng) -> Image:
    """Take away light, with the noise of the photons that are left and of the sensor."""
    light = (crop.astype(np.float32) / 255) ** GAMMA * np.float32(rng.uniform(*DARK_GAIN))
    photons = np.float32(rng.uniform(*PHOTONS) / DARK_GAIN[0])
    counted = rng.poisson(light * photons).astype(np.float32) / photons
    noise = rng.normal(0, rng.uniform(*READ_NOISE), crop.shape).astype(np.float32)
    return np.clip(np.rint(255 * counted ** (1 / GAMMA) + noise), 0, 255).astype(np.uint8)


def blur(crop: Image, rng: Rng) -> Image:
    """Blur as out of focus, or by motion in any direction."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(*GAUSS_SIGMA)), np.uint8)
    length = int(rng.integers(MOTION_PX[0], MOTION_PX[1] + 1))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    middle = (length / 2 - 0.5, length / 2 - 0.5)
    turn = cv2.getRotationMatrix2D(middle, rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    moved = cv2.filter2D(crop, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def jpeg(crop: Image, rng: Rng) -> Image:
    """Compress with a quality of 4 to 14 of 100."""
    quality = int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    return decode(encode(crop, quality=quality), name="compressed crop")


DEGRADATIONS: dict[str, Callable[[Image, Rng], Image]] = {
    "small": small,
    "dark": dark,
    "blur": blur,
    "jpeg": jpeg,
}


def degrade(crop: Image, kind: str, rng: Rng) -> Image:
    """Damage a crop.

    Args:
        crop: (112, 112, 3) uint8 RGB.
        kind: a key of `DEGRADATIONS`.
        rng: the same state gives the same damage.
    """
    return DEGRADATIONS[kind](crop, rng)


def degrade_anyhow(crop: Image, rng: Rng) -> Image:
    """Damage a crop in one of the ways, or in two."""
    kinds: NDArray[np.str_] = rng.permutation(list(DEGRADATIONS))
    for kind in kinds[: 2 if rng.random() < SECOND else 1]:
        crop = degrade(crop, str(kind), rng)
    return crop
