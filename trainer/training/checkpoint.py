"""Checkpoints: all that a run needs to continue as if it had never stopped."""

import fcntl
import os
import pickle
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainer.backbones.arcface_torch import load_arcface_torch
from trainer.backbones.mxnet_params import load_mxnet
from trainer.errors import CheckpointError, TrainingError
from trainer.training.distributed import gather

FORMAT = 1

State = dict[str, Any]


def made_with() -> dict[str, str]:
    """Return the versions of what trains, and the git commit of the checkout, "" without one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    versions = {name: version(name) for name in ("facewire", "torch", "numpy")}
    return {**versions, "python": platform.python_version(), "commit": commit}


def what_is_left(out: Path) -> str:
    """Return a phrase for error messages: which checkpoint there is to resume from."""
    last = out / "last.pt"
    return f"{last} is intact" if last.exists() else "no checkpoint was written yet"


def save_checkpoint(path: Path, state: State) -> None:
    """Write a checkpoint atomically: the path holds the old one or the new one.

    Args:
        path: ends in .pt.
        state: tensors and plain values only, so that it loads without running code.

    Raises:
        TrainingError: if it cannot be written; the old one is intact.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as stream:
            torch.save({"format": FORMAT, **state}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
        synchronize_directory(path.parent)
    except (OSError, RuntimeError) as error:
        # torch raises an error of its own over that of the disk
        causes = (error, error.__context__)
        reason = next((e.strerror for e in causes if isinstance(e, OSError)), None) or str(error)
        raise TrainingError(
            f"cannot write {path}: {reason.splitlines()[0].lower()} "
            f"(free some space; {what_is_left(path.parent)})"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


def synchronize_directory(directory: Path) -> None:
    """Write the names in a directory to the disk, so that a power cut keeps their order."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep a run's directory to this run, and remove partial files of a killed one.

    Of several processes of a run, the first claims it for all. A directory that cannot be made is
    refused.

    Raises:
        TrainingError: if another run writes there.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        directory = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise TrainingError(
            f"cannot make {out}: {(error.strerror or '').lower()} (choose another --out)"
        ) from error
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another run writes to {out}: wait for its end, or choose another --out"
            ) from error
        for scratch in out.glob(".*.pt.*"):
            if scratch.suffix[1:].isdigit():
                scratch.unlink(missing_ok=True)
        yield
    finally:
        os.close(directory)


def older(path: Path) -> Path:
    """Return where an earlier version kept the checkpoint before this one."""
    return path.with_name(f"{path.stem}.older{path.suffix}")


def common_checkpoint(path: Path) -> Path:
    """Return which of a rank's last two checkpoints to resume from; all ranks call it.

    Of an earlier version, which may have left shards of different steps.

    Args:
        path: of this rank's last one.

    Raises:
        CheckpointError: if no step is one of which every rank has a checkpoint.
    """
    mine = {_step(file): file for file in (older(path), path) if file.exists()}
    steps = gather(sorted(mine))
    common = set(steps[0]).intersection(*steps[1:])
    if not common:
        have = "; ".join(f"rank {rank} has {found or 'none'}" for rank, found in enumerate(steps))
        raise CheckpointError(
            f"cannot resume {path.parent}: there is no step of which every rank has a checkpoint "
            f"({have}): use as many processes as before, or choose another --out"
        )
    return mine[max(common)]


def _step(path: Path) -> int:
    return int(read_checkpoint(path)["step"])


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        CheckpointError: if it is missing, damaged, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    # torch raises these for files that are cut off, foreign, or hold code
    except (
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(f"{path} is no checkpoint, or is damaged") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of this version")
    return state


def load_weights(backbone: nn.Module, spec: str) -> None:
    """Fill a backbone from a checkpoint of ours, one of MXNet, or arcface_torch's `.pth`.

    Of averaged weights where there are some, as `verify` and `export` do.

    Args:
        backbone: to be filled.
        spec: FILE.pt, FILE.pth, PREFIX-0001.params, or PREFIX,1 as `verify` has it.

    Raises:
        CheckpointError: if it is of another network; the message names the first keys.
    """
    path = weights_path(spec)
    if path.suffix == ".params":
        load_mxnet(backbone, path)
        return
    if path.suffix == ".pth":
        load_arcface_torch(backbone, path)
        return
    state = read_checkpoint(path)
    load_state(backbone, state["ema"] or state["backbone"], path)


def weights_path(spec: str) -> Path:
    """Return the file of weights for a path, or for MXNet's PREFIX,EPOCH."""
    prefix, comma, epoch = spec.rpartition(",")
    is_epoch = comma and epoch.strip().isdecimal()
    return Path(f"{prefix}-{int(epoch):04d}.params") if is_epoch else Path(spec)


def load_state(module: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Fill a module, all keys or none.

    Raises:
        CheckpointError: if keys or shapes differ.
    """
    own = module.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if wrong:
        raise CheckpointError(f"{path} is of another network: {', '.join(wrong[:3])} differ")
    module.load_state_dict(state)
