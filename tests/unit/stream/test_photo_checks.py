import numpy as np
import pytest

from recognizer import Quality
from stream.photo_checks import (
    EnrolLimits,
    Reason,
    choose_face,
    framed_faces,
    own_similarities,
    quality_fault,
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


@pytest.mark.parametrize(
    ("faces", "force", "chosen"),
    [
        ([], False, Reason.NO_FACE),
        ([], True, Reason.NO_FACE),
        ([{"score": 0.6}], True, Reason.NO_FACE),
        ([{}], False, 0),
        ([{"size_px": 50.0}, {"size_px": 90.0}], False, 1),
        ([{"size_px": 70.0}, {"size_px": 90.0}], False, Reason.SEVERAL_FACES),
        ([{"size_px": 70.0}, {"size_px": 90.0}], True, 1),
        ([{"size_px": 90.0}, {"size_px": 95.0, "score": 0.7}], False, 0),
        ([{"brightness": 0.0}], False, Reason.TOO_DARK),
        ([{"brightness": 0.0}], True, 0),
    ],
)
def test_the_one_face_is_chosen_or_the_reason_said(faces, force, chosen):
    found = choose_face([quality(**face) for face in faces], EnrolLimits(), force=force)
    assert (found if isinstance(found, int) else found[0]) == chosen


MIDDLE, BESIDE, SMALL = (80, 75, 170, 175), (0, 60, 100, 180), (110, 110, 140, 140)


@pytest.mark.parametrize(
    ("boxes", "framed"),
    [
        ([], []),
        ([MIDDLE, BESIDE], [0]),
        ([BESIDE, MIDDLE], [1]),
        ([SMALL, BESIDE], []),
        ([MIDDLE, (90, 80, 170, 170)], [0, 1]),
    ],
)
def test_a_face_is_framed_that_is_large_and_in_the_middle(boxes, framed):
    found = framed_faces(np.array(boxes, np.float32).reshape(-1, 4), 250, 250, EnrolLimits())
    assert found == framed


@pytest.mark.parametrize(
    ("framed", "force", "chosen"),
    [
        ([0], False, 0),
        ([0], True, 0),
        ([], False, Reason.SEVERAL_FACES),
        ([0, 1], False, Reason.SEVERAL_FACES),
        ([2], False, Reason.SEVERAL_FACES),  # it is not surely a face
    ],
)
def test_whom_a_photo_is_framed_on_is_meant(framed, force, chosen):
    faces = [quality(size_px=80.0), quality(size_px=95.0), quality(score=0.7)]
    found = choose_face(faces, EnrolLimits(), force=force, framed=framed)
    assert (found if isinstance(found, int) else found[0]) == chosen


def test_who_is_in_the_middle_of_three_is_not_meant():
    faces = [quality(size_px=90.0) for _ in range(3)]
    found = choose_face(faces, EnrolLimits(), force=False, framed=[1])
    assert not isinstance(found, int)
    assert found[0] is Reason.SEVERAL_FACES


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
