"""How fast a network trains here, and how fast faces are read."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.backbones import BACKBONES, build_backbone
from trainer.data.faceset import FaceSet
from trainer.data.loader import Augmentation, Plan, batches
from trainer.heads.classification import MARGINS, MarginHead

CLASSES = 1000  # of the head: its share of the time is small, as for most sets
CLOCK_STEP = 1e-9  # seconds: lower bound of a measured time

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a network is run."""

    precision: str
    channels_last: bool


SETTINGS = tuple(Setting(p, last) for p in ("f32", "bf16") for last in (False, True))


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second, forward and backward, the optimizer's step left out.

    Attributes:
        backbone: name.
        batch: images.
        precision: f32 or bf16.
        channels_last: memory layout.
        images_per_s: by the wall clock, median over the runs.
        images_per_cpu_s: by processor time of all threads, median over the runs: what a thread
            does where nothing else runs. 0 on a GPU.
    """

    backbone: str
    batch: int
    precision: str
    channels_last: bool
    images_per_s: float
    images_per_cpu_s: float


def measure(
    name: str,
    *,
    batch: int,
    device: torch.device,
    clock: Clock,
    cpu_clock: Clock,
    settings: Sequence[Setting] = SETTINGS,
    runs: int = 5,
) -> list[Speed]:
    """Time forward and backward on random pixels, the settings by turns after one run to warm up.

    Settings take turns, so that a passing load affects all of them equally.

    Args:
        name: of the backbone.
        batch: images.
        device: where.
        clock: seconds of the wall.
        cpu_clock: seconds of the processor, all threads together.
        settings: to be compared.
        runs: of each setting.
    """
    steps = [_step_of(name, batch, setting, device) for setting in settings]
    walls: list[list[float]] = [[] for _ in settings]
    cpus: list[list[float]] = [[] for _ in settings]
    for run in range(runs + 1):
        for step, wall, cpu in zip(steps, walls, cpus, strict=True):
            start, cpu_start = clock(), cpu_clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:
                wall.append(max(clock() - start, CLOCK_STEP))
                cpu.append(max(cpu_clock() - cpu_start, CLOCK_STEP))
    on_cpu = device.type == "cpu"
    return [
        Speed(
            name,
            batch,
            setting.precision,
            setting.channels_last,
            batch / statistics.median(wall),
            batch / statistics.median(cpu) if on_cpu else 0.0,
        )
        for setting, wall, cpu in zip(settings, walls, cpus, strict=True)
    ]


def _step_of(name: str, batch: int, setting: Setting, device: torch.device) -> Callable[[], None]:
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    backbone = build_backbone(name).to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    head = MarginHead(
        CLASSES, BACKBONES[name].size, MARGINS["arcface"], generator=torch.Generator()
    ).to(device)
    pixels = torch.randint(0, 256, (batch, 112, 112, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(0, CLASSES, (batch,), device=device)

    def embed() -> Tensor:
        # crops lie as channels_last does: without this, the other layout would not be measured
        images = pixels.permute(0, 3, 1, 2).float().contiguous(memory_format=layout)
        is_bf16 = setting.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16) if is_bf16 else nullcontext():
            return backbone(images)

    def step() -> None:
        head(embed().float(), labels).loss.backward()
        for parameter in (*backbone.parameters(), *head.parameters()):
            parameter.grad = None

    return step


@dataclass(frozen=True, slots=True)
class Loading:
    """Images a second read, decoded, changed and batched in one process.

    Attributes:
        change: what was done to the images.
        images_per_s: by the wall clock.
        images_per_cpu_s: by processor time: what one core does.
    """

    change: str
    images_per_s: float
    images_per_cpu_s: float


CHANGES = {
    "mirror": Augmentation(mirror=True, color=0, cutoff=0),
    "mirror, colors": Augmentation(mirror=True, color=1, cutoff=0),
    "mirror, colors, JPEG again, cutoff": Augmentation(mirror=True, color=2, cutoff=32),
}


def measure_loading(
    faces: FaceSet, change: str, *, clock: Clock, cpu_clock: Clock, n_images: int = 2000
) -> Loading:
    """Read so many images in shuffled order; `change` is a key of CHANGES."""
    source = batches(faces, Plan(len(faces), min(64, len(faces)), seed=0), CHANGES[change])
    next(source)
    start, cpu_start, done = clock(), cpu_clock(), 0
    while done < n_images:
        done += len(next(source)[0])
    wall, cpu = max(clock() - start, CLOCK_STEP), max(cpu_clock() - cpu_start, CLOCK_STEP)
    return Loading(change, done / wall, done / cpu)
