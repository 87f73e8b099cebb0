"""Three services on one database: who is a visitor on one is the same on all, whatever fails."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from tests.e2e.harness import PATIENCE_S, RunningService, service
from tests.postgres_server import Server, postgres_server

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]

PEOPLE = 4  # in the demo's scene
CAMERAS = {"a": "door", "b": "yard", "c": "ramp"}
TABLES = ("visitors", "visitors_apart", "visitor_sightings", "visitor_events", "visitors_erased")


class Site:
    """Three machines on one database, each of which keeps visitors."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.address = address
        self.running: dict[str, RunningService] = {}
        self.numbers: dict[str, int] = {}

    def start(self, name: str, stack: ExitStack) -> None:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        file = directory / "facewire.toml"
        file.write_text(
            f'[gallery]\ndatabase = "{self.address}"\n[cluster]\nname = "{name}"\n'
            "[visitors]\nenabled = true\n"
            f'[[cameras]]\nname = "{CAMERAS[name]}"\nurl = "demo:"\n'
        )
        self.running[name] = stack.enter_context(
            service(f"visitors-{name}", directory, f"--config={file}")
        )

    def stored(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.address) as connection:
            connection.execute("SET search_path = facewire")
            return connection.execute(query.encode()).fetchall()

    def assigner(self) -> str:
        """Return the name of the machine that assigns; empty while none does."""
        rows = self.stored(
            "SELECT name FROM assignments JOIN nodes ON nodes.node = assignments.node "
            "WHERE camera = 'visitors*' AND ended IS NULL AND seen > server_now() - 15"
        )
        return str(rows[0][0]) if rows else ""

    def ask(self, name: str, path: str, method: str = "GET", body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(
            f"{self.running[name].url}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        with urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def visitors(self, name: str) -> dict[str, Any]:
        """Return a machine's visitors by their id; a number is always the same one's."""
        found = self.ask(name, "api/visitors")
        for each in found["visitors"]:
            assert self.numbers.setdefault(each["visitor_id"], each["number"]) == each["number"]
        assert len(set(self.numbers.values())) == len(self.numbers)
        assert found["total"] <= PEOPLE
        return {each["visitor_id"]: each for each in found["visitors"]}

    def unassigned(self) -> int:
        """Return how many sightings of a while ago no machine has assigned, to somebody or none."""
        ((n,),) = self.stored(
            "SELECT count(*) FROM sightings LEFT JOIN visitor_sightings USING (id) "
            "WHERE visitor_sightings.id IS NULL AND sightings.ended < server_now() - 10"
        )
        return int(n)

    def is_changed(self, name: str, gone: str, ignored: str) -> bool:
        """Return whether a machine has no visitor any more, and ignores another."""
        known = self.visitors(name)
        return gone not in known and bool(known[ignored]["is_ignored"])

    def count(self, *names: str) -> int:
        """Return how many visits of people seen on all cameras some machines say."""
        return sum(each["visit_count"] for name in names for each in self.visitors(name).values())


def until(condition: Callable[[], object]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.2)


@pytest.fixture
def server() -> Iterator[Server]:
    with postgres_server() as running:
        yield running


def test_a_stranger_is_the_same_visitor_on_all_machines_whatever_fails(
    tmp_path: Path, server: Server
) -> None:
    site = Site(tmp_path, server.new_database())
    with ExitStack() as stack:
        for name in CAMERAS:
            site.start(name, stack)
        until(site.assigner)

        def are_all_seen_by(names: set[str], cameras: set[str]) -> bool:
            """Return whether the same four people are known to machines, as seen by cameras."""
            known = [site.visitors(name) for name in sorted(names)]
            return (
                all(len(each) == PEOPLE for each in known)
                and all(each.keys() == known[0].keys() for each in known)
                and all(
                    cameras <= set(visitor["cameras"])
                    for each in known
                    for visitor in each.values()
                )
            )

        everybody, cameras = set(CAMERAS), set(CAMERAS.values())
        until(lambda: are_all_seen_by(everybody, cameras))

        # The machine that assigns is killed: another one goes on, with the same visitors.
        killed = site.assigner()
        process = site.running[killed].process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        left = everybody - {killed}
        before = site.count(*left)
        until(lambda: site.assigner() in left)
        until(lambda: site.count(*left) > before)
        until(lambda: site.unassigned() == 0)
        assert are_all_seen_by(left, cameras)

        # The next one is frozen: when it goes on, it writes nothing of visitors.
        until(site.assigner)
        frozen = site.assigner()
        (other,) = left - {frozen}
        process = site.running[frozen].process
        os.kill(process.pid, signal.SIGSTOP)
        try:
            until(lambda: site.assigner() == other)
            ((node,),) = site.stored(f"SELECT node FROM nodes WHERE name = '{frozen}'")
            ((since,),) = site.stored("SELECT server_now()")
            ((revision,),) = site.stored("SELECT last_value FROM event_revisions")
            before = site.count(other)
            until(lambda: site.count(other) > before)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        until(lambda: site.count(frozen) > before)
        until(lambda: are_all_seen_by(left, cameras))
        own = f"node = {node} AND camera = 'visitors*' AND began > {since}"
        if not site.stored(f"SELECT 1 FROM assignments WHERE {own}"):  # else it assigns again
            for table in TABLES:
                written = f"changed_by = {node} AND revision > {revision}"
                assert site.stored(f"SELECT count(*) FROM {table} WHERE {written}") == [(0,)]
        until(lambda: site.unassigned() == 0)

        # What a person does on a machine that does not assign is done on all.
        until(site.assigner)
        (asked,) = left - {site.assigner()}
        gone, ignored, *_ = site.visitors(asked)
        assert site.ask(asked, f"api/visitors/{ignored}/ignore", "POST", {"is_ignored": True})[
            "is_ignored"
        ]
        site.ask(asked, f"api/visitors/{gone}", "DELETE")
        for name in sorted(left):
            until(partial(site.is_changed, name, gone, ignored))
        assert site.stored(f"SELECT 1 FROM visitors WHERE visitor_id = '{gone}'") == []
        assert site.stored(f"SELECT 1 FROM visitor_sightings WHERE visitor_id = '{gone}'") == []
        with pytest.raises(HTTPError, match="404"):
            site.ask(asked, f"api/visitors/{gone}", "DELETE")
        for name in sorted(left):
            assert site.ask(name, "healthz")["problems"] == []
