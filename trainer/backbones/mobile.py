"""The light networks: MobileFaceNet (y1, y2), MobileNet (m1, m05, m025) and MNasNet (mnas...)."""

from collections import OrderedDict

from torch import Tensor, nn

from trainer.backbones.layers import (
    PIXEL_SCALE,
    Gluon,
    as_arcface_torch,
    conv_block,
    embedding_head,
    gluon_block,
    normalize,
)


class Chain(nn.Module):
    """Named modules one after the other, fed with pixels of 0..255."""

    def __init__(self, layers: "OrderedDict[str, nn.Module]") -> None:
        super().__init__()
        self.scale = PIXEL_SCALE
        self.order = list(layers)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed (B, 3, 112, 112)."""
        x = normalize(pixels, self.scale)
        for name in self.order:
            x = getattr(self, name)(x)
        return x


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; the input is added where `residual`.

    Source: MobileNetV2 (Sandler et al. 2018), figure 3b; MobileFaceNets (Chen et al. 2018).
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        stride: int,
        *,
        residual: bool,
        act: str = "prelu",
    ) -> None:
        super().__init__()
        inputs, wide, outputs = channels
        self.conv_sep = conv_block(inputs, wide, act=act)
        self.conv_dw = conv_block(wide, wide, 3, stride, groups=wide, act=act)
        self.conv_proj = conv_block(wide, outputs, act="")
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Run the unit on (B, C, H, W)."""
        y = self.conv_proj(self.conv_dw(self.conv_sep(x)))
        return y + x if self.residual else y


def mobilefacenet(blocks: tuple[int, ...], size: int, *, output: str, act: str) -> nn.Module:
    """Build a MobileFaceNet; y1 has blocks 1, 4, 6, 2.

    Args:
        blocks: units in each of the four stages; a first 1 is a plain depthwise convolution.
        size: D.
        output: kind of the embedding head.
        act: activation.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv_1"] = conv_block(3, 64, 3, 2, act=act)
    if blocks[0] == 1:
        layers["conv_2_dw"] = conv_block(64, 64, 3, groups=64, act=act)
    else:
        for i in range(blocks[0]):
            layers[f"res_2_block{i}"] = Bottleneck((64, 64, 64), 1, residual=True, act=act)
    plan = ((64, 128, 64, 128), (64, 256, 128, 256), (128, 512, 128, 256))
    for stage, (inputs, wide, outputs, inner) in enumerate(plan, 3):
        down = f"dconv_{stage - 1}{stage}"
        layers[down] = Bottleneck((inputs, wide, outputs), 2, residual=False, act=act)
        for i in range(blocks[stage - 2]):
            unit = Bottleneck((outputs, inner, outputs), 1, residual=True, act=act)
            layers[f"res_{stage}_block{i}"] = unit
    layers["conv_6sep"] = conv_block(128, 512, act=act)
    return Chain(layers | embedding_head(output, 512, size, act=act))


def mbf(size: int, *, output: str, act: str) -> nn.Module:
    """Build the MobileFaceNet of arcface_torch: twice as wide as y1, its depths as y1's.

    Its second convolution has 64 groups of two channels, its last linear layer no bias.

    Args:
        size: D.
        output: kind of the embedding head.
        act: activation.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv_1"] = conv_block(3, 128, 3, 2, act=act)
    layers["conv_2_dw"] = conv_block(128, 128, 3, groups=64, act=act)
    plan = ((128, 128, 128, 128, 4), (128, 256, 256, 256, 6), (256, 512, 256, 256, 2))
    for stage, (inputs, wide, outputs, inner, units) in enumerate(plan, 3):
        down = f"dconv_{stage - 1}{stage}"
        layers[down] = Bottleneck((inputs, wide, outputs), 2, residual=False, act=act)
        for i in range(units):
            unit = Bottleneck((outputs, inner, outputs), 1, residual=True, act=act)
            layers[f"res_{stage}_block{i}"] = unit
    layers["conv_6sep"] = conv_block(256, 512, act=act)
    last = embedding_head(output, 512, size, act=act)
    if output == "GDC":
        last["pre_fc1"] = nn.Linear(512, size, bias=False)
        last["fc1"].requires_grad_(True)
    return as_arcface_torch(Chain(layers | last))


# (output width in units of 32 x multiplier, stride) of the pairs of MobileNet after conv_1
_MOBILENET = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *((16, 1),) * 5, (32, 2), (32, 1))


def mobilenet(multiplier: float, size: int, *, output: str, act: str) -> nn.Module:
    """Build a MobileNet; its first convolution keeps the size.

    Its GDC has 512 filters whatever comes in, as in the reference: two channels each for m1.
    Batch norms have a fixed gamma.

    Args:
        multiplier: of all widths.
        size: D.
        output: kind of the embedding head.
        act: activation.
    """
    base = int(32 * multiplier)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv_1"] = conv_block(3, base, 3, act=act, fix_gamma=True)
    width = base
    for number, (factor, stride) in enumerate(_MOBILENET, 2):
        layers[f"conv_{number}_dw"] = conv_block(
            width, width, 3, stride, groups=width, act=act, fix_gamma=True
        )
        layers[f"conv_{number}"] = conv_block(width, factor * base, act=act, fix_gamma=True)
        width = factor * base
    return Chain(layers | embedding_head(output, width, size, groups=min(512, width)))


# (name, expansion, width, units, stride, kernel) of the stages of MNasNet
_MNASNET = (
    ("stage2", 3, 24, 3, 2, 3),
    ("stage3", 3, 40, 3, 2, 5),
    ("stage4_1", 6, 80, 3, 2, 5),
    ("stage4_2", 6, 96, 2, 1, 3),
    ("stage5_1", 6, 192, 4, 2, 5),
    ("stage5_2", 6, 320, 1, 1, 3),
)


class ExpandedConv(nn.Module):
    """`Bottleneck` as gluon names it."""

    def __init__(
        self, channels: tuple[int, int, int], stride: int, kernel: int, *, residual: bool, act: str
    ) -> None:
        super().__init__()
        inputs, wide, outputs = channels
        dwise = gluon_block(wide, wide, kernel, stride, groups=wide, act=act)
        self.expand = nn.Sequential(gluon_block(inputs, wide, act=act))
        self.dwise = nn.Sequential(dwise)
        self.linear = nn.Sequential(gluon_block(wide, outputs, act=""))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Run the unit on (B, C, H, W)."""
        y = self.linear(self.dwise(self.expand(x)))
        return y + x if self.residual else y


def mnasnet(multiplier: float, size: int, *, output: str, act: str) -> nn.Module:
    """Build an MNasNet; its first convolution keeps the size.

    The stage's kernel is used by its first unit only, as in the reference.

    Args:
        multiplier: of all widths.
        size: D.
        output: kind of the embedding head.
        act: activation; "prelu" has one slope a layer, as gluon's.
    """
    act = "prelu1" if act == "prelu" else act
    first, width = int(32 * multiplier), int(16 * multiplier)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stage1_conv0"] = nn.Sequential(gluon_block(3, first, 3, act=act))
    sep = gluon_block(first, first, 3, groups=first, act=act)
    for name, layer in gluon_block(first, width, act=act).items():
        sep[name.replace("0", "1")] = layer
    layers["stage1_sepconv0"] = nn.Sequential(sep)
    for stage, expansion, base, n_units, stride, kernel in _MNASNET:
        outputs = int(base * multiplier)
        units: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(n_units):
            units[f"expandedconv{i}"] = ExpandedConv(
                (width, width * expansion, outputs),
                stride if i == 0 else 1,
                kernel if i == 0 else 3,
                residual=i > 0,
                act=act,
            )
            width = outputs
        layers[stage] = nn.Sequential(units)
    last = int(1024 * multiplier)
    layers["stage5_3"] = nn.Sequential(gluon_block(width, last, act=act))
    body: OrderedDict[str, nn.Module] = OrderedDict(mnasnet0=Gluon(layers))
    return Chain(body | embedding_head(output, last, size, act=act))
