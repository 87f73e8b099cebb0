"""Scaled copies of an image, and square crops from them.

A plain cascade spends most of its time on scaling. Here each octave is halved from the one before,
a level of the detector's pyramid is scaled from the next larger image, and a crop is taken from the
octave in which it is less than twice its wanted size: every pixel that matters is averaged, and
none is read twice.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Image
from recognizer.geometry.boxes import Boxes

MAX_OCTAVES = 8  # 2 ** 8 * 24 px: larger than any face in a photo of 100 megapixels
CHUNK = 512  # crops per remap: OpenCV's maps end at 32767 rows
MIN_SIDE = 12  # P-Net's window


def scales(height: int, width: int, *, min_face_px: int, factor: float) -> list[float]:
    """Return the pyramid's scales, largest first; empty when no window fits."""
    scale = MIN_SIDE / min_face_px
    side = min(height, width) * scale
    found = []
    while side >= MIN_SIDE:
        found.append(scale)
        scale *= factor
        side *= factor
    return found


class Octaves:
    """An image or a plane, its half, its quarter, and so on, each made at its first use.

    Args:
        image: (H, W, 3) or (H, W) uint8.
    """

    def __init__(self, image: Image) -> None:
        self._images = [image]

    def __getitem__(self, octave: int) -> Image:
        while len(self._images) <= octave:
            last = self._images[-1]
            height, width = last.shape[0] // 2, last.shape[1] // 2
            even = last[: 2 * height, : 2 * width]
            half = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
            self._images.append(np.asarray(half, np.uint8))
        return self._images[octave]

    def deepest(self) -> int:
        """Return the last octave that still has pixels."""
        height, width = self._images[0].shape[:2]
        return deepest_octave(height, width)


def deepest_octave(height: int, width: int) -> int:
    """Return the last octave of an image that still has pixels."""
    return min(int(min(height, width)).bit_length() - 1, MAX_OCTAVES)


def octave_for_level(height: int, width: int, level_height: int) -> int:
    """Return the octave that a level of that height is scaled from: the least that is larger."""
    octave = 0
    while octave < deepest_octave(height, width) and (height >> (octave + 1)) >= level_height:
        octave += 1
    return octave


def octaves_for_crops(zoom: Boxes, deepest: int) -> NDArray[np.intp]:
    """Return the octave each crop is taken from: less than twice as fine as the crop.

    Args:
        zoom: (N,) pixels of the image per pixel of the crop.
        deepest: the last octave.
    """
    wanted = np.floor(np.log2(np.maximum(zoom, 1))).astype(np.intp)
    return np.minimum(wanted, deepest)


def shrink(octaves: Octaves, larger: Image | None, size: tuple[int, int], out: Image) -> None:
    """Make one level of the pyramid.

    Args:
        octaves: of the image.
        larger: the level before, or None for the first.
        size: height and width in pixels.
        out: (H, W, 3) uint8, filled.
    """
    height, width = size
    if larger is None:
        full_height, full_width, _ = octaves[0].shape
        larger = octaves[octave_for_level(full_height, full_width, height)]
    cv2.resize(larger, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)


def crop_maps(
    squares: Boxes, zoom: Boxes, side: int, angles: Boxes | None = None
) -> NDArray[np.float64]:
    """Return the maps from pixels of crops to pixels of their image.

    Args:
        squares: (N, 4), square, positions in the plane.
        zoom: (N,) pixels of the image per pixel of the crop.
        side: of the crops in pixels.
        angles: (N,) degrees by which each square is turned clockwise about its center; None for
            none.

    Returns:
        (N, 2, 3) float64.
    """
    radians = np.zeros(len(squares)) if angles is None else np.radians(angles)
    cos, sin = zoom * np.cos(radians), zoom * np.sin(radians)
    maps = np.empty((len(squares), 2, 3))
    maps[:, :, :2] = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    centers = (squares[:, :2] + squares[:, 2:] - 1) / 2
    middle = (side - 1) / 2
    maps[:, :, 2] = centers - maps[:, :, :2] @ np.array([middle, middle])
    return maps


def crop_squares(
    octaves: Sequence[Octaves],
    owners: NDArray[np.intp],
    squares: Boxes,
    side: int,
    out: Image,
    angles: Boxes | None = None,
) -> None:
    """Cut square boxes out of images and scale them; what lies outside an image repeats its border.

    Args:
        octaves: of each image.
        owners: (N,) index of the image of each box.
        squares: (N, 4), square, positions in the plane.
        side: wanted size in pixels.
        out: (N, side, side, 3) uint8, filled.
        angles: as for `crop_maps`.
    """
    zoom = (squares[:, 2] - squares[:, 0]) / side  # pixels of the image per pixel of the crop
    steps = np.arange(side, dtype=np.float32) + np.float32(0.5)
    for owner in np.unique(owners):
        of_owner = octaves_for_crops(zoom, octaves[owner].deepest())
        for octave in np.unique(of_owner[owners == owner]):
            rows = np.flatnonzero((owners == owner) & (of_owner == octave))
            source = octaves[owner][int(octave)]
            shrunk = 2.0**octave
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                if angles is not None and angles[part].any():
                    maps = crop_maps(
                        squares[part] / shrunk, zoom[part] / shrunk, side, angles[part]
                    )
                    _turn(source, maps, out, part)
                    continue
                _remap(source, squares[part] / shrunk, zoom[part] / shrunk, steps, out, part)


def _remap(
    source: Image,
    squares: Boxes,
    zoom: Boxes,
    steps: NDArray[np.float32],
    out: Image,
    rows: NDArray[np.intp],
) -> None:
    n, side = len(squares), len(steps)
    grid = zoom[:, None].astype(np.float32) * steps
    shape = (n, side, side)
    x = squares[:, 0, None].astype(np.float32) + grid - np.float32(0.5)
    y = squares[:, 1, None].astype(np.float32) + grid - np.float32(0.5)
    map_x = np.ascontiguousarray(np.broadcast_to(x[:, None, :], shape)).reshape(-1, side)
    map_y = np.ascontiguousarray(np.broadcast_to(y[:, :, None], shape)).reshape(-1, side)
    # repeating the border finds more of the faces that it cuts than black does
    crops = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out[rows] = np.asarray(crops, np.uint8).reshape(n, side, side, 3)


def _turn(source: Image, maps: NDArray[np.float64], out: Image, rows: NDArray[np.intp]) -> None:
    """Fill crops at any maps, one by one: turned faces are few."""
    side = out.shape[1]
    for matrix, row in zip(maps, rows, strict=True):
        cv2.warpAffine(
            source,
            matrix,
            (side, side),
            dst=out[row],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
