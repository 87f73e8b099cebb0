"""Arithmetic on boxes: (N, 4) arrays of x1 y1 x2 y2 in pixels, positions in the plane."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]


def suppress(
    boxes: Boxes, scores: Boxes, *, overlap: float, by_smaller: bool = False
) -> NDArray[np.intp]:
    """Keep the best of each group of overlapping boxes (greedy non-maximum suppression).

    Args:
        boxes: (N, 4).
        scores: (N,).
        overlap: a box is dropped that shares more than this with a better one that stays.
        by_smaller: measure the intersection against the smaller box instead of the union.

    Returns:
        Indices of the boxes that stay, by descending score.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return order
    x1, y1, x2, y2 = boxes[order].T
    area = (x2 - x1) * (y2 - y1)
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    whole = np.minimum(area[:, None], area) if by_smaller else area[:, None] + area - shared
    is_close = shared > overlap * whole
    is_kept = np.ones(len(order), np.bool_)
    for i in np.flatnonzero(np.triu(is_close, 1).any(axis=1)):
        if is_kept[i]:
            is_kept[i + 1 :] &= ~is_close[i, i + 1 :]
    return order[is_kept]


def calibrate(boxes: Boxes, offsets: Boxes) -> Boxes:
    """Move each border by the network's offset, a share of the box's width or height."""
    size = boxes[:, 2:] - boxes[:, :2]
    moved: Boxes = boxes + offsets * np.concatenate([size, size], axis=1)
    return moved


def square(boxes: Boxes) -> Boxes:
    """Grow the shorter side of each box about the center until both are equal."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + (size - side) * 0.5
    return np.concatenate([corner, corner + side], axis=1)


def touches(boxes: Boxes, *, height: int, width: int) -> NDArray[np.bool_]:
    """Return which boxes are at least a pixel wide and high and have a pixel inside the image."""
    x1, y1, x2, y2 = boxes.T
    is_real = (x2 - x1 >= 1) & (y2 - y1 >= 1) & np.isfinite(boxes).all(axis=1)
    is_inside = (x2 >= 1) & (y2 >= 1) & (x1 <= width - 1) & (y1 <= height - 1)
    return np.asarray(is_real & is_inside, np.bool_)
