"""Faces in images: the values that leave this package.

Images are (H, W, 3) uint8 RGB throughout; coordinates are float32 pixels, x right, y down.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 32766  # of an image, pixels: OpenCV's remap and warpAffine take no more

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def checked_image(image: Image) -> Image:
    """Return an image, contiguous in memory.

    Raises:
        ValueError: if it is no (H, W, 3) uint8 array, empty, or larger than `MAX_SIDE`.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image must be (H, W, 3) uint8, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if max(image.shape) > MAX_SIDE:
        raise ValueError(f"image must have sides up to {MAX_SIDE} pixels, got {image.shape}")
    return np.ascontiguousarray(image)


def _checked(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise ValueError(f"{name} must be {shape} float32, got {array.shape} {array.dtype}")
    array.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """All faces found in one image, by descending score; N may be 0.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels; may reach outside the image.
        landmarks: (N, 5, 2) float32, xy in pixels: left eye, right eye, nose, left and right
            mouth corner, as seen in the image.
        scores: (N,) float32 in [0, 1].
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats

    def __post_init__(self) -> None:
        n = len(self.scores)
        _checked("scores", self.scores, (n,))
        _checked("boxes", self.boxes, (n, 4))
        _checked("landmarks", self.landmarks, (n, 5, 2))

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """Tracked faces, rows in the order of the boxes that were given.

    Attributes:
        boxes: (N, 4) float32, as in `Detections`.
        landmarks: (N, 5, 2) float32, as in `Detections`.
        scores: (N,) float32 in [0, 1].
        is_lost: (N,) bool, true where no face was found at the last box; the other
            arrays then hold the last known values and a score below the threshold.
    """

    boxes: Floats
    landmarks: Floats
    scores: Floats
    is_lost: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.scores)
        _checked("scores", self.scores, (n,))
        _checked("boxes", self.boxes, (n, 4))
        _checked("landmarks", self.landmarks, (n, 5, 2))
        if self.is_lost.shape != (n,):
            raise ValueError(f"is_lost must be ({n},) bool, got {self.is_lost.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One face in full.

    Attributes:
        box: (4,) float32, x1 y1 x2 y2 in pixels.
        landmarks: (5, 2) float32, xy in pixels.
        score: detector confidence in [0, 1].
        crop: (112, 112, 3) uint8 RGB, aligned.
        embedding: (D,) float32 of unit length.
        gender: "female" or "male"; None where no attribute model is open.
        age: years in [0, 100]; None where no attribute model is open.
    """

    box: Floats
    landmarks: Floats
    score: float
    crop: Image
    embedding: Floats
    gender: str | None
    age: float | None

    def enlarged(self, by: float) -> "Face":
        """Return the face as it is in an image this many times as large."""
        return dataclasses.replace(
            self, box=self.box * np.float32(by), landmarks=self.landmarks * np.float32(by)
        )
