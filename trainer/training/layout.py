"""The memory layout in which a network trains faster: measured at the start of a run."""

import logging
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from trainer.backbones import build_backbone
from trainer.training.checkpoint import State
from trainer.training.distributed import gather
from trainer.training.recipe import Recipe

logger = logging.getLogger(__name__)

BATCH = 8  # images of a timed step: the ratio of the layouts is that of larger batches
STEPS = 3  # timed, after one to warm up
WORTH = 100  # times the images of the measurement that a run must have to be measured
GAIN = 1.05  # of contiguous over channels_last, below which channels_last stays

CPU = torch.device("cpu")

Step = Callable[[], None]


def choose_layout(recipe: Recipe, place: torch.device, then: State) -> tuple[Recipe, str]:
    """Fill in the layout where the recipe leaves it to a measurement; all ranks call it.

    Results differ in the last bits between layouts, so that a resumed run keeps its own.

    Args:
        recipe: as it was read, its precision filled in.
        place: where it runs.
        then: checkpoint to resume from; its layout is kept. Without a recipe there is none.

    Returns:
        The recipe, and why it has this layout.
    """
    run = recipe.run
    if run.channels_last != "auto":
        return recipe, "as the recipe says"
    n_images = run.steps * run.batch * recipe.optimizer.accumulate
    before = Recipe.model_validate_json(then["recipe"]).run.channels_last if "recipe" in then else 0
    if isinstance(before, bool):
        is_last, reason = before, "as before"
    elif place.type == "cuda":
        is_last, reason = True, "it is the one of the GPU's convolutions"
    elif n_images < WORTH * 2 * (STEPS + 1) * BATCH:
        is_last, reason = True, "the run is too short to measure it"
    else:
        contiguous, last = gather(_images_per_s(recipe))[0]
        is_last = contiguous < GAIN * last
        reason = (
            f"{last:.1f} images a CPU second in channels_last, {contiguous:.1f} in contiguous, "
            f"measured with batches of {min(BATCH, run.batch)}"
        )
    run = run.model_copy(update={"channels_last": is_last})
    return recipe.model_copy(update={"run": run}), reason


def _images_per_s(recipe: Recipe) -> tuple[float, float]:
    """Return the images a second of processor time, contiguous and channels_last, by turns."""
    state = torch.get_rng_state()
    batch = min(BATCH, recipe.run.batch)
    steps = []
    for is_last in (False, True):
        backbone = build_backbone(
            recipe.backbone.name,
            size=recipe.backbone.size or 64,
            output=recipe.backbone.output,
            act=recipe.backbone.act,
            se=recipe.backbone.se,
        )
        steps.append(step_of(backbone, batch, recipe.run.precision, channels_last=is_last))
    seconds: list[list[float]] = [[], []]
    for turn in range(STEPS + 1):
        for step, found in zip(steps, seconds, strict=True):
            start = time.process_time()
            step()
            if turn:
                found.append(max(time.process_time() - start, 1e-9))
    torch.set_rng_state(state)
    contiguous, last = (batch / statistics.median(found) for found in seconds)
    return contiguous, last


def step_of(
    backbone: nn.Module,
    batch: int,
    precision: str,
    *,
    channels_last: bool,
    device: torch.device = CPU,
    head: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Step:
    """Return a function that runs a network forward and backward on random pixels.

    Args:
        backbone: is moved to the device, in training mode.
        batch: images.
        precision: f32 or bf16.
        channels_last: memory layout.
        device: where.
        head: (B, D) embeddings to a loss; None for the mean of their squares.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    backbone.to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    pixels = torch.randint(0, 256, (batch, 112, 112, 3), dtype=torch.uint8, device=device)
    is_bf16 = precision == "bf16"

    def step() -> None:
        # crops lie as channels_last does: without this, the other layout would not be measured
        images = pixels.permute(0, 3, 1, 2).float().contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.bfloat16) if is_bf16 else nullcontext():
            embeddings = backbone(images).float()
        loss = head(embeddings) if head else embeddings.square().mean()
        loss.backward()
        for parameter in backbone.parameters():
            parameter.grad = None

    return step
