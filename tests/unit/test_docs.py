"""What is written about the code is true of it."""

import re
import tomllib
from pathlib import Path

import pytest

from recognizer.models.manifest import read_manifest

ROOT = Path(__file__).parents[2]
TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_paths_in_texts_exist(name: str):
    """Every `path/with.slash` or named file in code type is in this folder."""
    text = (ROOT / name).read_text("utf-8")
    roots = r"(?:stream|recognizer|gallery|trainer|scripts|tests|docs|\.ci)/[\w./-]*"
    paths = re.findall(rf"`({roots})`", text)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), f"{name} speaks of {path}"


def test_contributing_gives_a_reason_for_each_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for requirement in project["dependencies"]:
        (name,) = re.findall(r"^[\w-]+", requirement)
        assert re.search(rf"^\|.*\b{re.escape(name)}\b", text, re.MULTILINE), (
            f"CONTRIBUTING.md does not say why {name} is needed"
        )


def test_readme_names_the_licence_of_each_model():
    text = (ROOT / "README.md").read_text("utf-8")
    for entry in read_manifest().values():
        if entry.role != "photo":
            for licence in re.findall(r"[A-Z][A-Za-z]*[A-Z0-9][\w.-]*|Apache-2.0", entry.licence):
                assert licence in text, f"{entry.name} is under {licence}"


def test_changelog_is_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
