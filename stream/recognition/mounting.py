"""Notices that a camera hangs on its side or head, by the faces of many tracks.

A single person who lies in bed must not count as many, however often the track is lost and begun
again. Pure: times and tracks are arguments.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from recognizer import Floats, head_poses
from stream.recognition.tracker import Tracked

MIN_FACES = 5
"""Turned faces from which a camera counts as turned."""

MIN_SPAN_S = 120.0
"""Time over which they must have been seen."""

MIN_PART = 0.8
"""Part of all faces that must be turned by the same quarter turns."""

MAX_FACES = 20
"""Number of newest faces that count: after a change, five others of them decide anew."""

SURE_SCORE = 0.8
"""Score of a sure face: hands and dark corners score 0.5 to 0.6 in real films."""

MAX_LEAN_DEG = 30.0
"""How far a face may lean from a quarter turn; others count as turned by none."""

N_SEEN = 15
"""Newest scans of a face whose majority is its turn."""

PLACE = 2.0
"""Widths of a face within which a head stays on its pillow."""


@dataclass(slots=True, eq=False)
class _Face:
    """One face in the count.

    Attributes:
        first_seen, last_seen: seconds.
        place: (2,) float32, the center of its box when it was first seen, pixels.
        template: (D,) float32 unit embedding.
        has_moved: whether it was ever farther than `PLACE` from there.
        turns: degrees clockwise in its newest scans, multiples of 90; None in between.
    """

    first_seen: float
    last_seen: float
    place: Floats
    template: Floats
    has_moved: bool = False
    turns: deque[int | None] = field(default_factory=lambda: deque(maxlen=N_SEEN))

    @property
    def turn(self) -> int | None:
        """The most frequent of its newest turns."""
        return Counter(self.turns).most_common(1)[0][0]


class Mounting:
    """Counts how the faces of one camera are turned.

    Args:
        same_face: the model's minimum cosine of two detections of one face moments apart.

    Attributes:
        turned_by: degrees clockwise by which most faces are turned in the frame, a multiple of 90;
            0 where most are upright or not enough were seen.
    """

    def __init__(self, *, same_face: float) -> None:
        self.turned_by = 0
        self._same_face = same_face
        self._rotation: int | None = None
        self._faces: dict[str, _Face] = {}  # by track id, the newest last
        self._leading: int | None = None  # how most of them are turned
        self._since = 0.0  # when the first of them was seen, perhaps one no longer counted

    def rotated(self, rotation: int) -> None:
        """Note the rotation of the next frames, degrees; a change starts the count anew."""
        if rotation != self._rotation:
            self._rotation = rotation
            self._faces.clear()
            self._leading = None
            self.turned_by = 0

    def scanned(self, tracks: Sequence[Tracked], at: float) -> None:
        """Count the faces that a full scan found.

        Args:
            tracks: found in this frame; those of one frame only, doubtful or not embedded ones are
                left out.
            at: seconds, when the frame was captured.
        """
        sure = [
            track
            for track in tracks
            if track.n_seen > 1
            and track.score >= SURE_SCORE
            and track.template is not None
            and not track.is_doubtful
        ]
        if not sure:
            return
        rolls = head_poses(np.stack([track.landmarks for track in sure]))[:, 2]
        for track, roll in zip(sure, rolls.tolist(), strict=True):
            self._see(track, roll, at)
        while len(self._faces) > MAX_FACES:
            del self._faces[next(iter(self._faces))]
        self.turned_by = self._decide(at)

    def _see(self, track: Tracked, roll: float, at: float) -> None:
        assert track.template is not None
        center = np.asarray((track.box[:2] + track.box[2:]) / 2, np.float32)
        reach = PLACE * float(track.box[2] - track.box[0])
        face = self._faces.pop(track.track_id, None) or self._same(
            track.template, center, reach, at
        )
        if face is None:
            face = _Face(at, at, center, track.template)
        face.last_seen, face.template = at, track.template
        face.has_moved |= bool(np.linalg.norm(center - face.place) > reach)
        quarter = round(roll / 90) * 90
        face.turns.append(quarter % 360 if abs(roll - quarter) <= MAX_LEAN_DEG else None)
        self._faces[track.track_id] = face

    def _same(self, template: Floats, center: Floats, reach: float, at: float) -> _Face | None:
        """Take out the same person's former face at the same place, which they have not left."""
        for track_id, face in self._faces.items():
            if (
                not face.has_moved
                and face.last_seen < at
                and np.linalg.norm(center - face.place) <= reach
                and float(template @ face.template) >= self._same_face
            ):
                return self._faces.pop(track_id)
        return None

    def _decide(self, at: float) -> int:
        turns = {track_id: face.turn for track_id, face in self._faces.items()}
        turn, count = Counter(turns.values()).most_common(1)[0]
        if count < MIN_PART * len(turns):
            turn = None
        if turn != self._leading:
            first_seen = [self._faces[key].first_seen for key in turns if turns[key] == turn]
            self._leading, self._since = turn, min(first_seen, default=at)
        if not turn or count < MIN_FACES or at - self._since < MIN_SPAN_S:
            return 0
        return turn
