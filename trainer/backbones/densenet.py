"""The face DenseNets: d121, d169, d201 (Huang et al. 2017, with PReLU in the dense layers).

Layers are counted as gluon does it: within a stage, and outside of all stages.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from trainer.backbones.layers import EPS_GLUON, Gluon, activation, batch_norm, embedding_head
from trainer.backbones.mobile import Chain

GROWTH = 32  # channels that a layer adds
BOTTLENECK = 4  # its 1x1 convolution gives 4 x GROWTH


class DenseStage(nn.Module):
    """Layers of which each appends GROWTH channels to its input."""

    def __init__(self, inputs: int, n_layers: int, act: str) -> None:
        super().__init__()
        self.n_layers = n_layers
        wide = BOTTLENECK * GROWTH
        for i in range(n_layers):
            width = inputs + i * GROWTH
            self._step(2 * i, nn.Conv2d(width, wide, 1, bias=False), act)
            self._step(2 * i + 1, nn.Conv2d(wide, GROWTH, 3, 1, 1, bias=False), act)

    def _step(self, number: int, conv: nn.Conv2d, act: str) -> None:
        self.add_module(f"batchnorm{number}", batch_norm(conv.in_channels, EPS_GLUON))
        self.add_module(f"prelu{number}", activation(act, conv.in_channels))
        self.add_module(f"conv{number}", conv)

    def _run(self, number: int, x: Tensor) -> Tensor:
        for kind in ("batchnorm", "prelu", "conv"):
            x = getattr(self, f"{kind}{number}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + n_layers * GROWTH, H, W)."""
        for i in range(self.n_layers):
            x = torch.cat([x, self._run(2 * i + 1, self._run(2 * i, x))], dim=1)
        return x


def densenet(blocks: tuple[int, ...], size: int, *, output: str, act: str) -> nn.Module:
    """Build a DenseNet; its first convolution is 3x3 and keeps the size.

    Args:
        blocks: layers in each of the four stages.
        size: D.
        output: kind of the embedding head.
        act: activation; "prelu" has one slope a layer, as gluon's.
    """
    inner = "prelu1" if act == "prelu" else act
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv0"] = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    layers["batchnorm0"] = batch_norm(64, EPS_GLUON)
    layers["relu0"] = nn.ReLU()
    layers["pool0"] = nn.MaxPool2d(3, 2, 1)
    width = 64
    for stage, n_layers in enumerate(blocks, 1):
        layers[f"stage{stage}"] = DenseStage(width, n_layers, inner)
        width += n_layers * GROWTH
        if stage < len(blocks):
            layers[f"batchnorm{stage}"] = batch_norm(width, EPS_GLUON)
            layers[f"prelu{stage - 1}"] = activation(inner, width)
            layers[f"conv{stage}"] = nn.Conv2d(width, width // 2, 1, bias=False)
            layers[f"pool{stage}"] = nn.AvgPool2d(2, 2)
            width //= 2
    layers[f"batchnorm{len(blocks)}"] = batch_norm(width, EPS_GLUON)
    layers["relu1"] = nn.ReLU()
    body: OrderedDict[str, nn.Module] = OrderedDict(densenet0=Gluon(layers))
    return Chain(body | embedding_head(output, width, size, act=act))
