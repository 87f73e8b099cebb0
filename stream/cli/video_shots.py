"""Photos from a video: the best, mutually different frames of the one person in view."""

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

FRAMES_PER_S = 4.0  # a head takes about a second to turn
N_SHOTS = 8  # more photos of the same person add little to the best similarity
MAX_FRAMES = 240  # a minute of video
MAX_STRANGE = 0.2  # fraction of shots of other people above which more than one person is in view
PNG_LEVEL = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Shot:
    label: str
    embedding: NDArray[np.float32]
    quality: float
    png: bytes


def frames_of(source: Source, name: str) -> Iterator[Frame]:
    """Yield a source's frames to its end, under a camera's name.

    Raises:
        SourceUnavailable: if the camera stopped or delivers no more frames.
    """
    for seq in itertools.count():
        try:
            captured = source.read()
        except SourceEnded:
            return
        yield Frame(name, seq, captured.captured_at, captured.pixels)


def best_shots(
    recognizer: Recognizer,
    frames: Iterable[Frame],
    name: str,
    *,
    limits: EnrolLimits | None = None,
    n_shots: int = N_SHOTS,
) -> list[EnrolItem]:
    """Choose the frames to enroll a person from.

    Args:
        recognizer: finds and compares the faces.
        frames: some per second; reading stops after `MAX_FRAMES` of them.
        name: of the person.
        limits: minimum quality of a frame; others are skipped.
        n_shots: maximum number of items.

    Returns:
        Items for `enroll_images`, best first; the same video gives the same bytes.

    Raises:
        EnrolmentError: if no face is good enough, or several people are in view.
    """
    shots = []
    for count, frame in enumerate(frames, 1):
        shot = _shot_of(recognizer, frame, limits or EnrolLimits())
        if shot is not None:
            shots.append(shot)
        if count >= MAX_FRAMES:
            break
    if not shots:
        raise EnrolmentError(
            f"no frame is good enough to enroll {name}: none has a single sharp face"
        )
    return [
        upload_item(shot.label, name, shot.png)
        for shot in _different(shots, name, n_shots, recognizer.limits)
    ]


def _shot_of(recognizer: Recognizer, frame: Frame, limits: EnrolLimits) -> _Shot | None:
    (found,) = recognizer.detect([frame.image])
    crops, qualities = recognizer.align_and_judge(frame.image, found)
    height, width = frame.size
    chosen = choose_face(found, qualities, (height, width), limits, force=False)
    if not isinstance(chosen, int):
        return None
    bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
    png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1].tobytes()
    label = f"{frame.camera}, frame {frame.seq}"
    embedding = recognizer.embed(crops[chosen : chosen + 1])[0]
    return _Shot(label, embedding, qualities[chosen].overall, png)


def _different(
    shots: Sequence[_Shot], name: str, n_shots: int, limits: SimilarityLimits
) -> list[_Shot]:
    embeddings = np.stack([shot.embedding for shot in shots])
    qualities = np.array([shot.quality for shot in shots])
    least = limits.min_own
    nobody = np.empty((0, embeddings.shape[1]), np.float32)
    is_own = own_similarities(embeddings, nobody, qualities, least) >= least
    if (~is_own).mean() > MAX_STRANGE:
        raise EnrolmentError(
            f"several people are in view one after another: cut the video to {name} alone"
        )
    taken: list[int] = []
    for number in np.argsort(-qualities, kind="stable").tolist():
        if not is_own[number] or len(taken) == n_shots:
            continue
        if not taken or (embeddings[taken] @ embeddings[number]).max() < limits.most_similar:
            taken.append(number)
    return [shots[number] for number in taken]
