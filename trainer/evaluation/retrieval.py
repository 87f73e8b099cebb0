"""Rank retrieval: how often a person is among the first images that a search finds.

Every image of the gallery stands for itself. The rank of a probe is the place of the first image of
the same person when all gallery images are sorted by similarity, from 1.

Source: TinyFace (Cheng et al. 2018), "1:N identification" with distractors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.verification import unit_rows

PROBES_AT_ONCE = 256  # times 157,871 images of TinyFace's gallery: 320 MB of similarities


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """The result of one model on one set of probes.

    Attributes:
        target: name of the set.
        n_people: in the gallery, without distractors.
        n_gallery: images of them.
        n_distractors: images of other people.
        undetected: probes without a face: they match no image.
        undetected_gallery: gallery images and distractors without a face: they are not found.
        places: (P,) rank of each probe, from 1; inf if no image of the person is found.
        rates: share of the probes by rank: those that have this rank or a better one.
    """

    target: str
    n_people: int
    n_gallery: int
    n_distractors: int
    undetected: int
    undetected_gallery: int
    places: NDArray[np.float64]
    rates: dict[int, float]


def retrieve(
    gallery: NDArray[np.floating],
    gallery_ids: NDArray[np.integer],
    probes: NDArray[np.floating],
    probe_ids: NDArray[np.integer],
    distractors: NDArray[np.floating],
    ranks: Sequence[int],
    *,
    target: str,
) -> Retrieval:
    """Search every probe in the gallery and the distractors.

    Args:
        gallery: (G, D) embeddings, not of unit length; NaN where no face was found.
        gallery_ids: (G,) the person of each.
        probes: (P, D) likewise.
        probe_ids: (P,) the person of each.
        distractors: (N, D) embeddings of people who are not among the probes; may be empty.
        ranks: to report, from 1.
        target: name of the set.
    """
    everyone = np.concatenate([gallery, distractors]).astype(np.float64)
    found = np.isfinite(everyone).all(axis=1)
    owners = np.concatenate([gallery_ids, np.full(len(distractors), -1)])[found]
    searched = unit_rows(everyone[found])
    wanted = unit_rows(probes.astype(np.float64))
    places = np.full(len(probes), np.inf)
    detected = np.flatnonzero(np.isfinite(probes).all(axis=1))
    for start in range(0, len(detected), PROBES_AT_ONCE):
        part = detected[start : start + PROBES_AT_ONCE]
        similarity = wanted[part] @ searched.T
        is_mate = probe_ids[part, None] == owners
        best = np.where(is_mate, similarity, -np.inf).max(axis=1, initial=-np.inf)
        # an image of another person that is as similar comes first: a tie is no success
        before = (~is_mate & (similarity >= best[:, None])).sum(axis=1)
        places[part] = np.where(np.isfinite(best), before + 1, np.inf)
    return Retrieval(
        target=target,
        n_people=len(np.unique(gallery_ids)),
        n_gallery=len(gallery),
        n_distractors=len(distractors),
        undetected=len(probes) - len(detected),
        undetected_gallery=int((~found).sum()),
        places=places,
        rates={rank: float((places <= rank).mean()) for rank in ranks},
    )


def retrieval_lines(result: Retrieval) -> list[str]:
    """Return what was searched, and the share of probes found at each rank."""
    head = f"[{result.target}]"
    lines = [
        f"{head}Probes: {len(result.places)}; gallery: {result.n_gallery} images of "
        f"{result.n_people} people, {result.n_distractors} distractors"
    ]
    if result.undetected or result.undetected_gallery:
        lines.append(
            f"{head}Undetected: probes {result.undetected}, gallery {result.undetected_gallery}"
        )
    return lines + [f"{head}Rank-{rank}: {rate:1.5f}" for rank, rate in result.rates.items()]


def retrieval_to_json(result: Retrieval) -> dict[str, Any]:
    """Return a result as the command's contract has it."""
    return {
        "target": result.target,
        "probes": len(result.places),
        "people": result.n_people,
        "gallery": result.n_gallery,
        "distractors": result.n_distractors,
        "undetected": result.undetected,
        "undetected_gallery": result.undetected_gallery,
        "ranks": [{"rank": rank, "rate": rate} for rank, rate in result.rates.items()],
    }
