"""Photos out of a film: the best and mutually different looks at the one person in view."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Recognizer, SimilarityLimits
from stream.cameras.source import Source
from stream.enrollment.enrollment import EnrolItem, upload_item
from stream.enrollment.photo_checks import EnrolLimits, choose_face, own_similarities
from stream.errors import EnrolmentError, SourceEnded
from stream.frames import Frame

LOOKS_PER_S = 4.0  # a head takes about a second to turn
N_SHOTS = 8  # beyond it another look at the same person adds little to the best similarity
MAX_LOOKS = 240  # a minute of film
MAX_STRANGE = 0.2  # more looks than this part at others: it is not one person who is in view
PNG_LEVEL = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    label: str
    embedding: NDArray[np.float32]
    quality: float
    png: bytes


def frames_of(source: Source, name: str) -> Iterator[Frame]:
    """Yield a source's frames to its end, under a camera's name.

    Raises:
        SourceUnavailable: if the camera stopped or fell silent.
    """
    for seq in itertools.count():
        try:
            captured = source.read()
        except SourceEnded:
            return
        yield Frame(name, seq, captured.captured_at, captured.image)


def best_shots(
    recognizer: Recognizer,
    frames: Iterable[Frame],
    name: str,
    *,
    limits: EnrolLimits | None = None,
    n_shots: int = N_SHOTS,
) -> list[EnrolItem]:
    """Choose the frames to enrol a person from.

    Args:
        recognizer: finds and compares the faces.
        frames: some a second; reading stops after `MAX_LOOKS` of them.
        name: whose they are.
        limits: what a frame must be like; others are passed over.
        n_shots: how many at most.

    Returns:
        Items for `enroll_images`, best first; the same film gives the same bytes.

    Raises:
        EnrolmentError: if nobody can be seen well, or several people can.
    """
    looks = []
    for count, frame in enumerate(frames, 1):
        look = _look_at(recognizer, frame, limits or EnrolLimits())
        if look is not None:
            looks.append(look)
        if count >= MAX_LOOKS:
            break
    if not looks:
        raise EnrolmentError(
            f"nobody can be seen well enough to enroll {name}: no single sharp face"
        )
    return [
        upload_item(look.label, name, look.png)
        for look in _different(looks, name, n_shots, recognizer.limits)
    ]


def _look_at(recognizer: Recognizer, frame: Frame, limits: EnrolLimits) -> _Look | None:
    (found,) = recognizer.detect([frame.image])
    crops, qualities = recognizer.align_and_judge(frame.image, found)
    height, width = frame.image.shape[:2]
    chosen = choose_face(found, qualities, (height, width), limits, force=False)
    if not isinstance(chosen, int):
        return None
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1].tobytes()
    label = f"{frame.camera}, frame {frame.seq}"
    embedding = recognizer.embed(crops[chosen : chosen + 1])[0]
    return _Look(label, embedding, qualities[chosen].overall, png)


def _different(
    looks: Sequence[_Look], name: str, n_shots: int, limits: SimilarityLimits
) -> list[_Look]:
    embeddings = np.stack([look.embedding for look in looks])
    qualities = np.array([look.quality for look in looks])
    least = limits.min_own
    nobody = np.empty((0, embeddings.shape[1]), np.float32)
    is_own = own_similarities(embeddings, nobody, qualities, least) >= least
    if (~is_own).mean() > MAX_STRANGE:
        raise EnrolmentError(
            f"several people are in view one after another: cut the film to {name} alone"
        )
    taken: list[int] = []
    for number in np.argsort(-qualities, kind="stable").tolist():
        if not is_own[number] or len(taken) == n_shots:
            continue
        if not taken or (embeddings[taken] @ embeddings[number]).max() < limits.most_similar:
            taken.append(number)
    return [looks[number] for number in taken]
