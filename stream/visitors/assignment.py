"""Online assignment of whole tracks of unknown people to visitors.

A track joins the visitor that it resembles most, or founds one. Two people in one visitor are worse
than two visitors of one person: the first cannot be undone by a person who did not see it, the
second by one click. So a track joins only above a threshold that few strangers reach, by the number
of visitors, and clearly more than the second visitor; what is only near to it becomes a proposal.
Pure: no clock, file or thread.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer import Floats, SimilarityLimits

MAX_EXEMPLARS = 12
"""Templates kept of a visitor; the most redundant one is dropped first."""

CANDIDATES = 16
"""Visitors, nearest by their means, whose exemplars are compared."""

JOIN_DECADES = 0.0
"""The threshold among N visitors has a FAR of 10^-3 / N as measured on pairs of photos; of tracks,
which pool several embeddings, it is lower by far. Of 464 people's 7,403 tracks precision is 0.9997
from -0.25 to 1, and falls at -0.5; recall falls from 0.95 to 0.91."""

MAYBE_BELOW = 0.10
"""Cosine below the threshold from which a visitor may be the same: proposed, never merged."""

WIDTH_BELOW = 0.15
"""Cosine below the threshold under which a track does not fit an exemplar of its visitor."""

WIDE_SHARE = 0.5
"""Share of a visitor's exemplars that a joining track must fit: its photos differ more than any
one of them differs from the mean."""

POOR_BY = 0.12
"""Cosine by which a poor track, and a visitor known from poor tracks alone, count as less similar:
blurred, dark and turned faces of two people are more alike than good ones."""

MIN_SHOTS = 3
"""Shots of a track that is assigned at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracklet:
    """What is known of one track.

    Attributes:
        template: (D,) float32 of unit length: all its embeddings pooled by quality.
        n_shots: number of embeddings in it.
        is_poor: whether too few of them are of good quality.
    """

    template: Floats
    n_shots: int
    is_poor: bool = False


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a track belongs.

    Attributes:
        visitor: its key; None for a track with too few shots.
        is_new: whether the track founds it.
        similarity: to the visitor it joined, cosine; 1 where it founds one.
        maybe: visitors that may be the same person, with the cosine, best first.
    """

    visitor: int | None
    is_new: bool
    similarity: float
    maybe: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class JoinLimits:
    """The thresholds of a model, by the number of visitors.

    Attributes:
        pair: minimum cosine of a search among one person, see `naming_threshold`.
        per_decade: increase for ten times as many.
        margin: by which the best visitor leads the second.
    """

    pair: float
    per_decade: float
    margin: float

    @classmethod
    def of(cls, limits: SimilarityLimits) -> "JoinLimits":
        """Return the thresholds that follow from a model's measured similarities."""
        return cls(limits.pair + limits.caution, limits.per_decade, limits.margin)

    def join(self, n_visitors: int) -> float:
        """Return the cosine from which a track joins a visitor among so many."""
        decades = JOIN_DECADES + math.log10(max(n_visitors, 10))
        return min(self.pair + self.per_decade * decades, 0.95)


class Visitors:
    """The visitors in memory, by integer keys.

    Args:
        limits: of the model.
        size: D of its embeddings.
    """

    def __init__(self, limits: JoinLimits, size: int) -> None:
        self.limits = limits
        self._size = size
        self._keys: list[int] = []
        self._rows: dict[int, int] = {}
        self._means: Floats = np.empty((64, size), np.float32)
        self._exemplars: dict[int, dict[int, Floats]] = {}
        self._poor: set[int] = set()  # known from poor tracks alone
        self._apart: dict[int, set[int]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, visitor: object) -> bool:
        return visitor in self._rows

    @property
    def keys(self) -> Sequence[int]:
        """All visitors."""
        return tuple(self._keys)

    @property
    def join(self) -> float:
        """The cosine from which a track joins, at the present number of visitors."""
        return self.limits.join(len(self._keys))

    def exemplars(self, visitor: int) -> dict[int, Floats]:
        """Return a visitor's templates by the track they are of, each (D,) float32."""
        return dict(self._exemplars.get(visitor, {}))

    def add(self, visitor: int, templates: Mapping[int, Floats], *, is_poor: bool = False) -> None:
        """Add a visitor as it was stored, or templates to one.

        Those of poor tracks are kept only until there is one of a good track.

        Args:
            visitor: its key.
            templates: by the track, each (D,) float32 of unit length; at least one.
            is_poor: whether they are of poor tracks.
        """
        if is_poor and visitor in self._rows and visitor not in self._poor:
            return
        if visitor not in self._rows:
            if len(self._keys) == len(self._means):
                grown = np.empty((2 * len(self._means), self._size), np.float32)
                grown[: len(self._means)] = self._means
                self._means = grown
            self._rows[visitor] = len(self._keys)
            self._keys.append(visitor)
            self._exemplars[visitor] = {}
            self._next = max(self._next, visitor + 1)
            if is_poor:
                self._poor.add(visitor)
        kept = self._exemplars[visitor]
        if not is_poor and visitor in self._poor:
            self._poor.discard(visitor)
            kept.clear()
        for track, template in templates.items():
            kept[track] = np.asarray(template, np.float32)
            if len(kept) > MAX_EXEMPLARS:
                del kept[_most_redundant(kept)]
        self._means[self._rows[visitor]] = _mean(kept)

    def drop_track(self, visitor: int, track: int) -> None:
        """Drop a track's template; a visitor without one is dropped too."""
        kept = self._exemplars.get(visitor, {})
        if kept.pop(track, None) is None:
            return
        if kept:
            self._means[self._rows[visitor]] = _mean(kept)
        else:
            self.drop(visitor)

    def drop(self, visitor: int) -> None:
        """Drop a visitor; does nothing if there is none."""
        row = self._rows.pop(visitor, None)
        if row is None:
            return
        last = self._keys.pop()
        if last != visitor:
            self._keys[row] = last
            self._rows[last] = row
            self._means[row] = self._means[len(self._keys)]
        del self._exemplars[visitor]
        self._poor.discard(visitor)
        for other in self._apart.pop(visitor, set()):
            self._apart[other].discard(visitor)

    def keep_apart(self, one: int, other: int) -> None:
        """Note that two visitors are different people: they were in view together."""
        if one != other:
            self._apart.setdefault(one, set()).add(other)
            self._apart.setdefault(other, set()).add(one)

    def is_poor(self, visitor: int) -> bool:
        """Return whether a visitor is known from poor tracks alone."""
        return visitor in self._poor

    def apart(self, visitor: int) -> set[int]:
        """Return the visitors that are known to be other people than one."""
        return set(self._apart.get(visitor, ()))

    def are_apart(self, one: int, other: int) -> bool:
        """Return whether two visitors are known to be different people."""
        return other in self._apart.get(one, ())

    def assign(
        self,
        track: int,
        tracklet: Tracklet,
        *,
        beside: Collection[int] = (),
        key: int | None = None,
    ) -> Assignment:
        """Assign a track, and remember its template.

        Args:
            track: its number, by which the template is known later.
            tracklet: what is known of it.
            beside: visitors of tracks that were alive at the same time in that camera: other
                people.
            key: of the visitor that it founds; None for the next number.
        """
        if tracklet.n_shots < MIN_SHOTS:
            return Assignment(None, is_new=False, similarity=-1.0)
        found = self.similar(tracklet, beside=beside)
        join = self.join
        if found:
            visitor, best = found[0]
            lead = best - found[1][1] if len(found) > 1 else 2.0
            # Two fragments of one person are both similar; then the better one is joined too.
            is_clear = lead >= self.limits.margin or self._are_one(visitor, found[1][0])
            if best >= join and is_clear and self.fits(visitor, tracklet.template):
                self.add(visitor, {track: tracklet.template}, is_poor=tracklet.is_poor)
                for other in beside:
                    self.keep_apart(visitor, other)
                maybe = self._maybe(visitor, found[1:], join)
                return Assignment(visitor, is_new=False, similarity=best, maybe=maybe)
        visitor = self._next if key is None else key
        self.add(visitor, {track: tracklet.template}, is_poor=tracklet.is_poor)
        for other in beside:
            self.keep_apart(visitor, other)
        return Assignment(
            visitor, is_new=True, similarity=1.0, maybe=self._maybe(visitor, found, join)
        )

    def similar(
        self, tracklet: Tracklet, *, beside: Collection[int] = ()
    ) -> list[tuple[int, float]]:
        """Return the most similar visitors with their cosine, best first, except those `beside`.

        Two stages: the means of all, then the exemplars of the nearest few. The similarity is the
        mean of that to the visitor's mean and that to its most similar exemplar, less `POOR_BY`
        where the track or all of the visitor's are poor.
        """
        if not self._keys:
            return []
        to_means = self._means[: len(self._keys)] @ tracklet.template
        n_wanted = min(CANDIDATES + len(beside), len(to_means))
        rows = np.argpartition(-to_means, n_wanted - 1)[:n_wanted]
        found = []
        for row in rows.tolist():
            visitor = self._keys[row]
            if visitor in beside:
                continue
            exemplars = np.stack(list(self._exemplars[visitor].values()))
            nearest = float((exemplars @ tracklet.template).max())
            less = POOR_BY if tracklet.is_poor or visitor in self._poor else 0.0
            found.append((visitor, (float(to_means[row]) + nearest) / 2 - less))
        found.sort(key=lambda each: -each[1])
        return found

    def proposals(self) -> list[tuple[int, int, float]]:
        """Return pairs of visitors that may be one person, by their average cosine, best first."""
        least = self.join - MAYBE_BELOW
        n = len(self._keys)
        # The average of all pairs of exemplars is the product of the means before scaling.
        raw = np.stack([_sum(self._exemplars[key]) for key in self._keys]) if n else self._means[:0]
        found: list[tuple[int, int, float]] = []
        for start in range(0, n, 1024):
            block = raw[start : start + 1024] @ raw.T
            for row, column in np.argwhere(block >= least).tolist():
                one, other = self._keys[start + row], self._keys[column]
                if one < other and not self.are_apart(one, other):
                    found.append((one, other, float(block[row, column])))
        found.sort(key=lambda each: -each[2])
        return found

    def _maybe(
        self, visitor: int, found: Iterable[tuple[int, float]], join: float
    ) -> tuple[tuple[int, float], ...]:
        return tuple(
            (other, similarity)
            for other, similarity in found
            if similarity >= join - MAYBE_BELOW and not self.are_apart(visitor, other)
        )

    def _are_one(self, one: int, other: int) -> bool:
        if self.are_apart(one, other):
            return False
        average = float(_sum(self._exemplars[one]) @ _sum(self._exemplars[other]))
        return average - (0.0 if self._poor.isdisjoint((one, other)) else POOR_BY) >= self.join

    def fits(self, visitor: int, template: Floats) -> bool:
        """Return whether a template is near to enough of a visitor's exemplars."""
        exemplars = np.stack(list(self._exemplars[visitor].values()))
        near = exemplars @ template >= self.join - WIDTH_BELOW
        return float(near.mean()) >= WIDE_SHARE


def _sum(templates: dict[int, Floats]) -> Floats:
    """Return the mean, not of unit length."""
    return np.asarray(np.stack(list(templates.values())).mean(axis=0), np.float32)


def _mean(templates: dict[int, Floats]) -> Floats:
    mean = _sum(templates)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def _most_redundant(templates: dict[int, Floats]) -> int:
    """Return the track whose template is most similar to another one."""
    tracks = list(templates)
    rows = np.stack([templates[track] for track in tracks])
    among: NDArray[np.float32] = rows @ rows.T
    np.fill_diagonal(among, -1.0)
    one, other = np.unravel_index(int(among.argmax()), among.shape)
    return tracks[int(one if among[one].sum() >= among[other].sum() else other)]
