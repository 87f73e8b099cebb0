import numpy as np
import pytest

from recognizer.bench import _live_scans, _operations, measure_peak, median_ms
from recognizer.detect.mtcnn import read_weights
from recognizer.engines.openvino_engine import OpenVinoEngine
from tests.unit.recognizer.detect.test_mtcnn import write_weights


def test_the_median_is_of_the_rounds_after_the_first() -> None:
    calls = []
    assert median_ms(lambda: calls.append(0), rounds=5) > 0
    assert len(calls) == 6


def test_the_peak_is_a_rate() -> None:
    assert measure_peak(OpenVinoEngine(threads=1)) > 1e8


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # multiply-adds by hand: side * side * kernel * in * out of each layer
        ("rnet", 22**2 * 27 * 28 + 9**2 * 252 * 48 + 3**2 * 192 * 64 + 576 * 128 + 128 * 5),
        (
            "onet",
            46**2 * 27 * 32
            + 21**2 * 288 * 64
            + 8**2 * 576 * 64
            + 3**2 * 256 * 128
            + 1152 * 256
            + 256 * 15,
        ),
        ("pnet", 270 + (90 * 16 + 144 * 32 + 32 * 5) / 4),
    ],
)
def test_operations_are_counted(name: str, expected: float, tmp_path) -> None:
    write_weights(tmp_path)
    net = read_weights(tmp_path)[name]
    np.testing.assert_allclose(_operations(net, 3), 3 * 2 * expected)


def test_live_scans_of_two_smallest_faces_are_compared(tmp_path) -> None:
    write_weights(tmp_path)
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    live = _live_scans(OpenVinoEngine(threads=1), read_weights(tmp_path), frame, 1)
    assert (live.small_px, live.large_px) == (24, 40)
    assert live.small_ms > 0
    assert live.large_ms > 0
    assert live.ratio > 0
