"""What is kept of a track's face: its mean embedding, diverse exemplars, and who was beside it."""

from collections import Counter

import numpy as np

from recognizer import Floats
from stream.frames import CORE_S, CORE_SHOTS, Sighting
from stream.recognition.track_memory import Memory, Shot
from stream.recognition.tracker import Tracked
from stream.recognition.voting import GOOD_WEIGHT

MAX_EXEMPLARS = 3

MAX_BESIDE = 256
"""Tracks remembered as in view together: a poster sees people pass for weeks."""

AGAIN_S = 30.0
"""Between two reports of a track that stays in view and was embedded meanwhile."""

SURE_SCORE = 0.8
"""Detector's score below which a poor shot may show no face: a black picture after a cut has 0.5,
dark faces and such in profile 0.9 to 1."""

SAME_TRACK = 0.5
"""Cosine to the track so far below which a poor shot may show another face, after a cut between two
dark scenes: measured 0.36 to 0.42, and 0.6 to 0.98 for the same face."""

BESIDE_FRAMES = 3
"""Frames that two tracks share before they count as two people: one frame may show a face twice."""


class Gathered:
    """The embeddings of one track so far.

    Args:
        track: the face, as the tracker last saw it.

    Attributes:
        stay: id of the track of the stay's events; empty until its person was announced.
        n_good: number of embeddings of good quality.
        good_s: seconds from the first to the last of them.
        n_shots: number of embeddings of any quality, without doubtful ones.
        face_px: shorter side of the largest face embedded, pixels.
        beside: frames in view together, by the ids of other tracks, at most MAX_BESIDE of them.
    """

    def __init__(self, track: Tracked) -> None:
        self.stay = ""
        self.beside: Counter[str] = Counter()
        self._track = track
        self._clear()

    def _clear(self) -> None:
        self.n_good = 0
        self.good_s = 0.0
        self.face_px = 0.0
        self.n_shots = 0
        self._n_reported = 0
        self._first_good_at = 0.0
        self._reported_at = float("-inf")
        self._was_core = False
        self._sum_good: Floats | None = None
        self._sum_all: Floats | None = None
        self._exemplars: list[tuple[float, Floats]] = []

    def add(self, shot: Shot, at: float, *, is_other: bool) -> None:
        """Add an embedded crop.

        Args:
            shot: of the face.
            at: seconds.
            is_other: the track turned out to show another face than all embeddings before.
        """
        if is_other:
            self._clear()
        weight = max(shot.quality.overall, 0.01)
        part = np.asarray(weight * shot.embedding, np.float32)
        is_good = weight >= GOOD_WEIGHT
        is_sure = is_good or shot.quality.score >= SURE_SCORE
        if self.n_shots and not is_good and not (is_sure and self._shows(shot)):
            return
        if is_sure and not self.n_shots:
            self._sum_all = None  # of doubtful shots
        self.n_shots += is_sure
        self._sum_all = part if self._sum_all is None else self._sum_all + part
        self.face_px = max(self.face_px, shot.quality.size_px)
        if not is_good:
            return
        self._sum_good = part if self._sum_good is None else self._sum_good + part
        self._first_good_at = self._first_good_at if self.n_good else at
        self.n_good += 1
        self.good_s = at - self._first_good_at
        self._exemplars.append((weight, shot.embedding))
        if len(self._exemplars) > MAX_EXEMPLARS:
            self._drop_exemplar()

    def _shows(self, shot: Shot) -> bool:
        """Return whether a shot shows the same face as the track so far."""
        template = self.template
        return template is not None and float(template @ shot.embedding) >= SAME_TRACK

    def _drop_exemplar(self) -> None:
        """Drop the poorer one of the two most similar exemplars."""
        rows = np.stack([embedding for _, embedding in self._exemplars])
        alike = rows @ rows.T
        np.fill_diagonal(alike, -2.0)
        i, j = divmod(int(alike.argmax()), len(rows))
        del self._exemplars[i if self._exemplars[i][0] < self._exemplars[j][0] else j]

    def see_beside(self, others: set[str]) -> None:
        """Count a frame in which other tracks are in view too; the ones met first are forgotten."""
        self.beside.update(others)
        for track_id in list(self.beside)[:-MAX_BESIDE]:
            del self.beside[track_id]

    @property
    def template(self) -> Floats | None:
        """The mean of the good embeddings, else of all, by quality; (D,) float32, unit length."""
        total = self._sum_all if self._sum_good is None else self._sum_good
        if total is None:
            return None
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)

    @property
    def is_core(self) -> bool:
        """Whether the track alone is enough evidence of a person."""
        return self.n_good >= CORE_SHOTS and self.good_s >= CORE_S

    def is_due(self, at: float) -> bool:
        """Return whether the track should be reported: new, grown to enough evidence, or later."""
        if self.n_shots == self._n_reported:
            return False
        is_grown = self.is_core and not self._was_core
        return self._n_reported == 0 or is_grown or at - self._reported_at >= AGAIN_S

    def report(self, memory: Memory, *, camera: str, at: float, is_over: bool) -> Sighting | None:
        """Return the track's sighting; None if its face was never embedded.

        Args:
            memory: its best crops.
            camera: its name.
            at: seconds.
            is_over: the track has ended.
        """
        template = self.template
        if template is None or not memory.shots:
            return None
        self._n_reported, self._reported_at, self._was_core = self.n_shots, at, self.is_core
        best = memory.shots[0]
        exemplars = [embedding for _, embedding in self._exemplars] or [best.embedding]
        return Sighting(
            camera=camera,
            track_id=self._track.track_id,
            stay=self.stay or self._track.track_id,
            began=self._track.first_seen,
            ended=self._track.last_seen,
            is_over=is_over,
            template=template,
            exemplars=np.stack(exemplars),
            n_good=self.n_good,
            good_s=self.good_s,
            n_shots=self.n_shots,
            face_px=self.face_px,
            crop=best.crop,
            quality=best.quality,
            beside=frozenset(i for i, n in self.beside.items() if n >= BESIDE_FRAMES),
            is_announced=bool(self.stay),
            zones=memory.zones.entered,
        )
