"""Zones of a camera's frame: named polygons, and which of them a face is in."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]

MIN_POINTS, MAX_POINTS = 3, 20

MIN_AREA = 1e-4
"""Smallest area of a zone, of the frame's: a hundredth of its width by a hundredth of its height,
less than any face that is found."""


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """A named part of a frame.

    Attributes:
        name: of the zone.
        outline: (N, 2) float32, the corners in order, x and y in [0, 1] of the frame.
    """

    name: str
    outline: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, points: Sequence[Point]) -> Self:
        """Return the zone of checked points."""
        return cls(name, np.array(points, np.float32))

    def holds(self, point: Point) -> bool:
        """Return whether a point, in [0, 1] of the frame, is in the zone or on its outline."""
        return cv2.pointPolygonTest(self.outline, point, measureDist=False) >= 0


def zones_at(
    zones: Sequence[Zone], box: NDArray[np.float32], size: tuple[int, int]
) -> tuple[str, ...]:
    """Return the names of the zones that a face is in, in the order of `zones`.

    The middle of the box's lower side counts, the chin: of all points of a face it is the nearest
    to where its person stands, and the same choice as Frigate's, whose boxes end at the feet.

    Args:
        zones: of the camera.
        box: (4,) float32, x1 y1 x2 y2 in pixels; what is outside the frame counts as at its edge.
        size: (height, width) of the frame.
    """
    if not zones:
        return ()
    height, width = size
    x1, _, x2, y2 = box.tolist()
    point = (min(max((x1 + x2) / 2 / width, 0.0), 1.0), min(max(y2 / height, 0.0), 1.0))
    return tuple(zone.name for zone in zones if zone.holds(point))


def check_outline(points: Sequence[Point]) -> None:
    """Check that points are the corners of a polygon that can be used as a zone.

    Raises:
        ValueError: if there are too few or too many, its sides cross or touch each other, or it
            has no area; in one sentence.
    """
    if not MIN_POINTS <= len(points) <= MAX_POINTS:
        raise ValueError(f"a zone has {MIN_POINTS} to {MAX_POINTS} points, got {len(points)}")
    if len(set(points)) < len(points):
        raise ValueError("a zone must not have the same point twice")
    sides = list(zip(points, [*points[1:], points[0]], strict=True))
    for (first, one), (second, other) in combinations(enumerate(sides), 2):
        if second - first == 1:
            is_bad = _lies_on(other[1], one) or _lies_on(one[0], other)
        elif second - first == len(sides) - 1:
            is_bad = _lies_on(other[0], one) or _lies_on(one[1], other)
        else:
            is_bad = _meet(one, other)
        if is_bad:
            raise ValueError(
                f"the sides of a zone must not cross: those from point {first + 1} and from point "
                f"{second + 1} do"
            )
    if cv2.contourArea(np.array(points, np.float32)) < MIN_AREA:
        raise ValueError("a zone must have an area: move its points apart")


Side = tuple[Point, Point]


def _meet(one: Side, other: Side) -> bool:
    """Return whether two sides have a point in common."""
    if _turn(*one, other[0]) * _turn(*one, other[1]) < 0:
        return _turn(*other, one[0]) * _turn(*other, one[1]) <= 0
    return any(_lies_on(point, other) for point in one) or any(
        _lies_on(point, one) for point in other
    )


def _lies_on(point: Point, side: Side) -> bool:
    (x1, y1), (x2, y2) = side
    is_between = min(x1, x2) <= point[0] <= max(x1, x2) and min(y1, y2) <= point[1] <= max(y1, y2)
    return is_between and _turn(*side, point) == 0


def _turn(start: Point, end: Point, point: Point) -> float:
    """Return twice the signed area of a triangle; 0 where the three points are on a line."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
