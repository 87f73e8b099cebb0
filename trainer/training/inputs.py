"""What a run reads: its set, the classes of the set, batches and verification targets."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.faceset import FaceSet
from trainer.data.labels import check_labels, read_labels
from trainer.data.loader import Augmentation, Classes, Plan
from trainer.data.pairs import PairSet, read_bin
from trainer.errors import DataError
from trainer.evaluation.embedding import torch_embed
from trainer.evaluation.verification import unit_rows
from trainer.heads.triplet import ALPHA
from trainer.training.distributed import World
from trainer.training.recipe import Recipe
from trainer.training.sources import ShuffledSource, Source, TripletSource
from trainer.training.trainee import Trainee

logger = logging.getLogger(__name__)


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
