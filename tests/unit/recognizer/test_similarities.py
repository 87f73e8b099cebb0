"""Working numbers follow from a model's own similarities; those of SFace are what they were."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from gallery import naming_threshold
from recognizer.card import ModelCard, card_from, similarities_from
from recognizer.errors import ModelCardError
from recognizer.models.manifest import read_manifest
from recognizer.similarities import (
    CAUTIOUS,
    MIN_IMPOSTORS,
    Similarities,
    assumed,
    derive,
    measured,
    measured_on_people,
)


def sface() -> ModelCard:
    return card_from({"source": "", "licence": "", **read_manifest()["sface"].card}, name="sface")


def normal(mean: float, std: float, n: int) -> np.ndarray:
    """Return n similarities that are spread as a normal distribution is."""
    from statistics import NormalDist

    quantiles = [NormalDist(mean, std).inv_cdf((i + 0.5) / n) for i in range(n)]
    return np.clip(quantiles, -1, 1)


def test_the_numbers_of_sface_are_those_that_were_measured_for_it():
    limits = asdict(sface().limits)
    assert limits == {
        "is_measured": True,
        "pair": 0.358,
        "caution": 0.02,
        "per_decade": 0.055,
        "most_raised": 0.14,
        "margin": 0.05,
        "sure_lead": 0.14,
        "hysteresis": 0.08,
        "contradiction": 0.3,
        "same_face": 0.36,
        "min_own": 0.3,
        "max_other": 0.5,
        "most_similar": 0.9,
        "min_mirror": 0.942,
    }


def test_a_limit_for_mirror_images_follows_from_good_photos():
    genuine, impostor = normal(0.6, 0.1, 100), normal(0.1, 0.1, 1000)
    mirror = 1 - np.linspace(0.02, 0.12, 101)
    limits = derive(measured(genuine, impostor, mirror))
    assert limits.min_mirror == pytest.approx(1 - 1.16 * 0.119, abs=1e-3)
    for too_few in (None, mirror[:99]):
        assert derive(measured(genuine, impostor, too_few)).min_mirror == -1
    assert derive(measured(genuine, impostor, -np.ones(100))).min_mirror == -1


@pytest.mark.parametrize(("n_people", "expected"), [(0, 0.5), (100, 0.5), (10_000, 0.61)])
def test_among_more_people_it_takes_more_to_look_like_another(n_people, expected):
    assert sface().limits.other_among(n_people) == pytest.approx(expected)


def test_every_number_moves_with_the_distribution():
    """The same model with similarities half as far from 1 has every limit half as far from it."""
    wide = derive(measured(normal(0.6, 0.1, 2000), normal(0.1, 0.1, 100_000)))
    narrow = derive(measured(normal(0.8, 0.05, 2000), normal(0.55, 0.05, 100_000)))
    for name in ("pair", "contradiction", "same_face", "min_own", "max_other", "most_similar"):
        expected = 1 - (1 - getattr(wide, name)) / 2
        assert getattr(narrow, name) == pytest.approx(expected, abs=0.004), name
    for name in ("per_decade", "most_raised", "margin", "sure_lead", "hysteresis"):
        assert getattr(narrow, name) == pytest.approx(getattr(wide, name) / 2, abs=0.004), name


@pytest.mark.parametrize("n", [30, 300, 3000, 30_000])
def test_few_pairs_make_no_optimists(n: int):
    """What is extrapolated lies above the truth, the closer the more pairs there are."""
    truth = derive(measured(normal(0.6, 0.1, 100), normal(0.1, 0.1, 1_000_000)))
    few = derive(measured(normal(0.6, 0.1, 100), normal(0.1, 0.1, n)))
    assert few.pair >= truth.pair - 0.003
    assert few.pair + few.most_raised >= truth.pair + truth.most_raised - 0.003
    assert few.pair <= truth.pair + 0.65 / math.sqrt(n)


def test_a_model_that_tells_nobody_apart_names_nobody():
    limits = derive(measured(normal(0.5, 0.25, 500), normal(0.5, 0.25, 500)))
    assert limits.pair + limits.most_raised == 1.0
    assert limits.min_own < 0.1  # a check that would refuse half of the right photos is none


@pytest.mark.parametrize("value", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("pair", [None, 0.3])
def test_a_model_with_one_embedding_for_everybody_names_nobody(value, pair):
    limits = derive(measured(np.full(20, value), np.full(20, value)), pair=pair)
    assert naming_threshold(limits.pair, 1, limits) >= limits.pair > 1 + 1e-4


def test_where_all_faces_are_similar_the_numbers_are_finer():
    """Ten times narrower than SFace's, all above 0.98: rounding to 0.001 would hide differences."""
    limits = derive(measured(normal(0.998, 0.0005, 500), normal(0.988, 0.002, 100_000)))
    assert 0.9941 < limits.pair < 0.9943
    assert 0.0011 < limits.per_decade < 0.0013


@pytest.mark.parametrize("far", [0.5, 0.1, 0.03, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("found", [sface().similarities, CAUTIOUS, assumed(0.9, 0.1)])
def test_rarer_is_never_less_similar(found: Similarities, far: float):
    assert -1 <= found.reached(far) <= found.reached(far / 2) <= 1


def test_all_pairs_of_photos_are_compared_once():
    rows = np.eye(4, dtype=np.float32)
    rows[1] = rows[0]
    genuine, impostor = measured_on_people(rows, ["Ada", "Ada", "Bob", "Cy"])
    assert genuine.tolist() == [1.0]
    assert impostor.tolist() == [0.0] * 5


@pytest.mark.parametrize("n", [0, 1, MIN_IMPOSTORS - 1])
def test_too_few_pairs_measure_nothing(n: int):
    with pytest.raises(ValueError, match=f"{n} pairs of different people are too few"):
        measured(np.zeros(5), np.zeros(n))


def test_without_pairs_of_one_person_there_is_still_a_limit():
    limits = derive(measured(np.empty(0), normal(0.1, 0.1, 1000)))
    assert limits.min_own == limits.contradiction
    assert limits.most_similar == 0.9


def test_a_card_without_measurement_gets_cautious_numbers():
    limits = replace(sface(), similarities=None, threshold=0.38, far=0.0).limits
    assert not limits.is_measured
    known = sface().limits
    assert limits.pair > known.pair + known.caution
    assert limits.pair + limits.most_raised > known.pair + known.most_raised
    assert limits.same_face > known.same_face


def test_a_threshold_stated_at_a_coarse_rate_is_raised():
    """A card of a weak model that was measured on 300 pairs, at FAR 0.1."""
    limits = replace(sface(), similarities=None, threshold=0.354, far=0.1).limits
    assert limits.pair > 0.5


def test_a_threshold_stated_at_a_fine_rate_is_kept():
    assert replace(sface(), similarities=None).limits.pair == 0.358


def test_a_card_keeps_what_was_measured_through_its_file():
    card = sface()
    facts = json.loads(json.dumps(asdict(card)))
    name = facts.pop("name")
    assert card_from(facts, name=name) == card


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"impostor_std": -1}, "must not be negative"),
        ({"impostor_mean": 7}, r"must be in \[-1, 1\]"),
        ({"impostor_mean": math.nan}, r"must be in \[-1, 1\]"),
        ({"impostor_at_far": [[0.1, 0.5], [0.01, 0.4]]}, "rising similarities"),
        ({"impostor_at_far": [[0.01, 0.4], [0.1, 0.5]]}, "falling rates"),
        ({"impostor_at_far": [[0, 0.4]]}, r"a rate in \(0, 1\)"),
        ({"impostor_at_far": [[0.1]]}, "similarities"),
        ({"impostor_at_far": 5}, "similarities"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_damaged_measurement_is_refused(wrong, message):
    facts = {"impostors": 10, "impostor_mean": 0.1, "impostor_std": 0.1, **wrong}
    with pytest.raises(ValueError, match=message):
        similarities_from(facts)
    card = {"source": "", "licence": "", **read_manifest()["sface"].card, "similarities": facts}
    with pytest.raises(ModelCardError, match="model card of toy"):
        card_from(card, name="toy")
