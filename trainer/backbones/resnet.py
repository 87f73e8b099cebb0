"""The face ResNets (`fresnet`): r18, r34, r50, r50v1, r100."""

from torch import Tensor, nn

from trainer.backbones.layers import (
    EPS_FINE,
    PIXEL_SCALE,
    activation,
    batch_norm,
    embedding_head,
    normalize,
)

WIDTHS = (64, 64, 128, 256, 512)
SE_REDUCTION = 16  # channels to one of the block's inner ones


class Unit(nn.Module):
    """What both units share: the SE block after the last batch norm, where wanted.

    Source: Squeeze-and-Excitation (Hu et al. 2018), figure 3.
    """

    def __init__(self, channels: int, act: str, *, se: bool) -> None:
        super().__init__()
        self.has_se = se
        if se:
            inner = channels // SE_REDUCTION
            self.se_pool1 = nn.AdaptiveAvgPool2d(1)
            self.se_conv1 = nn.Conv2d(channels, inner, 1)
            self.se_relu1 = activation(act, inner)
            self.se_conv2 = nn.Conv2d(inner, channels, 1)
            self.se_sigmoid = nn.Sigmoid()

    def weigh(self, y: Tensor) -> Tensor:
        """Weigh the channels of (B, C, H, W)."""
        if not self.has_se:
            return y
        inner = self.se_relu1(self.se_conv1(self.se_pool1(y)))
        return y * self.se_sigmoid(self.se_conv2(inner))


class UnitV3(Unit):
    """Improved residual unit: BN, conv, BN, PReLU, conv, BN; nothing after the sum.

    Source: ArcFace (Deng et al. 2019), section 3.1, "BN-Conv-BN-PReLU-Conv-BN".
    """

    def __init__(self, inputs: int, outputs: int, stride: int, act: str, *, se: bool) -> None:
        super().__init__(outputs, act, se=se)
        self.bn1 = batch_norm(inputs, EPS_FINE)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = batch_norm(outputs, EPS_FINE)
        self.relu1 = activation(act, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = batch_norm(outputs, EPS_FINE)
        self.is_identity = stride == 1 and inputs == outputs
        if not self.is_identity:
            self.conv1sc = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.sc = batch_norm(outputs, EPS_FINE)

    def forward(self, x: Tensor) -> Tensor:
        """Add the unit's change to (B, C, H, W)."""
        y = self.bn3(self.conv2(self.relu1(self.bn2(self.conv1(self.bn1(x))))))
        shortcut = x if self.is_identity else self.sc(self.conv1sc(x))
        return self.weigh(y) + shortcut


class UnitV1(Unit):
    """Residual unit of He et al. 2016, the stride in the second convolution ("v1_L")."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: str, *, se: bool) -> None:
        super().__init__(outputs, act, se=se)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn1 = batch_norm(outputs, EPS_FINE)
        self.relu1 = activation(act, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = batch_norm(outputs, EPS_FINE)
        self.is_identity = stride == 1 and inputs == outputs
        if not self.is_identity:
            self.conv1sc = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.sc = batch_norm(outputs, EPS_FINE)
        self.relu3 = activation(act, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Add the unit's change to (B, C, H, W)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut = x if self.is_identity else self.sc(self.conv1sc(x))
        return self.relu3(self.weigh(y) + shortcut)


class ResNet(nn.Module):
    """A face ResNet: (B, 3, 112, 112) pixels of 0..255, RGB, to (B, D) embeddings.

    Args:
        blocks: units in each of the four stages.
        size: D.
        output: kind of the embedding head.
        act: activation.
        unit: 3 or 1 (`net_unit`).
        se: with SE blocks (`net_se`).
    """

    def __init__(
        self, blocks: tuple[int, ...], size: int, *, output: str, act: str, unit: int, se: bool
    ) -> None:
        super().__init__()
        self.scale = PIXEL_SCALE
        self.conv0 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn0 = batch_norm(WIDTHS[0], EPS_FINE)
        self.relu0 = activation(act, WIDTHS[0])
        make = UnitV3 if unit == 3 else UnitV1
        self.units: list[str] = []
        for stage, n_units in enumerate(blocks, 1):
            for number in range(1, n_units + 1):
                first = number == 1
                name = f"stage{stage}_unit{number}"
                inputs = WIDTHS[stage - 1] if first else WIDTHS[stage]
                self.add_module(name, make(inputs, WIDTHS[stage], 2 if first else 1, act, se=se))
                self.units.append(name)
        self.last = []
        for name, module in embedding_head(output, WIDTHS[-1], size, act=act).items():
            self.add_module(name, module)
            self.last.append(name)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed (B, 3, 112, 112)."""
        x = self.relu0(self.bn0(self.conv0(normalize(pixels, self.scale))))
        for name in (*self.units, *self.last):
            x = getattr(self, name)(x)
        return x
