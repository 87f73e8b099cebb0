"""Training in several processes: joining them, and batch norm over all of them."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.backbones.layers import BN_MOMENTUM

T = TypeVar("T")
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class World:
    """This process among all; `local_rank` counts on its machine."""

    rank: int
    size: int
    local_rank: int


@contextmanager
def join_world(device_type: str) -> Iterator[World]:
    """Join the processes that torchrun started; a world of one without torchrun.

    What was built on the group (a DistributedDataParallel, say) must be out of scope at the end.
    """
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1, 0)
        return
    _end_with_parent()
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        # Modules that hold the group are in reference cycles. Left to the end of the interpreter,
        # a thread of gloo that still frees a tensor cannot take Python's lock, and aborts.
        gc.collect()
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """End this process when torchrun is killed; else it would train on, its directory claimed.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended a moment before
        sys.exit(1)


def n_processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(own: T) -> list[T]:
    """Return what every rank gives, by rank; all must call it. Plain values and CPU tensors."""
    if n_processes() == 1:
        return [own]
    group = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    found: list[T] = [own] * dist.get_world_size()
    dist.all_gather_object(found, own, group=group)
    if group is not None:
        dist.destroy_process_group(group)
    return found


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


class _Synchronized(nn.modules.batchnorm._BatchNorm):
    """Batch norm with statistics over all ranks, on a CPU."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        mean_so_far, variance_so_far = self.running_mean, self.running_var
        if not self.training or mean_so_far is None or variance_so_far is None:
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        x = input.float()
        n = input.numel() / input.shape[1] * dist.get_world_size()  # equal batches on all ranks
        mean = _SumOverRanks.apply(x.sum(axes)) / n
        centered = x - mean.view(shape)
        # not E[x^2] - mean^2, which cancels where the mean is large
        variance = _SumOverRanks.apply(centered.square().sum(axes)) / n
        with torch.no_grad():
            mean_so_far.lerp_(mean, BN_MOMENTUM)
            variance_so_far.lerp_(variance * n / (n - 1), BN_MOMENTUM)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale.view(shape) + self.bias.view(shape)).to(input.dtype)


class SynchronizedBatchNorm2d(_Synchronized, nn.BatchNorm2d):
    """For (B, C, H, W)."""


class SynchronizedBatchNorm1d(_Synchronized, nn.BatchNorm1d):
    """For (B, C)."""


def synchronize_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """Compute the statistics of all batch norms over all ranks; names and weights stay.

    Args:
        module: on its device; changed in place.
        device: torch's own layer needs a GPU; on a CPU ours does the same.

    Returns:
        The module, to be used instead of the one given.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SynchronizedBatchNorm2d
        elif type(layer) is nn.BatchNorm1d:
            layer.__class__ = SynchronizedBatchNorm1d
    return module


def average_gradients(module: nn.Module) -> nn.Module:
    """Wrap a module so that gradients are averaged over the ranks; buffers stay each rank's own."""
    return nn.parallel.DistributedDataParallel(module, forward_sync_buffers=False)
