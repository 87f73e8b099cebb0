"""The function is SciPy's, and the rest of its package is not loaded with it."""

import subprocess
import sys

import numpy as np
import pytest

from stream.recognition.linear_assignment import linear_sum_assignment


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (1, 1), (4, 4), (3, 7), (9, 2)])
def test_it_is_the_function_of_scipy(shape: tuple[int, int]) -> None:
    from scipy.optimize import linear_sum_assignment as whole

    worth = np.random.default_rng(sum(shape)).random(shape)
    for found, expected in zip(
        linear_sum_assignment(worth, maximize=True), whole(worth, maximize=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_service_does_not_load_the_rest_of_the_package() -> None:
    program = "import sys, stream.service, stream.workers.process; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "stream.recognition.tracker" in loaded
    assert not [each for each in loaded if each.startswith("scipy.optimize")]
