"""The commands that maintain a gallery, run as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gallery import Gallery, Match, NewPhoto
from stream.events.log import EventLog
from stream.frames import Event, EventKind

pytestmark = pytest.mark.integration

MODEL, SIZE = "sface-0ba9fbfa", 128


def facewire(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("facewire"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def answer(*arguments: Any) -> Any:
    done = facewire(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def directory(tmp_path):
    rng = np.random.default_rng(0)
    with Gallery.open(tmp_path / "gallery", model_id=MODEL, embedding_size=SIZE) as gallery:
        for person in range(8):
            centre = rng.standard_normal(SIZE)
            gallery.photos.add(
                f"Person {person}",
                [
                    NewPhoto(
                        (centre + 0.4 * rng.standard_normal(SIZE)).astype(np.float32),
                        rng.integers(0, 256, (112, 112, 3), np.uint8),
                        f"{person * 10 + i:064x}",
                        0.5,
                    )
                    for i in range(3)
                ],
            )
    return tmp_path / "gallery"


def test_export_and_import_by_command(directory, tmp_path):
    counts = {"n_people": 8, "n_photos": 24}
    exported = answer("gallery", "export", tmp_path / "out", "--gallery", directory)
    assert counts.items() <= exported.items()
    imported = answer("gallery", "import", tmp_path / "out", "--gallery", tmp_path / "copy")
    assert counts.items() <= imported.items()
    listed = answer("gallery", "list", "--gallery", tmp_path / "copy")
    assert listed == answer("gallery", "list", "--gallery", directory)


def test_import_names_who_clashes_and_adds_the_others(directory, tmp_path):
    answer("gallery", "export", tmp_path / "out", "--gallery", directory)
    copy = tmp_path / "copy"
    with Gallery.open(copy, model_id=MODEL, embedding_size=SIZE) as gallery:
        held, _ = gallery.photos.add("person 3", [])
    done = facewire("gallery", "import", tmp_path / "out", "--gallery", copy)
    assert done.returncode == 1
    assert done.stdout == "7 new people, 21 new photos\n"
    assert done.stderr == (
        f"facewire: gallery {copy}, of --gallery\n"
        "facewire: Person 3 is another person here: left out; see --rename and --merge\n"
    )
    skipped = answer("gallery", "import", tmp_path / "out", "--skip", "--gallery", copy)
    (clash,) = skipped["clashes"]
    assert (clash["name"], clash["held_id"], clash["became"]) == (
        "Person 3",
        held.identity_id,
        None,
    )
    renamed = answer("gallery", "import", tmp_path / "out", "--rename", "--gallery", copy)
    assert renamed["clashes"][0]["became"] == "Person 3 (2)"
    assert renamed["n_people"] == 1
    refused = facewire("gallery", "import", tmp_path / "out", "--merge", "--skip")
    assert refused.returncode == 2


def test_commands_that_read_change_nothing(directory, tmp_path):
    def state():
        found = {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in directory.iterdir()}
        return found, directory.stat().st_mtime_ns

    before = state()
    answer("gallery", "list", "--gallery", directory)
    answer("gallery", "show", "Person 1", "--sheet", tmp_path / "s.png", "--gallery", directory)
    answer("gallery", "export", tmp_path / "out", "--gallery", directory)
    answer("gallery", "calibrate", "--far", 0.1, "--gallery", directory)
    nothing = tmp_path / "wall.png"
    cv2.imwrite(str(nothing), np.full((200, 200, 3), 127, np.uint8))
    answer("identify", nothing, "--gallery", directory)
    assert state() == before
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (["identify", nothing], ["gallery", "list"], ["gallery", "show", "Ada"]):
        done = facewire(*command, "--gallery", empty)
        assert done.returncode == 1
        assert "there is no gallery" in done.stderr
    assert list(empty.iterdir()) == []


def test_calibrate_by_command(directory, tmp_path):
    plot = tmp_path / "plot.png"
    found = answer(
        "gallery", "calibrate", "--far", 0.1, "--plot", plot, "--apply", "--gallery", directory
    )
    low, high = found["threshold_interval"]
    assert low <= found["threshold"] <= high
    assert (found["people"], found["impostors"], found["genuine"]) == (8, 168, 24)
    assert plot.read_bytes().startswith(b"\x89PNG")
    with Gallery.open_any(directory) as gallery:
        assert gallery.threshold_for(0.358) == found["threshold"]
    shown = facewire("gallery", "calibrate", "--far", 0.1, "--gallery", directory)
    assert "impostor pairs of 8 people" in shown.stdout
    refused = facewire("gallery", "calibrate", "--far", 1e-6, "--gallery", directory)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "needs 10000000 pairs" in refused.stderr


def test_every_verb_answers_in_json(directory, tmp_path):
    listed = answer("gallery", "list", "--gallery", directory)
    assert [p["name"] for p in listed] == [f"Person {i}" for i in range(8)]
    assert {p["n_photos"] for p in listed} == {3}
    shown = answer("gallery", "show", "Person 0", "--gallery", directory)
    assert shown["identity_id"] == listed[0]["identity_id"]
    assert len(shown["photos"]) == 3
    with EventLog.open(directory) as log, Gallery.open_any(directory) as gallery:
        zero, one, two = (gallery.people.find(f"Person {i}") for i in range(3))
        for who in (zero, one, two):
            event = Event(EventKind.ENTER, "door", 1.0, "run-5", Match(who, 0.9), 0.5, None, "")
            log.append(event, 1e9)
    renamed = answer("gallery", "rename", "Person 0", "Zero", "--gallery", directory)
    assert renamed == {"name": "Zero", "identity_id": zero.identity_id}
    merged = answer("gallery", "merge", "Person 1", "Zero", "--gallery", directory)
    assert merged == renamed
    removed = answer("gallery", "remove", "Person 2", "--yes", "--gallery", directory)
    assert removed == {"removed": [{"name": "Person 2", "identity_id": two.identity_id}]}
    with EventLog.open(directory) as log:  # as it lies there, without the gallery's help
        assert [event.name for event in log.list()] == ["Zero", "Zero"]
    files = b"".join(file.read_bytes() for file in directory.iterdir())
    assert b"Person 2" not in files
    assert b"Person 3" in files


def test_split_and_sheet_by_command(directory, tmp_path):
    photo = answer("gallery", "show", "Person 3", "--gallery", directory)["photos"][0]["photo_id"]
    moved = answer("gallery", "split", "Person 3", "Somebody", photo, "--gallery", directory)
    assert moved["name"] == "Somebody"
    out = tmp_path / "sheet.png"
    shown = answer("gallery", "show", "Person 3", "--sheet", out, "--gallery", directory)
    assert shown["sheet"] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")
    others = answer("gallery", "show", "Person 4", "--gallery", directory)["photos"]
    known = others[0]["photo_id"]
    assert (
        answer("gallery", "split", "Person 4", "Somebody", known, "--gallery", directory) == moved
    )
    refused = facewire("gallery", "split", "Person 3", "Other", photo, "--gallery", directory)
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith(f"photo {photo} is not of this person")


def test_check_and_repair_by_command(directory):
    found = answer("gallery", "check", "--gallery", directory)
    hygiene = found.pop("hygiene")
    assert (hygiene["n_people"], hygiene["n_photos"]) == (8, 24)
    assert found == {
        "problems": [],
        "repaired": [],
        "notes": [],
        "n_people": 8,
        "n_photos": 24,
    }
    path = directory / "gallery.sqlite3"
    content = bytearray(path.read_bytes())
    content[4096 * 10 : 4096 * 14] = bytes(4096 * 4)
    path.write_bytes(content)
    found = facewire("gallery", "check", "--gallery", directory)
    assert found.returncode == 1
    mended = facewire("gallery", "check", "--repair", "--gallery", directory)
    assert mended.returncode == 0, mended.stderr
    assert "saved 8 people" in mended.stdout


def test_search_is_measured_by_command():
    [figures] = answer("bench", "search", 1000)
    assert figures["top1"] == 1.0
    assert figures["n_templates"] == 1000
