"""`facewire bench quality` on real photos with the real models."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recognizer import read_image
from stream.cli.bench import app
from stream.errors import StreamError
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["quality", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def measured(*arguments: object) -> dict:
    code, out, err = run(*arguments, "--threads", 1, "--device", "cpu", "--json")
    assert code == 0, err
    return json.loads(out)


def test_photos_get_worse_and_the_figures_with_them(tmp_path: Path):
    folder = shared_data("lfw_mini_250")
    chart = tmp_path / "quality.png"
    result = measured(
        folder, "--only", "as-is,24px,12px,bright-250,fog", "--limit", 30, "--plot", chart
    )
    rows = {each["name"]: each for each in result["degradations"]}
    assert list(rows) == ["as-is", "24px", "12px", "bright-250", "fog"]
    clean = rows["as-is"]
    assert clean["undetected"] == 0
    assert clean["accuracy"] > 0.97
    assert clean["tar_at_far"][0]["far"] == 0.01
    assert clean["tar_at_far"][0]["tar"] > 0.97
    assert rows["24px"]["accuracy"] > 0.95
    assert rows["12px"]["tar"] < clean["tar"]
    assert rows["bright-250"]["undetected"] > 0.05
    assert all(each["ms"] > 0 for each in rows.values())
    assert result["people"] == 30
    assert min(read_image(chart).shape[:2]) > 300


def test_a_quarter_turn_is_found_as_in_photos():
    folder = shared_data("lfw10_original")
    arguments = (folder, "--only", "turned-90", "--limit", 2)
    (live,) = measured(*arguments)["degradations"]
    (photo,) = measured(*arguments, "--any-way-up")["degradations"]
    assert live["undetected"] > 0.4
    assert photo["undetected"] < 0.1
    assert photo["tar"] > 0.95


def test_the_same_seed_gives_the_same_figures(tmp_path: Path):
    for name, files in {
        "Barack Obama": ("obama.jpg", "obama2.jpg"),
        "Joe Biden": ("biden.jpg",),
    }.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes((photos() / file).read_bytes())
    arguments = (tmp_path, "--only", "dark,motion")
    one, other = measured(*arguments), measured(*arguments)
    for each in (*one["degradations"], *other["degradations"]):
        del each["ms"]
    assert one == other
    # a file that is no photo is named, and the others are measured
    (tmp_path / "Joe Biden" / "notes.jpg").write_text("no photo")
    code, out, err = run(tmp_path, "--only", "as-is", "--threads", 1)
    assert code == 1
    assert "notes.jpg: not a" in err
    assert "3 photos of 2 people" in out


def test_wrong_arguments_are_one_line(tmp_path: Path):
    for wrong, message in {
        "missing": "cannot read",
        "text.jpg": "not a directory",
        "empty": "no folder of a person",
    }.items():
        (tmp_path / "text.jpg").write_text("no photo")
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(StreamError, match=message):
            run(tmp_path / wrong)
    with pytest.raises(StreamError, match="one of as-is"):
        run(tmp_path, "--only", "nonsense")
    (tmp_path / "chart.png").write_bytes(b"kept")
    with pytest.raises(StreamError, match=r"chart\.png already exists"):
        run(tmp_path, "--plot", tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes() == b"kept"


def test_faces_in_the_dark_and_in_fog_are_found_and_recognized():
    folder = shared_data("lfw_mini_250")
    arguments = ("--only", "as-is,dark,dark-6,fog-dense", "--limit", 30, "--seed", 1)
    rows = {each["name"]: each for each in measured(folder, *arguments)["degradations"]}
    for name in ("dark", "fog-dense"):
        assert rows[name]["undetected"] <= 0.05
        assert rows[name]["tar_at_far"][0]["tar"] >= 0.95
        assert rows[name]["false_faces"] <= 0.1
    assert rows["dark-6"]["undetected"] <= 0.05
    assert rows["dark-6"]["tar_at_far"][0]["tar"] >= 0.75


def test_a_face_before_a_bright_window_is_found_in_photos():
    folder = shared_data("lfw_mini_250")
    arguments = (folder, "--only", "backlit", "--limit", 40)
    (live,) = measured(*arguments)["degradations"]
    (photo,) = measured(*arguments, "--any-way-up")["degradations"]
    assert photo["undetected"] <= 0.02 < live["undetected"]
    assert photo["tar_at_far"][0]["tar"] >= 0.98
