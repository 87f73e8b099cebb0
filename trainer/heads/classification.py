"""Classification heads: one formula, cos(m1 t + m2) - m3, where t is the angle to the own class.

All take raw embeddings (B, D) float32 and labels (B,) int64 and give the mean loss and accuracy.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.errors import RecipeError

NORM_EPS = 1e-10  # mx.sym.L2Normalization: v / sqrt(sum v^2 + eps), so a zero row stays zero
# arccos has an infinite slope at 1; closer than this is beyond float32's reach anyway
COS_EPS = 1e-7
WEIGHT_SIGMA = 0.01  # fc7_weight is drawn from Normal(0.01)


@dataclass(frozen=True, slots=True)
class Margin:
    """Scale and margins of a head.

    Source: ArcFace (Deng et al. 2019), equation 4; the names are the reference's.
    """

    scale: float
    m1: float
    m2: float
    m3: float


MARGINS = {
    "nsoftmax": Margin(64, 1, 0, 0),
    "arcface": Margin(64, 1, 0.5, 0),
    "cosface": Margin(64, 1, 0, 0.35),
    "combined": Margin(64, 1, 0.3, 0.2),
}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Result of a head for a batch: mean loss (scalar, with gradient) and accuracy in [0, 1]."""

    loss: Tensor
    accuracy: Tensor


def unit(x: Tensor) -> Tensor:
    """Scale the rows of (N, D) to length 1; a zero row stays zero and has a finite gradient."""
    return x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + NORM_EPS)


def margin_logits(cosine: Tensor, labels: Tensor, margin: Margin) -> Tensor:
    """Apply a margin to every row's own class, and the scale.

    Args:
        cosine: (B, C) float32.
        labels: (B,) int64; -1 where no column is the row's own.
        margin: scale and margins.

    Returns:
        (B, C) logits.
    """
    if (margin.m1, margin.m2, margin.m3) == (1, 0, 0):
        return cosine * margin.scale
    rows = torch.nonzero(labels >= 0).squeeze(1)
    columns = labels[rows]
    own = cosine[rows, columns]
    if margin.m1 != 1 or margin.m2 != 0:
        angle = torch.arccos(own.clamp(-1 + COS_EPS, 1 - COS_EPS)) * margin.m1 + margin.m2
        own = torch.cos(angle)
    return cosine.index_put((rows, columns), own - margin.m3) * margin.scale


class SoftmaxHead(nn.Module):
    """x W' + b and cross entropy."""

    def __init__(self, n_classes: int, size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        weight = torch.empty(n_classes, size).normal_(0, WEIGHT_SIGMA, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(n_classes))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return (B, C); labels are not used."""
        return functional.linear(embeddings, self.weight, self.bias)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Outcome:
        """Return mean cross entropy and accuracy."""
        return outcome(self.logits(embeddings.float(), labels), labels)


class MarginHead(nn.Module):
    """s (cos(m1 t + m2) - m3) and cross entropy.

    With several centers per class the nearest one counts (Sub-center ArcFace, Deng et al. 2020,
    equation 4).
    """

    def __init__(
        self,
        n_classes: int,
        size: int,
        margin: Margin,
        *,
        centres: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.margin, self.centres = margin, centres
        weight = torch.empty(n_classes * centres, size)
        self.weight = nn.Parameter(weight.normal_(0, WEIGHT_SIGMA, generator=generator))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return (B, C) with the margin on the own classes."""
        cosine = functional.linear(unit(embeddings), unit(self.weight))
        if self.centres > 1:
            cosine = cosine.unflatten(1, (-1, self.centres)).amax(dim=2)
        return margin_logits(cosine, labels, self.margin)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Outcome:
        """Return mean cross entropy and accuracy."""
        return outcome(self.logits(embeddings.float(), labels), labels)


class GenderAgeHead(nn.Module):
    """The reference's gender and age loss on an embedding of 202 numbers; it has no weights.

    Numbers 0 and 1 are a softmax over gender, the others 100 two-way softmaxes: is the person at
    least i + 1 years old. A gender of 9999 is left out.
    """

    AGES = 100
    IGNORED = 9999

    def forward(self, embeddings: Tensor, labels: Tensor) -> Outcome:
        """Return the sum of both mean losses and the accuracy of gender.

        Args:
            embeddings: (B, 202).
            labels: (B, 2) int64, gender and age in years.
        """
        gender, age = labels[:, 0], labels[:, 1].clamp(1, self.AGES)
        logits = embeddings.float()
        known = gender != self.IGNORED
        steps = torch.arange(self.AGES, device=age.device)
        passed = (steps < age[:, None]).long()
        ages = logits[:, 2:].unflatten(1, (self.AGES, 2))
        loss = functional.cross_entropy(ages.flatten(0, 1), passed.flatten()) * self.AGES
        if known.any():
            loss = loss + functional.cross_entropy(logits[known, :2], gender[known])
        right = (logits[known, :2].argmax(dim=1) == gender[known]).float()
        return Outcome(loss, right.mean() if len(right) else loss.new_zeros(()))


def outcome(logits: Tensor, labels: Tensor) -> Outcome:
    """Return mean cross entropy and accuracy, in [0, 1]."""
    accuracy = (logits.argmax(dim=1) == labels).float().mean()
    return Outcome(functional.cross_entropy(logits, labels), accuracy)


def margin_of(loss: str, m1: float, m2: float, m3: float, scale: float) -> Margin:
    """Return the margin of a loss by name; "margin" takes the four numbers given.

    Raises:
        RecipeError: if there is no such loss.
    """
    if loss == "margin":
        return Margin(scale, m1, m2, m3)
    if loss not in MARGINS:
        known = ", ".join([*MARGINS, "margin", "softmax", "triplet", "atriplet", "genderage"])
        raise RecipeError(f"unknown head.loss {loss!r} (known: {known})")
    return MARGINS[loss]
