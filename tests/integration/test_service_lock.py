"""Two services on one data directory, and the other commands beside a running one."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.service_lock import FILE_NAME, only_service
from tests.e2e.harness import service

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FACEWIRE_DATA": str(data)}
    command = [str(FACEWIRE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_second_service_says_so_and_other_commands_work(tmp_path: Path) -> None:
    with service("lock", tmp_path) as first:
        second = run(tmp_path, "serve", "--port=0")
        assert second.returncode == 1
        lines = second.stderr.strip().splitlines()
        assert f"(process {first.process.pid}): stop it, or give this one" in lines[-1]
        assert "Traceback" not in second.stderr
        listed = run(tmp_path, "gallery", "list", "--json", "--gallery", str(tmp_path / "demo"))
        assert listed.returncode == 0, listed.stderr
        assert json.loads(listed.stdout) is not None
    with service("lock-again", tmp_path):  # the lock went with the process
        pass


def test_the_lock_is_of_one_holder_and_ends_with_it(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    with only_service(directory):
        with (
            pytest.raises(ConfigError, match=f"serves from .*process {os.getpid()}"),
            only_service(directory),
        ):
            raise AssertionError
        with only_service(tmp_path / "other"):
            pass
    with only_service(directory):
        pass
    assert (directory / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_directory_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with only_service(tmp_path):
        pass
    assert "cannot lock" in caplog.text


def test_a_directory_that_cannot_be_made_is_for_others_to_complain_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with only_service(tmp_path / "file" / "data"):
        pass
