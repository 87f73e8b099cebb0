"""Turns aligned crops into unit vectors."""

import math

import cv2
import numpy as np
import onnx

from recognizer.card import ModelCard
from recognizer.engines.engine import Engine, Tensor, rows_for, to_host
from recognizer.errors import ModelFileError
from recognizer.faces import Floats, Image
from recognizer.geometry.alignment import CROP_SIZE
from recognizer.onnx_graph import FLOAT, UINT8, OnnxGraph, value_info

# crops per run: on a CPU more gain nothing, and OpenVINO keeps buffers for every size it has seen
# (SFace: 340 MiB more after all sizes up to 32); a GPU needs them to be busy
MAX_BATCH = {"cpu": 8, "cuda": 256}
SMALL = 2_000_000  # weights that may be held twice, y1: 20 MiB more; SFace would be 89


class Embedder:
    """An embedding network with its card.

    Attributes:
        card: of the model.
        engine: name of the one that it runs on.
    """

    def __init__(self, engine: Engine, model: onnx.ModelProto, card: ModelCard) -> None:
        self.card = card
        self.engine = engine.name
        self._device = engine.device
        self._max_batch = MAX_BATCH[engine.device]
        self._network = engine.load(prepare(model, card), name=card.name, most_rows=self._max_batch)
        # for one crop, the most frequent call; a batch that may change costs 0.25 of y1's 6.2 ms
        self._single = self._network
        weights = sum(math.prod(each.dims) for each in model.graph.initializer)
        if engine.device == "cpu" and weights < SMALL:
            self._single = engine.load(prepare(model, card, batch=1), name=card.name)

    def embed(self, crops: Tensor, *, flip: bool = False) -> Floats:
        """Embed aligned crops in one call.

        Args:
            crops: (N, 112, 112, 3) uint8 RGB, in host memory or where the network runs.
            flip: add the mirrored crop's embedding before normalizing; twice the work.

        Returns:
            (N, D) float32 of unit length.

        Raises:
            ValueError: if crops is of another shape or type.
        """
        if len(crops.shape) != 4 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise ValueError(
                f"crops must be (N, {CROP_SIZE}, {CROP_SIZE}, 3) uint8, got {crops.shape}"
            )
        is_plain = self.card.input_size == (CROP_SIZE, CROP_SIZE) and not flip
        n = crops.shape[0]
        if not isinstance(crops, np.ndarray) and is_plain and n == self._rows(n):
            return _unit(self._network(crops)[0])
        pixels = self._prepared(to_host(crops))
        embeddings = self._run(pixels)
        if flip:
            embeddings = embeddings + self._run(pixels[:, :, ::-1])
        return _unit(embeddings)

    def _prepared(self, crops: Image) -> Image:
        """Scale crops to the network's size."""
        if crops.dtype != np.uint8:
            raise ValueError(f"crops must be uint8, got {crops.dtype}")
        height, width = self.card.input_size
        if (height, width) == (CROP_SIZE, CROP_SIZE):
            return crops
        resized = np.empty((len(crops), height, width, 3), np.uint8)
        for crop, out in zip(crops, resized, strict=True):
            cv2.resize(crop, (width, height), dst=out, interpolation=cv2.INTER_AREA)
        return resized

    def _run(self, crops: Image) -> Floats:
        embeddings = np.empty((len(crops), self.card.embedding_size), np.float32)
        for start in range(0, len(crops), self._max_batch):
            part = slice(start, start + self._max_batch)
            pixels = np.ascontiguousarray(crops[part])
            n = len(pixels)
            if self._rows(n) > n:
                pixels = np.concatenate(
                    [pixels, np.zeros_like(pixels[:1]).repeat(self._rows(n) - n, 0)]
                )
            network = self._single if n == 1 else self._network
            embeddings[part] = network(pixels)[0][:n]
        return embeddings

    def _rows(self, n: int) -> int:
        """Return the batch size at which n crops are run: few on CUDA, any on a CPU."""
        return n if self._device == "cpu" else min(rows_for(n, self._device), self._max_batch)


def _unit(embeddings: Floats) -> Floats:
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(length, 1e-10), np.float32)


def prepare(model: onnx.ModelProto, card: ModelCard, *, batch: int | None = None) -> bytes:
    """Make a model take pixels, with any batch size unless one is given.

    Weights are no longer listed as inputs (which keeps engines from fusing them), the batch becomes
    symbolic, and color order, layout and normalization become part of the graph.

    Args:
        model: one float input (1 or N, 3, H, W), one output (1 or N, D).
        card: describes the input.
        batch: N if it never changes.

    Returns:
        A serialized model from (N, H, W, 3) uint8 RGB to (N, D) float32.

    Raises:
        ModelFileError: if the model has other inputs or outputs.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    graph = prepared.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) < 1:
        raise ModelFileError(f"{card.name} must have one input, it has {len(inputs)}")
    height, width = card.input_size
    _check_shape(inputs[0], [3, height, width], card.name)
    _check_shape(graph.output[0], [card.embedding_size], card.name)
    n = batch or "N"
    _input_graph(inputs[0].name, card, n).put_before(prepared)
    graph.output[0].CopyFrom(value_info(graph.output[0].name, FLOAT, [n, card.embedding_size]))
    del graph.output[1:]
    del graph.value_info[:]  # they hold the old, fixed batch
    serialized: bytes = prepared.SerializeToString()
    return serialized


def _input_graph(target: str, card: ModelCard, n: int | str) -> OnnxGraph:
    """Bring (N, H, W, 3) uint8 RGB to what the network calls `target`."""
    graph = OnnxGraph("input")
    pixels = graph.input("facewire_image", UINT8, [n, *card.input_size, 3])
    if card.colour_order == "bgr":
        backward = graph.constant("facewire_bgr", [2, 1, 0])
        pixels = graph.add("Gather", [pixels, backward], "facewire_bgr_image", axis=3)
    planes = graph.add("Transpose", [pixels], "facewire_planes", perm=[0, 3, 1, 2])
    if card.mean == (0, 0, 0) and card.std == (1, 1, 1):
        graph.add("Cast", [planes], target, to=FLOAT)
        return graph
    mean, std = (
        graph.constant(f"facewire_{name}", np.reshape(values, (1, 3, 1, 1)), np.float32)
        for name, values in (("mean", card.mean), ("std", card.std))
    )
    floats = graph.add("Cast", [planes], "facewire_floats", to=FLOAT)
    centered = graph.add("Sub", [floats, mean], "facewire_centered")
    graph.add("Div", [centered, std], target)
    return graph


def _check_shape(value: onnx.ValueInfoProto, expected: list[int], name: str) -> None:
    dims = [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
    if len(dims) != len(expected) + 1 or any(
        isinstance(actual, int) and actual != wanted
        for actual, wanted in zip(dims[1:], expected, strict=True)
    ):
        wanted = ", ".join(map(str, expected))
        raise ModelFileError(f"{name}: {value.name} must be (N, {wanted}), it is {dims}")
