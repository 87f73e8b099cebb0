"""Where the loop's batches come from: classes in shuffled order, or triplets mined on the way."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.augment import augment
from trainer.data.faceset import FaceSet, resize_short
from trainer.data.loader import Augmentation, Classes, Plan, batches
from trainer.errors import DataError
from trainer.heads.triplet import pick_triplets
from trainer.training.checkpoint import State

IMAGES_PER_IDENTITY = 5  # of a bag, as the reference's images_per_identity
BAG = 7200  # images of a bag, as the reference's triplet_bag_size
EMBED_BATCH = 64
MAX_EMPTY_BAGS = 20  # then the network separates all people, or none


class Source(Protocol):
    """An endless series of batches with a position that can be saved."""

    def next(self) -> tuple[Tensor, Tensor]:
        """Return pixels (B, 112, 112, 3) of 0..255 and labels (B, ...)."""

    def state(self) -> State:
        """Return the position, as tensors and plain values."""

    def restore(self, state: State, *, is_own: bool) -> None:
        """Go back to a position, before the first `next`.

        Args:
            state: of this rank, or of the first rank if this rank's was not stored.
            is_own: whether the state is of this rank.
        """


class ShuffledSource:
    """All images in shuffled order, epoch by epoch."""

    def __init__(
        self,
        faces: FaceSet,
        plan: Plan,
        change: Augmentation,
        *,
        workers: int,
        classes: Classes,
        max_damaged: int,
        pin: bool,
    ) -> None:
        self._make = lambda start: batches(
            faces,
            plan,
            change,
            start=start,
            workers=workers,
            classes=classes,
            max_damaged=max_damaged,
            pin=pin,
        )
        self._position = 0
        self._images = plan.batch * plan.world
        self._batches: Iterator[tuple[Tensor, Tensor]] | None = None

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch."""
        if self._batches is None:
            self._batches = self._make(self._position)
        self._position += 1
        return next(self._batches)

    def state(self) -> State:
        """Return the number of batches given, and the images that all ranks take in one."""
        return {"position": self._position, "images": self._images}

    def restore(self, state: State, *, is_own: bool) -> None:
        """Continue after that many images; the position is the same on all ranks."""
        self._position = state["position"] * state.get("images", self._images) // self._images


class TripletSource:
    """Bags of images, embedded by the network as it is now, from which triplets are picked.

    Args:
        faces: needs identity records.
        embed: (N, 112, 112, 3) uint8 to (N, D) unit vectors, by the network in training.
        batch: images, a multiple of 3.
        alpha: margin of the choice, of squared distance.
        seed: of everything random.
        mirror: flip every second image.
    """

    def __init__(
        self,
        faces: FaceSet,
        embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
        *,
        batch: int,
        alpha: float,
        seed: int,
        mirror: bool,
    ) -> None:
        if not faces.has_identities:
            raise DataError(f"{faces.path} has no identity records, which triplets need")
        self._faces, self._embed, self._batch = faces, embed, batch
        self._alpha, self._seed, self._mirror = alpha, seed, mirror
        self._bag = 0
        self._pending = np.zeros((0, 3), np.int64)  # keys of records

    def next(self) -> tuple[Tensor, Tensor]:
        """Return anchors, then positives, then negatives; labels are the records' keys."""
        wanted = self._batch // 3
        for _ in range(MAX_EMPTY_BAGS):
            if len(self._pending) >= wanted:
                break
            self._pending = np.concatenate([self._pending, self._mine()])
        else:
            raise DataError("no semi-hard triplets are left in the data (train with fewer steps)")
        chosen, self._pending = self._pending[:wanted], self._pending[wanted:]
        keys = chosen.T.reshape(-1)
        rng = np.random.default_rng((self._seed, self._bag, len(self._pending)))
        images = [
            augment(
                resize_short(self._faces.read(int(key))[0]),
                rng,
                mirror=self._mirror,
                color=0,
                cutoff=0,
            )
            for key in keys
        ]
        return torch.from_numpy(np.stack(images)), torch.from_numpy(keys.copy())

    def _mine(self) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, self._bag))
        self._bag += 1
        keys: list[int] = []
        labels: list[int] = []
        for identity in rng.permutation(len(self._faces.groups)):
            group = self._faces.groups[identity]
            some = rng.permutation(len(group))[:IMAGES_PER_IDENTITY]
            keys += [int(group[i]) for i in some]
            labels += [int(identity)] * len(some)
            if len(keys) >= BAG:
                break
        rows = []
        for start in range(0, len(keys), EMBED_BATCH):
            part = keys[start : start + EMBED_BATCH]
            rows.append(self._embed(np.stack([resize_short(self._faces.read(k)[0]) for k in part])))
        triplets = pick_triplets(np.concatenate(rows), np.array(labels), alpha=self._alpha, rng=rng)
        return np.array(keys, np.int64)[triplets]

    def state(self) -> State:
        """Return the number of bags opened and the triplets still to be given."""
        return {"bag": self._bag, "pending": torch.from_numpy(self._pending.copy())}

    def restore(self, state: State, *, is_own: bool) -> None:
        """Continue from there; pending triplets are restored on their own rank only."""
        self._bag = state["bag"]
        if is_own:
            self._pending = state["pending"].numpy()
