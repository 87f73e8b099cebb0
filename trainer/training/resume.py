"""Continuing from a checkpoint, by the same recipe or one that differs where it may."""

import logging
from pathlib import Path

from trainer.errors import CheckpointError
from trainer.training.checkpoint import read_checkpoint
from trainer.training.distributed import n_processes
from trainer.training.optimizer import planned_rate
from trainer.training.partial_fc import PartialHead
from trainer.training.recipe import Recipe
from trainer.training.shards import classes_of
from trainer.training.sources import Source
from trainer.training.trainee import Trainee

logger = logging.getLogger(__name__)

MAY_CHANGE = {
    "run": {"steps", "verbose", "frequent", "ckpt", "targets", "batch"},
    "data": {"workers", "max_damaged"},
    "optimizer": {"lr", "schedule", "lr_steps", "warmup", "clip", "accumulate"},
    "head": {"sharded", "rate"},
}
MENTIONED = {"run": {"batch"}, "optimizer": MAY_CHANGE["optimizer"], "head": MAY_CHANGE["head"]}
RANDOM = ("rng", "cuda_rng", "head_rng")


def restore(
    recipe: Recipe, trainee: Trainee, source: Source, path: Path, rank: int
) -> tuple[int, float]:
    """Restore this rank's part of a checkpoint.

    With the number of processes of the checkpoint a run continues bit for bit. With another one
    the classes are divided again, and a new rank begins with its own random numbers.

    Returns:
        The step, and the best mean accuracy so far.

    Raises:
        CheckpointError: if the recipe differs where it must not, or a part is missing.
    """
    state = read_checkpoint(path)
    then = Recipe.model_validate_json(state["recipe"])
    ranks = state.get("ranks", [])
    _compare(then, recipe, path, state["step"], is_first=rank == 0)
    if rank == 0:
        _compare_rates(then, recipe, state["step"])
    if rank == 0 and ranks:
        _compare_worlds(then, recipe, len(ranks), state["step"])
    # by an earlier version, each rank's classes were in a whole checkpoint of its own
    is_legacy = then.head.sharded and "parts" not in state
    if (recipe.head.sharded or then.head.sharded) and not is_legacy:
        head = trainee.head
        if isinstance(head, PartialHead):
            state = classes_of(state, path, head.own, head.n_classes)
        else:
            n = len(head.get_parameter("weight"))
            state = classes_of(state, path, range(n), n)
    if ranks and rank >= len(ranks):
        state = {key: value for key, value in state.items() if key not in RANDOM}
    trainee.restore(state, path)
    if rank < len(ranks):
        trainee.restore_rank(ranks[rank])
        source.restore(ranks[rank]["source"], is_own=True)
    else:  # a rank that is new, or a checkpoint of an earlier version
        source.restore(state["source"], is_own=rank == 0 or is_legacy)
    return state["step"], state["best"]


def _compare(then: Recipe, now: Recipe, path: Path, step: int, *, is_first: bool) -> None:
    """Refuse a recipe that differs where it must not, and log where it differs otherwise."""
    before = then.model_dump()
    for section, keys in now.model_dump().items():
        for key, value in keys.items():
            old = before[section][key]
            if old == value:
                continue
            if key not in MAY_CHANGE.get(section, ()):
                raise CheckpointError(
                    f"cannot resume {path}: {section}.{key} was {old!r}, now it is {value!r} "
                    f"(--set run.pretrained={path} and another --out start a new run from its "
                    "weights)"
                )
            if is_first and key in MENTIONED.get(section, ()):
                logger.info("%s.%s was %r, after step %d it is %r", section, key, old, step, value)


def _compare_rates(then: Recipe, now: Recipe, step: int) -> None:
    """Log the next learning rate where the old recipe has another."""
    if step >= now.run.steps:
        return
    old, new = planned_rate(then, step + 1), planned_rate(now, step + 1)
    if old != new:
        logger.info(
            "the learning rate of step %d is %.3g; it was to be %.3g by the recipe before",
            *(step + 1, new, old),
        )


def _compare_worlds(then: Recipe, now: Recipe, n_then: int, step: int) -> None:
    """Warn where a step has another number of images than before."""
    n_now = n_processes()
    old, new = then.run.batch * n_then, now.run.batch * n_now
    old, new = old * then.optimizer.accumulate, new * now.optimizer.accumulate
    if old == new:
        return
    per = n_now * now.optimizer.accumulate
    keep = f"run.batch={old // per} keeps it" if old % per == 0 else "optimizer.accumulate helps"
    logger.warning(
        "a step was %d images of %d processes, after step %d it is %d of %d (%s)",
        *(old, n_then, step, new, n_now, keep),
    )
