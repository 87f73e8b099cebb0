import pytest

pytest.importorskip("torch")

from trainer.training.recipe import read_recipe
from trainer.training.run import idle_alone, plan_line


@pytest.mark.parametrize(
    ("settings", "n_processes", "expected"),
    [
        (
            [],
            1,
            "batch 32, lr 0.1 (cosine after 10 steps of warm-up), 150 steps: "
            "48 times the 100 images of the set",
        ),
        (
            ["optimizer.schedule=steps", "optimizer.lr_steps=[50, 99, 200]", "optimizer.warmup=0"],
            1,
            "batch 32, lr 0.1 (a tenth at 50, 99), 150 steps: 48 times the 100 images of the set",
        ),
        (
            ["optimizer.accumulate=3", "run.steps=10"],
            2,
            "batch 32 x 2 processes x 3 accumulated = 192 images a step, "
            "lr 0.1 (cosine after 10 steps of warm-up), 10 steps: "
            "19.2 times the 100 images of the set",
        ),
    ],
)
def test_a_run_says_what_a_step_is(settings, n_processes, expected):
    assert plan_line(read_recipe("tiny", settings), n_processes, 100) == expected


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ([], []),
        (["run.sync_bn=true", "head.sharded=true"], ["run.sync_bn", "head.sharded"]),
        (["head.sharded=true", "head.rate=0.5"], []),
    ],
)
def test_what_needs_several_processes_is_named_where_there_is_one(settings, idle):
    assert idle_alone(read_recipe("tiny", settings)) == idle
