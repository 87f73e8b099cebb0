"""Which network a name stands for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from trainer.backbones.densenet import densenet
from trainer.backbones.layers import as_arcface_torch, initialize
from trainer.backbones.mobile import mbf, mnasnet, mobilefacenet, mobilenet
from trainer.backbones.resnet import ResNet
from trainer.errors import RecipeError

OUTPUTS = ("E", "F", "FC", "G", "H", "I", "J", "Z", "GDC", "GAP", "GNAP")


@dataclass(frozen=True, slots=True)
class Backbone:
    """How a named network is built, and its defaults.

    Attributes:
        build: from embedding size, head and activation.
        size: D.
        output: kind of the embedding head.
        gaussian: how its weights are drawn, see `layers.initialize`.
        build_se: as `build`, with an SE block in every unit; None where the reference has none.
    """

    build: Callable[[int, str, str], nn.Module]
    size: int
    output: str
    gaussian: bool
    build_se: Callable[[int, str, str], nn.Module] | None = None


def _resnet(*blocks: int, unit: int = 3, output: str = "E") -> Backbone:
    def build(size: int, output: str, act: str, *, se: bool = False) -> nn.Module:
        return ResNet(blocks, size, output=output, act=act, unit=unit, se=se)

    return Backbone(build, 512, output, gaussian=True, build_se=partial(build, se=True))


def _iresnet(*blocks: int) -> Backbone:
    def build(size: int, output: str, act: str) -> nn.Module:
        return as_arcface_torch(ResNet(blocks, size, output=output, act=act, unit=3, se=False))

    return Backbone(build, 512, "FC", gaussian=True)


def _mbf() -> Backbone:
    return Backbone(
        lambda size, output, act: mbf(size, output=output, act=act), 512, "GDC", gaussian=True
    )


def _mobilefacenet(size: int, *blocks: int) -> Backbone:
    return Backbone(
        lambda size, output, act: mobilefacenet(blocks, size, output=output, act=act),
        size,
        "GDC",
        gaussian=True,
    )


def _mobilenet(multiplier: float) -> Backbone:
    return Backbone(
        lambda size, output, act: mobilenet(multiplier, size, output=output, act=act),
        256,
        "GDC",
        gaussian=False,
    )


def _mnasnet(multiplier: float) -> Backbone:
    return Backbone(
        lambda size, output, act: mnasnet(multiplier, size, output=output, act=act),
        256,
        "GDC",
        gaussian=False,
    )


def _densenet(*blocks: int) -> Backbone:
    return Backbone(
        lambda size, output, act: densenet(blocks, size, output=output, act=act),
        512,
        "E",
        gaussian=False,
    )


BACKBONES = {
    "r18": _resnet(2, 2, 2, 2),
    "r34": _resnet(3, 4, 6, 3),
    "r50": _resnet(3, 4, 14, 3),
    "r50v1": _resnet(3, 4, 14, 3, unit=1),
    "r100": _resnet(3, 13, 30, 3),
    "r100fc": _resnet(3, 13, 30, 3, output="FC"),
    "iresnet18": _iresnet(2, 2, 2, 2),
    "iresnet34": _iresnet(3, 4, 6, 3),
    "iresnet50": _iresnet(3, 4, 14, 3),
    "iresnet100": _iresnet(3, 13, 30, 3),
    "iresnet200": _iresnet(6, 26, 60, 6),
    "mbf": _mbf(),
    "y1": _mobilefacenet(128, 1, 4, 6, 2),
    "y2": _mobilefacenet(256, 2, 8, 16, 4),
    "m1": _mobilenet(1.0),
    "m05": _mobilenet(0.5),
    "m025": _mobilenet(0.25),
    "mnas": _mnasnet(1.0),
    "mnas05": _mnasnet(0.5),
    "mnas025": _mnasnet(0.25),
    "d121": _densenet(6, 12, 24, 16),
    "d169": _densenet(6, 12, 32, 32),
    "d201": _densenet(6, 12, 48, 32),
}


def build_backbone(
    name: str,
    *,
    size: int = 0,
    output: str = "",
    act: str = "prelu",
    se: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Build a backbone: (B, 3, 112, 112) pixels of 0..255, RGB, to (B, D) embeddings.

    Args:
        name: one of BACKBONES.
        size: D; 0 for the network's own.
        output: kind of the embedding head; "" for the network's own.
        act: "prelu" or "relu".
        se: an SE block in every unit (`net_se`); the ResNets have them.
        seed: of the initial weights.

    Raises:
        RecipeError: if there is no such network or head, or it has no SE blocks.
    """
    if name not in BACKBONES:
        raise RecipeError(f"unknown backbone {name!r} (known: {', '.join(BACKBONES)})")
    entry = BACKBONES[name]
    output = output or entry.output
    if output not in OUTPUTS:
        raise RecipeError(f"unknown head {output!r} of a backbone (known: {', '.join(OUTPUTS)})")
    build = entry.build_se if se else entry.build
    if build is None:
        with_se = ", ".join(name for name, other in BACKBONES.items() if other.build_se)
        raise RecipeError(f"backbone {name} has no SE blocks (with backbone.se: {with_se})")
    module = build(size or entry.size, output, act)
    generator = torch.Generator().manual_seed(seed)
    initialize(module, gaussian=entry.gaussian, generator=generator)
    return module
