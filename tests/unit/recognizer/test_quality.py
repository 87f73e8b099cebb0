import numpy as np
import pytest

from recognizer.alignment import TEMPLATE
from recognizer.faces import Detections
from recognizer.quality import _DEPTHS, head_poses, judge


def rotated(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """Landmarks of a head turned by degrees; x right, y down, z away from the camera."""
    a, b, c = np.radians([yaw, pitch, roll])
    # positive yaw moves the nose, nearest to the camera, to the right; positive pitch down
    turn = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    head = np.column_stack([TEMPLATE, _DEPTHS]).astype(float)
    head -= head.mean(axis=0)
    return (head @ (tilt @ nod @ turn).T)[:, :2].astype(np.float32)


@pytest.mark.parametrize("angle", [-40, -15, 0, 15, 40])
@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
def test_a_turned_head_is_measured(axis: str, angle: float) -> None:
    points = 2.5 * rotated(**{axis: angle}) + np.float32(300)
    pose = dict(zip(["yaw", "pitch", "roll"], head_poses(points[None])[0], strict=True))
    assert pose.pop(axis) == pytest.approx(angle, abs=0.5)
    assert list(pose.values()) == pytest.approx([0, 0], abs=0.5)


def test_no_faces() -> None:
    empty = Detections(
        np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
    )
    assert judge(empty, np.empty((0, 112, 112, 3), np.uint8)) == []


def face(box: list[float], score: float = 1.0, yaw: float = 0) -> Detections:
    return Detections(
        np.array([box], np.float32),
        rotated(yaw=yaw)[None] + np.float32(100),
        np.array([score], np.float32),
    )


def textured(contrast: float = 40, brightness: float = 120) -> np.ndarray:
    noise = np.random.default_rng(0).normal(brightness, contrast, (1, 112, 112, 1))
    return np.repeat(noise.clip(0, 255).astype(np.uint8), 3, axis=3)


def test_a_good_face_is_better_than_each_worse_one() -> None:
    good = judge(face([0, 0, 120, 150]), textured())[0]
    assert good.overall > 0.9
    assert good.size_px == 120
    worse = [
        judge(face([0, 0, 30, 40]), textured())[0],
        judge(face([0, 0, 120, 150], score=0.7), textured())[0],
        judge(face([0, 0, 120, 150], yaw=45), textured())[0],
        judge(face([0, 0, 120, 150]), textured(contrast=1))[0],
        judge(face([0, 0, 120, 150]), textured(brightness=20))[0],
        judge(face([0, 0, 120, 150]), textured(brightness=240))[0],
    ]
    for quality in worse:
        assert 0 <= quality.overall < good.overall - 0.1
