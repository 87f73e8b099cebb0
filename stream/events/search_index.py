"""In-memory index of the faces of past sightings: exact search over one byte per number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gallery.rows import QuantizedRows

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)

FIRST_LOOK = 64
"""Rows compared exactly at first: proves the answer for all but probes with many sightings."""

LAST_LOOK = 8_192
"""Rows after which the search ends: many thousand sightings about equally similar to the probe."""

MOST_CAMERAS = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A sighting as read from the file, to compare it exactly.

    Attributes:
        event_id: of its stay; the sightings of a stay are one result.
        template: (D,) float32, unit length.
        is_named: whether the event of its stay has a person's name.
    """

    event_id: int
    template: Floats
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """A stay that was found.

    Attributes:
        event_id: of the stay.
        sighting_id: its most similar sighting.
        similarity: of that sighting to the most similar probe, cosine.
    """

    event_id: int
    sighting_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sightings are searched.

    Attributes:
        camera: only of this camera; None for all.
        after: only with an event from this time on, seconds since 1970.
        before: only with an event before this time, seconds since 1970.
    """

    camera: str | None = None
    after: float | None = None
    before: float | None = None


Fetch = Callable[[Sequence[int]], Mapping[int, Stored]]
"""Returns sightings by id, those that still exist."""


class SearchIndex:
    """The templates of sightings with their cameras and times; for one thread.

    The rough similarities of one byte per number select candidates, whose templates are then read
    and compared in float32. More candidates are read until no other sighting can be in the answer.

    Args:
        embedding_size: D.
    """

    def __init__(self, embedding_size: int) -> None:
        self._rows = QuantizedRows(embedding_size)
        self._n = 0
        self._ids: Ids = np.zeros(0, np.int64)
        self._at: NDArray[np.float64] = np.zeros(0, np.float64)
        self._cameras: NDArray[np.int16] = np.zeros(0, np.int16)
        self._codes: dict[str, int] = {}
        self._newest = -1
        self._is_sorted = True

    def __len__(self) -> int:
        return self._n

    @property
    def n_bytes(self) -> int:
        """Size of the vectors and of what is stored beside them, bytes."""
        return self._n * (self._rows.row_bytes + 8 + 8 + 2)

    def put(
        self, ids: Ids, cameras: Sequence[str], at: NDArray[np.float64], templates: Floats
    ) -> None:
        """Add sightings, replacing those that are present.

        Args:
            ids: (M,) int64, different.
            cameras: M names.
            at: (M,) times of their events, seconds since 1970.
            templates: (M, D) float32, unit length.
        """
        if not len(ids):
            return
        if ids.min() <= self._newest:
            self.remove(ids)
        end = self._n + len(ids)
        if end > len(self._ids):
            n_more = end + end // 8 - self._n  # 12 % at a time: 2 MB are copied at a million
            self._ids = _grown(self._ids[: self._n], n_more)
            self._at = _grown(self._at[: self._n], n_more)
            self._cameras = _grown(self._cameras[: self._n], n_more)
        new = slice(self._n, end)
        self._is_sorted = self._is_sorted and bool(
            ids[0] > self._newest and (np.diff(ids) > 0).all()
        )
        self._newest = max(self._newest, int(ids.max()))
        self._ids[new], self._at[new] = ids, at
        self._cameras[new] = [self._code(camera) for camera in cameras]
        self._rows.append(templates)
        self._n = end

    def remove(self, ids: Ids) -> None:
        """Remove sightings, ignoring missing ones; their vectors are overwritten.

        Args:
            ids: (M,) int64.
        """
        held = self._ids[: self._n]
        if self._is_sorted and len(ids) < 64:  # the usual case: a few, in no time
            found = np.searchsorted(held, ids)
            found = found[found < self._n]
            rows = np.unique(found[np.isin(held[found], ids)])
        else:
            rows = np.flatnonzero(np.isin(held, ids))
        for row in rows[::-1].tolist():
            self._n -= 1
            if row != self._n:
                self._is_sorted = False
            for values in (self._ids, self._at, self._cameras):
                values[row] = values[self._n]
            self._rows.replace_by_last(row)

    def ids(self) -> Ids:
        """Return the ids of all sightings in the index, unordered."""
        return self._ids[: self._n].copy()

    def search(
        self,
        probes: Floats,
        fetch: Fetch,
        *,
        limit: int,
        min_similarity: float,
        only: Filter | None = None,
        without: Ids | None = None,
    ) -> list[Hit]:
        """Return the stays most similar to any of the probes, best first.

        Args:
            probes: (N, D) float32, unit length: one face, in N photos.
            fetch: reads the candidates.
            limit: maximum number of stays.
            min_similarity: cosine that a sighting must reach.
            only: which sightings are searched; None for all.
            without: (M,) int64, ids of sightings that are not searched; None for none.
        """
        allowed = self._allowed(only or Filter())
        if without is not None and len(without):
            others = ~np.isin(self._ids[: self._n], without)
            allowed = others if allowed is None else allowed & others
        n = self._n if allowed is None else int(np.count_nonzero(allowed))
        stored: dict[int, Stored] = {}
        hits: list[Hit] = []
        k = max(FIRST_LOOK, 2 * limit)
        while n and len(probes):
            k = min(k, n)
            rows, rough, slack = self._rows.nearest(probes, k, allowed=allowed)
            # Similarities below this, less its error bound, cannot be in the answer.
            least = (rough >= min_similarity - slack[:, np.newaxis]).ravel()
            ids = np.unique(self._ids[rows.ravel()[least]]).tolist()
            stored |= fetch([each for each in ids if each not in stored])
            hits = _best_stays(stored, probes, min_similarity)[:limit]
            # No row outside has a rough similarity above the least one of each probe.
            bound = float((rough.min(axis=1) + slack).max())
            needed = hits[-1].similarity if len(hits) == limit else min_similarity
            if k == n or k >= LAST_LOOK or bound < needed:
                break
            k *= 8
        return hits

    def _allowed(self, only: Filter) -> NDArray[np.bool_] | None:
        if only == Filter():
            return None
        allowed = np.ones(self._n, np.bool_)
        if only.camera is not None:
            allowed &= self._cameras[: self._n] == self._codes.get(only.camera, -1)
        if only.after is not None:
            allowed &= self._at[: self._n] >= only.after
        if only.before is not None:
            allowed &= self._at[: self._n] < only.before
        return allowed

    def _code(self, camera: str) -> int:
        if camera not in self._codes and len(self._codes) == MOST_CAMERAS:
            raise ValueError(f"sightings of more than {MOST_CAMERAS} cameras")
        return self._codes.setdefault(camera, len(self._codes))


def best_stays(
    ids: Sequence[int],
    event_ids: Sequence[int],
    templates: Floats,
    probes: Floats,
    min_similarity: float,
) -> list[Hit]:
    """Return the stays of similar sightings, the most similar to any of the probes first.

    Equal ones are in descending order of their events, the newest first.

    Args:
        ids: of M sightings.
        event_ids: of their stays.
        templates: (M, D) float32, unit length.
        probes: (N, D) float32, unit length.
        min_similarity: cosine that a sighting must reach.
    """
    similarities = (templates @ probes.T).max(axis=1, initial=-1.0)
    similar = np.flatnonzero(similarities >= min_similarity)
    newest_first = -np.asarray(event_ids, np.int64)[similar]
    order = similar[np.lexsort((newest_first, -similarities[similar]))]
    best: dict[int, Hit] = {}
    for i in order.tolist():
        best.setdefault(event_ids[i], Hit(event_ids[i], ids[i], float(similarities[i])))
    return list(best.values())


def _best_stays(stored: Mapping[int, Stored], probes: Floats, min_similarity: float) -> list[Hit]:
    if not stored:
        return []
    templates = np.stack([each.template for each in stored.values()])
    event_ids = [each.event_id for each in stored.values()]
    return best_stays(list(stored), event_ids, templates, probes, min_similarity)


def _grown(values: NDArray[Value], n_more: int) -> NDArray[Value]:
    return np.concatenate([values, np.zeros(n_more, values.dtype)])
