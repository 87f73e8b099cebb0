"""Which face of each photo of a person is theirs: the one that the person's other photos show.

A folder of a person holds photos of them alone and photos of groups. The anchors are the person's
enrolled photos; without any, the photos of one face that agree with one another; without those,
the face that is in clearly more photos than any other. Every further photo gives the face that is
like the anchors, or none: a wrong face is worse than a photo left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery.groups import groups_of
from recognizer import SimilarityLimits

Floats = NDArray[np.float32]

ALONE_WEIGHT = 2
"""Photos of one face count as this many photos of groups: somebody chose to take them."""

RIVAL_SHARE = 0.75
"""With a second face in more than this share of the photos of the first, neither is taken."""

ENOUGH_ANCHORS = 3
"""Photos from which on the framed face of a group, too, must be like them."""

ROUNDS = 4  # the mean of the anchors is settled after two or three


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFaces:
    """The usable faces of one photo.

    Attributes:
        embeddings: (F, D) float32 of unit length; F is 0 for a photo without a usable face.
        subject: index of the face that the photo shows by its framing, or that was named by the
            caller; None where that is ambiguous or the face is not usable.
    """

    embeddings: Floats
    subject: int | None

    @property
    def is_alone(self) -> bool:
        """Whether the photo is of one face."""
        return self.subject is not None and len(self.embeddings) == 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The face of one photo.

    Attributes:
        face: its index; None if none can be taken.
        detail: if none, why: a part of a sentence; empty for a photo without usable faces.
    """

    face: int | None
    detail: str = ""


def choose_faces(
    photos: Sequence[PhotoFaces], held: Floats, similarity: SimilarityLimits
) -> list[Choice]:
    """Return the face of each photo of one person.

    The level is halfway between the similarity of a pair of photos and that of another enrolled
    person, to the mean of the anchors. SFace on LFW: with 2, 4 and 8 anchors one in 10,000 other
    faces reaches it, and each of the person's own photos does.

    Args:
        photos: of one person.
        held: (K, D) float32, unit: the person's enrolled photos; K may be 0.
        similarity: of the model.
    """
    level = (similarity.pair + similarity.max_other) / 2
    anchors, why = (held, "") if len(held) else _anchors(photos, similarity.pair, level)
    if not len(anchors):
        return [_framed(photo, why) for photo in photos]
    chosen = _like_anchors(photos, anchors, level, similarity.margin)
    n_anchors = len(held) + sum(face is not None for face in chosen)
    members = [p.embeddings[f] for p, f in zip(photos, chosen, strict=True) if f is not None]
    mean = _mean(np.stack([*held, *members]))
    return [
        Choice(face)
        if face is not None
        else _unlike(photo, mean, similarity.pair, has_enough=n_anchors >= ENOUGH_ANCHORS)
        for photo, face in zip(photos, chosen, strict=True)
    ]


def _framed(photo: PhotoFaces, why: str) -> Choice:
    if photo.subject is not None or not len(photo.embeddings):
        return Choice(photo.subject)
    return Choice(None, why)


def _unlike(photo: PhotoFaces, mean: Floats, pair: float, *, has_enough: bool) -> Choice:
    """Return the choice for a photo without a face that is like the anchors."""
    if not len(photo.embeddings):
        return Choice(None)
    similarities = photo.embeddings @ mean
    best = int(np.argmax(similarities))
    if photo.subject is not None and (
        photo.is_alone  # compared again when it is enrolled
        or not has_enough
        or (best == photo.subject and similarities[best] >= pair)
    ):
        return Choice(photo.subject)
    return Choice(
        None,
        f"none of them is clearly the person of the other photos "
        f"(similarity {float(similarities[best]):.2f})",
    )


def _like_anchors(
    photos: Sequence[PhotoFaces], anchors: Floats, level: float, margin: float
) -> list[int | None]:
    """Return the face of each photo that is like the anchors and the faces found by them."""
    chosen: list[int | None] = [None] * len(photos)
    mean = _mean(anchors)
    for _ in range(ROUNDS):
        before, chosen = chosen, [_nearest(photo, mean, level, margin) for photo in photos]
        if chosen == before:
            break
        found = [p.embeddings[f] for p, f in zip(photos, chosen, strict=True) if f is not None]
        mean = _mean(np.stack([*anchors, *found]))
    return chosen


def _nearest(photo: PhotoFaces, mean: Floats, level: float, margin: float) -> int | None:
    """Return the face that reaches the level and leads all others of its photo."""
    if not len(photo.embeddings):
        return None
    similarities = photo.embeddings @ mean
    order = np.argsort(-similarities, kind="stable")
    best = int(order[0])
    if similarities[best] < level:
        return None
    if len(order) > 1 and similarities[best] - similarities[order[1]] < margin:
        return None
    return best


def _anchors(photos: Sequence[PhotoFaces], pair: float, level: float) -> tuple[Floats, str]:
    """Return (K, D) embeddings of the person, else none and why."""
    size = photos[0].embeddings.shape[1] if photos else 0
    nobody = np.empty((0, size), np.float32)
    alone = np.concatenate([nobody, *(photo.embeddings for photo in photos if photo.is_alone)])
    groups = sorted(groups_of(alone @ alone.T >= pair), key=np.sum, reverse=True)
    if groups and (len(groups) == 1 or groups[0].sum() > groups[1].sum()):
        clear = alone[groups[0]]
        # A photo alone needs others that show the same face, or it may be the wrong one.
        n_like = sum(
            _nearest(photo, _mean(clear), level, 0.0) is not None
            for photo in photos
            if not photo.is_alone
        )
        if len(clear) > 1 or n_like > 1:
            return clear, ""
    return _repeated(photos, level, nobody)


def _repeated(photos: Sequence[PhotoFaces], level: float, nobody: Floats) -> tuple[Floats, str]:
    """Return the embeddings of the one face that is in most photos, else none and why."""
    filled = [photo for photo in photos if len(photo.embeddings)]
    weights = np.array([ALONE_WEIGHT if photo.is_alone else 1 for photo in filled])
    candidates: dict[tuple[int, ...], float] = {}  # the face of each photo, -1 for none
    for photo in filled:
        for seed in photo.embeddings:
            faces = tuple(-1 if i is None else i for i in _like_seed(filled, seed, level))
            is_in = np.array(faces) >= 0
            if is_in.sum() > 1:
                candidates[faces] = float(weights[is_in].sum())
    if not candidates:
        return nobody, "no face is in two of the photos"
    first = max(candidates, key=lambda faces: candidates[faces])
    rivals = [
        support
        for faces, support in candidates.items()
        if not any(a == b >= 0 for a, b in zip(first, faces, strict=True))
    ]
    if max(rivals, default=0.0) > RIVAL_SHARE * candidates[first]:
        return nobody, "two people are in as many of the photos: add a photo of one of them alone"
    chosen = zip(filled, first, strict=True)
    return np.stack([photo.embeddings[face] for photo, face in chosen if face >= 0]), ""


def _like_seed(photos: Sequence[PhotoFaces], seed: Floats, level: float) -> list[int | None]:
    """Return the face of each photo that is like a face of one of them."""
    chosen = [_nearest(photo, seed, level, 0.0) for photo in photos]
    found = [p.embeddings[f] for p, f in zip(photos, chosen, strict=True) if f is not None]
    mean = _mean(np.stack(found))
    return [_nearest(photo, mean, level, 0.0) for photo in photos]


def _mean(embeddings: Floats) -> Floats:
    mean = embeddings.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)
