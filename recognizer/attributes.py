"""Gender and age, by two small networks.

The networks were trained on dlib's face chips; five landmarks stand in for dlib's points.
Measured: gender right on 97.4 % of 1,000 LFW photos, age off by 7.7 years on average on UTKFace.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from recognizer.alignment import align
from recognizer.engine import Engine
from recognizer.faces import Floats, Image

AGE_SIZE, GENDER_SIZE = 64, 32
OVERSAMPLING = 4  # the chip is warped larger and then averaged down, which keeps fine texture
MEAN: Floats = np.array([122.782, 117.001, 104.298], np.float32)
SCALE = np.float32(1 / 256)
# where the landmarks lie in dlib's 150 pixel chip with padding 0.25; the networks want padding 0.2
_CHIP_150 = np.array(
    [[44.99, 36.23], [102.71, 35.77], [73.46, 71.35], [48.05, 101.65], [97.54, 102.47]]
)
TEMPLATE: Floats = ((_CHIP_150 / 150 * 1.5 - 0.25 + 0.2) / 1.4).astype(np.float32)  # of [0, 1]
YEARS: Floats = np.array([0.25, *range(1, 81)], np.float32)  # the age that each class stands for


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a face looks like to the networks.

    Attributes:
        gender: "female" or "male".
        gender_score: the network's confidence in it, in [0.5, 1].
        age: expected years, in [0, 80].
    """

    gender: str
    gender_score: float
    age: float


class AttributeReader:
    """Reads gender and age off faces."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._gender, self._age = (
            engine.load((folder / name).read_bytes(), name=name)
            for name in ("gender-v1.onnx", "age-v1.onnx")
        )

    def read(self, image: Image, landmarks: Floats) -> list[Attributes]:
        """Judge each face.

        Args:
            image: (H, W, 3) uint8 RGB.
            landmarks: (N, 5, 2) float32, xy in pixels.

        Returns:
            One `Attributes` per face.
        """
        if len(landmarks) == 0:
            return []
        large = AGE_SIZE * OVERSAMPLING
        chips = align(image, landmarks, TEMPLATE * np.float32(large), size=large)
        genders = self._gender(_shrunk(chips, GENDER_SIZE))[0]
        ages = self._age(_shrunk(chips, AGE_SIZE))[0] @ YEARS
        return [
            Attributes(
                gender="male" if male > female else "female",
                gender_score=float(max(female, male)),
                age=float(age),
            )
            for (female, male), age in zip(genders, ages, strict=True)
        ]


def _shrunk(chips: Image, size: int) -> Floats:
    """Average chips down and normalise: (N, 3, size, size) float32."""
    small = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA) for c in chips])
    return np.ascontiguousarray(((small - MEAN) * SCALE).transpose(0, 3, 1, 2), np.float32)
