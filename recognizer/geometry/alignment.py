"""Warps faces to the canonical pose that embedding networks expect."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Floats, Image

CROP_SIZE = 112
# five landmarks in a 112x112 crop: the template of ArcFace and its predecessors
TEMPLATE: Floats = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)


def similarity_transforms(landmarks: Floats, template: Floats = TEMPLATE) -> NDArray[np.float64]:
    """Fit the rotation, scale and shift that map landmarks closest to a template.

    In the plane, with points as complex numbers, the least-squares similarity of Umeyama (1991)
    without reflection is the linear regression w = a z + b.

    Args:
        landmarks: (N, 5, 2) float32, xy in pixels.
        template: (5, 2) float32, xy of the landmarks in the crop.

    Returns:
        (N, 2, 3) float64 matrices from image to crop.

    Raises:
        ValueError: if landmarks is not (N, 5, 2).
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (5, 2):
        raise ValueError(f"landmarks must be (N, 5, 2), got {landmarks.shape}")
    z = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]
    w = template[:, 0].astype(np.float64) + 1j * template[:, 1]
    z_mean, w_mean = z.mean(axis=1, keepdims=True), w.mean()
    spread = np.square(np.abs(z - z_mean)).sum(axis=1)
    # five equal points fix no scale: they fall on the template's center at scale 1
    is_point = spread < 1e-12
    a = (np.conj(z - z_mean) * (w - w_mean)).sum(axis=1) / np.where(is_point, 1, spread)
    a = np.where(is_point, 1, a)
    b = w_mean - a * z_mean[:, 0]
    rows = np.stack([a.real, -a.imag, b.real, a.imag, a.real, b.imag], axis=1)
    return np.asarray(rows.reshape(-1, 2, 3), np.float64)


def align(
    image: Image, landmarks: Floats, template: Floats = TEMPLATE, *, size: int = 112
) -> Image:
    """Warp each face to the canonical pose.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (N, 5, 2) float32, xy in pixels of `image`.
        template: (5, 2) float32, xy of the landmarks in the crop.
        size: side of the crop in pixels.

    Returns:
        (N, size, size, 3) uint8 RGB; what lies outside the image is black.

    Raises:
        ValueError: if landmarks is not (N, 5, 2).
    """
    matrices = similarity_transforms(landmarks, template)
    return warp([image], np.zeros(len(matrices), np.intp), matrices, size=size)


def warp(
    images: Sequence[Image],
    owners: NDArray[np.intp],
    matrices: NDArray[np.float64],
    *,
    size: int,
) -> Image:
    """Warp images by similarity transforms.

    Args:
        images: each (H, W, 3) uint8 RGB.
        owners: (N,) index of the image of each crop.
        matrices: (N, 2, 3) from image to crop.
        size: side of the crops in pixels.

    Returns:
        (N, size, size, 3) uint8 RGB; what lies outside an image is black.
    """
    crops = np.empty((len(matrices), size, size, 3), np.uint8)
    for crop, owner, matrix in zip(crops, owners, matrices, strict=True):
        cv2.warpAffine(
            images[owner],
            matrix,
            (size, size),
            dst=crop,
            flags=cv2.INTER_LINEAR,
            borderValue=(0, 0, 0),
        )
    return crops
