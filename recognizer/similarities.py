"""A model's similarities as measured, and every threshold of facewire that follows from them.

A cosine of 0.4 proves an identity with one model and means nothing with another. So a model card
holds how similar photos of different people and of the same person were where the model was
measured, and all working numbers are derived here, each from the share of different people that is
as similar: the false accept rate (FAR).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Rates at which a measurement notes the similarity that different people reach."""

MIN_SEEN = 10
"""Pairs that must reach a similarity before it is noted; beyond it is extrapolated."""

SHARES = (0.01, 0.02, 0.05, 0.1, 0.5)
"""Shares of the pairs of one person at which a measurement notes what they stay below."""

MIN_MIRRORED = 100
"""Photos below which nothing is noted of their mirror images."""

MIN_IMPOSTORS = 10
"""Pairs of different people below which nothing is measured."""

LEAST_STD = 1e-3
"""Standard deviation of different people's similarities below which a model cannot distinguish
people: it gives everybody one embedding, as an untrained or collapsed network does."""

UNREACHED = 1.001
"""A threshold that no cosine reaches, even with the rounding of two equal embeddings."""

CONFIDENCE_Z = 1.645
"""One-sided 95 % confidence, in standard deviations, for what is extrapolated."""

PAIR_FAR = 1e-3
"""FAR of two faces compared with each other, the rate at which results are usually stated."""

SAME_FACE_FAR = 1.85e-3
"""FAR of two detections moments apart: place and time are evidence for one face already."""

CONTRADICTION_FAR = 1.3e-2
"""FAR of another face in the same place: a good embedding below this does not fit its track."""

SURE_FAR = 6.4e-6
"""FAR of one embedding that may name alone. A threshold need not rise beyond it either: a stranger
among 1,000 people is then named once in 150 embeddings, which voting makes rare."""

OTHER_FAR = 5.8e-6
"""FAR of a photo that is refused because it shows another enrolled person, of a hundred."""

KEPT_DECADES = 1.45
"""A name is kept while at most 10^1.45, 28 times, as many strangers would be as similar."""

LEAD_DECADES = 0.91
"""The best identity leads the second by a step that 10^0.91, 8 times, fewer strangers reach."""

DEVIATING_SHARE = 0.01
"""Of a person's own photos that a check against wrong photos may refuse, however weak the model."""

MIRROR_SHARE = 0.01
"""Share of good photos at which the similarity to their own mirror image is noted."""

MIRROR_SLACK = 1.16
"""How many times as far from 1 a photo's may be as that. A network gives a face and its mirror
image nearly one embedding while it sees a face; noise, few gray levels, strong compression and a
face that is not upright drive them apart. Of SFace's it refuses none of 191 good photos of LFW,
and nine in ten of the damaged ones that are not recognized later."""

NOTHING_NEW = 2 / 3
"""Part of the way from a person's median similarity to 1 beyond which a photo adds nothing."""

Floats = NDArray[np.float32]
Values = NDArray[np.floating[Any]]
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Similarities:
    """The similarities of a model, as measured on pairs of photos.

    Attributes:
        impostors: number of pairs of different people; 0 where nothing was measured.
        impostor_mean: their mean cosine.
        impostor_std: their standard deviation.
        impostor_at_far: (rate, cosine that this share of them reaches), rates descending.
        genuine: number of pairs of one person.
        genuine_at_share: (share, cosine that this share of them stays below), shares ascending.
        mirror_at_share: the same of good photos and their mirror images.
    """

    impostors: int
    impostor_mean: float
    impostor_std: float
    impostor_at_far: Points = ()
    genuine: int = 0
    genuine_at_share: Points = ()
    mirror_at_share: Points = ()

    def __post_init__(self) -> None:
        points = (*self.impostor_at_far, *self.genuine_at_share, *self.mirror_at_share)
        if not all(len(point) == 2 and 0 < point[0] < 1 for point in points):
            raise ValueError("each measured point must be a rate in (0, 1) and a cosine")
        cosines = (self.impostor_mean, *(cosine for _, cosine in points))
        if not all(-1 <= cosine <= 1 for cosine in cosines):
            raise ValueError("each measured similarity must be in [-1, 1]")
        if not 0 <= self.impostor_std <= 1 or self.impostors < 0 or self.genuine < 0:
            raise ValueError("the standard deviation and the counts must not be negative")
        rates = [rate for rate, _ in self.impostor_at_far]
        tail = [cosine for _, cosine in self.impostor_at_far]
        if rates != sorted(set(rates), reverse=True) or tail != sorted(tail):
            raise ValueError("impostor_at_far must have falling rates and rising similarities")

    def reached(self, far: float) -> float:
        """Return the cosine that a share of the pairs of different people reaches.

        Between measured rates it is interpolated in log10(far). Below the finest, where few pairs
        would be seen, it goes on as the tail of a normal distribution: of the measured standard
        deviation or of that between the last two rates, whichever is larger, with the uncertainty
        of the number of pairs on top.

        Args:
            far: in (0, 0.5].

        Returns:
            In [-1, 1]; 1 where even identical photos would not distinguish people.

        Source: one-sided tolerance limits of the normal distribution, approximation of Natrella
        (Experimental Statistics, NBS Handbook 91, 1963, 2-13).
        """
        tail = self.impostor_at_far
        if not tail:
            return min(self.impostor_mean + self._deviations(far) * self.impostor_std, 1.0)
        first, last = tail[0], tail[-1]
        if far >= first[0]:
            return min(self.impostor_mean + _z(far) * self.impostor_std, first[1])
        if far >= last[0]:
            rates = [-math.log10(rate) for rate, _ in tail]
            return float(np.interp(-math.log10(far), rates, [cosine for _, cosine in tail]))
        std = self.impostor_std
        if len(tail) > 1:
            std = max(std, (last[1] - tail[-2][1]) / (_z(last[0]) - _z(tail[-2][0])))
        return min(last[1] + std * (self._deviations(far) - self._deviations(last[0])), 1.0)

    def own_below(self, share: float) -> float | None:
        """Return the cosine that a share of one person's pairs stays below; None if unmeasured."""
        if not self.genuine_at_share:
            return None
        shares, cosines = zip(*self.genuine_at_share, strict=True)
        return float(np.interp(share, shares, cosines))

    @property
    def digits(self) -> int:
        """Decimals of a similarity that mean something: 3, more where all faces are similar."""
        if self.impostor_std <= 0:
            return 6
        return min(max(3, 1 - math.floor(math.log10(self.impostor_std))), 6)

    def _deviations(self, far: float) -> float:
        z, n = _z(far), self.impostors
        return z + (CONFIDENCE_Z * math.sqrt(1 / n + z * z / (2 * n)) if n else 0.0)


CAUTIOUS = Similarities(
    impostors=0,
    impostor_mean=0.15,
    impostor_std=0.11,
    genuine_at_share=((0.01, 0.3), (0.5, 0.7)),
)
"""Assumed for a model without a measurement: its strangers are more similar, and differ more,
than SFace's (0.108, 0.087) and those of MobileFaceNet trained with ArcFace (0.006, 0.096)."""


def measured(genuine: Values, impostor: Values, mirror: Values | None = None) -> Similarities:
    """Measure a model on pairs of photos.

    Args:
        genuine: (G,) cosines of pairs of one person; G may be 0.
        impostor: (I,) cosines of pairs of different people.
        mirror: (M,) cosines of photos and their mirror images, at least `MIN_MIRRORED` to be
            noted; None where they were not measured.

    Raises:
        ValueError: if there are fewer than `MIN_IMPOSTORS` pairs of different people.
    """
    n = len(impostor)
    if n < MIN_IMPOSTORS:
        raise ValueError(f"{n} pairs of different people are too few, {MIN_IMPOSTORS} are needed")
    rates = [far for far in FARS if n * far >= MIN_SEEN * (1 - 1e-9)]
    return Similarities(
        impostors=n,
        impostor_mean=_short(float(impostor.mean(dtype=np.float64))),
        impostor_std=_short(float(impostor.std(dtype=np.float64))),
        impostor_at_far=tuple((far, _quantile(impostor, 1 - far)) for far in rates),
        genuine=len(genuine),
        genuine_at_share=tuple((share, _quantile(genuine, share)) for share in SHARES)
        if len(genuine)
        else (),
        mirror_at_share=((MIRROR_SHARE, _quantile(mirror, MIRROR_SHARE)),)
        if mirror is not None and len(mirror) >= MIN_MIRRORED
        else (),
    )


def measured_on_people(
    embeddings: Floats, people: Sequence[str] | Sequence[int]
) -> tuple[Floats, Floats]:
    """Return the similarities of all pairs of photos: of one person's, and of different people's.

    Args:
        embeddings: (N, D) float32 of unit length.
        people: the person of each.

    Returns:
        (G,) and (I,) float32 cosines.
    """
    numbers = np.unique(np.array(people), return_inverse=True)[1]
    one, other = np.triu_indices(len(numbers), 1)
    cosines = (embeddings @ embeddings.T)[one, other]
    is_same = numbers[one] == numbers[other]
    return cosines[is_same], cosines[~is_same]


@dataclass(frozen=True, slots=True)
class SimilarityLimits:
    """The working numbers of one model; cosines and differences of cosines.

    Attributes:
        is_measured: False where they follow from `CAUTIOUS`.
        pair: from which two faces are one person.
        caution: added to `pair` to name a person by a gallery, before it is raised.
        per_decade: how much more similar the most similar stranger among ten times as many is.
        most_raised: maximum that a growing gallery adds to `pair`, including `caution`.
        margin: by which the best identity leads the second.
        sure_lead: how far above the threshold one good embedding alone may name.
        hysteresis: how far below the threshold a name, once given, is kept.
        contradiction: below which a good embedding is of another face than the track's.
        same_face: from which two detections moments apart are one face.
        min_own: of a photo to the most similar other one of its person.
        max_other: from which a photo matches another enrolled person, among up to a hundred.
        most_similar: from which a frame adds nothing new to another.
        min_mirror: of a photo to its mirror image; -1 where it was not measured.
    """

    is_measured: bool
    pair: float
    caution: float
    per_decade: float
    most_raised: float
    margin: float
    sure_lead: float
    hysteresis: float
    contradiction: float
    same_face: float
    min_own: float
    max_other: float
    most_similar: float
    min_mirror: float

    def other_among(self, n_people: int) -> float:
        """Return the cosine from which a photo matches another of `n_people` enrolled people.

        Without the raise, one in 30 newcomers to a gallery of 4,000 would be given a name.
        """
        return min(self.max_other + self.per_decade * math.log10(max(n_people / 100, 1.0)), 1.0)


def more_cautious(one: SimilarityLimits, other: SimilarityLimits) -> SimilarityLimits:
    """Return those limits of two that name fewer."""
    return max(one, other, key=lambda limits: (limits.pair + limits.most_raised, limits.pair))


def derive(found: Similarities, *, pair: float | None = None) -> SimilarityLimits:
    """Derive all working numbers.

    Args:
        found: what was measured, or `assumed`.
        pair: the threshold for two faces where it was stated; None for that of `PAIR_FAR`.

    Returns:
        The limits; those of a model that cannot distinguish people name nobody.
    """
    digits = found.digits

    def rounded(value: float) -> float:
        return round(value, digits)

    at_pair_far = found.reached(PAIR_FAR)
    pair = at_pair_far if pair is None else pair
    per_decade = (found.reached(1e-5) - at_pair_far) / 2
    if found.impostor_std < LEAST_STD:
        return replace(derive(CAUTIOUS), is_measured=True, pair=UNREACHED, most_raised=0.0)
    highest = max(found.reached(SURE_FAR) - pair, 0.0)
    contradiction = found.reached(CONTRADICTION_FAR)
    own, median = found.own_below(DEVIATING_SHARE), found.own_below(0.5)
    return SimilarityLimits(
        is_measured=found.impostors > 0,
        pair=rounded(pair),
        caution=rounded(max(at_pair_far - pair, 0.0)),
        per_decade=rounded(per_decade),
        most_raised=rounded(highest),
        margin=rounded(LEAD_DECADES * per_decade),
        sure_lead=rounded(highest),
        hysteresis=rounded(KEPT_DECADES * per_decade),
        contradiction=rounded(contradiction),
        same_face=rounded(found.reached(SAME_FACE_FAR)),
        min_own=rounded(contradiction if own is None else min(contradiction, own)),
        max_other=rounded(found.reached(OTHER_FAR)),
        most_similar=rounded(0.9 if median is None else median + NOTHING_NEW * (1 - median)),
        min_mirror=rounded(
            max(1 - MIRROR_SLACK * (1 - found.mirror_at_share[0][1]), -1.0)
            if found.mirror_at_share
            else -1.0
        ),
    )


def assumed(threshold: float, far: float) -> Similarities:
    """Return what is assumed of a model of which a threshold alone is known.

    Args:
        threshold: that its card states.
        far: at this rate; 0 where unknown, then `PAIR_FAR` is assumed.

    Returns:
        `CAUTIOUS`, moved up where the threshold implies that strangers are even more similar.
    """
    mean = threshold - CAUTIOUS.impostor_std * _z(far or PAIR_FAR)
    return replace(CAUTIOUS, impostor_mean=max(CAUTIOUS.impostor_mean, min(mean, 1.0)))


def _z(far: float) -> float:
    return NormalDist().inv_cdf(1 - far)


def _quantile(values: Values, share: float) -> float:
    return _short(float(np.quantile(values, share)))


def _short(value: float) -> float:
    return round(value, 6)
