"""The seam for work on images, which is done where the networks run.

On a CPU that is OpenCV in host memory (`host_images`); on a GPU, ONNX graphs on images that are
uploaded once (`device_images`). The detector's decisions are the same code for both.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recognizer.engines.device_images import DeviceImageWork
from recognizer.engines.engine import Cells, Engine, LevelNetwork, Tensor
from recognizer.engines.host_images import HostImageWork
from recognizer.faces import Image
from recognizer.geometry.boxes import Boxes


class Images(Protocol):
    """The images of one call, where the networks run.

    Attributes:
        sizes: (height, width) of each in pixels.
    """

    sizes: list[tuple[int, int]]

    def stacks(self) -> list[NDArray[np.intp]]:
        """Return the indices of all images, grouped by size; a group shares a run."""

    def scan(
        self,
        net: LevelNetwork,
        members: NDArray[np.intp],
        sizes: Sequence[tuple[int, int]],
        *,
        limit: float,
    ) -> Iterator[Cells]:
        """Run P-Net over the levels of a stack.

        Args:
            net: P-Net.
            members: one of `stacks()`.
            sizes: (height, width) of each level, the largest first.
            limit: the logit that a cell must exceed.

        Yields:
            For each level, its cells with a face; `members[which]` is a cell's image.
        """

    def batches(self, owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Divide crops, by their images, into rows that fit one run."""

    def crop(
        self,
        owners: NDArray[np.intp],
        squares: Boxes,
        *,
        side: int,
        rows: int,
        angles: Boxes | None = None,
    ) -> Tensor:
        """Cut squares out of images and scale them; outside an image its border is repeated.

        Args:
            owners: (N,) index of the image of each square; all of one of `batches`.
            squares: (N, 4), positions in the plane, pixels.
            side: wanted size in pixels.
            rows: of the result, at least N; what is in the others does not matter.
            angles: (N,) degrees by which each square is turned clockwise about its center; None
                for none.

        Returns:
            (rows, side, side, 3) uint8 RGB.
        """

    def warp(self, owners: NDArray[np.intp], matrices: NDArray[np.float64], *, size: int) -> Tensor:
        """Warp images by similarity transforms; outside an image is black.

        Args:
            owners: as in `crop`.
            matrices: (N, 2, 3) from image to crop, pixels.
            size: side of the crops in pixels.

        Returns:
            (N, size, size, 3) uint8 RGB.
        """


class ImageWork(Protocol):
    """Opens images where the networks run."""

    def open(self, images: Sequence[Image]) -> Images:
        """Take (H, W, 3) uint8 RGB images.

        Raises:
            ValueError: if an image is of another shape or type.
        """


def open_image_work(engine: Engine) -> ImageWork:
    """Return the image work of an engine's device."""
    return HostImageWork() if engine.device == "cpu" else DeviceImageWork(engine)
