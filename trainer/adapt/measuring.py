"""True accept rates of people who were left out, before and after, with confidence intervals.

All pairs of the people's photos are compared. Photos of one person are not independent, so the
bootstrap draws people, not pairs; before and after are computed on the same draws.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; Bolle et
al., Error analysis of pattern recognition systems, the subsets bootstrap (2004).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer import Image
from trainer.adapt.degradations import DEGRADATIONS, degrade
from trainer.adapt.people import Crops
from trainer.errors import DataError
from trainer.evaluation.verification import IMPOSTORS_PER_ERROR

CLEAN, DEGRADED = "clean", "degraded"
FARS = (1e-2, 1e-3)  # that are reported, as far as there are pairs
CHOOSING_FARS = (1e-1, 1e-2, 1e-3)
INTERVAL = (2.5, 97.5)  # percentiles: 95 %
TAIL = 0.25  # of the impostors, the most similar: a draw of people seldom needs more

Floats = NDArray[np.float32]
Embed = Callable[[Image], Floats]
"""(N, 112, 112, 3) uint8 RGB crops to (N, D) unit embeddings."""


@dataclass(frozen=True, slots=True)
class Change:
    """A true accept rate before and after.

    Attributes:
        kind: "clean", a kind of degradation, or "degraded": the mean of all kinds.
        far: false accept rate of the threshold, which is set for each network and kind.
        before: rate of the base, in [0, 1].
        after: of the adapted network.
        low: lower end of the 95 % confidence interval of after - before.
        high: its upper end.
    """

    kind: str
    far: float
    before: float
    after: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """After - before."""
        return self.after - self.before


def degraded_copies(crops: Crops, *, seed: int) -> dict[str, Image]:
    """Return the crops as they are and in one copy for each kind of damage.

    Returns:
        By kind (N, 112, 112, 3) uint8.
    """
    copies = {CLEAN: crops.images}
    for number, kind in enumerate(DEGRADATIONS):
        rng = np.random.default_rng([seed, number])
        copies[kind] = np.stack([degrade(crop, kind, rng) for crop in crops.images])
    return copies


class Pairs:
    """All pairs of photos of some people: of clean photos, and of a clean with a degraded one.

    A photo is never compared with a copy of itself.

    Attributes:
        impostors: number of pairs of clean photos of different people.
    """

    def __init__(self, people: NDArray[np.str_]) -> None:
        _, self._person = np.unique(people, return_inverse=True)
        self.n_people = int(self._person.max()) + 1
        is_same = self._person[:, None] == self._person[None]
        above = np.triu(np.ones(is_same.shape, bool), 1)
        around = ~np.eye(len(people), dtype=bool)
        self._places = {
            True: (np.nonzero(above & is_same), np.nonzero(above & ~is_same)),
            False: (np.nonzero(around & is_same), np.nonzero(around & ~is_same)),
        }
        self.impostors = len(self._places[True][1][0])

    def rates(self, fars: Sequence[float]) -> tuple[float, ...]:
        """Return those rates that there are enough pairs for."""
        return tuple(far for far in fars if self.impostors * far >= IMPOSTORS_PER_ERROR)

    def compare(self, clean: Floats, other: Floats | None = None) -> "Compared":
        """Compare clean photos with each other, or with degraded copies of them.

        Args:
            clean: (N, D) unit embeddings.
            other: (N, D) those of the copies.
        """
        cosines = clean @ (clean if other is None else other).T
        genuine, impostor = self._places[other is None]
        return Compared(
            genuine=cosines[genuine],
            owner=self._person[genuine[0]],
            impostor=cosines[impostor],
            one=self._person[impostor[0]],
            another=self._person[impostor[1]],
            n_people=self.n_people,
        )


class Compared:
    """The similarities of pairs, by the people that they show.

    Args:
        genuine: (G,) cosines of pairs of one person.
        owner: (G,) that person, a number from 0.
        impostor: (I,) cosines of pairs of different people.
        one: (I,) the person of the first photo.
        another: (I,) that of the second.
        n_people: P.
    """

    def __init__(
        self,
        *,
        genuine: Floats,
        owner: NDArray[np.intp],
        impostor: Floats,
        one: NDArray[np.intp],
        another: NDArray[np.intp],
        n_people: int,
    ) -> None:
        order: NDArray[np.intp] = np.argsort(-genuine, kind="stable")
        self._falling, self._owner = -genuine[order], owner[order]
        self._counts = np.zeros((n_people, n_people))
        np.add.at(self._counts, (one, another), 1)
        most: NDArray[np.intp] = np.argsort(-impostor, kind="stable")
        tail = most[: max(int(TAIL * len(impostor)), 1000)]
        self._impostor, self._one, self._another = impostor[tail], one[tail], another[tail]

    def tar(
        self, fars: Sequence[float], times: NDArray[np.floating[Any]] | None = None
    ) -> list[float]:
        """Return the true accept rates at false accept rates.

        Args:
            fars: F rates.
            times: (P,) how often each person was drawn; None for once.

        Returns:
            F rates; NaN if nobody with a pair was drawn.
        """
        drawn = np.ones(len(self._counts)) if times is None else times
        accepted = np.cumsum(drawn[self._one] * drawn[self._another])
        total = drawn @ self._counts @ drawn
        genuine = np.cumsum(drawn[self._owner])
        found = []
        for far in fars:
            # accepted above the first impostor that would be one too many
            limit = np.searchsorted(accepted, far * total + 1e-9, side="right")
            cosine = self._impostor[min(int(limit), len(self._impostor) - 1)]
            n = np.searchsorted(self._falling, -cosine, side="left")
            found.append(float(genuine[n - 1] / genuine[-1]) if n else 0.0)
        return found


def compare_all(pairs: Pairs, embed: Embed, copies: Mapping[str, Image]) -> dict[str, Compared]:
    """Embed all copies with a network and compare; by kind."""
    clean = embed(copies[CLEAN])
    return {
        kind: pairs.compare(clean) if kind == CLEAN else pairs.compare(clean, embed(images))
        for kind, images in copies.items()
    }


def rates_of(compared: Mapping[str, Compared], fars: Sequence[float]) -> dict[str, list[float]]:
    """Return the true accept rates of every kind, and the mean of the degraded ones."""
    found = {kind: each.tar(fars) for kind, each in compared.items()}
    return found | {DEGRADED: _mean_degraded(found)}


def changes(
    before: Mapping[str, Compared],
    after: Mapping[str, Compared],
    fars: Sequence[float],
    *,
    n_people: int,
    resamples: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Change]:
    """Return the changes of all kinds at all rates, with confidence intervals over people.

    Args:
        before: of the base, by kind.
        after: of the adapted network.
        fars: rates.
        n_people: that were left out.
        resamples: draws of the bootstrap.
        seed: of the draws.
        on_progress: called with draws done and in all.
    """
    rng = np.random.default_rng(seed)
    kinds = [*before, DEGRADED]
    gains = np.empty((resamples, len(kinds), len(fars)))
    for number in range(resamples):
        times = np.zeros(n_people)
        while np.count_nonzero(times) < 2:  # one person makes no impostors
            drawn_people = rng.integers(n_people, size=n_people)
            times = np.bincount(drawn_people, minlength=n_people).astype(np.float64)
        drawn = [
            {kind: each.tar(fars, times) for kind, each in compared.items()}
            for compared in (before, after)
        ]
        for rates in drawn:
            rates[DEGRADED] = _mean_degraded(rates)
        gains[number] = [np.subtract(drawn[1][kind], drawn[0][kind]) for kind in kinds]
        if on_progress:
            on_progress(number + 1, resamples)
    low, high = np.percentile(gains, INTERVAL, axis=0)
    first, second = rates_of(before, fars), rates_of(after, fars)
    return [
        Change(kind, far, first[kind][f], second[kind][f], float(low[k, f]), float(high[k, f]))
        for k, kind in enumerate(kinds)
        for f, far in enumerate(fars)
    ]


def _mean_degraded(rates: Mapping[str, Sequence[float]]) -> list[float]:
    return np.mean([rates[kind] for kind in DEGRADATIONS], axis=0).tolist()


def check_pairs(pairs: Pairs) -> tuple[float, ...]:
    """Return the rates that can be reported.

    Raises:
        DataError: if there are too few pairs for the coarsest.
    """
    found = pairs.rates(FARS)
    if not found:
        need = round(IMPOSTORS_PER_ERROR / FARS[0])
        raise DataError(
            f"the people who are left out make {pairs.impostors} pairs of different people, "
            f"{need} are needed to measure anything: add photos, two or more of each person"
        )
    return found


def why_refused(found: Sequence[Change], *, tolerance: float) -> str:
    """Return why a network with these changes must not replace its base; "" if it may.

    At the first rate the confidence intervals decide: that of the clean photos must not reach below
    -tolerance, that of the degraded ones must lie above 0. At finer rates, where few pairs decide,
    the rates themselves: clean ones may not fall by more than the tolerance, degraded ones not at
    all. No single kind of damage may become worse beyond doubt.

    Args:
        found: as `changes` returns them.
        tolerance: a share of the pairs.
    """
    coarsest = found[0].far
    for each in found:
        said = f"TAR at FAR {each.far:g} of {_words(each.kind)} went {_from_to(each)}"
        if each.kind == CLEAN:
            lowest = each.low if each.far == coarsest else each.gain
            if not lowest >= -tolerance:  # also of NaN
                return f"{said}: a loss of more than {100 * tolerance:g} points cannot be excluded"
        elif each.kind == DEGRADED:
            lowest = each.low if each.far == coarsest else each.gain
            if not lowest > 0:
                return f"{said}: no gain is certain"
        elif each.high < 0:
            return f"{said}: a loss is certain"
    return ""


def _words(kind: str) -> str:
    return f"{kind} photos" if kind in (CLEAN, DEGRADED) else f"photos degraded by {kind!r}"


def _from_to(change: Change) -> str:
    return (
        f"from {change.before:.4f} to {change.after:.4f} "
        f"(95 % interval of the change {change.low:+.4f} to {change.high:+.4f})"
    )
