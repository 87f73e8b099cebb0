"""Learns a site: embeddings of degraded crops are pulled to those that the base gives clean ones.

What moves is little, so that little can be lost: scales of normalization and activations, biases,
and the filters of the first half of the convolutions, where damage is seen first. The statistics of
batch normalization and the last layers stay. Tuned weights are then blended with the base's
(Wortsman et al., Robust fine-tuning of zero-shot models, 2022).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recognizer import Image
from trainer.adapt.degradations import degrade_anyhow
from trainer.adapt.people import Crops
from trainer.backbones.onnx_network import FILTER, SCALE, OnnxNetwork
from trainer.errors import TrainingError
from trainer.heads.classification import unit

# Chosen on three divisions of 24 people of Glint360K and 10 of LFW, and on people of LFW's first
# fold.
FILTER_RATE = 0.05  # learning rate of filters, relative to that of scales
CLEAN_SHARE = 0.25  # of a batch is not degraded: there the network must stay what it was
CLASS_SHARE = 0.05  # weight of telling the learned people apart
CLASS_SCALE = 32.0  # of its cosines
WARM_UP = 0.1  # share of the steps in which the rate rises
EMBED_BATCH = 16

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a network is tuned.

    Attributes:
        steps: of the optimizer.
        batch: crops a step.
        rate: learning rate of scales; Adam's.
        seed: of everything random.
    """

    steps: int = 100
    batch: int = 16
    rate: float = 4e-3
    seed: int = 0


def tune(
    network: OnnxNetwork,
    learned: Crops,
    tuning: Tuning,
    *,
    device: torch.device,
    on_progress: Callable[[int, int], None] | None = None,
) -> Weights:
    """Tune a network in place.

    Args:
        network: the base.
        learned: crops to learn from.
        tuning: how.
        device: where.
        on_progress: called with crops done and in all: those that are embedded first count too.

    Returns:
        The base's weights that were changed.

    Raises:
        TrainingError: if the loss is not finite.
    """
    generator = torch.Generator().manual_seed(tuning.seed)
    rng = np.random.default_rng(tuning.seed)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    moved = _moved(network)
    before = {name: weight.detach().clone() for name, (weight, _) in moved.items()}
    total = 2 * len(learned) + tuning.steps * tuning.batch
    report = on_progress or (lambda done, total: None)
    clean = _embed(network, learned.images, device, lambda n: report(n, total))
    mirrored = _embed(
        network, learned.images[:, :, ::-1], device, lambda n: report(len(learned) + n, total)
    )
    _, labels = np.unique(learned.people, return_inverse=True)
    classes = torch.from_numpy(labels).to(device)
    sums = clean.new_zeros(int(classes.max()) + 1, clean.shape[1]).index_add_(0, classes, clean)
    centers = unit(sums)
    optimizer = torch.optim.Adam(
        [{"params": [weight], "share": share} for weight, share in moved.values()], lr=tuning.rate
    )
    for step in range(tuning.steps):
        for group in optimizer.param_groups:
            group["lr"] = tuning.rate * group["share"] * _schedule(step, tuning.steps)
        chosen = torch.randint(len(learned), (tuning.batch,), generator=generator).numpy()
        pixels, is_mirrored = _batch(learned.images, chosen, rng)
        embeddings = unit(network(_pixels(pixels, device)))
        wanted = torch.where(is_mirrored[:, None].to(device), mirrored[chosen], clean[chosen])
        loss = (1 - (embeddings * wanted).sum(dim=1)).mean()
        cosines = functional.linear(embeddings, centers)
        loss = loss + CLASS_SHARE * functional.cross_entropy(cosines * CLASS_SCALE, classes[chosen])
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite at step {step + 1}: lower the learning rate (--rate)"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(2 * len(learned) + (step + 1) * tuning.batch, total)
    for weight, _ in moved.values():
        weight.grad = None
    return before


def set_blend(
    network: OnnxNetwork, base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float
) -> None:
    """Set the weights to base + share (tuned - base)."""
    weights = network.weights()
    with torch.no_grad():
        for name, weight in base.items():
            weights[name].copy_(torch.lerp(weight, tuned[name], share))


def _moved(network: OnnxNetwork) -> dict[str, tuple[Tensor, float]]:
    """Return the parameters that are tuned, with their share of the learning rate."""
    filters = [name for name, kind in network.kinds.items() if kind == FILTER]
    first = set(filters[: (len(filters) + 1) // 2])
    shares = {
        name: 1.0 if kind == SCALE else FILTER_RATE
        for name, kind in network.kinds.items()
        if kind == SCALE or name in first
    }
    for name, weight in network.weights().items():
        weight.requires_grad_(name in shares)
    weights = network.weights()
    return {name: (weights[name], share) for name, share in shares.items()}


def _schedule(step: int, steps: int) -> float:
    """Return the share of the learning rate: rising, then falling as a cosine."""
    warm = min((step + 1) / max(WARM_UP * steps, 1.0), 1.0)
    return float(warm * 0.5 * (1 + np.cos(np.pi * step / steps)))


def _batch(
    images: Image, chosen: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Image, Tensor]:
    """Return crops, degraded and mirrored at random, and which are mirrored."""
    is_mirrored = rng.random(len(chosen)) < 0.5
    crops = []
    for index, flip in zip(chosen, is_mirrored, strict=True):
        crop = images[index]
        if rng.random() >= CLEAN_SHARE:
            crop = degrade_anyhow(crop, rng)
        crops.append(crop[:, ::-1] if flip else crop)
    return np.stack(crops), torch.from_numpy(is_mirrored)


def _pixels(crops: Image, device: torch.device) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2)
    return pixels.float()  # keeps the order in memory: channels last


@torch.no_grad()
def _embed(
    network: OnnxNetwork, crops: Image, device: torch.device, on_done: Callable[[int], None]
) -> Tensor:
    """Return (N, D) unit embeddings."""
    rows = []
    for start in range(0, len(crops), EMBED_BATCH):
        part = crops[start : start + EMBED_BATCH]
        rows.append(unit(network(_pixels(part, device)).float()))
        on_done(start + len(part))
    return torch.cat(rows)
