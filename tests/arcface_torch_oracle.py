"""The networks of arcface_torch, written from their published description.

They take pixels of -1..1, as that program gives them, and have its names of layers. Nothing of
trainer is used.

Source: ArcFace (Deng et al. 2019), MobileFaceNets (Chen et al. 2018); names as in the files.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d, linear, prelu

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
DEPTHS[200] = (6, 26, 60, 6)
EPS = 1e-5

Shapes = dict[str, tuple[int, ...]]


def _norm(name: str, n: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (n,) for part in parts}, f"{name}.num_batches_tracked": ()}


def iresnet_shapes(depth: int, size: int = 512) -> Shapes:
    """Return the shapes of all tensors of an iresnet by their names."""
    shapes: Shapes = {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,), **_norm("bn1", 64)}
    before = 64
    for stage, n in enumerate(DEPTHS[depth], 1):
        width = 32 * 2**stage
        for i in range(n):
            unit = f"layer{stage}.{i}"
            shapes |= _norm(f"{unit}.bn1", before)
            shapes[f"{unit}.conv1.weight"] = (width, before, 3, 3)
            shapes |= _norm(f"{unit}.bn2", width)
            shapes[f"{unit}.prelu.weight"] = (width,)
            shapes[f"{unit}.conv2.weight"] = (width, width, 3, 3)
            shapes |= _norm(f"{unit}.bn3", width)
            if i == 0:
                shapes[f"{unit}.downsample.0.weight"] = (width, before, 1, 1)
                shapes |= _norm(f"{unit}.downsample.1", width)
            before = width
    shapes |= _norm("bn2", 512)
    shapes |= {"fc.weight": (size, 512 * 7 * 7), "fc.bias": (size,), **_norm("features", size)}
    return shapes


def _apply_norm(state: dict[str, Any], name: str, x: torch.Tensor) -> torch.Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=EPS)


def iresnet(state: dict[str, Any], x: torch.Tensor) -> torch.Tensor:
    """Embed (B, 3, 112, 112) pixels of -1..1 by an iresnet's tensors."""
    x = conv2d(x, state["conv1.weight"], padding=1)
    x = prelu(_apply_norm(state, "bn1", x), state["prelu.weight"])
    units = [key.removesuffix(".conv1.weight") for key in state if key.endswith(".conv1.weight")]
    for unit in units:
        stride = 2 if unit.endswith(".0") else 1
        y = conv2d(_apply_norm(state, f"{unit}.bn1", x), state[f"{unit}.conv1.weight"], padding=1)
        y = prelu(_apply_norm(state, f"{unit}.bn2", y), state[f"{unit}.prelu.weight"])
        y = conv2d(y, state[f"{unit}.conv2.weight"], stride=stride, padding=1)
        y = _apply_norm(state, f"{unit}.bn3", y)
        if stride == 2:
            x = conv2d(x, state[f"{unit}.downsample.0.weight"], stride=2)
            x = _apply_norm(state, f"{unit}.downsample.1", x)
        x = x + y
    x = _apply_norm(state, "bn2", x).flatten(1)
    return _apply_norm(state, "features", linear(x, state["fc.weight"], state["fc.bias"]))


class _Block(nn.Module):
    """Convolution, norm and, where `slope`, PReLU."""

    def __init__(
        self, a: int, b: int, k: int = 1, stride: int = 1, groups: int = 1, *, slope: bool = True
    ) -> None:
        super().__init__()
        padding = 0 if k == 7 else k // 2
        conv = nn.Conv2d(a, b, k, stride, padding, groups=groups, bias=False)
        last = [nn.PReLU(b)] if slope else []
        self.layers = nn.Sequential(conv, nn.BatchNorm2d(b), *last)

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers(x)


class _Neck(nn.Module):
    def __init__(self, a: int, wide: int, b: int, stride: int) -> None:
        super().__init__()
        middle = _Block(wide, wide, 3, stride, wide)
        self.layers = nn.Sequential(_Block(a, wide), middle, _Block(wide, b, slope=False))
        self.adds = stride == 1

    def forward(self, x: torch.Tensor) -> Any:
        return x + self.layers(x) if self.adds else self.layers(x)


class _Row(nn.Module):
    def __init__(self, n: int, a: int, wide: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_Neck(a, wide, a, 1) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers(x)


class _Last(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        whole = _Block(512, 512, 7, groups=512, slope=False)
        dense = nn.Linear(512, size, bias=False)
        self.layers = nn.Sequential(whole, nn.Flatten(), dense, nn.BatchNorm1d(size))

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers(x)


class Mbf(nn.Module):
    """The MobileFaceNet `mbf`: (B, 3, 112, 112) pixels of -1..1 to (B, size)."""

    def __init__(self, size: int = 512) -> None:
        super().__init__()
        first = [_Block(3, 128, 3, 2), _Block(128, 128, 3, groups=64)]
        third = [_Neck(128, 128, 128, 2), _Row(4, 128, 128)]
        fourth = [_Neck(128, 256, 256, 2), _Row(6, 256, 256)]
        fifth = [_Neck(256, 512, 256, 2), _Row(2, 256, 256)]
        self.layers = nn.Sequential(*first, *third, *fourth, *fifth)
        self.conv_sep = _Block(256, 512)
        self.features = _Last(size)

    def forward(self, x: torch.Tensor) -> Any:
        """Embed."""
        return self.features(self.conv_sep(self.layers(x)))


def random_state(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Draw weights and statistics as training might leave them."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for name, shape in shapes.items():
        draw = torch.rand(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + draw
            if name.startswith(("bn1", "features")):
                # some near the epsilon, where another one shows; in every unit they would overflow
                state[name] = torch.where(draw < 0.1, 1e-5 + draw * 1e-3, 0.5 + draw)
        elif len(shape) > 1:
            fan = torch.Size(shape[1:]).numel()
            state[name] = (draw - 0.5) * (12 / fan) ** 0.5  # variance 1 / fan
        elif name.endswith(("running_mean", "bias")):
            state[name] = 0.2 * (draw - 0.5)
        else:
            state[name] = 0.4 + 0.8 * draw
    return state


def shapes_of(name: str, size: int = 512) -> Shapes:
    """Return the shapes of a network's tensors: iresnet18 ... iresnet200 or mbf."""
    if name != "mbf":
        return iresnet_shapes(int(name.removeprefix("iresnet")), size)
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in Mbf(size).state_dict().items()}


def embed(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """Embed (B, 3, 112, 112) pixels of 0..255, RGB, as arcface_torch does."""
    x = (pixels / 255 - 0.5) / 0.5
    with torch.inference_mode():
        if "fc.weight" in state:
            return iresnet(state, x)
        network = Mbf(len(state["features.layers.3.weight"])).eval()
        network.load_state_dict(state)
        return torch.as_tensor(network(x))
