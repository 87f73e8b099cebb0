import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.geometry.boxes import (
    CACHED_PAIRS,
    calibrate,
    square,
    suppress,
    suppress_each,
    touches,
)
from tests.mtcnn_oracle import plain_suppress


@given(
    st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), max_size=30),
    st.booleans(),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.randoms(use_true_random=False),
)
def test_suppress_equals_the_plain_loop(corners, by_smaller, overlap, random) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], float).reshape(-1, 4)
    scores = np.array([random.choice([0.5, 0.6, 0.7, 0.8]) for _ in corners])
    kept = suppress(boxes, scores, overlap=overlap, by_smaller=by_smaller)
    expected = plain_suppress(boxes, scores, overlap, by_smaller=by_smaller)
    assert kept.tolist() == expected


def test_suppress_of_nothing_keeps_nothing() -> None:
    assert suppress(np.empty((0, 4)), np.empty(0), overlap=0.5).tolist() == []


def test_calibrate_moves_borders_by_shares_of_the_size() -> None:
    boxes, offsets = np.array([[10.0, 20, 20, 40]]), np.array([[0.2, -0.2, 0.2, 0.2]])
    np.testing.assert_allclose(calibrate(boxes, offsets), [[12, 16, 22, 44]])


@given(st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(1, 80)] * 2), max_size=8))
def test_squares_are_square_about_the_same_centre(corners) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in corners], float).reshape(-1, 4)
    squares = square(boxes)
    size = squares[:, 2:] - squares[:, :2]
    np.testing.assert_allclose(size[:, 0], size[:, 1], atol=1e-9)
    np.testing.assert_allclose(size[:, 0], (boxes[:, 2:] - boxes[:, :2]).max(axis=1), atol=1e-9)
    centres = [(some[:, :2] + some[:, 2:]) / 2 for some in (squares, boxes)]
    np.testing.assert_allclose(centres[0], centres[1], atol=1e-9)


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


@pytest.mark.parametrize("by_smaller", [False, True])
@pytest.mark.parametrize("most", [0, 2000, CACHED_PAIRS])
def test_groups_suppress_apart(
    by_smaller: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognizer.geometry.boxes.CACHED_PAIRS", most)
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (200, 2))], axis=1)
    boxes[7] = np.nan
    scores, groups = rng.uniform(size=200), rng.integers(0, 9, 200) * 3
    expected = [
        rows[suppress(boxes[rows], scores[rows], overlap=0.3, by_smaller=by_smaller)]
        for rows in (np.flatnonzero(groups == group) for group in np.unique(groups))
    ]
    kept = suppress_each(boxes, scores, groups, overlap=0.3, by_smaller=by_smaller)
    np.testing.assert_array_equal(kept, np.concatenate(expected))
    assert 0 < len(kept) < 200


def test_no_groups() -> None:
    none = np.empty(0)
    assert len(suppress_each(none.reshape(0, 4), none, none.astype(int), overlap=0.3)) == 0
