"""Ray's first machine is lost and started again: with Redis, Ray has its actors again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest

from stream.service_lock import running_services
from tests.e2e.harness import PATIENCE_S, require
from tests.film import Film
from tests.ports import HeldPort
from tests.postgres_server import postgres_server
from tests.redis_server import redis_server
from tests.rtsp_server import RtspServer, why_unavailable

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROGRAMS = Path(sys.executable).parent
SMALL = ("--num-cpus=1", f"--object-store-memory={80 << 20}")
CONFIG = "[server]\nport = {}\n[recognizer]\nthreads = 1\nworkers = 1\n"


class Machine:
    """A machine of the cluster; its processes are those that have its name and data directory.

    Args:
        name: of the machine.
        folder: for its data.
        port: of its service.
        shared: variables of all machines.
    """

    def __init__(self, name: str, folder: Path, port: int, shared: dict[str, str]) -> None:
        self.data = folder / name
        self.data.mkdir()
        config = self.data / "facewire.toml"
        config.write_text(CONFIG.format(port))
        self.url = f"http://127.0.0.1:{port}/"
        self._own = {
            "FACEWIRE_NODE": name,
            "FACEWIRE_DATA": str(self.data),
            "FACEWIRE_CONFIG": str(config),
        }
        self._environment = {**os.environ, **shared, **self._own}

    def run(self, *command: str, **variables: str) -> str:
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]],
            env={**self._environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run("facewire", "cluster", *command, "--json"))

    @property
    def service_pid(self) -> int:
        return next((each.process for each in running_services(self.data)), 0)

    def state(self, camera: str) -> str:
        try:
            headers = {"authorization": f"Bearer {self._environment['FACEWIRE_TOKEN']}"}
            asked = Request(f"{self.url}api/cameras/{camera}", headers=headers)
            with urlopen(asked) as answer:
                return str(json.load(answer)["state"])
        except OSError:
            return ""

    def kill(self) -> None:
        """Kill all of its processes, which may start others meanwhile."""
        while pids := list(self._pids()):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            threading.Event().wait(0.1)

    def _pids(self) -> Iterator[int]:
        marks = {f"{key}={value}".encode() for key, value in self._own.items()}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marks <= set((folder / "environ").read_bytes().split(b"\0")):
                    yield int(folder.name)
            except OSError:  # it has ended, or is another user's
                continue


def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what()
        pause.wait(0.2)


def test_ray_comes_back_with_its_actors_and_recognition_goes_on_meanwhile(tmp_path: Path) -> None:
    require(why_unavailable())
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        address = stack.enter_context(postgres_server()).new_database()
        cameras = [stack.enter_context(RtspServer(is_fed=True)) for _ in range(2)]
        stack.enter_context(Film(cameras))
        ports = [stack.enter_context(HeldPort()).port for _ in range(3)]
        shared = {
            "FACEWIRE_DATABASE": address,
            "FACEWIRE_TOKEN": "a secret of sixteen or more characters",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "a secret of thirty-two or more letters",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A minute by default: here the first machine may be slower than that.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
            # The paths of Ray's sockets are below it, and must be short.
            "RAY_TMPDIR": stack.enter_context(TemporaryDirectory(prefix="fw-", dir="/tmp")),
        }
        first, second = (
            Machine(name, tmp_path, port, shared)
            for name, port in zip(("first", "second"), ports, strict=False)
        )
        stack.callback(second.kill)
        stack.callback(first.kill)

        def start_ray() -> None:
            first.run(
                *("ray", "start", "--head", f"--port={ports[2]}", "--include-dashboard=false"),
                *SMALL,
                RAY_REDIS_ADDRESS=redis,
                RAY_external_storage_namespace="facewire",
                RAY_worker_niceness="0",
            )

        def owners() -> dict[str, str]:
            return {each["camera"]: each["node"] for each in second.json("status")["cameras"]}

        def n_came_on(machine: str, since: float) -> int:
            with psycopg.connect(address) as connection:
                ((n,),) = connection.execute(
                    "SELECT count(*) FROM facewire.events JOIN facewire.cluster_nodes "
                    "ON number = events.node WHERE cluster_nodes.node = %s AND at > %s "
                    "AND kind IN ('enter', 'unknown')",
                    (machine, since),
                ).fetchall()
            return int(n)

        start_ray()
        first.run("facewire", "cluster", "start", "--host", "0.0.0.0")
        join = ("--join", f"127.0.0.1:{ports[2]}", "--site", "dock")
        second.run("facewire", "cluster", "start", *join)
        until(lambda: first.service_pid and second.service_pid, lambda: "no services")
        until(lambda: len(first.json("nodes")) == 2, lambda: first.json("nodes"))
        for number, camera in enumerate(cameras):
            first.run("facewire", "cluster", "add", f"c{number}", camera.url)
        until(lambda: set(owners().values()) == {"first", "second"}, owners)
        (moved,) = (camera for camera, node in owners().items() if node == "first")
        (stayed,) = (camera for camera, node in owners().items() if node == "second")
        until(lambda: first.state(moved) == "live", lambda: first.state(moved))
        until(lambda: second.state(stayed) == "live", lambda: second.state(stayed))
        pid = second.service_pid
        # Ray's own niceness of 15 would run services behind all other programs.
        for each in (first, second):
            priority = os.getpriority(os.PRIO_PROCESS, each.service_pid)
            assert priority == os.getpriority(os.PRIO_PROCESS, 0)

        first.kill()
        lost_at = time.time()
        until(lambda: n_came_on("second", lost_at), lambda: "nobody came")
        until(lambda: second.state(moved) == "live", lambda: second.state(moved))

        # Of another machine on this one, from which Ray concludes that it runs already.
        Path(shared["RAY_TMPDIR"], "ray", "ray_current_cluster").unlink()
        start_ray()
        # Nothing else is started: Ray has the coordinator, which gives the machine a keeper.
        until(lambda: first.service_pid, lambda: "no service")
        until(lambda: set(owners().values()) == {"first", "second"}, owners)
        back_at = time.time()
        until(lambda: n_came_on("first", back_at), lambda: "nobody came")
        assert second.service_pid == pid
        # The keeper of the other machine goes on, too, and starts its service again.
        os.kill(pid, signal.SIGKILL)
        until(lambda: second.service_pid not in (0, pid), lambda: "no service")
        first.run("facewire", "cluster", "stop")
        assert (first.service_pid, second.service_pid) == (0, 0)
