"""The templates in memory, and the search over them."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

BLOCK_ROWS = 65_536  # growing by blocks copies nothing; 32 MiB of float32 at 128 numbers a row


class TemplateIndex:
    """Unit vectors with their photo and person; exact inner products; live add and remove.

    Not thread-safe: `Gallery` holds a lock around it.

    Args:
        embedding_size: D.
    """

    def __init__(self, embedding_size: int) -> None:
        self._size = embedding_size
        self._blocks: list[Floats] = []
        self._photo_ids: Ids = np.empty(0, np.int64)
        self._persons: Ids = np.empty(0, np.int64)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, photo_ids: Ids, persons: Ids, embeddings: Floats) -> None:
        """Append rows.

        Args:
            photo_ids: (M,) int64, none of them present.
            persons: (M,) int64.
            embeddings: (M, D) float32, unit length.
        """
        end = self._n + len(photo_ids)
        while len(self._blocks) * BLOCK_ROWS < end:
            self._blocks.append(np.zeros((BLOCK_ROWS, self._size), np.float32))
        if end > len(self._photo_ids):
            capacity = len(self._blocks) * BLOCK_ROWS
            self._photo_ids = np.concatenate(
                [self._photo_ids[: self._n], np.zeros(capacity - self._n, np.int64)]
            )
            self._persons = np.concatenate(
                [self._persons[: self._n], np.zeros(capacity - self._n, np.int64)]
            )
        self._photo_ids[self._n : end] = photo_ids
        self._persons[self._n : end] = persons
        done = 0
        while done < len(photo_ids):
            block, row = divmod(self._n + done, BLOCK_ROWS)
            count = min(BLOCK_ROWS - row, len(photo_ids) - done)
            self._blocks[block][row : row + count] = embeddings[done : done + count]
            done += count
        self._n = end

    def remove(self, photo_ids: Ids) -> None:
        """Take rows out, those that are there; the last rows move into their places.

        Args:
            photo_ids: (M,) int64.
        """
        known = photo_ids[photo_ids <= self._photo_ids[: self._n].max(initial=-1)]
        if not len(known):
            return
        rows = np.flatnonzero(np.isin(self._photo_ids[: self._n], known))
        for row in rows[::-1].tolist():
            last = self._n - 1
            self._photo_ids[row] = self._photo_ids[last]
            self._persons[row] = self._persons[last]
            source, to = divmod(last, BLOCK_ROWS), divmod(row, BLOCK_ROWS)
            self._blocks[to[0]][to[1]] = self._blocks[source[0]][source[1]]
            self._blocks[source[0]][source[1]] = 0.0  # erased means erased, in memory too
            self._n = last

    def best_persons(self, probes: Floats, n_persons: int) -> list[list[tuple[int, float]]]:
        """Return the most similar persons of each probe, each by their best template.

        Args:
            probes: (N, D) float32, unit length; all are compared in one pass.
            n_persons: how many at most.

        Returns:
            For each probe pairs of person and similarity, best first; equal similarities by
            ascending person, that is by who was enrolled first.
        """
        if self._n == 0 or len(probes) == 0:
            return [[] for _ in probes]
        similarities = np.concatenate(
            [
                probes @ block[: min(BLOCK_ROWS, self._n - start)].T
                for block, start in zip(self._blocks, range(0, self._n, BLOCK_ROWS), strict=False)
            ],
            axis=1,
        )
        return [self._persons_of(row, n_persons) for row in similarities]

    def _persons_of(self, similarities: Floats, n_persons: int) -> list[tuple[int, float]]:
        k = 16 * n_persons
        while k < self._n:
            rows = np.argpartition(-similarities, k - 1)[:k]
            found = _by_person(self._persons[rows], similarities[rows])
            if len(found) >= n_persons:
                return found[:n_persons]
            k *= 8
        return _by_person(self._persons[: self._n], similarities)[:n_persons]


def _by_person(persons: Ids, similarities: Floats) -> list[tuple[int, float]]:
    order = np.lexsort((persons, -similarities))
    best: dict[int, float] = {}
    for person, similarity in zip(
        persons[order].tolist(), similarities[order].tolist(), strict=True
    ):
        best.setdefault(person, similarity)
    return list(best.items())
