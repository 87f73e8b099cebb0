"""What is written about the code is true of it."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from recognizer.models.manifest import read_manifest
from stream.config import Config
from trainer.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "pages").glob("*.md"))
TEXTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *PAGES]


@pytest.mark.parametrize("name", TEXTS)
def test_paths_in_texts_exist(name: str):
    """Every `path/with.slash` or named file in code type is in this folder."""
    text = (ROOT / name).read_text("utf-8")
    roots = r"(?:stream|recognizer|gallery|trainer|scripts|tests|docs|\.ci)/[\w./-]*"
    paths = re.findall(rf"`({roots})`", text)
    assert paths or name in PAGES
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


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "CHANGELOG.md"])
def test_links_lead_somewhere(name: str):
    """Links of the pages to generated ones are checked by the build of the site."""
    made = {"commands.md", "configuration.md", "http-api.md"}
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path = target.partition("#")[0]
        if "://" not in target and path and path not in made:
            assert (page.parent / path).exists(), f"{name}: {target}"


def test_recipe_keys_of_the_pages_exist():
    """Every `section.key` of a recipe in a page about training is one."""
    sections = "|".join(Recipe.model_fields)
    named = []
    for name in PAGES:
        text = (ROOT / name).read_text("utf-8")
        named += re.findall(rf"(?:--set '?|`)({sections})\.([a-z]\w*)(?=[=`])", text)
    assert len(named) > 20
    for section, key in named:
        table = getattr(Recipe(), section)
        assert key in type(table).model_fields, f"{section}.{key}"


def rooms_in(text: str, heading: str, prefix: str = "") -> list[list[str]]:
    """Return the names in the first column of a table of rooms, a list for each row."""
    rows = re.search(rf"^\| {heading} \|.*\n.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows, heading
    named = [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows[1].splitlines()]
    return [[re.sub(r"/$|\.py$", "", n.removeprefix(prefix)) for n in row] for row in named if row]


@pytest.mark.parametrize(
    ("name", "heading", "package", "prefix"),
    [
        ("CONTRIBUTING.md", "room", "stream", ""),
        ("CONTRIBUTING.md", "room of `recognizer/`", "recognizer", ""),
        ("CONTRIBUTING.md", "room of `trainer/`", "trainer", ""),
        ("docs/pages/architecture.md", "room", "stream", "stream/"),
    ],
)
def test_rooms_stand_in_the_order_of_the_contracts(name, heading, package, prefix):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [package]
    ]
    level = {room: n for n, layer in enumerate(layers) for room in layer.split(" | ")}
    rooms = rooms_in((ROOT / name).read_text("utf-8"), heading, prefix)
    levels = [level[room] for row in rooms for room in row]
    assert levels == sorted(levels)
    folders = {p.name for p in (ROOT / package).iterdir() if (p / "__init__.py").exists()}
    assert folders <= {room for row in rooms for room in row}


def test_readme_says_how_long_a_newcomer_waits():
    text = (ROOT / "README.md").read_text("utf-8")
    table = text.partition("<!-- newcomer -->")[2].partition("<!-- end -->")[0]
    seconds = [float(v) for v in re.findall(r"\| ([0-9.]+) \|$", table, re.MULTILINE)]
    assert len(seconds) == 2
    assert seconds[0] < 300


def test_every_setting_is_in_the_configuration_that_is_shipped() -> None:
    """README says so; what is there is a setting, too."""
    shown: dict[str, set[str]] = {}
    table = ""
    for line in (ROOT / "facewire.toml").read_text("utf-8").splitlines():
        if header := re.fullmatch(r"(?:# )?\[+([a-z_]+)\]+", line):
            table = header[1]
        elif setting := re.match(r"(?:# )?([a-z_]+) = ", line):
            shown.setdefault(table, set()).add(setting[1])
    settings = {}
    for name, field in Config.model_fields.items():
        (kind, *_) = get_args(field.annotation) or (field.annotation,)
        settings[name] = set(kind.model_fields)
    assert shown == settings
