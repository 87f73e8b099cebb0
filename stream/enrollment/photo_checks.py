"""Requirements of a photo to be enrolled: pure functions of measured values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gallery.groups import main_group
from recognizer import Detections, Quality

Floats = NDArray[np.float32]


MAX_LISTED = 20
"""Faces of a photo that are compared and listed; those of a crowd behind them are smaller."""


class Reason(StrEnum):
    """The reason why a photo was not enrolled."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    UNCLEAR = "unclear"
    TURNED_AWAY = "turned_away"
    TOO_DARK = "too_dark"
    OTHER_PERSON = "other_person"
    UNLIKE_OTHERS = "unlike_others"
    ERASED = "erased"
    EMPTY = "empty"
    NO_NAME = "no_name"
    NO_PERSON = "no_person"


@dataclass(frozen=True, slots=True)
class EnrolLimits:
    """Requirements of a photo.

    The defaults are measured with SFace on LFW: they reject none of its photos as blurred, dark or
    turned away (at 55 degrees of yaw the far eye is hidden). The required similarity to other
    photos depends only on the model: see `SimilarityLimits`.

    Attributes:
        min_score: minimum detector score; below it a detection is not a face.
        min_size_px: shorter side of the face in pixels; embeddings lose accuracy below.
        min_sharpness: as `Quality.sharpness`.
        max_yaw_deg: head turned left or right, degrees.
        max_pitch_deg: head turned up or down, degrees.
        min_brightness: mean of the face, as `Quality.brightness`.
        bystander_ratio: faces up to this fraction of the largest one's size do not count as a
            second person in the photo.
        framed_offset: a photo is framed on the face with its center within this fraction of the
            photo's shorter side from the photo's center; a neighbor is then a bystander.
        framed_size: the framed face's shorter side is at least this fraction of the photo's.
        neighbor_ratio: with a neighbor more than this many times as large, no face is selected.
    """

    min_score: float = 0.9
    min_size_px: float = 40.0
    min_sharpness: float = 9.0
    max_yaw_deg: float = 55.0
    max_pitch_deg: float = 60.0
    min_brightness: float = 0.1
    bystander_ratio: float = 0.6
    framed_offset: float = 0.1
    framed_size: float = 0.3
    neighbor_ratio: float = 1.35


def wanted_face(
    boxes: Floats,
    scores: Floats,
    size: tuple[int, int],
    limits: EnrolLimits,
    *,
    force: bool = False,
) -> int | tuple[Reason, str]:
    """Return the index of the face that a photo is of, or the reason why it is ambiguous.

    The same rule wherever a photo of one person is needed: to enroll, to compare, to verify. A
    face much larger than all others is selected; else the framed one, large and central, if it
    has at most one neighbor, which is not much larger. Of 291 LFW photos 13 show a neighbor of
    nearly the same size as the person, at most 1.3 times as large.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2 pixels, of all faces in it.
        scores: (N,) float32, of the detector.
        size: (height, width) of the photo, pixels.
        limits: of score, smaller faces, framing, and neighbors.
        force: if it is ambiguous, select the framed or the largest face.
    """
    sure = np.flatnonzero(scores >= limits.min_score)
    if not len(sure):
        return Reason.NO_FACE, "no face found"
    sides = (boxes[sure, 2:] - boxes[sure, :2]).min(axis=1)
    largest = int(np.argmax(sides))
    n_rivals = int((sides > limits.bystander_ratio * sides[largest]).sum())
    if n_rivals == 1:
        return int(sure[largest])
    framed = _framed(boxes[sure], size, limits)
    if len(framed) == 1:
        side = sides[framed[0]]
        n_beside = int((sides > limits.bystander_ratio * side).sum()) - 1
        if force or (n_beside <= 1 and sides[largest] <= limits.neighbor_ratio * side):
            return int(sure[framed[0]])
    if force:
        return int(sure[largest])
    return (
        Reason.SEVERAL_FACES,
        f"{n_rivals} people in the photo: crop it to the one who is meant",
    )


def choose_face(
    detections: Detections,
    qualities: Sequence[Quality],
    size: tuple[int, int],
    limits: EnrolLimits,
    *,
    force: bool,
) -> int | tuple[Reason, str]:
    """Return the index of the face of a photo to enroll, or the reason why there is none.

    Args:
        detections: of all faces in it.
        qualities: of the same faces.
        size: (height, width) of the photo, pixels.
        limits: requirements of the photo.
        force: accept a face of any quality, even beside others.
    """
    chosen = wanted_face(detections.boxes, detections.scores, size, limits, force=force)
    if force or not isinstance(chosen, int):
        return chosen
    return quality_fault(qualities[chosen], limits) or chosen


def listed_faces(detections: Detections, limits: EnrolLimits) -> Detections:
    """Return the faces of a photo to choose from: the largest sure ones, from left to right."""
    sure = np.flatnonzero(detections.scores >= limits.min_score)
    sides = (detections.boxes[sure, 2:] - detections.boxes[sure, :2]).min(axis=1, initial=np.inf)
    largest = sure[np.argsort(-sides, kind="stable")[:MAX_LISTED]]
    order = largest[np.lexsort((detections.boxes[largest, 1], detections.boxes[largest, 0]))]
    return Detections(
        detections.boxes[order], detections.landmarks[order], detections.scores[order]
    )


def _framed(boxes: Floats, size: tuple[int, int], limits: EnrolLimits) -> list[int]:
    """Return which faces a photo is framed on: large and central."""
    height, width = size
    side = min(size)
    offsets = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - (width / 2, height / 2)).max(axis=1)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    framed = (offsets <= limits.framed_offset * side) & (sides >= limits.framed_size * side)
    return [int(i) for i in np.flatnonzero(framed)]


def quality_fault(quality: Quality, limits: EnrolLimits) -> tuple[Reason, str] | None:
    """Return why a face cannot be enrolled, None if it can."""
    if quality.size_px < limits.min_size_px:
        return (
            Reason.TOO_SMALL,
            f"face too small: {quality.size_px:.0f} px, minimum {limits.min_size_px:.0f} px",
        )
    if quality.brightness < limits.min_brightness:
        return Reason.TOO_DARK, "the face is too dark"
    if abs(quality.yaw) > limits.max_yaw_deg or abs(quality.pitch) > limits.max_pitch_deg:
        return Reason.TURNED_AWAY, "the face is turned away"
    if quality.sharpness < limits.min_sharpness:
        return Reason.BLURRED, "the face is blurred"
    return None


def own_similarities(
    embeddings: Floats, held: Floats, qualities: NDArray[np.floating], least: float
) -> Floats:
    """Return the similarity of each new photo to the person's other photos.

    Those are the enrolled ones; without any, the largest group of the new photos in which each has
    a similarity of at least `least` to some other, among equals the group of the best photo.

    Args:
        embeddings: (M, D) float32, unit, of the new photos.
        held: (K, D) float32, unit, of the person's enrolled photos; K may be 0.
        qualities: (M,) in [0, 1].
        least: cosine in [-1, 1].

    Returns:
        (M,) float32 cosine to the most similar other photo; 1 for a single photo.
    """
    similarities = embeddings @ embeddings.T
    np.fill_diagonal(similarities, -1.0)
    to_held = (embeddings @ held.T).max(axis=1, initial=-1.0)
    if len(held):
        members = to_held >= least
    else:
        members = main_group(similarities >= least, qualities)
        if members.sum() == 1:
            similarities[members, members] = 1.0
    while True:  # transitive: a profile may be similar only to the half profile
        reached = np.maximum(to_held, similarities[:, members].max(axis=1, initial=-1.0))
        grown = members | (reached >= least)
        if (grown == members).all():
            return np.asarray(reached, np.float32)
        members = grown
