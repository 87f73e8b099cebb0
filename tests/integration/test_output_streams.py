"""Names that are not UTF-8, locales that are not either, and outputs that take nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gallery import Gallery, NewPhoto
from tests.shared_data import photos

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes, /dev/full"),
]

FACEWIRE = Path(sys.executable).with_name("facewire")
ODD = b"caf\xe9 \xff.jpg"
LOCALES = ({}, {"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


def run(*arguments: Any, stdout: Any = subprocess.PIPE, **environment: str):
    return subprocess.run(
        [FACEWIRE, *(a if isinstance(a, bytes) else str(a) for a in arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=600,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def people(tmp_path: Path) -> Path:
    row = np.ones(128, np.float32)
    with Gallery.open(tmp_path / "people", model_id="sface-0ba9fbfa", embedding_size=128) as known:
        known.photos.add("Zo\u00eb \U0001f600", [NewPhoto(row, None, "0" * 64, 0.5)])
    return tmp_path / "people"


@pytest.fixture
def odd(tmp_path: Path) -> bytes:
    """Return the path of a photo whose name is not UTF-8."""
    path = os.fsencode(tmp_path) + b"/" + ODD
    shutil.copy(os.fsencode(photos() / "grace_hopper.jpg"), path)
    return path


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_json_is_json_whatever_the_name_of_the_file(odd: bytes, tmp_path: Path, locale) -> None:
    done = run("detect", odd, b"missing-\xfe.jpg", "--out", tmp_path / "out", "--json", **locale)
    assert done.returncode == 1
    [entry] = json.loads(done.stdout.decode("utf-8"))
    assert entry["image"].endswith("caf\\xe9 \\xff.jpg")
    assert entry["marked"].endswith("caf\\xe9 \\xff.jpg")
    assert len(entry["faces"]) == 1
    assert (os.fsencode(tmp_path / "out") + b"/" + ODD) in [
        entry.path for entry in os.scandir(os.fsencode(tmp_path / "out"))
    ]
    assert done.stderr.startswith(b"facewire: cannot read missing-\\xfe.jpg: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_names_are_printed_in_every_locale(people: Path, locale) -> None:
    done = run("gallery", "list", "--gallery", people, **locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zo" in done.stdout
    done = run("gallery", "list", "--gallery", people, "--json", **locale)
    assert [p["name"] for p in json.loads(done.stdout)] == ["Zo\u00eb \U0001f600"]
    done = run("gallery", "rename", b"caf\xe9", "x", "--gallery", people, **locale)
    assert done.returncode == 1
    gallery, *complaints = done.stderr.splitlines()
    assert gallery.startswith(b"facewire: gallery /")
    assert len(complaints) == 1


def test_a_person_whose_folder_is_not_utf8_stops_nobody(odd: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "folders"
    (folder / "Grace Hopper" / "1906").mkdir(parents=True)
    shutil.copy(os.fsdecode(odd), folder / "Grace Hopper" / "1906" / "portrait.jfif")
    (folder / "Grace Hopper" / "notes.txt").write_text("a computer scientist")
    os.mkfifo(folder / "Grace Hopper" / "pipe.jpg")
    (folder / "Nobody").mkdir()
    (folder / ".thumbnails").mkdir()
    bad = os.fsencode(folder) + b"/" + b"Ren\xe9"
    Path(os.fsdecode(bad)).mkdir()
    shutil.copy(odd, bad)
    done = run("enroll", "--folder", folder, "--gallery", tmp_path / "people", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [photo["name"] for photo in report["enrolled"]] == ["Grace Hopper"]
    reasons = {Path(each["image"]).name: each["reason"] for each in report["rejected"]}
    assert reasons == {
        "notes.txt": "unreadable",
        "pipe.jpg": "unreadable",
        "Nobody": "empty",
        "Ren\\xe9": "no_name",
    }
    assert report["skipped"] == 1
    done = run("enroll", "--folder", folder, "--gallery", tmp_path / "people")
    assert b"Ren\\xe9: a name must be UTF-8 text" in done.stderr
    assert b"1 hidden" in done.stdout


@pytest.mark.parametrize("verb", [["models", "list"], ["gallery", "list"], ["detect", "--json"]])
def test_an_output_that_takes_nothing_is_one_line(verb, people: Path, odd: bytes) -> None:
    arguments = [*verb, *([odd] if "detect" in verb else [])]
    if "gallery" in verb:
        arguments += ["--gallery", people]
    with Path("/dev/full").open("wb") as full:
        done = run(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr == (
        b"facewire: cannot write the output: no space left on device (free some space)\n"
    )


def test_what_libraries_print_without_a_name_is_not_shown(tmp_path: Path) -> None:
    photo = tmp_path / "photo.tif"
    Image.open(photos() / "grace_hopper.jpg").save(photo, compression="tiff_lzw")
    damaged = bytearray(photo.read_bytes())
    damaged[2000:2100] = b"\xff" * 100
    photo.write_bytes(damaged)
    shown = run("-v", "detect", photo).stderr.splitlines()
    assert [line for line in shown if line.startswith(b"tempfile.tif: ")], shown  # libtiff's
    done = run("detect", photo)
    assert [line.split(b": ")[0] for line in done.stderr.splitlines()] in ([], [b"facewire"])


@pytest.mark.parametrize(
    ("closed", "status", "said"),
    [
        (">&-", 1, b"facewire: cannot write the output: bad file descriptor (give the command "),
        ("2>&-", 0, b""),
        ("<&-", 0, b""),
        ("<&- >&- 2>&-", 1, b""),
        ("2>/dev/full", 0, b""),
        ("| true", None, b""),
    ],
)
def test_a_closed_stream_is_no_traceback(closed: str, status, said: bytes, people: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" gallery list --gallery "$1" {closed}', FACEWIRE, people],
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(said)
    assert done.stderr.count(b"\n") == (1 if said else 0)
    assert status is None or done.returncode == status
    with Gallery.open_any(people) as known:  # nothing that was printed went into it
        assert len(known) == 1
