"""Changes to training images, as the reference's loader makes them, in its order."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.faceset import decode, encode

GRAY = np.array([0.299, 0.587, 0.114])  # of R, G, B; they add up to 1
JITTER = 0.125  # brightness, contrast and saturation each change by up to this share
RECOMPRESS_QUALITY = (2, 20)  # JPEG quality, both ends included
CUTOFF_VALUE = 128


def augment(
    image: Image, rng: np.random.Generator, *, mirror: bool, color: int, cutoff: int
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Change one image at random.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: the same state gives the same change.
        mirror: flip every second image.
        color: 1 jitters colors; 2 also compresses every second image again, badly.
        cutoff: side in pixels of a gray square put on every second image; 0 for none.

    Returns:
        (H, W, 3): uint8, or float32 where colors were jittered (not clipped to 0..255).
    """
    if mirror and rng.random() < 0.5:
        image = image[:, ::-1]
    changed: NDArray[np.uint8] | NDArray[np.float32] = image
    if color > 0:
        if color > 1 and rng.random() < 0.5:
            quality = int(rng.integers(RECOMPRESS_QUALITY[0], RECOMPRESS_QUALITY[1] + 1))
            image = decode(encode(image, quality=quality), name="compressed image")
        changed = jitter(
            image.astype(np.float32),
            order=rng.permutation(3).tolist(),
            alphas=(1 + rng.uniform(-JITTER, JITTER, 3)).tolist(),
        )
    if cutoff > 0 and rng.random() < 0.5:
        changed = changed.copy()
        height, width = changed.shape[:2]
        y, x = int(rng.integers(height)), int(rng.integers(width))
        top, left = max(y - cutoff // 2, 0), max(x - cutoff // 2, 0)
        changed[top : y - cutoff // 2 + cutoff, left : x - cutoff // 2 + cutoff] = CUTOFF_VALUE
    return changed


def jitter(
    image: NDArray[np.float32], *, order: Sequence[int], alphas: Sequence[float]
) -> NDArray[np.float32]:
    """Change brightness (0), contrast (1) and saturation (2) in an order.

    Args:
        image: (H, W, 3) float32 RGB of 0..255.
        order: of the three.
        alphas: strength of each of the three, 1 for no change.

    Returns:
        (H, W, 3) float32, not clipped.
    """
    # each change maps x to a x + g gray(x) + c, and so do all of them one after the other
    mean = float(np.dot(cv2.mean(image)[:3], GRAY))
    a, g, c = 1.0, 0.0, 0.0
    for kind in order:
        alpha = alphas[kind]
        if kind == 0:
            a, g, c = alpha * a, alpha * g, alpha * c
        elif kind == 1:  # toward the mean gray of the image as it is so far
            a, g, c = alpha * a, alpha * g, alpha * c + (1 - alpha) * ((a + g) * mean + c)
        else:
            a, g = alpha * a, alpha * g + (1 - alpha) * (a + g)
    matrix = np.empty((3, 4))
    matrix[:, :3] = a * np.eye(3) + g * GRAY
    matrix[:, 3] = c
    return np.asarray(cv2.transform(image, matrix), np.float32)
