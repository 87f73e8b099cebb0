"""The background of the demo scene, drawn once: a wall with windows, and a counter in front."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

CANVAS_WIDTH, CANVAS_HEIGHT = 1680, 960
CANVAS_ORIGIN = (-200, -120)
"""Where the canvas begins in the lobby's coordinates; the lobby's (0, 0) to (1280, 720) is the
picture that an unmoved camera sees."""

CANVAS_SCALE = 2
"""Pixels of the finished canvas per pixel of the lobby: the virtual camera moves by whole
pixels of the canvas, and a half of the picture's is too little to be seen."""

COUNTER_TOP = 560
"""The counter's upper edge in the lobby's coordinates: people stand behind it."""

WALL_LIGHT, WALL_DARK = (226, 220, 208), (176, 168, 156)
SKY_TOP, SKY_BOTTOM = (118, 164, 208), (222, 232, 236)
FRAME = (74, 72, 70)
WOOD, WOOD_LIGHT = (92, 64, 46), (150, 110, 80)
INK = (232, 222, 208)


def draw_lobby() -> Image:
    """Return the room, (1920, 3360, 3) uint8 RGB: two pixels per pixel of the lobby."""
    image = _shaded((CANVAS_HEIGHT, CANVAS_WIDTH), WALL_LIGHT, WALL_DARK)
    _draw_panels(image)
    for x in (90, 610, 1130):
        _draw_window(image, x, 110, 460, 420)
    _draw_lamps(image)
    size = (CANVAS_SCALE * CANVAS_WIDTH, CANVAS_SCALE * CANVAS_HEIGHT)
    large = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    _draw_counter(large, CANVAS_SCALE * (COUNTER_TOP - CANVAS_ORIGIN[1]))
    return large


def _shaded(
    size: tuple[int, int], top: tuple[int, int, int], bottom: tuple[int, int, int]
) -> Image:
    """Return an (H, W, 3) image with a vertical gradient from one color to another."""
    ramp = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]
    column = np.array(top, np.float32) * (1 - ramp) + np.array(bottom, np.float32) * ramp
    return np.repeat(column, size[1], axis=1).astype(np.uint8)


def _draw_panels(image: Image) -> None:
    for x in range(0, CANVAS_WIDTH, 130):
        cv2.line(image, (x, 560), (x, CANVAS_HEIGHT), (150, 142, 130), 2)
        cv2.line(image, (x + 2, 560), (x + 2, CANVAS_HEIGHT), (206, 199, 187), 1)
    cv2.rectangle(image, (0, 556), (CANVAS_WIDTH, 566), (140, 130, 118), -1)


def _draw_window(image: Image, x: int, y: int, width: int, height: int) -> None:
    """Draw a window with a blurred town behind it."""
    view = _shaded((height, width), SKY_TOP, SKY_BOTTOM)
    # Heights and grays of the houses depend only on their index, so the image never changes.
    for i in range(9):
        house_x, house_w = (i * 67 + x // 3) % width, 40 + (i * 29) % 50
        house_h = 70 + (i * 53 + x) % 170
        gray = 150 + (i * 17) % 50
        cv2.rectangle(
            view,
            (house_x, height - house_h),
            (house_x + house_w, height),
            (gray - 14, gray - 4, gray + 6),
            -1,
        )
    for i in range(12):
        middle = ((i * 83 + x) % width, height - 10 - (i * 31) % 50)
        cv2.circle(view, middle, 26 + (i * 7) % 16, (98, 128 + (i * 5) % 20, 92), -1)
    image[y : y + height, x : x + width] = cv2.GaussianBlur(view, (0, 0), 7)
    cv2.rectangle(image, (x, y), (x + width, y + height), FRAME, 10)
    cv2.line(image, (x + width // 2, y), (x + width // 2, y + height), FRAME, 7)
    cv2.line(image, (x, y + 110), (x + width, y + 110), FRAME, 5)
    cv2.rectangle(
        image, (x - 14, y + height), (x + width + 14, y + height + 14), (204, 196, 184), -1
    )


def _draw_lamps(image: Image) -> None:
    # Blurred at an eighth of the size: no visible difference, and a faster start.
    glow = np.zeros((CANVAS_HEIGHT // 8, CANVAS_WIDTH // 8, 3), np.uint8)
    for x in range(200, CANVAS_WIDTH, 320):
        cv2.ellipse(glow, (x // 8, 5), (19, 8), 0, 0, 360, (70, 62, 44), -1)
    soft = cv2.resize(cv2.GaussianBlur(glow, (0, 0), 5), image.shape[1::-1])
    cv2.add(image, soft, dst=image)
    for x in range(200, CANVAS_WIDTH, 320):
        cv2.ellipse(image, (x, 44), (58, 10), 0, 0, 360, (255, 252, 240), -1, cv2.LINE_AA)


def _draw_counter(image: Image, top: int) -> None:
    """Draw a wooden counter with the demo's name on its front, down to the end of the canvas."""
    height, width = image.shape[:2]
    front = _shaded((height - top, width), WOOD, (58, 40, 30)).astype(np.float32)
    columns = np.arange(width, dtype=np.float32)
    grain = 3 * np.sin(columns * 0.185) + 5 * np.sin(columns * 0.0255)
    image[top:] = np.clip(front + grain[None, :, None], 0, 255).astype(np.uint8)
    cv2.rectangle(image, (0, top), (width, top + 32), WOOD_LIGHT, -1)
    cv2.line(image, (0, top), (width, top), (196, 154, 118), 4)
    cv2.rectangle(image, (0, top + 32), (width, top + 44), (52, 36, 26), -1)
    caption = "demo camera: public-domain portraits in a drawn room"
    _draw_centered(image, "facewire", top + 156, INK, size=92, weight=700)
    _draw_centered(image, caption, top + 214, (190, 172, 152), size=36, weight=400)


def _draw_centered(
    image: Image, text: str, y: int, color: tuple[int, int, int], *, size: int, weight: int
) -> None:
    font = cv2.FontFace("sans")
    _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, size, weight)
    cv2.putText(image, text, ((image.shape[1] - width) // 2, y), color, font, size, weight)
