"""Two services on one database: what one sees is read on the other, and nothing is lost."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest

from stream.events.log import EventLog
from tests.e2e.harness import PATIENCE_S, RunningService, service
from tests.postgres_server import PASSWORD, Server, postgres_server

pytestmark = pytest.mark.integration

DOOR = """
[[cameras]]
name = "door"
url = "demo:"
zones = { everywhere = [[0, 0], [1, 0], [1, 1], [0, 1]] }
"""


def answer(running: RunningService, path: str) -> Any:
    with urlopen(running.url + path, timeout=60) as response:
        body = response.read()
    return json.loads(body) if path.partition("?")[0][-4:] != ".jpg" else body


def events(running: RunningService, camera: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(running, f"api/events?limit=1000&camera={camera}")[
        "events"
    ]
    return found


def until(condition: Callable[[], bool]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with postgres_server() as running:
        monkeypatch.setenv("FACEWIRE_DATABASE", running.new_database())
        yield running


def test_events_of_one_service_are_on_the_other_whatever_fails(
    tmp_path: Path, server: Server
) -> None:
    config = tmp_path / "door.toml"
    config.write_text(DOOR)
    door, yard = ("--config", str(config)), ("--camera", "yard=rtsp://127.0.0.1:9/none")
    with service("shared-b", tmp_path / "b", *yard) as b:
        with service("shared-a", tmp_path / "a", *door) as a:
            until(lambda: any(each["has_crop"] for each in events(b, "door")))
            seen = next(each for each in events(b, "door") if each["has_crop"])
            crop = f"api/events/{seen['id']}/crop.jpg"
            assert answer(a, crop) == answer(b, crop) != b""
            assert seen["zones"] == ["everywhere"]
            assert answer(b, "api/events?zone=everywhere&limit=1")["events"]
            until(lambda: any(each["kind"] == "camera_down" for each in events(a, "yard")))
            server.stop()
            before = {each["id"] for each in events(a, "door")}
            until(lambda: len({each["id"] for each in events(a, "door")} - before) >= 2)
            problems = answer(a, "healthz")["problems"]
            assert any("kept on this machine until it is back" in each for each in problems)
            assert PASSWORD not in json.dumps(problems)
            kept = events(a, "door")
            server.start()
            until(lambda: events(b, "door")[0]["id"] >= kept[0]["id"])
            server.freeze()
            before = {each["id"] for each in events(a, "door")}
            until(lambda: len({each["id"] for each in events(a, "door")} - before) >= 1)
            kept = events(a, "door")
            os.kill(a.process.pid, signal.SIGKILL)
            a.process.wait()
            server.thaw()
            assert {each["id"] for each in kept} - {each["id"] for each in events(b, "door")}
        with service("shared-a2", tmp_path / "a", *door) as a:
            until(
                lambda: {each["id"] for each in kept} <= {each["id"] for each in events(b, "door")}
            )
        with EventLog.open_reader(tmp_path / "a" / "gallery") as log:
            ids = [each.id for each in log.list(limit=1000, camera="door")]
        until(lambda: [each["id"] for each in events(b, "door")] == ids)
        with psycopg.connect(os.environ["FACEWIRE_DATABASE"]) as connection:
            rows = connection.execute(
                "SELECT id FROM facewire.events WHERE camera = 'door' ORDER BY id DESC"
            ).fetchall()
        assert [row[0] for row in rows] == ids
        assert len(set(ids)) == len(ids)
        assert answer(b, "healthz")["problems"][0].startswith("camera yard is failing")
