"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.pairs import PairSet
from trainer.errors import TrainingError
from trainer.training.checkpoint import State, made_with, save_checkpoint, what_is_left
from trainer.training.distributed import gather
from trainer.training.optimizer import planned_rate
from trainer.training.progress import Progress, Verified
from trainer.training.recipe import Recipe
from trainer.training.resume import restore
from trainer.training.shards import save_in_two_phases, shard_of
from trainer.training.sources import Source
from trainer.training.trainee import Trainee

PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def fit(
    recipe: Recipe,
    trainee: Trainee,
    source: Source,
    targets: Sequence[PairSet],
    out: Path,
    *,
    resume: Path | None = None,
    rank: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Progress | Verified]:
    """Train; yields progress and results.

    Args:
        recipe: what to do.
        trainee: the network.
        source: batches.
        targets: verified every `run.verbose` steps and at the end; the best mean accuracy counts.
        out: directory of the checkpoints: last.pt to resume, best.pt to use.
        resume: checkpoint to continue from.
        rank: of this process; the first writes checkpoints, the others shards of a head.
        clock: seconds.

    Raises:
        TrainingError: if the loss is not finite, memory runs out, or the disk is full.
        CheckpointError: if `resume` is of another recipe.
    """
    run, optimizer = recipe.run, trainee.optimizer
    start, best = 0, -1.0
    if resume:
        start, best = restore(recipe, trainee, source, resume, rank)
    else:
        yield Verified(0, tuple(trainee.verify(pairs) for pairs in targets), is_best=False)
    losses: list[Tensor] = []
    accuracies: list[Tensor] = []
    waited, since, images = 0.0, clock(), 0
    trainee.network.train()
    for step in range(start + 1, run.steps + 1):
        lr = planned_rate(recipe, step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        for _ in range(recipe.optimizer.accumulate):
            before = clock()
            pixels, labels = source.next()
            waited += clock() - before
            loss, accuracy = _forward_backward(recipe, trainee, pixels, labels, out)
            losses.append(loss)
            accuracies.append(accuracy)
            images += len(pixels)
        trainee.unscale()
        if recipe.optimizer.clip:
            trainee.clip(recipe.optimizer.clip)
        is_report = step % run.frequent == 0 or step % run.verbose == 0 or step == run.steps
        if is_report:  # reading the loss waits for a GPU: not every step
            mean_loss = float(torch.stack(losses).mean())
            _check_finite("loss", mean_loss, step, lr, out)
        trainee.scaler.step(optimizer)
        trainee.scaler.update()
        optimizer.zero_grad(set_to_none=True)
        trainee.average()
        if is_report:
            seconds = max(clock() - since, 1e-9)
            yield Progress(
                step,
                lr,
                mean_loss,
                float(torch.stack(accuracies).mean()),
                images / seconds,
                waited / seconds,
            )
            losses, accuracies, waited, images = [], [], 0.0, 0
        if step % run.verbose == 0 or step == run.steps:
            _check_finite("largest weight", trainee.largest_weight(), step, lr, out)
            results = tuple(trainee.verify(pairs) for pairs in targets)
            trainee.network.train()
            mean = sum(r.accuracy_flip.mean for r in results) / max(len(results), 1)
            is_best = mean > best
            best = max(best, mean)
            # before the checkpoint, so that a log is complete up to every checkpoint
            yield Verified(step, results, is_best)
            if run.ckpt != "never":
                _save(
                    recipe,
                    trainee,
                    source,
                    out,
                    place=(rank, step),
                    best=best,
                    is_best=is_best or not targets,
                )
        if is_report:
            since = clock()


def _save(
    recipe: Recipe,
    trainee: Trainee,
    source: Source,
    out: Path,
    *,
    place: tuple[int, int],
    best: float,
    is_best: bool,
) -> None:
    """Write the checkpoints that are due; all ranks call it.

    The first rank's file holds everything of all ranks but the classes of a sharded head, which
    may be too large for one process.
    """
    rank, step = place
    ranks = gather({**trainee.rank_state(), "source": source.state()})
    paths = [out / "best.pt"] if is_best else []
    paths += [out / f"step-{step:07d}.pt"] if recipe.run.ckpt == "always" else []
    # last: a run killed between these repeats the step, else it would never write the others
    paths += [out / "last.pt"]

    def state() -> State:
        return {**_state(recipe, trainee, source, step, best), "ranks": ranks, "parts": len(ranks)}

    if recipe.head.sharded and len(ranks) > 1:
        save_in_two_phases(
            paths, rank=rank, step=step, first=state, shard=lambda: shard_of(state())
        )
    elif rank == 0:
        whole = {**state(), "parts": 1}  # nothing is in other files
        for path in paths:
            save_checkpoint(path, whole)


def _forward_backward(
    recipe: Recipe, trainee: Trainee, pixels: Tensor, labels: Tensor, out: Path
) -> tuple[Tensor, Tensor]:
    kind = trainee.device.type
    precision = PRECISIONS[recipe.run.precision]
    cast = nullcontext() if precision == torch.float32 else torch.autocast(kind, precision)
    try:
        with cast:
            loss, accuracy = trainee.network(
                pixels.to(trainee.device, non_blocking=True),
                labels.to(trainee.device, non_blocking=True),
            )
        trainee.scaler.scale(loss / recipe.optimizer.accumulate).backward()
    except RuntimeError as error:  # for a CPU, torch has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise TrainingError(
            f"out of memory with batches of {recipe.run.batch}: halve run.batch and double "
            f"optimizer.accumulate ({what_is_left(out)})"
        ) from error
    return loss.detach(), accuracy.detach()


def _check_finite(what: str, value: float, step: int, lr: float, out: Path) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"the {what} is {value} at step {step} with lr {lr:g}: lower optimizer.lr, or set "
            f"optimizer.warmup or optimizer.clip ({what_is_left(out)})"
        )


def _state(recipe: Recipe, trainee: Trainee, source: Source, step: int, best: float) -> State:
    return {
        **trainee.state(),
        "source": source.state(),
        "step": step,
        "best": best,
        "recipe": recipe.model_dump_json(),
        "made_with": made_with(),
    }
