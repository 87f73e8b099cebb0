"""Gender and age, by two small networks.

The networks were trained on dlib's face chips; five landmarks stand in for dlib's points.
Measured: gender right on 97.4 % of 1,000 LFW photos, age off by 7.7 years on average on UTKFace.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from recognizer.engines.engine import Engine
from recognizer.engines.image_work import Images
from recognizer.faces import Floats
from recognizer.geometry.alignment import similarity_transforms
from recognizer.onnx_graph import FLOAT, UINT8, OnnxGraph

AGE_SIZE, GENDER_SIZE = 64, 32
CHIP_SIZE = 256  # a chip is warped larger and then averaged down, which keeps fine texture
MEAN: Floats = np.array([122.782, 117.001, 104.298], np.float32)
SCALE = np.float32(1 / 256)
# the landmarks in dlib's 150 pixel chip with padding 0.25; the networks need padding 0.2
_CHIP_150 = np.array(
    [[44.99, 36.23], [102.71, 35.77], [73.46, 71.35], [48.05, 101.65], [97.54, 102.47]]
)
TEMPLATE: Floats = ((_CHIP_150 / 150 * 1.5 - 0.25 + 0.2) / 1.4).astype(np.float32)  # of [0, 1]
YEARS: Floats = np.array([0.25, *range(1, 81)], np.float32)  # the age that each class stands for


@dataclass(frozen=True, slots=True)
class Attributes:
    """Gender and age of a face, by the networks.

    Attributes:
        gender: "female" or "male".
        gender_score: the network's confidence in it, in [0.5, 1].
        age: years: expected, in [0, 80], by the shipped network; whole, in [0, 100], by one of 202
            outputs.
    """

    gender: str
    gender_score: float
    age: float


class AttributeReader:
    """Estimates gender and age of faces."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._gender, self._age = (
            engine.load(_for_chips((folder / name).read_bytes(), CHIP_SIZE // size), name=name)
            for name, size in (("gender-v1.onnx", GENDER_SIZE), ("age-v1.onnx", AGE_SIZE))
        )

    def read(self, images: Images, owners: NDArray[np.intp], landmarks: Floats) -> list[Attributes]:
        """Estimate gender and age of each face.

        Args:
            images: where the networks run.
            owners: (N,) index of the image of each face.
            landmarks: (N, 5, 2) float32, xy in pixels.

        Returns:
            One `Attributes` per face.
        """
        genders = np.empty((len(owners), 2), np.float32)
        ages = np.empty(len(owners), np.float32)
        matrices = similarity_transforms(landmarks, TEMPLATE * np.float32(CHIP_SIZE))
        for rows in images.batches(owners):
            chips = images.warp(owners[rows], matrices[rows], size=CHIP_SIZE)
            genders[rows] = self._gender(chips)[0]
            ages[rows] = self._age(chips)[0] @ YEARS
        return [
            Attributes(
                gender="male" if male > female else "female",
                gender_score=float(max(female, male)),
                age=float(age),
            )
            for (female, male), age in zip(genders, ages, strict=True)
        ]


def _for_chips(model: bytes, factor: int) -> bytes:
    """Make a network take (N, S, S, 3) uint8 RGB chips: averaged down by a factor, normalized."""
    prepared = onnx.load_from_string(model)
    front = OnnxGraph("chips")
    chips = front.input("facewire_chips", UINT8, ["N", CHIP_SIZE, CHIP_SIZE, 3])
    front.add("Transpose", [chips], "facewire_planes", perm=[0, 3, 1, 2])
    floats = front.add("Cast", ["facewire_planes"], "facewire_floats", to=FLOAT)
    # averaging and normalizing are one convolution, twice as fast as pooling
    weights = np.zeros((3, 3, factor, factor), np.float32)
    weights[range(3), range(3)] = SCALE / factor**2
    inputs = [
        floats,
        front.constant("facewire_weights", weights),
        front.constant("facewire_bias", -MEAN * SCALE),
    ]
    front.add("Conv", inputs, prepared.graph.input[0].name, strides=[factor, factor])
    front.put_before(prepared)
    serialized: bytes = prepared.SerializeToString()
    return serialized
