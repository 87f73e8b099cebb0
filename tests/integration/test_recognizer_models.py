"""A user's own models: MXNet checkpoints and ONNX files."""

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from recognizer import (
    ModelCardError,
    ModelFileError,
    add_model,
    convert_checkpoint,
    list_models,
    open_recognizer,
    read_card,
    read_image,
)
from recognizer.detect.detector import Detector
from recognizer.detect.mtcnn import read_weights
from recognizer.detect.refinement import LandmarkRefiner
from recognizer.embed.embedder import Embedder
from recognizer.embed.gender_age import GenderAgeReader, attributes_of
from recognizer.engines.host_images import HostImageWork
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine, missing_for_cuda
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.geometry.alignment import align
from recognizer.models.fetch import ensure
from recognizer.models.library import load_with_card
from recognizer.models.resolve import resolve_model
from tests.mtcnn_oracle import Oracle
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration


def checkpoint(name: str, epoch: int) -> str:
    return f"{shared_data(f'models/{name}-symbol.json').parent / name},{epoch}"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(shared_data("golden/mtcnn_ga_golden.npz")) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("engine", [OpenVinoEngine, partial(OnnxRuntimeEngine, "cpu")])
@pytest.mark.parametrize(
    ("name", "net"), [("det1", "pnet"), ("det2", "rnet"), ("det3", "onet"), ("det4", "lnet")]
)
def test_converted_mtcnn_equals_mxnet(name, net, engine, golden, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    names = convert_checkpoint(checkpoint(name, 1), out)
    outputs = engine(threads=1).load(out.read_bytes(), name=name)(golden[f"{net}|in"])
    assert len(outputs) == len(names)
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(output, golden[f"{net}|out{i}"], atol=1e-5)


@pytest.mark.parametrize("image", ["test.jpeg|det0", "t1.jpg|det0", "Tom_Hanks_54745.png|det1"])
def test_converted_gender_age_equals_mxnet(image, golden, tmp_path: Path) -> None:
    out = tmp_path / "ga.onnx"
    convert_checkpoint(checkpoint("genderage", 0), out)
    network = OpenVinoEngine(threads=1).load(out.read_bytes(), name="ga")
    (raw,) = network(golden[f"{image}|chips_rgb_chw"].astype(np.float32))
    np.testing.assert_allclose(raw, golden[f"{image}|ga_raw"], atol=1e-4)


@pytest.mark.parametrize("image", ["test.jpeg|det0", "t1.jpg|det0", "Tom_Hanks_54745.png|det1"])
def test_gender_and_age_are_those_of_the_reference(image, golden) -> None:
    found = attributes_of(golden[f"{image}|ga_raw"])
    expected = [
        ("male" if gender == 1 else "female", float(age)) for gender, age in golden[f"{image}|ga"]
    ]
    assert [(each.gender, each.age) for each in found] == expected
    assert all(0.5 <= each.gender_score <= 1 for each in found)


def test_a_gender_and_age_model_is_used_by_name_and_is_no_embedding_model(tmp_path: Path) -> None:
    spec = checkpoint("genderage", 0)
    out = tmp_path / "ga.onnx"
    convert_checkpoint(spec, out)
    image = read_image(photos() / "biden.jpg")
    found = []
    for each in (spec, str(out)):
        recognizer = open_recognizer(
            device="cpu", threads=1, attributes=True, gender_age_model=each
        )
        (faces,) = recognizer.recognize([image])
        found.append([(face.gender, face.age) for face in faces])
    assert found[0] == found[1]
    assert found[0][0][0] == "male"
    assert found[0][0][1] in range(101)  # whole years: of this network, not the shipped
    message = "is no embedding model: its 202 outputs are gender and age"
    for use in (
        lambda: resolve_model(spec, cache=tmp_path),
        lambda: resolve_model(str(out), cache=tmp_path),
        lambda: add_model(spec, name="mine", cache=tmp_path),
    ):
        with pytest.raises(ModelCardError, match=message):
            use()
    spec = checkpoint("y1", 0)
    loaded = load_with_card(spec, name="y1")
    with pytest.raises(ModelFileError, match=r"y1,0 is no gender and age model: it has 128"):
        GenderAgeReader(OpenVinoEngine(threads=1), *loaded, spec)


def test_an_mxnet_checkpoint_becomes_a_model_by_name(tmp_path: Path) -> None:
    card = add_model(checkpoint("y1", 0), name="mine", cache=tmp_path)
    assert card.embedding_size == 128
    assert card.colour_order == "rgb"
    assert list_models(tmp_path)[-1].name == "mine"
    by_name = resolve_model("mine", cache=tmp_path)
    by_spec = resolve_model(checkpoint("y1", 0), cache=tmp_path)
    assert by_name.model_id.startswith("mine-")
    assert by_spec.model_id.startswith("y1-")
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    engine = OpenVinoEngine(threads=1)
    first, second = (
        Embedder(engine, resolved.model, resolved.card).embed(crops)
        for resolved in (by_name, by_spec)
    )
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_converted_model_carries_its_card(tmp_path: Path) -> None:
    out = tmp_path / "y1.onnx"
    assert convert_checkpoint(checkpoint("y1", 0), out) == ["fc1"]
    card = read_card(onnx.load(out), name="y1")
    assert card.embedding_size == 128
    assert resolve_model(str(out), cache=tmp_path).card == card


def test_an_onnx_file_without_card_asks_for_what_it_does_not_say(tmp_path: Path) -> None:
    out = tmp_path / "y1.onnx"
    convert_checkpoint(checkpoint("y1", 0), out, outputs=("fc1",))
    with pytest.raises(ModelCardError, match="give --colour-order, --mean, --std"):
        add_model(str(out), name="mine", cache=tmp_path)
    card = add_model(
        str(out), name="mine", cache=tmp_path, colour_order="rgb", mean=[0] * 3, std=[1] * 3
    )
    assert card.threshold == 0.38


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "sface", "a/b", ".hidden"])
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be called"):
        add_model("any.onnx", name=name, cache=tmp_path)


def test_a_detector_is_no_embedding_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"must give \(N, D\)"):
        add_model(
            checkpoint("det1", 1), name="mine", cache=tmp_path, mean=[127.5] * 3, std=[128] * 3
        )
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize("name", ["test.jpeg", "Tom_Hanks_54745.png", "t1.jpg"])
def test_refined_landmarks_equal_the_references(name: str, golden) -> None:
    refiner = LandmarkRefiner(OpenVinoEngine(threads=1), checkpoint("det4", 1))
    image = read_image(shared_data(f"golden/images/{name}"))
    found = Oracle(read_weights(ensure("mtcnn"))).detect(image)
    found = refiner.refine(HostImageWork().open([image]), 0, found)
    boxes = golden[f"{name}|det0|boxes"]
    points = golden[f"{name}|det0|points"].reshape(-1, 2, 5).transpose(0, 2, 1)
    nearest = np.abs(found.boxes[:, None] - boxes[None, :, :4]).sum(axis=2).argmin(axis=1)
    # the reference cuts its points down to whole pixels
    np.testing.assert_allclose(np.trunc(found.landmarks), points[nearest], atol=1)


@pytest.mark.parametrize(("name", "epoch"), [("y1", 0), ("det1", 1), ("det3", 1)])
def test_another_network_is_no_refiner(name: str, epoch: int) -> None:
    with pytest.raises(ModelFileError, match="is another network than L-Net"):
        LandmarkRefiner(OpenVinoEngine(threads=1), checkpoint(name, epoch))


def test_no_faces_need_no_refinement() -> None:
    engine = OpenVinoEngine(threads=1)
    refiner = LandmarkRefiner(engine, checkpoint("det4", 1))
    detector = Detector(engine, read_weights(ensure("mtcnn")), refiner=refiner)
    assert len(detector.detect([np.zeros((60, 60, 3), np.uint8)])[0]) == 0


# an engine of each kind that is usable here; CUDA joins where there is a GPU
OTHER_ENGINES = [pytest.param(partial(OnnxRuntimeEngine, "cpu", threads=1), id="onnxruntime")]
if not missing_for_cuda():
    cuda = partial(OnnxRuntimeEngine, "cuda", threads=1)
    OTHER_ENGINES.append(pytest.param(cuda, id="cuda", marks=pytest.mark.gpu))


@pytest.mark.parametrize("engine", OTHER_ENGINES)
def test_engines_agree_on_faces_and_embeddings(engine) -> None:
    images = [read_image(photos() / name) for name in ("obama.jpg", "astronaut.png")]
    results = []
    for each in (OpenVinoEngine(threads=1), engine()):
        detector = Detector(each, read_weights(ensure("mtcnn")))
        resolved = resolve_model("sface")
        embedder = Embedder(each, resolved.model, resolved.card)
        found = detector.detect(images)
        crops = np.concatenate(
            [align(image, faces.landmarks) for image, faces in zip(images, found, strict=True)]
        )
        results.append((found, embedder.embed(crops)))
    (first, first_embeddings), (second, second_embeddings) = results
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=0.05)
    assert ((first_embeddings * second_embeddings).sum(axis=1) > 0.999).all()
