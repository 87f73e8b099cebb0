import numpy as np
import pytest

from stream.zones import Zone, check_outline, zones_at

PORCH = Zone.of("porch", [(0, 0.5), (0.4, 0.5), (0.4, 1), (0, 1)])
# An L: its inner corner is no part of it.
PATH = Zone.of("path", [(0.5, 0), (0.6, 0), (0.6, 0.8), (1, 0.8), (1, 1), (0.5, 1)])
SIZE = (100, 200)


def box(x: float, bottom: float) -> np.ndarray:
    """A face of 20 by 20 pixels, by the middle of its lower side."""
    return np.array([x - 10, bottom - 20, x + 10, bottom], np.float32)


@pytest.mark.parametrize(
    ("x", "bottom", "names"),
    [
        (40, 75, ("porch",)),
        (40, 45, ()),  # above it
        (40, 52, ("porch",)),  # the chin counts, not the center
        (85, 75, ()),
        (110, 20, ("path",)),
        (150, 50, ()),  # in the corner of the L
        (150, 90, ("path",)),
        (-5, 75, ("porch",)),  # at the edge of the frame, as much of it as is seen
        (40, 108, ("porch",)),
        (205, 120, ("path",)),
    ],
)
def test_a_face_is_in_the_zones_that_hold_its_chin(
    x: float, bottom: float, names: tuple[str, ...]
) -> None:
    assert zones_at((PORCH, PATH), box(x, bottom), SIZE) == names


def test_zones_may_overlap_and_there_may_be_none() -> None:
    all_of_it = Zone.of("all", [(0, 0), (1, 0), (1, 1), (0, 1)])
    assert zones_at((all_of_it, PORCH), box(40, 75), SIZE) == ("all", "porch")
    assert zones_at((), box(40, 75), SIZE) == ()


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ([(0, 0), (1, 1)], "3 to 20 points, got 2"),
        ([(0.05 * x, x % 2) for x in range(21)], "3 to 20 points, got 21"),
        ([(0, 0), (1, 0), (1, 1), (1, 0)], "same point twice"),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], "from point 1 and from point 3"),  # a bow tie
        ([(0, 0), (1, 0), (0.5, 0)], "must not cross"),  # on one line
        ([(0, 0), (1, 0), (0.5, 0), (0.5, 1)], "from point 1 and from point 2"),  # a spike
        ([(0.5, 0.5), (1, 0.5), (1, 1), (0.8, 0.5)], "must not cross"),  # a spike at the last point
        ([(0, 0), (1, 0), (0.5, 1), (0.5, 0), (0, 1)], "must not cross"),  # touches a side
        ([(0.5, 0.5), (0.5, 0.501), (0.501, 0.5)], "must have an area"),
    ],
)
def test_what_no_zone_can_be_is_refused(points: list[tuple[float, float]], problem: str) -> None:
    for turned in (points, points[::-1]):
        with pytest.raises(ValueError, match="zone") as caught:
            check_outline(turned)
        if turned is points:
            assert problem in str(caught.value)


def test_any_shape_without_crossings_is_a_zone() -> None:
    angles = np.arange(20) * np.pi / 10
    shapes = (
        [(0, 0), (1, 0), (0, 1)],
        [(0.5, 0.5), (1, 0.5), (1, 1), (0, 0.5)],  # a point on a straight side
        [(0.5, 0), (0.6, 0), (0.6, 0.8), (1, 0.8), (1, 1), (0.5, 1)],
        [(0.5 + 0.4 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)) for angle in angles],
    )
    for points in shapes:
        for turned in (points, points[::-1], points[1:] + points[:1]):
            check_outline(turned)
