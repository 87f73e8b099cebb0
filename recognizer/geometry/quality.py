"""The quality of a crop, for enrollment and for choosing the best crop of a track."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Detections, Floats, Image
from recognizer.geometry.alignment import TEMPLATE

# depth of the landmarks behind the tip of the nose, in pixels of the 112x112 template, whose eyes
# are 35 px (about 64 mm) apart: the eyes lie some 27 mm, the mouth's corners some 20 mm behind it
_DEPTHS = (15.0, 15.0, 0.0, 11.0, 11.0)
_HEAD = np.column_stack([TEMPLATE, _DEPTHS]).astype(np.float64)
# the least-squares solution for the rows of a scaled rotation, (3, 5)
_FROM_POINTS = np.linalg.pinv(_HEAD - _HEAD.mean(axis=0))
BORDER = 8  # pixels at the crop's border that are ignored: it may be black there
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Quality:
    """One face's quality.

    Attributes:
        size_px: shorter side of the box, pixels.
        sharpness: detail of the gray 112x112 crop in the direction that has less of it, relative
            to its contrast and without what noise adds, >= 0; a photo in focus has 20 to 100, a
            blurred, shaken or enlarged one less than 10.
        yaw: degrees in [-90, 90], 0 faces the camera, positive toward the image's right.
        pitch: degrees in [-90, 90], positive is turned down.
        roll: degrees in [-180, 180], positive is turned clockwise in the image.
        score: the detector's, in [0, 1].
        brightness: mean gray of the crop, in [0, 1].
        overall: product of the parts, each scaled to [0, 1].
    """

    size_px: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    score: float
    brightness: float
    overall: float


def judge(detections: Detections, crops: Image) -> list[Quality]:
    """Judge each detected face.

    Args:
        detections: N faces.
        crops: (N, 112, 112, 3) uint8 RGB, aligned.

    Returns:
        One `Quality` per face, in order.
    """
    sizes = (detections.boxes[:, 2:] - detections.boxes[:, :2]).min(axis=1, initial=np.inf)
    poses = head_poses(detections.landmarks)
    judged = []
    for crop, size, pose, score in zip(crops, sizes, poses, detections.scores, strict=True):
        gray = crop.astype(np.float32) @ _LUMA
        detail, sharpness = _detail(gray)
        brightness = float(gray.mean() / 255)
        yaw, pitch, roll = (float(angle) for angle in pose)
        overall = (
            # below 20 px nothing is left to recognize; from 100 px on the crop is not enlarged
            _ramp(float(size), 20, 100)
            * _ramp(detail, 0, 35)
            # beyond 60 degrees one eye is hidden
            * (1 - _ramp(abs(yaw), 10, 60))
            # a smile or a beard reads as some pitch: only clearly turned faces score less
            * (1 - _ramp(abs(pitch), 25, 70))
            * _ramp(float(score), 0.5, 1.0)
            * _ramp(brightness, 0.05, 0.25)
            * (1 - _ramp(brightness, 0.75, 0.95))
        )
        judged.append(
            Quality(float(size), sharpness, yaw, pitch, roll, float(score), brightness, overall)
        )
    return judged


def head_poses(landmarks: Floats) -> NDArray[np.float64]:
    """Estimate how heads are turned, from a generic head under weak perspective.

    Args:
        landmarks: (N, 5, 2) float32, xy in pixels.

    Returns:
        (N, 3) yaw, pitch, roll in degrees, as in `Quality`. A coarse estimate: it
        distinguishes a frontal face from a profile, it does not measure an angle.

    Source: DeMenthon and Davis 1995, the first step (POS) of their iteration.
    """
    points = landmarks.astype(np.float64)
    points = points - points.mean(axis=1, keepdims=True)
    # rows of the scaled rotation: image x and y as linear functions of the head's coordinates
    axes = np.einsum("dp,npk->nkd", _FROM_POINTS, points)
    length = np.linalg.norm(axes, axis=2, keepdims=True)
    x_axis, y_axis = (axes / np.maximum(length, 1e-9)).transpose(1, 0, 2)
    # rotate the roll away first, so that the other two are those of the upright face
    roll = np.arctan2(y_axis[:, 0] - x_axis[:, 1], x_axis[:, 0] + y_axis[:, 1])
    cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
    upright_x = cos * x_axis + sin * y_axis
    upright_y = cos * y_axis - sin * x_axis
    # the tip of the nose is in front (negative depth): a nose to the right means depth against x
    yaw = np.arcsin(np.clip(-upright_x[:, 2], -1, 1))
    pitch = np.arcsin(np.clip(-upright_y[:, 2], -1, 1))
    angles: NDArray[np.float64] = np.degrees(np.stack([yaw, pitch, roll], axis=1))
    return angles


def _detail(gray: Floats) -> tuple[float, float]:
    """Return the variance of the second derivative, gray levels squared, and `Quality.sharpness`.

    Smoothing first takes away the noise that would count as detail. The weaker of two directions
    shows a shaken photo, which is sharp along its edges in one of them. Relative to the variance
    of the crop a dark photo is as sharp as a bright one; 2000 is that of an ordinary crop.
    """
    smooth = cv2.GaussianBlur(gray, (0, 0), sigmaX=1.0)[BORDER:-BORDER, BORDER:-BORDER]
    across = smooth[:, 2:] - 2 * smooth[:, 1:-1] + smooth[:, :-2]
    down = smooth[2:] - 2 * smooth[1:-1] + smooth[:-2]
    detail = 4 * float(min(across.var(), down.var()))
    contrast = cv2.GaussianBlur(gray, (0, 0), sigmaX=3.0)[BORDER:-BORDER, BORDER:-BORDER].var()
    # 25: the variance of a crop without contrast, in which rounding would count as detail
    return detail, 2000 * detail / (float(contrast) + 25)


def _ramp(value: float, low: float, high: float) -> float:
    """Map [low, high] to [0, 1], flat outside."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
