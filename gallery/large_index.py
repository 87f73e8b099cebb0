"""Index of a very large gallery: a file of all templates, and those changed since in memory.

A scan over half a byte for two numbers selects candidates, a byte for each number orders them, and
the best are compared in float32 as they are stored. The scan alone is an estimate and may leave out
the right candidate; `exact_persons` measures how often.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery.errors import GalleryError
from gallery.index import FIRST_LOOK, Fetch, TemplateIndex, by_person, compared
from gallery.index_file import IndexFile
from gallery.rows import ALL_THREADS, STEPS, faiss_threads

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

LARGE_ROWS = 1 << 20
"""From more templates on, the file is used: one byte for each number takes 5 ms a million."""

FIRST_CANDIDATES = 1_024
MARGIN = 0.2
"""Candidates whose estimate is further below the last person found are left out: estimates of the
best one were 0.06 too low, 0.17 at most in 500 probes."""

CANDIDATES = 8_192
"""Rows that the scan selects. The best one was among the first 310 of a million, in 999 of 1,000
probes; ten times as many rows are expected to move it ten times as far down."""

PROBES_PER_THREAD = 4
EXACT_ROWS = 16_384  # rows of a step of the exact comparison: 8 MB of float32
EXACT_KEPT = 1_024


class LargeIndex:
    """Unit vectors with their photo and person, most of them in a file; as `TemplateIndex`.

    Many threads may search it at once; it is changed only before it is searched, see `copy`.

    Args:
        file: all templates of some revision.
        fetch: returns the full vectors.
    """

    def __init__(self, file: IndexFile, fetch: Fetch) -> None:
        self._file = file
        self._fetch = fetch
        self._tail = TemplateIndex(file.head.embedding_size, fetch)
        is_alive = np.asarray(file.persons) >= 0
        self._n_alive = int(np.count_nonzero(is_alive))
        self._alive = np.packbits(is_alive, bitorder="little")

    def copy(self) -> Self:
        """Return an independent copy, to be changed; the file is shared."""
        same = object.__new__(type(self))
        same._file, same._fetch = self._file, self._fetch
        same._tail = self._tail.copy()
        same._alive, same._n_alive = self._alive.copy(), self._n_alive
        return same

    def wipe(self, photo_ids: Ids) -> None:
        """Overwrite the vectors of photos with zeros, in memory and in the file.

        Args:
            photo_ids: (M,) int64, missing ones are ignored.
        """
        self._file.wipe(self._rows_of(photo_ids))
        self._tail.wipe(photo_ids)

    def wiped(self) -> Ids:
        """Return the ids of photos whose rows in the file are wiped."""
        return np.asarray(self._file.photo_ids[self._file.persons < 0])

    def __len__(self) -> int:
        return self._n_alive + len(self._tail)

    @property
    def kind(self) -> str:
        """The storage of the rows: "pq"."""
        return "pq"

    @property
    def n_changed(self) -> int:
        """Number of templates that differ from the file."""
        return self._file.head.n_rows - self._n_alive + len(self._tail)

    def add(self, photo_ids: Ids, persons: Ids, embeddings: Floats) -> None:
        """Append rows, as `TemplateIndex.add`."""
        self._tail.add(photo_ids, persons, embeddings)

    def remove(self, photo_ids: Ids) -> None:
        """Remove rows, ignoring missing ones.

        Args:
            photo_ids: (M,) int64.
        """
        rows = self._rows_of(photo_ids)
        rows = rows[self._is_alive(rows)]
        np.bitwise_and.at(self._alive, rows >> 3, ~(1 << (rows & 7)).astype(np.uint8))
        self._n_alive -= len(rows)
        self._tail.remove(photo_ids)

    def photo_ids(self) -> Ids:
        """Return the photo ids in the index, unordered."""
        rows = np.arange(self._file.head.n_rows)
        return np.concatenate(
            [self._file.photo_ids[rows[self._is_alive(rows)]], self._tail.photo_ids()]
        )

    def best_persons(self, probes: Floats, n_persons: int) -> list[list[tuple[int, float]]]:
        """Return the most similar persons of each probe, as `TemplateIndex.best_persons`."""
        if not len(probes):
            return []
        newer = self._tail.best_persons(probes, n_persons)
        if not self._n_alive:
            return newer
        k = min(CANDIDATES, self._file.head.n_rows)
        with faiss_threads(min(ALL_THREADS, max(1, len(probes) // PROBES_PER_THREAD))):
            estimates, found = self._file.scan.search(probes, k)
        return [
            _joined(newer[i], self._ranked(probe, found[i], estimates[i], n_persons), n_persons)
            for i, probe in enumerate(probes)
        ]

    def exact_persons(
        self, probes: Floats, n_persons: int, *, pause: Callable[[], None] | None = None
    ) -> list[list[tuple[int, float]] | None]:
        """Return what comparing every template in float32 would give; takes seconds.

        Args:
            probes: (N, D) float32, unit length.
            n_persons: maximum number.
            pause: called after each hundredth of a second of work.

        Returns:
            As `best_persons`; None where so many templates are nearly as similar that the result
            is not proven.
        """
        n_rows, kept = self._file.head.n_rows, EXACT_KEPT
        rows = np.empty((len(probes), 0), np.int64)
        rough = np.empty((len(probes), 0), np.float32)
        for start in range(0, n_rows, EXACT_ROWS):
            some = np.arange(start, min(start + EXACT_ROWS, n_rows))
            some = some[self._is_alive(some)]
            new = probes @ (self._file.codes[some].astype(np.float32) / np.float32(STEPS)).T
            rows = np.concatenate([rows, np.broadcast_to(some, new.shape)], axis=1)
            rough = np.concatenate([rough, new], axis=1)
            if rough.shape[1] > kept:
                best = np.argpartition(-rough, kept - 1, axis=1)[:, :kept]
                rows, rough = np.take_along_axis(rows, best, 1), np.take_along_axis(rough, best, 1)
            if pause is not None:
                pause()
        newer = self._tail.best_persons(probes, n_persons)
        answers: list[list[tuple[int, float]] | None] = []
        for i, probe in enumerate(probes):
            found = _joined(newer[i], self._compared(probe, rows[i]), n_persons)
            bound = rough[i].min(initial=2.0) + self._file.head.max_error
            is_proven = self._n_alive <= kept or (len(found) == n_persons and found[-1][1] >= bound)
            answers.append(found if is_proven else None)
        return answers

    def _ranked(
        self, probe: Floats, rows: Ids, estimates: Floats, n_persons: int
    ) -> list[tuple[int, float]]:
        is_row = rows >= 0
        rows, estimates = rows[is_row], estimates[is_row]
        first, later = rows[:FIRST_CANDIDATES], rows[FIRST_CANDIDATES:]
        first = first[self._is_alive(first)]
        rough = self._rough(probe, first)
        if len(later):
            best = by_person(self._file.persons[first], rough)[:n_persons]
            least = best[-1][1] - MARGIN if len(best) == n_persons else -2.0
            later = later[estimates[FIRST_CANDIDATES:] >= least]
            later = later[self._is_alive(later)]
            rough = np.concatenate([rough, self._rough(probe, later)])
        rows = np.concatenate([first, later])
        order = np.argsort(-rough)
        rows, rough = rows[order], rough[order]
        k, found = FIRST_LOOK * n_persons, []
        while len(rows):
            try:
                found = self._compared(probe, rows[:k])[:n_persons]
            except GalleryError:  # locked or gone: as good as the bytes are, off by 0.01 or so
                return by_person(self._file.persons[rows], rough)[:n_persons]
            # No other candidate has a rough similarity above that of the next one.
            if k >= len(rows) or (
                len(found) == n_persons and found[-1][1] >= rough[k] + self._file.head.max_error
            ):
                break
            k *= 8
        return found

    def _rough(self, probe: Floats, rows: Ids) -> Floats:
        # einsum works in this thread alone: for so few, BLAS's threads cost more than they save
        products: Floats = np.einsum("ij,j->i", self._file.codes[rows].astype(np.float32), probe)
        return products / np.float32(STEPS)

    def _compared(self, probe: Floats, rows: Ids) -> list[tuple[int, float]]:
        if not len(rows):
            return []
        photo_ids, persons = self._file.photo_ids[rows], self._file.persons[rows]
        (exact,) = compared(self._fetch, probe[np.newaxis], photo_ids[np.newaxis])
        return [each for each in by_person(persons, exact) if each[0] >= 0]  # else wiped since

    def _rows_of(self, photo_ids: Ids) -> Ids:
        held = self._file.photo_ids
        if not len(held):
            return np.empty(0, np.int64)
        rows = np.searchsorted(held, photo_ids)
        rows = rows[rows < len(held)]
        return np.unique(rows[np.isin(held[rows], photo_ids)])

    def _is_alive(self, rows: Ids) -> NDArray[np.bool_]:
        bits: NDArray[np.uint8] = self._alive[rows >> 3] >> (rows & 7).astype(np.uint8)
        return (bits & 1).astype(np.bool_)


def _joined(
    one: list[tuple[int, float]], other: list[tuple[int, float]], n_persons: int
) -> list[tuple[int, float]]:
    if not one or not other:
        return (one or other)[:n_persons]
    persons, similarities = zip(*one, *other, strict=True)
    return by_person(np.array(persons), np.array(similarities))[:n_persons]
