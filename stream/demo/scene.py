"""The demo camera: a lobby drawn live, with people from public-domain photos walking through it.

A virtual camera pans, zooms and tilts over a canvas that is drawn once. Each person is a photo
cut out along its outline, moved by keyframes, and blended at its position. Nothing is random: the
same `t` gives the same image, and the scene repeats every `PERIOD_S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gallery import Gallery
from recognizer import Recognizer, read_image
from stream.demo.outlines import OUTLINES
from stream.demo.room import CANVAS_ORIGIN, CANVAS_SCALE, COUNTER_TOP, draw_lobby
from stream.enrollment.enrollment import enroll_images, photo_item
from stream.errors import EnrolmentError

Image = NDArray[np.uint8]

PERIOD_S = 48.0
WIDTH, HEIGHT = 1280, 720
LEVELS_FACE_PX = (64, 96, 144, 216)
"""Heights of a face in the prepared sizes of each cut-out; the next larger one is drawn, so
that shrinking stays below 1.5 times and needs no filter."""

SIDE = 0.3
"""Room left and right of each photo for an outline that reaches beyond it, in widths."""

ENROLLED = (
    ("Barack Obama", "obama.jpg"),
    ("Joe Biden", "biden.jpg"),
    ("Grace Hopper", "grace_hopper.jpg"),
)
"""Who is in the demo's gallery. Eileen Collins is not: she is the stranger."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """Position of the face in a photo, for placing the person.

    Attributes:
        file: the photo's file name.
        face: x and y of the face's center and its height from hairline to chin, as fractions
            of the photo's width, height and height.
        bottom: end of the cut-out, as a fraction of the photo's height.
        is_mirrored: whether the person is shown mirrored, if the gallery holds this photo.
        gain: brightness of the scene's light on them, 1 as in the photo.
    """

    file: str
    face: tuple[float, float, float]
    bottom: float
    is_mirrored: bool
    gain: float


@dataclass(frozen=True, slots=True)
class Step:
    """Position of a person at a time.

    Attributes:
        at: seconds since the loop's start.
        x, y: the face's center, pixels of the lobby.
        face_px: the face's height, pixels of the lobby.
    """

    at: float
    x: float
    y: float
    face_px: float


@dataclass(frozen=True, slots=True)
class Role:
    """One person's path through the scene, from the first step's time to the last's."""

    portrait: Portrait
    steps: tuple[Step, ...]


OBAMA_SPEAKING = Portrait("obama2.jpg", (0.59, 0.37, 0.33), 0.87, is_mirrored=False, gain=1.0)
OBAMA_STANDING = Portrait("obama3.jpg", (0.54, 0.19, 0.145), 0.85, is_mirrored=False, gain=1.12)
BIDEN = Portrait("biden.jpg", (0.59, 0.16, 0.17), 0.85, is_mirrored=True, gain=1.05)
HOPPER = Portrait("grace_hopper.jpg", (0.52, 0.40, 0.30), 1.0, is_mirrored=True, gain=0.92)
COLLINS = Portrait("astronaut.png", (0.45, 0.235, 0.24), 1.0, is_mirrored=False, gain=0.96)

ROLES = (
    Role(
        OBAMA_SPEAKING,
        (
            Step(0, 400, 392, 132),
            Step(14, 400, 392, 132),
            Step(18.5, 660, 392, 132),
            Step(23, 660, 392, 132),
            Step(28.5, 1720, 392, 132),
        ),
    ),
    Role(
        OBAMA_STANDING,
        (
            Step(27, -420, 338, 102),
            Step(32, 380, 338, 102),
            Step(39, 380, 338, 102),
            Step(44, -420, 338, 102),
        ),
    ),
    Role(OBAMA_SPEAKING, (Step(43.5, -560, 392, 132), Step(48, 400, 392, 132))),
    Role(
        COLLINS,
        (
            Step(0, 790, 350, 106),
            Step(13, 790, 350, 106),
            Step(19, 250, 344, 100),
            Step(25, 250, 344, 100),
            Step(29, -480, 344, 100),
        ),
    ),
    Role(COLLINS, (Step(31, 1760, 350, 106), Step(36, 790, 350, 106), Step(48, 790, 350, 106))),
    Role(
        BIDEN,
        (
            Step(4, 1700, 338, 96),
            Step(9, 1050, 338, 96),
            Step(21, 1050, 338, 96),
            Step(27, 860, 336, 92),
            Step(33, 610, 336, 92),
            Step(38, 610, 336, 92),
            Step(44, 1700, 332, 88),
        ),
    ),
    Role(
        HOPPER,
        (
            Step(7, -520, 400, 136),
            Step(12, 215, 400, 136),
            Step(14, 215, 400, 136),
            Step(20, 450, 400, 136),
            Step(30, 450, 400, 136),
            Step(35, 1000, 400, 136),
            Step(42, 1000, 400, 136),
            Step(46, 1760, 400, 136),
        ),
    ),
)


class DemoScene:
    """Renders the scene.

    Args:
        photos: directory of the demo photos, as fetched by the recognizer.

    Raises:
        ImageError: if a photo is missing or damaged.
    """

    def __init__(self, photos: Path) -> None:
        self._lobby = draw_lobby()
        self._sprites = {
            portrait.file: Sprite(portrait, read_image(photos / portrait.file))
            for portrait in (OBAMA_SPEAKING, OBAMA_STANDING, BIDEN, HOPPER, COLLINS)
        }

    def render(self, t: float) -> Image:
        """Return the image of the scene at a time.

        Args:
            t: seconds since the start, any value.

        Returns:
            (720, 1280, 3) uint8 RGB, a new array.
        """
        t = t % PERIOD_S
        left, top, width, height = view_at(t)
        shown = self._lobby[top : top + height, left : left + width]
        image = np.asarray(cv2.resize(shown, (WIDTH, HEIGHT)), np.uint8)
        to_screen = screen_from_lobby(t)
        # People lower in the image are nearer; the counter hides everything below its top.
        counter_y = min(HEIGHT, int(to_screen[1, 1] * COUNTER_TOP + to_screen[1, 2]))
        room = image[:counter_y]
        present = [
            (step, role.portrait) for role in ROLES if (step := step_at(role.steps, t)) is not None
        ]
        for step, portrait in sorted(present, key=lambda pair: pair[0].y):
            roll_deg = 3.0 * sin(2 * pi * (t / 6 + step.y / 40))
            self._sprites[portrait.file].draw(room, step, roll_deg, to_screen)
        return image


class Sprite:
    """A person cut out of a photo, in several sizes."""

    def __init__(self, portrait: Portrait, photo: Image) -> None:
        height, width = photo.shape[:2]
        bottom = int(portrait.bottom * height)
        side = int(SIDE * width)
        face_px = portrait.face[2] * height
        lit = np.asarray(cv2.convertScaleAbs(photo[:bottom], alpha=portrait.gain), np.uint8)
        lit = np.pad(lit, ((0, 0), (side, side), (0, 0)), mode="edge")
        mask = _cut_out(OUTLINES[portrait.file], (height, width), side)[:bottom]
        middle = np.array([side + portrait.face[0] * width, portrait.face[1] * height])
        if portrait.is_mirrored:
            lit, mask = lit[:, ::-1], np.ascontiguousarray(mask[:, ::-1])
            middle[0] = lit.shape[1] - middle[0]
        x, y, width, height = cv2.boundingRect(mask)
        lit, mask = lit[y : y + height, x : x + width], mask[y : y + height, x : x + width]
        middle = middle - (x, y)
        self._levels = [
            _level(lit, mask, middle, level_px, level_px / face_px) for level_px in LEVELS_FACE_PX
        ]

    def draw(
        self, image: Image, step: Step, roll_deg: float, to_screen: NDArray[np.float64]
    ) -> None:
        """Blend the person into `image` in place, with the face at the position of `step`."""
        wanted_px = step.face_px * to_screen[0, 0]
        level = next((lv for lv in self._levels if lv.face_px >= wanted_px), self._levels[-1])
        scale = wanted_px / level.face_px
        matrix = np.asarray(cv2.getRotationMatrix2D(level.middle, roll_deg, scale), np.float64)
        matrix[:, 2] += to_screen @ (step.x, step.y, 1) - level.middle
        height, width = level.paint.shape[:2]
        corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
        x1, y1 = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
        x2, y2 = np.minimum(np.ceil(corners.max(axis=1)).astype(int), image.shape[1::-1])
        if x1 >= x2 or y1 >= y2:
            return
        matrix[:, 2] -= (x1, y1)
        size = (int(x2 - x1), int(y2 - y1))
        paint = cv2.warpAffine(level.paint, matrix, size, borderValue=(0, 0, 0, 255))
        hole = cv2.cvtColor(cv2.extractChannel(paint, 3), cv2.COLOR_GRAY2RGB)
        under = image[y1:y2, x1:x2]
        cv2.multiply(under, hole, dst=under, scale=1 / 255)
        cv2.add(under, cv2.cvtColor(paint, cv2.COLOR_RGBA2RGB), dst=under)


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """A cut-out in one size.

    Attributes:
        paint: (H, W, 4) uint8: RGB times opacity, and transparency (255 where the room shows).
        middle: x and y of the face's center, pixels of `paint`.
        face_px: height of the face, pixels of `paint`.
    """

    paint: Image
    middle: tuple[float, float]
    face_px: float


def _level(
    photo: Image, mask: Image, middle: NDArray[np.float64], face_px: float, scale: float
) -> _Level:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=method)
    alpha = cv2.resize(mask, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.9)
    paint = cv2.multiply(small, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    x, y = (float(v) for v in middle * scale)
    layers = [*cv2.split(paint), cv2.bitwise_not(alpha)]
    return _Level(np.asarray(cv2.merge(layers), np.uint8), (x, y), face_px)


def enrol_demo(gallery: Gallery, recognizer: Recognizer, photos: Path) -> None:
    """Enroll the demo's people in an empty gallery, one photo each; leave any other unchanged.

    Args:
        gallery: the demo's own.
        recognizer: of the gallery's model.
        photos: directory of the demo photos.

    Raises:
        EnrolmentError: if a photo is rejected.
        GalleryError: if the gallery cannot store them.
    """
    if gallery.people.count():
        return
    items = [photo_item(photos / file, name) for name, file in ENROLLED]
    report = enroll_images(recognizer, gallery, items)
    for refused in report.refused:
        raise EnrolmentError(f"cannot enrol {refused.label} for the demo: {refused.detail}")


def view_at(t: float) -> tuple[int, int, int, int]:
    """Return the virtual camera's view: left, top, width and height in pixels of the canvas.

    It pans, tilts and zooms by slow waves that repeat with the loop.
    """
    turn = 2 * pi * t / PERIOD_S
    zoom = 1.2 + 0.12 * cos(2 * turn)
    x, y = 640 + 60 * sin(turn), 404 + 16 * sin(3 * turn)
    width, height = CANVAS_SCALE * WIDTH / zoom, CANVAS_SCALE * HEIGHT / zoom
    left = CANVAS_SCALE * (x - CANVAS_ORIGIN[0]) - width / 2
    top = CANVAS_SCALE * (y - CANVAS_ORIGIN[1]) - height / 2
    return round(left), round(top), round(width), round(height)


def screen_from_lobby(t: float) -> NDArray[np.float64]:
    """Return the (2, 3) affine map from the lobby's coordinates to those of the image at `t`.

    It uses the same whole pixels as the view, so that people do not jitter in the room.
    """
    left, top, width, _ = view_at(t)
    scale = CANVAS_SCALE * WIDTH / width
    return np.array(
        [
            [scale, 0, -scale * (CANVAS_ORIGIN[0] + left / CANVAS_SCALE)],
            [0, scale, -scale * (CANVAS_ORIGIN[1] + top / CANVAS_SCALE)],
        ]
    )


def step_at(steps: Sequence[Step], t: float) -> Step | None:
    """Return a person's step at `t`, None while out of the scene; walks start and end smoothly."""
    for before, after in pairwise(steps):
        if before.at <= t < after.at:
            part = (t - before.at) / (after.at - before.at)
            soft = part * part * (3 - 2 * part)
            moved = abs(after.x - before.x)
            # A stride is about 90 pixels long at this size.
            bob = 3.0 * sin(pi * moved * soft / 90) if moved else 0.0
            sway = 5.0 * sin(2 * pi * t / 4)
            return Step(
                t,
                before.x + (after.x - before.x) * soft + sway,
                before.y + (after.y - before.y) * soft + bob,
                before.face_px + (after.face_px - before.face_px) * soft,
            )
    return None


def _cut_out(outline: str, size: tuple[int, int], side: int) -> Image:
    """Return a person's mask, (H, W + 2 * side) uint8, in a photo of `size` = (H, W)."""
    height, width = size
    points = np.array([[float(v) for v in point.split(",")] for point in outline.split()])
    points = points / 1000 * (width, height) + (side, 0)
    mask = np.zeros((height, width + 2 * side), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255, lineType=cv2.LINE_AA)
    return mask
