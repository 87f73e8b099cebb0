import math

import numpy as np
import pytest

from gallery import GalleryError, NewPhoto
from gallery.calibration import MIN_FALSE_ACCEPTS, calibrate, choose, finest_far, interval
from gallery.thresholds import PER_DECADE
from tests.unit.gallery.conftest import people

pytestmark = pytest.mark.on_disk  # what is computed does not depend on the store


def test_each_photo_is_compared_as_if_it_were_not_enrolled(few):
    result = calibrate(few, far=0.2)
    rows = {s.identity.name: few.photos.embeddings(s.identity.name) for s in few.people.summaries()}
    genuine, impostor = [], []
    for name, own in rows.items():
        for i, row in enumerate(own):
            genuine.append(max(float(row @ o) for j, o in enumerate(own) if j != i))
            impostor += [float((o @ row).max()) for n, o in rows.items() if n != name]
    np.testing.assert_allclose(result.genuine, sorted(genuine), atol=1e-6)
    np.testing.assert_allclose(result.impostor, sorted(impostor), atol=1e-6)
    assert (result.n_people, result.n_photos) == (5, 20)
    assert len(result.impostor) == 80


def test_the_threshold_gives_the_wanted_rate(places):
    with people(places("p"), 40, 3, spread=0.08) as gallery:
        result = calibrate(gallery, far=0.01)
        assert 0 < (result.impostor >= result.threshold).mean() <= 0.01
        # One representable step less would accept one more.
        lower = np.nextafter(np.float32(result.threshold), np.float32(-1))
        assert (result.impostor >= lower).sum() == math.floor(0.01 * len(result.impostor)) + 1
        assert result.threshold_low <= result.threshold <= result.threshold_high
        assert result.tar == (result.genuine >= result.threshold).mean()


def test_a_stranger_is_named_where_the_nearest_other_person_reaches_the_threshold(places):
    with people(places("p"), 40, 3, spread=0.08) as gallery:
        result = calibrate(gallery, far=0.01)
        named = 0
        for summary in gallery.people.summaries():
            rest = [
                gallery.photos.embeddings(s.identity.name)
                for s in gallery.people.summaries()
                if s.identity != summary.identity
            ]
            similarities = gallery.photos.embeddings(summary.identity.name) @ np.concatenate(rest).T
            named += int((similarities.max(axis=1) >= result.threshold).sum())
        assert result.stranger_rate == pytest.approx(named / 120, abs=1 / 120)
        assert result.stranger_rate > result.far


def test_a_chosen_threshold_rises_with_a_growing_gallery(places):
    with people(places("p"), 10, 2) as gallery:
        result = calibrate(gallery, far=0.1)
        choose(gallery, result)
        assert gallery.threshold_for(0.358) == result.threshold
        rng = np.random.default_rng(5)
        for i in range(90):
            embedding = rng.standard_normal(gallery.embedding_size).astype(np.float32)
            gallery.photos.add(f"New {i}", [NewPhoto(embedding, None, f"{i:064x}", 0.5)])
        assert gallery.threshold_for(0.358) == pytest.approx(result.threshold + PER_DECADE)


def test_among_many_people_only_the_unexpectedly_alike_are_listed(places):
    with people(places("p"), 200, 1) as gallery:
        result = calibrate(gallery, far=0.02)
    assert (result.impostor >= result.threshold).sum() > 700
    assert len(result.alike) <= 5


def test_one_person_enrolled_twice_is_listed_first(few):
    double = few.photos.embeddings("Pérson 2")[0] + np.float32(0.02)
    few.photos.add("Dóuble", [NewPhoto(double, None, "f" * 64, 0.5)])
    [first, *_] = calibrate(few, far=0.15).alike
    assert {first.name_a, first.name_b} == {"Dóuble", "Pérson 2"}
    assert first.similarity > 0.9


def test_a_large_gallery_measures_some_pairs_and_looks_for_alike_ones_with_more(few, monkeypatch):
    whole = calibrate(few, far=0.15)
    monkeypatch.setattr("gallery.calibration.MAX_PAIRS", 55)
    monkeypatch.setattr("gallery.calibration.CHUNK", 60)
    some = calibrate(few, far=0.25)
    assert some.n_photos == 55 // 5
    assert len(some.impostor) == some.n_photos * 4
    assert len(some.genuine) == some.n_photos
    # not to the last bit: how a product is summed depends on its matrices' sizes
    assert np.abs(some.impostor[:, None] - whole.impostor).min(axis=1).max() < 1e-6
    # The nearest other person is searched among everybody, not only among those measured.
    assert some.alike[0] == whole.alike[0]


@pytest.mark.parametrize(
    ("n_people", "n_photos", "message"),
    [
        (0, 0, "this gallery has 0: none can be measured"),
        (1, 5, "this gallery has 0: none can be measured"),
        (3, 1, "this gallery has 6: none can be measured"),
        (5, 4, "needs 10000 pairs of different people, this gallery has 80: a rate of 0.13 can"),
    ],
)
def test_a_rate_that_cannot_be_measured_is_refused(places, n_people, n_photos, message):
    with people(places("p"), n_people, n_photos) as gallery, pytest.raises(GalleryError) as caught:
        calibrate(gallery, far=1e-3)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("n_pairs", "far"), [(970, 0.011), (80, 0.13), (1000, 0.01), (10**7, 1e-6)]
)
def test_the_rate_that_is_advised_can_be_measured(n_pairs, far):
    assert finest_far(n_pairs) == far
    assert n_pairs * far >= MIN_FALSE_ACCEPTS * (1 - 1e-9)


def test_people_with_one_photo_each_have_no_genuine_similarity(places):
    with people(places("p"), 20, 1) as gallery:
        result = calibrate(gallery, far=0.05)
    assert len(result.genuine) == 0
    assert math.isnan(result.tar)


@pytest.mark.parametrize(
    ("n", "rate", "expected"),
    [(100, 0.1, (5, 16)), (1000, 0.01, (4, 17)), (20, 0.5, (6, 14)), (10**7, 1e-3, (9805, 10196))],
)
def test_the_interval_is_the_binomials(n, rate, expected):
    assert interval(n, rate) == expected
