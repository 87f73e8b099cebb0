"""Draws boxes and names on the image, or on its YUV planes."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.frames import Matrix, Planes, Track, TrackState
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

Point = tuple[int, int]
Color = tuple[int, int, int]

LUMA_SHARES = {Matrix.BT601: (0.299, 0.114), Matrix.BT709: (0.2126, 0.0722)}
"""Kr and Kb of ISO/IEC 23091-2, section 8.3."""


class _Canvas:
    """Draws on layers, each with its part of a color.

    Args:
        layers: (H, W, 3) uint8 RGB alone; or luma, Cb and Cr, the latter two of half the size.
        matrix: of the planes; None for RGB.
    """

    def __init__(self, layers: Sequence[NDArray[np.uint8]], matrix: Matrix | None) -> None:
        self._layers = [(layer, 1 + (number > 0)) for number, layer in enumerate(layers)]
        self._matrix = matrix
        self.height, self.width = layers[0].shape[:2]

    def line(self, start: Point, end: Point, color: Color, thickness: int) -> None:
        for (layer, by), part in zip(self._layers, self._parts(color), strict=True):
            cv2.line(layer, _by(start, by), _by(end, by), part, max(1, thickness // by))

    def rectangle(self, start: Point, end: Point, color: Color, thickness: int) -> None:
        """Draw a rectangle, filled if the thickness is negative."""
        for (layer, by), part in zip(self._layers, self._parts(color), strict=True):
            thick = thickness if thickness < 0 else max(1, thickness // by)
            cv2.rectangle(layer, _by(start, by), _by(end, by), part, thick)

    def text(
        self, text: str, origin: Point, color: Color, font: cv2.FontFace, px: int, within: Rect
    ) -> None:
        """Draw a text; `within` is around all of it."""
        if self._matrix is None:
            cv2.putText(self._layers[0][0], text, origin, color, font, px, WEIGHT)
            return
        # Letters at half the size would have other widths: the planes share one drawing.
        x1, y1 = (max(0, side // 2 * 2) for side in within[:2])
        x2, y2 = min(self.width, -(-within[2] // 2) * 2), min(self.height, -(-within[3] // 2) * 2)
        ink = np.zeros((y2 - y1, x2 - x1), np.uint8)
        cv2.putText(ink, text, (origin[0] - x1, origin[1] - y1), (255,), font, px, WEIGHT)
        for (layer, by), (part,) in zip(self._layers, self._parts(color), strict=True):
            size = (x2 - x1) // by, (y2 - y1) // by
            share = cv2.resize(ink, size, interpolation=cv2.INTER_AREA) / np.float32(255)
            spot = layer[y1 // by : y2 // by, x1 // by : x2 // by]
            spot[:] = np.rint(spot + share * (np.float32(part) - spot))

    def _parts(self, color: Color) -> Sequence[tuple[int, ...]]:
        return (color,) if self._matrix is None else _yuv(color, self._matrix)


def _by(point: Point, by: int) -> Point:
    return point[0] // by, point[1] // by


@lru_cache
def _yuv(color: Color, matrix: Matrix) -> tuple[tuple[int], ...]:
    """Return luma, Cb and Cr of a color, limited range."""
    red, green, blue = (value / 255 for value in color)
    of_red, of_blue = LUMA_SHARES[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    cb, cr = (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)
    return (round(16 + 219 * luma),), (round(128 + 224 * cb),), (round(128 + 224 * cr),)


def annotate(image: NDArray[np.uint8], tracks: Sequence[Track], *, now: float) -> None:
    """Draw each face's box, name, similarity and age onto the image, in place.

    Sizes follow the image's shorter side; for the scripts of names see `font_for`.
    Thread-safe.

    Args:
        image: (H, W, 3) uint8 RGB, writable.
        tracks: the faces in it.
        now: seconds, on the clock of the tracks.
    """
    _draw(_Canvas([image], None), tracks, now)


def annotate_planes(planes: Planes, tracks: Sequence[Track], *, now: float) -> None:
    """Draw the same as `annotate` onto YUV planes, in place.

    Args:
        planes: writable.
        tracks: the faces in it.
        now: seconds, on the clock of the tracks.
    """
    _draw(_Canvas(planes.layers, planes.matrix), tracks, now)


def _draw(canvas: _Canvas, tracks: Sequence[Track], now: float) -> None:
    if not tracks:
        return
    font_px = max(MIN_FONT_PX, round(min(canvas.height, canvas.width) * FONT_PX_PER_HEIGHT))
    # Labels lie over all boxes, so that a name is not crossed out by a neighbor's box.
    for track in tracks:
        _draw_box(canvas, track)
    taken: list[Rect] = []
    for track in tracks:
        text = label(track, now)
        taken.append(_draw_label(canvas, track, text, font_for(text), font_px, taken))


def label(track: Track, now: float) -> str:
    """Return a track's text: the name with its similarity, or unknown, and its age."""
    age_s = max(0, int(now - track.first_seen))
    age = f"{age_s} s" if age_s < 60 else f"{age_s // 60} min"
    if track.match is not None:
        return f"{track.match.identity.name}  {track.match.similarity:.2f}  {age}"
    return f"unknown  {age}" if track.state is TrackState.UNKNOWN else "..."


def _corners(canvas: _Canvas, track: Track) -> Rect:
    """Return a track's box; far outside of the image OpenCV's integers would overflow."""
    height, width = canvas.height, canvas.width
    size = np.array([width, height, width, height], np.float32)
    x1, y1, x2, y2 = (int(v) for v in np.clip(track.box, -size, 2 * size).round())
    return x1, y1, x2, y2


def _draw_box(canvas: _Canvas, track: Track) -> None:
    """Draw the box's corners; a closed frame would hide more of the face than it shows."""
    thick = max(1, round(min(canvas.height, canvas.width) / 360))
    x1, y1, x2, y2 = _corners(canvas, track)
    corner = max(4, min(x2 - x1, y2 - y1) // 4)
    color = COLORS[track.state]
    canvas.rectangle((x1, y1), (x2, y2), color, max(1, thick // 2))
    for x, inward_x in ((x1, corner), (x2, -corner)):
        for y, inward_y in ((y1, corner), (y2, -corner)):
            canvas.line((x, y), (x + inward_x, y), color, 2 * thick)
            canvas.line((x, y), (x, y + inward_y), color, 2 * thick)


def _draw_label(
    canvas: _Canvas,
    track: Track,
    text: str,
    font: cv2.FontFace,
    font_px: int,
    taken: Sequence[Rect],
) -> Rect:
    """Draw a label where no other is, if there is such a place; return where."""
    height, width = canvas.height, canvas.width
    _, _, text_width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, font_px, WEIGHT)
    pad = max(3, font_px // 3)
    label_width, label_height = text_width + 2 * pad, font_px + pad + pad // 2
    x1, y1, _, y2 = _corners(canvas, track)
    gap = pad // 2
    left = max(0, min(x1, width - label_width))
    # Above the box, below it, above another label; always inside the image.
    tops = [y1 - label_height - gap, y2 + gap, y1 - 2 * (label_height + gap)]
    spots = [(left, top, left + label_width, top + label_height) for top in tops]
    inside = [spot for spot in spots if spot[1] >= 0 and spot[3] <= height]
    free = [spot for spot in inside if not any(_meet(spot, other) for other in taken)]
    top = max(0, min((free or inside or spots)[0][1], height - label_height))
    corner = (left + label_width, top + label_height)
    canvas.rectangle((left, top), corner, COLORS[track.state], -1)
    origin = (left + pad, top + gap + round(font_px * 0.95))
    canvas.text(text, origin, INK, font, font_px, (left, top, *corner))
    return left, top, *corner


def _meet(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
