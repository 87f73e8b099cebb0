"""A fake recognizer with scripted faces, for tests of behavior over time.

A `FakeWorld` defines the faces in each frame. Its images hold the frame's number, by which
`FakeRecognizer` looks up the faces, with the interface and results of the real one, and a block of
pixels for each face, so that something moves where one does. Embeddings are
realistic: unit vectors, similar for one person, not similar for two people.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recognizer import (
    Detections,
    FaceFlow,
    Floats,
    Followed,
    Image,
    Known,
    LiveScan,
    Picture,
    Quality,
)
from recognizer.card import card_from
from recognizer.models.manifest import read_manifest
from stream.frames import Frame

EMBEDDING_SIZE = 16
LIMITS = card_from(
    {"source": "", "licence": "", **read_manifest()["sface"].card}, name="sface"
).limits
NEAR_IOU = 0.3
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
"""Where a frontal face's points are in its box."""


@dataclass(frozen=True, slots=True)
class FakeFace:
    """A face in a frame.

    Attributes:
        person: number of its person, 1 to 255.
        x, y: its center, pixels.
        size: sides of its box, pixels.
        is_found: whether detection finds it.
        is_followed: whether tracking finds it.
        is_flowing: whether optical flow finds it all the same.
        quality: of its crop.
        roll: degrees clockwise by which it is turned.
    """

    person: int
    x: float
    y: float = 100.0
    size: float = 80.0
    is_found: bool = True
    is_followed: bool = True
    is_flowing: bool = False
    quality: float = 0.8
    roll: float = 0.0

    @property
    def box(self) -> Floats:
        half = self.size / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half], np.float32)

    @property
    def landmarks(self) -> Floats:
        return landmarks_in(self.box, self.roll)


@dataclass(slots=True, eq=False)
class FakeWorld:
    """Frames and the faces in them."""

    scenes: list[tuple[FakeFace, ...]] = field(default_factory=list)

    def frame(
        self,
        faces: Sequence[FakeFace],
        *,
        at: float,
        camera: str = "door",
        size: tuple[int, int] = (240, 640),
        scene: int = 0,
    ) -> Frame:
        """Return a frame that shows these faces to recognizers of this world."""
        number = len(self.scenes)
        self.scenes.append(tuple(faces))
        image = np.random.default_rng(scene).integers(0, 256, (*size, 3), dtype=np.uint8)
        for face in faces:
            (x1, y1), (x2, y2) = face.box.reshape(2, 2).clip(0, None).astype(int)
            image[y1:y2, x1:x2] = 40 * face.person % 256
        image[-1, -1] = number // 65536, number // 256 % 256, number % 256
        return Frame(camera, number, at, image)

    def faces(self, image: Image) -> tuple[FakeFace, ...]:
        """Return the faces in a frame."""
        high, middle, low = (int(v) for v in image[-1, -1])
        return self.scenes[high * 65536 + middle * 256 + low]


class FakeRecognizer:
    """Recognizes the faces of a `FakeWorld`, and counts its calls."""

    model_id = "fake-00000000"
    embedding_size = EMBEDDING_SIZE
    threshold = 0.4
    limits = LIMITS
    device = "cpu"
    engine = "fake"

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.calls: list[tuple[str, int]] = []

    def detect(self, images: Sequence[Image], *, any_way_up: bool = False) -> list[Detections]:
        self.calls.append(("detect", len(images)))
        return [
            as_detections([face for face in self.world.faces(image) if face.is_found])
            for image in images
        ]

    def scan(
        self, images: Sequence[Image], scans: Sequence[LiveScan], known: Sequence[Known]
    ) -> list[Detections]:
        assert len(images) == len(scans) == len(known)
        return self.detect(images)

    def follow(
        self,
        images: Sequence[Image],
        boxes: Sequence[Floats],
        landmarks: Sequence[Floats] | None = None,
    ) -> list[Followed]:
        self.calls.append(("follow", sum(len(group) for group in boxes)))
        return [
            self._follow(self.world.faces(image), group)
            for image, group in zip(images, boxes, strict=True)
        ]

    def begin_flow(
        self,
        picture: Picture,
        found: Detections,
        at: float,
        *,
        led: Sequence[FaceFlow | None] | None = None,
    ) -> list[FaceFlow]:
        return [fake_flow(box, at) for box in found.boxes]

    def lead_flow(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
    ) -> list[list[FaceFlow | None]]:
        return [[None for _ in group] for group in flows]

    def follow_flow(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
        at: Sequence[float],
    ) -> list[tuple[Followed, list[FaceFlow]]]:
        self.calls.append(("follow_flow", sum(len(group) for group in expected)))
        return [
            (
                self._follow(
                    tuple(
                        replace(face, is_followed=face.is_followed or face.is_flowing)
                        for face in self.world.faces(picture.image)
                    ),
                    boxes,
                ),
                list(group),
            )
            for picture, group, boxes in zip(pictures, flows, expected, strict=True)
        ]

    def align(self, image: Image, landmarks: Floats) -> Image:
        self.calls.append(("align", len(landmarks)))
        crops = np.zeros((len(landmarks), 112, 112, 3), np.uint8)
        for crop, points in zip(crops, landmarks, strict=True):
            crop[:] = self._nearest(image, points).person
            # Two crops of one person are never identical.
            crop[0, [0, -1]] = image[-1, -1]
        return crops

    def embed(self, crops: Image, *, flip: bool = False) -> Floats:
        self.calls.append(("embed", len(crops)))
        embeddings = np.empty((len(crops), EMBEDDING_SIZE), np.float32)
        for row, crop in enumerate(crops):
            embeddings[row] = looks_like(int(crop[50, 50, 0]), int(crop[0, 0, 2]))
        return embeddings

    def align_and_judge(self, image: Image, detections: Detections) -> tuple[Image, list[Quality]]:
        return self.align(image, detections.landmarks), self.quality(image, detections)

    def quality(self, image: Image, detections: Detections) -> list[Quality]:
        return [
            Quality(face.size, 100.0, 0.0, 0.0, 0.0, 0.9, 0.5, face.quality)
            for face in (self._nearest(image, points) for points in detections.landmarks)
        ]

    def count(self, call: str) -> int:
        """Return the total number of faces or images of a call."""
        return sum(n for name, n in self.calls if name == call)

    def _nearest(self, image: Image, landmarks: Floats) -> FakeFace:
        middle = landmarks[2]
        return min(
            self.world.faces(image),
            key=lambda face: abs(face.x - middle[0]) + abs(face.y - middle[1]),
        )

    def _follow(self, faces: tuple[FakeFace, ...], boxes: Floats) -> Followed:
        new_boxes, scores = boxes.copy(), np.full(len(boxes), 0.1, np.float32)
        landmarks = np.array([landmarks_in(box) for box in boxes], np.float32).reshape(-1, 5, 2)
        for row, box in enumerate(boxes):
            near = [f for f in faces if f.is_followed and _iou(f.box, box) >= NEAR_IOU]
            if near:
                nearest = max(near, key=lambda f: _iou(f.box, box))
                new_boxes[row], landmarks[row] = nearest.box, nearest.landmarks
                scores[row] = 0.95
        return Followed(new_boxes, landmarks, scores, scores < 0.5)


def as_detections(faces: Sequence[FakeFace]) -> Detections:
    """Return faces as detections."""
    boxes = np.stack([face.box for face in faces]) if faces else np.empty((0, 4), np.float32)
    landmarks = [face.landmarks for face in faces]
    return Detections(
        boxes,
        np.stack(landmarks) if landmarks else np.empty((0, 5, 2), np.float32),
        np.full(len(faces), 0.9, np.float32),
    )


def fake_flow(box: Floats, at: float) -> FaceFlow:
    """Return the state of a followed face that was confirmed at a time, seconds."""
    nothing = np.zeros((1, 1), np.uint8)
    half = np.asarray((box[2:] - box[:2]) / 2, np.float32)
    center = complex(*(float(side) for side in (box[:2] + box[2:]) / 2))
    return FaceFlow(nothing, 0.0, center, half, np.zeros(5, np.complex128), 1, 0j, 1, 0j, 0.9, at)


def looks_like(person: int, variant: int = 0, noise: float = 0.4) -> Floats:
    """Return an embedding of a person: cosine about 0.85 to their others, 0 to strangers."""
    own = np.zeros(EMBEDDING_SIZE)
    own[person % (EMBEDDING_SIZE // 2)] = 1.0 if person < EMBEDDING_SIZE // 2 else -1.0
    other = np.random.default_rng([person, variant]).normal(size=EMBEDDING_SIZE)
    other[: EMBEDDING_SIZE // 2] = 0
    mixed = own + noise * other / np.linalg.norm(other)
    return np.asarray(mixed / np.linalg.norm(mixed), np.float32)


def landmarks_in(box: Floats, roll: float = 0.0) -> Floats:
    """Return the points of a face in a box, turned clockwise about its center by degrees."""
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    points = 0.5 + (LANDMARKS - 0.5) @ np.array([[cos, sin], [-sin, cos]])
    return np.asarray(box[:2] + points * (box[2:] - box[:2]), np.float32)


def _iou(a: Floats, b: Floats) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.clip(sides, 0, None).prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)
