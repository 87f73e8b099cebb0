"""The wheel holds the four packages and what they need, and nothing else of this folder."""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = {"stream", "recognizer", "gallery", "trainer"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the files of a wheel that is built from a copy with a decoy package beside."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in (*PACKAGES, "tests", "scripts"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
        )
    decoy = copy / "streamlit_demo"
    decoy.mkdir()
    (decoy / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(copy / "out"), str(copy)]
    subprocess.run(command, check=True)
    (wheel,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_holds_the_four_packages_and_nothing_else(names: set[str]):
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_holds_every_file_that_is_no_code(names: set[str]):
    for folder in ("stream/web", "trainer/recipes"):
        assert {str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.*")} <= names
    assert {"recognizer/models.toml", "stream/web/index.html"} <= names


def test_cannot_be_uploaded_by_mistake():
    assert "Private :: Do Not Upload" in (metadata("facewire").get_all("Classifier") or [])


def test_lock_names_no_host():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert "--index-url" not in lock
    assert "# development" in lock


def test_lock_of_the_page_linters_names_no_registry():
    lock = json.loads((ROOT / "tests/web/package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in package for package in packages.values())
    assert all(package["integrity"] for package in packages.values())


def test_lock_holds_every_dependency_in_its_range():
    pinned: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name, _, rest = line.partition("==")
            pinned.setdefault(name, set()).add(rest.split()[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(text)
        versions = pinned.get(requirement.name.lower(), set())
        assert versions, f"{requirement.name} is not in requirements.lock: run scripts/lock"
        assert all(requirement.specifier.contains(version) for version in versions)
