"""The unit of systemd starts what there is, holds no secret, and is well-formed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

UNIT = Path(__file__).parents[2] / "scripts" / "facewire.service"
BIN = Path(sys.executable).parent


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_its_command_is_one_of_ours_and_reads_the_shipped_configuration(tmp_path: Path) -> None:
    shutil.copy(UNIT.parents[1] / "facewire.toml", tmp_path)
    (line,) = settings()["ExecStart"]
    program, *arguments = shlex.split(line.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)))
    assert program.endswith("/.venv/bin/facewire")
    # A port that is none: everything before it was understood.
    result = subprocess.run(
        [BIN / "facewire", *arguments, "--host", "192.0.2.1"],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path), "FACEWIRE_TOKEN": "x" * 16},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert "cannot listen on 192.0.2.1" in result.stderr


def test_secrets_come_from_files_of_root_and_state_is_its_own() -> None:
    unit = settings()
    assert "TOKEN=" not in UNIT.read_text().replace("FACEWIRE_TOKEN=...", "")
    assert unit["EnvironmentFile"] == ["-/etc/facewire/environment"]
    assert unit["DynamicUser"] == ["yes"]
    assert unit["Environment"] == ["FACEWIRE_DATA=%S/facewire FACEWIRE_CACHE=%C/facewire"]
    assert unit["StateDirectory"] == unit["CacheDirectory"] == ["facewire"]


def test_systemd_finds_nothing_to_say(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # a container: checked wherever systemd is
    unit = tmp_path / "facewire.service"
    unit.write_text(
        UNIT.read_text().replace("/opt/facewire/.venv/bin/facewire", str(BIN / "facewire"))
    )
    result = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=600)
    about = [line for line in result.stderr.splitlines() if "facewire.service" in line]
    assert (result.returncode, about) == (0, [])
