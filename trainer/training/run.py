"""One run of a recipe: opens everything, trains, and shows progress."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from trainer.data.faceset import FaceSet
from trainer.data.loader import Classes
from trainer.data.pairs import PairSet
from trainer.errors import CheckpointError, RecordError
from trainer.training.checkpoint import (
    State,
    claimed,
    common_checkpoint,
    older,
    read_checkpoint,
    what_is_left,
)
from trainer.training.device import choose_precision, device_kind, open_device, use_threads
from trainer.training.distill import open_teacher
from trainer.training.distributed import World, join_world
from trainer.training.inputs import open_classes, open_source, open_targets
from trainer.training.layout import choose_layout
from trainer.training.loop import fit
from trainer.training.progress import Progress
from trainer.training.recipe import Recipe
from trainer.training.run_log import RunLog
from trainer.training.trainee import Trainee

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is given.

    Attributes:
        recipe: what to do.
        data: directory of train.rec and of the targets.
        out: directory of last.pt, best.pt, and what RunLog keeps.
        resume: continue from OUT/last.pt.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 leaves torch's own.
    """

    recipe: Recipe
    data: Path
    out: Path
    resume: bool = False
    device: str = "auto"
    threads: int = 0

    @property
    def last(self) -> Path:
        """The checkpoint of the first rank."""
        return self.out / "last.pt"


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What was read from `Run.data`."""

    faces: FaceSet
    classes: Classes
    targets: list[PairSet]


def run_recipe(
    run: Run, *, console: Console, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Train by a recipe.

    Args:
        run: what to do, with what, where.
        console: where the progress bar goes.
        now: seconds since 1970, for TensorBoard.

    Returns:
        Steps, checkpoint, and the results before and after; of other ranks than 0, no results.

    Raises:
        TrainerError: if anything is missing or goes wrong.
    """
    kind = device_kind(run.device)
    if run.last.exists() and not run.resume:
        raise CheckpointError(
            f"{run.out} holds a run: continue it by --resume, or choose another --out"
        )
    if run.resume and not (run.last.exists() or older(run.last).exists()):
        raise CheckpointError(f"cannot resume: there is no {run.last}")
    use_threads(run.threads)
    targets = open_targets(run.data, run.recipe.run.targets)
    faces = FaceSet(run.data, min_images=run.recipe.data.min_images)
    inputs = _Inputs(faces, open_classes(run.recipe, faces), targets)
    with claimed(run.out), join_world(kind) as world:
        results = _train(run, inputs, world, console, now)
    best = run.out / "best.pt"
    return {
        "steps": run.recipe.run.steps,
        "checkpoint": str(best if best.exists() else run.last),
        "results": results,
    }


def _train(
    run: Run, inputs: _Inputs, world: World, console: Console, now: Callable[[], float]
) -> list[dict[str, Any]]:
    """Train as one rank; what is built on the process group ends with this function."""
    place = open_device(run.device, world)
    start = _start(run, world) if run.resume else None
    then: State = read_checkpoint(start) if start else {"step": 0, "best": 0.0}
    recipe, reason = choose_precision(run.recipe, place, then)
    recipe, layout_reason = choose_layout(recipe, place, then)
    if world.rank == 0:
        if run.recipe.run.channels_last == "auto":
            layout = "channels_last" if recipe.run.channels_last else "contiguous"
            logger.info("memory layout %s: %s", layout, layout_reason)
        logger.info("training in %s on %s: %s", recipe.run.precision, place, reason)
        logger.info("%s", plan_line(recipe, world.size, len(inputs.faces)))
        for name in idle_alone(recipe) if world.size == 1 else ():
            logger.info("%s does nothing in one process", name)
    trainee = Trainee(
        recipe,
        inputs.classes.n_classes or inputs.faces.n_classes,
        place,
        open_teacher=lambda head: open_teacher(head, device=run.device, threads=run.threads),
    )
    source = open_source(
        recipe, inputs.faces, trainee, world, classes=inputs.classes, pin=place.type == "cuda"
    )
    with ExitStack() as stack:
        log = None
        if world.rank == 0:
            highest = max(then["best"], 0.0)
            log = stack.enter_context(
                closing(RunLog(run.out, keep_to=then["step"], highest=highest, now=now))
            )
        stack.enter_context(_damage_named(run.data, run.out))
        show = stack.enter_context(_shown(console, recipe.run.steps, is_shown=world.rank == 0))
        for event in fit(
            recipe, trainee, source, inputs.targets, run.out, resume=start, rank=world.rank
        ):
            if isinstance(event, Progress):
                show(event)
            if log:
                log.add(event)
        return log.before_and_after() if log else []


def plan_line(recipe: Recipe, n_processes: int, n_images: int) -> str:
    """Return the effective batch, the learning rate and the epochs of a run, for its start."""
    batch, k = recipe.run.batch, recipe.optimizer.accumulate
    total = batch * n_processes * k
    parts = [f"batch {batch}"]
    parts += [f"{n_processes} processes"] if n_processes > 1 else []
    parts += [f"{k} accumulated"] if k > 1 else []
    images = f"{' x '.join(parts)} = {total} images a step" if len(parts) > 1 else f"{parts[0]}"
    epochs = recipe.run.steps * total / n_images
    plan = recipe.optimizer
    marks = [str(step) for step in plan.lr_steps if step <= recipe.run.steps]
    falls = f"a tenth at {', '.join(marks)}" if marks else "constant"
    schedule = falls if plan.schedule == "steps" else plan.schedule
    schedule += f" after {plan.warmup} steps of warm-up" if plan.warmup else ""
    return (
        f"{images}, lr {plan.lr:g} ({schedule}), "
        f"{recipe.run.steps} steps: {epochs:.3g} times the {n_images} images of the set"
    )


def idle_alone(recipe: Recipe) -> list[str]:
    """Return the keys of a recipe that do nothing in one process."""
    names = ["run.sync_bn"] if recipe.run.sync_bn else []
    return [*names, "head.sharded"] if recipe.head.sharded and recipe.head.rate == 1 else names


def _start(run: Run, world: World) -> Path:
    """Return the checkpoint that this rank resumes from: the first rank's, for all of them.

    An earlier version wrote a sharded head into whole checkpoints of each rank.
    """
    is_legacy = not run.last.exists() or "parts" not in read_checkpoint(run.last)
    if not is_legacy or world.size == 1 or not run.recipe.head.sharded:
        return run.last
    return common_checkpoint(run.last.with_suffix(f".rank{world.rank}.pt" if world.rank else ".pt"))


@contextmanager
def _shown(console: Console, steps: int, *, is_shown: bool) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar; yields a function of how the run is doing."""
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, disable=not is_shown) as bar:
        task = bar.add_task("starting", total=steps)
        yield lambda p: bar.update(task, completed=p.step, description=_line(p))


@contextmanager
def _damage_named(data: Path, out: Path) -> Iterator[None]:
    try:
        yield
    except RecordError as error:
        raise RecordError(
            f"{error} (`facewire-train inspect {data} --all` lists all damage; pack or "
            f"copy the set again, or skip more by --set data.max_damaged=N; "
            f"{what_is_left(out)})"
        ) from error


def _line(p: Progress) -> str:
    return (
        f"loss {p.loss:.4f} acc {p.accuracy:.3f} lr {p.lr:g} "
        f"{p.images_per_s:.1f} images/s, {100 * p.wait_share:.0f} % waiting for data"
    )
