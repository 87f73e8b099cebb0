"""Measure a recipe's accuracy over seeds: scripts/over_seeds.py TRAIN OUT [--pairs FILE.bin]...

For every seed a different quarter of the people of TRAIN/NAME/*.jpg (aligned crops) is held out of
the training; pairs of these people are verified before and after. Choose settings by these pairs:
the reported pairs must not be used for it. `--pairs` are verified in addition. An option such as
`--set run.precision=bf16` tries a setting. Prints a line per seed and the means; five seeds of
`tiny` take minutes.
"""

import argparse
import statistics
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console

from trainer.data.faceset import FaceSetWriter
from trainer.data.pack import people_of
from trainer.data.pairs import PairSet, alternate, read_bin, write_bin
from trainer.training.recipe import read_recipe
from trainer.training.run import Run, run_recipe

PARTS = 4  # a quarter held out: enough people for training, enough pairs for verification
NAME = "left_out"


def main() -> None:
    """Train with every seed and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--pairs", action="append", default=[], type=Path, help="FILE.bin")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--set", action="append", default=[], help="section.key=value of it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    wanted = parser.parse_args()
    gained: dict[str, list[float]] = {}
    for seed in range(wanted.seeds):
        data = wanted.out / f"faces-{seed}"
        data.mkdir(parents=True)
        divide(wanted.train, seed, data)
        for path in wanted.pairs:
            write_bin(data / path.name, alternate(read_bin(path)))
        targets = ", ".join(f'"{name}"' for name in (NAME, *(p.stem for p in wanted.pairs)))
        settings = [f"run.targets=[{targets}]", f"run.seed={seed}", *wanted.set]
        recipe = read_recipe(wanted.recipe, settings)
        run = Run(recipe, data, wanted.out / f"model-{seed}", threads=wanted.threads)
        trained = run_recipe(run, console=Console(quiet=True))
        rows = trained["results"]
        n = len(rows) // 2
        words = []
        for before, after in zip(rows[:n], rows[n:], strict=True):
            old, new = (row["accuracy_flip"]["mean"] for row in (before, after))
            gained.setdefault(after["target"], []).append(new)
            words.append(f"{after['target']} {old:.4f} -> {new:.4f}")
        print(f"seed {seed}: {', '.join(words)}", flush=True)
    for target, values in gained.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{target}: {statistics.mean(values):.4f} +- {spread:.4f} over {len(values)} seeds")


def divide(train: Path, seed: int, data: Path) -> None:
    """Write train.rec of most people, and a .bin of as many genuine as impostor pairs of others."""
    people = list(people_of(train).values())
    with FaceSetWriter(data) as faces:
        for photos in (p for i, p in enumerate(people) if i % PARTS != seed % PARTS):
            faces.add([photo.read_bytes() for photo in photos])
    rest = [(i, path) for i, paths in enumerate(people[seed % PARTS :: PARTS]) for path in paths]
    pairs = list(combinations(rest, 2))
    generator = np.random.default_rng(seed)
    same = [(a, b) for (i, a), (j, b) in pairs if i == j]
    others = [(a, b) for (i, a), (j, b) in pairs if i != j]
    chosen = generator.choice(len(others), min(len(same), len(others)), replace=False)
    drawn = [(*pair, True) for pair in same] + [(*others[k], False) for k in chosen]
    order = generator.permutation(len(drawn))  # every fold of the protocol needs both kinds
    images = [path.read_bytes() for k in order for path in drawn[k][:2]]
    write_bin(data / f"{NAME}.bin", PairSet(NAME, images, np.array([drawn[k][2] for k in order])))


if __name__ == "__main__":
    main()
