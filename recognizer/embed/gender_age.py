"""Gender and age by one network on aligned crops, as the reference system has them.

The network has 202 outputs: two for gender, then two for each of 100 years, whether the person is
at least so old. `facewire-train fit genderage` trains one; the reference's own is read as it is.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from recognizer.card import GENDER_AGE_OUTPUTS as OUTPUTS
from recognizer.card import ModelCard
from recognizer.embed.attributes import Attributes
from recognizer.embed.embedder import MAX_BATCH, prepare
from recognizer.engines.engine import Engine, to_host
from recognizer.engines.image_work import Images
from recognizer.errors import ModelFileError
from recognizer.faces import Floats
from recognizer.geometry.alignment import CROP_SIZE, similarity_transforms

SPEC = "FILE.onnx of facewire-train, or PREFIX,EPOCH of MXNet"


class GenderAgeReader:
    """Estimates gender and age of faces from their aligned crops.

    Args:
        engine: runs it.
        model: the network.
        card: its outputs and input.
        spec: where it came from, for a message: FILE.onnx, or PREFIX,EPOCH of an MXNet checkpoint.

    Raises:
        ModelFileError: if it is no such network.
    """

    def __init__(self, engine: Engine, model: onnx.ModelProto, card: ModelCard, spec: str) -> None:
        check_gender_age(card, spec)
        self._network = engine.load(prepare(model, card), name=card.name)
        self._most = MAX_BATCH[engine.device]

    def read(self, images: Images, owners: NDArray[np.intp], landmarks: Floats) -> list[Attributes]:
        """Estimate gender and age of each face.

        Args:
            images: where the networks run.
            owners: (N,) index of the image of each face.
            landmarks: (N, 5, 2) float32, xy in pixels.

        Returns:
            One `Attributes` per face.
        """
        outputs = np.empty((len(owners), OUTPUTS), np.float32)
        matrices = similarity_transforms(landmarks)
        for rows in images.batches(owners):
            crops = to_host(images.warp(owners[rows], matrices[rows], size=CROP_SIZE))
            found = [
                self._network(np.ascontiguousarray(crops[start : start + self._most]))[0]
                for start in range(0, len(crops), self._most)
            ]
            outputs[rows] = np.concatenate(found)
        return attributes_of(outputs)


def check_gender_age(card: ModelCard, spec: str) -> None:
    """Refuse a model that is none of gender and age.

    Args:
        card: its outputs and input.
        spec: where it came from, for the message.

    Raises:
        ModelFileError: if it has other outputs, or an input of another size.
    """
    if card.embedding_size != OUTPUTS or card.input_size != (CROP_SIZE, CROP_SIZE):
        raise ModelFileError(
            f"{spec} is no gender and age model: it has {card.embedding_size} outputs for "
            f"crops of {card.input_size[1]}x{card.input_size[0]}, not {OUTPUTS} for "
            f"{CROP_SIZE}x{CROP_SIZE} (give {SPEC})"
        )


def attributes_of(outputs: Floats) -> list[Attributes]:
    """Return what the outputs of the network say.

    Args:
        outputs: (N, 202) float32: female, male, then (younger, at least i + 1 years) for 100 years.
    """
    gender = np.exp(outputs[:, :2] - outputs[:, :2].max(axis=1, keepdims=True))
    gender /= gender.sum(axis=1, keepdims=True)
    years = outputs[:, 2:].reshape(-1, 100, 2).argmax(axis=2).sum(axis=1)
    return [
        Attributes(
            gender="male" if male > female else "female",
            gender_score=float(max(female, male)),
            age=float(age),
        )
        for (female, male), age in zip(gender, years, strict=True)
    ]
