"""The seam behind which ONNX graphs run: OpenVINO and ONNX Runtime implement it."""

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from recognizer.onnx_graph import OnnxGraph

Array = NDArray[Any]
Cells = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""Cells of a level where P-Net finds a face: (K,) which image; (K, 2) y, x; (K, 5) its outputs."""


class Tensor(Protocol):
    """An array where the networks run: numpy's own on a CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as numpy's."""


class DeviceTensor(Tensor, Protocol):
    """An array on a GPU."""

    def download(self) -> Array:
        """Return a copy in host memory."""


class Network(Protocol):
    """A loaded graph."""

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run it.

        Args:
            inputs: one for each of the graph's, in order: a contiguous numpy array or what `keep`
                or `Engine.upload` gave, of the graph's type and shape; what is symbolic there may
                change from call to call.

        Returns:
            The graph's outputs in order. They may be overwritten by the next call.
        """

    def keep(self, *inputs: Tensor) -> list[Tensor]:
        """Run it as by a call, and leave the outputs where the network runs."""


class LevelNetwork(Protocol):
    """P-Net: as a network for one level of a pyramid, and as a part of a graph for all of them."""

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run it on (N, H, W, 3) uint8 pixels of a level: (N, 5, h, w) float32."""

    def add_to(self, graph: OnnxGraph, planes: str, suffix: str) -> str:
        """Append its layers to a graph under construction.

        Args:
            graph: where the weights are kept once, however often this is called.
            planes: name of its input there, (N, 3, H, W) float32 gray levels.
            suffix: of the names of the new nodes.

        Returns:
            The name of its output.
        """

    def head_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of its output for a level of that size."""


class Engine(Protocol):
    """Loads graphs for one device.

    Attributes:
        name: the runtime and its version.
        device: "cpu" or "cuda".
    """

    name: str
    device: str

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> Network:
        """Compile a serialized ONNX model.

        Args:
            model: its bytes.
            name: for error messages.
            most_rows: N of the largest input, where the model takes (N, H, W, 3) uint8 pixels of
                one size; 0 where more may change.

        Raises:
            ModelFileError: if the runtime cannot read it; the message contains `name`.
        """

    def upload(self, array: Array) -> Tensor:
        """Upload an array to the device, for any number of runs."""


def rows_for(n: int, device: str) -> int:
    """Round a batch size up, so that an engine sees few shapes.

    Args:
        n: rows that are needed.
        device: "cpu": eighths of powers of two; "cuda": powers of two, because each shape costs a
            session there and padding costs little.
    """
    if n <= 1:
        return n
    step: int = max(1, 1 << (n - 1).bit_length() >> (3 if device == "cpu" else 0))
    return -(-n // step) * step


def to_host(tensor: Tensor) -> Array:
    """Return a tensor as an array in host memory."""
    return tensor if isinstance(tensor, np.ndarray) else cast("DeviceTensor", tensor).download()


def first_line(error: Exception) -> str:
    """Return the last line of an engine's error, which states the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
