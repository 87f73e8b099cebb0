"""Image work in host memory, by OpenCV."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recognizer.engines.engine import Cells, LevelNetwork
from recognizer.faces import Floats, Image, checked_image
from recognizer.geometry.alignment import warp
from recognizer.geometry.boxes import Boxes
from recognizer.geometry.pyramid import Octaves, crop_squares, shrink

# crops per run. Above 80 OpenVINO multiplies in another order on CPUs without AVX-512, and a crop's
# result would depend on how many others came with it
MAX_BATCH = 64
# of a level of one image that P-Net takes at once, 120 MB while it runs: a frame of 4K at the usual
# smallest face has 0.7 million, a photo of 50 megapixels 4.5
BAND_PIXELS = 1_200_000
MIN_BAND_ROWS = 64


class HostImageWork:
    """Opens images in host memory."""

    def open(self, images: Sequence[Image]) -> "HostImages":
        """Take (H, W, 3) uint8 RGB images."""
        return HostImages([checked_image(image) for image in images])


class HostImages:
    """The images of one call, see `image_work.Images`."""

    def __init__(self, images: Sequence[Image]) -> None:
        self.sizes = [(image.shape[0], image.shape[1]) for image in images]
        self._octaves = [Octaves(image) for image in images]

    def stacks(self) -> list[NDArray[np.intp]]:
        """Group the images by size."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, size in enumerate(self.sizes):
            groups.setdefault(size, []).append(index)
        return [np.array(group, np.intp) for group in groups.values()]

    def scan(
        self,
        net: LevelNetwork,
        members: NDArray[np.intp],
        sizes: Sequence[tuple[int, int]],
        *,
        limit: float,
    ) -> Iterator[Cells]:
        """Run P-Net over the levels of equally sized images."""
        larger: list[Image | None] = [None] * len(members)
        for size in sizes:
            level = np.empty((len(members), *size, 3), np.uint8)
            for i, member in enumerate(members):
                shrink(self._octaves[member], larger[i], size, level[i])
                larger[i] = level[i]
            heads = _in_bands(net, level)
            which, y, x = np.nonzero(heads[:, 0] > limit)
            yield which, np.stack([y, x], axis=1), heads[which, :, y, x]

    def batches(self, owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Divide crops into as many rows as memory should hold."""
        for start in range(0, len(owners), MAX_BATCH):
            yield np.arange(start, min(start + MAX_BATCH, len(owners)))

    def crop(
        self,
        owners: NDArray[np.intp],
        squares: Boxes,
        *,
        side: int,
        rows: int,
        angles: Boxes | None = None,
    ) -> Image:
        """Cut squares out of images and scale them."""
        n = len(squares)
        crops = np.zeros((rows, side, side, 3), np.uint8)
        crop_squares(self._octaves, owners, squares, side, crops[:n], angles)
        return crops

    def warp(self, owners: NDArray[np.intp], matrices: NDArray[np.float64], *, size: int) -> Image:
        """Warp images by similarity transforms."""
        return warp([octaves[0] for octaves in self._octaves], owners, matrices, size=size)


def _in_bands(net: LevelNetwork, level: Image) -> Floats:
    """Run P-Net over a level in as many bands of rows as memory should hold, with one result.

    Output row i sees input rows 2i to 2i + 11. A band of an even number of rows ends where the
    pooling does, so that its rows are those of the whole level.

    Args:
        net: P-Net.
        level: (N, H, W, 3) uint8.

    Returns:
        (N, 5, H', W') float32.
    """
    _, height, width, _ = level.shape
    rows = max(BAND_PIXELS // width // 2 * 2, MIN_BAND_ROWS)
    heads, start = [], 0
    while True:
        stop = min(start + rows, height)
        (head,) = net(np.ascontiguousarray(level[:, start:stop]))
        if start == 0 and stop == height:
            return head
        heads.append(head.copy())  # the next run may write where this one did
        if stop == height:
            return np.concatenate(heads, axis=2)
        start += 2 * head.shape[2]
