import numpy as np
import pytest

from stream.recognition.face_filter import Limits
from tests.fakes import FakeFace, as_detections

SIZE = (240, 640)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(), [0, 1, 2]),
        (Limits(min_face_px=51), [0, 1]),
        (Limits(min_face_px=49), [0, 1, 2]),  # 40 is almost 49
        (Limits(region=(0.0, 0.0, 0.5, 1.0)), [0, 1]),
        (Limits(region=(0.4, 0.4, 0.6, 0.6)), [1]),
        (Limits(min_face_px=200), []),
        (Limits(region=(0.9, 0.9, 1.0, 1.0)), []),
    ],
)
def test_faces_are_kept_by_size_and_place(limits: Limits, kept: list[int]) -> None:
    faces = [FakeFace(1, 100), FakeFace(2, 320, 120), FakeFace(3, 500, size=40)]
    found = as_detections(faces)
    np.testing.assert_array_equal(limits.keep(found, SIZE).boxes, found.boxes[kept])


def test_nobody_stays_nobody() -> None:
    assert len(Limits(min_face_px=50, region=(0, 0, 0.5, 0.5)).keep(as_detections([]), SIZE)) == 0


def test_the_whole_picture_holds_a_face_whose_middle_is_beyond_its_edge() -> None:
    found = as_detections([FakeFace(1, -5)])
    assert Limits().holds(found.boxes, SIZE).all()
