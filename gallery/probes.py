"""Normalization of embeddings for storage and comparison."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_NORM = 1e-6  # a shorter embedding has no direction to speak of
UNIT_TOLERANCE = 1e-6  # what rounding to float32 leaves of a length of 1


def unit_rows(embeddings: Floats, embedding_size: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return rows scaled to unit length, and which rows are valid.

    Args:
        embeddings: (N, D) float32.
        embedding_size: D of the gallery.

    Returns:
        (N, D) float32; (N,) false where a row is zero or not finite.

    Raises:
        ValueError: if embeddings are not (N, D).
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != embedding_size:
        raise ValueError(
            f"embeddings must be (N, {embedding_size}) float32, "
            f"got {embeddings.shape} {embeddings.dtype}"
        )
    probes = embeddings.astype(np.float32)
    is_usable = np.isfinite(probes).all(axis=1)
    probes[~is_usable] = 0.0
    norms = np.linalg.norm(probes, axis=1)
    is_usable &= norms > MIN_NORM
    # A vector of unit length is unchanged, bit by bit.
    is_longer = is_usable & (abs(norms - 1.0) > UNIT_TOLERANCE)
    probes[is_longer] /= norms[is_longer, np.newaxis]
    return probes, is_usable
