"""The face of a photo that past sightings are searched for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, Face, Photo, Recognizer


@dataclass(frozen=True, slots=True, eq=False)
class SearchedFace:
    """The largest face of a photo.

    Attributes:
        faces: all faces, the largest first, in pixels of the file.
        quality: of the largest, in [0, 1].
        probe: (1, D) float32 embedding of the largest, unit length.
    """

    faces: tuple[Face, ...]
    quality: float
    probe: NDArray[np.float32]


def searched_face(recognizer: Recognizer, photo: Photo) -> SearchedFace | None:
    """Return the largest face of a photo with the others; None if there is no face."""
    (found,) = recognizer.recognize([photo.image], any_way_up=True)
    if not found:
        return None
    faces = sorted(found, key=_area, reverse=True)
    largest = faces[0]
    alone = Detections(
        largest.box[np.newaxis],
        largest.landmarks[np.newaxis],
        np.array([largest.score], np.float32),
    )
    return SearchedFace(
        tuple(face.enlarged(photo.scale) for face in faces),
        recognizer.quality(photo.image, alone)[0].overall,
        largest.embedding[np.newaxis],
    )


def _area(face: Face) -> float:
    x1, y1, x2, y2 = face.box.tolist()
    return float((x2 - x1) * (y2 - y1))
