"""Adapts an embedding network to a site's people and cameras, and keeps it only if it is better."""

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from recognizer import Image, ModelCard, Recognizer, write_card, write_file
from recognizer.embed.embedder import Embedder
from recognizer.engines.devices import open_engine
from recognizer.models.onnx_files import write_onnx
from recognizer.models.resolve import ResolvedModel, resolve_model
from recognizer.similarities import (
    MIN_IMPOSTORS,
    PAIR_FAR,
    derive,
    measured,
    measured_on_people,
)
from trainer.adapt.measuring import (
    CHOOSING_FARS,
    CLEAN,
    DEGRADED,
    Change,
    Embed,
    Floats,
    Pairs,
    changes,
    check_pairs,
    compare_all,
    degraded_copies,
    rates_of,
    why_refused,
)
from trainer.adapt.people import Crops, Split, read_people, split
from trainer.adapt.tuning import Tuning, set_blend, tune
from trainer.backbones import BACKBONES
from trainer.backbones.onnx_network import OnnxNetwork
from trainer.errors import DataError, ExportError
from trainer.training.device import device_kind, use_threads

logger = logging.getLogger(__name__)

BLENDS = (0.25, 0.5, 0.75, 1.0)  # shares of the way from the base to the tuned weights
NEARLY = 0.8  # of the best gain
EMBED_BATCH = 32
MAX_DIFFERENCE = 1e-3  # between unit embeddings of the twin and of the base in recognizer

Shown = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress bar of a title; gives a function of done and total."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        sources: folders of people, packed sets, or exports of a gallery.
        to: the ONNX file to write.
        report: the JSON file to write, also when the network is refused.
        base: a model's name, an ONNX file, PREFIX,EPOCH, or a checkpoint of `fit`.
        consented: names of the people who agreed; None if all of the sources did.
        tuning: how it learns.
        tolerance: of clean photos, a share of the pairs.
        resamples: draws of the bootstrap.
        name: for the card; empty for the file's.
        replace: replace files that are there.
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 for all.
    """

    sources: Sequence[Path]
    to: Path
    report: Path
    base: str = "sface"
    consented: Collection[str] | None = None
    tuning: Tuning = field(default_factory=Tuning)
    tolerance: float = 0.01
    resamples: int = 1000
    name: str = ""
    replace: bool = False
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What came out.

    Attributes:
        refusal: why no model was written; "" if one was.
        facts: the report, as JSON has it.
        changes: of the people left out.
        model: the network, whether refused or not.
    """

    refusal: str
    facts: dict[str, Any]
    changes: list[Change]
    model: onnx.ModelProto


def adapt(request: Request, open_detector: Callable[[], Recognizer], *, shown: Shown) -> Adapted:
    """Tune a base on some people, measure it on others, and write it if it is better.

    Args:
        request: what to do.
        open_detector: called at the first photo that is not a crop.
        shown: opens progress bars.

    Raises:
        TrainerError: if files are in the way, data are missing or too few, the base cannot be
            adapted, or training fails. That a network is refused is no error here: see `refusal`.
    """
    _check_free(request)
    use_threads(request.threads)
    base = open_base(request.base)
    twin = OnnxNetwork(base.model, base.card).eval()
    with shown("reading photos") as on_progress:
        crops, left_out = read_people(
            request.sources,
            open_detector,
            consented=request.consented,
            on_progress=on_progress,
        )
    parts = split(crops, seed=request.tuning.seed)
    pairs = Pairs(parts.held_out.people)
    fars = check_pairs(pairs)
    logger.info("%s", _plan(base.model_id, parts, request))
    _check_twin(twin, base, request)

    place = torch.device(device_kind(request.device))
    started = time.monotonic()
    with shown("learning") as on_progress:
        first = tune(twin, parts.learned, request.tuning, device=place, on_progress=on_progress)
    weights = twin.weights()
    tuned = {name: weights[name].detach().clone() for name in first}
    seconds = time.monotonic() - started

    def blended(share: float) -> onnx.ModelProto:
        set_blend(twin, first, tuned, share)
        return twin.write_to(base.model)

    with shown("choosing how far to go") as on_progress:
        share, choices = _choose(request, base, blended, parts.choosing, on_progress)
    model = blended(share)
    copies = degraded_copies(parts.held_out, seed=request.tuning.seed)
    with shown("measuring") as on_progress:
        compared = [
            compare_all(pairs, embedder(request, each, base.card), copies)
            for each in (base.model, model)
        ]
        found = changes(
            compared[0],
            compared[1],
            fars,
            n_people=pairs.n_people,
            resamples=request.resamples,
            seed=request.tuning.seed,
            on_progress=on_progress,
        )
    refusal = why_refused(found, tolerance=request.tolerance)
    facts = {
        "base": base.model_id,
        "photos": len(crops),
        "left_out": left_out,
        "learned": _who(parts.learned),
        "choosing": _who(parts.choosing),
        "held_out": _who(parts.held_out),
        "settings": asdict(request.tuning) | {"tolerance": request.tolerance},
        "seconds": round(seconds, 1),
        "blend": share,
        "blends": choices,
        "pairs": {"impostors": pairs.impostors, "people": pairs.n_people},
        "changes": [asdict(each) | {"gain": each.gain} for each in found],
        "refusal": refusal,
        "onnx": "" if refusal else str(request.to),
    }
    if not refusal:
        card = _card(request, base, model, parts, found)
        write_card(model, card)
        facts["threshold"] = card.threshold
        write_onnx(model, request.to, replace=request.replace)
    _write_report(request, facts)
    return Adapted(refusal, facts, found, model)


def lines_of(adapted: Adapted) -> list[str]:
    """Return the report as lines: who, and a table of the changes."""
    facts = adapted.facts
    held_out, learned = facts["held_out"], facts["learned"]
    lines = [f"left out: {line}" for line in facts["left_out"]]
    lines += [
        f"learned from {learned['photos']} photos of {len(learned['people'])} people, "
        f"measured on {held_out['photos']} photos of {len(held_out['people'])} others "
        f"({facts['pairs']['impostors']} pairs of different people)",
        f"blend {facts['blend']:g}: the share of the way from {facts['base']} to what was learned",
        "TAR of photos  at FAR  before   after  change  95 % interval",
    ]
    for each in adapted.changes:
        lines.append(
            f"{each.kind:<13} {each.far:>7g} {each.before:>7.4f} {each.after:>7.4f} "
            f"{each.gain:>+7.4f}  {each.low:+.4f} to {each.high:+.4f}"
        )
    return lines


def _check_free(request: Request) -> None:
    if request.to.suffix != ".onnx":
        raise ExportError(f"cannot write {request.to}: expected FILE.onnx")
    for path in (request.to, request.report):
        if os.path.lexists(path) and not request.replace:
            raise DataError(f"{path} exists: choose another file, or replace it (--replace)")


def open_base(spec: str) -> ResolvedModel:
    """Open a model; a checkpoint of `fit` or arcface_torch becomes the ONNX model of `export`."""
    if not spec.endswith((".pt", ".pth")):
        resolved = resolve_model(spec)
        if resolved.card.input_size != (112, 112):
            taken = "x".join(map(str, resolved.card.input_size))
            raise DataError(f"{spec} takes {taken} pixels; networks of 112x112 can be adapted")
        return resolved
    from hashlib import sha256

    from trainer.export.export import UNMEASURED, open_backbone
    from trainer.export.onnx import onnx_of

    backbone, recipe = open_backbone(Path(spec))
    size = recipe.backbone.size or BACKBONES[recipe.backbone.name].size
    model = onnx_of(backbone, size)
    card = ModelCard(
        name=Path(spec).stem,
        input_size=(112, 112),
        colour_order="rgb",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        embedding_size=size,
        threshold=UNMEASURED,
        far=0.0,
        source=f"facewire-train, {recipe.backbone.name}",
        licence="not stated",
        trained_on="not measured",
    )
    return ResolvedModel(card, model, sha256(Path(spec).read_bytes()).hexdigest())


def _plan(base: str, parts: Split, request: Request) -> str:
    """Return what is used for what, for the start."""
    agreed = "everybody is said to have agreed" if request.consented is None else "all agreed"
    tuning = request.tuning
    return (
        f"adapting {base} with {len(parts.learned)} photos of {len(parts.learned.names)} people; "
        f"{len(parts.choosing.names)} others choose how far to go, "
        f"{len(parts.held_out.names)} others are measured and never learned from "
        f"({agreed}; their names are in {request.report}); "
        f"{tuning.steps} steps of {tuning.batch} crops"
    )


def embedder(request: Request, model: onnx.ModelProto, card: ModelCard) -> Embed:
    """Embed as the service does."""
    engine = open_engine(request.device, threads=request.threads)
    network = Embedder(engine, model, card)

    def embed(crops: Image) -> Floats:
        parts = range(0, len(crops), EMBED_BATCH)
        with np.errstate(over="ignore", invalid="ignore"):  # of a network that learned too fast
            return np.concatenate([network.embed(crops[i : i + EMBED_BATCH]) for i in parts])

    return embed


def _check_twin(twin: OnnxNetwork, base: ResolvedModel, request: Request) -> None:
    """Refuse a base of which the twin does not give the same embeddings."""
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    theirs = embedder(request, base.model, base.card)(crops)
    with torch.no_grad():
        ours = twin(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    ours = torch.nn.functional.normalize(ours, dim=1).numpy()
    difference = float(np.abs(ours - theirs).max())
    if not difference < MAX_DIFFERENCE:
        raise ExportError(
            f"{base.model_id} cannot be adapted: its trainable form differs by {difference:.1e}"
        )


def _choose(
    request: Request,
    base: ResolvedModel,
    blended: Callable[[float], onnx.ModelProto],
    crops: Crops,
    on_progress: Callable[[int, int], None],
) -> tuple[float, list[dict[str, float]]]:
    """Return how far to go from the base to the tuned weights, and the mean changes of each share.

    The less a network moves, the less it can lose.
    """
    pairs = Pairs(crops.people)
    fars = pairs.rates(CHOOSING_FARS)[-2:] or CHOOSING_FARS[:1]
    copies = degraded_copies(crops, seed=request.tuning.seed + 1)

    def mean_rates(model: onnx.ModelProto) -> tuple[float, float]:
        embed = embedder(request, model, base.card)
        rates = rates_of(compare_all(pairs, embed, copies), fars)
        return float(np.mean(rates[CLEAN])), float(np.mean(rates[DEGRADED]))

    clean, degraded = mean_rates(base.model)
    choices = []
    for number, share in enumerate(BLENDS, 1):
        now = mean_rates(blended(share))
        choices.append({"blend": share, CLEAN: now[0] - clean, DEGRADED: now[1] - degraded})
        on_progress(number, len(BLENDS))
    return pick_blend(choices), choices


def pick_blend(choices: Sequence[Mapping[str, float]]) -> float:
    """Return the smallest blend that gains nearly as much on degraded photos as the best does.

    Only those count that lose nothing on clean photos; if all do, the smallest is taken.

    Args:
        choices: in rising order: "blend", and the mean changes of "clean" and "degraded".
    """
    good = [each for each in choices if each[CLEAN] >= 0] or choices[:1]
    best = max(each[DEGRADED] for each in good)
    return next(each["blend"] for each in good if each[DEGRADED] >= min(NEARLY * best, best))


def _who(crops: Crops) -> dict[str, Any]:
    return {"people": crops.names, "photos": len(crops)}


def _card(
    request: Request, base: ResolvedModel, model: onnx.ModelProto, parts: Split, found: list[Change]
) -> ModelCard:
    """Return the card: similarities are of people who were not learned from."""
    images = np.concatenate([parts.held_out.images, parts.choosing.images])
    people = np.concatenate([parts.held_out.people, parts.choosing.people])
    embed = embedder(request, model, base.card)
    plain, mirrored = embed(images), embed(np.ascontiguousarray(images[:, :, ::-1]))
    genuine, impostor = measured_on_people(plain, people.tolist())
    facts: dict[str, Any] = {}
    if len(impostor) >= MIN_IMPOSTORS:
        similarities = measured(genuine, impostor, (plain * mirrored).sum(axis=1))
        threshold = min(derive(similarities).pair, 1.0)
        facts = {"similarities": similarities, "threshold": threshold, "far": PAIR_FAR}
    shown = {each.kind: each for each in reversed(found) if each.kind in (CLEAN, DEGRADED)}
    results = ", ".join(
        f"{kind} TAR at FAR {each.far:g} {each.before:.4f} before, {each.after:.4f} after"
        for kind, each in sorted(shown.items())
    )
    return replace(
        base.card,
        name=request.name or request.to.stem,
        source=f"facewire-train adapt, from {base.model_id} ({base.card.source})",
        trained_on=(
            f"{base.card.trained_on}; adapted with {len(parts.learned)} photos of "
            f"{len(parts.learned.names)} people; on {len(parts.held_out.names)} others {results}"
        ),
        **facts,
    )


def _write_report(request: Request, facts: dict[str, Any]) -> None:
    text = json.dumps(facts, indent=1)
    try:
        write_file(request.report, text.encode(), replace=request.replace)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise ExportError(f"cannot write {request.report}: {why}") from error
