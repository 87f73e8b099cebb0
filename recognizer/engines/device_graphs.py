"""ONNX graphs that do on the device what OpenCV does in host memory.

Only operators that ONNX Runtime has for CUDA. Results are rounded to whole grey levels as OpenCV
rounds them, so that both ways feed the networks the same pixels but for one grey level.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 16  # the first with GridSample
Array = NDArray[Any]
Dims = Sequence[int | str]
SAMPLING = {"padding_mode": "zeros", "align_corners": 0}
FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64


class _Builder:
    """Collects the nodes of a graph; every node has one output, named as the node."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.int64) -> str:
        self._tensors.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def planes(self, frames: str) -> str:
        """Turn (B, H, W, 3) uint8 into (B, 3, H, W) float32."""
        self.add("Transpose", [frames], "bytes", perm=[0, 3, 1, 2])
        return self.add("Cast", ["bytes"], "planes0", to=FLOAT)

    def rounded(self, x: str, output: str) -> str:
        """Round to whole grey levels, halves up."""
        if not any(tensor.name == "half" for tensor in self._tensors):
            self.constant("half", 0.5, np.float32)
        self.add("Add", [x, "half"], f"{output}_more")
        return self.add("Floor", [f"{output}_more"], output)

    def floored(self, x: str, factor: float) -> str:
        """Multiply by a power of two and cut off the fraction."""
        self.add("Mul", [x, self.constant(f"{x}_factor", factor, np.float32)], f"{x}_scaled")
        return self.add("Floor", [f"{x}_scaled"], f"{x}_whole")

    def halved(self, x: str, octave: int) -> str:
        """Average 2x2 pixels: what INTER_AREA does at this scale."""
        pooled = self.add(
            "AveragePool", [x], f"pooled{octave}", kernel_shape=[2, 2], strides=[2, 2]
        )
        return self.rounded(pooled, f"planes{octave}")

    def finish(
        self, name: str, inputs: dict[str, tuple[int, Dims]], outputs: dict[str, tuple[int, Dims]]
    ) -> bytes:
        taken, given = (
            [helper.make_tensor_value_info(key, kind, dims) for key, (kind, dims) in each.items()]
            for each in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, name, taken, given, self._tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="facewire"
        )
        onnx.checker.check_model(model, full_check=True)
        serialised: bytes = model.SerializeToString()
        return serialised


def sheet_graph(n_octaves: int) -> bytes:
    """Put each image and all its octaves on one tall sheet, for one GridSample to reach them all.

    Inputs: frames (B, H, W, 3) uint8; for each octave the pads (8,) int64 that give it one black
    row more and the width of the sheet. Output: (B, 3, rows, W + 1) float32, octave below octave.
    """
    graph = _Builder()
    planes = graph.planes("frames")
    strips = []
    for octave in range(n_octaves):
        if octave:
            planes = graph.halved(planes, octave)
        strips.append(graph.add("Pad", [planes, f"pads{octave}"], f"strip{octave}"))
    graph.add("Concat", strips, "sheet", axis=2)
    pads: dict[str, tuple[int, Dims]] = {f"pads{o}": (INT64, [8]) for o in range(n_octaves)}
    return graph.finish(
        "sheet",
        {"frames": (UINT8, ["B", "H", "W", 3]), **pads},
        {"sheet": (FLOAT, ["B", 3, "rows", "columns"])},
    )


def first_level_graph(octave: int) -> bytes:
    """Make the first level of the pyramid from an octave of the images.

    Inputs: frames (B, H, W, 3) uint8; for the columns and then for the rows of the level what
    `line_weights` gives. Outputs: the level as (B, 3, h, w) float32 and as (B, h, w, 3) uint8.
    """
    graph = _Builder()
    planes = graph.planes("frames")
    for i in range(octave):
        planes = graph.halved(planes, i + 1)
    return _finish_level(graph, planes, {"frames": (UINT8, ["B", "H", "W", 3])})


def next_level_graph() -> bytes:
    """Make a level from the one before: (B, 3, H, W) float32 instead of frames in."""
    return _finish_level(_Builder(), "larger", {"larger": (FLOAT, ["B", 3, "H", "W"])})


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


def _finish_level(graph: _Builder, planes: str, source: dict[str, tuple[int, Dims]]) -> bytes:
    """Scale as OpenCV scales bytes: a 16th of the columns' sums, quarters of the rows', whole."""
    inputs = dict(source)
    for line, n in (("column", "w"), ("row", "h")):
        inputs |= {f"{line}{i}": (INT64, [n]) for i in range(2)}
        inputs |= {f"{line}_weight{i}": (FLOAT, [n]) for i in range(2)}
    for i in range(2):
        graph.add("Gather", [planes, f"column{i}"], f"side{i}", axis=3)
        graph.add("Mul", [f"side{i}", f"column_weight{i}"], f"weighed_side{i}")
    graph.add("Add", ["weighed_side0", "weighed_side1"], "wide")
    wide = graph.floored("wide", 1 / 16)
    ones = graph.constant("upright", [-1, 1])
    for i in range(2):
        graph.add("Gather", [wide, f"row{i}"], f"line{i}", axis=2)
        graph.add("Reshape", [f"row_weight{i}", ones], f"upright{i}")
        graph.add("Mul", [f"line{i}", f"upright{i}"], f"weighed_line{i}")
        graph.floored(f"weighed_line{i}", 1 / 65536)
    graph.add("Add", ["weighed_line0_whole", "weighed_line1_whole"], "quarters")
    graph.add("Mul", ["quarters", graph.constant("quarter", 0.25, np.float32)], "exact")
    level = graph.rounded("exact", "level")
    graph.add("Transpose", [level], "pixels", perm=[0, 2, 3, 1])
    graph.add("Cast", ["pixels"], "image", to=UINT8)
    return graph.finish(
        "level",
        inputs,
        {"level": (FLOAT, ["B", 3, "h", "w"]), "image": (UINT8, ["B", "h", "w", 3])},
    )


def sample_graph(side: int) -> bytes:
    """Take square crops off sheets, each by an affine map, bilinearly: M off each of B sheets.

    Inputs: sheet (B, 3, rows, columns) float32; matrices (B, M, 3, 2) float32 from (u, v, 1) of a
    crop to GridSample's x and y on the sheet; low and high (B, M, 1, 2) float32, where x and y
    end; order (N,) int64, which of the B * M crops to give. Output: (N, side, side, 3) uint8.
    """
    graph = _Builder()
    v, u = np.mgrid[:side, :side].reshape(2, -1)
    points = graph.constant("points", np.stack([u, v, np.ones_like(u)], axis=1), np.float32)
    graph.add("MatMul", [points, "matrices"], "spots")
    graph.add("Max", ["spots", "low"], "raised")
    graph.add("Min", ["raised", "high"], "limited")
    graph.add("Reshape", ["limited", graph.constant("as_grid", [0, -1, side, 2])], "grid")
    graph.add("GridSample", ["sheet", "grid"], "sampled", mode="bilinear", **SAMPLING)
    graph.rounded("sampled", "whole")
    graph.add("Reshape", ["whole", graph.constant("parts", [0, 3, -1, side, side])], "parted")
    maps: dict[str, tuple[int, Dims]] = {
        "matrices": (FLOAT, ["B", "M", 3, 2]),
        "low": (FLOAT, ["B", "M", 1, 2]),
        "high": (FLOAT, ["B", "M", 1, 2]),
    }
    return _finish_crops(graph, "parted", side, maps)


def _finish_crops(
    graph: _Builder, planes: str, side: int, inputs: dict[str, tuple[int, Dims]]
) -> bytes:
    """Give the wanted of the crops (B, 3, M, side, side)."""
    graph.add("Cast", [planes], "bytes", to=UINT8)
    graph.add("Transpose", ["bytes"], "pixels", perm=[0, 2, 3, 4, 1])
    graph.add("Reshape", ["pixels", graph.constant("as_crops", [-1, side, side, 3])], "all")
    graph.add("Gather", ["all", "order"], "crops", axis=0)
    return graph.finish(
        f"crops{side}",
        {"sheet": (FLOAT, ["B", 3, "rows", "columns"]), **inputs, "order": (INT64, ["N"])},
        {"crops": (UINT8, ["N", side, side, 3])},
    )


def select_graph() -> bytes:
    """Pick the cells where P-Net sees a face, so that only they come down.

    Inputs: heads (B, 5, h, w) float32, limit () float32 that the first channel must exceed.
    Outputs: cells (K, 3) int64, image, y and x; values (K, 5) float32.
    """
    graph = _Builder()
    graph.add("Gather", ["heads", graph.constant("first", 0)], "scores", axis=1)
    graph.add("Greater", ["scores", "limit"], "is_face")
    graph.add("NonZero", ["is_face"], "found")
    cells = graph.add("Transpose", ["found"], "cells", perm=[1, 0])
    graph.add("Transpose", ["heads"], "rows", perm=[0, 2, 3, 1])
    graph.add("GatherND", ["rows", cells], "values")
    return graph.finish(
        "select",
        {"heads": (FLOAT, ["B", 5, "h", "w"]), "limit": (FLOAT, [])},
        {"cells": (INT64, ["K", 3]), "values": (FLOAT, ["K", 5])},
    )
