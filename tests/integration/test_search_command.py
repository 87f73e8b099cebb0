"""`facewire search` with the real models, on a log beside the process that writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gallery import Gallery
from recognizer import open_recognizer, read_photo
from stream.enrollment.searched_face import searched_face
from stream.events.log import EventLog
from tests.shared_data import shared_data
from tests.sightings import sight, writer

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")


def command(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, "search", *arguments],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path), "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_photo_finds_its_past(tmp_path: Path) -> None:
    recognizer = open_recognizer()
    people = [
        sorted(each.glob("*.jpg"))[:3]
        for each in sorted(shared_data("lfw10_original").iterdir())
        if each.is_dir()
    ]
    people = [photos for photos in people if len(photos) == 3][:3]
    directory = tmp_path / "gallery"
    with (
        Gallery.open(
            directory, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ),
        EventLog.open(directory),
    ):
        connection = writer(directory)
        for person, photos in enumerate(people):
            for number, path in enumerate(photos[1:], 1):
                face = searched_face(recognizer, read_photo(path))
                assert face is not None
                sight(
                    connection,
                    10 * person + number,
                    face.probe[0],
                    camera=("door", "yard")[number % 2],
                    model_id=recognizer.model_id,
                )
        sight(connection, 99, face.probe[0], model_id="another")
        result = command(tmp_path, people[1][0], "--json", "--min-similarity", "0.35")
        assert result.returncode == 0, result.stderr
        assert "1 past sighting is of another model" in result.stderr
        answer = json.loads(result.stdout)
        assert {match["event"]["id"] for match in answer["matches"]} == {11, 12}
        assert answer["searched_face"]["quality"] > 0
        result = command(tmp_path, people[1][0], "--camera", "yard", "--min-similarity", "0.35")
        (line,) = result.stdout.splitlines()
        assert line.startswith("2023-11-14 22:13:20  yard")
        assert line.endswith("Unknown face  (event 11)")
        result = command(tmp_path, people[1][0], "--since", "1h")
        assert (result.returncode, result.stdout) == (0, "")
        assert "try a lower --min-similarity" in result.stderr
        connection.close()


def test_a_photo_without_a_log_is_refused(tmp_path: Path) -> None:
    result = command(tmp_path, "missing.jpg")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("facewire: no sightings in ")
    assert not (tmp_path / "gallery").exists()


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    EventLog.open(tmp_path / "gallery").close()
    result = command(tmp_path, "missing.jpg")
    assert result.returncode == 1
    assert "missing.jpg" in result.stderr
    assert len(result.stderr.splitlines()) == 1
