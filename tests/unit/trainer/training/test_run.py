import pytest

pytest.importorskip("torch")

from trainer.training.recipe import read_recipe
from trainer.training.run import plan_line


@pytest.mark.parametrize(
    ("settings", "n_processes", "expected"),
    [
        ([], 1, "batch 32, lr 0.1 (cosine), 150 steps: 48 times the 100 images of the set"),
        (
            ["optimizer.accumulate=3", "run.steps=10"],
            2,
            "batch 32 x 2 processes x 3 accumulated = 192 images a step, lr 0.1 (cosine), "
            "10 steps: 19.2 times the 100 images of the set",
        ),
    ],
)
def test_a_run_says_what_a_step_is(settings, n_processes, expected):
    assert plan_line(read_recipe("tiny", settings), n_processes, 100) == expected
