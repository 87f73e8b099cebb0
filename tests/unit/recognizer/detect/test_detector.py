"""The cascade's bookkeeping, on networks of random weights that call much a face."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recognizer.detect.detector import Detector, DetectorOptions
from recognizer.detect.mtcnn import read_weights
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.faces import Image
from tests.unit.recognizer.detect.test_mtcnn import write_weights

SIZES = [(60, 80), (48, 48), (90, 50), (60, 80), (30, 30)]


def noise(height: int, width: int, seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    folder: Path = tmp_path_factory.mktemp("weights")
    write_weights(folder)
    # random networks are sure of anything: thresholds below zero let all of it pass
    options = DetectorOptions(min_face_px=24, thresholds=(0.4, -1.0, -1.0), output_overlap=0.95)
    return Detector(OpenVinoEngine(threads=1), read_weights(folder), options)


def test_no_images(detector: Detector) -> None:
    assert detector.detect([]) == []
    assert detector.follow([], []) == []


def test_a_batch_equals_its_images_one_by_one(detector: Detector) -> None:
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    together = detector.detect(images)
    assert sum(len(found) for found in together) >= len(SIZES)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector.detect([image])
        assert len(found) == len(alone)
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-4)
        np.testing.assert_allclose(found.landmarks, alone.landmarks, atol=1e-4)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (11, 11), (12, 12), (24, 25)])
def test_tiny_images(detector: Detector, size: tuple[int, int]) -> None:
    (found,) = detector.detect([noise(*size, 0)])
    assert np.isfinite(found.boxes).all()
    (followed,) = detector.follow([noise(*size, 0)], [np.array([[0, 0, 9, 9]], np.float32)])
    assert len(followed.boxes) == 1


def test_scores_descend(detector: Detector) -> None:
    (found,) = detector.detect([noise(70, 70, 3)])
    assert (np.diff(found.scores) <= 0).all()


def test_follow_keeps_the_rows_of_every_image(detector: Detector) -> None:
    images = [noise(120, 160, 0), noise(64, 64, 1), noise(90, 90, 2)]
    boxes = [
        np.array([[10, 10, 60, 70], [-900, -900, -800, -800], [40, 30, 90, 80]], np.float32),
        np.empty((0, 4), np.float32),
        np.array([[5, 5, 5, 5], [-40, -40, 200, 200]], np.float32),
    ]
    together = detector.follow(images, boxes)
    assert [len(followed.boxes) for followed in together] == [3, 0, 2]
    assert together[0].is_lost[1]
    assert together[2].is_lost[0]
    np.testing.assert_array_equal(together[0].boxes[1], boxes[0][1])
    for image, rows, followed in zip(images, boxes, together, strict=True):
        (alone,) = detector.follow([image], [rows])
        np.testing.assert_allclose(followed.boxes, alone.boxes, atol=1e-4)
        np.testing.assert_array_equal(followed.is_lost, alone.is_lost)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        None,
    ],
)
def test_other_images_are_refused(detector: Detector, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
        detector.detect([image])


@pytest.mark.parametrize("edge", [1e4, 1e30, np.inf, np.nan])
def test_boxes_far_beyond_the_image_are_lost(detector: Detector, edge: float) -> None:
    boxes = np.array([[-edge, -edge, edge, edge], [20, 20, 70, 70]], np.float32)
    (followed,) = detector.follow([noise(90, 90, 3)], [boxes])
    (alone,) = detector.follow([noise(90, 90, 3)], [boxes[1:]])
    assert followed.is_lost[0]
    np.testing.assert_array_equal(followed.boxes[0], boxes[0])
    np.testing.assert_allclose(followed.boxes[1:], alone.boxes, atol=1e-4)
    assert np.isfinite(followed.landmarks).all()


def test_the_longest_images_are_cropped_and_longer_ones_refused(detector: Detector) -> None:
    box = np.array([[32_700, 0, 32_760, 60]], np.float32)
    (followed,) = detector.follow([noise(60, 32_766, 4)], [box])
    assert followed.scores[0] > 0
    with pytest.raises(ValueError, match="sides up to 32766 pixels"):
        detector.detect([np.zeros((4, 32_767, 3), np.uint8)])


def test_boxes_must_come_with_their_images(detector: Detector) -> None:
    with pytest.raises(ValueError, match="as many boxes as images"):
        detector.follow([noise(20, 20, 0)], [])


def test_a_view_of_an_image_is_as_good_as_a_copy(detector: Detector) -> None:
    image = noise(100, 120, 5)
    (flipped,) = detector.detect([image[:, ::-1]])
    (copied,) = detector.detect([np.ascontiguousarray(image[:, ::-1])])
    np.testing.assert_array_equal(flipped.boxes, copied.boxes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_face_px": 11},
        {"factor": 0.0},
        {"factor": 1.0},
        {"thresholds": (0.5, 0.5)},
        {"thresholds": (0.5, 0.5, 1.0)},
        {"thresholds": (np.nan, 0.5, 0.5)},
        {"level_overlap": -0.1},
        {"output_overlap": 1.1},
        {"refine_overlap": np.nan},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DetectorOptions(**wrong)


def test_a_drafted_detector_finds_the_same(detector: Detector) -> None:
    images = [noise(*size, seed) for seed, size in enumerate(SIZES)]
    drafted = detector.drafted_by(Blurred())
    found, again = detector.detect(images), drafted.detect(images)
    assert sum(map(len, found)) >= len(SIZES)
    for before, after in zip(found, again, strict=True):
        np.testing.assert_allclose(before.boxes, after.boxes, atol=1e-3)
        np.testing.assert_allclose(before.scores, after.scores, atol=1e-4)


class Blurred:
    """An engine that is a little wrong, as one of few bits is."""

    name, device = "blurred", "cpu"

    def __init__(self) -> None:
        self._engine = OpenVinoEngine(threads=1)

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> Any:
        network = self._engine.load(model, name=name)
        return lambda *inputs: [np.round(each * 8) / 8 for each in network(*inputs)]

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array
