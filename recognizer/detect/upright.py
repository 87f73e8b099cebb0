"""Finds faces in photos rotated by quarter turns: the detector finds upright faces only.

Cameras without an orientation sensor, scanners, and programs that drop EXIF leave photos rotated.
The detector finds nothing in most of them; in one in ten it places upright landmarks on a face that
is not upright, whose embedding matches no person. The score, averaged over the photo and its mirror
image, shows the correct orientation: of 573 rotated photos of LFW (191, three ways) it turns 572
upright (the plain score 565), and leaves all of the 191 upright ones as they are.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.faces import Detections, Floats, Image
from recognizer.geometry.alignment import TEMPLATE, similarity_transforms
from recognizer.geometry.quality import head_poses

Detect = Callable[[Sequence[Image]], list[Detections]]

SURE_LOGIT = 7.0  # from this score on (0.9991) no other orientation is tried: two in three photos
TURNED_LOGIT = 3.0  # score (0.953) that another orientation must reach
LEAD_LOGIT = 1.0  # and by how much it must exceed the one of the photo as it is
NONE = -1.0  # logit for no face: the detector gives none below 0
MAX_MISFIT_PX = 9.0  # of landmarks, in the 112x112 crop; LFW's upright faces have up to 6.6
MAX_ROLL_DEG = 60.0  # beyond it another orientation is nearer
TRIAL_PIXELS = 4_000_000  # larger photos are shrunk to find their orientation


def detect_any_way_up(detect: Detect, images: Sequence[Image]) -> list[Detections]:
    """Find the faces of photos that may be turned by quarters.

    Args:
        detect: finds upright faces in (H, W, 3) uint8 RGB images.
        images: photos, each (H, W, 3) uint8 RGB.

    Returns:
        One `Detections` per photo, in its own pixels. Where another orientation is the right one,
        boxes are parallel to the sides of the photo as it is, and landmarks are the person's:
        the left eye is the one that is left in the upright photo.
    """
    found = detect(images)
    for position, image in enumerate(images):
        if _evidence(found[position]) >= SURE_LOGIT:
            continue
        if turns := _quarter_turns(detect, image):
            (faces,) = detect([_turned(image, turns)])
            if len(faces):
                found[position] = _turned_back(faces, turns, *image.shape[:2])
    return found


def misfits(landmarks: Floats) -> NDArray[np.float64]:
    """Return how far landmarks are from any upright or turned-in-the-plane face's.

    Args:
        landmarks: (N, 5, 2) float32, xy in pixels.

    Returns:
        (N,) root mean square distance from the template, in pixels of the 112x112 crop.
    """
    matrices = similarity_transforms(landmarks)
    points = np.einsum("nij,nkj->nki", matrices[:, :, :2], landmarks.astype(np.float64))
    points += matrices[:, None, :, 2]
    distances: NDArray[np.float64] = np.sqrt(np.square(points - TEMPLATE).sum(2).mean(1))
    return distances


def _quarter_turns(detect: Detect, image: Image) -> int:
    """Return the quarter turns, counterclockwise, that make a photo upright; 0 for none."""
    scale = (TRIAL_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
    if scale < 1:
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    evidence = [0.0] * 4
    for turns in range(4):  # one at a time: a quarter of the memory
        turned = _turned(image, turns)
        both = detect([turned, np.ascontiguousarray(turned[:, ::-1])])
        evidence[turns] = sum(map(_evidence, both)) / 2
    best = int(np.argmax(evidence))
    if evidence[best] < max(TURNED_LOGIT, evidence[0] + LEAD_LOGIT):
        return 0
    return best


def _evidence(faces: Detections) -> float:
    """Return the logit of the best score whose landmarks fit an upright face, `NONE` for none."""
    if not len(faces):
        return NONE
    rolls = np.abs(head_poses(faces.landmarks)[:, 2])
    fits = (misfits(faces.landmarks) <= MAX_MISFIT_PX) & (rolls <= MAX_ROLL_DEG)
    if not fits.any():
        return NONE
    score = float(faces.scores[fits].max())
    return float(np.log(score / max(1 - score, 1e-7)))


def _turned(image: Image, turns: int) -> Image:
    return np.ascontiguousarray(np.rot90(image, turns))


def _turned_back(faces: Detections, turns: int, height: int, width: int) -> Detections:
    """Map faces of np.rot90(image, turns) to the image, of this height and width."""
    landmarks = _points_back(faces.landmarks, turns, height, width)
    corners = _points_back(faces.boxes.reshape(-1, 2, 2), turns, height, width)
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Detections(boxes, landmarks, faces.scores)


def _points_back(points: Floats, turns: int, height: int, width: int) -> Floats:
    x, y = points[..., 0], points[..., 1]
    if turns == 1:
        x, y = width - 1 - y, x
    elif turns == 2:
        x, y = width - 1 - x, height - 1 - y
    else:
        x, y = y, height - 1 - x
    return np.stack([x, y], axis=-1).astype(np.float32)
