import numpy as np

from recognizer import Quality
from stream.frames import CORE_S, CORE_SHOTS
from stream.recognition.gathering import MAX_BESIDE, MAX_EXEMPLARS, Gathered
from stream.recognition.track_memory import Memory, Shot
from stream.recognition.tracker import Tracked
from stream.recognition.voting import Voter
from tests.fakes import LIMITS, looks_like

BOX = np.array([100, 100, 180, 200], np.float32)


def gathered() -> Gathered:
    return Gathered(Tracked("run-3", BOX, np.zeros((5, 2), np.float32), 0.9, 1.0, 9.0, BOX))


def shot(
    person: int = 1,
    variant: int = 0,
    *,
    quality: float = 0.8,
    size: float = 80.0,
    score: float = 0.99,
) -> Shot:
    measured = Quality(size, 60.0, 0.0, 0.0, 0.0, score, 0.5, quality)
    return Shot(np.zeros((112, 112, 3), np.uint8), looks_like(person, variant), measured)


def memory_of(*shots: Shot) -> Memory:
    memory = Memory(Voter(threshold=0.36, margin=0.05, limits=LIMITS))
    for number, each in enumerate(shots):
        memory.look(each, 1.0, float(number))
    return memory


def test_a_face_that_was_never_embedded_has_no_sighting() -> None:
    track = gathered()
    assert track.template is None
    assert not track.is_due(1.0)
    assert track.report(memory_of(), camera="door", at=2.0, is_over=True) is None


def test_the_template_is_the_mean_of_the_good_embeddings_by_quality() -> None:
    track = gathered()
    good, better, poor = (
        shot(1, 0, quality=0.4),
        shot(1, 1, quality=0.8),
        shot(2, 0, quality=0.1),
    )
    for each in (good, better, poor):
        track.add(each, 1.0, is_other=False)
    mean = 0.4 * good.embedding + 0.8 * better.embedding
    assert track.template is not None
    np.testing.assert_allclose(track.template, mean / np.linalg.norm(mean), atol=1e-6)
    assert track.n_good == 2


def test_only_poor_embeddings_are_better_than_none() -> None:
    track = gathered()
    track.add(shot(quality=0.1, size=30.0), 1.0, is_other=False)
    assert (track.n_good, track.face_px) == (0, 30.0)
    sighting = track.report(memory_of(shot(quality=0.1)), camera="door", at=2.0, is_over=False)
    assert sighting is not None
    assert sighting.exemplars.shape == (1, len(looks_like(1)))


def test_poor_shots_that_may_show_no_face_or_another_one_are_left_out() -> None:
    track = gathered()
    kept = [shot(1, number, quality=0.01) for number in range(3)]
    track.add(shot(2, quality=0.01, score=0.5), 0.0, is_other=False)
    assert track.template is not None
    assert track.n_shots == 0
    for each in kept:
        track.add(each, 1.0, is_other=False)
        track.add(shot(3, quality=0.01, size=200.0), 1.0, is_other=False)
        track.add(shot(1, 9, quality=0.01, score=0.5), 1.0, is_other=False)
    mean = np.sum([each.embedding for each in kept], axis=0)
    np.testing.assert_allclose(track.template, mean / np.linalg.norm(mean), atol=1e-6)
    assert (track.n_shots, track.face_px) == (3, 80.0)


def test_exemplars_differ_and_the_poorer_of_a_pair_goes() -> None:
    track = gathered()
    kept = [shot(1, 0, quality=0.9), shot(2, 0, quality=0.5), shot(3, 0, quality=0.5)]
    same_again = Shot(kept[0].crop, kept[0].embedding, shot(quality=0.6).quality)
    for each in (same_again, *kept):
        track.add(each, 1.0, is_other=False)
    sighting = track.report(memory_of(kept[0]), camera="door", at=2.0, is_over=False)
    assert sighting is not None
    assert len(sighting.exemplars) == MAX_EXEMPLARS
    alike = sighting.exemplars @ np.stack([each.embedding for each in kept]).T
    assert sorted(alike.argmax(axis=1).tolist()) == [0, 1, 2]


def test_another_face_begins_anew() -> None:
    track = gathered()
    track.add(shot(1), 1.0, is_other=False)
    track.add(shot(2), 2.0, is_other=True)
    assert track.n_good == 1
    assert track.template is not None
    np.testing.assert_allclose(track.template, looks_like(2), atol=1e-6)


def test_a_track_is_reported_once_for_each_thing_that_is_new() -> None:
    track, memory = gathered(), memory_of(shot())
    track.add(shot(), 0.0, is_other=False)
    assert track.is_due(0.0)
    track.report(memory, camera="door", at=0.0, is_over=False)
    assert not track.is_due(100.0)
    for number in range(1, CORE_SHOTS):
        track.add(shot(1, number), CORE_S * number / (CORE_SHOTS - 1), is_other=False)
    assert track.is_core
    assert track.is_due(CORE_S)
    track.report(memory, camera="door", at=CORE_S, is_over=False)
    track.add(shot(), 3.0, is_other=False)
    assert not track.is_due(3.0)
    assert track.is_due(40.0)


def test_tracks_that_share_frames_are_beside_one_another() -> None:
    track = gathered()
    track.add(shot(), 1.0, is_other=False)
    for others in ({"run-4", "run-5"}, {"run-4"}, {"run-4"}):
        track.see_beside(others)
    sighting = track.report(memory_of(shot()), camera="door", at=2.0, is_over=True)
    assert sighting is not None
    assert sighting.beside == {"run-4"}
    assert (sighting.began, sighting.ended, sighting.is_over) == (1.0, 9.0, True)


def test_a_track_that_stays_for_weeks_forgets_whom_it_met_first() -> None:
    track = gathered()
    for number in range(2 * MAX_BESIDE):
        track.see_beside({f"run-{number}"})
    assert list(track.beside) == [f"run-{n}" for n in range(MAX_BESIDE, 2 * MAX_BESIDE)]
