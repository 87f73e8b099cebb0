"""A model's similarities, measured on photos of people: a folder for each person."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from recognizer.card import ModelCard
from recognizer.detect.detector import Detector
from recognizer.detect.mtcnn import read_weights
from recognizer.embed.embedder import Embedder
from recognizer.engines.devices import open_engine
from recognizer.errors import ImageError, ModelCardError
from recognizer.faces import Detections, Image
from recognizer.geometry.alignment import CROP_SIZE, align
from recognizer.models.fetch import Progress, ensure
from recognizer.photos.photos import read_image
from recognizer.similarities import (
    PAIR_FAR,
    Floats,
    Similarities,
    derive,
    measured,
    measured_on_people,
)

MAX_PHOTOS = 3000  # 4.5 million pairs, 100 MB; rates down to 1e-5 are measured then
BATCH = 32  # crops embedded at once

OnPhoto = Callable[[int, int, str], None]
"""Called with the number of photos read, of all, and why this one does not count; "" if it does."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Similarities of a model, measured on photos of people.

    Attributes:
        similarities: for the card.
        impostor: (I,) float32 cosines of the pairs of different people.
    """

    similarities: Similarities
    impostor: Floats

    def far(self, threshold: float) -> float:
        """Return the share of different people at a threshold, above 0: less than one pair."""
        n = len(self.impostor)
        return max(int((self.impostor >= threshold).sum()), 0.5) / n


def measure(
    model: onnx.ModelProto,
    card: ModelCard,
    directory: Path,
    *,
    cache: Path | None = None,
    on_photo: OnPhoto | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Compare all photos of people with each other.

    Args:
        model: gives the embeddings.
        card: of the model; only how its input is made counts.
        directory: of DIRECTORY/PERSON/PHOTO, photos or aligned 112x112 crops. Of more than
            `MAX_PHOTOS` photos, as many evenly spread.
        cache: folder of the models, for the detector; None for `default_cache()`.
        on_photo: called after each photo.
        progress: called with the bytes while the detector is fetched.

    Raises:
        ModelCardError: if the photos make too few pairs of different people.
        ModelFileError: if a model cannot be fetched or run.
    """
    files = _files(directory)
    engine = open_engine("auto")
    detector: Detector | None = None
    crops: list[Image] = []
    people: list[str] = []
    for number, path in enumerate(files, 1):
        fault = ""
        try:
            image = read_image(path)
            if image.shape[:2] != (CROP_SIZE, CROP_SIZE) and detector is None:
                detector = Detector(engine, read_weights(ensure("mtcnn", cache, progress)))
            crops.append(_crop(image, detector, path))
            people.append(path.parent.name)
        except ImageError as error:
            fault = str(error)
        if on_photo is not None:
            on_photo(number, len(files), fault)
    embedder = Embedder(engine, model, card)
    empty = np.empty((0, card.embedding_size), np.float32)
    plain, mirrored = [empty], [empty]
    for start in range(0, len(crops), BATCH):
        batch = np.stack(crops[start : start + BATCH])
        plain.append(embedder.embed(batch))
        mirrored.append(embedder.embed(np.ascontiguousarray(batch[:, :, ::-1])))
    embeddings = np.concatenate(plain)
    mirror = (embeddings * np.concatenate(mirrored)).sum(axis=1)
    genuine, impostor = measured_on_people(embeddings, people)
    try:
        similarities = measured(genuine, impostor, mirror)
    except ValueError as error:
        raise ModelCardError(
            f"{directory} shows {len(set(people))} people in {len(crops)} photos with a face: "
            f"{error} (expected {directory}/PERSON/PHOTO.jpg, two photos or more of many people)"
        ) from error
    return Measurement(similarities, impostor)


def with_measurement(card: ModelCard, found: Measurement, threshold: float | None) -> ModelCard:
    """Return a card with what was measured, and the threshold that follows from it.

    Args:
        card: of the model.
        found: about it.
        threshold: set by the user, its rate is then noted; None for the one of `PAIR_FAR`.
    """
    if threshold is None:
        pair = min(derive(found.similarities).pair, 1.0)
        return replace(card, similarities=found.similarities, threshold=pair, far=PAIR_FAR)
    far = found.far(threshold)
    return replace(card, similarities=found.similarities, threshold=threshold, far=far)


def _crop(image: Image, detector: Detector | None, path: Path) -> Image:
    if detector is None or image.shape[:2] == (CROP_SIZE, CROP_SIZE):
        return image
    (found,) = detector.detect([image])
    chosen = main_face(found, image)
    if chosen < 0:
        raise ImageError(f"{path}: no face found")
    crop: Image = align(image, found.landmarks[chosen : chosen + 1])[0]
    return crop


def main_face(detections: Detections, image: Image) -> int:
    """Return the index of the main face, large and near the center; -1 if there is none.

    It has the largest area minus twice the squared distance from the center, as is usual for LFW.
    """
    if not len(detections):
        return -1
    boxes = detections.boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    middle = np.array([image.shape[1], image.shape[0]], np.float32) / 2
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - middle
    return int(np.argmax(area - 2 * np.square(offset).sum(axis=1)))


def _files(directory: Path) -> Sequence[Path]:
    """Return the files of DIRECTORY/PERSON/, hidden ones left out, at most `MAX_PHOTOS`."""
    try:
        files = [
            path
            for person in sorted(directory.iterdir())
            if person.is_dir() and not person.name.startswith(".")
            for path in sorted(person.iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]
    except OSError as error:
        raise ModelCardError(
            f"cannot read {directory}: {(error.strerror or str(error)).lower()} "
            "(expected a folder for each person)"
        ) from error
    if len(files) <= MAX_PHOTOS:
        return files
    return [files[i * len(files) // MAX_PHOTOS] for i in range(MAX_PHOTOS)]
