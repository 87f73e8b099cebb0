import numpy as np
import pytest

from recognizer import Detections, Quality
from stream.enrollment.photo_checks import (
    EnrolLimits,
    Reason,
    choose_face,
    own_similarities,
    quality_fault,
    wanted_face,
)


def quality(**changes: float) -> Quality:
    good = {
        "size_px": 90.0,
        "sharpness": 150.0,
        "yaw": 5.0,
        "pitch": 5.0,
        "roll": 0.0,
        "score": 1.0,
        "brightness": 0.5,
        "overall": 0.8,
    }
    return Quality(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"size_px": 31.0}, Reason.TOO_SMALL),
        ({"brightness": 0.05}, Reason.TOO_DARK),
        ({"yaw": -70.0}, Reason.TURNED_AWAY),
        ({"pitch": 70.0}, Reason.TURNED_AWAY),
        ({"sharpness": 3.0}, Reason.BLURRED),
    ],
)
def test_each_fault_of_a_face_has_its_reason(changes, reason):
    fault = quality_fault(quality(**changes), EnrolLimits())
    assert (fault and fault[0]) == reason


def test_limits_can_be_loosened():
    assert quality_fault(quality(size_px=31.0), EnrolLimits(min_size_px=30)) is None


def directions(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


SIZE = (250, 250)
MIDDLE, BESIDE, SMALL = (80, 75, 170, 175), (0, 60, 100, 180), (110, 110, 140, 140)
HUGE = (0, 0, 160, 200)  # 1.8 times as large as the one in the middle
LARGER = (0, 90, 148, 240)  # 1.6 times: the one in the middle may be meant, and this one


def found(*faces: tuple[float, ...]) -> Detections:
    """Return faces at x1, y1, x2, y2 with an optional score."""
    n = len(faces)
    return Detections(
        np.array([face[:4] for face in faces], np.float32).reshape(n, 4),
        np.zeros((n, 5, 2), np.float32),
        np.array([face[4] if len(face) > 4 else 1.0 for face in faces], np.float32),
    )


@pytest.mark.parametrize(
    ("faces", "wanted", "forced"),
    [
        ([], Reason.NO_FACE, Reason.NO_FACE),
        ([(*MIDDLE, 0.6)], Reason.NO_FACE, Reason.NO_FACE),
        ([SMALL], 0, 0),
        ([SMALL, BESIDE], 1, 1),  # a much larger face is the main one, in any place
        ([MIDDLE, BESIDE], 0, 0),  # a neighbor a little larger than who is in the middle
        ([BESIDE, MIDDLE], 1, 1),
        ([MIDDLE, (*BESIDE, 0.7)], 0, 0),
        ([MIDDLE, HUGE], 1, 1),
        ([MIDDLE, LARGER], Reason.SEVERAL_FACES, 0),
        ([BESIDE, (150, 60, 250, 180)], Reason.SEVERAL_FACES, 0),
        ([MIDDLE, (90, 80, 170, 170)], Reason.SEVERAL_FACES, 0),
        ([MIDDLE, BESIDE, (160, 60, 250, 180)], Reason.SEVERAL_FACES, 0),  # the middle of three
    ],
)
def test_the_one_face_is_chosen_or_the_reason_said(faces, wanted, forced):
    for force, expected in ((False, wanted), (True, forced)):
        one = found(*faces)
        chosen = wanted_face(one.boxes, one.scores, SIZE, EnrolLimits(), force=force)
        assert (chosen if isinstance(chosen, int) else chosen[0]) == expected


@pytest.mark.parametrize(
    ("changes", "force", "expected"),
    [({}, False, 0), ({"brightness": 0.0}, False, Reason.TOO_DARK), ({"brightness": 0.0}, True, 0)],
)
def test_the_chosen_face_must_be_good_unless_forced(changes, force, expected):
    chosen = choose_face(found(MIDDLE), [quality(**changes)], SIZE, EnrolLimits(), force=force)
    assert (chosen if isinstance(chosen, int) else chosen[0]) == expected


NOTHING = np.empty((0, 2), np.float32)


@pytest.mark.parametrize(
    ("new", "held", "qualities", "accepted"),
    [
        (directions(0), NOTHING, [0.5], [True]),
        (directions(0, 10), NOTHING, [0.5, 0.5], [True, True]),
        (directions(0, 90), NOTHING, [0.2, 0.9], [False, True]),  # of two strangers, the better
        (directions(0, 90), NOTHING, [0.9, 0.2], [True, False]),
        (directions(90, 0, 10), NOTHING, [0.9, 0.1, 0.1], [False, True, True]),  # the majority
        (directions(0, 40, 80), NOTHING, [0.5] * 3, [True, True, True]),  # a chain of poses
        (directions(0, 90), directions(85), [0.9, 0.1], [False, True]),  # who is held decides
        (directions(50, 90), directions(130), [0.9, 0.1], [True, True]),
    ],
)
def test_photos_of_one_person_are_judged_together(new, held, qualities, accepted):
    least = np.cos(np.radians(45))
    found = own_similarities(new, held, np.array(qualities), least)
    assert [bool(s >= least) for s in found] == accepted


def test_a_photo_that_is_alone_is_like_itself():
    assert own_similarities(directions(0), NOTHING, np.array([0.5]), 0.3).tolist() == [1.0]
