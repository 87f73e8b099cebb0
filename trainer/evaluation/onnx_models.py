"""ONNX files of other projects, such as insightface's, opened with or without a model card."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from recognizer import ModelCard, read_card
from recognizer.card import CARD_KEY, embedding_card
from recognizer.models.fetch import sha256_of
from recognizer.models.library import load_with_card
from recognizer.models.manifest import read_manifest
from recognizer.models.onnx_files import read_onnx
from recognizer.models.resolve import EMBEDDING_ROLE, ResolvedModel, resolve_model
from trainer.errors import DataError

logger = logging.getLogger(__name__)

HALF = (127.5, 127.5, 127.5)  # mean and std of insightface's files
NONE, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
WITHOUT_EFFECT = ("Identity", "Cast", "Transpose")
ARITHMETIC = ("Sub", "Mul", "Div", "Add")


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What a user says about the input of an ONNX file; None leaves it to the file.

    Attributes:
        colour_order: "rgb" or "bgr".
        mean: subtracted from each channel of 0..255, in the input's order.
        std: each channel is divided by it after that.
        hint: how they are given, for messages.
    """

    colour_order: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    hint: str = "--colour-order, --mean, --std"

    def stated(self) -> dict[str, Any]:
        """Return those that are given."""
        facts = {"colour_order": self.colour_order, "mean": self.mean, "std": self.std}
        return {key: value for key, value in facts.items() if value is not None}


NOTHING_STATED = InputFacts()


def open_model(spec: str, facts: InputFacts, **options: Any) -> ResolvedModel:
    """Open a model as recognizer does, and ONNX files without a card too.

    Args:
        spec: a name, an .onnx file or PREFIX,EPOCH.
        facts: of an .onnx file; they override its card.
        options: of `resolve_model`.

    Raises:
        DataError: if facts are given for another model than an .onnx file.
        ModelFileError: if there is no such model, or it gives no embeddings.
    """
    if not spec.endswith(".onnx"):
        if facts.stated():
            raise DataError(f"{facts.hint} are of an .onnx file, and {spec} is another model")
        return resolve_model(spec, **options)
    path = Path(spec)
    model, sha256 = read_onnx(path), sha256_of(path)
    card = _card_of(model, path, sha256)
    if card is None:
        stated = _recognized(model) | facts.stated()
        name = path.stem.lower()
        model, card = load_with_card(spec, name=name, **stated)
        card = embedding_card(card)
        logger.info(
            "%s has no model card: taken as %s, (x - %s) / %s (say otherwise by %s)",
            spec,
            card.colour_order.upper(),
            _short(card.mean),
            _short(card.std),
            facts.hint,
        )
    return ResolvedModel(replace(card, **facts.stated()), model, sha256)


def _card_of(model: onnx.ModelProto, path: Path, sha256: str) -> ModelCard | None:
    """Return the card in a file, or that of the manifest's model if it is one of these."""
    for name, entry in read_manifest().items():
        if entry.role == EMBEDDING_ROLE and entry.files[0].sha256 == sha256:
            return resolve_model(name).card
    if any(entry.key == CARD_KEY for entry in model.metadata_props):
        return embedding_card(read_card(model, name=path.name))
    return None


def _recognized(model: onnx.ModelProto) -> dict[str, Any]:
    """Return color order, mean and std of insightface's conventions.

    Files that came from MXNet normalize in the graph, those of arcface_torch do not. Its own
    programs look at the first nodes too.
    """
    is_normalized = normalizes_itself(model)
    mean, std = (NONE, ONE) if is_normalized else (HALF, HALF)
    return {"colour_order": "rgb", "mean": mean, "std": std}


def normalizes_itself(model: onnx.ModelProto) -> bool:
    """Return whether a graph begins by shifting or scaling its pixels."""
    weights = {tensor.name for tensor in model.graph.initializer}
    pixels = {value.name for value in model.graph.input if value.name not in weights}
    return any(node.op_type in ARITHMETIC for node in _first(model, pixels))


def _first(model: onnx.ModelProto, names: set[str]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that take the pixels, behind those that do not change their values."""
    for node in model.graph.node:
        if names.intersection(node.input):
            if node.op_type in WITHOUT_EFFECT:
                names.update(node.output)
            else:
                yield node


def is_for_one(model: onnx.ModelProto) -> bool:
    """Return whether a model was exported for batches of one crop."""
    weights = {tensor.name for tensor in model.graph.initializer}
    fed = [value for value in model.graph.input if value.name not in weights]
    return bool(fed) and fed[0].type.tensor_type.shape.dim[0].dim_value == 1


def _short(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{v:g}' for v in values)})"
