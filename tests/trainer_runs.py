"""Small runs of the trainer, for tests."""

import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import torch
from rich.console import Console

from trainer.data.faceset import FaceSetWriter, encode
from trainer.data.pairs import PairSet, write_bin
from trainer.training.checkpoint import read_checkpoint
from trainer.training.recipe import read_recipe
from trainer.training.run import Run, run_recipe

SMALL = (
    *("backbone.size=16", "run.batch=6", "run.precision=f32"),
    *("run.targets=[]", "run.verbose=5", "run.frequent=5"),
)


@contextmanager
def single_threaded():
    """Let torch calculate in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_set(directory):
    """Write four people of synthetic texture, five images each, and a target of eight pairs."""
    rng = np.random.default_rng(0)
    people = []
    for _ in range(4):
        base = rng.integers(0, 256, (7, 7, 3))
        images = []
        for _ in range(5):
            noisy = np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
            images.append(encode(np.kron(noisy, np.ones((16, 16, 1), np.uint8))))
        people.append(images)
    with FaceSetWriter(directory) as writer:
        for images in people:
            writer.add(images)
    pairs = [(p[0], p[1], True) for p in people]
    pairs += [(people[i][2], people[(i + 1) % 4][3], False) for i in range(4)]
    images = [image for a, b, _ in pairs for image in (a, b)]
    write_bin(directory / "eight.bin", PairSet("eight", images, np.array([s for *_, s in pairs])))
    return directory


def run(data, out, *settings, resume=False, recipe="tiny"):
    whole = read_recipe(recipe, [*SMALL, *settings])
    return run_recipe(
        Run(whole, data, out, resume, device="cpu", threads=1), console=Console(quiet=True)
    )


def weights(path):
    state = read_checkpoint(path)
    tensors = {f"b.{k}": v for k, v in state["backbone"].items()}
    tensors |= {f"h.{k}": v for k, v in state["head"].items()}
    for number, entry in state["optimizer"]["state"].items():
        tensors[f"m.{number}"] = entry["momentum"]
    return tensors


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def equal(one, two):
    """Return whether two states hold the same tensors and values, to the last bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(v, two[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def command(*arguments, expect=0):
    done = subprocess.run(
        [sys.executable, "-c", "from trainer.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == expect, done.stderr
    return done
