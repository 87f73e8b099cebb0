import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.geometry.boxes import calibrate, clip, square, suppress, touches


def plain_suppress(
    boxes: np.ndarray, scores: np.ndarray, overlap: float, *, by_smaller: bool, inclusive: int
) -> list[int]:
    """The textbook's loop."""
    remaining = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    while remaining:
        best, *remaining = remaining
        kept.append(best)
        x1, y1, x2, y2 = boxes[best]
        area = (x2 - x1 + inclusive) * (y2 - y1 + inclusive)
        survivors = []
        for i in remaining:
            a1, b1, a2, b2 = boxes[i]
            other = (a2 - a1 + inclusive) * (b2 - b1 + inclusive)
            width = max(min(x2, a2) - max(x1, a1) + inclusive, 0)
            height = max(min(y2, b2) - max(y1, b1) + inclusive, 0)
            shared = width * height
            whole = min(area, other) if by_smaller else area + other - shared
            if shared <= overlap * whole:
                survivors.append(i)
        remaining = survivors
    return kept


@given(
    st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), max_size=30),
    st.booleans(),
    st.sampled_from([0, 1]),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.randoms(use_true_random=False),
)
def test_suppress_equals_the_plain_loop(corners, by_smaller, inclusive, overlap, random) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], float).reshape(-1, 4)
    scores = np.array([random.choice([0.5, 0.6, 0.7, 0.8]) for _ in corners])
    kept = suppress(boxes, scores, overlap=overlap, by_smaller=by_smaller, inclusive=inclusive)
    expected = plain_suppress(boxes, scores, overlap, by_smaller=by_smaller, inclusive=inclusive)
    assert kept.tolist() == expected


def test_suppress_of_nothing_keeps_nothing() -> None:
    assert suppress(np.empty((0, 4)), np.empty(0), overlap=0.5).tolist() == []


@pytest.mark.parametrize("inclusive", [0, 1])
def test_calibrate_moves_borders_by_shares_of_the_size(inclusive: int) -> None:
    boxes, offsets = np.array([[10.0, 20, 20, 40]]), np.array([[0.2, -0.2, 0.2, 0.2]])
    width, height = 10 + inclusive, 20 + inclusive
    expected = [10 + 0.2 * width, 20 - 0.2 * height, 20 + 0.2 * width, 40 + 0.2 * height]
    np.testing.assert_allclose(calibrate(boxes, offsets, inclusive=inclusive), [expected])


@given(st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(1, 80)] * 2), max_size=8))
def test_squares_are_square_about_the_same_centre(corners) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], float).reshape(-1, 4)
    squares = square(boxes)
    size = squares[:, 2:] - squares[:, :2]
    np.testing.assert_allclose(size[:, 0], size[:, 1], atol=1e-9)
    np.testing.assert_allclose(size[:, 0], (boxes[:, 2:] - boxes[:, :2]).max(axis=1), atol=1e-9)
    centres = [(some[:, :2] + some[:, 2:]) / 2 for some in (squares, boxes)]
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-9)


def test_clip_keeps_boxes_on_pixels() -> None:
    boxes = np.array([[-5.0, -5, 200, 300], [1, 2, 3, 4]])
    clipped = clip(boxes, height=100, width=150)
    np.testing.assert_array_equal(clipped, [[0, 0, 149, 99], [1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 10, 20, 20], True),
        ([-10, -10, 5, 5], True),
        ([-500, -500, 500, 500], True),
        ([-20, 0, -5, 10], False),
        ([100, 0, 120, 10], False),
        ([0, 100, 10, 120], False),
        ([10, 10, 10, 20], False),
        ([10, 10, 5, 20], False),
        ([np.nan, 10, 20, 20], False),
        ([0, 0, np.inf, 20], False),
    ],
)
def test_touches(box: list[float], expected: bool) -> None:
    assert touches(np.array([box], float), height=100, width=100).tolist() == [expected]
