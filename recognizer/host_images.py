"""Image work in host memory, by OpenCV."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.alignment import warp
from recognizer.boxes import Boxes
from recognizer.engine import Network
from recognizer.faces import Floats, Image, checked_image
from recognizer.pyramid import Octaves, crop_inclusive, crop_squares, shrink

# crops per run. Above 80 OpenVINO multiplies in another order on CPUs without AVX-512, and a crop's
# result would depend on how many others came with it
MAX_BATCH = 64


class HostImageWork:
    """Leaves images where they are."""

    def open(self, images: Sequence[Image]) -> "HostImages":
        """Take (H, W, 3) uint8 RGB images."""
        return HostImages([checked_image(image) for image in images])


class HostImages:
    """The images of one call, see `image_work.Images`."""

    def __init__(self, images: Sequence[Image]) -> None:
        self.sizes = [(image.shape[0], image.shape[1]) for image in images]
        self._pictures = [Octaves(image) for image in images]

    def stacks(self) -> list[NDArray[np.intp]]:
        """Group the images by size."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, size in enumerate(self.sizes):
            groups.setdefault(size, []).append(index)
        return [np.array(group, np.intp) for group in groups.values()]

    def scan(
        self,
        net: Network,
        members: NDArray[np.intp],
        sizes: Sequence[tuple[int, int]],
        *,
        limit: float,
        direct: bool,
    ) -> Iterator[list[tuple[NDArray[np.intp], Floats]]]:
        """Run P-Net over the levels of equally sized images."""
        larger: list[Image | None] = [None] * len(members)
        for size in sizes:
            level = np.empty((len(members), *size, 3), np.uint8)
            for i, member in enumerate(members):
                if direct:
                    cv2.resize(self._pictures[member][0], size[::-1], dst=level[i])
                else:
                    shrink(self._pictures[member], larger[i], size, level[i])
                    larger[i] = level[i]
            (heads,) = net(level)
            cells = []
            for head in heads:
                y, x = np.nonzero(head[0] > limit)
                cells.append((np.stack([y, x], axis=1), np.asarray(head[:, y, x].T, np.float32)))
            yield cells

    def batches(self, owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Divide crops into as many rows as memory should hold."""
        for start in range(0, len(owners), MAX_BATCH):
            yield np.arange(start, min(start + MAX_BATCH, len(owners)))

    def crop(
        self, owners: NDArray[np.intp], squares: Boxes, *, side: int, rows: int, inclusive: bool
    ) -> Image:
        """Cut squares out of images and scale them."""
        n = len(squares)
        crops = np.zeros((rows, side, side, 3), np.uint8)
        if inclusive:
            crop_inclusive(self._pictures, owners, squares, crops[:n])
        else:
            crop_squares(self._pictures, owners, squares, side, crops[:n])
        return crops

    def warp(self, owners: NDArray[np.intp], matrices: NDArray[np.float64], *, size: int) -> Image:
        """Warp images by similarity transforms."""
        return warp([picture[0] for picture in self._pictures], owners, matrices, size=size)
