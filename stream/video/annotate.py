"""Draws boxes and names on the image."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.frames import Track, TrackState
from stream.video.fonts import font_for

COLORS = {
    TrackState.KNOWN: (46, 190, 110),
    TrackState.UNKNOWN: (244, 150, 40),
    TrackState.UNDECIDED: (205, 210, 216),
}
"""Green, amber and light gray (RGB): distinguishable with color blindness too, by lightness."""

INK = (14, 20, 26)
FONT_PX_PER_HEIGHT = 1 / 36
"""20 pixels at 720p: a page shows the video at half of that and more, where 10 are readable."""
MIN_FONT_PX = 12
WEIGHT = 550

Rect = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels."""


def annotate(image: NDArray[np.uint8], tracks: Sequence[Track], *, now: float) -> None:
    """Draw each face's box, name, similarity and age onto the image, in place.

    Sizes follow the image's shorter side; for the scripts of names see `font_for`.
    Thread-safe.

    Args:
        image: (H, W, 3) uint8 RGB, writable.
        tracks: the faces in it.
        now: seconds, on the clock of the tracks.
    """
    if not tracks:
        return
    font_px = max(MIN_FONT_PX, round(min(image.shape[:2]) * FONT_PX_PER_HEIGHT))
    # Labels lie over all boxes, so that a name is not crossed out by a neighbor's box.
    for track in tracks:
        _draw_box(image, track)
    taken: list[Rect] = []
    for track in tracks:
        text = label(track, now)
        taken.append(_draw_label(image, track, text, font_for(text), font_px, taken))


def label(track: Track, now: float) -> str:
    """Return a track's text: the name with its similarity, or unknown, and its age."""
    age_s = max(0, int(now - track.first_seen))
    age = f"{age_s} s" if age_s < 60 else f"{age_s // 60} min"
    if track.match is not None:
        return f"{track.match.identity.name}  {track.match.similarity:.2f}  {age}"
    return f"unknown  {age}" if track.state is TrackState.UNKNOWN else "..."


def _corners(image: NDArray[np.uint8], track: Track) -> Rect:
    """Return a track's box; far outside of the image OpenCV's integers would overflow."""
    height, width = image.shape[:2]
    size = np.array([width, height, width, height], np.float32)
    x1, y1, x2, y2 = (int(v) for v in np.clip(track.box, -size, 2 * size).round())
    return x1, y1, x2, y2


def _draw_box(image: NDArray[np.uint8], track: Track) -> None:
    """Draw the box's corners; a closed frame would hide more of the face than it shows."""
    thick = max(1, round(min(image.shape[:2]) / 360))
    x1, y1, x2, y2 = _corners(image, track)
    corner = max(4, min(x2 - x1, y2 - y1) // 4)
    color = COLORS[track.state]
    cv2.rectangle(image, (x1, y1), (x2, y2), color, max(1, thick // 2))
    for x, inward_x in ((x1, corner), (x2, -corner)):
        for y, inward_y in ((y1, corner), (y2, -corner)):
            cv2.line(image, (x, y), (x + inward_x, y), color, 2 * thick)
            cv2.line(image, (x, y), (x, y + inward_y), color, 2 * thick)


def _draw_label(
    image: NDArray[np.uint8],
    track: Track,
    text: str,
    font: cv2.FontFace,
    font_px: int,
    taken: Sequence[Rect],
) -> Rect:
    """Draw a label where no other is, if there is such a place; return where."""
    height, width = image.shape[:2]
    _, _, text_width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, font_px, WEIGHT)
    pad = max(3, font_px // 3)
    label_width, label_height = text_width + 2 * pad, font_px + pad + pad // 2
    x1, y1, _, y2 = _corners(image, track)
    gap = pad // 2
    left = max(0, min(x1, width - label_width))
    # Above the box, below it, above another label; always inside the image.
    tops = [y1 - label_height - gap, y2 + gap, y1 - 2 * (label_height + gap)]
    spots = [(left, top, left + label_width, top + label_height) for top in tops]
    inside = [spot for spot in spots if spot[1] >= 0 and spot[3] <= height]
    free = [spot for spot in inside if not any(_meet(spot, other) for other in taken)]
    top = max(0, min((free or inside or spots)[0][1], height - label_height))
    corner = (left + label_width, top + label_height)
    cv2.rectangle(image, (left, top), corner, COLORS[track.state], -1)
    origin = (left + pad, top + gap + round(font_px * 0.95))
    cv2.putText(image, text, origin, INK, font, font_px, WEIGHT)
    return left, top, *corner


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
