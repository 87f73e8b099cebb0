import numpy as np
import pytest

from gallery import Identity, Match
from recognizer import Floats, Quality
from stream.frames import TrackState
from stream.recognition.track_memory import AGAIN_EVERY_S, MAX_SHOTS, Memory, Shot, shot_value
from stream.recognition.tracker import Tracked
from stream.recognition.voting import Voter
from tests.fakes import LANDMARKS, LIMITS, looks_like

SIZE = (480, 640)


def memory() -> Memory:
    return Memory(Voter(threshold=0.36, margin=0.05, limits=LIMITS))


def track(*, is_doubtful: bool = False) -> Tracked:
    box = np.array([100, 100, 200, 200], np.float32)
    points = np.asarray(box[:2] + LANDMARKS * 100, np.float32)
    return Tracked("1", box, points, 0.9, 0.0, 0.0, box, is_doubtful=is_doubtful)


def measured(quality: float) -> Quality:
    return Quality(120.0, 300.0, 0.0, 0.0, 0.0, 0.99, 0.5, quality)


def shot(quality: float) -> Shot:
    return Shot(
        np.full((112, 112, 3), int(quality * 100), np.uint8), looks_like(1), measured(quality)
    )


def face(size: float, *, nose: float = 0.5, x: float = 100) -> tuple[Floats, Floats]:
    box = np.array([x, 100, x + size, 100 + size], np.float32)
    points = LANDMARKS.copy()
    points[2, 0] = nose
    return box, np.asarray(box[:2] + points * size, np.float32)


@pytest.mark.parametrize(
    ("size", "nose", "x", "value"),
    [
        (100, 0.5, 100, 1.0),
        (60, 0.5, 100, 0.5),
        (20, 0.5, 100, 0.03),
        (16, 0.5, 100, 0.03),
        (15.9, 0.5, 100, 0.0),
        (100, 0.64, 100, 0.5),
        (100, 0.8, 100, 0.0),
        (100, 0.5, -50, 0.0),
        (100, 0.5, 580, 0.0),
        (0, 0.5, 100, 0.0),
    ],
    ids=[
        "best",
        "small",
        "far",
        "least",
        "tiny",
        "turned",
        "profile",
        "cut left",
        "cut right",
        "a point",
    ],
)
def test_a_shot_is_worth_its_size_and_pose(
    size: float, nose: float, x: float, value: float
) -> None:
    assert shot_value(*face(size, nose=nose, x=x), SIZE) == pytest.approx(value, abs=1e-5)


def test_a_new_face_is_most_urgent() -> None:
    assert memory().urgency(track(), 0.5, 0.0) == 0


def test_a_face_that_shows_nothing_waits() -> None:
    assert memory().urgency(track(), 0.0, 0.0) is None


def test_an_undecided_face_is_looked_at_again_soon_but_not_in_the_next_frame() -> None:
    remembered = memory()
    remembered.look(shot(0.5), 0.5, 0.0)
    assert remembered.urgency(track(), 0.5, 0.04) is None
    assert remembered.urgency(track(), 0.5, 0.08) == 1


@pytest.mark.parametrize("state", [TrackState.KNOWN, TrackState.UNKNOWN])
def test_a_decided_face_is_looked_at_when_better_doubtful_or_now_and_then(
    state: TrackState,
) -> None:
    remembered = memory()
    remembered.look(shot(0.5), 0.5, 0.0)
    remembered.voter.state = state
    assert remembered.urgency(track(), 0.5, 1.0) is None
    assert remembered.urgency(track(), 0.7, 1.0) == 2
    assert remembered.urgency(track(), 0.7, 0.2) is None, "better, but too soon"
    assert remembered.urgency(track(is_doubtful=True), 0.5, 1.0) == 1
    assert remembered.urgency(track(), 0.5, AGAIN_EVERY_S) == 3


def test_the_best_shots_are_kept_best_first() -> None:
    remembered = memory()
    assert remembered.shots == []
    for quality in (0.3, 0.9, 0.1, 0.5, 0.7):
        remembered.look(shot(quality), quality, 0.0)
    assert [kept.quality.overall for kept in remembered.shots] == [0.9, 0.7, 0.5][:MAX_SHOTS]


def test_shots_of_a_face_that_was_here_before_are_dropped() -> None:
    remembered = memory()
    for _ in range(4):
        remembered.look(shot(0.9), 0.9, 0.0)
    for number in range(3):
        other = Shot(np.zeros((112, 112, 3), np.uint8), looks_like(2, number), measured(0.4))
        remembered.look(other, 0.4, 1.0)
    assert {kept.quality.overall for kept in remembered.shots} == {0.4}
    assert all(float(kept.embedding @ looks_like(2)) > 0.5 for kept in remembered.shots)


def test_a_gallery_change_opens_whoever_was_looked_at() -> None:
    remembered = memory()
    remembered.gallery_changed()
    assert not remembered.is_open
    remembered.look(shot(0.5), 0.5, 0.0)
    remembered.voter.decide([[Match(Identity("a", "Ann"), 0.9)]] * 2)
    remembered.is_open = False
    remembered.gallery_changed()
    assert remembered.is_open
    assert len(remembered.voter.probes()) == 2
