"""`facewire events` on a real log, beside the process that writes it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gallery import Identity, Match
from stream.events.log import EventLog
from stream.frames import Event, EventKind

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")


def happen(log: EventLog, kind: EventKind, camera: str, who: str | None, at: float) -> None:
    match = Match(Identity(f"id-{who}", who), 0.71) if who else None
    log.append(Event(kind, camera, 0.0, "run-1", match, 0.0, None), at)


@pytest.fixture
def now() -> float:
    # Requested by each test: the whole suite takes longer than these events are apart.
    return time.time()


@pytest.fixture
def log(tmp_path: Path, now: float) -> Iterator[EventLog]:
    with EventLog.open(tmp_path / "gallery") as log:
        happen(log, EventKind.ENTER, "door", "Ada", now - 7200)
        happen(log, EventKind.EXIT, "door", "Ada", now - 7100)
        happen(log, EventKind.UNKNOWN, "yard", None, now - 600)
        happen(log, EventKind.ENTER, "yard", "Bob", now - 300)
        yield log


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, "events", *arguments],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path), "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_events_are_printed_newest_last(tmp_path: Path, log: EventLog, now: float) -> None:
    result = command(tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[2:5] for line in lines] == [
        ["door", "enter", "Ada"],
        ["door", "exit", "Ada"],
        ["yard", "unknown"],
        ["yard", "enter", "Bob"],
    ]
    assert lines[0].startswith(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now - 7200)))


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--camera", "yard"], [3, 4]),
        (["--person", "Ada"], [1, 2]),
        (["--person", "id-Bob"], [4]),
        (["--kind", "exit", "--kind", "unknown"], [2, 3]),
        (["--since", "1h"], [3, 4]),
        (["--since", "1h", "--until", "400s"], [3]),
        (["--since", "2020-01-01"], [1, 2, 3, 4]),
        (["--limit", "1"], [4]),
        (["--person", "Nobody"], []),
    ],
)
def test_filters(tmp_path: Path, log: EventLog, arguments: list[str], ids: list[int]) -> None:
    result = command(tmp_path, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    first = log.list()[-1].id
    assert [event["id"] - first + 1 for event in json.loads(result.stdout)] == ids


def test_following_tells_what_is_written_meanwhile(tmp_path: Path, log: EventLog) -> None:
    process = subprocess.Popen(
        [FACEWIRE, "events", "--follow", "--json", "--limit", "1", "--kind", "enter"],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["name"] == "Bob"
    happen(log, EventKind.EXIT, "yard", "Bob", time.time())
    happen(log, EventKind.ENTER, "door", "Zoë", time.time())
    assert json.loads(process.stdout.readline())["name"] == "Zoë"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (130, "", "")


def test_mistakes_are_one_line(tmp_path: Path, log: EventLog) -> None:
    result = command(tmp_path, "--since", "yesterday")
    assert result.returncode == 2
    assert "10m, 2h, 3d" in " ".join(result.stderr.split())
    result = command(tmp_path, "--gallery", str(tmp_path / "none"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("facewire: no events in ")
    assert not (tmp_path / "none").exists()
