"""Tracks of one camera: matches the faces of a frame to those of the previous one.

Between scans each face is followed by itself; a scan's detections are assigned to tracks by
overlap, and by appearance where overlap is ambiguous: two faces that crossed, a face that returns
after an occlusion, a cut to another scene. Pure: time and faces are arguments.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, FaceFlow, Floats, Followed
from stream.recognition.linear_assignment import linear_sum_assignment

PATIENCE_S = 1.0
"""How long a lost track is kept: a person passing behind another takes about that long."""

MIN_IOU = 0.2
"""Overlap from which a detection may be a track's: at a face's width a second and three scans a
second two boxes of one face overlap by a half; two faces side by side by less than a tenth."""

STOLEN_IOU = 0.5
"""Overlap from which two followed boxes are on one face, so that one of them is wrong."""

BEGIN_SCORE = 0.6
"""Score that starts a track: hands and dark corners score 0.5 to 0.6 in real films, frontal faces
above 0.9; a face that is already followed may score less."""

MAX_MISSED_SCANS = 3
"""Consecutive scans that may miss a face which is still followed."""

MAX_UNSEEN_S = 2.0
"""Seconds after which a scan that misses a face ends its track, however few frames there were: who
comes then, though they look the same, comes again."""

MAX_LOOKS = 2
"""Detections that are embedded for a scan at most: two people who cross, 14 ms each."""

MAX_TREMBLE = 0.12
"""How far a side of a box may be from where it was expected, in widths, to be steadied: a larger
step is motion of the face."""

MAX_STRAY = 0.5
"""How far from its expected place a followed face may be, in widths, before the track is doubtful:
it may be another face."""

REACH = 2.5
"""How far away a lost face may reappear, in widths, plus as much again each second."""

COAST_S = 0.4
"""How long the last motion predicts the place of a face."""

SMOOTHING = 0.3
"""Weight of the newest motion in a track's velocity."""

STEADYING = 0.5
"""Weight of the newest box in the one that is shown. A scan and following place one face's box
about 2 % of its size apart, which five scans a second would make flicker."""


@dataclass(slots=True, eq=False)
class Tracked:
    """One face followed through time.

    Attributes:
        track_id: never reused, not even in another run of the service.
        box: (4,) float32, x1 y1 x2 y2 in pixels, where it was last seen.
        steady_box: the same, smoothed against the detector's jitter.
        landmarks: (5, 2) float32, xy in pixels, likewise.
        score: detector confidence in [0, 1].
        first_seen, last_seen: seconds.
        n_seen: frames in which it was seen.
        velocity: (2,) pixels per second, smoothed.
        template: (D,) float32 unit embedding of its appearance; None until set.
        is_lost: no longer found where it was, but not dropped yet.
        is_doubtful: it may be on another face; only appearance can decide.
        missed_scans: scans since one found it.
        flow: what following it by optical flow needs; None until prepared.
    """

    track_id: str
    box: Floats
    landmarks: Floats
    score: float
    first_seen: float
    last_seen: float
    steady_box: Floats
    n_seen: int = 1
    velocity: Floats = field(default_factory=lambda: np.zeros(2, np.float32))
    template: Floats | None = None
    is_lost: bool = False
    is_doubtful: bool = False
    missed_scans: int = 0
    flow: FaceFlow | None = None

    def box_at(self, at: float) -> Floats:
        """Return the expected box at a time, (4,) float32."""
        return self.box + self._shift(at)

    def steady_box_at(self, at: float) -> Floats:
        """Return the box to show, (4,) float32."""
        return self.steady_box + self._shift(at)

    def see(self, box: Floats, landmarks: Floats, score: float, at: float) -> None:
        """Update from a detection."""
        expected = self.steady_box_at(at)
        step = box - expected
        is_jump = max(map(abs, step.tolist())) > MAX_TREMBLE * _width(box)
        self.steady_box = box if is_jump else expected + STEADYING * step
        elapsed_s = at - self.last_seen
        if elapsed_s > 0:
            moved = box - self.box
            motion = (moved[:2] + moved[2:]) / (2 * max(elapsed_s, 0.02))
            self.velocity = SMOOTHING * motion + (1 - SMOOTHING) * self.velocity
        self.box, self.landmarks, self.score = box, landmarks, score
        self.last_seen = at
        self.n_seen += 1
        self.is_lost = False

    def confirm(self, box: Floats, landmarks: Floats, score: float, flow: FaceFlow) -> None:
        """Place the face as a network found it in the frame in which it was last seen."""
        self.box, self.landmarks, self.score, self.flow = box, landmarks, score, flow

    def _shift(self, at: float) -> Floats:
        x, y = self.velocity.tolist()
        ahead_s = min(at - self.last_seen, COAST_S)
        return np.array([x * ahead_s, y * ahead_s] * 2, np.float32)


Appearance = Callable[[list[int]], Floats]
"""Given rows of a scan's detections, their embeddings, (n, D) float32 unit vectors."""


class Tracker:
    """The faces of one camera.

    Args:
        new_id: returns the next track id; shared by all cameras, so that ids are never reused.
        same_face: the model's minimum cosine of two detections of one face moments apart.
    """

    def __init__(self, new_id: Callable[[], str], *, same_face: float) -> None:
        self._new_id = new_id
        self._same_face = same_face
        self._tracks: list[Tracked] = []

    def number_by(self, new_id: Callable[[], str]) -> None:
        """Take the ids of later tracks from this function."""
        self._new_id = new_id

    @property
    def tracks(self) -> tuple[Tracked, ...]:
        """All faces, including lost ones, in the order of their appearance."""
        return tuple(self._tracks)

    @property
    def followed(self) -> tuple[Tracked, ...]:
        """The faces to follow in the next frame: those that are not lost."""
        return tuple(track for track in self._tracks if not track.is_lost)

    def follow(
        self, found: Followed, at: float, flows: Sequence[FaceFlow | None] | None = None
    ) -> None:
        """Update the `followed` tracks, row by row; drop those lost for too long.

        Args:
            found: the faces.
            at: seconds, when the frame was captured.
            flows: what following each into the next frame needs.
        """
        tracks = self.followed
        if len(found.scores) != len(tracks):
            raise ValueError(f"expected {len(tracks)} followed faces, got {len(found.scores)}")
        stray: dict[str, float] = {}
        for row, track in enumerate(tracks):
            if found.is_lost[row]:
                track.is_lost = True
                continue
            if flows is not None:
                track.flow = flows[row]
            box = found.boxes[row]
            x1, y1, x2, y2 = (box - track.box_at(at)).tolist()
            away = math.hypot(x1 + x2, y1 + y2) / 2
            stray[track.track_id] = away / max(_width(box), 1.0)
            track.is_doubtful |= stray[track.track_id] > MAX_STRAY
            track.see(box, found.landmarks[row], float(found.scores[row]), at)
        self._give_up_stolen(stray)
        self._forget(at)

    def scan(
        self, found: Detections, at: float, appearance: Appearance
    ) -> list[tuple[Tracked, int]]:
        """Assign a full scan's detections to tracks and begin tracks for the others.

        Args:
            found: all faces of the frame.
            at: seconds, when the frame was captured.
            appearance: called for at most `MAX_LOOKS` rows, and only where overlap is ambiguous.

        Returns:
            Each track seen in this frame with its row in `found`.
        """
        pairs = self._assign(found, at, appearance)
        taken = {row for _, row in pairs}
        for track, row in pairs:
            track.see(found.boxes[row], found.landmarks[row], float(found.scores[row]), at)
            track.missed_scans = 0
        paired = {track.track_id for track, _ in pairs}
        for track in self._tracks:
            if track.track_id not in paired:
                track.missed_scans += 1
                track.is_lost |= (
                    track.missed_scans > MAX_MISSED_SCANS or at - track.last_seen > MAX_UNSEEN_S
                )
        for row in range(len(found)):
            if row not in taken and found.scores[row] >= BEGIN_SCORE:
                pairs.append((self._begin(found, row, at), row))
        self._forget(at)
        return pairs

    def cut(self) -> None:
        """End all motion because the scene changed: only embeddings match faces across it."""
        for track in self._tracks:
            track.is_lost = track.is_doubtful = True

    def _begin(self, found: Detections, row: int, at: float) -> Tracked:
        track = Tracked(
            self._new_id(),
            found.boxes[row],
            found.landmarks[row],
            float(found.scores[row]),
            first_seen=at,
            last_seen=at,
            steady_box=found.boxes[row],
        )
        self._tracks.append(track)
        return track

    def _assign(
        self, found: Detections, at: float, appearance: Appearance
    ) -> list[tuple[Tracked, int]]:
        tracks = self._tracks
        if not tracks or not len(found):
            return []
        overlap = iou(np.stack([track.box_at(at) for track in tracks]), found.boxes)
        overlap = np.maximum(overlap, iou(np.stack([track.box for track in tracks]), found.boxes))
        may_be = overlap >= MIN_IOU
        similarities = self._similarities(may_be, found, at, appearance)
        is_known = ~np.isnan(similarities)
        is_doubtful = np.array([track.is_doubtful for track in tracks])[:, None]
        has_template = np.array([track.template is not None for track in tracks])[:, None]
        # Appearance overrules overlap both ways, and a doubtful track needs it.
        is_same = (similarities >= self._same_face) & (may_be | self._is_near(found, at))
        allowed = np.where(is_known, is_same, may_be)
        allowed &= is_known | ~(is_doubtful & has_template)
        worth = np.where(allowed, overlap + np.nan_to_num(similarities) + 0.1, 0.0)
        rows, columns = linear_sum_assignment(worth, maximize=True)
        pairs = []
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if allowed[i, j]:
                if is_known[i, j]:
                    tracks[i].is_doubtful = False
                pairs.append((tracks[i], j))
        return pairs

    def _similarities(
        self, may_be: NDArray[np.bool_], found: Detections, at: float, appearance: Appearance
    ) -> NDArray[np.float64]:
        """Return (T, N) cosines between tracks and detections; NaN where not embedded."""
        similarities = np.full(may_be.shape, np.nan)
        is_open = np.array([track.is_lost or track.is_doubtful for track in self._tracks])
        templates = {
            i: track.template for i, track in enumerate(self._tracks) if track.template is not None
        }
        # A detection that matches several tracks, or only a lost one nearby.
        claims = may_be.sum(axis=0)
        comes_back = (is_open[:, None] & self._is_near(found, at)).any(axis=0)
        is_disputed = (claims > 1) | (may_be & is_open[:, None]).any(axis=0)
        looks = np.flatnonzero(is_disputed | ((claims == 0) & comes_back))[:MAX_LOOKS].tolist()
        if looks and templates:
            rows = np.stack(list(templates.values()))
            similarities[np.ix_(list(templates), looks)] = rows @ appearance(looks).T
        return similarities

    def _is_near(self, found: Detections, at: float) -> NDArray[np.bool_]:
        """Return (T, N): whether a track's face could have moved to the detection since last seen.

        After a cut every position is possible.
        """
        near = np.zeros((len(self._tracks), len(found)), bool)
        for i, track in enumerate(self._tracks):
            away = np.linalg.norm(_center(found.boxes) - _center(track.box), axis=-1)
            reach = REACH * max(_width(track.box), 1.0) * (1 + at - track.last_seen)
            near[i] = (away <= reach) | (track.is_lost and track.is_doubtful)
        return near

    def _give_up_stolen(self, stray: dict[str, float]) -> None:
        """If two tracks are on one face, mark the one that jumped to it as lost."""
        tracks = [track for track in self.followed if track.track_id in stray]
        if len(tracks) < 2:
            return
        boxes = [track.box.tolist() for track in tracks]
        for i, j in combinations(range(len(tracks)), 2):
            (left, top, right, bottom), other = boxes[i], boxes[j]
            if left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]:
                continue
            first, second = tracks[i], tracks[j]
            overlap = float(iou(first.box[None], second.box[None])[0, 0])
            if overlap < STOLEN_IOU or first.is_lost or second.is_lost:
                continue
            loser = first if stray[first.track_id] > stray[second.track_id] else second
            loser.is_lost = True
            first.is_doubtful = second.is_doubtful = True

    def _forget(self, at: float) -> None:
        # One detection is not enough: a track that the next frame does not confirm was a false
        # detection.
        self._tracks = [
            track
            for track in self._tracks
            if not track.is_lost or (track.n_seen > 1 and at - track.last_seen <= PATIENCE_S)
        ]


def iou(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Return the intersection over union of (A, 4) and (B, 4) boxes, (A, B) in [0, 1]."""
    a, b = first[:, None].astype(np.float64), second[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1) for box in (a, b)]
    union = areas[0] + areas[1] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _center(box: Floats) -> Floats:
    return np.asarray((box[..., :2] + box[..., 2:]) / 2, np.float32)


def _width(box: Floats) -> float:
    return float(box[2] - box[0])
