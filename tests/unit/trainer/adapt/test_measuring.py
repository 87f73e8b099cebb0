from dataclasses import replace

import numpy as np
import pytest

from trainer.adapt.degradations import DEGRADATIONS
from trainer.adapt.measuring import (
    CLEAN,
    DEGRADED,
    Change,
    Pairs,
    changes,
    check_pairs,
    compare_all,
    degraded_copies,
    rates_of,
    why_refused,
)
from trainer.adapt.people import Crops
from trainer.errors import DataError
from trainer.evaluation.verification import operating_points

N_PEOPLE, N_PHOTOS, D = 12, 6, 16


@pytest.fixture
def people():
    return np.array([f"p{p}" for p in range(N_PEOPLE) for _ in range(N_PHOTOS)])


def embeddings(rng, noise):
    """Photos scattered around their people, as unit vectors."""
    centers = np.repeat(np.random.default_rng(0).normal(size=(N_PEOPLE, D)), N_PHOTOS, axis=0)
    rows = centers + noise * rng.normal(size=centers.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_rates_are_those_of_the_verification_protocol(people):
    clean = embeddings(np.random.default_rng(1), 0.7)
    pairs = Pairs(people)
    one, two = np.triu_indices(len(people), 1)
    cosines = (clean @ clean.T)[one, two].astype(np.float64)
    points = operating_points(
        2 - 2 * cosines, people[one] == people[two], [1e-1, 1e-2], target="pairs"
    )
    assert pairs.impostors == points[0].impostors
    assert pairs.compare(clean).tar([1e-1, 1e-2]) == [point.tar for point in points]


def test_a_photo_is_not_compared_with_a_copy_of_itself(people):
    apart = np.linalg.qr(np.random.default_rng(0).normal(size=(len(people),) * 2))[0]
    rows = apart.astype(np.float32)  # each photo is similar to itself alone
    assert Pairs(people).compare(rows, rows).tar([1e-2])[0] < 0.5


def test_a_person_drawn_twice_counts_as_two(people):
    """The weights of a draw give what pairs of the drawn people would, written out."""
    clean = embeddings(np.random.default_rng(2), 0.8)
    copy = embeddings(np.random.default_rng(3), 0.9)
    times = np.array([2, 0, 1, 1, 3, 0, 1, 1, 1, 0, 1, 1])
    found = Pairs(people).compare(clean, copy).tar([1e-1, 1e-2], times.astype(float))
    numbers = np.unique(people, return_inverse=True)[1]
    genuine, impostor = [], []
    for i, j in np.ndindex(len(people), len(people)):
        cosine = float(clean[i] @ copy[j])
        p, q = numbers[i], numbers[j]
        if p == q and i != j:
            genuine += [cosine] * times[p]
        elif p != q:
            impostor += [cosine] * (times[p] * times[q])
    impostor.sort(reverse=True)
    for far, tar in zip((1e-1, 1e-2), found, strict=True):
        limit = impostor[int(far * len(impostor))]
        assert tar == pytest.approx(np.mean(np.array(genuine) > limit + 1e-6), abs=0.01)


def test_a_better_network_is_seen_and_an_equal_one_gains_nothing(people):
    pairs = Pairs(people)
    noisy, clear = (embeddings(np.random.default_rng(4), noise) for noise in (1.0, 0.5))
    kinds = [CLEAN, *DEGRADATIONS]
    before = {kind: pairs.compare(noisy) for kind in kinds}
    after = {kind: pairs.compare(clear) for kind in kinds}

    def compared(second):
        return changes(before, second, [1e-1], n_people=N_PEOPLE, resamples=100, seed=0)

    for each in compared(after):
        assert each.after > each.before
        assert 0 < each.low <= each.gain <= each.high
    for each in compared(before):
        assert (each.gain, each.low, each.high) == (0, 0, 0)
    assert compared(after) == compared(after)
    assert [each.kind for each in compared(after)] == [*kinds, DEGRADED]


def test_the_interval_covers_the_true_change():
    """Of many samples of people from one population, about 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(0)
    n_people, n_photos, n_samples = 20, 4, 60
    names = np.repeat([f"p{n:02}" for n in range(n_people)], n_photos)
    pairs = Pairs(names)
    kinds = [CLEAN, *DEGRADATIONS]

    def sample():
        centers = np.repeat(rng.normal(size=(n_people, D)), n_photos, axis=0)
        spread = np.repeat(rng.uniform(0.4, 1.2, n_people), n_photos)[:, None]
        found = []
        for factor in (1.0, 0.85):
            rows = centers + factor * spread * rng.normal(size=centers.shape)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            found.append(pairs.compare(rows.astype(np.float32)))
        return [dict.fromkeys(kinds, each) for each in found]

    truth = np.mean(
        [
            second[CLEAN].tar([0.1])[0] - first[CLEAN].tar([0.1])[0]
            for first, second in (sample() for _ in range(300))
        ]
    )
    held = 0
    for _ in range(n_samples):
        first, second = sample()
        found = changes(first, second, [0.1], n_people=n_people, resamples=100, seed=1)
        held += found[0].low <= truth <= found[0].high
    assert held >= 0.85 * n_samples


def test_all_kinds_are_embedded_once_and_the_mean_is_of_the_degraded_ones(people):
    crops = Crops(np.random.default_rng(0).integers(0, 256, (72, 112, 112, 3), np.uint8), people)
    copies = degraded_copies(crops, seed=5)
    assert list(copies) == [CLEAN, *DEGRADATIONS]
    again = degraded_copies(crops, seed=5)
    for kind, images in copies.items():
        np.testing.assert_array_equal(images, again[kind])

    def embed(images):
        rows = images.mean(axis=(1, 2)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rates = rates_of(compare_all(Pairs(people), embed, copies), [1e-1])
    assert rates[DEGRADED] == pytest.approx(np.mean([rates[kind] for kind in DEGRADATIONS]))


def test_rates_without_enough_pairs_are_left_out():
    few = Pairs(np.repeat(["a", "b", "c", "d"], 4))
    assert few.impostors == 96
    with pytest.raises(DataError, match="make 96 pairs of different people, 1000 are needed"):
        check_pairs(few)
    assert check_pairs(Pairs(np.repeat(["a", "b", "c", "d", "e", "f"], 10))) == (1e-2,)
    assert check_pairs(Pairs(np.repeat([f"{n}" for n in range(20)], 8))) == (1e-2, 1e-3)


GOOD = [
    *(Change(CLEAN, far, 0.97, 0.972, -0.004, 0.01) for far in (1e-2, 1e-3)),
    *(Change(kind, far, 0.8, 0.83, 0.01, 0.05) for kind in DEGRADATIONS for far in (1e-2, 1e-3)),
    *(Change(DEGRADED, far, 0.8, 0.83, 0.01, 0.05) for far in (1e-2, 1e-3)),
]


def changed(kind, far, **facts):
    return [replace(c, **facts) if (c.kind, c.far) == (kind, far) else c for c in GOOD]


def test_a_network_that_gains_and_loses_nothing_is_taken():
    assert why_refused(GOOD, tolerance=0.01) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (changed(CLEAN, 1e-2, low=-0.02), "a loss of more than 1 points cannot be excluded"),
        (changed(CLEAN, 1e-3, after=0.95), "a loss of more than 1 points cannot be excluded"),
        (changed(DEGRADED, 1e-2, low=-0.001), "no gain is certain"),
        (changed(DEGRADED, 1e-2, low=0.0), "no gain is certain"),
        (changed(DEGRADED, 1e-3, after=0.79), "no gain is certain"),
        (changed("blur", 1e-2, after=0.7, low=-0.2, high=-0.01), "a loss is certain"),
        (changed(CLEAN, 1e-2, low=float("nan")), "cannot be excluded"),
    ],
)
def test_a_network_that_lost_or_did_not_gain_is_refused(found, words):
    reason = why_refused(found, tolerance=0.01)
    assert words in reason
    assert "95 % interval" in reason


def test_the_tolerance_is_the_users():
    assert why_refused(changed(CLEAN, 1e-2, low=-0.02), tolerance=0.03) == ""
