"""Writes a backbone as an ONNX file with a model card, checked against recognizer."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recognizer import ModelCard, read_card, write_card
from recognizer.embed.embedder import prepare
from recognizer.engines.devices import open_engine
from recognizer.models.onnx_files import read_onnx
from recognizer.onnx_graph import FLOAT, OnnxGraph
from trainer.errors import ExportError
from trainer.export.graph import Operation, operations

MAX_DIFFERENCE = 1e-4  # between unit embeddings of torch and of recognizer
PROBE_CROPS = 4
WITH_NUMBER = {"subtract": "Sub", "multiply": "Mul", "plus": "Add"}


def onnx_of(backbone: nn.Module, size: int) -> onnx.ModelProto:
    """Build the ONNX model of a backbone: (N, 3, 112, 112) float pixels to (N, D)."""
    graph = OnnxGraph("facewire")
    last = graph.input("data", FLOAT, ["N", 3, 112, 112])
    for operation in operations(backbone):
        last = _add(graph, operation)
    graph.output(last, FLOAT, ["N", size])
    return graph.model()


def _add(graph: OnnxGraph, operation: Operation) -> str:
    """Append the node of an operation. Returns its name."""
    layer, name = operation.layer, operation.name
    inputs = list(operation.inputs)

    def add(suffix: str, value: Tensor | NDArray[Any] | None) -> None:
        if value is None:
            return
        array = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value
        inputs.append(graph.constant(f"{name}_{suffix}", array))

    kind = ""
    attributes: dict[str, Any] = {}
    match layer:
        case nn.Conv2d():
            kind = "Conv"
            add("weight", layer.weight)
            add("bias", layer.bias)
            attributes = {
                "kernel_shape": list(layer.kernel_size),
                "strides": list(layer.stride),
                "pads": [*layer.padding, *layer.padding],
                "group": layer.groups,
            }
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            kind = "BatchNormalization"
            add("gamma", layer.weight)
            add("beta", layer.bias)
            add("moving_mean", layer.running_mean)
            add("moving_var", layer.running_var)
            attributes = {"epsilon": layer.eps}
        case nn.PReLU():
            kind = "PRelu"
            add("gamma", layer.weight.reshape(-1, 1, 1))  # ONNX aligns shapes from the right
        case nn.Linear():
            kind = "Gemm"
            add("weight", layer.weight)
            add("bias", layer.bias)
            attributes = {"transB": 1}
        case nn.MaxPool2d() | nn.AvgPool2d():
            kind = "MaxPool" if isinstance(layer, nn.MaxPool2d) else "AveragePool"
            attributes = {
                "kernel_shape": [layer.kernel_size] * 2,
                "strides": [layer.stride] * 2,
                "pads": [layer.padding] * 4,
            }
        case None if operation.kind in WITH_NUMBER:
            kind = WITH_NUMBER[operation.kind]
            add("value", np.array(operation.value, np.float32))
        case None if operation.kind == "concat":
            kind, attributes = "Concat", {"axis": 1}
        case None if operation.kind == "sum":
            kind, attributes = "ReduceSum", {"keepdims": 1}
            add("axes", np.array([1]))
    plain = {
        "relu": "Relu",
        "globalpool": "GlobalAveragePool",
        "flatten": "Flatten",
        "dropout": "Identity",
        "add": "Add",
        "times": "Mul",
        "divide": "Div",
        "root": "Sqrt",
        "sigmoid": "Sigmoid",
    }
    return graph.add(kind or plain[operation.kind], inputs, name, **attributes)


def export_onnx(backbone: nn.Module, card: ModelCard, path: Path) -> float:
    """Write an ONNX file, and compare its embeddings in recognizer with those of the backbone.

    Args:
        backbone: is put into evaluation mode.
        card: written into the file.
        path: ends in .onnx; an older file is replaced only if the check passes.

    Returns:
        The largest difference of any number of the unit embeddings.

    Raises:
        ExportError: if recognizer's embeddings differ by 1e-4 or more; no file is left then.
    """
    backbone.eval()
    model = onnx_of(backbone, card.embedding_size)
    write_card(model, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.onnx")
    try:
        scratch.write_bytes(model.SerializeToString())
        difference = compare(backbone, scratch)
        if not difference < MAX_DIFFERENCE:
            raise ExportError(
                f"cannot export {path.name}: recognizer's embeddings differ by {difference:.1e} "
                f"(the bound is {MAX_DIFFERENCE:.0e})"
            )
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return difference


def compare(backbone: nn.Module, path: Path) -> float:
    """Return the largest difference between torch's and recognizer's unit embeddings."""
    model = read_onnx(path)
    engine = open_engine("cpu")
    network = engine.load(prepare(model, read_card(model, name=path.name)), name=path.name)
    crops = np.random.default_rng(0).integers(0, 256, (PROBE_CROPS, 112, 112, 3), np.uint8)
    theirs = np.asarray(network(crops)[0])
    device = next(backbone.parameters()).device
    pixels = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        ours = backbone(pixels).float().cpu().numpy()
    return float(np.abs(_unit(ours) - _unit(theirs)).max())


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-10)
