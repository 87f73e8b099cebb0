"""Batches of a face set: shuffled, seeded, and at any position after a resume."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trainer.augment import augment
from trainer.errors import DataError
from trainer.faceset import SIDE, FaceSet, resize_short


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How images are changed, see `augment`."""

    mirror: bool
    colour: int
    cutoff: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Which images make which batch: a pure function of seed and position.

    Batch number n of all ranks together is the same whatever their number: two ranks of 32 see
    what one of 64 sees. The last incomplete batch of an epoch is dropped.

    Attributes:
        n_images: in the set.
        batch: images of one rank.
        seed: of the order.
        rank: of this process.
        world: number of processes.
    """

    n_images: int
    batch: int
    seed: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.n_images < self.batch * self.world:
            raise DataError(
                f"{self.n_images} images do not fill a batch of {self.batch * self.world} "
                "(lower run.batch)"
            )

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.n_images // (self.batch * self.world)


class _Positions(Sampler[tuple[int, list[int]]]):
    """Endless batches of a plan from a position on."""

    def __init__(self, plan: Plan, start: int) -> None:
        self._plan, self._start = plan, start

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        plan, number = self._plan, self._start
        while True:
            epoch, place = divmod(number, plan.per_epoch)
            # one permutation an epoch: a set of millions takes a second to shuffle
            order = np.random.default_rng((plan.seed, epoch)).permutation(plan.n_images)
            for at in range(place, plan.per_epoch):
                start = (at * plan.world + plan.rank) * plan.batch
                yield number, order[start : start + plan.batch].tolist()
                number += 1


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """Decodes and changes the images of one batch."""

    def __init__(self, faces: FaceSet, change: Augmentation, seed: int, n_labels: int) -> None:
        self._faces, self._change, self._seed, self._n_labels = faces, change, seed, n_labels

    def __getitem__(self, batch: tuple[int, list[int]]) -> tuple[Tensor, Tensor]:
        number, indices = batch
        change = self._change
        dtype = np.float32 if change.colour else np.uint8
        pixels = np.empty((len(indices), SIDE, SIDE, 3), dtype)
        labels = np.zeros((len(indices), max(self._n_labels, 1)), np.int64)
        for row, index in enumerate(indices):
            key = int(self._faces.keys[index])
            image, values = self._faces.read(key)
            rng = np.random.default_rng((self._seed, number, row))
            pixels[row] = augment(
                resize_short(image),
                rng,
                mirror=change.mirror,
                colour=change.colour,
                cutoff=change.cutoff,
            )
            if self._n_labels == 0:
                labels[row] = int(values[0])
            else:  # the labels after the class, or the record's own where it has no class
                labels[row] = [int(v) for v in values[-self._n_labels :]]
        flat = labels if self._n_labels else labels[:, 0]
        return torch.from_numpy(pixels), torch.from_numpy(flat)


def batches(
    faces: FaceSet,
    plan: Plan,
    change: Augmentation,
    *,
    start: int = 0,
    workers: int = 0,
    n_labels: int = 0,
    pin: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches for ever.

    Args:
        faces: the set.
        plan: which images when.
        change: of the images; repeatable whatever the number of workers.
        start: position to begin at, counted in batches from the first.
        workers: processes that decode; 0 decodes in this one.
        n_labels: 0 for the class alone; else that many last labels of each image.
        pin: page-locked memory, for a GPU.

    Yields:
        pixels (B, 112, 112, 3), uint8 or (with colour jitter) float32 RGB of 0..255; labels (B,)
        or (B, n_labels) int64.
    """
    loader = DataLoader(
        _Batches(faces, change, plan.seed, n_labels),
        batch_size=None,
        sampler=_Positions(plan, start),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
        # else it draws from torch's own state, and a resumed run would see other dropout
        generator=torch.Generator().manual_seed(plan.seed),
        pin_memory=pin,
    )
    yield from loader
