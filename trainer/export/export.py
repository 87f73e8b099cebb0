"""Exports a checkpoint of `fit` or arcface_torch's backbone.pth to ONNX, .pth or MXNet files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recognizer import ModelCard
from recognizer.similarities import MIN_IMPOSTORS, PAIR_FAR, Similarities, derive, measured
from trainer.backbones import BACKBONES, build_backbone
from trainer.backbones.arcface_torch import (
    load_arcface_torch,
    read_arcface_torch,
    write_arcface_torch,
)
from trainer.data.pairs import read_bin
from trainer.errors import ExportError
from trainer.evaluation.embedding import embed_pairs, torch_embed
from trainer.evaluation.verification import (
    Verification,
    pair_distances,
    unit_rows,
    verify_embeddings,
)
from trainer.export.mxnet import write_mxnet
from trainer.export.onnx import export_onnx
from trainer.training.checkpoint import load_state, read_checkpoint
from trainer.training.recipe import Recipe, recipe_from
from trainer.training.trainee import GENDER_AGE_SIZE

logger = logging.getLogger(__name__)

UNMEASURED = 0.3  # cosine; between the usual 0.25 and 0.4, and marked as unknown by a FAR of 0


def open_backbone(path: Path) -> tuple[nn.Module, Recipe]:
    """Build the backbone of a checkpoint: the averaged one where there is one.

    Of a `backbone.pth` of arcface_torch too; its recipe names the network and its size alone.

    Raises:
        CheckpointError: if it is damaged or of another version.
    """
    if path.suffix == ".pth":
        _, name, size = read_arcface_torch(path)
        module = build_backbone(name, size=size)
        load_arcface_torch(module, path)
        return module.eval(), recipe_from({"backbone": {"name": name, "size": size}})
    state = read_checkpoint(path)
    recipe = Recipe.model_validate_json(state["recipe"])
    size = GENDER_AGE_SIZE if recipe.head.loss == "genderage" else recipe.backbone.size
    backbone = build_backbone(
        recipe.backbone.name,
        size=size,
        output=recipe.backbone.output,
        act=recipe.backbone.act,
        se=recipe.backbone.se,
    )
    load_state(backbone, state["ema"] or state["backbone"], path)
    return backbone.eval(), recipe


def export_checkpoint(
    checkpoint: Path,
    to: str,
    pairs: Path | None,
    *,
    name: str,
    licence: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write FILE.onnx with a card, FILE.pth for arcface_torch, or the two files of PREFIX,EPOCH.

    Args:
        checkpoint: a .pt file of `fit`, or a backbone.pth of arcface_torch.
        to: FILE.onnx, FILE.pth or PREFIX,EPOCH.
        pairs: a `.bin` on which the card's similarities are measured, and its threshold with
            them; None leaves them unmeasured.
        name: for the card; empty for the file's.
        licence: of the weights, for the card.
        on_progress: called with images done and in total.

    Returns:
        What was written and measured.

    Raises:
        ExportError: if `to` is none of these, recognizer's embeddings differ, or arcface_torch has
            no such network.
    """
    backbone, recipe = open_backbone(checkpoint)
    prefix, comma, epoch = to.rpartition(",")
    if comma and epoch.isdigit():
        symbol, params = write_mxnet(backbone, Path(prefix), int(epoch))
        return {"symbol": str(symbol), "params": str(params)}
    path = Path(to)
    if pairs and recipe.head.loss == "genderage":
        raise ExportError("--pairs are for embeddings: leave it out for a gender and age network")
    if path.suffix == ".pth":
        return {"pth": str(path), "network": write_arcface_torch(backbone, path)}
    if path.suffix != ".onnx":
        raise ExportError(f"cannot export to {to}: expected FILE.onnx, FILE.pth or PREFIX,EPOCH")
    threshold, far, trained_on = UNMEASURED, 0.0, "not measured"
    similarities = None
    if pairs:
        result, similarities = _measure(backbone, pairs, on_progress)
        threshold = result.threshold
        if similarities is not None:
            threshold, far = min(derive(similarities).pair, 1.0), PAIR_FAR
        trained_on = f"{result.target} {100 * result.accuracy_flip.mean:.2f} %"
    if similarities is None and recipe.head.loss != "genderage":
        logger.warning(
            "the card of %s has no similarities, so names are given cautiously with it "
            "(measure them by --pairs with %d pairs of different people or more, or by "
            "`facewire models add` with --images)",
            path.name,
            MIN_IMPOSTORS,
        )
    is_genderage = recipe.head.loss == "genderage"
    size = recipe.backbone.size or BACKBONES[recipe.backbone.name].size
    made_by = "arcface_torch" if checkpoint.suffix == ".pth" else "facewire-train"
    loss = "" if checkpoint.suffix == ".pth" else f" {recipe.head.loss}"
    card = ModelCard(
        name=name or path.stem,
        input_size=(112, 112),
        colour_order="rgb",
        mean=(0.0, 0.0, 0.0),  # normalization is in the graph
        std=(1.0, 1.0, 1.0),
        embedding_size=GENDER_AGE_SIZE if is_genderage else size,
        threshold=threshold,
        far=far,
        source=f"{made_by}, {recipe.backbone.name}{loss}",
        licence=licence,
        trained_on=trained_on,
        similarities=similarities,
    )
    difference = export_onnx(backbone, card, path)
    if is_genderage:
        return {"onnx": str(path), "difference": difference, "outputs": GENDER_AGE_SIZE}
    return {
        "onnx": str(path),
        "difference": difference,
        "threshold": threshold,
        "far": far,
        "measured": trained_on,
    }


def _measure(
    backbone: nn.Module, path: Path, on_progress: Callable[[int, int], None] | None
) -> tuple[Verification, Similarities | None]:
    """Verify by the protocol, and note the similarities of plain crops, as they are served."""
    pairs = read_bin(path)
    embed = torch_embed(backbone, torch.device("cpu"))
    plain, mirrored = embed_pairs(embed, pairs, on_progress=on_progress)
    folds = min(10, len(pairs.is_same))
    result = verify_embeddings(plain, mirrored, pairs.is_same, target=pairs.name, folds=folds)
    cosines = 1 - pair_distances(unit_rows(plain)) / 2
    is_found = ~np.isnan(cosines)
    genuine, impostor = cosines[is_found & pairs.is_same], cosines[is_found & ~pairs.is_same]
    if len(impostor) < MIN_IMPOSTORS:
        return result, None
    mirror = (unit_rows(plain) * unit_rows(mirrored)).sum(axis=1)
    return result, measured(genuine, impostor, mirror[~np.isnan(mirror)])
