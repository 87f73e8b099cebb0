"""The least time that a training step can take on this processor: operations and bytes moved.

For every layer the larger of its operations over the measured peak of matrix products and
convolutions, and the bytes of its inputs, outputs and gradients over the measured bandwidth, each
layer run by itself. Additions of shortcuts, the head and the optimizer are not counted.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Clock = Callable[[], float]

SIDE = 1536  # of the matrices whose product is timed
MIB = 2**20
SIZES = tuple(MIB * n // 4 for n in (1, 4, 16, 64, 256, 1024))  # bytes moved by a timed addition
LEAST_S = 0.05  # of processor time that a figure is measured in
BYTES = {"f32": 4, "bf16": 2}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the processor can do, in a second of processor time of one thread.

    Attributes:
        operations: floating-point, of a matrix product or convolution, whichever is faster.
        bandwidth: bytes read and written by additions that move as many bytes as SIZES says.
    """

    operations: float
    bandwidth: tuple[float, ...]

    def moving_s(self, n_bytes: float) -> float:
        """Return the seconds that it takes to move so many bytes, small ones from a cache."""
        return n_bytes / self.bandwidth[min(bisect_left(SIZES, n_bytes), len(SIZES) - 1)]


def measure_peaks(precision: str, *, cpu_clock: Clock) -> Peaks:
    """Measure with torch's present number of threads.

    Args:
        precision: f32 or bf16, of the operations; additions are of float32.
        cpu_clock: seconds of the processor, all threads together.
    """
    a = torch.randn(SIDE, SIDE).to(DTYPES[precision])
    operations = 2 * SIDE**3 / _seconds(lambda: torch.mm(a, a), cpu_clock)
    # by another library than the product, and faster in f32 on AMD's processors
    pixels = torch.randn(8, 256, 14, 14).to(DTYPES[precision])
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(256, 256, 3, 3).to(DTYPES[precision])
    seconds = _seconds(lambda: functional.conv2d(pixels, weights, padding=1), cpu_clock)
    operations = max(operations, 2 * pixels.numel() * weights[0].numel() / seconds)
    bandwidth = []
    for size in SIZES:
        x, y, out = torch.zeros(3, size // 12).unbind()
        seconds = _seconds(lambda x=x, y=y, out=out: torch.add(x, y, out=out), cpu_clock)  # type: ignore[misc]
        bandwidth.append(size / seconds)
    return Peaks(operations, tuple(bandwidth))


def _seconds(run: Callable[[], object], cpu_clock: Clock) -> float:
    """Return the least seconds of one run, of three measurements."""
    run()
    best = math.inf
    for _ in range(3):
        start, n = cpu_clock(), 0
        while (spent := cpu_clock() - start) < LEAST_S:
            run()
            n += 1
        best = min(best, spent / max(n, 1))
    return max(best, 1e-12)


@dataclass(frozen=True, slots=True)
class Work:
    """What one layer does for an image, forward or backward."""

    operations: float
    elements: float


def floor_s(backbone: nn.Module, batch: int, precision: str, peaks: Peaks) -> float:
    """Return the seconds of processor time that a step of a batch takes at least.

    Args:
        backbone: of which layers are counted; its statistics stay as they are.
        batch: images.
        precision: f32 or bf16.
        peaks: as measured in that precision.
    """
    return sum(
        max(
            batch * work.operations / peaks.operations,
            peaks.moving_s(batch * work.elements * BYTES[precision]),
        )
        for work in works_of(backbone)
    )


def works_of(backbone: nn.Module) -> list[Work]:
    """Return the work of every layer for one image, forward and backward."""
    found: list[Work] = []
    is_training = backbone.training

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.extend(_work(layer, inputs[0].numel(), output.numel(), is_first=not found))

    layers = [layer for layer in backbone.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    parameter = next(backbone.parameters())
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 3, 112, 112, device=parameter.device))
    finally:
        backbone.train(is_training)
        for hook in hooks:
            hook.remove()
    return found


def _work(layer: nn.Module, n_in: int, n_out: int, *, is_first: bool) -> Iterator[Work]:
    """Yield forward and backward.

    Elements are read and written once by each pass that needs them: a batch norm reads its input
    for the statistics and again to scale it, and both gradients likewise.
    """
    match layer:
        case nn.Conv2d() | nn.Linear():
            each = math.prod(layer.weight.shape[1:])  # multiplications for one output
            operations = 2 * n_out * each
            yield Work(operations, n_in + n_out)
            if is_first:  # pixels need no gradient
                yield Work(operations, n_in + n_out)
            else:
                yield Work(2 * operations, 2 * (n_in + n_out))
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            yield Work(0, 3 * n_in)
            yield Work(0, 5 * n_in)
        case nn.PReLU() | nn.ReLU() | nn.Sigmoid() | nn.Dropout():
            yield Work(0, 2 * n_in)
            yield Work(0, 3 * n_in)
        case nn.MaxPool2d() | nn.AvgPool2d() | nn.AdaptiveAvgPool2d():
            yield Work(0, n_in + n_out)
            yield Work(0, n_in + n_out)
