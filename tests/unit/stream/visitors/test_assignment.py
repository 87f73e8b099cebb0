import numpy as np
import pytest

from stream.visitors.assignment import (
    KNOWN_TEMPLATES,
    LEAST_COUNTED,
    MAX_EXEMPLARS,
    MIN_COHORT,
    MIN_SHOTS,
    RIVALS,
    JoinLimits,
    Tracklet,
    Visitors,
)

LIMITS = JoinLimits(pair=0.38, per_decade=0.055, margin=0.05)
D = 128


def unit(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def people(n, *, seed=0):
    return [unit(row) for row in np.random.default_rng(seed).normal(size=(n, D))]


def seen(person, rng, *, cosine=0.8, n_shots=8):
    """A track whose template has that cosine with its person."""
    other = rng.normal(size=D)
    other = unit(other - (other @ person) * person)
    return Tracklet(unit(cosine * person + np.sqrt(1 - cosine**2) * other), n_shots)


def labels_of(tracks, order):
    visitors = Visitors(LIMITS, D)
    labels = {}
    for number in order:
        labels[number] = visitors.assign(int(number), tracks[number]).visitor
    return np.array([labels[number] for number in range(len(tracks))])


def test_each_person_is_one_visitor_in_any_order_of_the_tracks():
    rng = np.random.default_rng(1)
    persons = people(60)
    whose = np.repeat(np.arange(60), 8)
    tracks = [seen(persons[person], rng, cosine=0.85) for person in whose]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(tracks))
        labels = labels_of(tracks, order)
        together = labels[:, None] == labels
        is_same = whose[:, None] == whose
        assert not (together & ~is_same).any()
        assert len(set(labels)) <= 1.02 * 60
        assert (together & is_same).sum() >= 0.98 * is_same.sum()


def test_a_track_with_too_few_shots_is_no_visitor():
    visitors = Visitors(LIMITS, D)
    found = visitors.assign(1, Tracklet(people(1)[0], MIN_SHOTS - 1))
    assert found.visitor is None
    assert len(visitors) == 0


def test_two_people_in_view_together_are_never_one_visitor():
    visitors = Visitors(LIMITS, D)
    rng = np.random.default_rng(2)
    (person,) = people(1)
    one = visitors.assign(1, seen(person, rng, cosine=0.95)).visitor
    assert one is not None
    twin = visitors.assign(2, seen(person, rng, cosine=0.95), beside=[one])
    assert twin.is_new
    assert twin.visitor is not None
    assert twin.visitor != one
    assert twin.maybe == ()
    assert visitors.are_apart(one, twin.visitor)
    assert visitors.proposals() == []


def test_what_is_nearly_similar_enough_is_proposed_and_not_joined():
    visitors = Visitors(LIMITS, D)
    (person,) = people(1)
    other = unit(np.eye(D)[0] - person[0] * person)
    visitors.assign(1, Tracklet(person, 8))
    cosine = visitors.join - 0.03
    near = unit(cosine * person + np.sqrt(1 - cosine**2) * other)
    found = visitors.assign(2, Tracklet(near, 8))
    assert found.is_new
    assert [visitor for visitor, _ in found.maybe] == [1]
    assert visitors.proposals() == [(1, 2, pytest.approx(cosine, abs=1e-5))]


def test_a_track_between_two_visitors_joins_neither():
    visitors = Visitors(LIMITS, D)
    first, second = np.eye(D, dtype=np.float32)[:2]
    visitors.assign(1, Tracklet(first, 8))
    visitors.assign(2, Tracklet(second, 8))
    between = visitors.assign(3, Tracklet(unit(first + second), 8))
    assert between.is_new


def test_a_visitor_keeps_its_most_different_templates():
    visitors = Visitors(LIMITS, D)
    rng = np.random.default_rng(3)
    (person,) = people(1)
    visitors.add(1, {0: seen(person, rng, cosine=0.7).template})
    for track in range(1, 40):
        visitors.add(1, {track: person})
    kept = visitors.exemplars(1)
    assert len(kept) == MAX_EXEMPLARS
    assert 0 in kept


def test_a_track_that_fits_few_of_a_visitors_templates_does_not_join_it():
    visitors = Visitors(LIMITS, D)
    # a visitor that is too wide already: its templates have nothing in common
    visitors.add(1, dict(enumerate(people(MAX_EXEMPLARS))))
    found = visitors.assign(50, Tracklet(unit(sum(people(MAX_EXEMPLARS)[:2])), 8))
    assert found.is_new


@pytest.mark.parametrize(
    ("n", "spread", "is_one"),
    [
        (1, 0.5, False),
        (2, 0.5, False),
        (8, 0.5, True),
        (8, 0.1, False),  # nothing says that either is ever seen otherwise
    ],
)
def test_fragments_of_many_templates_are_one_at_a_lower_average(n, spread, is_one):
    one, aside = np.eye(D, dtype=np.float32)[:2]
    average = LIMITS.join(2) - 0.05  # of all pairs: those of single templates are not one
    cosine = average * (1 + spread**2)
    middles = one, unit(cosine * one + np.sqrt(1 - cosine**2) * aside)
    visitors = Visitors(LIMITS, D)
    for key, middle in enumerate(middles, start=1):
        templates = {}
        for track in range(n):
            axis = np.eye(D, dtype=np.float32)[20 * key + track]
            templates[100 * key + track] = unit(middle + spread * axis)
        visitors.add(key, templates)
    sure, maybe = visitors.alike(1)
    assert sure == ([2] if is_one else [])
    assert [visitor for visitor, _ in maybe] == ([] if is_one else [2])
    visitors.keep_apart(1, 2)
    assert visitors.alike(1) == ([], [])


def mixed(person, cosine, aside):
    """A template with that cosine with a person."""
    return unit(cosine * person + np.sqrt(1 - cosine**2) * aside)


def among_strangers(person, *, n_templates, similar=()):
    """Visitor 1, seen as often as that, among others; some are similar to a direction."""
    axes = np.eye(D, dtype=np.float32)
    visitors = Visitors(LIMITS, D)
    visitors.add(1, {track: mixed(person, 0.95, axes[20 + track]) for track in range(n_templates)})
    for key in range(2, 2 + MIN_COHORT):
        visitors.add(key, {100 + key: axes[40 + key]})
    for key, template in enumerate(similar, start=100):
        visitors.add(key, {100 + key: template})
    return visitors


@pytest.mark.parametrize(
    ("n_templates", "n_rivals", "joins"),
    [(KNOWN_TEMPLATES, 0, True), (1, 0, False), (KNOWN_TEMPLATES, RIVALS, False)],
)
def test_a_track_that_resembles_nobody_else_joins_who_is_known_at_a_lower_similarity(
    n_templates, n_rivals, joins
):
    axes = np.eye(D, dtype=np.float32)
    person = axes[0]
    track = mixed(person, 0.48, axes[1])
    similar = [mixed(track, 0.38, axes[80 + rival]) for rival in range(n_rivals)]
    visitors = among_strangers(person, n_templates=n_templates, similar=similar)
    found = visitors.assign(500, Tracklet(track, 8))
    assert found.is_new is not joins
    assert (found.visitor == 1) is joins


def test_a_track_that_resembles_many_needs_more_than_the_threshold():
    axes = np.eye(D, dtype=np.float32)
    person = axes[0]
    track = mixed(person, 0.56, axes[1])
    similar = [mixed(track, 0.45, axes[80 + rival]) for rival in range(RIVALS)]
    alone = among_strangers(person, n_templates=KNOWN_TEMPLATES)
    assert alone.find(Tracklet(track, 8)) == 1
    assert (
        among_strangers(person, n_templates=KNOWN_TEMPLATES, similar=similar).find(
            Tracklet(track, 8)
        )
        is None
    )


@pytest.mark.parametrize("n_rivals", [0, RIVALS])
def test_fragments_whose_means_are_as_similar_to_others_are_not_one(n_rivals):
    axes = np.eye(D, dtype=np.float32)
    one, other = axes[0], mixed(axes[0], 0.57, axes[1])
    between = unit(one + other)
    similar = [mixed(between, 0.5, axes[80 + rival]) for rival in range(n_rivals)]
    visitors = among_strangers(one, n_templates=1, similar=similar)
    visitors.drop(1)
    for key, middle, first in ((1, one, 4), (70, other, 20)):
        templates = {
            10 * key + track: mixed(middle, 0.85, axes[first + track]) for track in range(8)
        }
        visitors.add(key, templates)
    sure, _ = visitors.alike(1)
    assert sure == ([] if n_rivals else [70])


def test_two_fragments_of_one_person_do_not_keep_a_track_from_joining():
    visitors = Visitors(LIMITS, D)
    one, aside = np.eye(D, dtype=np.float32)[:2]
    cosine = visitors.join - 0.05
    visitors.add(1, {1: one})
    visitors.add(2, {2: unit(cosine * one + np.sqrt(1 - cosine**2) * aside)})
    between = unit(one + visitors.exemplars(2)[2])
    joined = visitors.assign(3, Tracklet(between, 8))
    assert joined.visitor in (1, 2)
    assert not joined.is_new


def test_a_track_that_may_not_found_a_visitor_joins_one_or_none():
    visitors = Visitors(LIMITS, D)
    one, other = people(2)
    assert visitors.assign(1, Tracklet(one, 8), may_found=False).visitor is None
    assert len(visitors) == 0
    found = visitors.assign(2, Tracklet(one, 8))
    assert visitors.assign(3, Tracklet(one, 4), may_found=False).visitor == found.visitor
    assert visitors.assign(4, Tracklet(other, 4), may_found=False).visitor is None
    assert visitors.keys == (found.visitor,)


def test_dropping_a_visitor_leaves_the_others_as_they_were():
    visitors = Visitors(LIMITS, D)
    persons = people(300)
    for key, person in enumerate(persons, 1):
        visitors.add(key, {key: person})
    for key in range(1, 300, 2):
        visitors.drop(key)
    visitors.drop_track(2, 2)
    assert len(visitors) == 149
    for key in visitors.keys:
        best, similarity = visitors.similar(Tracklet(persons[key - 1], 8))[0]
        assert best == key
        assert similarity == pytest.approx(1, abs=1e-5)


def test_the_threshold_grows_with_the_number_of_visitors():
    assert LIMITS.join(20_000) > LIMITS.join(1000) > 0.38


def test_few_visitors_have_the_threshold_of_many():
    assert LIMITS.join(0) == LIMITS.join(LEAST_COUNTED)


def test_the_most_similar_of_many_are_found():
    visitors, rng = Visitors(LIMITS, D), np.random.default_rng(5)
    rows = people(600)
    for number, person in enumerate(rows, start=1):
        visitors.add(number, {number: person})
    for person in (*rows[:5], unit(rng.normal(size=D)), -rows[0]):
        track = seen(person, rng)
        found = visitors.similar(track, beside={3})
        cosines = {n: float(row @ track.template) for n, row in enumerate(rows, 1) if n != 3}
        best = sorted(cosines, key=cosines.__getitem__, reverse=True)[: len(found)]
        assert [number for number, _ in found] == best
        assert len(found) >= 16
