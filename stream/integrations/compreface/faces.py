"""The faces of a photo, with what a client of CompreFace asks for."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import (
    Attributes,
    Detections,
    ModelFileError,
    Recognizer,
    decode_photo,
    head_poses,
)

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

CROP_SIDE = 112


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        min_score: minimum of the detector's score, in [0, 1].
        limit: most faces, the largest ones; 0 for all.
        plugins: names of CompreFace's face plugins; unknown ones are ignored.
        is_crop: the photo is one face, cut out: nothing is searched in it.
        with_embeddings: whether embeddings are needed, whatever the plugins.
    """

    min_score: float = 0.0
    limit: int = 0
    plugins: Collection[str] = ()
    is_crop: bool = False
    with_embeddings: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face of a photo.

    Attributes:
        box: x1, y1, x2, y2 in whole pixels of the photo, inside it.
        score: of the detector, in [0, 1].
        embedding: (D,) float32 of unit length; None if it was not needed.
        landmarks: five x, y in whole pixels; None of a photo that is a crop.
        pose: yaw, pitch, roll in degrees, as in `recognizer.Quality`; None likewise.
        attributes: gender and age; None if not asked for, or no such model is open.
    """

    box: tuple[int, int, int, int]
    score: float
    embedding: Floats | None
    landmarks: list[tuple[int, int]] | None
    pose: tuple[float, float, float] | None
    attributes: Attributes | None


@dataclass(slots=True)
class Steps:
    """How long the steps of one photo took.

    Attributes:
        ms: milliseconds by CompreFace's name of the step.
    """

    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, *names: str) -> Iterator[None]:
        """Measure a step, which stands for all of these names."""
        start = time.perf_counter()
        yield
        spent = 1000 * (time.perf_counter() - start)
        self.ms.update(dict.fromkeys(names, round(spent, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The faces of a photo, the largest first, and how long each step took."""

    faces: tuple[FoundFace, ...]
    steps: Steps


def find_faces(recognizer: Recognizer, data: bytes, *, name: str, wanted: Wanted) -> Found:
    """Return the faces of a photo, the largest first.

    Faces are searched upright alone, as CompreFace does: that is six to twenty times as fast as in
    all directions.

    Args:
        recognizer: for photos.
        data: the file.
        name: of the file, for messages.
        wanted: what is asked for.

    Raises:
        ImageError: if it is no photo.
    """
    photo = decode_photo(data, name=name)
    image = photo.image
    image.setflags(write=False)  # so that a GPU gets it once
    steps = Steps()
    if wanted.is_crop:
        return _as_crop(recognizer, image, photo.scale, wanted, steps)
    with steps.timed("detector"):
        (detections,) = recognizer.detect([image])
    faces = _largest(detections, wanted)
    embeddings: Sequence[Floats | None] = [None] * len(faces)
    if wanted.with_embeddings or "calculator" in wanted.plugins:
        with steps.timed("calculator"):
            embeddings = list(recognizer.embed(recognizer.align(image, faces.landmarks)))
    attributes: Sequence[Attributes | None] = [None] * len(faces)
    named = [each for each in ("age", "gender") if each in wanted.plugins]
    if named:
        try:
            with steps.timed(*named):
                attributes = recognizer.attributes(image, faces.landmarks)
        except ModelFileError:  # not fetched: they are left out
            for each in named:
                steps.ms.pop(each, None)
    with steps.timed(*(each for each in ("pose",) if each in wanted.plugins)):
        poses = head_poses(faces.landmarks)
    size = image.shape[1] * photo.scale, image.shape[0] * photo.scale
    found = [
        FoundFace(
            _within(faces.boxes[i] * photo.scale, size),
            float(faces.scores[i]),
            embeddings[i],
            [(round(x), round(y)) for x, y in (faces.landmarks[i] * photo.scale).tolist()],
            (float(poses[i, 0]), float(poses[i, 1]), float(poses[i, 2])),
            attributes[i],
        )
        for i in range(len(faces))
    ]
    return Found(tuple(found), steps)


def _as_crop(
    recognizer: Recognizer, image: Image, scale: float, wanted: Wanted, steps: Steps
) -> Found:
    size = image.shape[1] * scale, image.shape[0] * scale
    crop = cv2.resize(image, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_AREA)
    embedding = None
    if wanted.with_embeddings or "calculator" in wanted.plugins:
        with steps.timed("calculator"):
            embedding = recognizer.embed(np.asarray(crop, np.uint8)[np.newaxis])[0]
    box = 0, 0, round(size[0]), round(size[1])
    return Found((FoundFace(box, 1.0, embedding, None, None, None),), steps)


def _largest(detections: Detections, wanted: Wanted) -> Detections:
    sure = np.flatnonzero(detections.scores >= wanted.min_score)
    sides = detections.boxes[sure, 2:] - detections.boxes[sure, :2]
    order = sure[np.argsort(-sides.prod(axis=1), kind="stable")]
    order = order[: wanted.limit or None]
    return Detections(
        detections.boxes[order], detections.landmarks[order], detections.scores[order]
    )


def _within(box: Floats, size: tuple[float, float]) -> tuple[int, int, int, int]:
    width, height = round(size[0]), round(size[1])
    x1, y1, x2, y2 = (round(each) for each in box.tolist())
    return (
        min(max(x1, 0), width),
        min(max(y1, 0), height),
        min(max(x2, 0), width),
        min(max(y2, 0), height),
    )
