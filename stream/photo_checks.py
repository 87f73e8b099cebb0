"""What a photo must be like to be enrolled: pure functions over measured values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from recognizer import Quality

Floats = NDArray[np.float32]


class Reason(StrEnum):
    """Why a photo was not enrolled."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
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
    """What a photo must be like.

    The defaults are measured with SFace on LFW: of its photos none is blurred, dark or turned
    away by them (at 55 degrees of yaw the far eye goes out of sight). How similar a photo must be
    to others depends on the model alone: see `SimilarityLimits`.

    Attributes:
        min_score: of the detector; what is less sure is no face.
        min_size_px: shorter side of the face in pixels; embeddings lose accuracy below.
        min_sharpness: as `Quality.sharpness`.
        max_yaw_deg: head turned left or right, degrees.
        max_pitch_deg: head turned up or down, degrees.
        min_brightness: mean of the face, as `Quality.brightness`.
        bystander_ratio: faces up to this part of the largest one's size do not count as a
            second person in the photo.
        framed_offset: a photo is framed on the one face whose middle is within this part of the
            photo's shorter side from the photo's; a neighbour is then a bystander.
        framed_size: and whose shorter side is at least this part of the photo's.
    """

    min_score: float = 0.9
    min_size_px: float = 40.0
    min_sharpness: float = 15.0
    max_yaw_deg: float = 55.0
    max_pitch_deg: float = 60.0
    min_brightness: float = 0.1
    bystander_ratio: float = 0.6
    framed_offset: float = 0.1
    framed_size: float = 0.3


def framed_faces(boxes: Floats, height: int, width: int, limits: EnrolLimits) -> list[int]:
    """Return which faces a photo is framed on: large in it, and in its middle.

    A portrait that others reach into, or that was cropped to the one who is meant, is still that
    one's. Of 291 photos of LFW 13 show somebody of nearly the same size beside who is meant.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2 pixels.
        height: of the photo.
        width: of the photo.
        limits: what framed is.
    """
    side = min(height, width)
    offsets = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - (width / 2, height / 2)).max(axis=1)
    sizes = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    framed = (offsets <= limits.framed_offset * side) & (sizes >= limits.framed_size * side)
    return [int(i) for i in np.flatnonzero(framed)]


def choose_face(
    qualities: Sequence[Quality],
    limits: EnrolLimits,
    *,
    force: bool,
    framed: Sequence[int] = (),
) -> int | tuple[Reason, str]:
    """Return which face of a picture is the one to enrol, or why there is none.

    Args:
        qualities: of all faces in it.
        limits: what it must be like.
        force: take the framed face or the largest, whatever it is like and whoever is beside it.
        framed: the faces that it is framed on; if there is just one it is that one's picture,
            and one neighbour is a bystander of whatever size.
    """
    sure = [i for i, q in enumerate(qualities) if q.score >= limits.min_score]
    if not sure:
        return Reason.NO_FACE, "no face found"
    meant = [i for i in framed if i in sure]
    is_framed = len(meant) == 1
    chosen = meant[0] if is_framed else max(sure, key=lambda i: qualities[i].size_px)
    if force:
        return chosen
    limit = limits.bystander_ratio * qualities[chosen].size_px
    n_people = sum(qualities[i].size_px > limit for i in sure)
    if n_people > (2 if is_framed else 1):  # who is in the middle of three is not yet meant
        return (
            Reason.SEVERAL_FACES,
            f"{n_people} people in the photo: crop it to the one who is meant",
        )
    return quality_fault(qualities[chosen], limits) or chosen


def quality_fault(quality: Quality, limits: EnrolLimits) -> tuple[Reason, str] | None:
    """Return what is wrong with a face for enrolling, None where nothing is."""
    if quality.size_px < limits.min_size_px:
        return (
            Reason.TOO_SMALL,
            f"the face is {quality.size_px:.0f} pixels small, {limits.min_size_px:.0f} are needed",
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
    """Return how similar each photo is to the rest of what is one person's.

    The rest is what the person already has; where that is nothing, the largest group of the new
    photos in which each is at least `least` similar to some other, the best photo's among equals.

    Args:
        embeddings: (M, D) float32, unit, of the new photos.
        held: (K, D) float32, unit, of the person's photos so far; K may be 0.
        qualities: (M,) in [0, 1].
        least: cosine in [-1, 1].

    Returns:
        (M,) float32 cosine to the most similar one of the rest; 1 for a photo that is alone.
    """
    similarities = embeddings @ embeddings.T
    np.fill_diagonal(similarities, -1.0)
    to_held = (embeddings @ held.T).max(axis=1, initial=-1.0)
    if len(held):
        members = to_held >= least
    else:
        groups = _groups(similarities >= least)
        members = max(groups, key=lambda group: (group.sum(), qualities[group].max()))
        if members.sum() == 1:
            similarities[members, members] = 1.0
    while True:  # friends of friends: a profile may only be like the half profile
        reached = np.maximum(to_held, similarities[:, members].max(axis=1, initial=-1.0))
        grown = members | (reached >= least)
        if (grown == members).all():
            return np.asarray(reached, np.float32)
        members = grown


def _groups(is_linked: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the connected components of a symmetric (M, M) relation, each as an (M,) mask."""
    left = np.ones(len(is_linked), np.bool_)
    groups = []
    while left.any():
        group = np.zeros(len(is_linked), np.bool_)
        group[np.argmax(left)] = True
        while True:
            grown = group | is_linked[group].any(axis=0)
            if (grown == group).all():
                break
            group = grown
        groups.append(group)
        left &= ~group
    return groups
