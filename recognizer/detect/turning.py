"""Turns images by any angle, and maps the faces found in them back."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Detections, Floats, Image

Matrix = NDArray[np.float64]


class Turn:
    """A counterclockwise turn of images of one size, whose corners stay inside.

    Quarter turns move pixels and change none; other angles interpolate, repeat the border in the
    corners, and may shrink.

    Attributes:
        degrees: counterclockwise, in [0, 360).
        height: of the turned image in pixels.
        width: of the turned image in pixels.
    """

    def __init__(self, degrees: float, height: int, width: int, *, scale: float = 1.0) -> None:
        """Make a turn.

        Args:
            degrees: counterclockwise.
            height: of the image as it is, pixels.
            width: of the image as it is, pixels.
            scale: of the turned image: 0.5 for one of half the size.
        """
        self.degrees = degrees % 360
        self._scale = scale
        self._size = height, width
        angle = np.radians(self.degrees)
        cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
        self.height = max(1, round(scale * (height * cos + width * sin)))
        self.width = max(1, round(scale * (width * cos + height * sin)))

    @cached_property
    def matrix(self) -> Matrix:
        """(2, 3) float64 map from pixels of the image to those of the turned one."""
        height, width = self._size
        center = (width - 1) / 2, (height - 1) / 2
        matrix = np.asarray(cv2.getRotationMatrix2D(center, self.degrees, self._scale), np.float64)
        matrix[:, 2] += np.array([(self.width - 1) / 2, (self.height - 1) / 2]) - center
        return matrix

    @cached_property
    def inverse(self) -> Matrix:
        """(2, 3) float64 map from pixels of the turned image to those of the image."""
        return np.asarray(cv2.invertAffineTransform(self.matrix), np.float64)

    def image_of(self, image: Image) -> Image:
        """Return the turned image, (height, width, 3) uint8."""
        if self.degrees % 90 == 0 and self._scale == 1:
            return np.ascontiguousarray(np.rot90(image, int(self.degrees) // 90))
        return np.asarray(
            cv2.warpAffine(
                image,
                self.matrix,
                (self.width, self.height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )


def turned_back(faces: Detections, turn: Turn) -> Detections:
    """Map faces of a turned image to the image as it is.

    A box becomes the one around the turned ellipse that fills it: a head is about elliptic, and
    the hull of a box turned by 45 degrees would be half as large again.
    """
    matrix = turn.inverse
    landmarks = mapped(faces.landmarks, matrix)
    boxes = faces.boxes.astype(np.float64)
    centers = mapped((boxes[:, :2] + boxes[:, 2:]) / 2, matrix)
    halves = np.sqrt(np.square((boxes[:, 2:] - boxes[:, :2]) / 2) @ np.square(matrix[:, :2]).T)
    corners = np.concatenate([centers - halves, centers + halves], axis=1)
    return Detections(corners.astype(np.float32), landmarks.astype(np.float32), faces.scores)


def turned_about(
    boxes: Matrix, landmarks: Matrix, squares: Matrix, degrees: Matrix
) -> tuple[Matrix, Matrix]:
    """Turn faces clockwise about the centers of squares.

    Args:
        boxes: (N, 4), of heads as they were before.
        landmarks: (N, 5, 2).
        squares: (N, 4).
        degrees: (N,).

    Returns:
        The boxes around the turned heads, see `turned_back`, and the landmarks.
    """
    radians = np.radians(degrees)
    cos, sin = np.cos(radians), np.sin(radians)
    turns = np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2)
    about = ((squares[:, :2] + squares[:, 2:]) / 2)[:, None]
    middles = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    points = np.concatenate([middles, landmarks], axis=1) - about
    points = about + np.einsum("nij,nkj->nki", turns, points)
    halves = np.square((boxes[:, 2:] - boxes[:, :2]) / 2)
    halves = np.sqrt(np.einsum("nij,nj->ni", np.square(turns), halves))
    centers = points[:, 0]
    return np.concatenate([centers - halves, centers + halves], axis=1), points[:, 1:]


def mapped(points: Floats | Matrix, matrix: Matrix) -> Matrix:
    """Map (..., 2) points by a (2, 3) matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)
