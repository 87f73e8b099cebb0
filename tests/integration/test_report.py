"""Visits, presence and reports of a real service, and `facewire report` without one."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from gallery import Identity, Match
from stream.events.log import EventLog
from stream.events.visits import list_visits
from stream.frames import Event, EventKind
from tests.e2e.harness import service

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")
DAY = "2026-03-29"
"""It has 23 hours in Berlin."""


def happen(
    log: EventLog, kind: EventKind, when: str, number: int, name: str, camera: str = "door"
) -> None:
    match = Match(Identity(f"id-{name}", name), 0.7) if name else None
    at = datetime.fromisoformat(when).timestamp()
    log.append(Event(kind, camera, 0.0, f"run-{number}", match, 0.0, None), at)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    directory = tmp_path / "people"
    with EventLog.open(directory, keep_days=1e6) as log:
        happen(log, EventKind.ENTER, f"{DAY}T01:30+01:00", 1, "Ada")
        happen(log, EventKind.ENTER, f"{DAY}T03:20+02:00", 2, "Ada", "hall")
        happen(log, EventKind.EXIT, f"{DAY}T03:25+02:00", 1, "Ada")
        happen(log, EventKind.EXIT, f"{DAY}T03:30+02:00", 2, "Ada", "hall")
        happen(log, EventKind.ENTER, f"{DAY}T10:00+02:00", 3, "=Bob, the 2nd")
        happen(log, EventKind.EXIT, f"{DAY}T10:01+02:00", 3, "=Bob, the 2nd")
        happen(log, EventKind.UNKNOWN, f"{DAY}T11:00+02:00", 4, "")
        happen(log, EventKind.EXIT, f"{DAY}T11:00:30+02:00", 4, "")
    return directory


@pytest.fixture
def config(tmp_path: Path, people: Path) -> Path:
    file = tmp_path / "facewire.toml"
    file.write_text(
        f'[gallery]\ndirectory = "{people}"\n[events]\nkeep_days = 100000.0\n'
        'time_zone = "Europe/Berlin"\n[[cameras]]\nname = "door"\nurl = "demo:"\ntarget_fps = 5\n'
    )
    return file


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FACEWIRE, "report", *arguments],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path), "TZ": "UTC"},
        capture_output=True,
        timeout=600,
        encoding="utf-8",
    )


def test_a_report_reads_the_file(tmp_path: Path, config: Path) -> None:
    days = (f"--config={config}", f"--from={DAY}", f"--to={DAY}")
    rows = json.loads(command(tmp_path, *days, "--json").stdout)
    assert [(row["name"], row["total_s"], row["n_visits"]) for row in rows] == [
        ("=Bob, the 2nd", 60.0, 1),
        ("Ada", 3600.0, 1),  # from 01:30 to 03:30: the clock skips an hour
    ]
    table = command(tmp_path, *days, "--person=Ada").stdout
    assert table.splitlines()[1].split() == [DAY, "Ada", "01:30:00", "03:30:00", "1:00:00", "1"]
    nobody = command(tmp_path, *days, "--person=Nobody")
    assert (nobody.returncode, nobody.stdout) == (0, "no visits on these days\n")
    result = command(tmp_path, *days, "--csv")
    assert result.returncode == 0, result.stderr
    bob, ada = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert bob["name"] == "'=Bob, the 2nd"
    assert (float(ada["total_s"]), ada["total"]) == (3600.0, "1:00:00")
    assert ada["first_seen"] == f"{DAY}T01:30:00+01:00"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from=yesterday"],
        ["--to=2026-02-30"],
        ["--from=2026-03-02", "--to=2026-03-01"],
        ["--from=0001-01-01"],
        ["--csv", "--json"],
    ],
)
def test_wrong_days_are_refused(tmp_path: Path, people: Path, arguments: list[str]) -> None:
    result = command(tmp_path, f"--gallery={people}", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_without_events_the_next_step_is_named(tmp_path: Path) -> None:
    result = command(tmp_path, f"--gallery={tmp_path / 'nothing'}")
    assert result.returncode == 1
    assert "facewire serve writes them" in result.stderr


def ask(url: str, accept: str = "application/json") -> Any:
    with urlopen(Request(url, headers={"accept": accept}), timeout=300) as answer:
        text = answer.read().decode()
        return json.loads(text) if "json" in answer.headers["content-type"] else text


def test_the_api_lists_visits_presence_and_reports(
    tmp_path: Path, config: Path, people: Path
) -> None:
    started_at = time.time()
    day = f"after={DAY}T00:00:00Z&before={DAY}T23:00:00Z"
    with service("report", tmp_path / "data", f"--config={config}") as running:
        found = ask(f"{running.url}api/visits?{day}")
        assert [
            (each["name"], each["duration_s"], each["cameras"]) for each in found["visits"]
        ] == [
            (None, 30.0, ["door"]),
            ("=Bob, the 2nd", 60.0, ["door"]),
            ("Ada", 3600.0, ["door", "hall"]),
        ]
        assert found["cursor"] is None
        first = ask(f"{running.url}api/visits?{day}&limit=2")
        rest = ask(f"{running.url}api/visits?{day}&limit=2&cursor={first['cursor']}")
        assert first["visits"] + rest["visits"] == found["visits"]
        (hall,) = ask(f"{running.url}api/visits?{day}&camera=hall")["visits"]
        assert hall["name"] == "Ada"
        for table in (
            ask(f"{running.url}api/visits?{day}&format=csv"),
            ask(f"{running.url}api/visits?{day}", accept="text/csv"),
        ):
            rows = list(csv.DictReader(io.StringIO(table, newline="")))
            assert [float(row["duration_s"]) for row in rows] == [30.0, 60.0, 3600.0]
        table = ask(f"{running.url}api/report?from={DAY}&to={DAY}&format=csv")
        rows = list(csv.DictReader(io.StringIO(table, newline="")))
        assert [(row["name"], row["total"]) for row in rows] == [
            ("'=Bob, the 2nd", "0:01:00"),
            ("Ada", "1:00:00"),
        ]
        with pytest.raises(HTTPError) as refused:
            ask(f"{running.url}api/report?from=2026-03-02&to=2026-03-01")
        refused.value.close()
        assert refused.value.code == 400

        # The demo's faces: nobody is enrolled here, so they are visits of strangers that go on.
        until = time.monotonic() + 300
        since = datetime.now(UTC).isoformat().replace("+00:00", "Z")[:10] + "T00:00:00Z"
        while not (going := _going(running.url, since)):
            assert time.monotonic() < until, "no visit began"
            time.sleep(0.2)
        assert {each["name"] for each in going} == {None}
        while not (now := ask(f"{running.url}api/presence"))["count"]:
            assert time.monotonic() < until, "nobody is present"
            time.sleep(0.2)
        (door,) = now["cameras"]
        assert (door["camera"], door["people"]) == ("door", [])
        assert door["count"] == door["n_unknown"] == now["count"]
    # A stop writes the exits of those present, so that every end is known.
    with EventLog.open_reader(people) as log:
        stopped, _ = list_visits(
            log.connection, after=started_at, before=time.time(), live_run=None
        )
    assert stopped
    assert all(each.is_exact for each in stopped)


def _going(url: str, since: str) -> list[dict[str, Any]]:
    return [
        each for each in ask(f"{url}api/visits?after={since}")["visits"] if each["ended"] is None
    ]
