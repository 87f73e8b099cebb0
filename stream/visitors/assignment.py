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

NEAREST = 3
"""Templates of a visitor, those most similar to a track, whose mean cosine counts: few people look
the same in all their photos, and one similar photo of somebody else is no evidence."""

NEAREST_SHARE = 0.5
"""Part of that in the similarity to a visitor; the other is the cosine to its mean."""

RIVALS = 3
"""Other visitors, the most similar ones, that say how similar strangers are to this very track."""

RIVAL_DECADES = 2.6
"""By how much, see `JoinLimits.per_decade`, they are usually less similar than the threshold. Where
they are still less similar, a lower similarity is enough; where they are more similar, as those of
a blurred face, it has to be higher."""

MIN_COHORT = 20
"""Visitors from which the rivals say something."""

SLACK = 0.04
"""Cosine by which the rivals can lower the threshold at most: that of a visitor with
`KNOWN_TEMPLATES`, of one with fewer less in proportion, of one that was seen once not at all. Two
of 464 people, one of them with two templates, had 0.447; two with eleven, 0.44."""

KNOWN_TEMPLATES = 5

MAYBE_BELOW = 0.10
"""Cosine below the threshold from which a visitor may be the same: proposed, never merged."""

WIDTH_BELOW = 0.15
"""Cosine below the threshold under which a track does not fit an exemplar of its visitor."""

NARROW_BELOW = 0.35
"""The same of the two least similar templates of visitors that are merged: a turned face and one
that looks down differ more, and their means say more."""

WIDE_SHARE = 0.5
"""Share of a visitor's exemplars that a joining track must fit: its photos differ more than any
one of them differs from the mean."""

MERGE_TEMPLATES = 6
"""Templates from which a visitor's mean is known well enough to merge another by it."""

MERGE_DECADES = 2.8
"""Lead over the means of the `RIVALS` of both, see `JoinLimits.per_decade`, from which two visitors
whose means reach the threshold are one. Means of two of 464 people had 0.497 and led by 2.5,
fragments of one person have up to 0.67; the averages of all pairs do not tell them apart."""

MERGE_BELOW = 0.12
"""Cosine below the threshold from which their average has to be: means of few and very different
templates are alike by chance. Such a pair of 464 people had 0.521, their average 0.324."""

MERGE_FEW_BELOW = 0.08
"""The same among so few visitors that nothing says whom else they resemble."""

POOR_BY = 0.04
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
        self._stacks: dict[int, Floats] = {}  # (E, D), the same
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
        row, kept = self._rows[visitor], self._exemplars[visitor]
        stack = np.stack(list(kept.values()))
        self._stacks[visitor] = stack
        self._exemplars[visitor] = dict(zip(kept, stack, strict=True))  # no second copy of them
        mean = stack.mean(axis=0)
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
        del self._exemplars[visitor], self._stacks[visitor]
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
        mean of that to the visitor's mean and that to its most similar exemplars, corrected by the
        rivals, less `POOR_BY` where the track or all of the visitor's are poor.
        """
        if not self._keys:
            return []
        to_means = self._to_means(tracklet.template)
        found = []
        for row in _highest(to_means, CANDIDATES + len(beside)):
            visitor = self._keys[row]
            if visitor in beside:
                continue
            cosines = self._stacks[visitor] @ tracklet.template
            found.append((visitor, _likeness(cosines, float(to_means[row]))))
        found.sort(key=lambda each: -each[1])
        corrected = []
        for visitor, similarity in found:
            less = POOR_BY if tracklet.is_poor or visitor in self._poor else 0.0
            corrected.append((visitor, similarity - less - self._rivals(visitor, found)))
        corrected.sort(key=lambda each: -each[1])
        return corrected

    def _rivals(self, visitor: int, found: Sequence[tuple[int, float]]) -> float:
        """Return by how much more than usual other visitors are similar to a track.

        Args:
            visitor: one of those found.
            found: visitors with their cosine, best first.
        """
        similarity = next(each for key, each in found if key == visitor)
        if similarity < self.join - SLACK - MAYBE_BELOW:
            return 0.0  # it is not joined anyway
        reached = self._reached(visitor, found)
        if reached is None:
            return 0.0
        usual = self.join - RIVAL_DECADES * self.limits.per_decade
        part = min((len(self._exemplars[visitor]) - 1) / (KNOWN_TEMPLATES - 1), 1.0)
        return max(reached - usual, -SLACK * part)

    def _reached(self, visitor: int, found: Iterable[tuple[int, float]]) -> float | None:
        """Return what others reach, as it would be among `LEAST_COUNTED`; None if unknown.

        Args:
            visitor: beside which they are others; one that may be the same person is none.
            found: visitors with their cosine, best first.
        """
        if len(self._keys) < MIN_COHORT:
            return None
        others: list[float] = []
        for other, similarity in found:
            if other != visitor and not self._may_be_one(visitor, other):
                others.append(similarity)
                if len(others) == RIVALS:
                    break
        if len(others) < RIVALS:
            return None
        fewer = max(math.log10(LEAST_COUNTED / len(self._keys)), 0.0)
        return sum(others) / RIVALS + self.limits.per_decade * fewer

    def _to_means(self, template: Floats) -> Floats:
        """Return the cosine of a template, (D,), with the mean of each visitor."""
        # As a matrix product it wakes a BLAS thread for each core, and waits for them: 10 times
        # the processor time while cameras keep the cores busy, 20,000 visitors of 128 numbers.
        return np.asarray(np.vecdot(self._means[: len(self._keys)], template), np.float32)

    def likeness(self, visitor: int, tracklet: Tracklet) -> float:
        """Return how similar a track is to one visitor; see `similar`."""
        less = POOR_BY if tracklet.is_poor or visitor in self._poor else 0.0
        return likeness(self._stacks[visitor], tracklet.template) - less

    def alike(self, visitor: int) -> tuple[list[int], list[tuple[int, float]]]:
        """Compare a visitor that has grown with all others.

        The similarity is the average of all pairs of templates, less `POOR_AVERAGE_BY` where either
        is known from poor tracks alone.

        Returns:
            Visitors that are the same person, by that or by their means, see `MERGE_DECADES`, and
            without two templates that do not fit; and those that may be, with the cosine. The most
            similar come first.
        """
        n, row, join = len(self._keys), self._rows[visitor], self.join
        cosines = self._to_means(self._means[row])
        average = cosines * (self._lengths[:n] * self._lengths[row])
        sure, maybe = [], []
        near = np.flatnonzero((cosines >= join) | (average >= join - MAYBE_BELOW))
        for other_row in near[np.argsort(-cosines[near])].tolist():
            other = self._keys[other_row]
            if other == visitor or self.are_apart(visitor, other):
                continue
            less = 0.0 if self._poor.isdisjoint((visitor, other)) else POOR_AVERAGE_BY
            similarity = float(average[other_row]) - less
            is_one = similarity >= join or (
                float(cosines[other_row]) - less >= join and self._lead(visitor, other, cosines)
            )
            if is_one and self._is_narrow(visitor, other):
                sure.append(other)
            elif similarity >= join - MAYBE_BELOW:
                maybe.append((other, similarity))
        maybe.sort(key=lambda each: -each[1])
        return sure, maybe

    def _lead(self, visitor: int, other: int, cosines: Floats) -> bool:
        """Return whether two visitors are clearly more similar to each other than to others.

        Args:
            visitor: one of them.
            other: the other.
            cosines: (N,) of the mean of `visitor` and those of all.
        """
        below = self.join - self.average(visitor, other)
        most = max(len(self._exemplars[each]) for each in (visitor, other))
        if most < MERGE_TEMPLATES or below > MERGE_BELOW:
            return False
        of_other = self._to_means(self._means[self._rows[other]])
        least = float(of_other[self._rows[visitor]]) - MERGE_DECADES * self.limits.per_decade
        for one, row in ((visitor, cosines), (other, of_other)):
            others = [(self._keys[each], float(row[each])) for each in _highest(row, CANDIDATES)]
            reached = self._reached(
                one, (each for each in others if each[0] not in (visitor, other))
            )
            if reached is None:
                return below <= MERGE_FEW_BELOW
            if reached > least:
                return False
        return True

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
        raw = self._means[:n] * self._lengths[:n, np.newaxis]
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

    def _may_be_one(self, one: int, other: int) -> bool:
        if self.are_apart(one, other):
            return False
        return self.average(one, other) >= self.join - MAYBE_BELOW

    def average(self, one: int, other: int) -> float:
        """Return the average cosine of all pairs of two visitors' templates; see `alike`."""
        rows = self._rows[one], self._rows[other]
        cosine = float(self._means[rows[0]] @ self._means[rows[1]])
        average = cosine * float(self._lengths[rows[0]] * self._lengths[rows[1]])
        return average - (0.0 if self._poor.isdisjoint((one, other)) else POOR_AVERAGE_BY)

    def _is_narrow(self, one: int, other: int) -> bool:
        """Return whether no template of a visitor is too unlike one of another to merge them."""
        return float((self._stacks[one] @ self._stacks[other].T).min()) >= self.join - NARROW_BELOW

    def fits(self, visitor: int, template: Floats) -> bool:
        """Return whether a template is near to enough of a visitor's exemplars."""
        near = self._stacks[visitor] @ template >= self.join - WIDTH_BELOW
        return float(near.mean()) >= WIDE_SHARE


def likeness(templates: Floats, one: Floats) -> float:
    """Return how similar a template is to those of a visitor, as cosine; see `Visitors.similar`.

    Args:
        templates: (N, D) of the visitor.
        one: (D,).
    """
    length = max(float(np.linalg.norm(templates.mean(axis=0))), 1e-9)
    cosines = templates @ one
    return _likeness(cosines, float(cosines.mean()) / length)


def _likeness(cosines: Floats, to_mean: float) -> float:
    nearest = float(np.sort(cosines)[-NEAREST:].mean())
    return (1 - NEAREST_SHARE) * to_mean + NEAREST_SHARE * nearest


def _highest(cosines: Floats, n: int) -> list[int]:
    """Return the positions of the `n` highest cosines, highest first."""
    n = min(n, len(cosines))
    some = np.flatnonzero(cosines >= FIRST_LOOK)  # fewer to sort
    if len(some) < n:
        some = np.arange(len(cosines))
    some = some[np.argpartition(-cosines[some], n - 1)[:n]]
    return [int(each) for each in some[np.argsort(-cosines[some])]]


def _most_redundant(templates: dict[int, Floats]) -> int:
    """Return the track whose template is most similar to another one."""
    tracks = list(templates)
    rows = np.stack([templates[track] for track in tracks])
    among: NDArray[np.float32] = rows @ rows.T
    np.fill_diagonal(among, -1.0)
    one, other = np.unravel_index(int(among.argmax()), among.shape)
    return tracks[int(one if among[one].sum() >= among[other].sum() else other)]
