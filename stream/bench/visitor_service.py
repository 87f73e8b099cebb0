"""Synthetic tracks through the rules of the service: for `facewire bench visitors`.

Each track takes the way of a live one from its embeddings on, through the same state of a camera:
the votes and the presence that announce it, what is gathered of its shots, the event log, and the
visitors there.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery
from recognizer import Detections, Floats, Followed, Recognizer
from recognizer.geometry.alignment import CROP_SIZE
from stream.bench.visitor_tracks import SHOT_EVERY_S, SyntheticTrack
from stream.config import EventsConfig, VisitorsConfig
from stream.enrollment.naming import Matching
from stream.events.log import EventLog
from stream.frames import Event, Frame, Sighting
from stream.recognition.camera_state import Watch
from stream.recognition.mounting import Mounting
from stream.recognition.presence import Presence
from stream.recognition.track_memory import Memory, Shot
from stream.recognition.tracker import Tracker
from stream.recognition.voting import Voter
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook

CAMERA, RUN = "bench", "bench"

BETWEEN_S = 60.0
"""From one track to the next: every one is a stay of its own."""

NO_CROP = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
"""Crops have no part in the assignment; those of all tracks would fill the memory."""

NO_PICTURE = np.zeros((8, 8, 3), np.uint8)
"""Nothing is searched for faces: they are given."""


class _TimedBook(VisitorBook):
    """Visitors that measure how long each sighting takes, milliseconds."""

    took_ms: list[float]

    def keep(self, sighting_id: int, sighting: Sighting) -> None:
        """Assign a sighting; see `VisitorBook.keep`."""
        started = time.perf_counter()
        super().keep(sighting_id, sighting)
        self.took_ms.append((time.perf_counter() - started) * 1e3)

    def recall(self, sighting: Sighting, offset_s: float) -> str | None:
        """Find the visitor of an undecided track; see `VisitorBook.recall`."""
        started = time.perf_counter()
        stay = super().recall(sighting, offset_s)
        self.took_ms.append((time.perf_counter() - started) * 1e3)
        return stay


class VisitorService:
    """The visitors of a service at its defaults, with nobody enrolled.

    Args:
        recognizer: whose model embedded the tracks.
        directory: for the gallery and the event log, empty.

    Attributes:
        book: the visitors.
    """

    def __init__(self, recognizer: Recognizer, directory: Path) -> None:
        self._at = 0.0
        self._wall_offset_s = time.time()
        self._n_tracks = 0
        with ExitStack() as opened:
            self._gallery = opened.enter_context(
                Gallery.open(
                    directory,
                    model_id=recognizer.model_id,
                    embedding_size=recognizer.embedding_size,
                )
            )
            self._log = opened.enter_context(EventLog.open(directory))
            self._log.follow(self._gallery)
            # What a loss of power would take is measured again.
            self._log.connection.execute("PRAGMA synchronous = OFF")
            self._matching = Matching(recognizer, self._gallery, threshold=None, margin=None)
            self.book = _TimedBook(
                self._log,
                self._gallery,
                limits=JoinLimits.of(self._matching.limits),
                threshold=lambda: self._matching.threshold,
                is_enabled=True,
                keep_days=VisitorsConfig().keep_days,
            )
            self.book.took_ms = []
            self._log.keeper = self.book
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    @property
    def took_ms(self) -> Sequence[float]:
        """Milliseconds to assign each report of a track."""
        return self.book.took_ms

    def show(self, track: SyntheticTrack) -> None:
        """Show a track to a camera that is added for it, a minute after the one before."""
        self._at += BETWEEN_S
        at, side = self._at, track.qualities[0].size_px
        events = EventsConfig()
        watch = Watch(
            Tracker(self._new_track_id, same_face=self._matching.limits.same_face),
            Presence(
                CAMERA,
                confirm_s=events.confirm_s,
                absence_s=events.absence_s,
                camera_away_s=events.camera_away_s,
                cooldown_s=events.cooldown_s,
                same_face=self._matching.threshold,
            ),
            Mounting(same_face=self._matching.limits.same_face),
            self._new_memory,
        )
        rows = zip(track.embeddings, track.qualities, strict=True)
        boxes, landmarks = (
            np.array([[0, 0, side, side]], np.float32),
            np.zeros((1, 5, 2), np.float32),
        )
        for row, (embedding, quality) in enumerate(rows):
            at = self._at + SHOT_EVERY_S * row
            scores = np.array([quality.score], np.float32)
            if row == 0:
                watch.tracker.scan(Detections(boxes, landmarks, scores), at, _never)
            else:
                watch.tracker.follow(Followed(boxes, landmarks, scores, np.zeros(1, np.bool_)), at)
            (face,) = watch.tracker.tracks
            watch.look(face, Shot(NO_CROP, embedding, quality), at, value=quality.overall)
            voter = watch.remember(face).voter
            voter.decide(self._gallery.best(voter.probes(), k=2))
            _, announced, grown = watch.conclude(Frame(CAMERA, row, at, NO_PICTURE))
            self._write(announced)
            self._keep(grown)
        left, ended = watch.end(CAMERA, at)
        self._keep(ended)
        self._write(left)

    def _write(self, events: Sequence[Event]) -> None:
        for event in events:
            self._log.append(event, self._wall_offset_s + event.at)

    def _keep(self, sightings: Sequence[Sighting]) -> None:
        for sighting in sightings:
            self._log.keep_sighting(sighting, self._wall_offset_s)

    def _new_track_id(self) -> str:
        self._n_tracks += 1
        return f"{RUN}-{self._n_tracks}"

    def _new_memory(self) -> Memory:
        matching = self._matching
        return Memory(
            Voter(threshold=matching.threshold, margin=matching.margin, limits=matching.limits)
        )

    def labels(self) -> NDArray[np.int64]:
        """Return (N,) int64: the visitor of each track shown, by number; -1 for none."""
        labels = np.full(self._n_tracks, -1, np.int64)
        for number, root in self._log.connection.execute(
            "SELECT track_number, root FROM sightings "
            "JOIN visitors ON visitors.visitor_id = sightings.visitor_id"
        ):
            labels[number - 1] = root
        return labels


def _never(rows: list[int]) -> Floats:
    raise AssertionError("a lone face is never ambiguous")
