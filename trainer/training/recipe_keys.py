"""The keys of recipes: what each means, and which do nothing in a recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as resource_files
from typing import Any

from trainer.training.recipe import Recipe

TRIPLETS = ("triplet", "atriplet")
TEACHER_FACTS = ("teacher_colour", "teacher_mean", "teacher_std")
WITHOUT_CLASSES = (*TRIPLETS, "genderage", "distill")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a recipe.

    Attributes:
        name: "section.key".
        kind: of its value: "int", "float", "bool", "str", "list", or the choices.
        limits: of its value, such as "0 or more", "above 0, up to 1"; "" where there are none.
        default: where a recipe does not name it.
        meaning: with the unit of the value.
    """

    name: str
    kind: str
    limits: str
    default: Any
    meaning: str


def recipe_keys() -> list[Key]:
    """Return all keys, in the order of the sections."""
    found = []
    for section, outer in Recipe.model_fields.items():
        facts = outer.get_default().model_json_schema()["properties"]
        for name, field in type(outer.get_default()).model_fields.items():
            choices = facts[name].get("enum")
            annotation = str(getattr(field.annotation, "__name__", field.annotation))
            kind = "|".join(choices) if choices else annotation.partition("[")[0]
            kind = "list" if kind == "tuple" else kind
            if several := facts[name].get("anyOf"):
                kind = "|".join(each.get("const", each["type"]) for each in several)
            default = field.default
            found.append(
                Key(
                    f"{section}.{name}",
                    kind,
                    _limits(facts[name]),
                    list(default) if isinstance(default, tuple) else default,
                    field.description or "",
                )
            )
    return found


def section_meanings() -> dict[str, str]:
    """Return what each section is about, in one line."""
    return {
        name: (type(field.get_default()).__doc__ or "").strip()
        for name, field in Recipe.model_fields.items()
    }


def _limits(schema: dict[str, Any]) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    words = [f"above {above:g}"] if above is not None else []
    if least is not None:
        is_alone = most is None and below is None
        words.append(f"{least:g} or more" if is_alone else f"{least:g}")
    words += [f"up to {most:g}"] if most is not None else []
    words += [f"to below {below:g}"] if below is not None else []
    return (", " if above is not None else " ").join(words)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values of a recipe by "section.key"."""
    facts = recipe.model_dump(mode="json")
    return {f"{s}.{key}": value for s, keys in facts.items() for key, value in keys.items()}


def recipe_summary(name: str) -> str:
    """Return the comment at the head of a shipped recipe, in one line."""
    text = resource_files("trainer").joinpath("recipes", f"{name}.toml").read_text("utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def idle_keys(recipe: Recipe) -> dict[str, str]:
    """Return the keys that do nothing in a recipe, and why, whether it names them or not."""
    return dict(_idle(recipe))


def _idle(recipe: Recipe) -> Iterator[tuple[str, str]]:
    loss = recipe.head.loss
    with_loss = f"with head.loss = {loss}"
    if loss != "margin":
        for name in ("scale", "m1", "m2", "m3"):
            yield f"head.{name}", f"{with_loss} (head.loss = margin has it)"
    if loss == "softmax" or loss in WITHOUT_CLASSES:
        for name in ("centres", "sharded", "rate"):
            yield f"head.{name}", with_loss
    if loss in WITHOUT_CLASSES:
        for name in ("lr_mult", "wd_mult"):
            yield f"head.{name}", f"{with_loss}, which has no weights"
    if loss != "distill":
        for name in ("teacher", *TEACHER_FACTS, "blend", "warp"):
            yield f"head.{name}", f"{with_loss} (head.loss = distill has it)"
    if loss in TRIPLETS:
        for name in ("colour", "cutoff", "workers", "max_damaged"):
            yield f"data.{name}", with_loss
    if loss == "genderage":
        yield "backbone.size", f"{with_loss}, which has 202 outputs"
    if recipe.optimizer.schedule != "steps":
        yield "optimizer.lr_steps", f"with optimizer.schedule = {recipe.optimizer.schedule}"
