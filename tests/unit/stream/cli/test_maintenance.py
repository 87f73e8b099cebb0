"""The commands that `gallery check` lists for its findings."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gallery import Gallery, NewPhoto
from stream.cli.main import app

MODEL, SIZE = "sface-0ba9fbfa", 128


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path / "data"))


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, (arguments, result.output)
    return result


@pytest.mark.parametrize("by", ["--gallery", "--config"])
def test_the_listed_commands_mend_the_gallery_that_was_checked(tmp_path: Path, by: str) -> None:
    directory = tmp_path / "the gallery"
    config = tmp_path / "facewire.toml"
    config.write_text(f"[gallery]\ndirectory = {json.dumps(str(directory))}\n")
    which = [by, str(directory if by == "--gallery" else config)]
    first, second, third, fourth, fifth = np.eye(SIZE, dtype=np.float32)[:5]
    people = {
        "--Ada": [first, first + 0.1 * second, third],
        "Eve's": [third + second],
        "Bob": [fourth],
        "-b": [fourth + 0.75 * fifth],
    }
    with Gallery.open(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        for number, (name, embeddings) in enumerate(people.items()):
            photos = [
                NewPhoto(embedding, None, f"{10 * number + i:064x}", 0.5)
                for i, embedding in enumerate(embeddings)
            ]
            gallery.photos.add(name, photos)
    mended = []
    while True:
        report = json.loads(run("gallery", "check", *which, "--json").stdout)
        if not report["hygiene"]["findings"]:
            break
        finding = report["hygiene"]["findings"][0]
        mended.append(finding["kind"])
        program, *words = shlex.split(finding["command"])
        assert program == "facewire"
        run(*words)
    assert mended == ["unlike", "alike", "redundant"]
    listed = json.loads(run("gallery", "list", *which, "--json").stdout)
    counts = {person["name"]: person["n_photos"] for person in listed}
    assert (counts["--Ada"], counts["Eve's"], len(counts)) == (1, 2, 3)
