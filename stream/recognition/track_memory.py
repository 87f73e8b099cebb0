"""Per-track history: embeddings, best crops, and when to embed again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer import Floats, Quality
from stream.frames import TrackState
from stream.recognition.tracker import Tracked
from stream.recognition.voting import Voter
from stream.recognition.zone_visits import ZoneVisits

MAX_SHOTS = 3
"""Crops kept for enrollment: more of one moment add nothing to the gallery."""

UNDECIDED_EVERY_S = 0.08
"""Between two embeddings while the name is undecided: two frames, so that they differ."""

BETTER_SHOT_AFTER_S = 0.4
BETTER_SHOT_BY = 1.25
"""A crop better than the best one by this factor is embedded, but no sooner than that."""

AGAIN_EVERY_S = 4.0
"""Between two embeddings of a decided track: a stranger may turn towards the camera, and a name is
checked, since another face may be in the same place. It costs 0.4 % of a core a face."""

GATHER_EVERY_S = 0.28
"""Between two embeddings of a stranger who is to be recognized when they return: eight in the two
seconds from which they count as seen."""

GATHER_VALUE = 0.25
"""Value of a crop below which a stranger is not embedded more often: it is no evidence."""

OPEN = 1
"""The highest urgency of a face whose name is undecided."""

MIN_SHOT = 0.02
"""Value below which a crop is not embedded: too small, or in profile."""

LEAST_PX = 16
"""Side of the smallest face that is embedded: at 16 px TAR at FAR 0.01 is 0.97 (`facewire bench
quality`), at 12 px 0.88."""

LEAST_VALUE = 0.03
"""Of a frontal face of that side."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One embedded crop of a face.

    Attributes:
        crop: (112, 112, 3) uint8 RGB, aligned.
        embedding: (D,) float32 of unit length.
        quality: measured in the frame.
    """

    crop: NDArray[np.uint8]
    embedding: Floats
    quality: Quality


class Memory:
    """The history of one track.

    Args:
        voter: decides the track's name.
    """

    def __init__(self, voter: Voter) -> None:
        self.voter = voter
        self.shots: list[Shot] = []
        self.zones = ZoneVisits()
        self.is_open = False  # embeddings or a gallery changed since the voter decided
        self.waits_since: float | None = (
            None  # waiting since, while other tracks are embedded, seconds
        )
        self._looked_at = float("-inf")
        self._best_value = 0.0

    def urgency(
        self, track: Tracked, value: float, at: float, *, gathers: bool = False
    ) -> int | None:
        """Return how soon to embed the track: 0 at once, higher can wait, None not now.

        Args:
            track: as seen in this frame.
            value: of its crop in this frame, see `shot_value`.
            at: seconds.
            gathers: whether a stranger's track still lacks embeddings.
        """
        since_s = at - self._looked_at
        if value < MIN_SHOT:
            return None
        if not self.shots:
            return 0
        if track.is_doubtful or self.voter.state is TrackState.UNDECIDED:
            return OPEN if since_s >= UNDECIDED_EVERY_S else None
        if value >= BETTER_SHOT_BY * self._best_value and since_s >= BETTER_SHOT_AFTER_S:
            return 2
        is_stranger = self.voter.state is TrackState.UNKNOWN
        if gathers and is_stranger and value >= GATHER_VALUE and since_s >= GATHER_EVERY_S:
            return 2
        return 3 if since_s >= AGAIN_EVERY_S else None

    def look(self, shot: Shot, value: float, at: float) -> bool:
        """Add an embedded crop; return whether it shows another face than all before."""
        is_other = self.voter.look(shot.embedding, shot.quality.overall, at)
        if is_other:
            # Crops of another face must not be enrolled or shown in an event.
            self.shots.clear()
            self._best_value = 0.0
        self.is_open = True
        self.waits_since = None
        self._looked_at = at
        self._best_value = max(self._best_value, value)
        self.shots.append(shot)
        self.shots.sort(key=lambda kept: -kept.quality.overall)
        del self.shots[MAX_SHOTS:]
        return is_other

    def gallery_changed(self) -> None:
        """Search all embeddings again."""
        if self.shots:
            self.voter.forget_candidates()
            self.is_open = True


def shot_value(box: Floats, landmarks: Floats, size: tuple[int, int]) -> float:
    """Return the expected quality of a crop in [0, 1], by size and pose alone.

    Args:
        box: (4,) float32.
        landmarks: (5, 2) float32.
        size: (height, width) of the frame; a face cut off by its edge is worth nothing.
    """
    height, width = size
    points = landmarks.tolist()  # arithmetic on arrays of two numbers takes ten times as long
    if not all(0 <= x < width and 0 <= y < height for x, y in points):
        return 0.0
    (left, left_y), (right, right_y), (nose, nose_y) = points[:3]
    across, down = right - left, right_y - left_y
    square = across**2 + down**2
    if square < 1:
        return 0.0
    # The nose lies between the eyes of a frontal face, and beyond one in profile.
    beside, below = nose - (left + right) / 2, nose_y - (left_y + right_y) / 2
    aside = abs(beside * across + below * down) / square
    frontal = 1 - min(max((aside - 0.1) / 0.5, 0.0), 1.0)
    # 1 from 100 px on, where the crop is not enlarged, falling to 20 px: as in the recognizer's
    # quality, whose weight lets no smaller face decide a name alone
    x1, y1, x2, y2 = box.tolist()
    side = min(x2 - x1, y2 - y1)
    least = LEAST_VALUE if side >= LEAST_PX else 0.0
    return float(frontal * min(max((side - 20) / 80, least), 1.0))
