"""MTCNN's three networks: published weights in, ONNX graphs out.

Source: Zhang et al., Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks, 2016. Every head is one layer whose first channel is the face logit (the difference of
the two class outputs, so that its sigmoid is the softmax's face probability), then four box
offsets, then, for O-Net, five x and five y of the landmarks.
"""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import joblib
import lz4.frame
import numpy as np

from recognizer.engines.engine import Array, Engine, Network, Tensor
from recognizer.errors import ModelFileError
from recognizer.faces import Floats
from recognizer.onnx_graph import FLOAT, UINT8, OnnxGraph

# pooling (kernel, stride) after each convolution; MTCNN pools in ceil mode
POOLS: dict[str, tuple[tuple[int, int] | None, ...]] = {
    "pnet": ((2, 2), None, None),
    "rnet": ((3, 2), (3, 2), None),
    "onet": ((3, 2), (3, 2), (2, 2), None),
}
N_HEADS = {"pnet": 2, "rnet": 2, "onet": 3}
INPUT_SIZE = {"rnet": 24, "onet": 48}
WINDOW, STRIDE = 12, 2  # P-Net's receptive field and step, pixels of a level
DOUBT = 0.5  # by which a face logit in bf16 may be too low
MOST_WINDOWS = 64  # a run
MEAN, SCALE = 127.5, 1 / 128  # input normalization: (x - 127.5) / 128


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One convolution or dense layer.

    Attributes:
        weight: (out, in, kh, kw) or (out, in) float32, for RGB.
        bias: (out,) float32.
        slope: (out,) float32 of the PReLU that follows; empty where none does.
    """

    weight: Floats
    bias: Floats
    slope: Floats


@dataclass(frozen=True, slots=True, eq=False)
class NetWeights:
    """One of the three networks: hidden layers in order, then the joined head."""

    name: str
    layers: tuple[Layer, ...]
    head: Layer


def read_weights(folder: Path) -> dict[str, NetWeights]:
    """Read pnet.lz4, rnet.lz4 and onet.lz4 of the package `mtcnn`.

    The files are joblib pickles: check their sha256 before (`models.ensure` does).

    Raises:
        ModelFileError: if a file does not hold the expected arrays.
    """
    return {name: _read_net(folder / f"{name}.lz4", name) for name in POOLS}


def _read_net(path: Path, name: str) -> NetWeights:
    try:
        # decompressed first: joblib leaves its lz4 reader to flush a closed file
        pickled = BytesIO(lz4.frame.decompress(path.read_bytes()))
        arrays = [np.asarray(array, np.float32) for array in joblib.load(pickled)]
        n_hidden = len(POOLS[name]) + (name != "pnet")
        if len(arrays) != (n_arrays := 3 * n_hidden + 2 * N_HEADS[name]):
            raise ValueError(f"{len(arrays)} arrays instead of {n_arrays}")
        layers = tuple(_hidden_layer(*arrays[3 * i : 3 * i + 3]) for i in range(n_hidden))
        heads = arrays[3 * n_hidden :]
        return NetWeights(name, layers, join_heads(_pairs(heads), convolve=name == "pnet"))
    except (OSError, RuntimeError, ValueError, IndexError) as error:  # lz4's is a RuntimeError
        raise ModelFileError(f"{path} does not hold MTCNN's {name}: {error}") from error


def _hidden_layer(weight: Floats, bias: Floats, slope: Floats) -> Layer:
    if weight.ndim == 4:
        return Layer(_conv(weight), bias, slope.reshape(-1))
    # the dense layer after convolutions sees them flattened as (W, H, C): reorder to (C, H, W)
    side = 3
    n_in, n_out = weight.shape
    cube = weight.reshape(side, side, n_in // side**2, n_out)
    return Layer(
        np.ascontiguousarray(cube.transpose(3, 2, 1, 0)).reshape(n_out, n_in),
        bias,
        slope.reshape(-1),
    )


def _conv(weight: Floats) -> Floats:
    return np.ascontiguousarray(weight.transpose(3, 2, 0, 1))


def _pairs(arrays: list[Floats]) -> list[tuple[Floats, Floats]]:
    """Group the heads' arrays to (weight (out, in), bias)."""
    return [
        (np.ascontiguousarray(weight.reshape(-1, weight.shape[-1]).T), bias)
        for weight, bias in zip(arrays[::2], arrays[1::2], strict=True)
    ]


def join_heads(heads: list[tuple[Floats, Floats]], *, convolve: bool) -> Layer:
    """Join the box, (landmark,) and class heads to one layer, logit first.

    Args:
        heads: (weight (out, in), bias (out,)) of each; the class head, of two outputs, is last.
        convolve: make it a 1x1 convolution, as P-Net needs.
    """
    *others, (class_weight, class_bias) = heads
    weight = np.concatenate([class_weight[1:] - class_weight[:1], *(w for w, _ in others)])
    bias = np.concatenate([class_bias[1:] - class_bias[:1], *(b for _, b in others)])
    if convolve:
        weight = weight[:, :, None, None]
    return Layer(weight, bias, np.empty(0, np.float32))


def build_graph(net: NetWeights) -> bytes:
    """Build one network as a serialized ONNX model: (N, H, W, 3) uint8 RGB pixels in.

    The normalization is folded into the first layer.

    Args:
        net: its weights.

    Returns:
        A model with one output: P-Net (N, 5, h, w), R-Net (N, 5), O-Net (N, 15) float32.
    """
    graph = OnnxGraph(net.name)
    sides = [INPUT_SIZE.get(net.name, side) for side in "HW"]
    image = graph.input("image", UINT8, ["N", *sides, 3])
    graph.add("Transpose", [image], "planes", perm=[0, 3, 1, 2])
    head = add_net(graph, net, graph.add("Cast", ["planes"], "floats", to=FLOAT))
    is_map = net.head.weight.ndim == 4
    graph.output(head, FLOAT, ["N", len(net.head.weight), *(["h", "w_out"] if is_map else [])])
    return graph.serialized()


def add_net(graph: OnnxGraph, net: NetWeights, planes: str, suffix: str = "") -> str:
    """Append a network's layers to a graph.

    Args:
        graph: under construction; the weights are kept in it once, however often this is called.
        net: its weights; the normalization is folded into the first layer.
        planes: name of its input, (N, 3, H, W) float32, gray levels.
        suffix: of the names of the nodes.

    Returns:
        The name of its output.
    """
    x = planes
    for i, layer in enumerate(net.layers):
        weight, bias = layer.weight, layer.bias
        if i == 0:
            weight, bias = _fold_normalization(weight, bias)
        if weight.ndim == 4:
            inputs = [x, graph.constant(f"w{i}", weight), graph.constant(f"b{i}", bias)]
            x = graph.add("Conv", inputs, f"conv{i}{suffix}", kernel_shape=weight.shape[2:])
            slope = layer.slope[:, None, None]
        else:
            x = graph.add("Flatten", [x], f"flat{suffix}", axis=1)
            inputs = [x, graph.constant(f"w{i}", weight), graph.constant(f"b{i}", bias)]
            x = graph.add("Gemm", inputs, f"dense{i}{suffix}", transB=1)
            slope = layer.slope
        x = graph.add("PRelu", [x, graph.constant(f"s{i}", slope)], f"prelu{i}{suffix}")
        pool = POOLS[net.name][i] if i < len(POOLS[net.name]) else None
        if pool:
            shape = {"kernel_shape": pool[:1] * 2, "strides": pool[1:] * 2}
            x = graph.add("MaxPool", [x], f"pool{i}{suffix}", ceil_mode=1, **shape)
    inputs = [x, graph.constant("w", net.head.weight), graph.constant("b", net.head.bias)]
    if net.head.weight.ndim == 4:
        return graph.add("Conv", inputs, f"faces{suffix}", kernel_shape=[1, 1])
    return graph.add("Gemm", inputs, f"faces{suffix}", transB=1)


class ProposalNet:
    """P-Net for a level of a pyramid, and as a part of a graph for all levels."""

    def __init__(self, engine: Engine, net: NetWeights) -> None:
        self._engine = engine
        self._net = net

    @cached_property
    def _network(self) -> Network:
        return self._engine.load(build_graph(self._net), name=self._net.name)

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run it on (N, H, W, 3) uint8 pixels: (N, 5, h, w) float32."""
        return self._network(*inputs)

    def add_to(self, graph: OnnxGraph, planes: str, suffix: str) -> str:
        """Append its layers to a graph, see `add_net`."""
        return add_net(graph, self._net, planes, suffix)

    def drafted_by(self, engine: Engine, *, limit: float) -> "ProposalNet":
        """Return the same network, which another engine runs first, see `DraftedProposalNet`."""
        return DraftedProposalNet(self._engine, self._net, engine, limit=limit)

    def head_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of its output for a level of that size, in pixels."""
        sides = np.array([height, width])
        for i, layer in enumerate(self._net.layers):
            sides -= layer.weight.shape[2] - 1
            if pool := POOLS[self._net.name][i]:
                kernel, stride = pool
                sides = -(-(sides - kernel) // stride) + 1
        return int(sides[0]), int(sides[1])


class DraftedProposalNet(ProposalNet):
    """P-Net in bf16, and again in f32 in the windows that may show a face: few of a frame's.

    Args:
        engine: runs the windows.
        net: its weights.
        draft: runs whole levels.
        limit: face logit above which an output counts.
    """

    def __init__(self, engine: Engine, net: NetWeights, draft: Engine, *, limit: float) -> None:
        super().__init__(engine, net)
        self._draft = draft.load(build_graph(net), name=net.name)
        self._limit = limit

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run it on (N, H, W, 3) uint8 pixels: (N, 5, h, w) float32."""
        level = np.asarray(inputs[0])
        (head,) = self._draft(level)
        which, y, x = np.nonzero(head[:, 0] > self._limit - DOUBT)
        if len(which):
            head = head.copy()
        corners = np.stack([y, x], axis=1) * STRIDE
        # the last window of an odd side reaches beyond it, where P-Net pools what there is
        sides = np.minimum(np.array(level.shape[1:3]) - corners, WINDOW)
        for side in np.unique(sides, axis=0):
            rows = np.flatnonzero((sides == side).all(axis=1))
            down, across = np.arange(side[0])[:, None], np.arange(side[1])
            for start in range(0, len(rows), MOST_WINDOWS):
                part = rows[start : start + MOST_WINDOWS]
                top, left = corners[part].T[:, :, None, None]
                n_rows = 1 << (len(part) - 1).bit_length()  # few shapes: each takes 2 ms at first
                windows = np.zeros((n_rows, *side, 3), np.uint8)
                windows[: len(part)] = level[which[part, None, None], top + down, left + across]
                (exact,) = super().__call__(windows)
                head[which[part], :, y[part], x[part]] = exact[: len(part), :, 0, 0]
        return [head]


def _fold_normalization(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Let the first convolution take pixels: exact, as MTCNN's convolutions do not pad."""
    folded = weight * np.float32(SCALE)
    shift = weight.sum(axis=(1, 2, 3), dtype=np.float64) * (MEAN * SCALE)
    return folded, (bias - shift).astype(np.float32)
