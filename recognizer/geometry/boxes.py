"""Arithmetic on boxes: (N, 4) arrays of x1 y1 x2 y2 in pixels, positions in the plane."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
MAX_PAIRS = 1 << 20  # of boxes that are compared at once: 60 MB


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
    return order[_greedy(_are_close(boxes[order], overlap=overlap, by_smaller=by_smaller))]


def suppress_each(
    boxes: Boxes,
    scores: Boxes,
    groups: NDArray[np.intp],
    *,
    overlap: float,
    by_smaller: bool = False,
) -> NDArray[np.intp]:
    """Suppress within each group of boxes, all groups at once.

    Args:
        boxes: (N, 4).
        scores: (N,).
        groups: (N,) what each box belongs to.
        overlap: as for `suppress`.
        by_smaller: as for `suppress`.

    Returns:
        Indices of the boxes that stay, by group and then by descending score.
    """
    order = np.lexsort((-scores, groups))
    _, counts = np.unique(groups, return_counts=True)
    if len(counts) == 0:
        return order
    starts = np.cumsum(counts) - counts
    if len(counts) == 1 or len(counts) * counts.max() ** 2 > MAX_PAIRS:
        parts = (order[start : start + n] for start, n in zip(starts, counts, strict=True))
        return np.concatenate(
            [
                rows[suppress(boxes[rows], scores[rows], overlap=overlap, by_smaller=by_smaller)]
                for rows in parts
            ]
        )
    is_row = np.arange(counts.max()) < counts[:, None]
    # boxes of no numbers overlap nothing
    padded = np.full((*is_row.shape, 4), np.nan)
    padded[is_row] = boxes[order]
    is_kept = _greedy(_are_close(padded, overlap=overlap, by_smaller=by_smaller))
    return order[is_kept[is_row]]


def _are_close(boxes: Boxes, *, overlap: float, by_smaller: bool) -> NDArray[np.bool_]:
    """Return (..., N, N): which of (..., N, 4) boxes share more than `overlap`."""
    x1, y1, x2, y2 = np.moveaxis(boxes, -1, 0)
    area = (x2 - x1) * (y2 - y1)
    left, right, top, bottom = (each[..., :, None] for each in (x1, x2, y1, y2))
    width = np.minimum(right, x2[..., None, :]) - np.maximum(left, x1[..., None, :])
    height = np.minimum(bottom, y2[..., None, :]) - np.maximum(top, y1[..., None, :])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    first, second = area[..., :, None], area[..., None, :]
    whole = np.minimum(first, second) if by_smaller else first + second - shared
    return np.asarray(shared > overlap * whole, np.bool_)


def _greedy(is_close: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (..., N): which boxes stay, of (..., N, N) and the best first."""
    n = is_close.shape[-1]
    is_kept = np.ones(is_close.shape[:-1], np.bool_)
    matters = np.triu(is_close, 1).any(axis=-1)
    for i in np.flatnonzero(matters.reshape(-1, n).any(axis=0)):
        is_kept[..., i + 1 :] &= ~(is_close[..., i, i + 1 :] & is_kept[..., i, None])
    return is_kept


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


def touches(
    boxes: Boxes, *, height: int | NDArray[np.intp], width: int | NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which boxes are at least a pixel wide and high and have a pixel inside the image.

    Args:
        boxes: (N, 4).
        height: of the image, or (N,) of each box's.
        width: likewise.
    """
    x1, y1, x2, y2 = boxes.T
    is_real = (x2 - x1 >= 1) & (y2 - y1 >= 1) & np.isfinite(boxes).all(axis=1)
    is_inside = (x2 >= 1) & (y2 >= 1) & (x1 <= width - 1) & (y1 <= height - 1)
    return np.asarray(is_real & is_inside, np.bool_)
