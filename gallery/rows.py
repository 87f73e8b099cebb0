"""Storage of unit vectors in memory, of two kinds: float32 if few, int8 if many.

Both return the rows nearest to each probe, and the error bound of their similarities;
`TemplateIndex` computes an exact result from that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self

import faiss
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# 128 MiB at 128 bytes per row. Growing within a block copies it at each doubling, 20 ms at most;
# the calls for many small blocks would cost more than their scans.
BLOCK_ROWS = 1 << 20
# Up to this number of comparisons one thread scans: it is limited by memory bandwidth, and while
# cameras keep all cores busy, waiting for a second thread costs more than it saves (6.4 ms per
# probe at a million rows against 14 ms).
ONE_THREAD_UP_TO = 2 * BLOCK_ROWS
# 127 steps for the largest component of a face's embedding (SFace: 0.41 over 807 LFW crops).
# A larger one has a larger error, which `max_error` accounts for.
STEPS = 127 / 0.5
ZERO_CODE = 128  # of QT_8bit_direct_signed
ALL_THREADS = faiss.omp_get_max_threads()


class Rows(Protocol):
    """Rows of unit vectors that can be appended, moved and searched."""

    def copy(self) -> Self:
        """Return an independent copy."""

    def wipe(self, row: int) -> None:
        """Overwrite a row with zeros, even during searches by other threads."""

    def append(self, embeddings: Floats) -> None:
        """Add (M, D) float32 rows at the end."""

    def replace_by_last(self, row: int) -> None:
        """Overwrite a row with the last one, and drop the last."""

    def nearest(self, probes: Floats, k: int) -> tuple[Ids, Floats, Floats]:
        """Return the k rows most similar to each probe, in any order.

        Args:
            probes: (N, D) float32, unit length.
            k: how many, at most the number of rows.

        Returns:
            (N, k) row numbers; (N, k) their similarities; (N,) error bounds of these, and of those
            of all other rows.
        """


class FlatRows:
    """Rows in float32, compared by one matrix product."""

    def __init__(self, embedding_size: int) -> None:
        self._rows = np.empty((0, embedding_size), np.float32)
        self._n = 0

    def copy(self) -> Self:
        """As `Rows`."""
        same = type(self)(self._rows.shape[1])
        same._rows, same._n = self._rows.copy(), self._n
        return same

    def wipe(self, row: int) -> None:
        """As `Rows`."""
        self._rows[row] = 0.0

    def append(self, embeddings: Floats) -> None:
        """As `Rows`."""
        end = self._n + len(embeddings)
        if end > len(self._rows):
            grown = np.zeros((max(end, 2 * len(self._rows), 64), self._rows.shape[1]), np.float32)
            grown[: self._n] = self._rows[: self._n]
            self._rows = grown
        self._rows[self._n : end] = embeddings
        self._n = end

    def replace_by_last(self, row: int) -> None:
        """As `Rows`."""
        self._n -= 1
        self._rows[row] = self._rows[self._n]
        self._rows[self._n] = 0.0  # erased means erased, in memory too

    def held(self) -> Floats:
        """Return all (n, D) rows."""
        return self._rows[: self._n]

    def nearest(self, probes: Floats, k: int) -> tuple[Ids, Floats, Floats]:
        """As `Rows`."""
        similarities = probes @ self._rows[: self._n].T
        if k < self._n:
            found = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        else:
            found = np.tile(np.arange(self._n), (len(probes), 1))
        exact = np.zeros(len(probes), np.float32)
        return found, np.take_along_axis(similarities, found, 1), exact


class QuantizedRows:
    """Rows in int8, a quarter of the memory; scanned by FAISS, with probes also in int8.

    Args:
        embedding_size: D.

    Attributes:
        max_error: the largest distance between a vector and its stored form.
    """

    def __init__(self, embedding_size: int) -> None:
        self._size = embedding_size
        self._blocks: list[faiss.IndexScalarQuantizer] = []
        self.max_error = 0.0

    @property
    def row_bytes(self) -> int:
        """Size of a row, bytes."""
        return self._size

    def copy(self) -> Self:
        """As `Rows`."""
        same = type(self)(self._size)
        for block in self._blocks:
            same._blocks.append(_empty_block(self._size))
            same._blocks[-1].add_sa_codes(self._codes(block))  # copies them
        same.max_error = self.max_error
        return same

    def wipe(self, row: int) -> None:
        """As `Rows`."""
        self._codes(self._blocks[row // BLOCK_ROWS])[row % BLOCK_ROWS] = ZERO_CODE

    def append(self, embeddings: Floats) -> None:
        """As `Rows`."""
        while len(embeddings):
            if not self._blocks or self._blocks[-1].ntotal == BLOCK_ROWS:
                self._blocks.append(_empty_block(self._size))
            block = self._blocks[-1]
            some = embeddings[: BLOCK_ROWS - block.ntotal]
            codes = np.clip(np.rint(some * STEPS), -127, 127)
            errors = np.linalg.norm(some - codes / STEPS, axis=1)
            self.max_error = max(self.max_error, float(errors.max()))
            # FAISS's own conversion of float32 takes four times as long.
            block.add_sa_codes((codes + ZERO_CODE).astype(np.uint8))
            embeddings = embeddings[len(some) :]

    def replace_by_last(self, row: int) -> None:
        """As `Rows`."""
        last = self._blocks[-1]
        final = self._codes(last)[-1]
        self._codes(self._blocks[row // BLOCK_ROWS])[row % BLOCK_ROWS] = final
        final[:] = ZERO_CODE  # erased means erased, in memory too
        last.ntotal -= 1
        last.codes.resize(last.ntotal * self._size)
        if last.ntotal == 0:
            self._blocks.pop()

    def nearest(
        self, probes: Floats, k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Ids, Floats, Floats]:
        """As `Rows`.

        Args:
            probes: as `Rows`.
            k: as `Rows`; at most the number of allowed rows.
            allowed: (n,) whether each row may be returned; None for all.
        """
        # Each probe is scaled by its own largest component: its error is then a third of a row's.
        scales = 127 / abs(probes).max(axis=1, keepdims=True)
        codes = np.rint(probes * scales)
        errors = np.linalg.norm(probes - codes / scales, axis=1)
        with faiss_threads(1 if self._n_rows() * len(probes) <= ONE_THREAD_UP_TO else ALL_THREADS):
            found = [
                block.search(codes, min(k, block.ntotal), params=_only(allowed, number))
                for number, block in enumerate(self._blocks)
            ]
        products = np.concatenate([products for products, _ in found], axis=1)
        rows = np.concatenate(
            [rows + number * BLOCK_ROWS for number, (_, rows) in enumerate(found)], axis=1
        )
        best = np.argpartition(-products, k - 1, axis=1)[:, :k]
        similarities = np.take_along_axis(products, best, 1) / (scales * STEPS)
        # |p.x - p'.x'| <= |p.(x - x')| + |(p - p').x'|, and |p| = 1, |x'| <= 1 + max_error
        slack = self.max_error + errors * (1.0 + self.max_error)
        return (
            np.take_along_axis(rows, best, 1),
            similarities.astype(np.float32),
            slack.astype(np.float32),
        )

    def _n_rows(self) -> int:
        return sum(block.ntotal for block in self._blocks)

    def _codes(self, block: faiss.IndexScalarQuantizer) -> NDArray[np.uint8]:
        pointer = block.codes.data()
        flat: NDArray[np.uint8] = faiss.rev_swig_ptr(pointer, block.ntotal * self._size)
        return flat.reshape(block.ntotal, self._size)


def _only(allowed: NDArray[np.bool_] | None, block: int) -> faiss.SearchParameters | None:
    """Return the parameters that restrict the search of a block to allowed rows."""
    if allowed is None:
        return None
    bits = np.packbits(allowed[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS], bitorder="little")
    library: Any = faiss  # its types know neither an array of bits nor named arguments
    parameters: faiss.SearchParameters = library.SearchParameters(
        sel=library.IDSelectorBitmap(bits)
    )
    return parameters


def _empty_block(embedding_size: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(
        embedding_size, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )


@contextmanager
def faiss_threads(n: int) -> Iterator[None]:
    """Let FAISS use n threads for the calls of this thread."""
    # The setting is the calling thread's own.
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
