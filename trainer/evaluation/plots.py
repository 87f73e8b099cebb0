"""Small line charts and sheets of the worst pairs, drawn with OpenCV: no plotting library."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.data.pairs import PairSet
from trainer.evaluation.verification import Floats64

WIDTH, HEIGHT, EDGE = 720, 480, 60  # pixels
COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))
FONT, BLACK, GREY = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0), (200, 200, 200)
TICKS = 5

Line = tuple[Sequence[float] | Floats64, Sequence[float] | Floats64]


def chart(title: str, lines: Mapping[str, Line], *, log_x: bool = False) -> Image:
    """Draw lines.

    Args:
        title: above.
        lines: x and y of each by name; lines without points are only named.
        log_x: a logarithmic x axis; x of 0 is drawn at its left end.

    Returns:
        (480, 720, 3) uint8 RGB.
    """
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    _write(image, title, (EDGE, 30), 0.6)
    curves = [(_axis(np.asarray(x, float), log_x), np.asarray(y, float)) for x, y in lines.values()]
    x_low, x_high = _range([x for x, _ in curves])
    y_low, y_high = _range([y for _, y in curves])
    for i in range(TICKS + 1):
        share = i / TICKS
        x = EDGE + round(share * (WIDTH - 2 * EDGE))
        y = HEIGHT - EDGE - round(share * (HEIGHT - 2 * EDGE))
        cv2.line(image, (x, EDGE), (x, HEIGHT - EDGE), GREY)
        cv2.line(image, (EDGE, y), (WIDTH - EDGE, y), GREY)
        value = x_low + share * (x_high - x_low)
        _write(image, f"{10**value if log_x else value:.4g}", (x - 20, HEIGHT - EDGE + 20), 0.4)
        _write(image, f"{y_low + share * (y_high - y_low):.4g}", (5, y + 4), 0.4)
    for number, (name, curve) in enumerate(zip(lines, curves, strict=True)):
        xs, ys = curve
        colour = COLOURS[number % len(COLOURS)]
        across = EDGE + (xs - x_low) / (x_high - x_low) * (WIDTH - 2 * EDGE)
        down = HEIGHT - EDGE - (ys - y_low) / (y_high - y_low) * (HEIGHT - 2 * EDGE)
        points = np.stack([across, down], axis=1).round().astype(np.int32)
        cv2.polylines(image, [points.reshape(-1, 1, 2)], False, colour, 2, cv2.LINE_AA)
        _write(image, name, (WIDTH - EDGE - 190, HEIGHT - EDGE - 15 - 18 * number), 0.45, colour)
    return image


def _axis(x: Floats64, log_x: bool) -> Floats64:
    if not log_x:
        return x
    positive = x[x > 0]
    return np.log10(np.maximum(x, positive.min() if len(positive) else 1))


def _range(values: list[Floats64]) -> tuple[float, float]:
    every = np.concatenate([*values, np.zeros(0)])
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _write(
    image: Image,
    text: str,
    at: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int] = BLACK,
) -> None:
    cv2.putText(image, text, at, FONT, scale, colour, 1, cv2.LINE_AA)


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
