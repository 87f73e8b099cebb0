"""A service that starts while its database is away: names, what it says, and its return."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from gallery.people_copy import DIRECTORY
from tests.e2e.harness import PATIENCE_S, RunningService, service
from tests.postgres_server import PASSWORD, Server, postgres_server

pytestmark = pytest.mark.integration

DOOR = ("--camera", "door=demo:")


def answer(running: RunningService, path: str, body: object = None) -> Any:
    """Return what is answered, also with an error."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(running.url + path, data, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as response:
            return json.load(response)
    except HTTPError as error:
        return json.load(error)


def events(running: RunningService) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(running, "api/events?limit=1000")["events"]
    return found


def stranger(running: RunningService) -> int | None:
    return next((e["id"] for e in events(running) if e["has_crop"] and not e["name"]), None)


def until(condition: Callable[[], object]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.1)


def held(directory: Path, text: str) -> bool:
    """Return whether the copy of the people, once there is one, holds a text anywhere."""
    for each in (directory / "gallery" / DIRECTORY).glob("*"):
        with suppress(FileNotFoundError):  # SQLite removes its own files meanwhile
            if text.encode() in each.read_bytes():
                return True
    return False


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with postgres_server() as running:
        monkeypatch.setenv("FACEWIRE_DATABASE", running.new_database())
        yield running


def test_a_service_starts_while_its_database_is_away(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    facewire = str(Path(sys.executable).with_name("facewire"))
    first = subprocess.run(
        [facewire, "serve", "--port=0", *DOOR],
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert first.returncode == 1
    assert "cannot reach the gallery's database" in first.stderr
    assert "Traceback" not in first.stderr
    server.start()
    with service("away-before", tmp_path, *DOOR) as running:
        until(lambda: stranger(running))
        answer(running, f"api/events/{stranger(running)}/name", {"name": "Ada Copied"})
        until(lambda: held(tmp_path, "Ada Copied"))
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    server.stop()
    config = tmp_path / "facewire.toml"
    config.write_text("[recognizer]\nworkers = 2\n")  # they open the copy, too
    with service("away", tmp_path, *DOOR, "--config", str(config)) as running:
        before = {each["id"] for each in events(running)}

        def is_named() -> bool:
            new = [each for each in events(running) if each["id"] not in before]
            return any(each["name"] == "Ada Copied" for each in new)

        until(is_named)
        problems = answer(running, "healthz")["problems"]
        assert any(
            each.startswith("people of ") and "the database is away" in each for each in problems
        )
        assert any("kept on this machine until it is back" in each for each in problems)
        assert not any(PASSWORD in each or "\n" in each for each in problems)
        until(lambda: stranger(running))
        name = f"api/events/{stranger(running)}/name"
        assert "once it is back" in answer(running, name, {"name": "Eve"})["error"]
        kept = {each["id"] for each in events(running)}
        server.start()
        until(lambda: answer(running, "healthz")["problems"] == [])
        answer(running, name, {"name": "Eve Enrolled"})
        until(lambda: held(tmp_path, "Eve Enrolled"))
        with psycopg.connect(os.environ["FACEWIRE_DATABASE"]) as connection:
            shared = connection.execute("SELECT id FROM facewire.events").fetchall()
        assert kept <= {row[0] for row in shared}
        # On another machine, which has another directory.
        monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path / "other"))
        subprocess.run([facewire, "gallery", "remove", "--yes", "Eve Enrolled"], check=True)
        until(lambda: not held(tmp_path, "Eve Enrolled"))
    assert held(tmp_path, "Ada Copied")
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))
    subprocess.run([facewire, "gallery", "remove", "--yes", "Ada Copied"], check=True)
    assert not held(tmp_path, "Ada Copied")
