"""PReLU with a fast backward pass on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn


class PReLU(nn.PReLU):
    """As torch's, but about four times as fast forward and backward on a CPU.

    Output and input gradient are equal to the bit, the slopes' but for the order of a sum.

    torch's own backward runs one scalar loop there, and was the costliest part of y1 beside the
    convolutions: 23 ms of one thread for (16, 64, 56, 56) in bf16, now 6.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0) + slope * min(x, 0)."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        slope = self.weight.to(x.dtype)
        return _Function.apply(x, slope)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        (grad,) = grads
        above = torch.ops.aten.threshold_backward(grad, x, 0)  # the gradient where x > 0
        below = grad - above
        spread = slope.view(-1, *[1] * (x.dim() - 2))
        down = torch.addcmul(above, below, spread)
        every_but_channels = [0, *range(2, x.dim())]
        by_slope = below.mul_(x).sum(every_but_channels)
        return down, by_slope if len(slope) > 1 else by_slope.sum(0, keepdim=True)
