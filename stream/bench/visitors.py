"""`facewire bench visitors`: are unknown people who come back the same visitors?"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from recognizer import ImageError, Recognizer
from stream.bench.visitor_service import VisitorService
from stream.bench.visitor_tracks import (
    SyntheticTrack,
    plan_tracks,
    source_face,
    synthetic_tracks,
)
from stream.enrollment.folders import read_people_folder
from stream.errors import StreamError


@dataclass(frozen=True, slots=True)
class VisitorRun:
    """The results of one seed.

    Attributes:
        seed: of the tracks and their order.
        tracks: of all people.
        visitors: how many were founded.
        unassigned: tracks of which too little was seen.
        precision: share of the pairs of tracks in one visitor that are of one person.
        recall: share of the pairs of one person's tracks that are in one visitor.
        visitors_per_person: visitors divided by people.
        assign_ms: mean time to assign a report of a track, milliseconds.
        assign_ms_p50, assign_ms_p95: its quantiles.
        join: the cosine from which a track joined at the end.
        proposals: pairs of visitors that a person would be asked about.
    """

    seed: int
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


@dataclass(frozen=True, slots=True)
class VisitorFigures:
    """The results of all seeds.

    Attributes:
        model: id of the embedding model.
        engine: name and version of the runtime.
        people: how many.
        seeds: how many.
        runs: of each seed.
        unreadable: why photos were left out.
    """

    model: str
    engine: str
    people: int
    seeds: int
    runs: tuple[VisitorRun, ...]
    unreadable: tuple[str, ...]

    def of(self, figure: str) -> list[float]:
        """Return a figure of each run, by its name."""
        return [getattr(run, figure) for run in self.runs]

    def as_json(self) -> dict[str, object]:
        """Return the results as JSON: those of the only run, or the medians of all, and each."""
        medians = {
            name: float(np.median(self.of(name))) if self.seeds > 1 else value
            for name, value in asdict(self.runs[0]).items()
        }
        return asdict(self) | medians | {"seed": self.runs[0].seed}


def bench_visitors(
    recognizer: Recognizer,
    directory: Path,
    *,
    seeds: Sequence[int] = (0,),
    progress: Callable[[int, int], None] | None = None,
) -> VisitorFigures:
    """Stream the people of a folder as tracks, none enrolled, and see which become one visitor.

    Args:
        recognizer: detects and embeds.
        directory: DIRECTORY/NAME/PHOTO.
        seeds: of the tracks and their order, one for each run; at least one.
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
    people = {face.person for face in faces}
    if len(people) < 2:
        raise StreamError(
            f"{directory} holds {len(faces)} photos with a face of {len(people)} people: "
            f"two people are needed ({directory}/NAME/PHOTO.jpg)"
        )
    n_shots = [sum(plan.n_shots for plan in plan_tracks(faces, seed=seed)) for seed in seeds]
    runs = []
    for index, seed in enumerate(seeds):
        tracks = synthetic_tracks(
            recognizer,
            plan_tracks(faces, seed=seed),
            progress=partial(_tell, progress, sum(n_shots[:index]), sum(n_shots)),
        )
        runs.append(_run(recognizer, tracks, seed))
    return VisitorFigures(
        model=recognizer.model_id,
        engine=recognizer.engine,
        people=len(people),
        seeds=len(runs),
        runs=tuple(runs),
        unreadable=tuple(unreadable),
    )


def _tell(progress: Callable[[int, int], None] | None, before: int, total: int, done: int) -> None:
    if progress is not None:
        progress(before + done, total)


def _run(recognizer: Recognizer, tracks: Sequence[SyntheticTrack], seed: int) -> VisitorRun:
    with (
        TemporaryDirectory(prefix="facewire-bench-") as log,
        VisitorService(recognizer, Path(log)) as service,
    ):
        for track in tracks:
            service.show(track)
        labels, milliseconds = service.labels(), service.took_ms
        join, proposals = service.book.join, service.book.count_proposals()
    found = labels[labels >= 0]
    people = np.unique([track.person for track in tracks], return_inverse=True)[1]
    precision, recall = pair_figures(labels, people)
    n_visitors = len(set(found.tolist()))
    return VisitorRun(
        seed=seed,
        tracks=len(tracks),
        visitors=n_visitors,
        unassigned=len(labels) - len(found),
        precision=precision,
        recall=recall,
        visitors_per_person=n_visitors / (int(people.max()) + 1),
        assign_ms=float(np.mean(milliseconds)),
        assign_ms_p50=float(np.quantile(milliseconds, 0.5)),
        assign_ms_p95=float(np.quantile(milliseconds, 0.95)),
        join=join,
        proposals=proposals,
    )


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
