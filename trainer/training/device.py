"""Which device a run uses, and in which precision."""

import logging

import torch

from recognizer import usable_cpus
from trainer.errors import TrainingError
from trainer.training.checkpoint import State
from trainer.training.distributed import World
from trainer.training.recipe import Recipe

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda")
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # as `torch.cpu.get_capabilities` names them


def use_threads(n: int) -> None:
    """Let torch calculate in `n` threads; 0: as it chooses, but in no more than it has cores for.

    By itself torch does not look at the limit of a container.
    """
    torch.set_num_threads(n or min(torch.get_num_threads(), usable_cpus()))


def open_device(name: str, world: World) -> torch.device:
    """Return the device of this process.

    Raises:
        TrainingError: if cuda is wanted and there is none.
    """
    if device_kind(name) == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", world.local_rank)


def device_kind(name: str) -> str:
    """Return "cpu" or "cuda" for what a user names.

    Raises:
        TrainingError: if it is not auto, cpu or cuda, or there is no GPU.
    """
    if name not in DEVICES:
        raise TrainingError(f"unknown device {name!r} (choose {', '.join(DEVICES)})")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise TrainingError("cannot train on cuda: torch finds no GPU (use --device cpu)")
    return "cuda" if has_cuda and name != "cpu" else "cpu"


def choose_precision(recipe: Recipe, place: torch.device, then: State) -> tuple[Recipe, str]:
    """Fill in the precision of the networks where the recipe leaves it to the device.

    Args:
        recipe: as it was read.
        place: where it runs.
        then: checkpoint to resume from; its precision is kept. Without a recipe there is none.

    Returns:
        The recipe, and why it has this precision.
    """
    if recipe.run.precision != "auto":
        if recipe.run.precision == "bf16" and not calculates_in_bf16(place):
            logger.warning(
                "%s has no instructions for bf16, which is several times slower than f32 there "
                "(--set run.precision=auto chooses by the device)",
                place,
            )
        return recipe, "as the recipe says"
    if "recipe" in then:
        precision = Recipe.model_validate_json(then["recipe"]).run.precision
        reason = "as before"
    else:
        has = calculates_in_bf16(place)
        precision = "bf16" if has else "f32"
        reason = f"run.precision is auto, and it has {'' if has else 'no '}instructions for bf16"
    run = recipe.run.model_copy(update={"precision": precision})
    return recipe.model_copy(update={"run": run}), reason


def calculates_in_bf16(place: torch.device) -> bool:
    """Whether a device has instructions for bf16: without them it is several times slower."""
    if place.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in BF16_INSTRUCTIONS)
