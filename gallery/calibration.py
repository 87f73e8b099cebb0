"""Calibration of a gallery's threshold by comparing all of its people with one another.

Leave-one-out: each photo is a probe as if it were not enrolled. Its genuine similarity is that to
the best of its person's other photos; its impostor similarities are those to the best photo of
each other person, as in `Gallery.search`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery.errors import GalleryError
from gallery.facts import Facts
from gallery.gallery import Gallery
from gallery.templates import all_templates, names_of

Floats = NDArray[np.float32]

MAX_PAIRS = 20_000_000  # impostor similarities that are kept: 80 MB, enough for a FAR of 1e-6
MAX_COMPARED = 400_000_000  # one by one, a few seconds: all photos of up to 20,000
CHUNK = 32_000_000  # similarities in memory at a time, 128 MB
MIN_FALSE_ACCEPTS = 10  # a rate seen fewer times than this is a guess, not a measurement
CONFIDENCE = 0.95
MAX_SAMPLED = 600  # photos for measuring a model's similarities of people: 180,000 pairs
N_ALIKE = 20  # pairs of people that are listed
MEASURED = "threshold_similarities"  # fact of a gallery: the model's similarities of its people
# Increase of the highest similarity per tenfold number of strangers, in standard deviations of a
# normal distribution: from a rate of 1e-3 to 1e-4.
DEVIATIONS_PER_DECADE = 0.629


class TooFewPairsError(GalleryError):
    """There are too few pairs of different people for a rate: enroll more, or ask a higher one."""


@dataclass(frozen=True, slots=True)
class AlikePair:
    """Two similar identities: relatives, or one person enrolled twice.

    Attributes:
        name_a: name of the first.
        name_b: name of the second.
        similarity: of their two most similar photos.
    """

    name_a: str
    name_b: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Similarities and threshold measured on a gallery.

    Attributes:
        genuine: (G,) float32, ascending: one for each photo of people with several.
        impostor: (I,) float32, ascending: one for each photo and other person.
        far: the target false accept rate, of a probe against one person.
        threshold: the lowest that accepts at most that rate of `impostor`.
        threshold_low: lower end of its 95 % interval.
        threshold_high: upper end of its 95 % interval.
        tar: rate of `genuine` that is accepted; NaN without any.
        stranger_rate: rate of photos that would be named as another person if their person were
            not enrolled: the false accept rate of a search of the whole gallery.
        alike: pairs of people above the threshold, and above the expected maximum of as many
            strangers, most similar first.
        n_people: number of people with at least one photo.
        n_photos: number of probes.
    """

    genuine: Floats
    impostor: Floats
    far: float
    threshold: float
    threshold_low: float
    threshold_high: float
    tar: float
    stranger_rate: float
    alike: tuple[AlikePair, ...]
    n_people: int
    n_photos: int


def calibrate(gallery: Gallery, *, far: float) -> Calibration:
    """Return the calibration of a gallery for a false accept rate.

    Args:
        gallery: with at least two people.
        far: target rate in (0, 1), of one probe against one other person.

    Raises:
        TooFewPairsError: if there are too few pairs of different people to measure that rate.
    """
    persons, embeddings = _templates(gallery)
    order = np.argsort(persons, kind="stable")
    persons, embeddings = persons[order], embeddings[order]
    people, starts = np.unique(persons, return_index=True)
    n_probes = min(len(persons), max(MAX_PAIRS // max(len(people), 1), 1))
    n_pairs = n_probes * max(len(people) - 1, 0)
    if n_pairs * far < MIN_FALSE_ACCEPTS:
        has_some = n_pairs > MIN_FALSE_ACCEPTS
        finest = f"a rate of {finest_far(n_pairs):g} can be" if has_some else "none can be"
        raise TooFewPairsError(
            f"a false accept rate of {far:g} needs {math.ceil(MIN_FALSE_ACCEPTS / far)} pairs of "
            f"different people, this gallery has {n_pairs}: {finest} measured"
        )
    # Beyond the probes, the more photos are searched, the more similar pairs are found.
    n_asked = min(len(persons), max(n_probes, MAX_COMPARED // len(persons)))
    asked = np.random.default_rng(0).permutation(len(persons))[:n_asked]
    genuine: list[Floats] = []
    impostor: list[Floats] = []
    nearest: list[Floats] = []
    closest: dict[tuple[int, int], float] = {}
    step = max(CHUNK // len(persons), 1)
    for start in range(0, n_asked, step):
        some = asked[start : start + step]
        similarities = embeddings[some] @ embeddings.T
        similarities[np.arange(len(some)), some] = -np.inf  # not compared with itself
        best = np.maximum.reduceat(similarities, starts, axis=1)
        own = np.searchsorted(people, persons[some])
        rows = np.arange(len(some))
        n_measured = min(max(n_probes - start, 0), len(some))
        mine = best[rows, own][:n_measured]
        genuine.append(mine[np.isfinite(mine)])
        best[rows, own] = -np.inf
        measured = best[:n_measured]
        impostor.append(measured[np.isfinite(measured)])
        nearest.append(best.max(axis=1))
        _note_closest(closest, own, best)
    return _concluded(
        gallery,
        np.sort(np.concatenate(genuine)),
        np.sort(np.concatenate(impostor)),
        np.concatenate(nearest),
        far=far,
        closest={(int(people[a]), int(people[b])): s for (a, b), s in closest.items()},
        counts=(len(people), n_probes),
    )


def finest_far(n_pairs: int) -> float:
    """Return the lowest rate that n impostor pairs can measure, rounded up to two digits."""
    finest = MIN_FALSE_ACCEPTS / n_pairs
    scale = 10.0 ** (1 - math.floor(math.log10(finest)))
    return float(f"{math.ceil(finest * scale - 1e-9) / scale:.6g}")


def choose(
    gallery: Gallery, calibration: Calibration, *, similarities: dict[str, Any] | None = None
) -> None:
    """Set a calibration's threshold as that of a gallery.

    Args:
        gallery: that was calibrated.
        calibration: from `calibrate`.
        similarities: plain values about the model to store with it; None stores none.
    """
    facts = {
        "threshold": repr(calibration.threshold),
        "threshold_far": repr(calibration.far),
        "threshold_people": repr(calibration.n_people),
    }
    if similarities is not None:
        facts[MEASURED] = json.dumps(similarities)
    gallery.facts.put(facts)


def kept_similarities(gallery: Gallery) -> dict[str, Any] | None:
    """Return the model's similarities stored by `choose`; None if there are none."""
    kept = Facts(gallery.source).get(MEASURED)
    return None if kept is None else json.loads(kept)


def some_photos(gallery: Gallery, limit: int = MAX_SAMPLED) -> tuple[Floats, list[int]]:
    """Return (N, D) unit embeddings of a gallery's first photos, and the person of each.

    Args:
        gallery: with any number of people.
        limit: maximum number of photos.
    """
    for _, persons, embeddings in all_templates(gallery.source, limit):
        return embeddings, [int(person) for person in persons]
    return np.empty((0, gallery.embedding_size), np.float32), []


def interval(n: int, rate: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return the counts between which a rate of n trials falls, at a confidence.

    Source: quantiles of the binomial distribution, which for order statistics give the
    distribution-free interval of a quantile (David and Nagaraja, Order Statistics, 7.1).
    """
    mean, spread = n * rate, 12 * math.sqrt(n * rate * (1 - rate)) + 12
    counts = np.arange(max(0, int(mean - spread)), min(n, int(mean + spread)) + 1)
    log_choose = np.array(
        [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in counts.tolist()]
    )
    chances = np.exp(log_choose + counts * math.log(rate) + (n - counts) * math.log1p(-rate))
    below = np.cumsum(chances)
    tail = (1 - confidence) / 2
    low, high = np.searchsorted(below, [tail, 1 - tail])
    return int(counts[low]), int(counts[min(high, len(counts) - 1)])


def _templates(gallery: Gallery) -> tuple[NDArray[np.int64], Floats]:
    batches = list(all_templates(gallery.store))
    if not batches:
        return np.empty(0, np.int64), np.empty((0, gallery.embedding_size), np.float32)
    return (
        np.concatenate([persons for _, persons, _ in batches]),
        np.concatenate([embeddings for _, _, embeddings in batches]),
    )


def _note_closest(
    closest: dict[tuple[int, int], float], own: NDArray[np.intp], best: Floats
) -> None:
    # Only the nearest other person of each photo: enough to find each pair that is too similar.
    nearest = best.argmax(axis=1)
    for a, b, similarity in zip(
        own.tolist(), nearest.tolist(), best.max(axis=1).tolist(), strict=True
    ):
        pair = (min(a, b), max(a, b))
        closest[pair] = max(closest.get(pair, -1.0), similarity)


def _concluded(
    gallery: Gallery,
    genuine: Floats,
    impostor: Floats,
    nearest: Floats,
    *,
    far: float,
    closest: dict[tuple[int, int], float],
    counts: tuple[int, int],
) -> Calibration:
    n = len(impostor)
    fewest, most = interval(n, far)
    threshold = _above(impostor, math.floor(n * far))
    # The highest similarity of as many pairs of strangers in one gallery of ten.
    per_decade = DEVIATIONS_PER_DECADE * float(impostor.std(dtype=np.float64))
    chance = threshold + per_decade * math.log10(max(10 * far * math.comb(counts[0], 2), 1.0))
    listed = sorted(closest.items(), key=lambda item: -item[1])[:N_ALIKE]
    names = names_of(gallery.store, sorted({person for pair, _ in listed for person in pair}))
    alike = [
        AlikePair(names[a].name, names[b].name, similarity)
        for (a, b), similarity in listed
        if similarity >= chance and a in names and b in names
    ]
    return Calibration(
        genuine=genuine,
        impostor=impostor,
        far=far,
        threshold=threshold,
        threshold_low=_above(impostor, most),
        threshold_high=_above(impostor, fewest),
        tar=float((genuine >= threshold).mean()) if len(genuine) else math.nan,
        stranger_rate=float((nearest >= threshold).mean()),
        alike=tuple(alike),
        n_people=counts[0],
        n_photos=counts[1],
    )


def _above(impostor: Floats, n_accepted: int) -> float:
    """Return the lowest threshold that accepts at most n of ascending similarities."""
    rank = len(impostor) - 1 - n_accepted
    return float(np.nextafter(impostor[max(rank, 0)], np.float32(2.0)))
