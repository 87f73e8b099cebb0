"""Batches of a face set: shuffled, seeded, and at any position after a resume."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from recognizer import Image
from trainer.data.augment import augment
from trainer.data.faceset import SIDE, FaceSet, resize_short
from trainer.data.labels import class_of
from trainer.errors import DataError, RecordError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How images are changed, see `augment`."""

    mirror: bool
    color: int
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


class Positions(Sampler[tuple[int, list[int]]]):
    """Endless batches of a plan from a position on."""

    def __init__(self, plan: Plan, start: int) -> None:
        self._plan, self._start = plan, start

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        plan, number = self._plan, self._start
        while True:
            epoch, place = divmod(number, plan.per_epoch)
            # one permutation an epoch: a set of millions takes a second to shuffle
            order = np.arange(plan.n_images, dtype=np.uint32)
            np.random.default_rng((plan.seed, epoch)).shuffle(order)
            shape = plan.per_epoch, plan.world, plan.batch
            mine = order[: math.prod(shape)].reshape(shape)[:, plan.rank].copy()
            del order  # each process keeps its own part
            for indices in mine[place:]:
                yield number, indices.tolist()
                number += 1


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """How labels become classes.

    Attributes:
        n_labels: 0 for the class alone; else that many last labels of each image.
        n_classes: of the classifier; 0 where classes are not needed.
        values: (K,) labels in the order of their classes; None where a label is its class.
    """

    n_labels: int = 0
    n_classes: int = 0
    values: NDArray[np.float64] | None = None


class _Batches(Dataset[tuple[Tensor, Tensor, dict[int, str]]]):
    """Decodes and changes the images of one batch.

    What is damaged is returned by its key, with the reason, and replaced by the batch's next good
    image, independent of the process that reads it, so that a resumed run sees the same images.
    """

    def __init__(self, faces: FaceSet, change: Augmentation, seed: int, classes: Classes) -> None:
        self._faces, self._change, self._seed, self._classes = faces, change, seed, classes
        self._n_labels = classes.n_labels

    def __getitem__(self, batch: tuple[int, list[int]]) -> tuple[Tensor, Tensor, dict[int, str]]:
        number, indices = batch
        change = self._change
        dtype = np.float32 if change.color else np.uint8
        pixels = np.empty((len(indices), SIDE, SIDE, 3), dtype)
        labels = np.zeros((len(indices), max(self._n_labels, 1)), np.int64)
        damaged: dict[int, str] = {}
        good: dict[int, tuple[Image, tuple[int, ...]]] = {}
        for row, index in enumerate(indices):
            key = int(self._faces.keys[index])
            try:
                image, values = self._faces.read(key)
                good[row] = resize_short(image), self._labels(values, key)
            except (RecordError, DataError) as error:
                damaged[key] = str(error)
        if not good:
            return torch.from_numpy(pixels), torch.from_numpy(labels), damaged
        last = max(good)
        for row in range(len(indices)):
            taken = next((r for r in range(row, last + 1) if r in good), min(good))
            image, labels[row] = good[taken]
            rng = np.random.default_rng((self._seed, number, row))
            pixels[row] = augment(
                image,
                rng,
                mirror=change.mirror,
                color=change.color,
                cutoff=change.cutoff,
            )
        flat = labels if self._n_labels else labels[:, 0]
        return torch.from_numpy(pixels), torch.from_numpy(flat), damaged

    def _labels(self, values: tuple[float, ...], key: int) -> tuple[int, ...]:
        classes = self._classes
        where = f"{self._faces.path}, record {key}"
        if classes.n_labels:  # the labels after the class, or the record's own without a class
            own = values[-classes.n_labels :]
            if len(own) < classes.n_labels or not np.isfinite(own).all():
                raise DataError(f"{where}: {classes.n_labels} labels are wanted, it has {own}")
            return tuple(int(value) for value in own)
        if not values or not np.isfinite(values[0]):
            raise DataError(f"{where}: it has no label")
        label = int(values[0]) if classes.values is None else class_of(values[0], classes.values)
        if classes.n_classes and not 0 <= label < classes.n_classes:
            raise DataError(
                f"{where}: its label {values[0]:g} is none of {classes.n_classes} classes"
            )
        return (label,)


def batches(
    faces: FaceSet,
    plan: Plan,
    change: Augmentation,
    *,
    start: int = 0,
    workers: int = 0,
    classes: Classes = Classes(),
    max_damaged: int = 0,
    pin: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end.

    Args:
        faces: the set.
        plan: which images when.
        change: of the images; repeatable whatever the number of workers.
        start: position to begin at, counted in batches from the first.
        workers: processes that decode; 0 decodes in this one.
        classes: how labels become classes.
        max_damaged: images that may be left out because they are damaged; each is logged.
        pin: page-locked memory, for a GPU.

    Yields:
        pixels (B, 112, 112, 3), uint8 or (with color jitter) float32 RGB of 0..255; labels (B,)
        or (B, n_labels) int64.

    Raises:
        RecordError: if more images are damaged, or all of a batch are.
    """
    loader = DataLoader(
        _Batches(faces, change, plan.seed, classes),
        batch_size=None,
        sampler=Positions(plan, start),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
        # else it draws from torch's own state, and a resumed run would see other dropout
        generator=torch.Generator().manual_seed(plan.seed),
        pin_memory=pin,
    )
    seen: set[int] = set()
    for pixels, labels, damaged in loader:
        for key, reason in damaged.items():
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > max_damaged or len(damaged) == plan.batch:
                more = f", after {len(seen) - 1} others that were left out" if len(seen) > 1 else ""
                raise RecordError(f"{reason}{more}")
            logger.warning("left out: %s", reason)
        yield pixels, labels
