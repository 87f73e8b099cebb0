"""Visitors in the real service: the demo's four people, none of them enrolled."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.e2e.harness import PATIENCE_S, RunningService, service

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PEOPLE = 4  # in the demo's scene


def ask(running: RunningService, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{running.url}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return json.load(answer)


def test_the_demos_people_are_four_visitors_and_one_gets_a_name(tmp_path: Path) -> None:
    config = tmp_path / "facewire.toml"
    config.write_text('[visitors]\nenabled = true\n[[cameras]]\nname = "demo"\nurl = "demo:"\n')
    arguments = [f"--config={config}", f"--gallery={tmp_path / 'people'}"]
    with service("visitors", tmp_path / "data", *arguments) as running:
        deadline = time.monotonic() + PATIENCE_S
        found: dict[str, Any] = {"visitors": [], "total": 0}
        while found["total"] < PEOPLE or any(v["is_provisional"] for v in found["visitors"]):
            assert time.monotonic() < deadline, found
            found = ask(running, "api/visitors")
            assert found["total"] <= PEOPLE
            time.sleep(0.2)
        chosen = found["visitors"][0]
        assert ask(running, f"api/visitors/{chosen['visitor_id']}")["seen"]
        ask(running, f"api/visitors/{chosen['visitor_id']}/name", {"name": "Ada"})
        events = ask(running, "api/events?kind=unknown&name=Ada")["events"]
        assert events
        assert {event["name"] for event in events} == {"Ada"}
        assert ask(running, "api/visitors")["total"] == PEOPLE - 1
