"""Images of a gallery: a contact sheet of crops, a plot of similarities."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gallery.calibration import Calibration

Image = NDArray[np.uint8]

CROP_PX = 112
CAPTION_PX = 18
COLUMNS = 8
MARGIN_PX = 8
PLOT_SIZE = (480, 900)  # height, width
BINS = 60
INK = (40, 40, 40)
GENUINE = (0, 114, 178)  # blue and vermilion: distinct for color-blind people too (Okabe, Ito)
IMPOSTOR = (213, 94, 0)


def contact_sheet(crops: Sequence[Image | None], captions: Sequence[str]) -> Image:
    """Return an image of crops side by side, each above its caption.

    Args:
        crops: each (112, 112, 3) uint8 RGB, or None for a photo without a crop.
        captions: one short line for each.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    columns = max(1, min(COLUMNS, len(crops)))
    n_rows = max(1, -(-len(crops) // columns))
    cell = (CROP_PX + CAPTION_PX + MARGIN_PX, CROP_PX + MARGIN_PX)
    sheet = np.full((n_rows * cell[0] + MARGIN_PX, columns * cell[1] + MARGIN_PX, 3), 255, np.uint8)
    for number, (crop, caption) in enumerate(zip(crops, captions, strict=True)):
        y = MARGIN_PX + number // columns * cell[0]
        x = MARGIN_PX + number % columns * cell[1]
        place = sheet[y : y + CROP_PX, x : x + CROP_PX]
        place[:] = 225 if crop is None else crop
        if crop is None:
            _write(sheet, "no crop", (x + 30, y + CROP_PX // 2))
        _write(sheet, caption, (x, y + CROP_PX + CAPTION_PX - 5))
    return sheet


def similarity_plot(calibration: Calibration) -> Image:
    """Return a plot of both distributions and the threshold, (480, 900, 3) uint8 RGB."""
    height, width = PLOT_SIZE
    left, right, top, bottom = 40, width - 20, 50, height - 50
    image = np.full((height, width, 3), 255, np.uint8)
    sides = [s for s in (calibration.genuine, calibration.impostor) if len(s)]
    low = min(float(s[0]) for s in sides) - 0.02
    high = max(float(s[-1]) for s in sides) + 0.02

    def across(similarity: float) -> int:
        return round(left + (similarity - low) / (high - low) * (right - left))

    band = [across(calibration.threshold_low), across(calibration.threshold_high)]
    image[top:bottom, band[0] : band[1] + 1] = (235, 235, 235)
    for similarities, color in ((calibration.impostor, IMPOSTOR), (calibration.genuine, GENUINE)):
        if not len(similarities):
            continue
        counts, edges = np.histogram(similarities, BINS, (low, high))
        heights = counts / counts.max() * (bottom - top)
        points = [
            (across(float(edge)), round(bottom - float(tall)))
            for edge, tall in zip(edges[:-1] + np.diff(edges) / 2, heights, strict=True)
        ]
        cv2.polylines(image, [np.array(points, np.int32)], False, color, 2, cv2.LINE_AA)
    for tick in np.arange(np.ceil(low * 10) / 10, high, 0.1):
        x = across(float(tick))
        cv2.line(image, (x, bottom), (x, bottom + 5), INK)
        _write(image, f"{tick:.1f}", (x - 9, bottom + 20))
    cv2.line(image, (left, bottom), (right, bottom), INK)
    x = across(calibration.threshold)
    cv2.line(image, (x, top), (x, bottom), INK, 1, cv2.LINE_AA)
    _write(image, f"threshold {calibration.threshold:.3f}", (x + 5, top + 12))
    _write(image, f"{len(calibration.impostor)} impostor pairs", (left, 20), IMPOSTOR)
    _write(image, f"{len(calibration.genuine)} genuine, left one out", (left + 220, 20), GENUINE)
    _write(image, f"FAR {calibration.far:g}, TAR {calibration.tar:.4f}", (left + 520, 20))
    _write(image, "similarity", (width // 2 - 40, height - 12))
    return image


def png_bytes(image: Image) -> bytes:
    """Return (H, W, 3) uint8 RGB as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _write(
    image: Image, text: str, place: tuple[int, int], color: tuple[int, int, int] = INK
) -> None:
    # The font supports only ASCII.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
