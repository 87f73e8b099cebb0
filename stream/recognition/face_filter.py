"""Which faces of a camera count, by size and region, and the zones they may be in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, Floats
from stream.zones import Zone

ALMOST = 0.8
"""Part of the smallest size at which a box still counts: the detector's boxes of one face differ
by a fifth, and it finds faces of its own smallest size by boxes that much smaller."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The region that is the whole frame."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Size and region of the faces that count, and the camera's zones.

    Attributes:
        min_face_px: minimum longer side of its box, pixels; applied when a face is detected, not
            while it is followed.
        region: x1, y1, x2, y2 in [0, 1] of the frame, which must contain the center of the box.
        zones: parts of the frame that tracks and events name.
    """

    min_face_px: int = 0
    region: tuple[float, float, float, float] = WHOLE
    zones: tuple[Zone, ...] = ()

    def holds(self, boxes: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (N,): whether the center of each box (N, 4) is in the region.

        Args:
            boxes: x1 y1 x2 y2, pixels.
            size: (height, width) of the frame.
        """
        if self.region == WHOLE:
            # A face at the edge may have its center outside the frame.
            return np.ones(len(boxes), bool)
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array([size[1], size[0]], np.float32)
        corners = np.array(self.region, np.float32)
        return np.asarray(((middles >= corners[:2]) & (middles <= corners[2:])).all(axis=1))

    def keep(self, found: Detections, size: tuple[int, int]) -> Detections:
        """Return the faces of a scan that count; boxes stay in pixels of the whole frame."""
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
        kept = self.holds(found.boxes, size) & (sides >= ALMOST * self.min_face_px)
        if kept.all():
            return found
        return Detections(found.boxes[kept], found.landmarks[kept], found.scores[kept])
