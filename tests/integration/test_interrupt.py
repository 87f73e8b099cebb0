"""Signals to the real command: Ctrl-C at any moment of its life, SIGTERM, and SIGHUP."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

FACEWIRE = Path(sys.executable).with_name("facewire")


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FACEWIRE, *arguments],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_loaded(process: subprocess.Popen[str], library: str) -> None:
    """Wait until the process has loaded a shared library: a moment of its imports."""
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 300
    while library not in maps.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, f"it ended before {library} was loaded"
        time.sleep(0.001)


def until_worked(process: subprocess.Popen[str], cpu_s: float) -> None:
    """Wait until the process has used so many more seconds of processor time."""
    stat = Path(f"/proc/{process.pid}/stat")

    def used_s() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    enough, deadline = used_s() + cpu_s, time.monotonic() + 300
    while used_s() < enough:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.001)


@pytest.mark.parametrize(
    "library", ["_pydantic_core", "_multiarray_umath", "cv2.abi3.so", "faiss", "openvino"]
)
@pytest.mark.parametrize("cpu_s", [0.0, 0.05])
def test_ctrl_c_says_nothing_while_the_service_starts(
    tmp_path: Path, library: str, cpu_s: float
) -> None:
    process = start(tmp_path, "serve", "--port=0")
    until_loaded(process, library)
    until_worked(process, cpu_s)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (130, "", "")


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    process = start(tmp_path, "bench", "search", "1000000", "--json")
    until_loaded(process, "faiss")
    until_worked(process, 1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_that_runs_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "serve", "--port=0")
    assert process.stdout is not None
    assert "facewire is on http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0
    assert "stopping" in err
    assert "Traceback" not in err


def test_an_edited_configuration_is_taken_in_at_sighup(tmp_path: Path) -> None:
    config = tmp_path / "facewire.toml"
    first = '[[cameras]]\nname = "one"\nurl = "demo:"\ntarget_fps = 2\n'
    config.write_text(first)
    process = start(tmp_path, "serve", "--port=0", "--config", str(config))

    def reload(text: str, expected: dict[str, str]) -> None:
        config.write_text(text)
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 300
        while states() != expected:
            assert time.monotonic() < deadline, states()
            time.sleep(0.05)

    def states() -> dict[str, str]:
        with urlopen(f"{url}/api/cameras", timeout=300) as answer:
            return {camera["name"]: camera["state"] for camera in json.load(answer)}

    assert process.stdout is not None
    url = process.stdout.readline().removeprefix("facewire is on ").split()[0]
    two = '[[cameras]]\nname = "two"\nurl = "demo:"\ntarget_fps = 2\n'
    reload(first + two, {"one": "live", "two": "live"})
    reload(first + two + "enabled = false\n", {"one": "live", "two": "off"})
    reload(two.replace("two", "three"), {"three": "live"})
    rule = '[[rules]]\nname = "Anybody"\nthen = [{ type = "push" }]\n'
    reload(two.replace("two", "four") + rule, {"four": "live"})
    with urlopen(f"{url}/api/rules", timeout=300) as answer:
        assert [each["name"] for each in json.load(answer)["rules"]] == ["Anybody"]
    reload("[[cameras]]\nname = 5\n", {"four": "live"})
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0
    assert "cameras.0" in err
    assert "Traceback" not in err
