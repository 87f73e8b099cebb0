import numpy as np
import pytest

from gallery import Identity, Match
from recognizer import Floats
from stream.frames import TrackState
from stream.recognition.voting import MAX_LOOKS, PATIENT_LOOKS, STRANGER_LOOKS, Voter
from tests.fakes import LIMITS, looks_like

ANN, BOB = Identity("id-ann", "Ann"), Identity("id-bob", "Bob")
THRESHOLD, MARGIN = 0.36, 0.05


class Poll:
    """A voter with a gallery of exact templates."""

    def __init__(self, **templates: Floats) -> None:
        self.voter = Voter(threshold=THRESHOLD, margin=MARGIN, limits=LIMITS)
        self.people = {"ann": ANN, "bob": BOB}
        self.templates = templates

    def look(self, embedding: Floats, weight: float = 0.8, at: float = 0.0) -> TrackState:
        self.voter.look(embedding, weight, at)
        return self.decide()

    def decide(self) -> TrackState:
        self.voter.decide([self.search(probe) for probe in self.voter.probes()])
        return self.voter.state

    def search(self, probe: Floats) -> list[Match]:
        ranked = [
            Match(self.people[key], float(probe @ template))
            for key, template in self.templates.items()
        ]
        return sorted(ranked, key=lambda match: -match.similarity)[:2]

    @property
    def name(self) -> str | None:
        return None if self.voter.match is None else self.voter.match.identity.name


def at_cosine(template: Floats, cosine: float, axis: int) -> Floats:
    """Return a unit vector with a cosine to a template, apart along a free axis."""
    away = np.zeros_like(template)
    away[axis] = 1.0
    away -= (away @ template) * template
    away /= np.linalg.norm(away)
    return np.asarray(cosine * template + np.sqrt(1 - cosine**2) * away, np.float32)


def axis(number: int) -> Floats:
    return np.asarray(np.eye(16)[number], np.float32)


def test_before_any_look_nothing_is_known() -> None:
    voter = Voter(threshold=THRESHOLD, margin=MARGIN, limits=LIMITS)
    assert (voter.state, voter.match, voter.template) == (TrackState.UNDECIDED, None, None)
    assert voter.probes().shape == (0, 0)


def test_the_template_is_the_weighted_mean_of_unit_length() -> None:
    voter = Voter(threshold=THRESHOLD, margin=MARGIN, limits=LIMITS)
    voter.look(axis(0), 0.9)
    voter.look(axis(1), 0.3)
    assert voter.template is not None
    np.testing.assert_allclose(
        voter.template, (0.9 * axis(0) + 0.3 * axis(1)) / np.hypot(0.9, 0.3), atol=1e-6
    )


def test_one_sure_look_names() -> None:
    poll = Poll(ann=axis(0), bob=axis(1))
    assert poll.look(at_cosine(axis(0), 0.6, 5)) is TrackState.KNOWN
    assert poll.name == "Ann"


@pytest.mark.parametrize(
    ("cosine", "weight"), [(0.45, 0.8), (0.6, 0.1)], ids=["near the threshold", "a poor picture"]
)
def test_a_doubtful_look_needs_a_second(cosine: float, weight: float) -> None:
    poll = Poll(ann=axis(0), bob=axis(1))
    assert poll.look(at_cosine(axis(0), cosine, 5), weight) is TrackState.UNDECIDED
    assert poll.look(at_cosine(axis(0), cosine, 6), weight) is TrackState.KNOWN
    assert poll.name == "Ann"


def test_the_similarity_is_the_pooled_one() -> None:
    poll = Poll(ann=axis(0))
    poll.look(at_cosine(axis(0), 0.5, 5))
    poll.look(at_cosine(axis(0), 0.5, 6))
    assert poll.voter.match is not None
    # Two embeddings with independent errors: (1 + 1) * 0.5 / |sum| = 1 / sqrt(2 + 2 * 0.25).
    assert poll.voter.match.similarity == pytest.approx(1 / np.sqrt(2.5), abs=1e-5)


def test_too_small_a_lead_names_nobody() -> None:
    between = np.asarray((axis(0) + axis(1)) / np.sqrt(2), np.float32)
    poll = Poll(ann=axis(0), bob=axis(1))
    for _ in range(PATIENT_LOOKS):
        state = poll.look(between)
        assert poll.name is None
    assert state is TrackState.UNKNOWN


def test_a_stranger_is_unknown_after_some_good_looks() -> None:
    poll = Poll(ann=axis(0))
    states = [poll.look(looks_like(3, i)) for i in range(STRANGER_LOOKS)]
    assert states == [*[TrackState.UNDECIDED] * (STRANGER_LOOKS - 1), TrackState.UNKNOWN]


def test_poor_looks_alone_take_longer_to_make_a_stranger() -> None:
    poll = Poll(ann=axis(0))
    states = [poll.look(looks_like(3, i), 0.05) for i in range(PATIENT_LOOKS)]
    assert states == [*[TrackState.UNDECIDED] * (PATIENT_LOOKS - 1), TrackState.UNKNOWN]


def test_an_empty_gallery_knows_nobody() -> None:
    poll = Poll()
    for i in range(STRANGER_LOOKS):
        state = poll.look(looks_like(3, i))
    assert state is TrackState.UNKNOWN


def test_a_name_survives_some_looks_below_the_threshold() -> None:
    poll = Poll(ann=axis(0))
    poll.look(at_cosine(axis(0), 0.6, 5))
    for number in (6, 7, 8):
        poll.look(at_cosine(axis(0), 0.25, number))
        assert poll.name == "Ann"


def test_a_name_ends_when_the_looks_speak_against_it() -> None:
    poll = Poll(ann=axis(0))
    poll.look(at_cosine(axis(0), 0.52, 5))
    assert poll.name == "Ann"
    for _ in range(MAX_LOOKS):
        # Similar to the first embedding, so that it is the same face, but not Ann.
        state = poll.look(at_cosine(axis(0), 0.2, 5))
    assert (state, poll.name) == (TrackState.UNKNOWN, None)


def test_a_name_that_only_one_look_bore_is_undecided_again_before_it_is_unknown() -> None:
    poll = Poll(ann=axis(0))
    poll.look(at_cosine(axis(0), 0.6, 5), 0.26)
    assert poll.look(at_cosine(axis(0), -0.1, 5), 1.0) is TrackState.UNDECIDED


def test_a_track_that_slips_to_another_face_is_named_anew_and_never_wrongly_long() -> None:
    poll = Poll(ann=axis(0), bob=axis(1))
    for number in (5, 6, 7, 8):
        poll.look(at_cosine(axis(0), 0.7, number))
    poll.look(at_cosine(axis(1), 0.7, 9))
    assert poll.name == "Ann"
    poll.look(at_cosine(axis(1), 0.7, 9))
    assert poll.name == "Bob"


def test_a_track_that_slips_to_a_stranger_loses_its_name_after_two_looks() -> None:
    poll = Poll(ann=axis(0))
    for number in (5, 6, 7, 8):
        poll.look(at_cosine(axis(0), 0.7, number))
    poll.look(looks_like(3, 0))
    assert poll.look(looks_like(3, 1)) is TrackState.UNDECIDED
    assert poll.look(looks_like(3, 2)) is TrackState.UNKNOWN


def test_votes_against_hold_a_name_back() -> None:
    poll = Poll(ann=axis(0), bob=axis(1))
    poll.look(at_cosine(axis(1), 0.45, 5), 0.3)
    poll.look(at_cosine(axis(0), 0.45, 5), 1.0)
    assert poll.look(at_cosine(axis(0), 0.45, 6), 1.0) is TrackState.KNOWN
    assert poll.name == "Ann"


def test_only_the_newest_looks_are_kept() -> None:
    poll = Poll(ann=axis(0))
    for i in range(3 * MAX_LOOKS):
        poll.look(looks_like(3, i))
    assert poll.voter.n_looks == MAX_LOOKS


def test_a_given_name_stays() -> None:
    poll = Poll()
    looks = [looks_like(3, i) for i in range(STRANGER_LOOKS)]
    for look in looks:
        poll.look(look, 0.1)
    poll.templates["bob"] = looks[0]
    poll.voter.assign(Match(BOB, 1.0))
    poll.voter.forget_candidates()
    assert poll.decide() is TrackState.KNOWN
    assert poll.name == "Bob"


def test_a_gallery_change_is_asked_with_all_looks() -> None:
    poll = Poll()
    for i in range(STRANGER_LOOKS):
        poll.look(looks_like(3, i))
    assert len(poll.voter.probes()) == 1
    poll.voter.forget_candidates()
    assert len(poll.voter.probes()) == STRANGER_LOOKS + 1
    poll.templates["ann"] = looks_like(3, 9)
    assert poll.decide() is TrackState.KNOWN
    del poll.templates["ann"]
    poll.voter.forget_candidates()
    assert poll.decide() is TrackState.UNKNOWN


def test_a_renamed_person_is_shown_by_the_new_name() -> None:
    poll = Poll(ann=axis(0))
    poll.look(at_cosine(axis(0), 0.7, 5))
    poll.people["ann"] = Identity("id-ann", "Anna")
    poll.voter.forget_candidates()
    poll.decide()
    assert poll.name == "Anna"


def test_answers_must_fit_the_probes() -> None:
    voter = Voter(threshold=THRESHOLD, margin=MARGIN, limits=LIMITS)
    voter.look(axis(0), 1.0)
    with pytest.raises(ValueError, match="expected 2 answers, got 1"):
        voter.decide([[]])


@pytest.mark.parametrize(
    ("weight", "every_s", "state"),
    [
        (0.1, 0.08, TrackState.UNDECIDED),
        (0.1, 0.25, TrackState.UNKNOWN),
        (0.01, 0.25, TrackState.UNDECIDED),  # in the dark
    ],
)
def test_a_few_looks_that_are_not_good_nor_of_one_moment_are_enough_for_a_stranger(
    weight: float, every_s: float, state: TrackState
) -> None:
    poll = Poll(ann=axis(0))
    for number in range(STRANGER_LOOKS - 1):
        assert poll.look(axis(5), weight, every_s * number) is TrackState.UNDECIDED
    assert poll.look(axis(5), weight, every_s * (STRANGER_LOOKS - 1)) is state


def test_poor_looks_near_to_a_person_are_waited_for_however_long_they_take() -> None:
    poll = Poll(ann=axis(0))
    for number in range(PATIENT_LOOKS - 1):
        near = at_cosine(axis(0), THRESHOLD - 0.02, 5)
        assert poll.look(near, 0.1, 0.5 * number) is TrackState.UNDECIDED


def in_part(poll: Poll, embedding: Floats) -> TrackState:
    """Look, while a part of the people is not searched."""
    poll.voter.look(embedding, 0.8)
    found = [poll.search(probe) for probe in poll.voter.probes()]
    poll.voter.decide(found, is_whole=False)
    return poll.voter.state


def test_nobody_is_a_stranger_to_a_part_of_the_people() -> None:
    poll = Poll(ann=axis(0))
    for _ in range(MAX_LOOKS):
        assert in_part(poll, axis(5)) is TrackState.UNDECIDED
    assert len(poll.voter.probes()) == MAX_LOOKS + 1  # all are searched again
    assert poll.decide() is TrackState.UNKNOWN


def test_a_part_of_the_people_takes_no_name_away() -> None:
    poll = Poll(ann=axis(0), bob=axis(1))
    assert poll.look(axis(0)) is TrackState.KNOWN
    poll.templates = {"bob": at_cosine(axis(0), 0.5, 1)}  # Ann's shard is away
    for _ in range(MAX_LOOKS):
        assert in_part(poll, axis(0)) is TrackState.KNOWN
        assert poll.name == "Ann"


def test_people_of_the_part_that_is_searched_are_named() -> None:
    poll = Poll(ann=axis(0))
    assert in_part(poll, axis(0)) is TrackState.KNOWN
    assert poll.name == "Ann"
