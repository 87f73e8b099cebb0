"""One run of a recipe: opens everything and shows how it goes."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recognizer import Image
from trainer.data.faceset import FaceSet
from trainer.data.labels import check_labels, read_labels
from trainer.data.loader import Augmentation, Classes, Plan
from trainer.data.pairs import PairSet, read_bin
from trainer.errors import CheckpointError, DataError, RecordError, TrainingError
from trainer.evaluation.embedding import recognizer_embed, torch_embed
from trainer.evaluation.verification import unit_rows
from trainer.heads.triplet import ALPHA
from trainer.training.checkpoint import (
    State,
    claimed,
    common_checkpoint,
    older,
    read_checkpoint,
    what_is_left,
)
from trainer.training.distributed import World, join_world
from trainer.training.loop import fit
from trainer.training.progress import Progress
from trainer.training.recipe import Recipe, read_recipe
from trainer.training.run_log import RunLog
from trainer.training.sources import ShuffledSource, Source, TripletSource
from trainer.training.trainee import Trainee

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # as `torch.cpu.get_capabilities` names them


def open_device(name: str, world: World) -> torch.device:
    """Return the device of this process.

    Raises:
        TrainingError: if cuda is wanted and there is none.
    """
    if device_kind(name) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", world.local_rank)


def device_kind(name: str) -> str:
    """Return "cpu" or "cuda" for what a user names.

    Raises:
        TrainingError: if it is none of auto, cpu and cuda, or there is no GPU.
    """
    if name not in DEVICES:
        raise TrainingError(f"unknown device {name!r} (choose {', '.join(DEVICES)})")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise TrainingError("cannot train on cuda: torch finds no GPU (use --device cpu)")
    return "cuda" if has_cuda and name != "cpu" else "cpu"


def settle(recipe: Recipe, place: torch.device, then: State) -> Recipe:
    """Decide what a recipe leaves to the machine: the precision of the networks.

    Args:
        recipe: as it was read.
        place: where it runs.
        then: the checkpoint to go on from, whose precision stays; without a recipe there is none.
    """
    if recipe.run.precision != "auto":
        if recipe.run.precision == "bf16" and not calculates_in_bf16(place):
            logger.warning(
                "%s has no instructions for bf16, which is several times slower than f32 there "
                "(--set run.precision=auto chooses by the device)",
                place,
            )
        return recipe
    if "recipe" in then:
        precision = Recipe.model_validate_json(then["recipe"]).run.precision
    else:
        precision = "bf16" if calculates_in_bf16(place) else "f32"
    run = recipe.run.model_copy(update={"precision": precision})
    return recipe.model_copy(update={"run": run})


def calculates_in_bf16(place: torch.device) -> bool:
    """Whether a device has instructions for bf16: without them it is several times slower."""
    if place.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in BF16_INSTRUCTIONS)


def open_targets(data: Path, names: Sequence[str]) -> list[PairSet]:
    """Read DATA/NAME.bin of every name.

    Raises:
        DataError: if one is missing.
    """
    targets = []
    for name in names:
        path = data / f"{name}.bin"
        if not path.exists():
            raise DataError(
                f"cannot find the target {path}: put it there, or choose others "
                "(--set 'run.targets=[]' for none)"
            )
        targets.append(read_bin(path))
    return targets


def open_classes(recipe: Recipe, faces: FaceSet) -> Classes:
    """Return how labels become classes, and see that a classifier can learn them.

    Raises:
        DataError: if it cannot, with what to change.
    """
    if recipe.head.loss in ("triplet", "atriplet", "distill"):
        return Classes()
    if recipe.head.loss == "genderage":
        return Classes(n_labels=2)
    labels = read_labels(faces)
    if recipe.data.relabel:
        values = labels.values[np.isfinite(labels.values)]
        return Classes(n_classes=len(values), values=values)
    check_labels(faces, labels)
    if warning := labels.warning(faces.n_classes):
        logger.warning("%s: %s", faces.path, warning)
    return Classes(n_classes=faces.n_classes)


def open_source(
    recipe: Recipe,
    faces: FaceSet,
    trainee: Trainee,
    world: World,
    *,
    classes: Classes,
    pin: bool,
) -> Source:
    """Return where the batches come from."""
    run, data = recipe.run, recipe.data
    if recipe.head.loss in ("triplet", "atriplet"):
        embed = torch_embed(trainee.backbone, trainee.device)

        def units(crops: Image) -> NDArray[np.float32]:
            trainee.backbone.eval()
            rows = unit_rows(embed(crops).astype(np.float64)).astype(np.float32)
            trainee.network.train()
            return rows

        return TripletSource(
            faces,
            units,
            batch=run.batch,
            alpha=ALPHA,
            seed=run.seed + world.rank,
            mirror=data.mirror,
        )
    return ShuffledSource(
        faces,
        Plan(len(faces), run.batch, run.seed, world.rank, world.size),
        Augmentation(data.mirror, data.colour, data.cutoff),
        workers=data.workers,
        classes=classes,
        max_damaged=data.max_damaged,
        pin=pin,
    )


def run_recipe(
    name: str,
    data: Path,
    out: Path,
    *,
    settings: Sequence[str],
    resume: bool,
    device: str,
    threads: int,
    console: Console,
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Train by a recipe.

    Args:
        name: of the recipe.
        data: directory of train.rec and of the targets.
        out: directory of last.pt, best.pt, and what RunLog keeps.
        settings: "section.key=value" each.
        resume: go on from OUT/last.pt.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 leaves torch's own.
        console: where the progress bar goes.
        now: seconds since 1970, for TensorBoard.

    Returns:
        Steps, checkpoint, and the results before and after; of other ranks than 0, no results.

    Raises:
        TrainerError: if anything is missing or goes wrong.
    """
    recipe = read_recipe(name, settings)
    place_kind = device_kind(device)
    last = out / "last.pt"
    if last.exists() and not resume:
        raise CheckpointError(f"{out} holds a run: --resume goes on, or choose another --out")
    if resume and not (last.exists() or older(last).exists()):
        raise CheckpointError(f"cannot resume: there is no {last}")
    if threads:
        torch.set_num_threads(threads)
    targets = open_targets(data, recipe.run.targets)
    faces = FaceSet(data, min_images=recipe.data.min_images)
    classes = open_classes(recipe, faces)
    with claimed(out), join_world(place_kind) as world:
        results = _run_as_rank(
            world, recipe, faces, classes, targets, data, out, device, threads, resume, now, console
        )
    best = out / "best.pt"
    return {
        "steps": recipe.run.steps,
        "checkpoint": str(best if best.exists() else last),
        "results": results,
    }


def _run_as_rank(
    world: World,
    recipe: Recipe,
    faces: FaceSet,
    classes: Classes,
    targets: list[PairSet],
    data: Path,
    out: Path,
    device: str,
    threads: int,
    resume: bool,
    now: Callable[[], float],
    console: Console,
) -> list[dict[str, Any]]:
    place = open_device(device, world)
    start = out / "last.pt"
    if resume and world.size > 1 and recipe.head.sharded:
        shard = f"last.rank{world.rank}.pt" if world.rank else "last.pt"
        start = common_checkpoint(out / shard)
    then: State = read_checkpoint(start) if resume else {"step": 0, "best": 0.0}
    recipe = settle(recipe, place, then)
    logger.info("training in %s on %s", recipe.run.precision, place)
    trainee = Trainee(
        recipe,
        classes.n_classes or faces.n_classes,
        place,
        open_teacher=lambda spec: recognizer_embed(spec, device=device, threads=threads)[0],
    )
    source = open_source(recipe, faces, trainee, world, classes=classes, pin=place.type == "cuda")
    log = None
    if world.rank == 0:
        log = RunLog(out, keep_to=then["step"], highest=max(then["best"], 0.0), now=now)
    events = fit(
        recipe,
        trainee,
        source,
        targets,
        out,
        resume=start if resume else None,
        rank=world.rank,
    )
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with (
        Bar(*columns, console=console, disable=world.rank > 0) as shown,
        _damage_named(data, out),
    ):
        task = shown.add_task("starting", total=recipe.run.steps)
        for event in events:
            if isinstance(event, Progress):
                shown.update(task, completed=event.step, description=_line(event))
            if log:
                log.add(event)
    return log.before_and_after() if log else []


@contextmanager
def _damage_named(data: Path, out: Path) -> Iterator[None]:
    try:
        yield
    except RecordError as error:
        raise RecordError(
            f"{error} (`facewire-train inspect {data} --all` tells what else is damaged; pack or "
            f"copy the set again, or leave more out by --set data.max_damaged=N; "
            f"{what_is_left(out)})"
        ) from error


def _line(p: Progress) -> str:
    return (
        f"loss {p.loss:.4f} acc {p.accuracy:.3f} lr {p.lr:g} "
        f"{p.images_per_s:.1f} images/s, {100 * p.wait_share:.0f} % waiting for data"
    )
