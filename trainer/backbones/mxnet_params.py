"""A network's arrays under MXNet's names: loaded from `.params` files, and written to them.

Source: MXNet src/ndarray/ndarray.cc (NDArray::Save); checked against MXNet 1.9.1.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from recognizer import ModelFileError
from recognizer.mxnet.files import LIST_MAGIC, V2_MAGIC, read_params
from trainer.backbones.layers import Gluon
from trainer.errors import CheckpointError

OF_SYMBOLS = ("gamma", "moving")  # PReLU's slope and the statistics, outside of gluon


def write_params(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a `.params` file as MXNet 1.x does."""
    out = bytearray(struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays)))
    for array in arrays.values():
        out += struct.pack(f"<IiI{array.ndim}q", V2_MAGIC, 0, array.ndim, *array.shape)
        out += struct.pack("<iii", 1, 0, 0)  # cpu 0, float32
        out += np.ascontiguousarray(array, "<f4").tobytes()
    out += struct.pack("<Q", len(arrays))
    for name in arrays:
        out += struct.pack("<Q", len(name)) + name.encode()
    path.write_bytes(out)


def mxnet_names(module: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors by their names in an MXNet checkpoint, `arg:` and `aux:`."""
    names: dict[str, Tensor] = {}
    of_gluon = tuple(f"{p}." for p, layer in module.named_modules() if isinstance(layer, Gluon))
    for path, layer in module.named_modules():
        name = path.replace(".", "_")
        slope, statistics = ("alpha", "running") if path.startswith(of_gluon) else OF_SYMBOLS
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            names[f"arg:{name}_weight"] = layer.weight
            if layer.bias is not None:
                names[f"arg:{name}_bias"] = layer.bias
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            names[f"arg:{name}_gamma"] = layer.weight
            names[f"arg:{name}_beta"] = layer.bias
            if layer.running_mean is not None and layer.running_var is not None:
                names[f"aux:{name}_{statistics}_mean"] = layer.running_mean
                names[f"aux:{name}_{statistics}_var"] = layer.running_var
        elif isinstance(layer, nn.PReLU):
            names[f"arg:{name}_{slope}"] = layer.weight
    return names


def load_mxnet(module: nn.Module, path: Path) -> None:
    """Copy a checkpoint's arrays into a network; a classifier (fc7...) in the file is left out.

    A gamma that is fixed becomes 1 whatever the file holds, as MXNet does.

    Raises:
        CheckpointError: if a name is missing, unknown, or of another shape.
    """
    try:
        arrays = {k: v for k, v in read_params(path).items() if not k.startswith("fc7")}
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error
    names = {name[4:]: tensor for name, tensor in mxnet_names(module).items()}
    if "fc1_weight" in arrays and "fc1_weight" not in names:  # y1 as it was published
        arrays["pre_fc1_weight"] = arrays.pop("fc1_weight")
    if missing := sorted(names.keys() - arrays.keys()):
        raise CheckpointError(f"{path} is of another network: it lacks {_few(missing)}")
    if unknown := sorted(arrays.keys() - names.keys()):
        raise CheckpointError(f"{path} is of another network: it also has {_few(unknown)}")
    for name, tensor in names.items():
        if arrays[name].shape != tuple(tensor.shape):
            raise CheckpointError(
                f"{path} is of another network: {name} is {arrays[name].shape}, "
                f"not {tuple(tensor.shape)}"
            )
    for name, tensor in names.items():
        is_fixed = name.endswith("_gamma") and not tensor.requires_grad
        value = np.ones(tensor.shape) if is_fixed else arrays[name]
        tensor.data.copy_(tensor.new_tensor(value))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
