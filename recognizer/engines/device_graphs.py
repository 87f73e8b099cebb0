"""ONNX graphs that do on the device what OpenCV does in host memory.

Only operators that ONNX Runtime has for CUDA. Results are rounded to whole gray levels as OpenCV
rounds them, so that the pixels of both ways differ by one gray level at most.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.engines.engine import LevelNetwork
from recognizer.geometry.pyramid import octave_for_level
from recognizer.onnx_graph import FLOAT, INT64, UINT8, OnnxGraph

Array = NDArray[Any]
SAMPLING = {"padding_mode": "zeros", "align_corners": 0}


class _ImageGraph(OnnxGraph):
    """A graph with the steps that several of them share."""

    def frames(self, height: int | str = "H", width: int | str = "W") -> str:
        """Take (B, H, W, 3) uint8 frames, and return them as (B, 3, H, W) float32 planes."""
        frames = self.input("frames", UINT8, ["B", height, width, 3])
        self.add("Transpose", [frames], "bytes", perm=[0, 3, 1, 2])
        return self.add("Cast", ["bytes"], "planes0", to=FLOAT)

    def rounded(self, x: str, output: str) -> str:
        """Round to whole gray levels, halves up."""
        half = self.constant("half", 0.5, np.float32)
        self.add("Add", [x, half], f"{output}_more")
        return self.add("Floor", [f"{output}_more"], output)

    def floored(self, x: str, factor: float) -> str:
        """Multiply by a power of two and drop the fraction."""
        self.add("Mul", [x, self.constant(f"{x}_factor", factor, np.float32)], f"{x}_scaled")
        return self.add("Floor", [f"{x}_scaled"], f"{x}_whole")

    def halved(self, x: str, octave: int) -> str:
        """Average 2x2 pixels: what INTER_AREA does at this scale."""
        pooled = self.add(
            "AveragePool", [x], f"pooled{octave}", kernel_shape=[2, 2], strides=[2, 2]
        )
        return self.rounded(pooled, f"planes{octave}")


def join_graph(n_frames: int) -> bytes:
    """Join frames of one size to a batch.

    Inputs: n_frames of (1, H, W, 3) uint8. Output: (n_frames, H, W, 3) uint8.
    """
    graph = _ImageGraph("join")
    frames = [graph.input(f"frame{i}", UINT8, [1, "H", "W", 3]) for i in range(n_frames)]
    graph.add("Concat", frames, "frames", axis=0)
    graph.output("frames", UINT8, [n_frames, "H", "W", 3])
    return graph.serialized()


def sheet_graph(n_octaves: int) -> bytes:
    """Put each image and all its octaves on one tall sheet, for one GridSample to read them all.

    Inputs: frames (B, H, W, 3) uint8; for each octave the pads (8,) int64 that give it one black
    row more and the width of the sheet. Output: (B, 3, rows, W + 1) float32, octave below octave.
    """
    graph = _ImageGraph("sheet")
    planes = graph.frames()
    strips = []
    for octave in range(n_octaves):
        if octave:
            planes = graph.halved(planes, octave)
        pads = graph.input(f"pads{octave}", INT64, [8])
        strips.append(graph.add("Pad", [planes, pads], f"strip{octave}"))
    graph.add("Concat", strips, "sheet", axis=2)
    graph.output("sheet", FLOAT, ["B", 3, "rows", "columns"])
    return graph.serialized()


def scan_graph(
    net: LevelNetwork, height: int, width: int, sizes: Sequence[tuple[int, int]]
) -> bytes:
    """Scale frames of one size to all levels of the pyramid and run P-Net over each.

    One run takes the place of three for each level, whose launching took longer than the work.
    Only the cells where P-Net finds a face are given, so that only they are downloaded.

    Inputs: frames (B, H, W, 3) uint8; limit () float32 that a face's logit must exceed. Outputs:
    cells (K, 2) int64, ascending: image, and index of the cell among all cells of its levels, row
    by row and level by level; values (K, 5) float32 of P-Net.
    """
    graph = _ImageGraph("scan")
    planes = graph.frames(height, width)
    octave = octave_for_level(height, width, sizes[0][0])
    for i in range(octave):
        planes = graph.halved(planes, i + 1)
    larger = (height >> octave, width >> octave)
    flat = graph.constant("flat", [0, 5, -1])
    heads = []
    for i, size in enumerate(sizes):
        planes = _scaled(graph, planes, larger, size, f"_{i}")
        head = net.add_to(graph, planes, f"_{i}")
        heads.append(graph.add("Reshape", [head, flat], f"cells_{i}"))
        larger = size
    every = graph.add("Concat", heads, "every", axis=2)
    limit = graph.input("limit", FLOAT, [])
    scores = graph.add("Gather", [every, graph.constant("first", 0)], "scores", axis=1)
    graph.add("Greater", [scores, limit], "is_face")
    graph.add("NonZero", ["is_face"], "found")
    graph.add("Transpose", ["found"], "cells", perm=[1, 0])
    graph.add("Transpose", [every], "rows", perm=[0, 2, 1])
    graph.add("GatherND", ["rows", "cells"], "values")
    graph.output("cells", INT64, ["K", 2])
    graph.output("values", FLOAT, ["K", 5])
    return graph.serialized()


def line_weights(n_from: int, n_to: int) -> list[Array]:
    """Return which two columns (or rows) of an image make each of a scaled one, and their weights.

    Args:
        n_from: columns of the image.
        n_to: columns of the scaled one.

    Returns:
        first and second (n_to,) int64, and their weights, (n_to,) float32 in 2048ths: OpenCV's
        fixed point, so that the pixels are OpenCV's.
    """
    spots = ((np.arange(n_to) + 0.5) * (n_from / n_to) - 0.5).astype(np.float32)
    first = np.floor(spots)
    share = np.where((first < 0) | (first >= n_from - 1), 0, spots - first).astype(np.float32)
    first = np.clip(first, 0, n_from - 1).astype(np.int64)
    second = np.minimum(first + 1, n_from - 1)
    weights = [np.rint((1 - share) * np.float32(2048)), np.rint(share * np.float32(2048))]
    return [first, second, *weights]


def _scaled(
    graph: _ImageGraph,
    planes: str,
    larger: tuple[int, int],
    size: tuple[int, int],
    suffix: str,
) -> str:
    """Scale as OpenCV scales bytes: a 16th of the columns' sums, quarters of the rows', whole."""
    sums = planes
    for axis, shape in ((3, (1, 1, 1, -1)), (2, (1, 1, -1, 1))):
        lines = line_weights(larger[axis - 2], size[axis - 2])
        sides = []
        for i in range(2):
            name = f"axis{axis}_{i}{suffix}"
            line = graph.constant(f"line_{name}", lines[i])
            weight = graph.constant(f"weight_{name}", lines[2 + i].reshape(shape))
            side = graph.add("Gather", [sums, line], f"side_{name}", axis=axis)
            side = graph.add("Mul", [side, weight], f"weighed_{name}")
            sides.append(side if axis == 3 else graph.floored(side, 1 / 65536))
        sums = graph.add("Add", sides, f"sums{axis}{suffix}")
        if axis == 3:
            sums = graph.floored(sums, 1 / 16)
    exact = graph.add("Mul", [sums, graph.constant("quarter", 0.25, np.float32)], f"exact{suffix}")
    return graph.rounded(exact, f"level{suffix}")


def sample_graph(side: int) -> bytes:
    """Sample square crops from sheets, each by an affine map, bilinearly: M from each of B sheets.

    Inputs: sheet (B, 3, rows, columns) float32; matrices (B, M, 3, 2) float32 from (u, v, 1) of a
    crop to GridSample's x and y on the sheet; low and high (B, M, 1, 2) float32, where x and y
    end; order (N,) int64, which of the B * M crops to give. Output: (N, side, side, 3) uint8.
    """
    graph = _ImageGraph("crops")
    sheet = graph.input("sheet", FLOAT, ["B", 3, "rows", "columns"])
    matrices = graph.input("matrices", FLOAT, ["B", "M", 3, 2])
    low, high = (graph.input(name, FLOAT, ["B", "M", 1, 2]) for name in ("low", "high"))
    order = graph.input("order", INT64, ["N"])
    v, u = np.mgrid[:side, :side].reshape(2, -1)
    points = graph.constant("points", np.stack([u, v, np.ones_like(u)], axis=1), np.float32)
    graph.add("MatMul", [points, matrices], "spots")
    graph.add("Max", ["spots", low], "raised")
    graph.add("Min", ["raised", high], "limited")
    graph.add("Reshape", ["limited", graph.constant("as_grid", [0, -1, side, 2])], "grid")
    graph.add("GridSample", [sheet, "grid"], "sampled", mode="bilinear", **SAMPLING)
    graph.rounded("sampled", "whole")
    graph.add("Reshape", ["whole", graph.constant("parts", [0, 3, -1, side, side])], "parted")
    graph.add("Cast", ["parted"], "bytes", to=UINT8)
    graph.add("Transpose", ["bytes"], "pixels", perm=[0, 2, 3, 4, 1])
    graph.add("Reshape", ["pixels", graph.constant("as_crops", [-1, side, side, 3])], "all")
    graph.add("Gather", ["all", order], "crops", axis=0)
    graph.output("crops", UINT8, ["N", side, side, 3])
    return graph.serialized()
