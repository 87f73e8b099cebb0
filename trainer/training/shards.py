"""Checkpoints of heads whose classes are spread over several processes.

`last.pt` is of the first process, as without shards, and names its step and the number of
processes. The others' classes are in `last-STEP.rankR.pt`. These are written first, then all
processes synchronize, then `last.pt` is renamed into place: it is the only commit, so that either
all parts of a step exist or those of the step before.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.errors import CheckpointError, TrainingError
from trainer.training.checkpoint import (
    State,
    read_checkpoint,
    save_checkpoint,
    synchronize_directory,
)
from trainer.training.distributed import gather
from trainer.training.partial_fc import class_range

WEIGHT, MOMENTUM = "weight", "momentum"


def shard_path(path: Path, step: int, rank: int) -> Path:
    """Return where the classes of a rank are kept for a checkpoint of the first rank."""
    return path.with_name(f"{path.stem}-{step:07d}.rank{rank}.pt")


def save_in_two_phases(
    paths: Sequence[Path],
    *,
    rank: int,
    step: int,
    first: Callable[[], State],
    shard: Callable[[], State],
) -> None:
    """Write the same checkpoint under several names; all ranks call it.

    Args:
        paths: of the first rank's files.
        rank: of this process.
        step: of the checkpoint.
        first: the state that the first rank writes.
        shard: the state that every other rank writes.

    Raises:
        TrainingError: on all ranks, if one cannot write; the checkpoint before is intact.
    """
    own = [shard_path(path, step, rank) for path in paths]
    fault = ""
    if rank:
        try:
            save_checkpoint(own[0], shard())
            for more in own[1:]:
                _copy(own[0], more)
            synchronize_directory(own[0].parent)
        except TrainingError as error:
            fault = str(error)
        except OSError as error:
            fault = f"cannot write {own[-1]}: {(error.strerror or '').lower()}"
    if faults := [text for text in gather(fault) if text]:
        for path in own if rank else ():
            path.unlink(missing_ok=True)
        raise TrainingError(faults[0])
    if not rank:
        state = first()
        for path in paths:
            save_checkpoint(path, state)
    gather(rank)  # the first rank has written all
    for path, kept in zip(paths, own, strict=True):
        if rank:  # those of earlier steps, and of an earlier version of the format
            for file in path.parent.glob(f"{path.stem}*.rank{rank}*.pt"):
                name = file.name.removeprefix(path.stem)
                if file != kept and (name[0] == "." or name[1:8].isdigit()):
                    file.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def classes_of(state: State, path: Path, own: range, n_classes: int) -> State:
    """Return a state with the classes of this rank, from whichever ranks wrote them.

    Args:
        state: of the first rank, or of the only one.
        path: of its file.
        own: the classes of this rank.
        n_classes: of all ranks.

    Returns:
        The state, the head's weight and the weight's momentum those of `own`.

    Raises:
        CheckpointError: if a part is missing or of another step, or there are other classes.
    """
    world = state.get("parts", 1)
    then = state.get("n_classes", len(state["head"][WEIGHT]))
    if then != n_classes:
        raise CheckpointError(
            f"cannot resume {path}: it has {then} classes, the set has {n_classes} "
            f"(--set run.pretrained={path} and another --out start a new run from its weights)"
        )
    weights, momenta = [], []
    for rank in range(world):
        there = class_range(n_classes, rank, world)
        first, end = max(own.start, there.start), min(own.stop, there.stop)
        if first < end or (not own and not rank):  # without classes the shape of a row counts
            part = read_shard(state, path, rank) if rank else _own(state)
            rows = slice(first - there.start, max(first, end) - there.start)
            weights.append(part[WEIGHT][rows])
            momenta.append(part[MOMENTUM][rows])
    optimizer = state["optimizer"]
    entries = {**optimizer["state"], _place(state): {MOMENTUM: torch.cat(momenta)}}
    head = {**state["head"], WEIGHT: torch.cat(weights)}
    return {**state, "head": head, "optimizer": {**optimizer, "state": entries}}


def shard_of(state: State) -> State:
    """Return what a rank other than the first must keep of its state."""
    return {"step": state["step"], "parts": state["parts"], **_own(state)}


def read_shard(state: State, path: Path, rank: int) -> State:
    """Return the part of a checkpoint that a rank other than the first has stored.

    Raises:
        CheckpointError: if it is missing, or of another step or run.
    """
    file = shard_path(path, state["step"], rank)
    found = read_checkpoint(file)
    if (found["step"], found["parts"]) != (state["step"], state["parts"]):
        raise CheckpointError(f"{file} does not belong to {path}: it is of another run")
    return found


def _own(state: State) -> dict[str, Tensor]:
    weight = state["head"][WEIGHT]
    entry = state["optimizer"]["state"].get(_place(state), {MOMENTUM: torch.zeros_like(weight)})
    return {WEIGHT: weight, MOMENTUM: entry[MOMENTUM]}


def _place(state: State) -> int:
    """Return the number of the head's weight among the optimizer's parameters."""
    return len(state["optimizer"]["param_groups"][0]["params"])  # after the backbone's
