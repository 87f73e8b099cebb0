"""Finds faces in photos turned by any angle: the detector finds upright faces only.

Cameras without an orientation sensor, scanners, and programs that drop EXIF leave photos rotated;
people lie. The detector finds nothing in most of them; in one in ten it places upright landmarks on
a face that is not upright, whose embedding matches no person. The score, averaged over the photo
and its mirror image, shows the correct orientation: of 573 rotated photos of LFW (191, three ways)
it turns 572 upright (the plain score 565), and leaves all of the 191 upright ones as they are.
Every photo is searched by quarter turns, so that who lies beside others is found too: 118 of 120
in photos of two faces of LFW, and nothing else in 566 photos and frames without such people.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.detect.turning import Turn, turned_back
from recognizer.faces import Detections, Floats, Image
from recognizer.geometry.alignment import TEMPLATE, similarity_transforms
from recognizer.geometry.boxes import intersections
from recognizer.geometry.quality import head_poses

Detect = Callable[[Sequence[Image]], list[Detections]]

SURE_LOGIT = 7.0  # from this score on (0.9991) a photo counts as upright: two in three do
TURNED_LOGIT = 3.0  # score (0.953) that another orientation must reach
UPRIGHT_LOGIT = 4.0  # score (0.982) of an upright photo from which only quarter turns are tried
LEAD_LOGIT = 1.0  # and by how much it must exceed the one of the photo as it is
# score (0.971), the mean of plain and mirrored, of a face turned against the photo's orientation,
# and the distance of its landmarks from the mirror image's, a share of its size. Of LFW's faces
# turned by quarters 99 % have both; of what is no face in 360 photos and frames the best have 0.989
# with 0.113, and 0.957 with 0.086
OTHER_LOGIT, MAX_APART = 3.5, 0.08
SURE_OTHER_LOGIT = 5.5  # score (0.996) from which its landmarks need not agree
LIKELY_LOGIT = 2.0  # score (0.881) of it before its mirror image is searched; LFW's have 0.93
MIRROR_GAIN = 2.0  # by which the mean may exceed the plain score
QUARTER_DEG = 50.0  # roll of such a face in the turned photo: a little beyond half of a quarter
NESTED = 0.5  # shared part of the smaller of two boxes, from which they are of one face
NONE = -1.0  # logit for no face: the detector gives none below 0
MAX_MISFIT_PX = 9.0  # of landmarks, in the 112x112 crop; LFW's upright faces have up to 6.6
MAX_ROLL_DEG = 60.0  # beyond it another orientation is nearer
TRIAL_PIXELS = 4_000_000  # larger photos are shrunk to find their orientation
# counterclockwise; the detector finds faces up to 30 degrees from upright
ORIENTATIONS = (0, 90, 180, 270, 45, 135, 225, 315)
QUARTERS = (0, 90, 180, 270)
ALIGNED_DEG = 15.0  # roll from which a turned photo is turned again, exactly upright


def detect_any_way_up(detect: Detect, images: Sequence[Image]) -> list[Detections]:
    """Find the faces of photos that may be turned by any angle.

    The orientation of a photo is that of its most certain face; faces turned by a quarter or half
    against it, like those of people who lie beside others, must be certain themselves.

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
        faces, degrees = found[position], 0
        views = _Views(detect, image, faces)
        if _evidence(faces)[0] < SURE_LOGIT:
            degrees, roll = _orientation(views)
            turned = views.at_full_size(degrees + roll) if degrees else faces
            faces, degrees = (turned, degrees) if len(turned) else (faces, 0)
        found[position] = _with_others(faces, views, degrees)
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


class _Views:
    """The faces of a photo turned by several angles, each searched once.

    Args:
        detect: finds upright faces.
        image: the photo; a large one is searched at a smaller size.
        upright: its faces as it is.
    """

    def __init__(self, detect: Detect, image: Image, upright: Detections) -> None:
        self._detect = detect
        self._full = image
        self._scale = min(1.0, (TRIAL_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5)
        self._image = image
        self._found: dict[tuple[int, bool], Detections] = {}
        if self._scale < 1:
            height, width = (max(1, round(self._scale * side)) for side in image.shape[:2])
            shrunk = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            self._image = np.asarray(shrunk, np.uint8)
        else:
            self._found[0, False] = upright

    def faces(self, degrees: int, *, mirrored: bool = False) -> Detections:
        """Return the faces of the turned photo, or of its mirror image; pixels of that image."""
        key = degrees, mirrored
        if key not in self._found:
            image = Turn(degrees, *self._image.shape[:2]).image_of(self._image)
            if mirrored:
                image = np.ascontiguousarray(image[:, ::-1])
            (self._found[key],) = self._detect([image])
        return self._found[key]

    def mirrored_back(self, degrees: int) -> Detections:
        """Return the faces of the mirror image, in pixels of the turned photo."""
        faces = self.faces(degrees, mirrored=True)
        right = Turn(degrees, *self._image.shape[:2]).width - 1
        boxes, landmarks = faces.boxes.copy(), faces.landmarks[:, [1, 0, 2, 4, 3]]
        boxes[:, [0, 2]] = right - faces.boxes[:, [2, 0]]
        landmarks[:, :, 0] = right - landmarks[:, :, 0]
        return Detections(boxes, landmarks, faces.scores)

    def turned_back(self, faces: Detections, degrees: int) -> Detections:
        """Map faces of the turned photo to the photo as it is."""
        return turned_back(faces, Turn(degrees, *self._full.shape[:2], scale=self._scale))

    def at_full_size(self, degrees: float) -> Detections:
        """Return the faces of the turned photo, searched at its own size, in the photo as it is."""
        turn = Turn(degrees, *self._full.shape[:2])
        known = self._found.get((int(degrees), False)) if degrees == int(degrees) else None
        if known is None or self._scale < 1:
            (known,) = self._detect([turn.image_of(self._full)])
        return turned_back(known, turn)


def _orientation(views: _Views) -> tuple[int, float]:
    """Return by how much a photo must be turned, degrees counterclockwise, and the face's roll.

    It is (0, 0) where the photo is upright, or where that is unsure.
    """
    best, best_roll, as_is, degrees = NONE, 0.0, NONE, 0
    for angle in ORIENTATIONS:
        if angle % 90 and best >= (SURE_LOGIT if degrees else UPRIGHT_LOGIT):
            break
        plain, roll = _evidence(views.faces(angle))
        if plain == NONE and angle:
            continue
        evidence = (plain + _evidence(views.faces(angle, mirrored=True))[0]) / 2
        if angle == 0:
            as_is = evidence
        if evidence > best:
            best, best_roll, degrees = evidence, roll, angle
    if degrees == 0 or best < max(TURNED_LOGIT, as_is + LEAD_LOGIT):
        return 0, 0.0
    return degrees, best_roll if abs(best_roll) >= ALIGNED_DEG else 0.0


def _with_others(faces: Detections, views: _Views, degrees: int) -> Detections:
    """Add the certain faces that are turned by a quarter or half against a photo's orientation."""
    angles = {more for quarter in QUARTERS for more in (quarter, (degrees + quarter) % 360)}
    certain = [
        found
        for angle in sorted(angles - {degrees})
        for found in _certain(views, angle, faces, degrees)
    ]
    if not certain:
        return faces
    is_kept = np.ones(len(faces), bool)
    added = _rows(faces, np.empty(0, np.intp))
    for _, face in sorted(certain, key=lambda found: -found[0]):
        if (_shared(face.boxes, added.boxes) < NESTED).all():
            added = _together(added, face)
            is_kept &= _shared(face.boxes, faces.boxes)[0] < NESTED
    result = _together(_rows(faces, is_kept), added)
    return _rows(result, np.argsort(-result.scores, kind="stable"))


def _certain(
    views: _Views, degrees: int, faces: Detections, orientation: int
) -> list[tuple[float, Detections]]:
    """Return the faces of a turned photo that are certain, each with its evidence.

    They must be more certain than the faces found at the same place in the photo's orientation.
    Ornaments and hands that score like a face score less in the mirror image, or have their
    landmarks elsewhere there.
    """
    seen = views.faces(degrees)
    is_likely = logits_of(seen.scores) >= LIKELY_LOGIT
    is_likely &= misfits(seen.landmarks) <= MAX_MISFIT_PX
    is_likely &= np.abs(head_poses(seen.landmarks)[:, 2]) <= QUARTER_DEG
    seen = _rows(seen, is_likely)
    back = views.turned_back(seen, degrees)
    is_rival = _shared(back.boxes, faces.boxes) >= NESTED
    plain = logits_of(faces.scores)

    def needed(rivals: NDArray[np.float64]) -> NDArray[np.float64]:
        levels = np.where(is_rival, rivals + LEAD_LOGIT, OTHER_LOGIT)
        return np.asarray(levels.max(axis=1, initial=OTHER_LOGIT), np.float64)

    # most finds are on upright faces: no mirror image is searched that cannot decide otherwise
    if not (logits_of(seen.scores) + MIRROR_GAIN >= needed((plain + NONE) / 2)).any():
        return []
    evidence, apart = _confirmed(seen, views.mirrored_back(degrees))
    evidence[(apart > MAX_APART) & (evidence < SURE_OTHER_LOGIT)] = NONE
    if not (evidence >= needed((plain + NONE) / 2)).any():
        return []
    if (evidence >= needed(plain)).all():
        is_certain = np.ones(len(seen), bool)
    else:
        mirrored = views.turned_back(views.mirrored_back(orientation), orientation)
        is_certain = evidence >= needed(_confirmed(faces, mirrored)[0])
    rows = np.flatnonzero(is_certain)
    return [(float(evidence[row]), _rows(back, rows[rows == row])) for row in rows]


def _confirmed(faces: Detections, mirrored: Detections) -> tuple[NDArray[np.float64], Floats]:
    """Compare faces with those of the mirror image, both in the same pixels.

    Returns:
        The mean of both logits, and the distance of the landmarks as a share of the face's size.
    """
    logits, others = logits_of(faces.scores), logits_of(mirrored.scores)
    shared = _shared(faces.boxes, mirrored.boxes)
    evidence, apart = (logits + NONE) / 2, np.full(len(faces), np.inf, np.float32)
    for row in range(len(faces)):
        same = np.flatnonzero(shared[row] >= NESTED)
        if len(same):
            best = same[others[same].argmax()]
            evidence[row] = (logits[row] + others[best]) / 2
            points = np.square(faces.landmarks[row] - mirrored.landmarks[best]).sum(axis=1)
            size = (faces.boxes[row, 2:] - faces.boxes[row, :2]).prod() ** 0.5
            apart[row] = np.sqrt(points.mean()) / size
    return evidence, apart


def _shared(boxes: Floats, others: Floats) -> NDArray[np.float64]:
    """Return (N, M): the shared part of the smaller of each two boxes."""
    wide, also = boxes.astype(np.float64), others.astype(np.float64)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (wide, also)]
    smaller = np.minimum(areas[0][:, None], areas[1])
    return np.asarray(intersections(wide, also) / np.maximum(smaller, 1e-9), np.float64)


def _rows(faces: Detections, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
    return Detections(faces.boxes[rows], faces.landmarks[rows], faces.scores[rows])


def _together(one: Detections, other: Detections) -> Detections:
    return Detections(
        np.concatenate([one.boxes, other.boxes]),
        np.concatenate([one.landmarks, other.landmarks]),
        np.concatenate([one.scores, other.scores]),
    )


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
