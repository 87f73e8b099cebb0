"""The recognizer on its real models and real photos."""

import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from recognizer import (
    NOBODY,
    Detections,
    DeviceError,
    Known,
    LiveScan,
    ModelFileError,
    Recognizer,
    fetch,
    open_recognizer,
    read_image,
)
from recognizer.bench import bench_detect, bench_embed
from recognizer.detect.detector import Detector, DetectorOptions
from recognizer.detect.mtcnn import MEAN, POOLS, SCALE, build_graph, read_weights
from recognizer.detect.turning import Turn, mapped
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.geometry.alignment import similarity_transforms
from recognizer.models.fetch import ensure
from tests.mtcnn_oracle import Oracle
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration

PEOPLE = ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "grace_hopper.jpg", "astronaut.png"]
GOLDEN_IMAGES = ["test.jpeg", "Tom_Hanks_54745.png", "t1.jpg"]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return open_recognizer(device="cpu", threads=2, attributes=True)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(read_weights(ensure("mtcnn")))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(shared_data("golden/mtcnn_ga_golden.npz")) as arrays:
        return dict(arrays)


def golden_image(name: str) -> np.ndarray:
    return read_image(shared_data(f"golden/images/{name}"))


def taking_floats(model: bytes) -> bytes:
    """Let a network of pixels take what lies between them: the golden inputs are no bytes."""
    changed = onnx.load_from_string(model)
    changed.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return changed.SerializeToString()


@pytest.mark.parametrize("name", POOLS)
def test_each_net_alone_equals_the_reference(name: str, golden: dict[str, np.ndarray]) -> None:
    net = read_weights(ensure("mtcnn"))[name]
    network = OpenVinoEngine(threads=1).load(taking_floats(build_graph(net)), name=name)
    bgr = golden[f"{name}|in"].transpose(0, 2, 3, 1) / np.float32(SCALE) + np.float32(MEAN)
    (head,) = network(np.ascontiguousarray(bgr[..., ::-1]))
    scores = 1 / (1 + np.exp(-head[:, 0]))
    outputs = [golden[f"{name}|out{i}"] for i in range(3 if name == "onet" else 2)]
    if name == "onet":
        np.testing.assert_allclose(head[:, 5:], outputs.pop(0), atol=1e-5)
    np.testing.assert_allclose(head[:, 1:5], outputs[0], atol=1e-5)
    np.testing.assert_allclose(scores, outputs[1][:, 1], atol=1e-5)


@pytest.mark.parametrize("name", GOLDEN_IMAGES)
def test_the_oracle_finds_the_golden_faces(
    name: str, golden: dict[str, np.ndarray], oracle: Oracle
) -> None:
    found = oracle.detect(golden_image(name))
    boxes = golden[f"{name}|det0|boxes"]
    points = golden[f"{name}|det0|onet_points"].reshape(-1, 2, 5).transpose(0, 2, 1)
    assert len(found) == len(boxes)
    # scores that differ by less than the engines' rounding may swap places
    nearest = np.abs(found.boxes[:, None] - boxes[None, :, :4]).sum(axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(len(boxes)))
    np.testing.assert_allclose(found.boxes, boxes[nearest, :4], atol=0.5)
    np.testing.assert_allclose(found.scores, boxes[nearest, 4], atol=0.01)
    np.testing.assert_allclose(found.landmarks, points[nearest], atol=0.5)


@pytest.mark.parametrize("name", GOLDEN_IMAGES)
def test_the_detector_finds_the_faces_of_the_oracle(name: str, oracle: Oracle) -> None:
    image = golden_image(name)
    options = DetectorOptions(min_face_px=20)
    detector = Detector(OpenVinoEngine(threads=2), read_weights(ensure("mtcnn")), options)
    (found,) = detector.detect([image])
    expected = oracle.detect(image)
    sure = expected.boxes[expected.scores > 0.9]
    overlaps = [overlap(box, found.boxes).max() for box in sure]
    assert len(overlaps) >= 1
    assert min(overlaps) > 0.7


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return a box's intersection over union with each of (N, 4) boxes."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / (areas + (box[2:] - box[:2]).prod() - shared)


@pytest.mark.parametrize("name", GOLDEN_IMAGES)
def test_aligned_crops_are_the_references(
    name: str, golden: dict[str, np.ndarray], recognizer: Recognizer
) -> None:
    chips = golden[f"{name}|det0|chips_rgb_chw"].transpose(0, 2, 3, 1)
    points = golden[f"{name}|det0|points"].reshape(-1, 2, 5).transpose(0, 2, 1)
    crops = recognizer.align(golden_image(name), points[: len(chips)].astype(np.float32))
    # the golden crops come from OpenCV 4.8, whose warp rounds otherwise
    difference = np.abs(crops.astype(int) - chips)
    assert (difference > 4).mean() < 1e-5
    assert difference.max() <= 6


@pytest.mark.parametrize(
    "name", ["000_5", "010_2", "011_3", "012_4", "013_4", "014_5", "015_6", "016_8", "017_0"]
)
def test_every_marked_face_is_found(name: str, recognizer: Recognizer) -> None:
    noses = json.loads(shared_data("detect/noses_xy.json").read_text())[f"{name}.jpg"]
    (found,) = recognizer.detect([read_image(shared_data(f"detect/{name}.jpg"))])
    for x, y in noses:
        x1, y1, x2, y2 = found.boxes.T
        assert ((x1 < x) & (x < x2) & (y1 < y) & (y < y2)).any(), f"no face at {x}, {y}"
    # what the detector is sure of is a face; hands and necks stay below
    assert (found.scores > 0.9).sum() <= len(noses) + 1


def test_a_batch_of_photos_equals_its_photos(recognizer: Recognizer) -> None:
    images = [read_image(photos() / name) for name in PEOPLE]
    for image, together in zip(images, recognizer.detect(images), strict=True):
        (alone,) = recognizer.detect([image])
        assert len(alone) == len(together)
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-4)
        np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=1e-4)


@pytest.mark.parametrize("degrees", [30, 45, 60, 90, 120, 180, 225, 300])
def test_a_photo_turned_by_any_angle_shows_the_same_person(
    recognizer: Recognizer, degrees: int
) -> None:
    for name in ("obama.jpg", "biden.jpg", "astronaut.png"):
        image = read_image(photos() / name)
        (upright,) = recognizer.recognize([image])
        turn = Turn(degrees, *image.shape[:2])
        (turned,) = recognizer.recognize([turn.image_of(image)], any_way_up=True)
        best = max(turned, key=lambda face: face.score)
        assert best.embedding @ upright[0].embedding > 0.8
        expected = mapped(upright[0].landmarks, turn.matrix)
        eyes = np.linalg.norm(expected[0] - expected[1])
        assert np.abs(best.landmarks - expected).max() < 0.25 * eyes
        middle = (best.box[:2] + best.box[2:]) / 2
        assert np.linalg.norm(middle - expected.mean(axis=0)) < 0.6 * eyes


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_that_lies_beside_an_upright_one_is_found(
    recognizer: Recognizer, quarters: int
) -> None:
    one, other = (read_image(photos() / name) for name in ("obama.jpg", "biden.jpg"))
    lying = np.ascontiguousarray(np.rot90(other, quarters))
    photo = np.full((max(len(one), len(lying)), one.shape[1] + lying.shape[1], 3), 90, np.uint8)
    photo[: len(one), : one.shape[1]] = one
    photo[: len(lying), one.shape[1] :] = lying
    (faces,) = recognizer.recognize([photo], any_way_up=True)
    assert len(faces) == 2
    for face in recognizer.recognize([one])[0] + recognizer.recognize([other])[0]:
        assert max(found.embedding @ face.embedding for found in faces) > 0.8


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("share", [0.0, 0.05, -0.1])
def test_a_face_that_fills_its_photo_is_found(
    recognizer: Recognizer, name: str, share: float
) -> None:
    photo = read_image(photos() / name)
    (upright,) = recognizer.recognize([photo])
    box = upright[0].box
    cut = share * (box[2:] - box[:2])
    x1, y1 = np.maximum(box[:2] + cut, 0).astype(int)
    x2, y2 = (box[2:] - cut).astype(int)
    (found,) = recognizer.recognize([np.ascontiguousarray(photo[y1:y2, x1:x2])])
    assert len(found) == 1
    assert found[0].embedding @ upright[0].embedding > 0.6
    moved = upright[0].landmarks - np.array([x1, y1])
    assert np.abs(found[0].landmarks - moved).max() < 0.12 * (box[2] - box[0])


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_face_cut_by_the_border_is_found(recognizer: Recognizer, side: str) -> None:
    for name in PEOPLE:
        photo = read_image(photos() / name)
        (upright,) = recognizer.detect([photo])
        x1, y1, x2, y2 = upright.boxes[0]
        share = 0.2  # of the face is beyond the border
        part = {
            "left": photo[:, int(x1 + share * (x2 - x1)) :],
            "right": photo[:, : int(x2 - share * (x2 - x1))],
            "top": photo[int(y1 + share * (y2 - y1)) :],
            "bottom": photo[: int(y2 - share * (y2 - y1))],
        }[side]
        (found,) = recognizer.detect([np.ascontiguousarray(part)])
        assert (found.scores > 0.8).any(), name


def in_a_room(name: str, face_px: int, *, degrees: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a 720p frame with a photo's face of that width, and its landmarks there."""
    photo = read_image(photos() / name)
    (found,) = open_recognizer(device="cpu", threads=1).detect([photo])
    scale = face_px / float(found.boxes[0, 2] - found.boxes[0, 0])
    turn = Turn(degrees, *photo.shape[:2], scale=scale)
    if scale < 0.5:
        size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
        photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        turn = Turn(degrees, *photo.shape[:2])
    else:
        scale = 1.0
    frame = np.full((720, 1280, 3), 120, np.uint8)
    frame[:, ::40] = 90
    part = turn.image_of(photo)[:600, :900]
    frame[100 : 100 + part.shape[0], 300 : 300 + part.shape[1]] = part
    return frame, mapped(found.landmarks[0] * scale, turn.matrix) + np.array([300, 100])


def follow_live(
    recognizer: Recognizer, frame: np.ndarray, n_scans: int, known: Known = NOBODY
) -> list[Detections]:
    """Return what each of some scans of a still frame finds, each beside the last one's faces."""
    scan, results = LiveScan(), []
    for _ in range(n_scans):
        (found,) = recognizer.scan([frame], [scan], [known])
        results.append(found)
        known = Known(found.boxes, found.landmarks)
    return results


def has_face(found: Detections, landmarks: np.ndarray) -> bool:
    eyes = np.linalg.norm(landmarks[0] - landmarks[1])
    return bool((np.abs(found.landmarks - landmarks).max(axis=(1, 2)) < 0.35 * eyes).any())


@pytest.mark.parametrize("name", ["obama.jpg", "biden.jpg", "grace_hopper.jpg"])
def test_a_live_camera_shows_faces_of_24_pixels_within_a_second_and_keeps_them(
    recognizer: Recognizer, name: str
) -> None:
    frame, landmarks = in_a_room(name, 24)
    recognizer.set_min_face_px(24)
    try:
        found = [has_face(each, landmarks) for each in follow_live(recognizer, frame, 20)]
    finally:
        recognizer.set_min_face_px(40)
    assert any(found[:4]), "five scans a second"
    kept = found[found.index(True) :]
    # a track outlives three scans without its face
    assert all(one or other for one, other in itertools.pairwise(kept))


@pytest.mark.parametrize("degrees", [60, 90, 180, 270])
def test_a_live_camera_shows_turned_faces_and_keeps_them(
    recognizer: Recognizer, degrees: int
) -> None:
    frame, landmarks = in_a_room("obama2.jpg", 130, degrees=degrees)
    found = follow_live(recognizer, frame, 24)
    seen = [has_face(each, landmarks) for each in found]
    assert any(seen[:14])
    assert all(seen[seen.index(True) :])
    last = found[-1]
    (followed,) = recognizer.follow([frame], [last.boxes], [last.landmarks])
    assert not followed.is_lost.any()
    crops = recognizer.align(frame, followed.landmarks)
    (person,) = recognizer.recognize([read_image(photos() / "obama2.jpg")])
    assert (recognizer.embed(crops) @ person[0].embedding).max() > 0.7


def test_a_live_scan_of_upright_people_finds_those_of_a_photo(recognizer: Recognizer) -> None:
    for name in ("t1.jpg", "Tom_Hanks_54745.png"):
        image = golden_image(name)
        (photo,) = recognizer.detect([image])
        for found in follow_live(recognizer, image, 20):
            assert len(found) == len(photo)
            np.testing.assert_allclose(found.boxes, photo.boxes, atol=1e-3)


@pytest.mark.parametrize("left_out", [0, 3])
def test_a_live_scan_finds_new_faces_beside_those_that_flow_leads(
    recognizer: Recognizer, left_out: int
) -> None:
    image = golden_image("t1.jpg")
    (photo,) = recognizer.detect([image])
    rows = np.delete(np.arange(len(photo)), left_out)
    known = Known(photo.boxes[rows], photo.landmarks[rows], np.ones(len(rows), np.bool_))
    (found,) = recognizer.scan([image], [LiveScan()], [known])
    assert len(found) == len(photo)
    assert all(has_face(found, landmarks) for landmarks in photo.landmarks)
    assert (np.diff(found.scores) <= 0).all()
    new = np.abs(found.boxes - photo.boxes[left_out]).max(axis=1).min()
    assert new < 1e-3, "searched as if nobody were known"


def test_a_live_scan_ends_a_face_that_flow_leads_to_a_wall(recognizer: Recognizer) -> None:
    frame, landmarks = in_a_room("obama.jpg", 100)
    wall = np.array([[40, 500, 140, 620]], np.float32)
    known = Known(wall, wall[:, None, :2] + 40 + np.zeros((1, 5, 2), np.float32), np.ones(1, bool))
    (found,) = recognizer.scan([frame], [LiveScan()], [known])
    assert len(found) == 1
    assert has_face(found, landmarks)


def test_follow_finds_a_face_that_moved(recognizer: Recognizer) -> None:
    image = read_image(photos() / "grace_hopper.jpg")
    (found,) = recognizer.detect([image])
    moved = np.roll(image, (6, -8), axis=(0, 1))
    (followed,) = recognizer.follow([moved], [found.boxes])
    assert followed.is_lost.tolist() == [False]
    shift = followed.landmarks - found.landmarks
    np.testing.assert_allclose(shift.mean(axis=(0, 1)), [-8, 6], atol=4)


def test_follow_loses_a_face_that_left(recognizer: Recognizer) -> None:
    image = read_image(photos() / "grace_hopper.jpg")
    (found,) = recognizer.detect([image])
    (followed,) = recognizer.follow([np.full_like(image, 127)], [found.boxes])
    assert followed.is_lost.tolist() == [True]
    np.testing.assert_array_equal(followed.boxes, found.boxes)


def test_people_are_told_apart_and_described(recognizer: Recognizer) -> None:
    faces = recognizer.recognize([read_image(photos() / name) for name in PEOPLE])
    assert [len(found) for found in faces] == [1] * 6
    (obama, obama2, obama3, biden, hopper, collins) = (found[0] for found in faces)
    for other in (obama2, obama3):
        assert obama.embedding @ other.embedding > recognizer.threshold + 0.2
    for other in (biden, hopper, collins):
        assert obama.embedding @ other.embedding < recognizer.threshold - 0.1
    # Grace Hopper under her cap is the network's coin toss
    assert [face.gender for face in (obama, obama2, obama3, biden)] == ["male"] * 4
    assert collins.gender == "female"
    assert all(20 < (found[0].age or 0) <= 80 for found in faces)
    assert all(found[0].crop.shape == (112, 112, 3) for found in faces)


def test_nothing_to_recognize(recognizer: Recognizer) -> None:
    assert recognizer.recognize([]) == []
    assert recognizer.recognize([np.zeros((90, 90, 3), np.uint8)]) == [()]
    empty = np.empty((0, 5, 2), np.float32)
    assert recognizer.attributes(np.zeros((90, 90, 3), np.uint8), empty) == []


def test_a_sharp_frontal_photo_is_a_good_one(recognizer: Recognizer) -> None:
    image = read_image(photos() / "biden.jpg")
    (found,) = recognizer.detect([image])
    (quality,) = recognizer.quality(image, found)
    assert quality.overall > 0.7
    assert abs(quality.yaw) < 25


def test_crops_and_qualities_of_one_call_equal_those_of_two(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    warped: list[int] = []

    def transforms(landmarks: np.ndarray) -> np.ndarray:
        warped.append(len(landmarks))
        return similarity_transforms(landmarks)

    image = golden_image("t1.jpg")
    (found,) = recognizer.detect([image])
    assert len(found) > 2
    monkeypatch.setattr("recognizer.recognizer.similarity_transforms", transforms)
    crops, qualities = recognizer.align_and_judge(image, found)
    assert warped == [len(found)], "each face is warped once"
    np.testing.assert_array_equal(crops, recognizer.align(image, found.landmarks))
    assert qualities == recognizer.quality(image, found)
    for i, crop in enumerate(crops):
        alone = recognizer.align(image, found.landmarks[i : i + 1])[0]
        np.testing.assert_array_equal(crop, alone)


def test_without_attributes_they_are_refused_in_one_line() -> None:
    plain = open_recognizer(device="cpu", threads=1)
    with pytest.raises(ModelFileError, match="attributes=True"):
        plain.attributes(np.zeros((90, 90, 3), np.uint8), np.empty((0, 5, 2), np.float32))
    assert plain.model_id == "sface-0ba9fbfa"
    assert plain.embedding_size == 128
    assert plain.device == "cpu"


def test_lfw_pairs_are_told_apart(recognizer: Recognizer) -> None:
    lines = shared_data("lfw_mini_pairs.txt").read_text().split("\n")
    pairs = [line.split("\t") for line in lines if line.count("\t") >= 2]
    folder = shared_data("lfw_mini_250")

    def photo(name: str, number: str) -> Path:
        return folder / name / f"{name}_{int(number):04d}.jpg"

    embeddings: dict[Path, np.ndarray] = {}

    def embedding(path: Path) -> np.ndarray:
        if path not in embeddings:
            (faces,) = recognizer.recognize([read_image(path)])
            assert faces, f"no face in {path.name}"
            # the photographed person is in the middle of an LFW photo
            centred = min(faces, key=lambda f: np.abs(f.box.reshape(2, 2).mean(0) - 125).sum())
            embeddings[path] = centred.embedding
        return embeddings[path]

    right = 0
    for first, *rest in pairs:
        second = first if len(rest) == 2 else rest[1]
        similarity = embedding(photo(first, rest[0])) @ embedding(photo(second, rest[-1]))
        right += (similarity >= recognizer.threshold) == (first == second)
    assert right / len(pairs) >= 0.99


def test_a_fetch_brings_only_the_wanted_files(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    folder = fetch("mtcnn", tmp_path, lambda *step: steps.append(step))
    found = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["onet.lz4", "pnet.lz4", "rnet.lz4"]
    assert steps[-1] == ("mtcnn", 1898606, 1898606)
    (folder / "pnet.lz4").write_bytes(b"damaged")
    fetch("mtcnn", tmp_path)
    read_weights(ensure("mtcnn", tmp_path))


def test_without_network_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ModelFileError, match=r"package mtcnn==1\.0\.0 cannot be downloaded"):
        open_recognizer(device="cpu", cache=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_bench_measures_every_stage() -> None:
    measured = bench_detect(device="cpu", threads=1)
    assert (measured.height, measured.width) == (720, 1280)
    assert measured.n_faces == 6
    assert [stage.name for stage in measured.stages] == [
        *("P-Net", "R-Net", "O-Net", "image work and boxes")
    ]
    assert all(stage.floor_ms > 0 and stage.ms > 0 for stage in measured.stages[:3])
    assert (measured.live.small_px, measured.live.large_px) == (24, 40)
    assert measured.live.ratio > 0
    embedding = bench_embed(device="cpu", threads=1)
    assert embedding.ms_one > 0
    assert embedding.ms_eight > 0


def test_bf16_embeds_nearly_the_same_and_detects_exactly() -> None:
    try:
        rough = open_recognizer(precision="bf16")
    except DeviceError as error:
        assert "cannot calculate in bf16" in str(error)  # noqa: PT017 the CPU decides
        return
    exact = open_recognizer()
    assert "in bf16" in rough.engine
    images = [read_image(photos() / name) for name in ("obama.jpg", "obama2.jpg", "biden.jpg")]
    for ours, theirs in zip(rough.recognize(images), exact.recognize(images), strict=True):
        (one,), (other,) = ours, theirs
        np.testing.assert_array_equal(one.box, other.box)
        assert one.embedding @ other.embedding > 0.999


@pytest.mark.parametrize("rows", [16, 18, 64])
def test_a_large_photo_in_bands_shows_the_same_faces(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    images = [read_image(photos() / name) for name in ("obama.jpg", "biden.jpg", "astronaut.png")]
    whole = recognizer.detect(images)
    monkeypatch.setattr("recognizer.engines.host_images.BAND_PIXELS", 0)
    monkeypatch.setattr("recognizer.engines.host_images.MIN_BAND_ROWS", rows)
    for one, other in zip(whole, recognizer.detect(images), strict=True):
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.01)
        np.testing.assert_allclose(other.landmarks, one.landmarks, atol=0.01)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
