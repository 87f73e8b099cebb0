"""A user's own embedding models: checked, completed by a card, and stored in the cache."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from recognizer.cache import default_cache
from recognizer.card import ModelCard, card_from, embedding_card, read_card, write_card
from recognizer.embed.embedder import Embedder
from recognizer.engines.engine import first_line
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.errors import ModelCardError, ModelFileError
from recognizer.models.fetch import Progress
from recognizer.models.manifest import read_manifest, user_model_path
from recognizer.models.measuring import OnPhoto, measure, with_measurement
from recognizer.models.onnx_files import read_onnx, write_onnx
from recognizer.mxnet.convert import EMBEDDING_NODE, convert, has_node, normalizes_itself
from recognizer.mxnet.files import checkpoint_paths, read_params, read_symbol

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
CROP_SHAPE = (112, 112)
# 1 - 1.24 / 2: the squared distance of 1.24 that the reference system's programs take by default
REFERENCE_THRESHOLD = 0.38
MAX_VALUES = 2**28  # of one layer for one crop, 1 GiB: 300 times the need of ResNet-100


def add_model(
    source: str,
    *,
    name: str,
    cache: Path | None = None,
    colour_order: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    threshold: float | None = None,
    replace: bool = False,
    images: Path | None = None,
    on_photo: OnPhoto | None = None,
    progress: Progress | None = None,
) -> ModelCard:
    """Check an embedding model, run it once, and keep it in the cache as `name`.

    Args:
        source: path of an ONNX file, or PREFIX,EPOCH of an MXNet checkpoint.
        name: lower-case letters, digits, dots and dashes; afterwards `--model NAME` opens it.
        cache: folder of the models; None for `default_cache()`.
        colour_order: "rgb" or "bgr"; required where the file does not state it.
        mean: three numbers subtracted from 0..255; required likewise.
        std: three numbers to divide by; required likewise.
        replace: whether a model that was added under that name before may be replaced.
        threshold: cosine of "same person"; measured on `images`, else from the file, else the
            reference system's 0.38, which is raised where nothing was measured.
        images: a folder of people, DIR/PERSON/PHOTO, on which the model's similarities are
            measured; None for those of the file.
        on_photo: called after each photo of `images`.
        progress: called with the bytes while the detector is fetched for `images`.

    Returns:
        The card that the model now carries.

    Raises:
        ModelCardError: if a fact is neither in the file nor given, or the images are too few;
            the message names it.
        ModelFileError: if the file is not an embedding model or its trial run fails.
    """
    if not NAME.fullmatch(name) or name in read_manifest():
        raise ModelFileError(
            f"a model cannot be called {name!r} (lower-case letters, digits, dots and dashes; "
            "no name of facewire's own)"
        )
    path = user_model_path(name, cache or default_cache())
    if path.exists() and not replace:
        raise ModelFileError(
            f"there is a model {name} already: choose another --name, or --replace it"
        )
    model, card = load_with_card(
        source, name=name, colour_order=colour_order, mean=mean, std=std, threshold=threshold
    )
    card = embedding_card(card)
    _try(model, card)
    if images is not None:
        found = measure(model, card, images, cache=cache, on_photo=on_photo, progress=progress)
        card = with_measurement(card, found, threshold)
    write_card(model, card)
    write_onnx(model, path, replace=replace)
    return card


def convert_checkpoint(
    spec: str, out: Path, *, outputs: tuple[str, ...] = (), replace: bool = False
) -> list[str]:
    """Convert an MXNet checkpoint to an ONNX file; embedding models get their card.

    Args:
        spec: PREFIX,EPOCH.
        out: the file to write.
        outputs: nodes wanted; empty for the embedding, or else the symbol's own outputs.
        replace: whether a file that is there already may be replaced.

    Returns:
        Names of the model's outputs.

    Raises:
        ModelFileError: if the checkpoint cannot be read or converted, or `out` is there already.
    """
    if os.path.lexists(out) and not replace:
        raise ModelFileError(f"{out} is there already: name another file, or --replace it")
    symbol_path, params_path = checkpoint_paths(spec)
    symbol = read_symbol(symbol_path)
    if not outputs and has_node(symbol, EMBEDDING_NODE) and normalizes_itself(symbol):
        model, card = load_with_card(spec, name=params_path.stem)
        write_card(model, card)
    else:
        model = convert(symbol, read_params(params_path), outputs=outputs, name=params_path.stem)
    write_onnx(model, out, replace=replace)
    return [value.name for value in model.graph.output]


def load_with_card(
    source: str,
    *,
    name: str,
    colour_order: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    threshold: float | None = None,
) -> tuple[onnx.ModelProto, ModelCard]:
    """Load an ONNX file or an MXNet checkpoint, and read or complete its card.

    Args and Raises as `add_model`.
    """
    facts: dict[str, Any] = {}
    if source.endswith(".onnx"):
        model = read_onnx(Path(source))
        try:
            card = read_card(model, name=Path(source).name)
        except ModelCardError:
            card = None
        origin = Path(source).name
    elif "," not in source:
        raise ModelFileError(f"{source!r} is neither an .onnx file nor PREFIX,EPOCH of MXNet")
    else:
        symbol_path, params_path = checkpoint_paths(source)
        symbol = read_symbol(symbol_path)
        outputs = (EMBEDDING_NODE,) if has_node(symbol, EMBEDDING_NODE) else ()
        model = convert(symbol, read_params(params_path), outputs=outputs, name=params_path.stem)
        card, origin = None, f"MXNet checkpoint {params_path.name}"
        facts["colour_order"] = "rgb"  # the order of MXNet's image reader and its face programs
        if normalizes_itself(symbol):
            facts |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    given: dict[str, Any] = {
        "colour_order": colour_order,
        "mean": mean,
        "std": std,
        "threshold": threshold,
    }
    stated: dict[str, Any] = {
        key: tuple(value) if key in ("mean", "std") else value
        for key, value in given.items()
        if value is not None
    }
    if card is not None:
        return model, replace(card, name=name, **stated)
    facts |= stated
    if missing := [key for key in ("colour_order", "mean", "std") if key not in facts]:
        flags = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise ModelCardError(
            f"{source} does not say {', '.join(missing)}: give {flags} to `facewire models add`"
        )
    defaults = {
        "input_size": _input_size(model, source),
        "embedding_size": _embedding_size(model, source),
        "threshold": REFERENCE_THRESHOLD,
        "far": 0.0,
        "source": origin,
        "licence": "unknown",
        "trained_on": "unknown",
    }
    return model, card_from({**defaults, **facts}, name=name)


def _input_size(model: onnx.ModelProto, source: str) -> tuple[int, int]:
    inputs = _fed(model)
    if len(inputs) != 1:
        raise ModelFileError(f"{source} must have one input, it has {len(inputs)}")
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    if len(dims) != 4 or dims[1] not in (0, 3):
        raise ModelFileError(f"{source} must take (N, 3, H, W), it takes {dims}")
    return dims[2] or CROP_SHAPE[0], dims[3] or CROP_SHAPE[1]


def _fed(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _embedding_size(model: onnx.ModelProto, source: str) -> int:
    """Run the model once and return the size of its output."""
    height, width = _input_size(model, source)
    with _trial(model, source, (height, width)) as engine:
        network = engine.load(model.SerializeToString(), name=source)
        output = network(np.zeros((1, 3, height, width), np.float32))[0]
    if output.ndim != 2 or output.shape[0] != 1:
        raise ModelFileError(f"{source} must give (N, D), it gives {output.shape} for one crop")
    return int(output.shape[1])


def _try(model: onnx.ModelProto, card: ModelCard) -> None:
    """Embed two crops at once: proves that the batch is free and the numbers are finite."""
    crops = np.random.default_rng(0).integers(0, 256, (2, *CROP_SHAPE, 3), dtype=np.uint8)
    with _trial(model, card.name, card.input_size) as engine:
        embeddings = Embedder(engine, model, card).embed(crops)
    if not np.isfinite(embeddings).all() or np.abs(embeddings[0] - embeddings[1]).max() < 1e-6:
        raise ModelFileError(
            f"{card.name} gives no embeddings: two different crops became equal or not finite"
        )


@contextmanager
def _trial(model: onnx.ModelProto, name: str, size: tuple[int, int]) -> Iterator[OnnxRuntimeEngine]:
    """Run an untrusted model.

    Raises:
        ModelFileError: if it would fill the memory, or cannot be run.
    """
    _check_memory(model, name, size)
    engine = OnnxRuntimeEngine("cpu", threads=1)
    try:
        yield engine
    except (RuntimeError, *engine.errors) as error:
        raise ModelFileError(f"{name} cannot be run: {first_line(error)}") from error


def _check_memory(model: onnx.ModelProto, name: str, size: tuple[int, int]) -> None:
    """Refuse a model with an implausible layer; a forged padding would allocate terabytes."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in _fed(sized):
        for dim, n in zip(value.type.tensor_type.shape.dim, (1, 3, *size), strict=False):
            dim.dim_value = n
    try:
        layers = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph.value_info
    except (onnx.shape_inference.InferenceError, ValueError):
        return  # the engine refuses what has no shapes
    for layer in layers:
        shape = [dim.dim_value for dim in layer.type.tensor_type.shape.dim]
        if math.prod(shape) > MAX_VALUES:
            raise ModelFileError(f"{name} would fill the memory: {layer.name} is {shape}")
