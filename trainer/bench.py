"""How fast a network trains here."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.backbones import BACKBONES, build_backbone
from trainer.faceset import FaceSet
from trainer.heads import MARGINS, MarginHead
from trainer.loader import Augmentation, Plan, batches

CLASSES = 1000  # of the head: its share of the time is small, as it is for most sets


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second, forward and backward with the optimizer's step left out.

    Attributes:
        backbone: name.
        batch: images.
        precision: f32 or bf16.
        channels_last: memory layout.
        images_per_s: median over the runs.
    """

    backbone: str
    batch: int
    precision: str
    channels_last: bool
    images_per_s: float


def measure(
    name: str,
    *,
    batch: int,
    precision: str,
    channels_last: bool,
    device: torch.device,
    clock: Callable[[], float],
    runs: int = 5,
) -> Speed:
    """Time forward and backward on random pixels after one run to warm up."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    backbone = build_backbone(name).to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    head = MarginHead(
        CLASSES, BACKBONES[name].size, MARGINS["arcface"], generator=torch.Generator()
    ).to(device)
    pixels = torch.randint(0, 256, (batch, 112, 112, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(0, CLASSES, (batch,), device=device)
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    seconds = []
    for _ in range(runs + 1):
        start = clock()
        with cast:
            embeddings = backbone(pixels.permute(0, 3, 1, 2).float())
        head(embeddings.float(), labels).loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(clock() - start)
        for parameter in (*backbone.parameters(), *head.parameters()):
            parameter.grad = None
    median = sorted(seconds[1:])[runs // 2]
    return Speed(name, batch, precision, channels_last, batch / median)


def measure_loading(data: Path, *, clock: Callable[[], float], n_images: int = 2000) -> float:
    """Return how many images a second one process reads, decodes, flips and batches."""
    faces = FaceSet(data)
    plan = Plan(len(faces), min(64, len(faces)), seed=0)
    source = batches(faces, plan, Augmentation(mirror=True, colour=0, cutoff=0))
    next(source)
    start, done = clock(), 0
    while done < n_images:
        done += len(next(source)[0])
    return done / (clock() - start)
