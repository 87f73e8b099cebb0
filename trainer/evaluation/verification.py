"""Face verification accuracy on pairs, by the protocol of the field.

Distances are squared Euclidean between unit vectors, d = 2 - 2 cosine, in [0, 4]; results are given
as similarities. A pair with an undetected face has the distance NaN: it counts as an error.

Source: LFW (Huang et al. 2007), "view 2"; the reference's verification.py (its quirks kept: 400
thresholds of 0.01, the first best one, contiguous folds).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import DataError

Floats64 = NDArray[np.float64]

THRESHOLDS = np.arange(0, 4, 0.01)
FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
IMPOSTORS_PER_ERROR = 10  # a rate is measured only where at least so many impostors would pass


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Over folds: mean and population standard deviation, in [0, 1]."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The share of genuine pairs accepted where at most `far` of the impostors are.

    Attributes:
        far: allowed share of impostors.
        tar: accepted share of genuine pairs.
        threshold: cosine at and above which a pair is accepted.
        impostors: number of impostor pairs measured.
    """

    far: float
    tar: float
    threshold: float
    impostors: int


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The result of one model on one set of pairs.

    Attributes:
        target: name of the set.
        n_pairs: in it.
        undetected: photos without a face.
        xnorm: mean length of the raw embeddings, plain and mirrored.
        accuracy: of plain embeddings.
        accuracy_flip: of the sums of plain and mirrored ones.
        threshold: cosine; the mean of the folds' best, with mirrored sums.
        points: TAR at FARs that the number of impostors allows, with mirrored sums.
        distances: (N,) with mirrored sums.
        is_same: (N,) bool.
    """

    target: str
    n_pairs: int
    undetected: int
    xnorm: float
    accuracy: Accuracy
    accuracy_flip: Accuracy
    threshold: float
    points: tuple[OperatingPoint, ...]
    distances: Floats64
    is_same: NDArray[np.bool_]


def verify_embeddings(
    plain: Floats64,
    mirrored: Floats64,
    is_same: NDArray[np.bool_],
    *,
    target: str,
    folds: int = 10,
    fars: Sequence[float] | None = None,
) -> Verification:
    """Apply the protocol to raw embeddings.

    Args:
        plain: (2 N, D) float64; rows 2 i and 2 i + 1 are pair i; NaN rows were not detected.
        mirrored: the same of the mirrored crops.
        is_same: (N,) bool.
        target: name of the set.
        folds: of the cross-validation; 1 measures where it chooses.
        fars: wanted; None for those of FARS that the data allow.

    Raises:
        DataError: if there are fewer pairs than folds, or a wanted FAR is too fine.
    """
    check_pairs(is_same, folds=folds, fars=fars, target=target)
    if 2 * len(is_same) != len(plain):
        raise ValueError(f"plain must be ({2 * len(is_same)}, D), got {plain.shape}")
    lengths = np.linalg.norm(np.concatenate([plain, mirrored]), axis=1)
    distances = pair_distances(unit_rows(plain + mirrored))
    accuracy, _ = cross_validate(pair_distances(unit_rows(plain)), is_same, folds)
    accuracy_flip, threshold = cross_validate(distances, is_same, folds)
    return Verification(
        target=target,
        n_pairs=len(is_same),
        undetected=int(np.isnan(plain).any(axis=1).sum()),
        xnorm=float(np.nanmean(lengths)) if np.isfinite(lengths).any() else 0.0,
        accuracy=accuracy,
        accuracy_flip=accuracy_flip,
        threshold=1 - threshold / 2,
        points=operating_points(distances, is_same, fars, target=target),
        distances=distances,
        is_same=is_same,
    )


def check_pairs(
    is_same: NDArray[np.bool_], *, folds: int, fars: Sequence[float] | None, target: str
) -> None:
    """See that pairs allow a verification, before hours of embedding.

    Raises:
        DataError: if there are fewer pairs than folds, or a wanted FAR is too fine.
    """
    if len(is_same) < max(folds, 1):
        raise DataError(f"{target} has {len(is_same)} pairs for {folds} folds (lower --folds)")
    operating_points(np.zeros(len(is_same)), is_same, fars, target=target)


def unit_rows(x: Floats64) -> Floats64:
    """Scale the rows of (N, D) to length 1; zero rows stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length == 0, 1, length), np.float64)


def pair_distances(x: Floats64) -> Floats64:
    """Return the (N,) squared distances of rows 2 i and 2 i + 1 of (2 N, D)."""
    return np.asarray(np.square(x[0::2] - x[1::2]).sum(axis=1), np.float64)


def cross_validate(
    distances: Floats64, is_same: NDArray[np.bool_], folds: int
) -> tuple[Accuracy, float]:
    """Return the accuracy over folds, and the mean of the folds' thresholds (squared distance).

    Each fold is judged at the first threshold that is best on the others; a pair is accepted where
    its distance is less than the threshold.

    Args:
        distances: (N,); NaN is an error at any threshold.
        is_same: (N,) bool.
        folds: contiguous; the first N % folds are one larger. 1 judges where it chooses.
    """
    # a pair that was not detected is wrong at any threshold
    sure = np.where(np.isnan(distances), np.where(is_same, np.inf, -np.inf), distances)
    right = (sure[:, None] < THRESHOLDS) == is_same[:, None]
    accuracies, chosen = [], []
    for test in np.array_split(np.arange(len(sure)), folds):
        train = np.ones(len(sure), bool)
        train[test] = folds == 1
        best = int(np.argmax(right[train].mean(axis=0)))
        accuracies.append(right[test, best].mean())
        chosen.append(THRESHOLDS[best])
    return Accuracy(float(np.mean(accuracies)), float(np.std(accuracies))), float(np.mean(chosen))


def operating_points(
    distances: Floats64,
    is_same: NDArray[np.bool_],
    fars: Sequence[float] | None,
    *,
    target: str,
) -> tuple[OperatingPoint, ...]:
    """Measure TAR at each FAR, at the largest threshold that lets no more impostors pass.

    Args:
        distances: (N,); impostors that were not detected are left out, genuine pairs are missed.
        is_same: (N,) bool.
        fars: wanted; None for those of FARS that the data allow.
        target: named in the error.

    Raises:
        DataError: if a wanted FAR is finer than 10 / impostors, or no share.
    """
    for far in fars or ():
        if not 0 < far <= 1:
            raise DataError(f"FAR {far:g} must be above 0 and at most 1, such as 0.001")
    impostors = np.sort(distances[~is_same & ~np.isnan(distances)])
    genuine = distances[is_same]
    points = []
    for far in FARS if fars is None else fars:
        if len(impostors) * far < IMPOSTORS_PER_ERROR * (1 - 1e-9) or not len(genuine):
            if fars is None:
                continue
            need = round(IMPOSTORS_PER_ERROR / far)
            raise DataError(
                f"{target} cannot tell TAR at FAR {far:g}: it has {len(impostors)} impostor pairs, "
                f"that takes {need} (and at least one genuine pair)"
            )
        # accept d < t with t at the first impostor that would be one too many
        allowed = int(np.floor(far * len(impostors) + 1e-9))
        limit = impostors[allowed] if allowed < len(impostors) else np.inf
        tar = float((genuine < limit).mean())  # NaN compares false: missed
        threshold = 1 - min(float(limit), 4.0) / 2
        points.append(OperatingPoint(far, tar, threshold, len(impostors)))
    return tuple(points)


def roc(distances: Floats64, is_same: NDArray[np.bool_]) -> tuple[Floats64, Floats64]:
    """Return FAR and TAR, both ascending from 0 to at most 1, for a plot; empty without pairs."""
    impostors = np.sort(distances[~is_same & ~np.isnan(distances)])
    genuine = np.sort(distances[is_same & ~np.isnan(distances)])
    if not len(impostors) or not len(genuine):
        return np.zeros(0), np.zeros(0)
    limits = np.concatenate([[0], np.unique(np.concatenate([impostors, genuine])), [np.inf]])
    far = np.searchsorted(impostors, limits, side="left") / len(impostors)
    tar = np.searchsorted(genuine, limits, side="left") / int(is_same.sum())
    return far, tar


def lines_of(result: Verification, step: int | None = None) -> list[str]:
    """Return the reference's lines of a result, with the step where there is one."""
    head = f"[{result.target}]" + ("" if step is None else f"[{step}]")
    plain, flip = result.accuracy, result.accuracy_flip
    return [
        f"{head}XNorm: {result.xnorm:f}",
        f"{head}Accuracy: {plain.mean:1.5f}+-{plain.std:1.5f}",
        f"{head}Accuracy-Flip: {flip.mean:1.5f}+-{flip.std:1.5f}",
    ]


def to_json(result: Verification) -> dict[str, Any]:
    """Return a result as the command's contract has it."""
    plain, flip = result.accuracy, result.accuracy_flip
    return {
        "target": result.target,
        "pairs": result.n_pairs,
        "undetected": result.undetected,
        "xnorm": result.xnorm,
        "accuracy": {"mean": plain.mean, "std": plain.std},
        "accuracy_flip": {"mean": flip.mean, "std": flip.std},
        "threshold": result.threshold,
        "tar_at_far": points_to_json(result.points),
    }


def points_to_json(points: Sequence[OperatingPoint]) -> list[dict[str, Any]]:
    """Return operating points as the command's contract has them."""
    return [asdict(point) for point in points]
