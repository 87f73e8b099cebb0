"""Finds faces in photos turned by any angle: the detector finds upright faces only.

Cameras without an orientation sensor, scanners, and programs that drop EXIF leave photos rotated;
people lie. The detector finds nothing in most of them; in one in ten it places upright landmarks on
a face that is not upright, whose embedding matches no person. The score, averaged over the photo
and its mirror image, shows the correct orientation: of 573 rotated photos of LFW (191, three ways)
it turns 572 upright (the plain score 565), and leaves all of the 191 upright ones as they are.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.detect.turning import Turn, turned_back
from recognizer.faces import Detections, Floats, Image
from recognizer.geometry.alignment import TEMPLATE, similarity_transforms
from recognizer.geometry.quality import head_poses

Detect = Callable[[Sequence[Image]], list[Detections]]

SURE_LOGIT = 7.0  # from this score on (0.9991) no other orientation is tried: two in three photos
TURNED_LOGIT = 3.0  # score (0.953) that another orientation must reach
UPRIGHT_LOGIT = 4.0  # score (0.982) of an upright photo from which only quarter turns are tried
LEAD_LOGIT = 1.0  # and by how much it must exceed the one of the photo as it is
NONE = -1.0  # logit for no face: the detector gives none below 0
MAX_MISFIT_PX = 9.0  # of landmarks, in the 112x112 crop; LFW's upright faces have up to 6.6
MAX_ROLL_DEG = 60.0  # beyond it another orientation is nearer
TRIAL_PIXELS = 4_000_000  # larger photos are shrunk to find their orientation
# counterclockwise; the detector finds faces up to 30 degrees from upright
ORIENTATIONS = (0, 90, 180, 270, 45, 135, 225, 315)
ALIGNED_DEG = 15.0  # roll from which a turned photo is turned again, exactly upright


def detect_any_way_up(detect: Detect, images: Sequence[Image]) -> list[Detections]:
    """Find the faces of photos that may be turned by any angle.

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
        if _evidence(found[position])[0] >= SURE_LOGIT:
            continue
        if turn := _upright_turn(detect, image):
            (faces,) = detect([turn.image_of(image)])
            if len(faces):
                found[position] = turned_back(faces, turn)
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


def _upright_turn(detect: Detect, image: Image) -> Turn | None:
    """Return the turn that makes a photo upright; None where it is or where that is unsure."""
    full = image.shape[:2]
    scale = (TRIAL_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
    if scale < 1:
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    best, best_roll, as_is, degrees = NONE, 0.0, NONE, 0
    for angle in ORIENTATIONS:  # one at a time: a fraction of the memory
        if angle % 90 and best >= (SURE_LOGIT if degrees else UPRIGHT_LOGIT):
            break
        turned = Turn(angle, *image.shape[:2]).image_of(image)
        plain, roll = _evidence(*detect([turned]))
        if plain == NONE and angle:
            continue
        mirrored, _ = _evidence(*detect([np.ascontiguousarray(turned[:, ::-1])]))
        evidence = (plain + mirrored) / 2
        if angle == 0:
            as_is = evidence
        if evidence > best:
            best, best_roll, degrees = evidence, roll, angle
    if degrees == 0 or best < max(TURNED_LOGIT, as_is + LEAD_LOGIT):
        return None
    return Turn(degrees + (best_roll if abs(best_roll) >= ALIGNED_DEG else 0), *full)


def _evidence(faces: Detections) -> tuple[float, float]:
    """Return the logit of the best score whose landmarks fit an upright face, and its roll.

    The logit is `NONE` for no face; the roll in degrees, positive if turned clockwise.
    """
    if not len(faces):
        return NONE, 0.0
    rolls = head_poses(faces.landmarks)[:, 2]
    fits = (misfits(faces.landmarks) <= MAX_MISFIT_PX) & (np.abs(rolls) <= MAX_ROLL_DEG)
    if not fits.any():
        return NONE, 0.0
    best = int(np.where(fits, faces.scores, -1).argmax())
    return float(logits_of(faces.scores[best : best + 1])[0]), float(rolls[best])


def logits_of(scores: Floats) -> NDArray[np.float64]:
    """Return the log odds of (N,) scores, 16 at most."""
    wide = scores.astype(np.float64)
    return np.asarray(np.log(wide / np.maximum(1 - wide, 1e-7)), np.float64)
