"""The documentation is built strictly, from the code, and loads nothing from other hosts."""

import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest

from gallery import Gallery
from stream.api.app import create_app
from stream.events.log import EventLog
from stream.service import Service
from tests.fake_service import FakeService

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
RESOURCES = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}


class Resources(HTMLParser):
    """Collects what a page loads by itself, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in RESOURCES.get(tag, ()) and value:
                self.loaded.append(value)
            if name == "style" and value:
                self.loaded += foreign_in_css(value)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def foreign_in_css(text: str) -> list[str]:
    return re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built without a network: proxies that are not there."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = "http://127.0.0.1:9"
    done = subprocess.run(
        [ROOT / "scripts" / "docs", "--site-dir", folder],
        cwd=folder,
        env={**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def read(page: Path) -> Resources:
    return Resources(page.read_text("utf-8"))


def test_every_page_is_built(site: Path):
    pages = {path.stem for path in (ROOT / "docs" / "pages").glob("*.md")}
    made = {"404", "commands", "configuration", "http-api"}
    assert {path.stem for path in site.glob("*.html")} == pages | made


def test_nothing_is_loaded_from_other_hosts(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = read(page).loaded
        assert loaded, page
        foreign = [each for each in loaded if re.match(r"\w+:|//", each)]
        assert [each for each in foreign if not each.startswith("data:")] == [], page
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert foreign_in_css(sheet.read_text("utf-8")) == [], sheet


@pytest.mark.parametrize(
    ("text", "loaded"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ('<a href="https://example.org">x</a>', []),
        ('<i style="background: url(//cdn.example/a.png)"></i>', ["//cdn.example/a.png"]),
    ],
)
def test_what_a_page_loads_is_noticed(text: str, loaded: list[str]):
    assert Resources(text).loaded == loaded


def test_search_works_without_a_server_of_others(site: Path):
    assert "facewire" in (site / "search" / "search_index.json").read_text("utf-8")


def test_the_http_api_is_that_of_the_service(site: Path, tmp_path: Path):
    with (
        Gallery.open(tmp_path, model_id="a", embedding_size=2) as gallery,
        EventLog.open(tmp_path) as log,
    ):
        document: dict[str, Any] = create_app(cast(Service, FakeService(gallery, log))).openapi()
    text = " ".join(read(site / "http-api.html").text)
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in text
    for name in document["components"]["schemas"]:
        assert name.startswith(("Body_", "HTTPValidation", "Validation")) or name in text


def test_receivers_are_shown_as_they_are_tested(site: Path):
    text = "".join(read(site / "events.html").text)
    for name in ("receiver.py", "receiver.mjs"):
        for line in (ROOT / "docs" / "receivers" / name).read_text("utf-8").splitlines():
            assert line in text


def test_pictures_are_small():
    for path in (ROOT / "docs" / "pages").iterdir():
        assert path.stat().st_size < 150_000, path
