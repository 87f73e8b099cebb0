"""Line charts, and sheets of the worst pairs."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.pairs import PairSet
from trainer.evaluation.verification import Floats64

WIDTH, HEIGHT, DPI = 720, 480, 100  # pixels; pixels per inch
FONT = cv2.FONT_HERSHEY_SIMPLEX

Line = tuple[Sequence[float] | Floats64, Sequence[float] | Floats64]


def chart(title: str, lines: Mapping[str, Line], *, log_x: bool = False) -> Image:
    """Draw lines.

    Args:
        title: above.
        lines: x and y of each by name; a line without points is in the legend only.
        log_x: a logarithmic x axis; x of 0 is drawn at the smallest other x.

    Returns:
        (480, 720, 3) uint8 RGB.
    """
    # here alone: verifying finished models works without the extra `train`
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, layout="tight")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=title, xscale="log" if log_x else "linear")
    axes.grid(visible=True)
    for name, (x, y) in lines.items():
        axes.plot(_positive(np.asarray(x, float)) if log_x else x, y, label=name)
    if lines:
        axes.legend()
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _positive(x: Floats64) -> Floats64:
    positive = x[x > 0]
    return np.maximum(x, positive.min() if len(positive) else 1)


def worst_pairs(
    pairs: PairSet, distances: Floats64, threshold: float, *, is_same: bool, limit: int = 24
) -> Image:
    """Draw the worst errors of one kind, four a row, with their similarities.

    Args:
        pairs: the images.
        distances: (N,) squared, of the pairs.
        threshold: cosine at which a pair is accepted.
        is_same: the rejected genuine pairs, or the accepted impostors.
        limit: pairs at most.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    similarity = 1 - distances / 2
    wrong = (similarity < threshold) if is_same else (similarity >= threshold)
    chosen: NDArray[np.intp] = np.flatnonzero(wrong & (pairs.is_same == is_same))
    order = chosen[np.argsort(similarity[chosen] if is_same else -similarity[chosen])][:limit]
    rows = max(-(-len(order) // 4), 1)
    sheet = np.full((rows * 136 + 30, 4 * 240, 3), 255, np.uint8)
    for place, pair in enumerate(order):
        y, x = place // 4 * 136, place % 4 * 240
        for side in range(2):
            left = x + 112 * side
            sheet[y : y + 112, left : left + 112] = pairs.image(2 * int(pair) + side)
        _write(sheet, f"pair {pair}: {similarity[pair]:.3f}", (x + 4, y + 128), 0.45)
    kind = "rejected though the same" if is_same else "accepted though different"
    text = f"{len(chosen)} of {pairs.name} {kind}, threshold {threshold:.3f}"
    _write(sheet, text, (4, len(sheet) - 10), 0.5)
    return sheet


def _write(image: Image, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(image, text, at, FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
