"""The recognizer's measurements from the command line."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli.bench import app
from tests.shared_data import photos

pytestmark = pytest.mark.integration


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_detection_is_measured() -> None:
    image = str(photos() / "grace_hopper.jpg")
    measured = json.loads(run("detect", image, "--device", "cpu", "--threads", "1", "--json"))
    assert measured["n_faces"] == 1
    assert measured["ms"] > 0
    assert {stage["name"] for stage in measured["stages"]} >= {"P-Net", "R-Net", "O-Net"}
    assert "tracking 1 faces" in run("detect", image, "--device", "cpu")


def test_embedding_is_measured() -> None:
    measured = json.loads(run("embed", "--device", "cpu", "--threads", "1", "--json"))
    assert measured["model"].startswith("sface-")
    assert 0 < measured["ms_one"] < measured["ms_eight"]
    assert "eight in a call" in run("embed", "--device", "cpu")
