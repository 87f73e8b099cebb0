"""Layers that all backbones share, with MXNet's defaults.

A module's path, dots turned to underscores, is its name in an MXNet checkpoint:
`stage1_unit1.bn1` is `stage1_unit1_bn1`, its gamma `stage1_unit1_bn1_gamma`. MNasNet and
DenseNet are gluon's, with names as gluon counts them (read off MXNet 1.9.1).
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from trainer.backbones.prelu import PReLU
from trainer.errors import RecipeError

BN_MOMENTUM = 0.1  # torch counts the new share; MXNet's bn_mom = 0.9 counts the old
EPS_MXNET = 1e-3  # default of BatchNorm
EPS_FINE = 2e-5  # what the reference passes in residual units and heads
EPS_GLUON = 1e-5  # gluon.nn.BatchNorm
EPS_TORCH = 1e-5  # torch.nn.BatchNorm2d; arcface_torch has no other
PRELU_SLOPE = 0.25  # mx.init: gamma of LeakyReLU
NORM_EPS = 1e-10  # under a root, so that its gradient at 0 is finite; as L2Normalization's
PIXEL_MEAN, PIXEL_SCALE = 127.5, 0.0078125  # inside the graph: networks take 0..255
ARCFACE_TORCH_SCALE = 1 / 127.5


def normalize(pixels: Tensor, scale: float = PIXEL_SCALE) -> Tensor:
    """Bring (B, 3, H, W) pixels of 0..255, RGB, to -1..1 as every network of the field does."""
    return (pixels - PIXEL_MEAN) * scale


def as_arcface_torch(module: nn.Module) -> nn.Module:
    """Give a network arcface_torch's scale of the pixels and epsilon of batch norms."""
    module.scale = ARCFACE_TORCH_SCALE  # type: ignore[assignment]
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.eps = EPS_TORCH
    return module


def batch_norm(channels: int, eps: float = EPS_MXNET, *, fix_gamma: bool = False) -> nn.Module:
    """Build a 2-d batch norm; with `fix_gamma` its scale is 1 and never trained."""
    norm = nn.BatchNorm2d(channels, eps, BN_MOMENTUM)
    norm.weight.requires_grad_(not fix_gamma)
    return norm


def activation(kind: str, channels: int) -> nn.Module:
    """Build a "prelu" (a slope each channel), "prelu1" (one slope for all) or "relu"."""
    if kind == "relu":
        return nn.ReLU()
    return PReLU(1 if kind == "prelu1" else channels, PRELU_SLOPE)


def conv_block(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    pad: int = -1,
    groups: int = 1,
    act: str = "prelu",
    fix_gamma: bool = False,
    eps: float = EPS_MXNET,
) -> nn.Sequential:
    """Build convolution, batch norm and (unless `act` is empty) activation.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side.
        stride: of the convolution.
        pad: zeros around; -1 for half the kernel.
        groups: of the convolution; `inputs` makes it depthwise.
        act: as `activation`, or "".
        fix_gamma: as `batch_norm`.
        eps: of the batch norm.
    """
    pad = kernel // 2 if pad < 0 else pad
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv2d"] = nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False)
    layers["batchnorm"] = batch_norm(outputs, eps, fix_gamma=fix_gamma)
    if act:
        layers["relu"] = activation(act, outputs)
    return nn.Sequential(layers)


def embedding_head(
    kind: str, channels: int, size: int, *, act: str = "prelu", groups: int = 0
) -> "OrderedDict[str, nn.Module]":
    """Build what turns the last feature map into the embedding (`net_output`).

    Args:
        kind: E, F, FC, G, H, I, J, Z, GDC, GAP or GNAP.
        channels: of the feature map, which is 7x7.
        size: D, of the embedding.
        act: activation, used by GAP and GNAP.
        groups: of GDC's 7x7 convolution, which has as many filters; 0 for `channels`.

    Returns:
        Modules by name, to be run in order; the last gives the (B, D) embedding.

    Raises:
        RecipeError: if Z, which has no weights, gives embeddings of another size.
    """
    flat = channels * 49  # a 7x7 map: 112 pixels halved four times
    last: OrderedDict[str, nn.Module] = OrderedDict()
    if kind == "GNAP":
        return _gnap(channels, size, act)
    if kind in ("E", "F", "FC", "I", "Z", "G"):
        last["bn1"] = batch_norm(channels, EPS_FINE)
    if kind in ("E", "F", "Z"):
        last["drop"] = nn.Dropout(0.4)
    if kind == "GDC":
        filters = groups or channels
        last["conv_6dw7_7"] = conv_block(channels, filters, 7, pad=0, groups=filters, act="")
        flat = filters
    if kind == "GAP":
        last["bn1"] = batch_norm(channels, EPS_FINE)
        last["relu1"] = activation(act, channels)
        last["pool1"] = nn.AdaptiveAvgPool2d(1)
        flat = channels
    last["flatten0"] = nn.Flatten()
    if kind == "Z":
        if size != flat:
            raise RecipeError(
                f"backbone.output Z gives {flat} numbers, not {size}: set backbone.size = {flat}, "
                "or choose another output"
            )
        return last
    is_plain = kind in ("F", "G", "H")  # the embedding is the linear layer itself
    last["fc1" if is_plain else "pre_fc1"] = nn.Linear(flat, size)
    if not is_plain:
        last["fc1"] = _last_norm(size)
    return last


def _last_norm(size: int) -> nn.Module:
    norm = nn.BatchNorm1d(size, EPS_FINE, BN_MOMENTUM)
    norm.weight.requires_grad_(False)
    return norm


def _gnap(channels: int, size: int, act: str) -> "OrderedDict[str, nn.Module]":
    """Build the norm-aware average: all positions of the map have equal weight.

    The reference supports only maps of 512 channels; this one supports any number.
    """
    last: OrderedDict[str, nn.Module] = OrderedDict()
    if size > channels:
        last["convx"] = nn.Conv2d(channels, size, 1, bias=False)
        last["convx_bn"] = batch_norm(size, EPS_FINE)
        last["convx_relu"] = activation(act, size)
    wide = max(size, channels)
    last["bn6f"] = batch_norm(wide, EPS_FINE, fix_gamma=True)
    last["spatial"] = EqualNorms()
    last["pool6"] = nn.AdaptiveAvgPool2d(1)
    if size < wide:
        last["bn6w"] = batch_norm(wide, EPS_FINE, fix_gamma=True)
    last["flatten0"] = nn.Flatten()
    if size < wide:
        last["pre_fc1"] = nn.Linear(wide, size)
    last["fc1"] = _last_norm(size)
    return last


class EqualNorms(nn.Module):
    """Gives the features of every place the mean norm of their image's places.

    The reference takes the mean over the batch, so that a face's embedding depends on the other
    faces of the batch. For a batch of one both are the same.

    Source: Global Norm-Aware Pooling (Chen et al. 2018, arXiv:1808.00435).
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, C, H, W)."""
        norms = torch.sqrt(torch.sum(x * x, dim=1, keepdim=True) + NORM_EPS)
        return x * (self.mean(norms) / norms)


class Gluon(nn.Sequential):
    """What the reference builds by gluon: slopes are `alpha` there, statistics `running_...`."""


def gluon_block(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    act: str = "prelu1",
) -> "OrderedDict[str, nn.Module]":
    """Build convolution, batch norm and (unless `act` is empty) activation, as gluon names them.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side.
        stride: of the convolution.
        groups: of the convolution; `inputs` makes it depthwise.
        act: as `activation`, or "".
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv0"] = nn.Conv2d(
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    layers["batchnorm0"] = batch_norm(outputs, EPS_GLUON)
    if act:
        layers["prelu0" if act.startswith("prelu") else "relu0"] = activation(act, outputs)
    return layers


def initialize(module: nn.Module, *, gaussian: bool, generator: torch.Generator) -> None:
    """Draw all convolution and linear weights as the reference does (Xavier, magnitude 2).

    Fans are shape[1] and shape[0] times the kernel's area. Biases become 0.

    Args:
        module: the backbone.
        gaussian: normal by the outgoing fan, else uniform by the incoming.
        generator: makes it repeatable.
    """
    for layer in module.modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        shape = layer.weight.shape
        area = math.prod(shape[2:])
        with torch.no_grad():
            if gaussian:
                layer.weight.normal_(0, math.sqrt(2 / (shape[0] * area)), generator=generator)
            else:
                bound = math.sqrt(2 / (shape[1] * area))
                layer.weight.uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
