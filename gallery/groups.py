"""Groups of photos that are linked by their similarity, directly or by way of others."""

import numpy as np
from numpy.typing import NDArray


def groups_of(is_linked: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the connected components of a symmetric (M, M) relation, each as an (M,) mask."""
    left = np.ones(len(is_linked), np.bool_)
    groups = []
    while left.any():
        group = np.zeros(len(is_linked), np.bool_)
        group[np.argmax(left)] = True
        while True:
            grown = group | is_linked[group].any(axis=0)
            if (grown == group).all():
                break
            group = grown
        groups.append(group)
        left &= ~group
    return groups


def main_group(is_linked: NDArray[np.bool_], qualities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the largest group, among equals that of the best photo.

    Args:
        is_linked: symmetric (M, M) relation, M at least 1.
        qualities: (M,) in [0, 1].

    Returns:
        (M,) mask.
    """
    return max(
        groups_of(is_linked), key=lambda group: (int(group.sum()), float(qualities[group].max()))
    )
