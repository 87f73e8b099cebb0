"""`facewire bench visitors`: are unknown people who come back the same visitors?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer import Floats, ImageError, Recognizer
from stream.bench.visitor_tracks import SyntheticTrack, source_face, synthetic_tracks
from stream.enrollment.folders import read_people_folder
from stream.errors import StreamError
from stream.visitors.assignment import JoinLimits, Tracklet, Visitors

MIN_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class VisitorFigures:
    """The results of one run.

    Attributes:
        model: id of the embedding model.
        engine: name and version of the runtime.
        seed: of the tracks and their order.
        people: how many.
        tracks: of all people.
        visitors: how many were founded.
        unassigned: tracks with too few shots.
        precision: share of the pairs of tracks in one visitor that are of one person.
        recall: share of the pairs of one person's tracks that are in one visitor.
        visitors_per_person: visitors divided by people.
        assign_ms: mean time to assign a track, milliseconds.
        assign_ms_p50, assign_ms_p95: its quantiles.
        join: the cosine from which a track joined at the end.
        proposals: pairs of visitors that a person would be asked about.
        unreadable: why photos were left out.
    """

    model: str
    engine: str
    seed: int
    people: int
    tracks: int
    visitors: int
    unassigned: int
    precision: float
    recall: float
    visitors_per_person: float
    assign_ms: float
    assign_ms_p50: float
    assign_ms_p95: float
    join: float
    proposals: int
    unreadable: tuple[str, ...]


def bench_visitors(
    recognizer: Recognizer,
    directory: Path,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> VisitorFigures:
    """Stream the people of a folder as tracks, none enrolled, and see which become one visitor.

    Args:
        recognizer: detects and embeds.
        directory: DIRECTORY/NAME/PHOTO.
        seed: of the tracks and their order.
        progress: called with shots done and shots in all.

    Raises:
        StreamError: if it is no such folder, or shows no two people.
    """
    faces, unreadable = [], []
    for item in read_people_folder(directory).items:
        try:
            faces.append(source_face(recognizer, Path(item.label), item.name))
        except ImageError as error:
            unreadable.append(str(error))
    if len({face.person for face in faces}) < 2:
        raise StreamError(
            f"{directory} holds {len(faces)} photos with a face of "
            f"{len({face.person for face in faces})} people: two people are needed "
            f"({directory}/NAME/PHOTO.jpg)"
        )
    tracks = synthetic_tracks(recognizer, faces, seed=seed, progress=progress)
    size = recognizer.embedding_size
    visitors = Visitors(JoinLimits.of(recognizer.limits), size)
    labels, milliseconds = stream_tracks(visitors, tracks)
    found = labels[labels >= 0]
    people = np.unique([track.person for track in tracks], return_inverse=True)[1]
    precision, recall = pair_figures(labels, people)
    return VisitorFigures(
        model=recognizer.model_id,
        engine=recognizer.engine,
        seed=seed,
        people=int(people.max()) + 1,
        tracks=len(tracks),
        visitors=len(set(found.tolist())),
        unassigned=len(labels) - len(found),
        precision=precision,
        recall=recall,
        visitors_per_person=len(set(found.tolist())) / (int(people.max()) + 1),
        assign_ms=float(np.mean(milliseconds)),
        assign_ms_p50=float(np.quantile(milliseconds, 0.5)),
        assign_ms_p95=float(np.quantile(milliseconds, 0.95)),
        join=visitors.join,
        proposals=len(visitors.proposals()),
        unreadable=tuple(unreadable),
    )


def stream_tracks(
    visitors: Visitors, tracks: Sequence[SyntheticTrack]
) -> tuple[NDArray[np.int64], list[float]]:
    """Assign tracks in their order.

    Returns:
        (N,) int64 the visitor of each track, -1 for none; and the milliseconds of each.
    """
    labels = np.full(len(tracks), -1, np.int64)
    milliseconds = []
    for number, track in enumerate(tracks):
        tracklet = Tracklet(_pooled(track), len(track.embeddings))
        started = time.perf_counter()
        visitor = visitors.assign(number, tracklet).visitor
        milliseconds.append((time.perf_counter() - started) * 1e3)
        labels[number] = -1 if visitor is None else visitor
    return labels, milliseconds


def pair_figures(labels: NDArray[np.int64], people: NDArray[np.int64]) -> tuple[float, float]:
    """Return precision and recall of the pairs of tracks that were put together.

    Args:
        labels: (N,) the visitor of each track; negative for none, which is together with no other.
        people: (N,) whose each track is.
    """
    alone = labels < 0
    labels = np.where(alone, labels.max(initial=0) + 1 + np.arange(len(labels)), labels)
    _, both = np.unique(np.stack([labels, people]), axis=1, return_counts=True)
    together = _pairs(np.unique(labels, return_counts=True)[1])
    genuine = _pairs(np.unique(people, return_counts=True)[1])
    right = _pairs(both)
    return (right / together if together else 1.0), (right / genuine if genuine else 1.0)


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) // 2).sum())


def _pooled(track: SyntheticTrack) -> Floats:
    weights = np.array([max(each.overall, MIN_WEIGHT) for each in track.qualities], np.float32)
    pooled = weights @ track.embeddings
    return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-9), np.float32)
