"""How alike a face must be to be named, among so many people."""

import math

# Measured with SFace on 324,290 pairs of different people of LFW: one in 1,000 is as alike as
# 0.376, one in 10,000 as 0.435, one in 100,000 as 0.488.
PER_DECADE = 0.055
# What a model card states for 3,000 pairs lies below what that many more pairs show: 0.376, not
# 0.358, at one in 1,000.
CAUTION = 0.02
# Beyond it one photo in ten of the right person would be refused; a stranger among 1,000 people
# is then named once in 100 looks, which voting over several looks makes rare.
MOST_RAISED = 0.14


def naming_threshold(pairwise: float, n_people: int) -> float:
    """Return the threshold for a search that is as careful as one for a pair.

    A stranger who meets a gallery is compared with everybody in it, and has as many chances to be
    taken for somebody.

    Args:
        pairwise: cosine from which two faces are taken for one person, as a model card has it.
        n_people: in the gallery.

    Returns:
        A cosine, at least `pairwise`.
    """
    return pairwise + min(CAUTION + raised(1, n_people), MOST_RAISED)


def raised(n_before: int, n_now: int) -> float:
    """Return by how much a threshold has to rise when a gallery grows, 0 where it does not."""
    return PER_DECADE * math.log10(max(n_now / max(n_before, 1), 1.0))
