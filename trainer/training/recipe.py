"""Recipes: all settings of a training run, in one TOML file.

Order: defaults below < the file < `--set section.key=value`. Unknown keys and keys that do nothing
are refused.
"""

import copy
import difflib
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


Loss = Literal[
    "softmax",
    "nsoftmax",
    "arcface",
    "cosface",
    "combined",
    "margin",
    "triplet",
    "atriplet",
    "genderage",
    "distill",
]


class BackboneSection(_Section):
    """The network, up to the embedding."""

    name: str = Field(
        default="y1",
        description="MobileFaceNets y1, y2, mbf; MobileNets m1, m05, m025, mnas, mnas05, mnas025; "
        "ResNets r18, r34, r50, r50v1, r100, r100fc, as arcface_torch has them iresnet18, "
        "iresnet34, iresnet50, iresnet100, iresnet200; DenseNets d121, d169, d201",
    )
    se: bool = Field(default=False, description="SE block in every unit, for ResNets r...")
    size: int = Field(
        default=0, ge=0, description="numbers of an embedding; 0 for the network's own"
    )
    output: str = Field(
        default="",
        description="layers from the last feature map to the embedding: E, F, FC, G, H, I, J, Z, "
        "GDC, GAP, GNAP, as the reference names them; empty for the network's own",
    )
    act: Literal["prelu", "relu"] = Field(default="prelu", description="activation")


class HeadSection(_Section):
    """The loss, and the classifier that it needs; only the backbone is exported."""

    loss: Loss = Field(
        default="arcface",
        description="softmax; on cosines, times 64: nsoftmax, arcface (margin 0.5 radians), "
        "cosface (margin 0.35), combined (0.3 radians and 0.2); margin: by scale, m1, m2 and m3; "
        "triplet by distance, atriplet by angle; genderage; distill: imitate a teacher",
    )
    scale: float = Field(
        default=64, gt=0, description="factor of the cosines before softmax, with loss margin"
    )
    m1: float = Field(
        default=1,
        gt=0,
        description="with loss margin: factor m1 of cos(m1 t + m2) - m3, where t is the angle "
        "between an image and its class",
    )
    m2: float = Field(default=0, ge=0, description="with loss margin: the angle m2, radians")
    m3: float = Field(default=0, ge=0, description="with loss margin: the cosine m3")
    centres: int = Field(
        default=1, ge=1, description="centers of each class; the nearest counts (sub-center)"
    )
    sharded: bool = Field(
        default=False, description="divide the classes among the processes (Partial FC)"
    )
    rate: float = Field(
        default=1, gt=0, le=1, description="share of the classes in a step, with sharded"
    )
    lr_mult: float = Field(default=1, ge=0, description="factor of the head's learning rate")
    wd_mult: float = Field(default=1, ge=0, description="factor of the head's weight decay")
    teacher: str = Field(
        default="sface",
        description="with loss distill: the model to imitate, a name, .onnx or PREFIX,EPOCH",
    )
    teacher_colour: Literal["auto", "rgb", "bgr"] = Field(
        default="auto",
        description="of an .onnx file: order of its channels; auto is its model card's, else rgb",
    )
    teacher_mean: tuple[float, ...] = Field(
        default=(),
        description="of an .onnx file: three numbers subtracted from 0..255; empty for its model "
        "card's, else as insightface's files, 127.5 or in the graph",
    )
    teacher_std: tuple[float, ...] = Field(
        default=(), description="of an .onnx file: three numbers to divide by after that"
    )
    blend: float = Field(
        default=0, ge=0, le=1, description="with loss distill: share of images mixed with another"
    )
    warp: float = Field(
        default=0, ge=0, description="with loss distill: standard deviation of warps, pixels"
    )


class DataSection(_Section):
    """How images are read and augmented."""

    mirror: bool = Field(default=True, description="flip half of the images")
    colour: int = Field(
        default=0,
        ge=0,
        le=2,
        description="1 changes brightness, contrast and saturation by up to 12.5 %; 2 also "
        "compresses half of the images again",
    )
    cutoff: int = Field(
        default=0,
        ge=0,
        le=112,
        description="side of a gray square over half of the images, pixels; 0 for none",
    )
    min_images: int = Field(
        default=0, ge=0, description="people with fewer images are left out; 0 keeps all"
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
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="share of the last update that is added to the next"
    )
    weight_decay: float = Field(
        default=0.0005, ge=0, description="factor of the weights that is added to their gradients"
    )
    schedule: Literal["steps", "poly", "cosine"] = Field(
        default="steps",
        description="of lr: steps, a tenth at each of lr_steps; poly, linear to 0 at the last "
        "step; cosine, half a cosine to 0",
    )
    lr_steps: tuple[int, ...] = Field(
        default=(100000, 160000, 220000),
        description="steps at which the rate falls to a tenth, with schedule steps",
    )
    warmup: int = Field(
        default=0, ge=0, description="first steps, in which lr rises linearly; 0 for none"
    )
    clip: float = Field(
        default=0, ge=0, description="gradients are scaled down to this norm; 0 for never"
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        description="batches of each process in a step: a step has run.batch x processes x "
        "accumulate images",
    )


class RunSection(_Section):
    """The run."""

    batch: int = Field(
        default=128, ge=2, description="images of one process in a batch; batch norm needs two"
    )
    steps: int = Field(default=250000, ge=1, description="optimizer steps")
    seed: int = Field(
        default=0, ge=0, description="of everything random: the same seed, the same network"
    )
    precision: Literal["auto", "f32", "bf16", "fp16"] = Field(
        default="auto", description="auto is bf16 where the device calculates in it, else f32"
    )
    channels_last: bool | Literal["auto"] = Field(
        default=True,
        description="layout of weights and activations in memory: only speed; auto measures both "
        "on a CPU at the start and takes the faster",
    )
    sync_bn: bool = Field(
        default=False, description="take batch norms over the batches of all processes"
    )
    ema: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="decay of averaged weights, such as 0.999, which are verified and exported; "
        "0 for none",
    )
    verbose: int = Field(
        default=2000, ge=1, description="steps from one verification and checkpoint to the next"
    )
    frequent: int = Field(default=20, ge=1, description="steps between lines of progress")
    ckpt: Literal["never", "best", "always"] = Field(
        default="best",
        description="never: no files, nothing to resume; best: last.pt to resume and best.pt to "
        "use; always: step-N.pt of every verification too",
    )
    targets: tuple[str, ...] = Field(
        default=("lfw", "cfp_fp", "agedb_30"),
        description="verify on these: NAME.bin in the directory of the set; [] for none",
    )
    pretrained: str = Field(
        default="",
        description="start from these weights: a .pt of fit, PREFIX,EPOCH or a .params file of "
        "MXNet, or a backbone.pth of arcface_torch",
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
        if first["type"] == "extra_forbidden":
            raise RecipeError(_unknown(where)) from error
        text = first["msg"].removeprefix("Value error, ")
        message = f"recipe key {where}: {text.lower()}" if where else f"recipe: {text}"
        raise RecipeError(message) from error


def _unknown(key: str) -> str:
    """Return what is wrong with a key that there is not, and the most similar one."""
    known = [
        name
        for section, field in Recipe.model_fields.items()
        for name in (
            section,
            *(f"{section}.{key}" for key in type(field.get_default()).model_fields),
        )
    ]
    near = difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {near[0]}?" if near else "`facewire-train recipes` explains all keys"
    return f"unknown recipe key {key} ({advice})"


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
