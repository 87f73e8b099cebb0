"""The model card: the facts that inference needs about an embedding model, kept in its file."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from recognizer.errors import ModelCardError
from recognizer.similarities import PAIR_FAR, Similarities, SimilarityLimits, assumed, derive

CARD_KEY = "facewire.card"  # key in the ONNX file's metadata_props; the value is JSON
GENDER_AGE_OUTPUTS = 202  # of a network for gender and age, which no embedding has
MAX_SIZE = 16384  # of inputs, px, and embeddings: head Z, a whole last map, gives 12,544


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts about an embedding model.

    Attributes:
        name: short, shown to people and part of the model's id.
        input_size: height and width of its input, pixels.
        colour_order: "rgb" or "bgr", of its input's channels.
        mean: subtracted from each channel of 0..255, in the input's order.
        std: each channel is divided by it after that.
        embedding_size: D.
        threshold: cosine at and above which two faces are one person, in [-1, 1].
        far: the share of pairs of different people that reach `threshold`, in (0, 1); 0 if unknown.
        source: where it comes from.
        licence: of the weights.
        trained_on: training data and result, as text.
        similarities: as measured; None in a card without them.
    """

    name: str
    input_size: tuple[int, int]
    colour_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    embedding_size: int
    threshold: float
    far: float
    source: str
    licence: str
    trained_on: str
    similarities: Similarities | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.colour_order not in ("rgb", "bgr"):
            problems.append(f"colour_order must be rgb or bgr, not {self.colour_order!r}")
        if len(self.input_size) != 2 or not all(map(_is_size, self.input_size)):
            problems.append(f"input_size must be two sizes up to {MAX_SIZE}, not {self.input_size}")
        scales = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(_is_number, scales)):
            problems.append("mean and std must be three numbers each")
        elif min(self.std) <= 0:
            problems.append("std must be above 0")
        if not _is_size(self.embedding_size):
            size = self.embedding_size
            problems.append(f"embedding_size must be positive and at most {MAX_SIZE}, not {size}")
        if not -1 <= self.threshold <= 1:
            problems.append(f"threshold must be in [-1, 1], not {self.threshold}")
        if not 0 <= self.far < 1:
            problems.append(f"far must be in [0, 1), not {self.far}")
        if problems:
            raise ModelCardError(f"model card of {self.name}: {'; '.join(problems)}")

    @property
    def limits(self) -> SimilarityLimits:
        """The limits of this model: from its measurement, else cautious ones."""
        if self.similarities is not None and self.similarities.impostors:
            return derive(self.similarities, pair=self.threshold if self.far else None)
        found = assumed(self.threshold, self.far)
        is_stated = 0 < self.far <= PAIR_FAR
        return derive(found, pair=self.threshold if is_stated else None)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and 0 < value <= MAX_SIZE


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # False for NaN


def card_from(facts: dict[str, Any], *, name: str) -> ModelCard:
    """Build a card from plain values, as TOML or JSON give them.

    Raises:
        ModelCardError: if a fact is missing, unknown or out of range.
    """
    plain: dict[str, Any] = {"name": name}
    plain |= {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
    try:
        if plain.get("similarities") is not None:
            plain["similarities"] = similarities_from(plain["similarities"])
        return ModelCard(**plain)
    except TypeError as error:
        raise ModelCardError(
            f"model card of {name}: {str(error).replace('ModelCard.__init__() ', '')}"
        ) from error
    except ValueError as error:
        raise ModelCardError(f"model card of {name}: {error}") from error


def similarities_from(facts: dict[str, Any]) -> Similarities:
    """Build similarities from plain values, as TOML or JSON give them.

    Raises:
        ValueError: if a fact is missing, unknown or out of range.
    """
    if not isinstance(facts, dict):
        raise ValueError("similarities must be a table")
    plain = dict(facts)
    try:
        for key in ("impostor_at_far", "genuine_at_share", "mirror_at_share"):
            points = [tuple(map(float, point)) for point in plain.get(key, ())]
            plain[key] = tuple(points)
        return Similarities(**plain)
    except (TypeError, ValueError) as error:
        reason = str(error).replace("Similarities.__init__() ", "")
        raise ValueError(f"similarities: {reason}") from error


def read_card(model: onnx.ModelProto, *, name: str) -> ModelCard:
    """Read the card in a model's metadata.

    Raises:
        ModelCardError: if there is none or it is wrong.
    """
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            try:
                facts = json.loads(entry.value)
            except ValueError as error:
                raise ModelCardError(f"model card of {name} is not JSON: {error}") from error
            if not isinstance(facts, dict):
                raise ModelCardError(f"model card of {name} is not a JSON object")
            return card_from(facts, name=name)
    raise ModelCardError(
        f"{name} has no model card: `facewire models add` writes one "
        "(it asks for color order and normalization)"
    )


def embedding_card(card: ModelCard) -> ModelCard:
    """Return a card of an embedding model; refuse that of a network for gender and age.

    Raises:
        ModelCardError: if it has 202 outputs, as gender and age have and no embedding.
    """
    if card.embedding_size == GENDER_AGE_OUTPUTS:
        raise ModelCardError(
            f"{card.name} is no embedding model: its {GENDER_AGE_OUTPUTS} outputs are gender and "
            "age (use it by --ga-model, or recognizer.gender_age_model)"
        )
    return card


def write_card(model: onnx.ModelProto, card: ModelCard) -> None:
    """Put a card into a model's metadata, replacing an older one."""
    others = [(e.key, e.value) for e in model.metadata_props if e.key != CARD_KEY]
    del model.metadata_props[:]
    for key, value in [*others, (CARD_KEY, json.dumps(asdict(card)))]:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
