"""Image work on the device of the networks: frames are uploaded once, only results downloaded.

An image is on a sheet with all its octaves (`device_graphs`); every crop and every aligned face
is an affine map into it. Equally sized images of a call are one tensor, and share each run.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.engines import device_graphs
from recognizer.engines.engine import Array, Cells, Engine, LevelNetwork, Network, Tensor
from recognizer.faces import Image, checked_image
from recognizer.geometry.boxes import Boxes
from recognizer.geometry.pyramid import crop_maps, deepest_octave, octaves_for_crops

Floating = NDArray[np.floating[Any]]

# each round of the service uploads twice, the frames to scan and those to track in, and then aligns
# faces of both; read-only images are recognized by their identity
KEPT_UPLOADS = 2
MAX_SCANNERS = 16  # sizes of images whose graph of all levels stays loaded
MAX_BATCH = 512  # crops per run: bounds the memory for hundreds of candidates


class DeviceImageWork:
    """Uploads images and holds the graphs that work on them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._graphs: dict[str, Network] = {}
        self._uploads: list[list[tuple[Image, Place]]] = []
        self._scanners: OrderedDict[object, Scanner] = OrderedDict()

    def open(self, images: Sequence[Image]) -> "DeviceImages":
        """Upload (H, W, 3) uint8 RGB images, except read-only ones that are uploaded already."""
        images = [checked_image(image) for image in images]
        places = [self._known(image) for image in images]
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (image, place) in enumerate(zip(images, places, strict=True)):
            if place is None:
                groups.setdefault((image.shape[0], image.shape[1]), []).append(index)
        uploaded = []
        for group in groups.values():
            # joined there: joining 32 frames of 720p in host memory took 28 of 82 ms on an H100
            frames = [self._engine.upload(images[index][None]) for index in group]
            if len(frames) > 1:
                frames = self.graph("join", len(frames)).keep(*frames)
            sheet = Sheet(self, frames[0])
            for slot, index in enumerate(group):
                places[index] = Place(sheet, slot)
                if not images[index].flags.writeable:
                    uploaded.append((images[index], Place(sheet, slot)))
        if uploaded:
            self._uploads = [*self._uploads, uploaded][-KEPT_UPLOADS:]
        return DeviceImages(self, [place for place in places if place is not None])

    def graph(self, kind: str, size: int) -> Network:
        """Return a graph of `device_graphs`, loaded at the first request."""
        name = f"{kind}{size}"
        if name not in self._graphs:
            build = {
                "join": device_graphs.join_graph,
                "sheet": device_graphs.sheet_graph,
                "sample": device_graphs.sample_graph,
            }[kind]
            self._graphs[name] = self._engine.load(build(size), name=name)
        return self._graphs[name]

    def scanner(
        self, net: LevelNetwork, height: int, width: int, sizes: tuple[tuple[int, int], ...]
    ) -> "Scanner":
        """Return P-Net over all levels of frames of a size, loaded at the first request."""
        key = (net, height, width, sizes)
        scanner = self._scanners.pop(key, None) or Scanner(self._engine, *key)
        self._scanners[key] = scanner  # the last is the one used most recently
        if len(self._scanners) > MAX_SCANNERS:
            self._scanners.popitem(last=False)
        return scanner

    def _known(self, image: Image) -> "Place | None":
        return next(
            (place for upload in self._uploads for known, place in upload if known is image), None
        )


class Scanner:
    """P-Net over all levels of images of one size, in one run."""

    def __init__(
        self,
        engine: Engine,
        net: LevelNetwork,
        height: int,
        width: int,
        sizes: tuple[tuple[int, int], ...],
    ) -> None:
        model = device_graphs.scan_graph(net, height, width, sizes) if sizes else b""
        self._network = engine.load(model, name="pnet") if sizes else None
        heads = np.array([net.head_size(*size) for size in sizes], np.intp).reshape(-1, 2)
        self._widths = heads[:, 1]
        self._starts = np.concatenate([[0], np.cumsum(heads.prod(axis=1))])

    def cells(self, frames: Tensor, slots: NDArray[np.intp], limit: float) -> Iterator[Cells]:
        """Yield for each level the cells with a face of the images in `slots`, see `Images.scan`.

        Args:
            frames: (B, H, W, 3) uint8.
            slots: (M,) indices of frames.
            limit: the logit that a cell must exceed.
        """
        if self._network is None:
            return
        found, values = self._network(frames, np.array(limit, np.float32))
        # members may be in any order, and one frame may be several of them
        rows, member = np.nonzero(found[:, :1] == slots)
        cell, values = found[rows, 1], values[rows]
        level = np.searchsorted(self._starts, cell, side="right") - 1
        for i, width in enumerate(self._widths):
            part = level == i
            spots = np.stack(np.divmod(cell[part] - self._starts[i], width), axis=1)
            yield member[part], spots, values[part]


class Sheet:
    """Equally sized images on the device.

    Attributes:
        frames: (B, H, W, 3) uint8.
        height: of each image in pixels.
        width: of each image in pixels.
    """

    def __init__(self, work: DeviceImageWork, frames: Tensor) -> None:
        self.frames = frames
        self.n_images, self.height, self.width, _ = frames.shape
        self._work = work
        self._octaves = range(deepest_octave(self.height, self.width) + 1)
        # an octave's rows and one black row, for crops that reach outside the image
        rows = [(self.height >> octave) + 1 for octave in self._octaves]
        self._starts = np.concatenate([[0], np.cumsum(rows)])

    @cached_property
    def tensor(self) -> Tensor:
        """The sheets, (B, 3, rows, columns) float32, see `device_graphs.sheet_graph`."""
        pads = [
            np.array([0, 0, 0, 0, 0, 0, 1, self.width + 1 - (self.width >> octave)], np.int64)
            for octave in self._octaves
        ]
        return self._work.graph("sheet", len(pads)).keep(self.frames, *pads)[0]

    def spots(self, octaves: NDArray[np.intp]) -> tuple[Floating, Floating]:
        """Return (N, 2) scale and shift from pixels of octaves to GridSample's x and y.

        It counts from -1 to 1 between the outer borders of the sheet.
        """
        top = np.stack([np.zeros(len(octaves)), self._starts[octaves]], axis=1)
        scale = 2 / np.array([self.width + 1, self._starts[-1]], np.float64)
        return np.tile(scale, (len(octaves), 1)), (top + 0.5) * scale - 1

    def sample(
        self,
        slots: NDArray[np.intp],
        octaves: NDArray[np.intp],
        maps: "Maps",
        *,
        side: int,
        rows: int,
    ) -> Tensor:
        """Sample crops at affine maps into octaves of the images.

        Args:
            slots: (N,) index on the sheet of each crop's image.
            octaves: (N,) that each map leads to.
            maps: N of them.
            side: of a crop in pixels.
            rows: of the result, at least N.

        Returns:
            (rows, side, side, 3) uint8.
        """
        scale, shift = (each[:, None] for each in self.spots(octaves))
        matrices = maps.matrices.transpose(0, 2, 1) * scale
        matrices[:, 2:] += shift
        ends = (each[:, None] * scale + shift for each in (maps.low, maps.high))
        # the graph takes equally many crops of every image: some rows stay unused
        counts = np.bincount(slots, minlength=self.n_images)
        most = int(counts.max())
        by_slot = np.argsort(slots, kind="stable")
        nth = np.empty(len(slots), np.intp)
        nth[by_slot] = np.arange(len(slots)) - (np.cumsum(counts) - counts)[slots[by_slot]]
        inputs: list[Array] = []
        for each in (matrices, *ends):
            array = np.zeros((self.n_images, most, *each.shape[1:]), np.float32)
            array[slots, nth] = each
            inputs.append(array)
        order = np.zeros(rows, np.int64)
        order[: len(slots)] = slots * most + nth
        return self._work.graph("sample", side).keep(self.tensor, *inputs, order)[0]


@dataclass(frozen=True, slots=True)
class Place:
    """An image on a sheet: its index there."""

    sheet: Sheet
    slot: int


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """From pixels of crops to pixels of an octave, and where the octave's end.

    Attributes:
        matrices: (N, 2, 3) float64.
        low: (N, 2) float64, the least x and y; -1 is black.
        high: (N, 2) float64, the greatest; a pixel beyond the last is black.
    """

    matrices: Floating
    low: Floating
    high: Floating


class DeviceImages:
    """The images of one call, see `image_work.Images`."""

    def __init__(self, work: DeviceImageWork, places: list[Place]) -> None:
        self.sizes = [(place.sheet.height, place.sheet.width) for place in places]
        self._work = work
        self._places = places
        self._slots = np.array([place.slot for place in places], np.intp)
        numbers: dict[int, int] = {}
        for place in places:
            numbers.setdefault(id(place.sheet), len(numbers))
        self._sheets = np.array([numbers[id(place.sheet)] for place in places], np.intp)

    def stacks(self) -> list[NDArray[np.intp]]:
        """Group the images by sheet."""
        return list(self._by_sheet(np.arange(len(self._places))))

    def scan(
        self,
        net: LevelNetwork,
        members: NDArray[np.intp],
        sizes: Sequence[tuple[int, int]],
        *,
        limit: float,
    ) -> Iterator[Cells]:
        """Run P-Net over the levels of a sheet's images."""
        sheet = self._places[members[0]].sheet
        scanner = self._work.scanner(net, sheet.height, sheet.width, tuple(sizes))
        return scanner.cells(sheet.frames, self._slots[members], limit)

    def batches(self, owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Divide crops by sheet, and into as many rows as memory should hold."""
        for rows in self._by_sheet(owners):
            for start in range(0, len(rows), MAX_BATCH):
                yield rows[start : start + MAX_BATCH]

    def crop(
        self,
        owners: NDArray[np.intp],
        squares: Boxes,
        *,
        side: int,
        rows: int,
        angles: Boxes | None = None,
    ) -> Tensor:
        """Cut squares out of images and scale them."""
        sheet: Sheet = self._places[owners[0]].sheet
        slots = self._slots[owners]
        zoom = (squares[:, 2] - squares[:, 0]) / side
        octaves = octaves_for_crops(zoom, deepest_octave(sheet.height, sheet.width))
        shrunk = 2.0**octaves
        size = np.array([sheet.width, sheet.height])
        matrices = crop_maps(squares / shrunk[:, None], zoom / shrunk, side, angles)
        # where the octave ends, its border is repeated
        maps = Maps(matrices, np.zeros((len(squares), 2)), (size >> octaves[:, None]) - 1.0)
        return sheet.sample(slots, octaves, maps, side=side, rows=rows)

    def warp(self, owners: NDArray[np.intp], matrices: NDArray[np.float64], *, size: int) -> Tensor:
        """Warp images by similarity transforms."""
        if len(owners) == 0:
            empty: Array = np.empty((0, size, size, 3), np.uint8)
            return empty
        sheet: Sheet = self._places[owners[0]].sheet
        n = len(owners)
        # the inverse of a rotation with scale is its transpose over the scale's square
        squared = np.maximum(np.square(matrices[:, 0, :2]).sum(axis=1), 1e-12)
        turns = matrices[:, :, :2].transpose(0, 2, 1) / squared[:, None, None]
        backward = np.concatenate([turns, -turns @ matrices[:, :, 2:]], axis=2)
        low = np.full((n, 2), -1.0)
        high = np.tile(np.array([sheet.width, sheet.height], np.float64), (n, 1))
        slots = self._slots[owners]
        maps = Maps(backward, low, high)
        return sheet.sample(slots, np.zeros(n, np.intp), maps, side=size, rows=n)

    def _by_sheet(self, owners: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        sheets = self._sheets[owners]
        return (np.flatnonzero(sheets == sheet) for sheet in np.unique(sheets))
