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

FIRST_LOOK = 0.15
"""Cosine to a mean from which most candidates are: fewer of all are to be sorted."""

JOIN_DECADES = -0.5
"""The threshold among N visitors has a FAR of 10^-2.5 / N as measured on photo pairs; of tracks,
which pool several embeddings, it is lower by far."""

LEAST_COUNTED = 500
"""Visitors for which the threshold is meant at least: two people who are put together while there
are few stay together when there are many. With 400, 300 and 10, two of 194 people were one visitor
in some orders of their tracks: the most similar pair has a cosine of 0.496."""

NEAREST_SHARE = 0.5
"""Part of the most similar template in the similarity to a visitor; the other is of its mean."""

MAYBE_BELOW = 0.10
"""Cosine below the threshold from which a visitor may be the same: proposed, never merged."""

WIDTH_BELOW = 0.15
"""Cosine below the threshold under which a track does not fit an exemplar of its visitor."""

NARROW_BELOW = 0.25
"""The same of the two least similar templates of visitors that are merged: a turned face and one
that looks down differ more, and the average says more."""

WIDE_SHARE = 0.5
"""Share of a visitor's exemplars that a joining track must fit: its photos differ more than any
one of them differs from the mean."""

MERGE_BELOW = 0.08
"""Cosine below the threshold from which two visitors with `MERGE_TEMPLATES` templates each are one,
by the average of all pairs: it varies less than the similarity of two templates. With fewer, it is
less in proportion, and none where either has a single one, or where their means are less similar
than the threshold: the templates of two people, each seen in one pose, differ little from their
means, those of one person's fragments much. Means of such people had 0.45, their averages 0.43."""

MERGE_TEMPLATES = 8

POOR_BY = 0.08
"""Cosine by which a poor track, and a visitor known from poor tracks alone, count as less similar:
blurred, dark and turned faces of two people are more alike than good ones."""

POOR_AVERAGE_BY = 0.04
"""The same of the average of all pairs of templates."""

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
        visitor: its key; None for a track with too few shots, and one that joins none and may
            found none.
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
        decades = JOIN_DECADES + math.log10(max(n_visitors, LEAST_COUNTED))
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
        self._lengths: Floats = np.empty(64, np.float32)  # of the means before scaling
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

    def tracks(self, visitor: int) -> Collection[int]:
        """Return the tracks of which a visitor's templates are; they change with the visitor."""
        return self._exemplars[visitor].keys()

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
                self._lengths = np.resize(self._lengths, len(grown))
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
        self._update(visitor)

    def _update(self, visitor: int) -> None:
        row, mean = self._rows[visitor], _sum(self._exemplars[visitor])
        self._lengths[row] = max(float(np.linalg.norm(mean)), 1e-9)
        self._means[row] = mean / self._lengths[row]

    def drop_track(self, visitor: int, track: int) -> None:
        """Drop a track's template; a visitor without one is dropped too."""
        kept = self._exemplars.get(visitor, {})
        if kept.pop(track, None) is None:
            return
        if kept:
            self._update(visitor)
        else:
            self.drop(visitor)

    def drop(self, visitor: int) -> None:
        """Drop a visitor; does nothing if there is none."""
        for other in self._apart.pop(visitor, set()):
            self._apart[other].discard(visitor)
        row = self._rows.pop(visitor, None)
        if row is None:
            return
        last = self._keys.pop()
        if last != visitor:
            self._keys[row] = last
            self._rows[last] = row
            self._means[row] = self._means[len(self._keys)]
            self._lengths[row] = self._lengths[len(self._keys)]
        del self._exemplars[visitor]
        self._poor.discard(visitor)

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
        may_found: bool = True,
    ) -> Assignment:
        """Assign a track, and remember its template.

        Args:
            track: its number, by which the template is known later.
            tracklet: what is known of it.
            beside: visitors of tracks that were alive at the same time in that camera: other
                people.
            key: of the visitor that it founds; None for the next number.
            may_found: whether it is evidence enough of a visitor by itself.
        """
        if tracklet.n_shots < MIN_SHOTS:
            return Assignment(None, is_new=False, similarity=-1.0)
        found = self.similar(tracklet, beside=beside)
        join = self.join
        if self._joins(tracklet, found):
            visitor, best = found[0]
            self.add(visitor, {track: tracklet.template}, is_poor=tracklet.is_poor)
            for other in beside:
                self.keep_apart(visitor, other)
            maybe = self._maybe(visitor, found[1:], join)
            return Assignment(visitor, is_new=False, similarity=best, maybe=maybe)
        if not may_found:
            return Assignment(None, is_new=False, similarity=found[0][1] if found else -1.0)
        visitor = self._next if key is None else key
        self.add(visitor, {track: tracklet.template}, is_poor=tracklet.is_poor)
        for other in beside:
            self.keep_apart(visitor, other)
        return Assignment(
            visitor, is_new=True, similarity=1.0, maybe=self._maybe(visitor, found, join)
        )

    def find(self, tracklet: Tracklet, *, beside: Collection[int] = ()) -> int | None:
        """Return the visitor that a track would join; None where it joins none. See `assign`."""
        if tracklet.n_shots < MIN_SHOTS:
            return None
        found = self.similar(tracklet, beside=beside)
        return found[0][0] if self._joins(tracklet, found) else None

    def _joins(self, tracklet: Tracklet, found: Sequence[tuple[int, float]]) -> bool:
        """Return whether a track joins the most similar of the visitors found."""
        if not found:
            return False
        visitor, best = found[0]
        lead = best - found[1][1] if len(found) > 1 else 2.0
        # Two fragments of one person are both similar; then the better one is joined too.
        is_clear = lead >= self.limits.margin or self._may_be_one(visitor, found[1][0])
        return best >= self.join and is_clear and self.fits(visitor, tracklet.template)

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
        to_means = self._to_means(tracklet.template)
        n_wanted = min(CANDIDATES + len(beside), len(to_means))
        rows = np.flatnonzero(to_means >= FIRST_LOOK)  # fewer to sort
        if len(rows) < n_wanted:
            rows = np.arange(len(to_means))
        rows = rows[np.argpartition(-to_means[rows], n_wanted - 1)[:n_wanted]]
        found = []
        for row in rows.tolist():
            visitor = self._keys[row]
            if visitor in beside:
                continue
            exemplars = np.stack(list(self._exemplars[visitor].values()))
            nearest = float((exemplars @ tracklet.template).max())
            less = POOR_BY if tracklet.is_poor or visitor in self._poor else 0.0
            share = NEAREST_SHARE
            similarity = (1 - share) * float(to_means[row]) + share * nearest - less
            found.append((visitor, similarity))
        found.sort(key=lambda each: -each[1])
        return found

    def _to_means(self, template: Floats) -> Floats:
        """Return the cosine of a template, (D,), with the mean of each visitor."""
        # As a matrix product it wakes a BLAS thread for each core, and waits for them: 10 times
        # the processor time while cameras keep the cores busy, 20,000 visitors of 128 numbers.
        return np.asarray(np.vecdot(self._means[: len(self._keys)], template), np.float32)

    def likeness(self, visitor: int, tracklet: Tracklet) -> float:
        """Return how similar a track is to one visitor; see `similar`."""
        exemplars = np.stack(list(self._exemplars[visitor].values()))
        less = POOR_BY if tracklet.is_poor or visitor in self._poor else 0.0
        return likeness(exemplars, tracklet.template) - less

    def alike(self, visitor: int) -> tuple[list[int], list[tuple[int, float]]]:
        """Compare a visitor that has grown with all others.

        The similarity is the average of all pairs of templates, less `POOR_AVERAGE_BY` where either
        is known from poor tracks alone.

        Returns:
            Visitors that are the same person, by `MERGE_BELOW` and without two templates that do
            not fit; and those that may be, with the cosine. The most similar come first.
        """
        n = len(self._keys)
        row = self._rows[visitor]
        average = self._to_means(self._means[row]) * (self._lengths[:n] * self._lengths[row])
        sure, maybe = [], []
        near = np.flatnonzero(average >= self.join - MAYBE_BELOW)
        for other_row in near[np.argsort(-average[near])].tolist():
            other = self._keys[other_row]
            if other == visitor or self.are_apart(visitor, other):
                continue
            similarity = self.average(visitor, other)
            if similarity >= self._merge_from(visitor, other) and self._is_narrow(visitor, other):
                sure.append(other)
            elif similarity >= self.join - MAYBE_BELOW:
                maybe.append((other, similarity))
        return sure, maybe

    def merge(self, visitor: int, into: int) -> None:
        """Make two visitors one."""
        apart, poor = self.apart(visitor), visitor in self._poor
        templates = self.exemplars(visitor)
        self.drop(visitor)
        self.add(into, templates, is_poor=poor)
        for other in apart:
            self.keep_apart(into, other)

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

    def _merge_from(self, one: int, other: int) -> float:
        """Return the average cosine from which two visitors are one."""
        rows = self._rows[one], self._rows[other]
        if float(self._means[rows[0]] @ self._means[rows[1]]) < self.join:
            return self.join
        fewest = min(len(self._exemplars[one]), len(self._exemplars[other]))
        part = min((fewest - 1) / (MERGE_TEMPLATES - 1), 1.0)
        return self.join - MERGE_BELOW * part

    def _may_be_one(self, one: int, other: int) -> bool:
        if self.are_apart(one, other):
            return False
        return self.average(one, other) >= self.join - MAYBE_BELOW

    def average(self, one: int, other: int) -> float:
        """Return the average cosine of two visitors, by which they are merged; see `alike`."""
        average = float(_sum(self._exemplars[one]) @ _sum(self._exemplars[other]))
        return average - (0.0 if self._poor.isdisjoint((one, other)) else POOR_AVERAGE_BY)

    def _is_narrow(self, one: int, other: int) -> bool:
        """Return whether no template of a visitor is too unlike one of another to merge them."""
        rows = [np.stack(list(self._exemplars[each].values())) for each in (one, other)]
        return float((rows[0] @ rows[1].T).min()) >= self.join - NARROW_BELOW

    def fits(self, visitor: int, template: Floats) -> bool:
        """Return whether a template is near to enough of a visitor's exemplars."""
        exemplars = np.stack(list(self._exemplars[visitor].values()))
        near = exemplars @ template >= self.join - WIDTH_BELOW
        return float(near.mean()) >= WIDE_SHARE


def likeness(templates: Floats, one: Floats) -> float:
    """Return how similar a template is to those of a visitor, as cosine; see `Visitors.similar`.

    Args:
        templates: (N, D) of the visitor.
        one: (D,).
    """
    cosines = templates @ one
    length = max(float(np.linalg.norm(templates.mean(axis=0))), 1e-9)
    to_mean = float(cosines.mean()) / length
    return (1 - NEAREST_SHARE) * to_mean + NEAREST_SHARE * float(cosines.max())


def _sum(templates: dict[int, Floats]) -> Floats:
    """Return the mean, not of unit length."""
    return np.asarray(np.stack(list(templates.values())).mean(axis=0), np.float32)


def _most_redundant(templates: dict[int, Floats]) -> int:
    """Return the track whose template is most similar to another one."""
    tracks = list(templates)
    rows = np.stack([templates[track] for track in tracks])
    among: NDArray[np.float32] = rows @ rows.T
    np.fill_diagonal(among, -1.0)
    one, other = np.unravel_index(int(among.argmax()), among.shape)
    return tracks[int(one if among[one].sum() >= among[other].sum() else other)]
