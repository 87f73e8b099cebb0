import numpy as np
import pytest

from trainer.data.faceset import encode
from trainer.data.pairs import PairSet

pytest.importorskip("matplotlib")

from trainer.evaluation.plots import chart, worst_pairs


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"empty": ([], [])},
        {"one": ([1.0], [2.0])},
        {"flat": ([0, 1, 2], [3, 3, 3])},
        {"zero first": ([0, 1e-3, 1], [0, 0.5, 1])},
    ],
)
@pytest.mark.parametrize("log_x", [False, True])
def test_a_chart_of_any_lines_is_drawn(lines, log_x):
    image = chart("t", lines, log_x=log_x)
    assert (image.shape, image.dtype) == ((480, 720, 3), np.uint8)


def test_a_line_rises_from_bottom_left_to_top_right():
    blank = chart("t", {"rise": ([], [])}).astype(int)
    image = chart("t", {"rise": ([0, 1], [0, 1])})
    rows, columns = np.nonzero((image == (31, 119, 180)).all(axis=2))  # the first line's color
    in_legend = (columns < 200) & (rows < 100)
    rows, columns = rows[~in_legend], columns[~in_legend]
    assert np.corrcoef(rows, columns)[0, 1] < -0.99
    assert np.ptp(rows) > 300
    assert np.ptp(columns) > 500
    assert not np.array_equal(image, blank)


def test_zero_is_drawn_at_the_left_end_of_a_logarithmic_axis():
    assert np.array_equal(
        chart("t", {"a": ([0, 1e-3, 1], [0, 0.5, 1])}, log_x=True),
        chart("t", {"a": ([1e-3, 1e-3, 1], [0, 0.5, 1])}, log_x=True),
    )


def pair_set():
    images = [encode(np.full((112, 112, 3), v, np.uint8), quality=0) for v in range(0, 160, 20)]
    return PairSet("four", images, np.array([True, True, False, False]))


def test_the_worst_error_of_a_kind_comes_first():
    distances = np.array([1.0, 1.6, 0.2, 1.9])  # similarities 0.5, 0.2, 0.9, 0.05
    rejected = worst_pairs(pair_set(), distances, 0.6, is_same=True)
    assert rejected[50, 50].tolist() == [40] * 3  # pair 1: images 2 and 3
    assert rejected[50, 162].tolist() == [60] * 3
    assert rejected[50, 290].tolist() == [0] * 3  # then pair 0
    accepted = worst_pairs(pair_set(), distances, 0.6, is_same=False)
    assert accepted[50, 50].tolist() == [80] * 3  # pair 2 alone
    assert accepted[50, 290].tolist() == [255] * 3


def test_no_errors_leave_an_empty_sheet():
    sheet = worst_pairs(pair_set(), np.array([0.0, 0.0, 4.0, 4.0]), 0.5, is_same=True)
    assert sheet.shape == (166, 960, 3)
    assert (sheet[:130] == 255).all()
