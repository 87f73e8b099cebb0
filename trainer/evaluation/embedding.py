"""Raw embeddings of pairs and of image files, by torch or by recognizer's engine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recognizer import Image, ImageError, ModelFileError, Progress, Recognizer, read_image
from recognizer.embed.embedder import prepare
from recognizer.engines.devices import open_engine
from recognizer.engines.engine import Engine
from recognizer.models.resolve import ResolvedModel
from trainer.data.pairs import PairSet
from trainer.data.photos import crop_of, is_crop
from trainer.errors import DataError
from trainer.evaluation.onnx_models import NOTHING_STATED, InputFacts, is_for_one, open_model
from trainer.evaluation.verification import Floats64

if TYPE_CHECKING:
    import torch
    from torch import nn

Embed = Callable[[Image], NDArray[np.float32]]
"""(N, 112, 112, 3) uint8 RGB crops to (N, D) raw embeddings, not yet of unit length."""

BATCH = 32


def torch_embed(backbone: "nn.Module", device: "torch.device") -> Embed:
    """Embed with a backbone in evaluation mode; it is left in that mode."""
    import torch  # here alone: verifying finished models works without it

    backbone.eval()

    def embed(crops: Image) -> NDArray[np.float32]:
        pixels = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return backbone(pixels).float().cpu().numpy()

    return embed


def recognizer_embed(
    spec: str,
    *,
    device: str = "auto",
    threads: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    facts: InputFacts = NOTHING_STATED,
) -> tuple[Embed, str]:
    """Embed with a model as recognizer loads it: a name, an .onnx file or PREFIX,EPOCH.

    Args:
        spec: of the model; an .onnx file needs no model card.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 for all.
        cache: folder of the models; None for the usual one.
        progress: called with the bytes while a model is fetched.
        facts: about the input of an .onnx file, where it does not say them itself.

    Returns:
        The function, and the model's id.

    Raises:
        ModelFileError: if there is no such model, or it takes crops of another size.
        DataError: if facts are given for another model than an .onnx file.
    """
    resolved = open_model(spec, facts, cache=cache, progress=progress)
    if resolved.card.input_size != (112, 112):
        raise ModelFileError(f"{spec} takes {resolved.card.input_size} pixels, pairs have 112x112")
    engine = open_engine(device, threads=threads)
    if is_for_one(resolved.model):
        return _embed_for_one(engine, resolved), resolved.model_id
    return _embed_with(engine, resolved, None), resolved.model_id


def _embed_with(engine: Engine, resolved: ResolvedModel, batch: int | None) -> Embed:
    name = resolved.card.name
    network = engine.load(prepare(resolved.model, resolved.card, batch=batch), name=name)

    def embed(crops: Image) -> NDArray[np.float32]:
        return np.array(network(np.ascontiguousarray(crops))[0], np.float32)

    return embed


def _embed_for_one(engine: Engine, resolved: ResolvedModel) -> Embed:
    """Embed with a model that was exported for one crop: in batches if these give the same.

    Its graph may hold shapes of one crop, as constants of a Reshape: such a model fails with a
    batch, or mixes the crops.
    """
    single = _embed_with(engine, resolved, 1)

    def one_by_one(crops: Image) -> NDArray[np.float32]:
        return np.concatenate([single(crops[i : i + 1]) for i in range(len(crops))])

    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    expected = one_by_one(crops)
    try:
        batched = _embed_with(engine, resolved, None)
        found = batched(crops)
    except (RuntimeError, ModelFileError, *getattr(engine, "errors", ())):
        return one_by_one
    scale = max(float(np.abs(expected).max()), 1e-10)
    if found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=1e-3 * scale):
        return batched
    return one_by_one


def embed_pairs(
    embed: Embed,
    pairs: PairSet,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats64, Floats64]:
    """Embed all images of a set, plain and mirrored; images are decoded a batch at a time.

    Images of zero bytes stand for faces that were not detected; their rows are NaN.

    Returns:
        Two (2 N, D) float64 arrays of raw embeddings.
    """
    n = len(pairs.images)
    both: list[list[NDArray[np.float32]]] = [[], []]
    for start in range(0, n, BATCH):
        indices = range(start, min(start + BATCH, n))
        missing = np.array([not pairs.images[i] for i in indices])
        crops = np.stack(
            [
                np.zeros((112, 112, 3), np.uint8) if is_missing else pairs.image(i)
                for i, is_missing in zip(indices, missing, strict=True)
            ]
        )
        for rows, batch in zip(both, (crops, crops[:, :, ::-1]), strict=True):
            embeddings = embed(np.ascontiguousarray(batch)).copy()
            embeddings[missing] = np.nan
            rows.append(embeddings)
        if on_progress:
            on_progress(indices[-1] + 1, n)
    plain, mirrored = (
        np.concatenate(rows).astype(np.float64) if rows else np.zeros((0, 1)) for rows in both
    )
    return plain, mirrored


def embed_files(
    embeds: Sequence[Embed],
    files: Sequence[Path],
    open_detector: Callable[[], Recognizer],
    *,
    named_in: Callable[[int], str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Embed every image once with every model; a few images are in memory at a time.

    Args:
        embeds: the models.
        files: N images; those of 112x112 are taken as aligned crops, the main face of others is
            detected and aligned.
        open_detector: called when the first image comes that is not a crop.
        named_in: returns the place that names image i, for the message.
        on_progress: called with images done and images in all.

    Returns:
        For each model (N, D), raw embeddings of the image and its mirror image added; NaN where no
        face was found.

    Raises:
        DataError: if an image cannot be read.
    """
    n = len(files)
    rows: list[list[NDArray[np.float32]]] = [[] for _ in embeds]
    recognizer: Recognizer | None = None
    for start in range(0, n, BATCH):
        indices = range(start, min(start + BATCH, n))
        crops = np.zeros((len(indices), 112, 112, 3), np.uint8)
        missing = np.zeros(len(indices), bool)
        for place, i in enumerate(indices):
            crop: Image | None
            try:
                crop = read_image(files[i])
            except ImageError as error:
                where = f"{named_in(i)}: " if named_in else ""
                raise DataError(f"{where}{error}") from error
            if not is_crop(crop):
                recognizer = recognizer or open_detector()
                crop = crop_of(crop, recognizer)
            if crop is None:
                missing[place] = True
            else:
                crops[place] = crop
        mirrored = np.ascontiguousarray(crops[:, :, ::-1])
        for embed, found in zip(embeds, rows, strict=True):
            both = embed(crops).copy() + embed(mirrored)
            both[missing] = np.nan
            found.append(both)
        if on_progress:
            on_progress(indices[-1] + 1, n)
    return [np.concatenate(found) for found in rows]
