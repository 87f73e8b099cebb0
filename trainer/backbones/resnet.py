"""The face ResNets (`fresnet`): r18, r34, r50, r50v1, r100."""

from torch import Tensor, nn

from trainer.backbones.layers import (
    EPS_FINE,
    activation,
    batch_norm,
    embedding_head,
    normalise,
)

WIDTHS = (64, 64, 128, 256, 512)


class UnitV3(nn.Module):
    """Improved residual unit: BN, conv, BN, PReLU, conv, BN; nothing after the sum.

    Source: ArcFace (Deng et al. 2019), section 3.1, "BN-Conv-BN-PReLU-Conv-BN".
    """

    def __init__(self, inputs: int, outputs: int, stride: int, act: str) -> None:
        super().__init__()
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
        return y + shortcut


class UnitV1(nn.Module):
    """Residual unit of He et al. 2016, the stride in the second convolution ("v1_L")."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: str) -> None:
        super().__init__()
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
        return self.relu3(y + shortcut)


class ResNet(nn.Module):
    """A face ResNet: (B, 3, 112, 112) pixels of 0..255, RGB, to (B, D) embeddings.

    Args:
        blocks: units in each of the four stages.
        size: D.
        output: kind of the embedding head.
        act: activation.
        unit: 3 or 1 (`net_unit`).
    """

    def __init__(
        self, blocks: tuple[int, ...], size: int, *, output: str, act: str, unit: int
    ) -> None:
        super().__init__()
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
                self.add_module(name, make(inputs, WIDTHS[stage], 2 if first else 1, act))
                self.units.append(name)
        self.last = []
        for name, module in embedding_head(output, WIDTHS[-1], size, act=act).items():
            self.add_module(name, module)
            self.last.append(name)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed (B, 3, 112, 112)."""
        x = self.relu0(self.bn0(self.conv0(normalise(pixels))))
        for name in (*self.units, *self.last):
            x = getattr(self, name)(x)
        return x
