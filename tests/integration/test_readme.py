"""README.md is true: every command in it is run, every link leads somewhere."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.e2e.harness import await_address
from tests.shared_data import photos

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", README, re.MULTILINE)
# These install and start or test everything: .ci/run and scripts/newcomer are their tests.
WHOLE = ["scripts/run", "scripts/test"]
BIN = Path(sys.executable).parent


def lines_of(kind: str) -> list[str]:
    return [line for name, text in BLOCKS if name == kind for line in text.splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Return the environment of somebody in a folder with the photos that the text speaks of."""
    (tmp_path / "people" / "Grace Hopper").mkdir(parents=True)
    shutil.copytree(photos(), tmp_path / "photos")
    shutil.copy(photos() / "grace_hopper.jpg", tmp_path / "people" / "Grace Hopper")
    shutil.copy(ROOT / "facewire.toml", tmp_path)
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "FACEWIRE_DATA": str(tmp_path / "data"),
    }


def test_every_block_is_of_a_known_kind():
    assert {name for name, _ in BLOCKS} == {"sh", "sh serve", "nginx"}
    assert [line for line in lines_of("sh") if not line.startswith("facewire ")] == WHOLE
    for line in WHOLE:
        assert os.access(ROOT / line, os.X_OK)


def test_commands_work_one_after_the_other(home: dict[str, str], tmp_path: Path):
    outputs = {}
    for line in lines_of("sh"):
        if line in WHOLE:
            continue
        result = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=home, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{line}: {result.stderr}"
        outputs[line] = result.stdout
    assert "Barack Obama" in outputs["facewire gallery list"]
    assert "Grace Hopper" in outputs["facewire gallery list"]
    assert "Barack Obama" in outputs["facewire identify photos/obama2.jpg"]
    assert "the same person" in outputs["facewire compare photos/obama.jpg photos/obama2.jpg"]
    assert (tmp_path / "marked" / "biden.jpg").exists()


@pytest.mark.parametrize("line", lines_of("sh serve"))
def test_service_starts_as_said(line: str, home: dict[str, str], tmp_path: Path):
    """The cameras of the text do not exist: the service must serve its page all the same."""
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "bash",
                "-c",
                f"{line.replace('facewire serve', 'exec facewire serve')} --port 0",
            ],
            cwd=tmp_path,
            env=home,
            stdout=log,
            stderr=log,
        )
    try:
        assert _status(await_address(process, tmp_path / "log")) in (200, 401)  # asks for the token
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=600)
    assert status == 0, (tmp_path / "log").read_text()
    assert "password" not in (tmp_path / "log").read_text().replace("***", "")


def _status(url: str) -> int:
    try:
        with urlopen(url, timeout=300) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_says_how_long_a_newcomer_waits():
    table = README.partition("<!-- newcomer -->")[2].partition("<!-- end -->")[0]
    seconds = [float(v) for v in re.findall(r"\| ([0-9.]+) \|$", table, re.MULTILINE)]
    assert len(seconds) == 2
    assert seconds[0] < 300
