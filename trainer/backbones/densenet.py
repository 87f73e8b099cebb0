"""The face DenseNets: d121, d169, d201 (Huang et al. 2017, with PReLU in the dense layers)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from trainer.backbones.layers import EPS_GLUON, activation, batch_norm, embedding_head
from trainer.backbones.mobile import Chain

GROWTH = 32  # channels that a layer adds
BOTTLENECK = 4  # its 1x1 convolution gives 4 x GROWTH


class DenseLayer(nn.Module):
    """Appends GROWTH channels to its input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        wide = BOTTLENECK * GROWTH
        self.batchnorm0 = batch_norm(inputs, EPS_GLUON)
        self.prelu0 = activation("prelu1", inputs)
        self.conv0 = nn.Conv2d(inputs, wide, 1, bias=False)
        self.batchnorm1 = batch_norm(wide, EPS_GLUON)
        self.prelu1 = activation("prelu1", wide)
        self.conv1 = nn.Conv2d(wide, GROWTH, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + GROWTH, H, W)."""
        y = self.conv0(self.prelu0(self.batchnorm0(x)))
        return torch.cat([x, self.conv1(self.prelu1(self.batchnorm1(y)))], dim=1)


def densenet(blocks: tuple[int, ...], size: int, *, output: str) -> nn.Module:
    """Build a DenseNet whose first convolution is 3x3 and keeps the size.

    Args:
        blocks: layers in each of the four blocks.
        size: D.
        output: kind of the embedding head.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv0"] = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    layers["batchnorm0"] = batch_norm(64, EPS_GLUON)
    layers["relu0"] = nn.ReLU()
    layers["maxpool0"] = nn.MaxPool2d(3, 2, 1)
    width = 64
    for stage, n_layers in enumerate(blocks, 1):
        for i in range(n_layers):
            layers[f"stage{stage}_layer{i}"] = DenseLayer(width)
            width += GROWTH
        if stage < len(blocks):
            layers[f"transition{stage}_batchnorm"] = batch_norm(width, EPS_GLUON)
            layers[f"transition{stage}_prelu"] = activation("prelu1", width)
            layers[f"transition{stage}_conv"] = nn.Conv2d(width, width // 2, 1, bias=False)
            layers[f"transition{stage}_pool"] = nn.AvgPool2d(2, 2)
            width //= 2
    layers["last_batchnorm"] = batch_norm(width, EPS_GLUON)
    layers["last_relu"] = nn.ReLU()
    return Chain(layers | embedding_head(output, width, size))
