from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.shared_data import shared_data
from trainer.training.optimizer import ReferenceSGD, learning_rate


def rate(step, **changes):
    facts: dict[str, Any] = {"kind": "steps", "lr": 0.1, "steps": (4, 6), "total": 10, "warmup": 0}
    return learning_rate(step, **(facts | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]),
        ({"warmup": 2}, [0.05, 0.1, 0.1, 0.01]),
        ({"kind": "poly", "total": 4}, [0.1, 0.075, 0.05, 0.025, 0.0, 0.0]),
        ({"kind": "poly", "total": 4, "warmup": 2}, [0.05, 0.1, 0.1, 0.05, 0.0]),
        ({"kind": "cosine", "total": 2}, [0.1, 0.05, 0.0]),
    ],
)
def test_schedules(changes, expected):
    actual = [rate(step, **changes) for step in range(1, len(expected) + 1)]
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_the_rule_keeps_the_rate_in_the_buffer():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = ReferenceSGD([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    buffer, expected = 0.0, 1.0
    for lr, grad in ((0.1, 2.0), (0.01, -1.0), (0.5, 0.3)):
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = torch.tensor([grad])
        optimizer.step()
        buffer = 0.9 * buffer - lr * (grad + 0.5 * expected)
        expected += buffer
        assert weight.item() == pytest.approx(expected, rel=1e-6)


def test_the_trajectory_is_that_of_mxnet():
    with np.load(shared_data("golden/loss_golden.npz")) as arrays:
        start, path = arrays["W"], arrays["sgd|traj"]
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = ReferenceSGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4)
    for number, expected in enumerate(path, 1):  # a tenth of the rate from the third step on
        optimizer.param_groups[0]["lr"] = rate(number, steps=(3,))
        weight.grad = torch.full_like(weight, 0.5 * number)  # rescale_grad 1/2, gradient 1, 2, ...
        optimizer.step()
        np.testing.assert_allclose(weight.detach(), expected, atol=1e-6)
