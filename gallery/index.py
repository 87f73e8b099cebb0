"""In-memory index of templates: exact search with either kind of storage."""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery.errors import GalleryError
from gallery.rows import FlatRows, QuantizedRows, Rows

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

# A float32 search takes 0.4 ms at 20,000 x 128 and 2.5 ms at 100,000; with bytes 0.9 ms there.
FLAT_ROWS = 20_000
FIRST_LOOK = 32  # rows compared exactly at first: proves the answer for all but crowded probes
LAST_LOOK = 8_192  # the same person many thousand times over: what is found until then is taken

Fetch = Callable[[list[int]], dict[int, Floats]]
"""Returns the (D,) float32 embeddings of photo ids, those that still exist; GalleryError where they
cannot be read now."""


class TemplateIndex:
    """Unit vectors with their photo and person; exact inner products; rows are added and removed.

    Many threads may search it at once; it is changed only before it is searched, see `copy`.

    Args:
        embedding_size: D.
        fetch: returns the full vectors, for an index that holds bytes.
        expected: number of rows that will be added soon.
    """

    def __init__(self, embedding_size: int, fetch: Fetch, *, expected: int = 0) -> None:
        self._size = embedding_size
        self._fetch = fetch
        self._rows: Rows = (
            QuantizedRows(embedding_size) if expected > FLAT_ROWS else FlatRows(embedding_size)
        )
        self._photo_ids: Ids = np.zeros(expected, np.int64)
        self._persons: Ids = np.zeros(expected, np.int64)
        self._n = 0

    def copy(self) -> Self:
        """Return an independent copy, to be changed."""
        same = type(self)(self._size, self._fetch)
        same._rows = self._rows.copy()
        same._photo_ids, same._persons = self._photo_ids.copy(), self._persons.copy()
        same._n = self._n
        return same

    def wipe(self, photo_ids: Ids) -> None:
        """Overwrite the vectors of photos with zeros, so that erased ones leave no data in memory.

        Args:
            photo_ids: (M,) int64, missing ones are ignored.
        """
        for row in np.flatnonzero(np.isin(self._photo_ids[: self._n], photo_ids)).tolist():
            self._rows.wipe(row)

    def __len__(self) -> int:
        return self._n

    @property
    def kind(self) -> str:
        """The storage of the rows: "flat" or "int8"."""
        return "flat" if isinstance(self._rows, FlatRows) else "int8"

    def add(self, photo_ids: Ids, persons: Ids, embeddings: Floats) -> None:
        """Append rows.

        Args:
            photo_ids: (M,) int64, none of them present.
            persons: (M,) int64.
            embeddings: (M, D) float32, unit length.
        """
        end = self._n + len(photo_ids)
        if end > len(self._photo_ids):
            # 12 % a time: 1.9 MB are copied at a million, in under a millisecond
            more = np.zeros(end + end // 8 - self._n, np.int64)
            self._photo_ids = np.concatenate([self._photo_ids[: self._n], more])
            self._persons = np.concatenate([self._persons[: self._n], more])
        self._photo_ids[self._n : end] = photo_ids
        self._persons[self._n : end] = persons
        if end > FLAT_ROWS and isinstance(self._rows, FlatRows):
            quantized = QuantizedRows(self._size)
            quantized.append(self._rows.held())
            self._rows = quantized
        self._rows.append(embeddings)
        self._n = end

    def remove(self, photo_ids: Ids) -> None:
        """Remove rows, ignoring missing ones; the last rows move to their positions.

        Args:
            photo_ids: (M,) int64.
        """
        held = self._photo_ids[: self._n]
        known = photo_ids[photo_ids <= held.max(initial=-1)]
        if not len(known):
            return
        for row in np.flatnonzero(np.isin(held, known))[::-1].tolist():
            self._n -= 1
            self._photo_ids[row] = self._photo_ids[self._n]
            self._persons[row] = self._persons[self._n]
            self._rows.replace_by_last(row)

    def photo_ids(self) -> Ids:
        """Return the photo ids in the index, unordered."""
        return self._photo_ids[: self._n].copy()

    def best_persons(self, probes: Floats, n_persons: int) -> list[list[tuple[int, float]]]:
        """Return the most similar persons of each probe, each by their best template.

        Args:
            probes: (N, D) float32, unit length; all are compared in one pass.
            n_persons: maximum number.

        Returns:
            For each probe pairs of person and similarity, best first; equal similarities by
            ascending person, that is in order of enrollment.
        """
        answers: list[list[tuple[int, float]]] = [[] for _ in probes]
        open_probes = np.arange(len(probes)) if self._n else np.arange(0)
        k = FIRST_LOOK * n_persons
        while len(open_probes):
            k = min(k, self._n)
            rows, rough, slack = self._rows.nearest(probes[open_probes], k)
            exact, is_last_look = rough, k == self._n or k >= LAST_LOOK
            if slack.any():
                try:
                    exact = compared(self._fetch, probes[open_probes], self._photo_ids[rows])
                except GalleryError:  # locked or gone: as good as the bytes are, off by 0.01 or so
                    is_last_look = True
            unproven = []
            for position, probe in enumerate(open_probes):
                found = by_person(self._persons[rows[position]], exact[position])[:n_persons]
                answers[probe] = found
                # No row outside has a rough similarity above the least one seen.
                bound = rough[position].min() + slack[position]
                if not is_last_look and (len(found) < n_persons or found[-1][1] < bound):
                    unproven.append(probe)
            open_probes = np.array(unproven, np.int64)
            k *= 8
        return answers


def compared(fetch: Fetch, probes: Floats, photo_ids: Ids) -> Floats:
    """Return the similarities of probes to photos as they are stored.

    Args:
        fetch: returns the vectors.
        probes: (N, D) float32, unit length.
        photo_ids: (N, M) int64, M of each probe.

    Returns:
        (N, M) float32; -inf for a photo that was erased.

    Raises:
        GalleryError: if they cannot be read now.
    """
    held = fetch(np.unique(photo_ids).tolist())
    gone = np.zeros(probes.shape[1], np.float32)
    similarities = np.empty(photo_ids.shape, np.float32)
    for i, probe in enumerate(probes):
        vectors = np.stack([held.get(p, gone) for p in photo_ids[i].tolist()])
        similarities[i] = vectors @ probe
        similarities[i, [p not in held for p in photo_ids[i].tolist()]] = -np.inf
    return similarities


def by_person(persons: Ids, similarities: Floats) -> list[tuple[int, float]]:
    """Return the persons of templates with their best similarity, the most similar first."""
    order = np.lexsort((persons, -similarities))
    best: dict[int, float] = {}
    for person, similarity in zip(
        persons[order].tolist(), similarities[order].tolist(), strict=True
    ):
        if similarity >= -2.0:  # else erased since
            best.setdefault(person, similarity)
    return list(best.items())
