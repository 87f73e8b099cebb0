"""How similar a face must be to be named, among so many people."""

import math
from dataclasses import dataclass
from typing import Protocol


class Growth(Protocol):
    """How a model's threshold grows with a gallery; its card's limits are one."""

    @property
    def caution(self) -> float:
        """Added to the threshold of a pair before it is raised, cosine."""

    @property
    def per_decade(self) -> float:
        """How much more similar the most similar stranger among ten times as many is."""

    @property
    def most_raised(self) -> float:
        """What is added to the threshold of a pair at most."""


@dataclass(frozen=True, slots=True)
class FixedGrowth:
    """A growth given by its numbers."""

    caution: float
    per_decade: float
    most_raised: float


PER_DECADE = 0.055
TYPICAL = FixedGrowth(caution=0.02, per_decade=PER_DECADE, most_raised=0.14)
"""SFace's on LFW, where a model is not at hand; what names people takes its model's own."""


def naming_threshold(pairwise: float, n_people: int, growth: Growth = TYPICAL) -> float:
    """Return the threshold for a search that is as careful as one for a pair.

    A stranger who meets a gallery is compared with everybody in it, and has as many chances to be
    taken for somebody.

    Args:
        pairwise: cosine from which two faces are taken for one person, as a model card has it.
        n_people: in the gallery.
        growth: of the model.

    Returns:
        A cosine, at least `pairwise`.
    """
    added = growth.caution + raised(1, n_people, growth.per_decade)
    return pairwise + min(added, growth.most_raised)


def raised(n_before: int, n_now: int, per_decade: float = PER_DECADE) -> float:
    """Return by how much a threshold has to rise when a gallery grows, 0 where it does not."""
    return per_decade * math.log10(max(n_now / max(n_before, 1), 1.0))
