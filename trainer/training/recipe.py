"""Recipes: all settings of a training run, in one TOML file.

Order: defaults below < the file < `--set section.key=value`. Unknown keys and keys that do nothing
are refused.
"""

import copy
import logging
import tomllib
from collections.abc import Sequence
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.errors import RecipeError

logger = logging.getLogger(__name__)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneSection(_Section):
    """The network up to the embedding."""

    name: str = Field(
        default="y1",
        description="r18, r34, r50, r50v1, r100, y1, y2, m1, m05, mnas, d169, iresnet50, mbf...",
    )
    se: bool = Field(default=False, description="SE block in every unit of a ResNet")
    size: int = Field(default=0, ge=0, description="embedding size; 0 for the network's own")
    output: str = Field(default="", description="embedding head E, GDC, GNAP...; empty for its own")
    act: Literal["prelu", "relu"] = Field(default="prelu", description="activation")


class HeadSection(_Section):
    """The loss."""

    loss: str = Field(
        default="arcface",
        description="softmax, nsoftmax, arcface, cosface, combined, margin (by scale, m1, m2, m3), "
        "triplet, atriplet, genderage, distill",
    )
    scale: float = Field(default=64, gt=0, description="of loss margin")
    m1: float = Field(
        default=1, gt=0, description="of loss margin: cos(m1 t + m2) - m3, t in radians"
    )
    m2: float = Field(default=0, ge=0, description="of loss margin, radians")
    m3: float = Field(default=0, ge=0, description="of loss margin")
    centres: int = Field(default=1, ge=1, description="centers per class (sub-center ArcFace)")
    sharded: bool = Field(
        default=False, description="spread the classes over the ranks (Partial FC)"
    )
    rate: float = Field(
        default=1, gt=0, le=1, description="share of the classes in a step, 0 to 1, with sharded"
    )
    lr_mult: float = Field(default=1, ge=0, description="factor of the head's learning rate")
    wd_mult: float = Field(default=1, ge=0, description="factor of the head's weight decay")
    teacher: str = Field(default="sface", description="with loss distill: the model to imitate")
    blend: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of images mixed with another, 0 to 1, with distill",
    )
    warp: float = Field(default=0, ge=0, description="random shifts, pixels, with distill")


class DataSection(_Section):
    """How images are read and augmented."""

    mirror: bool = Field(default=True, description="flip images at random")
    colour: int = Field(
        default=0, ge=0, le=2, description="1 jitters colors, 2 also compresses some images again"
    )
    cutoff: int = Field(
        default=0, ge=0, le=112, description="side of a gray square, pixels; 0 for none"
    )
    min_images: int = Field(
        default=0, ge=0, description="identities with fewer images are left out"
    )
    relabel: bool = Field(
        default=False, description="renumber the labels that occur from 0, in ascending order"
    )
    max_damaged: int = Field(
        default=100, ge=0, description="damaged images skipped before the run stops with an error"
    )
    workers: int = Field(
        default=0,
        ge=0,
        description="processes that decode images, in each training process; 0 for none",
    )


class OptimizerSection(_Section):
    """SGD and its learning rate."""

    lr: float = Field(
        default=0.1, gt=0, description="learning rate; not scaled by batch or processes"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the last update kept")
    weight_decay: float = Field(default=0.0005, ge=0, description="of all weights")
    schedule: Literal["steps", "poly", "cosine"] = Field(
        default="steps",
        description="of lr: a tenth at each of lr_steps, linear to 0, or half a cosine to 0",
    )
    lr_steps: tuple[int, ...] = Field(
        default=(100000, 160000, 220000),
        description="steps at which the rate falls to a tenth, with schedule steps",
    )
    warmup: int = Field(
        default=0, ge=0, description="first steps, in which the rate rises linearly"
    )
    clip: float = Field(default=0, ge=0, description="largest norm of the gradient; 0 for none")
    accumulate: int = Field(
        default=1, ge=1, description="batches in an optimizer step, in each process"
    )


class RunSection(_Section):
    """The run."""

    batch: int = Field(default=128, ge=1, description="images of one process in a batch")
    steps: int = Field(default=250000, ge=1, description="optimizer steps")
    seed: int = Field(default=0, ge=0, description="of everything random")
    precision: Literal["auto", "f32", "bf16", "fp16"] = Field(
        default="auto", description="auto is bf16 where the device calculates in it, else f32"
    )
    channels_last: bool = Field(default=True, description="layout of weights and activations")
    sync_bn: bool = Field(default=False, description="batch norm over all processes")
    ema: float = Field(default=0, ge=0, lt=1, description="decay of averaged weights; 0 for none")
    verbose: int = Field(default=2000, ge=1, description="steps between verifications")
    frequent: int = Field(default=20, ge=1, description="steps between lines of progress")
    ckpt: Literal["never", "best", "always"] = Field(
        default="best", description="which models are kept"
    )
    targets: tuple[str, ...] = Field(
        default=("lfw", "cfp_fp", "agedb_30"), description=".bin files in data"
    )
    pretrained: str = Field(
        default="",
        description="a .pt of ours, an MXNet .params file or a backbone.pth of arcface_torch to "
        "start from",
    )


class Recipe(_Section):
    """A whole recipe."""

    backbone: BackboneSection = BackboneSection()
    head: HeadSection = HeadSection()
    data: DataSection = DataSection()
    optimizer: OptimizerSection = OptimizerSection()
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.head.loss in ("triplet", "atriplet") and self.run.batch % 3:
            raise ValueError(f"run.batch must be a multiple of 3, not {self.run.batch}")
        if self.head.rate < 1 and not self.head.sharded:
            raise ValueError("head.rate below 1 needs head.sharded = true")
        if (self.head.blend or self.head.warp) and self.head.loss != "distill":
            raise ValueError("head.blend and head.warp need head.loss = distill")
        if self.data.relabel and self.head.loss in ("triplet", "atriplet", "distill", "genderage"):
            raise ValueError(f"data.relabel needs a head with classes, not {self.head.loss}")
        if self.head.sharded and self.head.centres > 1:
            raise ValueError("head.sharded has one center per class (head.centres = 1)")
        return self


def read_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: of a recipe that is shipped, or a path.
        settings: "section.key=value" each, the value as TOML has it (bare words are text).

    Raises:
        RecipeError: if it is missing or a key or value is wrong; the message names the key.
    """
    shipped = resource_files("trainer").joinpath("recipes", f"{name}.toml")
    try:
        text = shipped.read_text("utf-8") if shipped.is_file() else Path(name).read_text("utf-8")
        facts = tomllib.loads(text)
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {name}: {(error.strerror or '').lower()} "
            f"(shipped: {', '.join(recipe_names())})"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name} is not TOML: {error}") from error
    in_file = copy.deepcopy(facts)
    given = [_apply(facts, setting) for setting in settings]
    recipe = recipe_from(facts)
    try:
        own = recipe_from(in_file)
    except RecipeError:  # right with the settings alone
        own = recipe
    _refuse_idle(own, recipe, given)
    return recipe


def _refuse_idle(own: Recipe, recipe: Recipe, given: Sequence[str]) -> None:
    """Refuse keys that do nothing; those of a file made idle by --set are only logged."""
    from trainer.training.recipe_keys import idle_keys

    idle, in_file = idle_keys(recipe), idle_keys(own)
    for section in Recipe.model_fields:
        for name in getattr(own, section).model_fields_set:
            if reason := in_file.get(f"{section}.{name}"):
                raise RecipeError(f"recipe key {section}.{name} does nothing {reason}: remove it")
            if reason := idle.get(f"{section}.{name}"):
                logger.info("recipe key %s.%s does nothing %s", section, name, reason)
    for name in given:
        if reason := idle.get(name):
            raise RecipeError(f"--set {name} does nothing {reason}: remove it")


def recipe_from(facts: dict[str, Any]) -> Recipe:
    """Check plain values.

    Raises:
        RecipeError: in one line that names the first wrong key.
    """
    try:
        return Recipe.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        message = f"recipe key {where}: {text.lower()}" if where else f"recipe: {text}"
        raise RecipeError(message) from error


def recipe_names() -> list[str]:
    """Return the names of the recipes that are shipped."""
    folder = resource_files("trainer").joinpath("recipes")
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def _apply(facts: dict[str, Any], setting: str) -> str:
    """Apply "section.key=value" to plain values; returns "section.key"."""
    key, equals, value = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot):
        raise RecipeError(f"--set {setting}: expected section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is text
    table = facts.setdefault(section, {})
    if not isinstance(table, dict):
        raise RecipeError(f"--set {setting}: {section} is no section")
    table[name.strip()] = parsed
    return f"{section}.{name.strip()}"
