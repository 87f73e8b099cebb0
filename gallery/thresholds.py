"""The similarity threshold of a search, by the number of people."""

import math
from dataclasses import dataclass
from typing import Protocol


class Growth(Protocol):
    """Growth of a model's threshold with the gallery; implemented by its card's limits."""

    @property
    def caution(self) -> float:
        """Added to the threshold of a pair before it is raised, cosine."""

    @property
    def per_decade(self) -> float:
        """Increase of the highest similarity of strangers per tenfold number of them, cosine."""

    @property
    def most_raised(self) -> float:
        """Maximum increase of the threshold of a pair, cosine."""


@dataclass(frozen=True, slots=True)
class FixedGrowth:
    """A growth with fixed values."""

    caution: float
    per_decade: float
    most_raised: float


PER_DECADE = 0.055
TYPICAL = FixedGrowth(caution=0.02, per_decade=PER_DECADE, most_raised=0.14)
"""SFace's on LFW, where a model is not at hand; what names people takes its model's own."""


def naming_threshold(pairwise: float, n_people: int, growth: Growth = TYPICAL) -> float:
    """Return the search threshold with the false accept rate of a pairwise threshold.

    A stranger is compared with all people in the gallery, and has as many chances of a false
    match.

    Args:
        pairwise: minimum cosine of two faces of one person, from the model card.
        n_people: in the gallery.
        growth: of the model.

    Returns:
        A cosine, at least `pairwise`.
    """
    added = growth.caution + raised(1, n_people, growth.per_decade)
    return pairwise + min(added, growth.most_raised)


def raised(n_before: int, n_now: int, per_decade: float = PER_DECADE) -> float:
    """Return the increase of a threshold for a grown gallery, 0 if it has not grown."""
    return per_decade * math.log10(max(n_now / max(n_before, 1), 1.0))
