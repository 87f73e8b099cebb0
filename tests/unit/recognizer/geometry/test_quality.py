import cv2
import numpy as np
import pytest

from recognizer.faces import Detections
from recognizer.geometry.alignment import TEMPLATE
from recognizer.geometry.quality import _DEPTHS, head_poses, judge


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
    points = (2.5 * rotated(**{axis: angle}) + 300).astype(np.float32)
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


def portrait() -> np.ndarray:
    """A crop with the detail of a photo: blobs of all sizes from two pixels on."""
    random = np.random.default_rng(3)
    gray = np.full((112, 112), 120, np.float32)
    for deviation in (1.0, 2.0, 4.0, 8.0, 16.0):
        layer = cv2.GaussianBlur(random.normal(0, 1, (112, 112)), (0, 0), sigmaX=deviation)
        gray += 12 * deviation**0.5 * (layer / layer.std()).astype(np.float32)
    return np.repeat(gray.clip(0, 255).astype(np.uint8)[None, :, :, None], 3, axis=3)


def sharpness(crop: np.ndarray) -> float:
    return judge(face([0, 0, 120, 150]), crop)[0].sharpness


def test_blur_in_any_direction_lowers_sharpness_and_noise_and_light_do_not_change_it() -> None:
    sharp = portrait()
    plain = sharpness(sharp)
    noise = np.random.default_rng(4).normal(0, 10, sharp.shape)
    noisy = (sharp + noise).clip(0, 255).astype(np.uint8)
    assert sharpness(noisy) < 1.25 * plain
    dark = (sharp * 0.4).astype(np.uint8)
    assert sharpness(dark) == pytest.approx(plain, rel=0.2)
    for kernel in ((0, 0, 2.0), (9, 1), (1, 9)):
        if len(kernel) == 3:
            blurred = cv2.GaussianBlur(sharp[0], (0, 0), sigmaX=kernel[2])[None]
        else:
            blurred = cv2.blur(sharp[0], kernel)[None]
        assert sharpness(blurred) < 0.5 * plain


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_crop_without_contrast_is_not_sharp(level: int) -> None:
    assert sharpness(np.full((1, 112, 112, 3), level, np.uint8)) == 0


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
