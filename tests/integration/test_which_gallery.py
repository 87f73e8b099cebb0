"""Which gallery a command works on, beside the real service."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.harness import RunningService, service
from tests.shared_data import photos

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")
CAMERA = '[[cameras]]\nname = "one"\nurl = "demo:"\n'


def run(data: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, *map(str, arguments)],
        env={**os.environ, "FACEWIRE_DATA": str(data), **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )


def names(running: RunningService) -> set[str]:
    with urlopen(f"{running.url}api/identities", timeout=300) as answer:
        return {each["name"] for each in json.load(answer)}


def configured(folder: Path, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'[gallery]\ndirectory = "{folder / name}"\nthreshold = 0.99\n{CAMERA}')
    return path


@pytest.fixture
def photo() -> Path:
    return photos() / "grace_hopper.jpg"


def test_commands_work_on_the_gallery_of_the_service(tmp_path: Path, photo: Path) -> None:
    data, people = tmp_path / "data", tmp_path / "people"
    file = configured(tmp_path, "people")
    with service("which", data, "--config", str(file)) as running:
        enrolled = run(data, "enroll", "Grace", photo)
        of_service = f"of the running service (process {running.process.pid})"
        assert enrolled.returncode == 0, enrolled.stderr
        assert enrolled.stderr == f"facewire: gallery {people}, {of_service}\n"
        assert names(running) == {"Grace"}
        assert not (data / "gallery").exists()

        # Its threshold is the service's, unless a flag sets another.
        image = tmp_path / "smaller.jpg"
        shutil.copy(photos() / "obama.jpg", image)
        assert run(data, "enroll", "Barack", photos() / "obama2.jpg").returncode == 0
        assert "unknown" in run(data, "identify", image).stdout
        assert "Barack" in run(data, "identify", image, "--threshold", "0.3").stdout

        renamed = run(data, "gallery", "rename", "Grace", "Grace Hopper", "--json")
        assert json.loads(renamed.stdout)["name"] == "Grace Hopper"
        assert of_service in renamed.stderr
        listed = run(data, "gallery", "list", "--json")
        assert {each["name"] for each in json.loads(listed.stdout)} == {"Barack", "Grace Hopper"}
        assert listed.stderr == ""
        assert run(data, "events").returncode == 0

        # Another gallery is used only where it is named.
        other = run(data, "enroll", "Eve", photo, "--gallery", tmp_path / "other")
        assert f"gallery {tmp_path / 'other'}, of --gallery" in other.stderr
        assert f"note: a service runs on {people} (process" in other.stderr
        assert names(running) == {"Barack", "Grace Hopper"}

        elsewhere = configured(tmp_path, "elsewhere")
        refused = run(data, "enroll", "Eve", photo, FACEWIRE_CONFIG=str(elsewhere))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == (
            f"facewire: a service runs on {people} (process {running.process.pid}), "
            f"FACEWIRE_CONFIG names {tmp_path / 'elsewhere'}: "
            "choose a gallery by --gallery or --config\n"
        )
        assert not (tmp_path / "elsewhere").exists()

        running.process.send_signal(signal.SIGKILL)
        running.process.wait(300)
    after = run(data, "enroll", "Eve", photo)
    assert after.stderr == f"facewire: gallery {data / 'gallery'}, the default\n"


def test_the_demo_is_a_running_service_too(tmp_path: Path) -> None:
    with service("which-demo", tmp_path) as running:
        assert "Joe Biden" in names(running)
        renamed = run(tmp_path, "gallery", "rename", "Joe Biden", "Joseph Biden")
        assert (
            f"gallery {tmp_path / 'demo'}, of the running demo, whose people are kept apart"
            in renamed.stderr
        )
        assert "Joseph Biden" in names(running)


def test_the_service_and_commands_read_the_file_of_the_environment(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    file = configured(tmp_path, "people")
    monkeypatch.setenv("FACEWIRE_CONFIG", str(file))
    before = run(data, "enroll", "Grace", photo)
    assert before.stderr == f"facewire: gallery {tmp_path / 'people'}, of {file}\n"
    with service("which-environment", data) as running:
        assert names(running) == {"Grace"}
        assert run(data, "gallery", "remove", "Grace", "--yes").returncode == 0
        assert names(running) == set()


def test_two_services_are_not_guessed_among(tmp_path: Path, photo: Path) -> None:
    one, two = configured(tmp_path, "one"), configured(tmp_path, "two")
    with (
        service("which-one", tmp_path, "--config", str(one)),
        service("which-two", tmp_path, "--config", str(two)) as second,
    ):
        refused = run(tmp_path, "enroll", "Grace", photo)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
        assert "several services run" in refused.stderr
        assert run(tmp_path, "enroll", "Grace", photo, "--config", two).returncode == 0
        assert names(second) == {"Grace"}


def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, photo: Path) -> None:
    file = tmp_path / "facewire.toml"
    file.write_text("[gallery]\nthreshhold = 1\n")
    for arguments in (
        ["enroll", "Grace", photo],
        ["identify", photo],
        ["detect", photo],
        ["gallery", "list"],
        ["events"],
        ["check"],
        ["bench", "embed"],
    ):
        result = run(tmp_path, *arguments, "--config", file)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"facewire: {file}: unknown key gallery.threshhold\n"
