"""Writes a backbone as an MXNet checkpoint: PREFIX-symbol.json and PREFIX-NNNN.params."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from trainer.backbones.mxnet_params import mxnet_names, write_params
from trainer.export.graph import Operation, operations

BOTH = ("weight", "bias")
MXNET_VERSION = 10600  # the symbol's version: 1.6.0, the last that the reference's users had


def write_mxnet(backbone: nn.Module, prefix: Path, epoch: int) -> tuple[Path, Path]:
    """Write a checkpoint that the old code loads; its output is `fc1_output`.

    Args:
        backbone: its BatchNorm statistics are written as they are.
        prefix: path without `-symbol.json`.
        epoch: number of the parameter file, 0..9999.

    Returns:
        The paths of the symbol and of the parameters.
    """
    prefix.parent.mkdir(parents=True, exist_ok=True)
    symbol = prefix.with_name(f"{prefix.name}-symbol.json")
    params = prefix.with_name(f"{prefix.name}-{epoch:04d}.params")
    symbol.write_text(json.dumps(symbol_of(backbone), indent=2), "utf-8")
    arrays = {
        name: tensor.detach().cpu().numpy().astype(np.float32)
        for name, tensor in mxnet_names(backbone).items()
    }
    write_params(params, arrays)
    return symbol, params


def symbol_of(backbone: nn.Module) -> dict[str, Any]:
    """Return the symbol of a backbone as MXNet's JSON has it."""
    names = {id(tensor): name[4:] for name, tensor in mxnet_names(backbone).items()}
    nodes: list[dict[str, Any]] = [{"op": "null", "name": "data", "inputs": []}]
    index = {"data": 0}
    for operation in operations(backbone):
        op, attributes, tensors = _translate(operation)
        inputs = [[index[name], 0, 0] for name in operation.inputs]
        for tensor in tensors:
            inputs.append([len(nodes), 0, 0])
            variable = names[id(getattr(operation.layer, tensor))]
            nodes.append({"op": "null", "name": variable, "inputs": []})
            if isinstance(operation.layer, nn.PReLU) and operation.layer.num_parameters == 1:
                nodes[-1]["attrs"] = {"__shape__": "(1,)"}  # else MXNet needs one per channel
        index[operation.name] = len(nodes)
        node: dict[str, Any] = {"op": op, "name": operation.name, "inputs": inputs}
        if attributes:
            node["attrs"] = attributes
        nodes.append(node)
    return {
        "nodes": nodes,
        "arg_nodes": [i for i, node in enumerate(nodes) if node["op"] == "null"],
        "node_row_ptr": list(range(len(nodes) + 1)),
        "heads": [[len(nodes) - 1, 0, 0]],
        "attrs": {"mxnet_version": ["int", MXNET_VERSION]},
    }


def _translate(operation: Operation) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Return MXNet's operator, its attributes, and the layer's tensors after its inputs."""
    layer = operation.layer
    match layer:
        case nn.Conv2d():
            attributes = {
                "kernel": str(layer.kernel_size),
                "stride": str(layer.stride),
                "pad": str(layer.padding),
                "num_filter": str(layer.out_channels),
                "num_group": str(layer.groups),
                "no_bias": str(layer.bias is None),
            }
            return "Convolution", attributes, ("weight",) if layer.bias is None else BOTH
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            attributes = {
                "eps": repr(layer.eps),
                "momentum": "0.9",
                "fix_gamma": str(not layer.weight.requires_grad),
            }
            return "BatchNorm", attributes, (*BOTH, "running_mean", "running_var")
        case nn.PReLU():
            return "LeakyReLU", {"act_type": "prelu"}, ("weight",)
        case nn.ReLU() | nn.Sigmoid():
            return "Activation", {"act_type": operation.kind}, ()
        case nn.Linear():
            attributes = {"num_hidden": str(layer.out_features)}
            if layer.bias is None:
                return "FullyConnected", {**attributes, "no_bias": "True"}, ("weight",)
            return "FullyConnected", attributes, BOTH
        case nn.MaxPool2d() | nn.AvgPool2d():
            return "Pooling", _pooling(layer), ()
        case nn.AdaptiveAvgPool2d():
            return "Pooling", {"global_pool": "True", "kernel": "(7, 7)", "pool_type": "avg"}, ()
        case nn.Flatten():
            return "Flatten", {}, ()
        case nn.Dropout():
            return "Dropout", {"p": repr(layer.p)}, ()
    value = {"scalar": repr(operation.value)}
    plain: dict[str, tuple[str, dict[str, str]]] = {
        "subtract": ("_minus_scalar", value),
        "multiply": ("_mul_scalar", value),
        "plus": ("_plus_scalar", value),
        "add": ("elemwise_add", {}),
        "times": ("broadcast_mul", {}),
        "divide": ("broadcast_div", {}),
        "root": ("sqrt", {}),
        "sum": ("sum", {"axis": "1", "keepdims": "True"}),
        "concat": ("Concat", {"dim": "1", "num_args": str(len(operation.inputs))}),
    }
    return *plain[operation.kind], ()


def _pooling(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, str]:
    # our networks pool squares: all three are single numbers
    return {
        "kernel": f"({layer.kernel_size}, {layer.kernel_size})",
        "stride": f"({layer.stride}, {layer.stride})",
        "pad": f"({layer.padding}, {layer.padding})",
        "pool_type": "max" if isinstance(layer, nn.MaxPool2d) else "avg",
    }
