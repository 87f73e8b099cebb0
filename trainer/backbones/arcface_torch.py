"""Networks of arcface_torch: its `backbone.pth`, read and written.

The file is a state_dict: names of the layers and of their tensors. Its iresnets and `mbf` are built
here under the same names; they differ from r18 ... r100 in the scale of the pixels (1 / 127.5) and
in the epsilon of batch norms (1e-5), not in their layers.

Source: insightface, recognition/arcface_torch/backbones, 2021 to 2025.
"""

import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.backbones.layers import ARCFACE_TORCH_SCALE, EPS_TORCH
from trainer.backbones.registry import BACKBONES
from trainer.errors import CheckpointError, ExportError

IRESNETS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "iresnet18",
    (3, 4, 6, 3): "iresnet34",
    (3, 4, 14, 3): "iresnet50",
    (3, 13, 30, 3): "iresnet100",
    (6, 26, 60, 6): "iresnet200",
}
PARALLEL = "module."  # before every name, if DataParallel's state_dict was saved
# our names and theirs
_OF_IRESNET = {
    "conv0": "conv1",
    "bn0": "bn1",
    "relu0": "prelu",
    "bn1": "bn2",
    "pre_fc1": "fc",
    "fc1": "features",
}
_OF_UNIT = {"relu1": "prelu", "conv1sc": "downsample.0", "sc": "downsample.1"}
_OF_MBF = {
    "conv_1": "layers.0",
    "conv_2_dw": "layers.1",
    "dconv_23": "layers.2",
    "dconv_34": "layers.4",
    "dconv_45": "layers.6",
    "conv_6sep": "conv_sep",
    "conv_6dw7_7": "features.layers.0",
    "pre_fc1": "features.layers.2",
    "fc1": "features.layers.3",
}
_OF_BLOCK = {
    **{"conv_sep": "layers.0", "conv_dw": "layers.1", "conv_proj": "layers.2"},
    **{"conv2d": "layers.0", "batchnorm": "layers.1", "relu": "layers.2"},
}


def arcface_torch_names(module: nn.Module) -> dict[str, str]:
    """Return arcface_torch's name for every tensor of a network; its own where there is none."""
    own = list(module.state_dict())
    name_of = _iresnet_name if "conv0.weight" in own else _mbf_name
    return {name: name_of(name) for name in own}


def _iresnet_name(name: str) -> str:
    if unit := re.fullmatch(r"stage(\d)_unit(\d+)\.(\w+)\.(\w+)", name):
        stage, number, layer, tensor = unit.groups()
        return f"layer{stage}.{int(number) - 1}.{_OF_UNIT.get(layer, layer)}.{tensor}"
    layer, _, tensor = name.rpartition(".")
    return f"{_OF_IRESNET.get(layer, layer)}.{tensor}"


def _mbf_name(name: str) -> str:
    first, *blocks, tensor = name.split(".")
    if unit := re.fullmatch(r"res_(\d)_block(\d+)", first):
        stage, number = map(int, unit.groups())
        first = f"layers.{2 * stage - 3}.layers.{number}"  # stages 3, 4, 5 are layers 3, 5, 7
    parts = [_OF_MBF.get(first, first), *(_OF_BLOCK.get(block, block) for block in blocks)]
    return ".".join([*parts, tensor])


def read_arcface_torch(path: Path) -> tuple[dict[str, Tensor], str, int]:
    """Read a `backbone.pth`; no code in the file is run.

    Returns:
        The tensors under arcface_torch's names, the network as BACKBONES has it, and D.

    Raises:
        CheckpointError: if it is no state_dict, or lacks or adds a tensor, or is of no network
            that is known.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error):  # torch's advice to load code all the same
            raise CheckpointError(
                f"{path} is no backbone.pth of arcface_torch, or is damaged"
            ) from error
        raise CheckpointError(
            f"{path} holds more than tensors, which could run code and is not loaded: save the "
            "network's state_dict() alone"
        ) from error
    # torch raises these for files that are cut off, foreign, or hold code
    except (
        RuntimeError,
        ValueError,
        EOFError,
        KeyError,
        TypeError,
    ) as error:
        raise CheckpointError(
            f"{path} is no backbone.pth of arcface_torch, or is damaged"
        ) from error
    is_state = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not (is_state and state):
        raise CheckpointError(
            f"{path} is no backbone.pth of arcface_torch: it holds something other than tensors "
            "by their names (a checkpoint of `fit` ends in .pt)"
        )
    if all(str(key).startswith(PARALLEL) for key in state):
        state = {key.removeprefix(PARALLEL): value for key, value in state.items()}
    name, size = _network_of(state, path)
    if wrong := _difference(state, name, size):
        raise CheckpointError(f"{path} is no {name} of arcface_torch: {wrong}")
    return dict(state), name, size


def _network_of(state: Mapping[str, Tensor], path: Path) -> tuple[str, int]:
    """Return which network has these tensors, by its number of units, and D."""
    units = [re.match(r"layer([1-4])\.(\d+)\.", str(key)) for key in state]
    counts = [0, 0, 0, 0]
    for unit in filter(None, units):
        stage = int(unit[1]) - 1
        counts[stage] = max(counts[stage], int(unit[2]) + 1)
    name = IRESNETS.get(tuple(counts), "mbf" if "conv_sep.layers.0.weight" in state else "")
    if not name:
        found = f"stages of {', '.join(map(str, counts))} units" if any(counts) else "other names"
        known = ", ".join([*IRESNETS.values(), "mbf"])
        raise CheckpointError(
            f"{path} is of no network of arcface_torch that is known here ({known}): it has {found}"
        )
    last = state.get("features.layers.3.weight" if name == "mbf" else "features.weight")
    return name, len(last) if last is not None and last.ndim == 1 else BACKBONES[name].size


def _difference(state: Mapping[str, Tensor], name: str, size: int) -> str:
    """Return a phrase about the first tensors that are not as in a network; "" if all are."""
    with torch.device("meta"):
        module = BACKBONES[name].build(size, BACKBONES[name].output, "prelu")
    names = arcface_torch_names(module)
    shapes = {names[own]: tuple(value.shape) for own, value in module.state_dict().items()}
    if missing := [key for key in shapes if key not in state]:
        return f"it lacks {_few(missing)}"
    if unknown := [str(key) for key in state if key not in shapes]:
        return f"it also has {_few(unknown)}"
    for key, shape in shapes.items():
        if tuple(state[key].shape) != shape:
            return f"{key} is {tuple(state[key].shape)}, not {shape}"
    return ""


def load_arcface_torch(module: nn.Module, path: Path) -> None:
    """Fill a network from a `backbone.pth`, all tensors or none.

    Args:
        module: iresnet18 ... iresnet200 or mbf, with embeddings of the file's size.
        path: of the file.

    Raises:
        CheckpointError: as `read_arcface_torch`, or if the file is of another network.
    """
    state, name, size = read_arcface_torch(path)
    names = arcface_torch_names(module)
    own = {names[key]: value.shape for key, value in module.state_dict().items()}
    is_same = own == {key: value.shape for key, value in state.items()}
    if not is_same or getattr(module, "scale", 0) != ARCFACE_TORCH_SCALE:
        raise CheckpointError(
            f"{path} is {name} of arcface_torch with embeddings of {size} numbers, and the "
            f"recipe has another network: --set backbone.name={name} --set backbone.size={size}"
        )
    module.load_state_dict({key: state[theirs] for key, theirs in names.items()})


def write_arcface_torch(module: nn.Module, path: Path) -> str:
    """Write a network as a `backbone.pth` that arcface_torch loads strictly.

    An iresnet and mbf are written bit for bit. In r18 ... r100 the scale of the pixels and the
    epsilon are others: the first convolution and the variances are changed so that the embeddings
    are the same to rounding.

    Args:
        module: its tensors are written as float32, counts as int64.
        path: an older file is replaced.

    Returns:
        The network's name as BACKBONES has it.

    Raises:
        ExportError: if arcface_torch has no such network, or the file cannot be written.
    """
    names = arcface_torch_names(module)
    tensors = _folded(module)
    state = {theirs: tensors[own].detach().cpu().contiguous() for own, theirs in names.items()}
    try:
        name, size = _network_of(state, path)
    except CheckpointError:
        name, wrong = "", "its layers are others"
    else:
        wrong = _difference(state, name, size)
    if wrong:
        raise ExportError(
            f"cannot export to {path}: arcface_torch has no such network"
            f"{f', the nearest is {name}' if name else ''} ({wrong}); it has the iresnets, which "
            "r18, r34, r50 and r100 are with head E or FC, and mbf"
        )
    buffer = io.BytesIO()
    torch.save(state, buffer)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(buffer.getbuffer())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
    return name


def _folded(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors with which arcface_torch's scale and epsilon give the same embeddings."""
    tensors = dict(module.state_dict())
    for path, layer in module.named_modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.eps != EPS_TORCH:
            tensors[f"{path}.running_var"] = tensors[f"{path}.running_var"] + layer.eps - EPS_TORCH
    scale = getattr(module, "scale", ARCFACE_TORCH_SCALE)
    if scale != ARCFACE_TORCH_SCALE and "conv0.weight" in tensors:
        tensors["conv0.weight"] = tensors["conv0.weight"] * (scale / ARCFACE_TORCH_SCALE)
    return tensors


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
