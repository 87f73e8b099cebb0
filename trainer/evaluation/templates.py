"""Verification of templates, as IJB-B and IJB-C measure it.

The embedding of a template is the sum over its media of the mean over the images of each, scaled to
unit length: a video of a thousand frames weighs as much as one photo. The embedding of an image is
the sum of the raw ones of itself and its mirror image. An image without a face is left out. A
template without any face is an error in genuine pairs, and left out of impostors.

Source: IJB-C (Maze et al. 2018); insightface's evaluation of it, with flip test and with raw
embeddings ("norm score"), without its weights by the detector's score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.templates import Indices, TemplatePairs, Templates
from trainer.evaluation.verification import (
    Floats64,
    OperatingPoint,
    operating_points,
    points_to_json,
    unit_rows,
)

PAIRS_AT_ONCE = 1 << 14  # IJB-C has 15.7 million: their embeddings do not fit in memory together


@dataclass(frozen=True, slots=True, eq=False)
class TemplateVerification:
    """The result of one model on one list of pairs of templates.

    Attributes:
        target: name of the list.
        n_templates: in the list of images.
        n_media: in it.
        n_images: in it, each once.
        undetected: images without a face.
        undetected_templates: templates that have no other images.
        points: TAR at FARs that the number of impostors allows.
        distances: (P,) squared, in [0, 4]; NaN if a template has no face.
        is_same: (P,) bool.
    """

    target: str
    n_templates: int
    n_media: int
    n_images: int
    undetected: int
    undetected_templates: int
    points: tuple[OperatingPoint, ...]
    distances: Floats64
    is_same: NDArray[np.bool_]


def template_embeddings(embeddings: NDArray[np.floating], templates: Templates) -> Floats64:
    """Return (T, D) unit embeddings of templates; NaN for those without a face.

    Args:
        embeddings: (N, D) of the images, not of unit length; NaN where no face was found.
        templates: the images' media and templates.
    """
    found = np.isfinite(embeddings).all(axis=1)[templates.image_of_row]
    media = templates.media_of_row[found]
    n_media, size = len(templates.template_of_media), embeddings.shape[1]
    sums = np.zeros((n_media, size))
    np.add.at(sums, media, embeddings[templates.image_of_row[found]])
    frames = np.bincount(media, minlength=n_media)
    seen = frames > 0
    totals = np.zeros((len(templates.index), size))
    np.add.at(totals, templates.template_of_media[seen], sums[seen] / frames[seen, None])
    units = unit_rows(totals)
    with_face = np.zeros(len(units), bool)
    with_face[templates.template_of_media[seen]] = True
    units[~with_face] = np.nan
    return units


def template_distances(units: Floats64, a: Indices, b: Indices) -> Floats64:
    """Return the (P,) squared distances of rows a and b of (T, D) unit embeddings."""
    distances = np.empty(len(a))
    for start in range(0, len(a), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        distances[part] = np.square(units[a[part]] - units[b[part]]).sum(axis=1)
    return distances


def verify_templates(
    embeddings: NDArray[np.floating],
    templates: Templates,
    pairs: TemplatePairs,
    *,
    fars: Sequence[float] | None = None,
) -> TemplateVerification:
    """Apply the protocol to the embeddings of `embed_files`.

    Args:
        embeddings: (N, D) of the images; NaN where no face was found.
        templates: the images' media and templates.
        pairs: of templates.
        fars: wanted; None for those that the data allow.

    Raises:
        DataError: if a wanted FAR is too fine for the number of impostors.
    """
    units = template_embeddings(embeddings, templates)
    distances = template_distances(units, pairs.a, pairs.b)
    return TemplateVerification(
        target=pairs.name,
        n_templates=len(units),
        n_media=len(templates.template_of_media),
        n_images=len(templates.images),
        undetected=int(np.isnan(embeddings).any(axis=1).sum()),
        undetected_templates=int(np.isnan(units).any(axis=1).sum()),
        points=operating_points(distances, pairs.is_same, fars, target=pairs.name),
        distances=distances,
        is_same=pairs.is_same,
    )


def template_lines(result: TemplateVerification) -> list[str]:
    """Return what was compared, and what was not found."""
    head, same = f"[{result.target}]", int(result.is_same.sum())
    lines = [
        f"{head}Templates: {result.n_templates} of {result.n_media} media, "
        f"{result.n_images} images",
        f"{head}Pairs: {len(result.is_same)}, {same} of one person",
    ]
    if result.undetected:
        lines.append(
            f"{head}Undetected: {result.undetected} of {result.n_images} images; "
            f"templates without a face: {result.undetected_templates}"
        )
    if not result.points:
        lines.append(f"{head}TAR@FAR: takes 100 pairs of two people and one of one person at least")
    return lines


def templates_to_json(result: TemplateVerification) -> dict[str, Any]:
    """Return a result as the command's contract has it."""
    return {
        "target": result.target,
        "templates": result.n_templates,
        "media": result.n_media,
        "images": result.n_images,
        "pairs": len(result.is_same),
        "same": int(result.is_same.sum()),
        "undetected": result.undetected,
        "undetected_templates": result.undetected_templates,
        "tar_at_far": points_to_json(result.points),
    }
