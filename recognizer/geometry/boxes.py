"""Arithmetic on boxes: (N, 4) arrays of x1 y1 x2 y2 in pixels, positions in the plane."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
CACHED_PAIRS = 1 << 14  # of boxes that are compared at once


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
    if len(groups) == 0 or (groups == groups[0]).all():
        return suppress(boxes, scores, overlap=overlap, by_smaller=by_smaller)
    order = np.lexsort((-scores, groups))
    _, counts = np.unique(groups, return_counts=True)
    starts = np.cumsum(counts) - counts
    is_kept = np.ones(len(order), np.bool_)
    # groups of like size are padded to one, and compared while they fit the processor's cache
    by_size = np.argsort(-counts, kind="stable")
    first = 0
    while first < len(by_size) and (most := int(counts[by_size[first]])) > 1:
        part = by_size[first : first + max(CACHED_PAIRS // most**2, 1)]
        first += len(part)
        nth = np.arange(most)
        is_row = nth < counts[part, None]
        rows = (starts[part, None] + nth)[is_row]
        # boxes of no numbers overlap nothing
        padded = np.full((*is_row.shape, 4), np.nan)
        padded[is_row] = boxes[order[rows]]
        kept = _greedy(_are_close(padded, overlap=overlap, by_smaller=by_smaller))
        is_kept[rows] = kept[is_row]
    return order[is_kept]


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
    """Return (..., N): which boxes stay, of (..., N, N) and the best first.

    A box stays unless a better one that stays is close. Assume that all stay and apply the rule
    until nothing changes: round i settles at least the i best boxes, and some four settle all.
    """
    is_worse = np.triu(is_close, 1)
    is_kept: NDArray[np.bool_] = np.ones(is_close.shape[:-1], np.bool_)
    while True:
        settled = np.logical_not((is_worse & is_kept[..., None]).any(axis=-2))
        if np.array_equal(settled, is_kept):
            return is_kept
        is_kept = settled


def intersections(boxes: Boxes, others: Boxes) -> Boxes:
    """Return the (N, M) areas that (N, 4) boxes share with (M, 4) others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared: Boxes = np.maximum(high - low, 0).prod(axis=2)
    return shared


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
