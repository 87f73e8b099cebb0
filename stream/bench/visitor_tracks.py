"""Synthetic tracks of photos, as a camera would see them: for `facewire bench visitors`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from recognizer import Detections, Floats, Image, ImageError, Quality, Recognizer, read_image
from recognizer.geometry.alignment import CROP_SIZE, TEMPLATE, similarity_transforms
from recognizer.geometry.quality import judge
from recognizer.models.measuring import main_face

TRACKS = (2, 30)
"""Fewest and most tracks of a person."""

SHOTS = (3, 20)
"""Fewest and most embeddings of a track."""

FACE_PX = (45.0, 140.0)
"""Smallest and largest width of a track's face, pixels; the photo's own at most."""

SHOT_EVERY_S = 0.25
BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class SourceFace:
    """The face of one photo.

    Attributes:
        person: whose it is.
        image: (H, W, 3) uint8 RGB, the surroundings of the face.
        landmarks: (5, 2) float32, xy in pixels of `image`.
        side: width of the face, pixels.
        score: the detector's, in [0, 1].
    """

    person: str
    image: Image
    landmarks: Floats
    side: float
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticTrack:
    """One track.

    Attributes:
        person: whose it is.
        embeddings: (S, D) float32 of unit length.
        qualities: of each.
        seconds: from the first to the last.
    """

    person: str
    embeddings: Floats
    qualities: tuple[Quality, ...]
    seconds: float


def source_face(recognizer: Recognizer, path: Path, person: str) -> SourceFace:
    """Return the main face of a photo.

    Raises:
        ImageError: if it cannot be read or shows no face.
    """
    image = read_image(path)
    (found,) = recognizer.detect([image])
    chosen = main_face(found, image)
    if chosen < 0:
        if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
            raise ImageError(f"{path}: no face found")
        return SourceFace(person, image, TEMPLATE, 80.0, 1.0)  # an aligned crop already
    box = found.boxes[chosen]
    side = float((box[2:] - box[:2]).min())
    # What a warp can reach; a whole photo of 12 megapixels would fill the memory.
    reach = 1.5 * float((box[2:] - box[:2]).max())
    middle = (box[:2] + box[2:]) / 2
    x1, y1 = (max(int(edge), 0) for edge in middle - reach)
    x2, y2 = (int(edge) for edge in middle + reach)
    part = np.ascontiguousarray(image[y1:y2, x1:x2])
    landmarks = found.landmarks[chosen] - np.array([x1, y1], np.float32)
    return SourceFace(person, part, landmarks, side, float(found.scores[chosen]))


@dataclass(frozen=True, slots=True, eq=False)
class TrackPlan:
    """What a track will show.

    Attributes:
        face: of its photo.
        n_shots: how many embeddings.
        seed: of everything random in them.
    """

    face: SourceFace
    n_shots: int
    seed: int


def plan_tracks(faces: Sequence[SourceFace], *, seed: int) -> list[TrackPlan]:
    """Return the plans of the tracks of all people, in random order.

    A person has 2 to 30 tracks. Each shows one photo, another one as long as there are any, and has
    3 to 20 shots.

    Args:
        faces: of all people.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    plans = []
    for person in sorted({face.person for face in faces}):
        own = [face for face in faces if face.person == person]
        order = rng.permutation(len(own))
        for number in range(int(rng.integers(TRACKS[0], TRACKS[1] + 1))):
            n_shots = int(rng.integers(SHOTS[0], SHOTS[1] + 1))
            face = own[order[number % len(own)]]
            plans.append(TrackPlan(face, n_shots, int(rng.integers(2**31))))
    return [plans[index] for index in rng.permutation(len(plans))]


def synthetic_tracks(
    recognizer: Recognizer,
    plans: Sequence[TrackPlan],
    *,
    progress: Callable[[int], None] | None = None,
) -> list[SyntheticTrack]:
    """Return the tracks of plans, in their order.

    A track shows its photo at a size, sharpness, light and pose of its own, and each of its shots
    differs from them.

    Args:
        recognizer: embeds the shots.
        plans: see `plan_tracks`.
        progress: called with shots done.
    """
    tell = progress or (lambda done: None)
    done = 0
    tracks = []
    for some in _batches(plans):
        shots = [_shots(plan) for plan in some]
        embeddings = recognizer.embed(np.concatenate([crops for crops, _ in shots]))
        start = 0
        for plan, (_, qualities) in zip(some, shots, strict=True):
            rows = embeddings[start : start + plan.n_shots]
            start += plan.n_shots
            seconds = SHOT_EVERY_S * (plan.n_shots - 1)
            tracks.append(SyntheticTrack(plan.face.person, rows, qualities, seconds))
        done += start
        tell(done)
    return tracks


def _batches(plans: Sequence[TrackPlan]) -> Iterator[list[TrackPlan]]:
    some: list[TrackPlan] = []
    n_shots = 0
    for plan in plans:
        some.append(plan)
        n_shots += plan.n_shots
        if n_shots >= BATCH:
            yield some
            some, n_shots = [], 0
    if some:
        yield some


def _shots(plan: TrackPlan) -> tuple[Image, tuple[Quality, ...]]:
    """Return the aligned crops of a track and their qualities."""
    face, n_shots = plan.face, plan.n_shots
    rng = np.random.default_rng(plan.seed)
    least, most = FACE_PX
    most = max(min(most, face.side), least)
    face_px = float(np.exp(rng.uniform(np.log(least), np.log(most))))
    turn = rng.uniform(-0.25, 0.25)  # radians of yaw added to the photo's own
    gain, gamma = rng.uniform(0.6, 1.25), rng.uniform(0.8, 1.3)
    blur, noise = rng.uniform(0.0, 0.9), rng.uniform(0.0, 5.0)  # px of the crop as seen, gray
    crops = np.empty((n_shots, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    seen = np.empty((n_shots, 5, 2), np.float32)
    for row in range(n_shots):
        yaw, pitch = turn + rng.normal(0, 0.12), rng.normal(0, 0.08)
        px = face_px * float(np.exp(rng.normal(0, 0.08)))
        crops[row], seen[row] = _pose(face, rng, yaw=yaw, pitch=pitch)
        crop = _as_seen(crops[row], rng, px=px, blur=blur * rng.uniform(0.5, 2.0), noise=noise)
        light = gain * rng.uniform(0.9, 1.1)
        table = 255 * np.clip(light * (np.arange(256) / 255) ** gamma, 0, 1)
        crops[row] = cv2.LUT(crop, np.rint(table).astype(np.uint8))
    boxes = np.tile(np.array([[0, 0, face_px, face_px]], np.float32), (n_shots, 1))
    scores = np.full(n_shots, face.score, np.float32)
    return crops, tuple(judge(Detections(boxes, seen, scores), crops))


def _pose(
    face: SourceFace, rng: np.random.Generator, *, yaw: float, pitch: float
) -> tuple[Image, Floats]:
    """Return the face as its plane looks when it is turned, aligned by imprecise landmarks.

    Returns:
        (112, 112, 3) uint8 RGB, and the (5, 2) landmarks in it without the alignment's error.
    """
    center = face.landmarks.mean(axis=0)
    points = face.landmarks - center
    # Weak perspective of a plane; the far side is drawn smaller.
    depth = 1 + (points[:, :1] * np.sin(yaw) + points[:, 1:] * np.sin(pitch)) / (4 * face.side)
    turned = points * [np.cos(yaw), np.cos(pitch)] / depth
    turned = turned.astype(np.float32)
    found = turned + rng.normal(0, 0.015 * face.side, turned.shape).astype(np.float32)
    to_crop = similarity_transforms(found[np.newaxis])[0]
    source = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * face.side / 2
    depth = 1 + (source[:, :1] * np.sin(yaw) + source[:, 1:] * np.sin(pitch)) / (4 * face.side)
    target = source * [np.cos(yaw), np.cos(pitch)] / depth
    target = target @ to_crop[:, :2].T + to_crop[:, 2]
    matrix = cv2.getPerspectiveTransform(source + center, target.astype(np.float32))
    crop = cv2.warpPerspective(face.image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_AREA)
    landmarks = turned @ to_crop[:, :2].T + to_crop[:, 2]
    return np.asarray(crop, np.uint8), landmarks.astype(np.float32)


def _as_seen(
    crop: Image, rng: np.random.Generator, *, px: float, blur: float, noise: float
) -> Image:
    """Return a crop as a camera shows a face of that width: small, blurred, noisy, compressed."""
    side = int(np.clip(round(CROP_SIZE * px / 80), 24, 2 * CROP_SIZE))  # the box is 80 px of 112
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    if blur > 0.1:
        small = cv2.GaussianBlur(small, (0, 0), sigmaX=blur)
    noisy = np.rint(small + rng.normal(0, noise, small.shape)).clip(0, 255).astype(np.uint8)
    data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))])[1]
    seen = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    sized = cv2.resize(seen, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(sized, np.uint8)
