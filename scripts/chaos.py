"""Fault a cluster of three machines at random, and count: scripts/chaos --faults 50 [--json].

On this machine: three raylets of Ray, each with a service, RTSP cameras, PostgreSQL, and Janus. A
fault is a killed or frozen service, raylet, database or Janus, a killed coordinator, a killed
machine (raylet and service), or a killed or frozen front: a service through whose page viewers
watch one of its cameras and one of another machine. After each, all cameras must be back, what was
killed must run again, and viewers must have their pictures. What is counted at the end:

- lost: every camera shows a film in which one person comes for 8 s and is gone for 6 s. Such a stay
  counts if its camera was live, on the machine on which it was placed, from before it until after
  it, and no fault touched that machine; it is lost if no event says that somebody came. To these
  are added events that a machine has and the database lacks, and stays without an exit.
- doubled: further events that somebody came, in such a stay, and exits that follow one of the same
  track before anybody came again.
- wrong_owner: events of a camera at a moment at which another machine owned it.
- takeover: from a fault until a camera of that machine is live on another one, seconds.
- interrupted: the longest time for which a viewer had no pictures, seconds. Those of the front stay
  with that machine, and connect again as the page does; those of Janus are served by facewire while
  it is away.
- republished: from the return of Janus until a viewer has its pictures again, seconds.

Exits 1 if anything was lost, doubled or written by a wrong owner. `--seed` chooses the faults.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import numpy as np
import psycopg

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.cluster_utils import Cluster

from stream.cluster import actors, running
from stream.cluster.database import ClusterDatabase, Placement
from stream.config import CameraConfig
from stream.events.replica import MAX_NODE
from stream.events.schema import FILE_NAME
from stream.service_lock import running_services

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.film import Film
from tests.janus_server import SECRET, JanusServer, janus, why_no_janus
from tests.page_viewer import PageViewer, PageViewers
from tests.ports import HeldPort
from tests.postgres_server import Server, postgres_server
from tests.rtsp_server import RtspServer, why_unavailable

SLACK_S = 2.0
"""Seconds before and after a stay in which its camera must be live, too: it is recognized late on a
busy machine."""

FROZEN_S = 8.0
PATIENCE_S = 300.0
STORE_BYTES = 80 << 20
MEDIA = (23000, 23999)
"""Ports of Janus."""

CONFIG = """
[server]
port = {port}
[cluster]
url = "http://127.0.0.1:{port}"
[sfu]
kind = "janus"
url = "{janus}"
secret = "{secret}"
[events]
absence_s = 2.0
cooldown_s = 0
[recognizer]
threads = 1
workers = 1
"""


@dataclass(slots=True, eq=False)
class Machine:
    """One of the machines: a raylet, and a service that its actor keeps.

    Attributes:
        name: of the machine.
        data: directory of its service.
        port: of its page and API.
        raylet: its process in Ray.
    """

    name: str
    data: Path
    port: int
    raylet: Any = None

    @property
    def url(self) -> str:
        """Address of its service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def service_pid(self) -> int:
        """Process id of its service; 0 if none runs."""
        return next((each.process for each in running_services(self.data)), 0)

    def states(self) -> dict[str, str]:
        """Return the states of its cameras; empty if it does not answer."""
        try:
            opener = build_opener(ProxyHandler({}))
            with opener.open(f"{self.url}/api/cameras", timeout=1) as answer:
                return {
                    each["name"]: each["state"]
                    for each in json.load(answer)
                    if each["machine"] == self.name
                }
        except (OSError, ValueError, KeyError):
            return {}


@dataclass(slots=True)
class Counts:
    """What a run has counted.

    Attributes:
        faults: by kind.
        stays: those of the film that count.
        lost, doubled, wrong_owner: see the module.
        takeovers: kind of the fault and seconds, of each camera.
        interrupted: kind of the fault and seconds, of each viewer.
        republished: seconds, of each viewer.
        details: a line for each event that is lost or doubled.
    """

    faults: Counter[str] = field(default_factory=Counter)
    stays: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_owner: int = 0
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    interrupted: list[tuple[str, float]] = field(default_factory=list)
    republished: list[float] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        seconds = sorted(each for _, each in self.takeovers)
        return {
            "faults": sum(self.faults.values()),
            "faults_by_kind": dict(self.faults),
            "stays": self.stays,
            "lost": self.lost,
            "doubled": self.doubled,
            "wrong_owner": self.wrong_owner,
            "takeovers": len(seconds),
            "takeover_p50_s": _percentile(seconds, 50),
            "takeover_p95_s": _percentile(seconds, 95),
            "takeover_max_s": _percentile(seconds, 100),
            "takeover_p50_s_by_kind": _by_kind(self.takeovers, 50),
            "interrupted_p50_s_by_kind": _by_kind(self.interrupted, 50),
            "interrupted_p95_s_by_kind": _by_kind(self.interrupted, 95),
            "republished_p50_s": _percentile(self.republished, 50),
            "republished_p95_s": _percentile(self.republished, 95),
            "details": self.details,
        }


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if values else None


def _by_kind(values: Sequence[tuple[str, float]], percent: float) -> dict[str, float | None]:
    kinds = sorted({kind for kind, _ in values})
    return {kind: _percentile([s for k, s in values if k == kind], percent) for kind in kinds}


class Chaos:
    """A cluster on this machine, and the faults that are done to it.

    Args:
        folder: for its files.
        server: of the database.
        sfu: of the viewers.
        ports: of the machines.
        options: of the command.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        sfu: JanusServer,
        ports: Sequence[int],
        options: argparse.Namespace,
    ) -> None:
        self._server = server
        self._sfu = sfu
        self._random = random.Random(options.seed)
        self._address = server.new_database()
        self._began = time.monotonic()
        self.counts = Counts()
        self._next: list[str] = list(reversed(options.kinds.split(","))) if options.kinds else []
        self.cameras = [f"c{number}" for number in range(options.cameras)]
        self._machines = [Machine(f"m{n}", folder / f"m{n}", p) for n, p in enumerate(ports)]
        self._touched: list[tuple[str, float, float]] = []
        self._live: dict[str, list[tuple[str, float, float]]] = {c: [] for c in self.cameras}
        for each in self._machines:
            each.data.mkdir()
            (each.data / "facewire.toml").write_text(
                CONFIG.format(port=each.port, janus=sfu.url, secret=SECRET)
            )
        os.environ["FACEWIRE_CONFIG"] = str(self._machines[0].data / "facewire.toml")
        os.environ["FACEWIRE_DATABASE"] = self._address
        os.environ.update(running.NICENESS)
        self._database = ClusterDatabase(self._address)
        self._watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch")

    @contextlib.contextmanager
    def run(self, urls: Sequence[str]) -> Iterator["Chaos"]:
        """Start everything, and stop it at the end."""
        for name, url in zip(self.cameras, urls, strict=True):
            self._database.want(CameraConfig.model_validate({"name": name, "url": url}), None)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"include_dashboard": False, **self._arguments(self._machines[0])},
        )
        self._cluster = cluster
        self._machines[0].raylet = cluster.head_node
        os.environ["RAY_ADDRESS"] = cluster.address
        try:
            for machine in self._machines[1:]:
                self._until("Ray runs", lambda each=machine: self._join(each))  # type: ignore[misc]
            running.start(actors.Options((), 1.0, 0.0))
            with running.connected():
                self._until("every machine runs", self._is_whole)
                self._until("every camera is live", lambda: not self._away())
                self._watcher.start()
                try:
                    yield self
                finally:
                    self._watching.set()
                    self._watcher.join()
            running.stop()
        finally:
            for machine in self._machines:
                if pid := machine.service_pid:
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGKILL)
            cluster.shutdown()  # type: ignore[no-untyped-call]
            del os.environ["RAY_ADDRESS"]
            self._database.close()

    def _arguments(self, machine: Machine) -> dict[str, Any]:
        environment = {
            "FACEWIRE_NODE": machine.name,
            "FACEWIRE_DATA": str(machine.data),
            "FACEWIRE_CONFIG": str(machine.data / "facewire.toml"),
        }
        return {"num_cpus": 1, "object_store_memory": STORE_BYTES, "env_vars": environment}

    def _join(self, machine: Machine) -> bool:
        """Start Ray on a machine; return False if that takes more than Ray's 30 s."""
        with contextlib.suppress(Exception):
            machine.raylet = self._cluster.add_node(**self._arguments(machine))
            return True
        return False

    def fault(self) -> None:
        """Do one fault, and wait until everything is as before."""
        kinds: dict[str, Callable[[Machine], object]] = {
            "service killed": self._kill_service,
            "service frozen": self._freeze_service,
            "raylet killed": self._kill_raylet,
            "raylet frozen": self._freeze_raylet,
            "machine killed": self._kill_machine,
            "coordinator killed": self._kill_coordinator,
            "database killed": self._kill_database,
            "database frozen": self._freeze_database,
            "front killed": self._kill_service,
            "front frozen": self._freeze_service,
            "janus killed": self._kill_janus,
            "janus frozen": self._freeze_janus,
        }
        if not self._next:  # each kind comes as often as the others, those of services twice
            self._next = [*kinds, "service killed", "service frozen"]
            self._random.shuffle(self._next)
        kind = self._next.pop()
        what = kind.split()[0]
        # Ray's first machine has its store of facts, which is in memory without Redis.
        others = self._machines[1:] if kind in ("raylet killed", "machine killed") else []
        before = self._database.state().placements
        holding = {each.node for each in before.values()}
        among = others or self._machines
        machine = self._random.choice([each for each in among if each.name in holding] or among)
        self.counts.faults[kind] += 1
        hit = [name for name, each in before.items() if each.node == machine.name]
        is_away = what in ("service", "front") or kind == "machine killed"
        self._say(f"{kind}: {machine.name}, which has {', '.join(sorted(hit)) or 'no camera'}")
        with PageViewers(self._viewers(what, machine, before)) as viewers:
            self._await_pictures(viewers, since=0.0)
            at, wall_at = time.monotonic(), time.time()
            thaw = kinds[kind](machine)
            if is_away:
                self._time_takeovers(kind, machine, hit, before, at)
            if what == "janus":
                self._await_pictures(viewers, since=at + SLACK_S, via="facewire")
            if callable(thaw):
                time.sleep(max(0.0, at + FROZEN_S - time.monotonic()))
                thaw()
            back_at = time.monotonic()
            if kind in ("raylet killed", "machine killed"):
                self._cluster.remove_node(machine.raylet, allow_graceful=False)
                self._until("Ray runs again", lambda: self._join(machine))
            self._until("every machine runs", self._is_whole)
            self._until("every camera is live", lambda: not self._away())
            self._await_pictures(viewers, since=time.monotonic())
            for each in viewers.viewers:
                self.counts.interrupted.append((kind, each.gap_s(at)))
                if what == "janus":
                    again = each.saw(back_at, "janus")
                    assert again is not None
                    self.counts.republished.append(again - back_at)
        if is_away:
            self._touched.append((machine.name, wall_at, time.time()))

    def _viewers(
        self, what: str, machine: Machine, placements: Mapping[str, Placement]
    ) -> list[PageViewer]:
        """Return who watches: through one machine, or each machine's own camera."""
        by_machine = {each.node: camera for camera, each in placements.items()}
        if what == "front":
            others = [by_machine[node] for node in by_machine if node != machine.name]
            watched = [by_machine[machine.name], *others[:1]]
            return [PageViewer(machine.url, camera) for camera in watched]
        if what == "janus":
            return [
                PageViewer(each.url, by_machine[each.name])
                for each in self._machines
                if each.name in by_machine
            ]
        return []

    def _await_pictures(self, viewers: PageViewers, *, since: float, via: str = "janus") -> None:
        """Wait until all viewers have frames since a moment."""
        self._until(
            f"viewers have pictures by way of {via}",
            lambda: all(each.saw(since, via) for each in viewers.viewers),
            pause_s=0.1,
        )

    def _time_takeovers(
        self, kind: str, machine: Machine, hit: Sequence[str], before: Any, at: float
    ) -> None:
        left = set(hit)

        def is_back() -> bool:
            placements = self._database.state().placements
            for each in self._machines:
                mine = {
                    camera
                    for camera in left
                    if placements[camera].node == each.name
                    and placements[camera].generation > before[camera].generation
                }
                if mine:
                    states = each.states()
                    for camera in mine:
                        if states.get(camera) == "live":
                            left.discard(camera)
                            took_s = time.monotonic() - at
                            self.counts.takeovers.append((kind, took_s))
                            self._say(f"  {camera} is live on {each.name} after {took_s:.1f} s")
            return not left

        self._until(f"cameras of {machine.name} are taken over", is_back, pause_s=0.1)

    def _kill_service(self, machine: Machine) -> None:
        os.kill(machine.service_pid, signal.SIGKILL)

    def _freeze_service(self, machine: Machine) -> Callable[[], None]:
        pid = machine.service_pid
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    def _kill_raylet(self, machine: Machine) -> None:
        (info,) = machine.raylet.all_processes["raylet"]
        info.process.kill()
        info.process.wait()

    def _freeze_raylet(self, machine: Machine) -> Callable[[], None]:
        (info,) = machine.raylet.all_processes["raylet"]
        os.kill(info.process.pid, signal.SIGSTOP)
        return lambda: os.kill(info.process.pid, signal.SIGCONT)

    def _kill_machine(self, machine: Machine) -> None:
        self._kill_raylet(machine)
        self._kill_service(machine)

    def _kill_coordinator(self, machine: Machine) -> None:
        coordinator = actors.find_coordinator()
        assert coordinator is not None
        pid: Any = ray.get(coordinator.pid.remote(), timeout=PATIENCE_S)
        os.kill(pid, signal.SIGKILL)

    def _kill_database(self, machine: Machine) -> None:
        self._server.stop()
        time.sleep(self._random.uniform(0, 5))
        self._server.start()

    def _freeze_database(self, machine: Machine) -> Callable[[], None]:
        self._server.freeze()
        return self._server.thaw

    def _kill_janus(self, machine: Machine) -> Callable[[], None]:
        self._sfu.kill()
        return self._sfu.start

    def _freeze_janus(self, machine: Machine) -> Callable[[], None]:
        self._sfu.hang()
        return self._sfu.go_on

    def _is_whole(self) -> bool:
        with contextlib.suppress(Exception):
            state = self._database.state()
            running_now = {each.node for each in state.running}
            return (
                running_now == {each.name for each in self._machines}
                and state.coordinator_silent_s < 3
                and all(each.service_pid for each in self._machines)
            )
        self._database.close()
        return False

    def _away(self) -> set[str]:
        """Return the cameras that are not live where they are placed."""
        placed = self._database.state().placed
        states = {each.name: each.states() for each in self._machines}
        return {
            each
            for each in self.cameras
            if states.get(placed.get(each, ""), {}).get(each) != "live"
        }

    def _watch(self) -> None:
        """Note when each camera is live on which machine."""
        while not self._watching.wait(0.5):
            for machine in self._machines:
                asked = time.time()
                for camera, state in machine.states().items():
                    if state != "live":
                        continue
                    spans = self._live[camera]
                    if spans and spans[-1][0] == machine.name and asked - spans[-1][2] < SLACK_S:
                        spans[-1] = (machine.name, spans[-1][1], time.time())
                    else:
                        spans.append((machine.name, time.time(), time.time()))

    def count(self, film: Film) -> None:
        """Count what is lost, doubled and written by a wrong owner; the film shows nobody."""
        with contextlib.suppress(SystemExit):  # what is missing is counted
            self._until("all have left", lambda: not self._open_stays())
            self._until("all is sent", lambda: not self._unsent())
        self.counts.wrong_owner = len(
            self._rows(
                "SELECT 1 FROM events AS seen WHERE EXISTS (SELECT 1 FROM assignments AS other "
                "WHERE other.camera = seen.camera AND other.node <> seen.node "
                "AND other.began <= seen.server_at "
                "AND (other.ended IS NULL OR seen.server_at < other.ended))"
            )
        )
        came: dict[str, list[float]] = {camera: [] for camera in self.cameras}
        for camera, at in self._rows(
            "SELECT camera, at FROM events WHERE kind IN ('enter', 'unknown') ORDER BY at"
        ):
            came[camera].append(at)
        for index, camera in enumerate(self.cameras):
            for began, ended in film.stays(index):
                if not self._counts(camera, began - SLACK_S, ended + SLACK_S):
                    continue
                self.counts.stays += 1
                n = sum(began - SLACK_S < at < ended + SLACK_S for at in came[camera])
                if n != 1:
                    self.counts.details.append(f"{camera}: {n} came at {began - self.zero:.1f} s")
                self.counts.lost += n == 0
                self.counts.doubled += max(0, n - 1)
        for run, number, n in self._rows(
            "SELECT run, track_number, count(*) FROM (SELECT run, track_number, kind, lag(kind) "
            "OVER (PARTITION BY run, track_number ORDER BY at, id) AS former FROM events "
            "WHERE kind IN ('enter', 'unknown', 'exit')) AS seen "
            "WHERE kind = 'exit' AND former = 'exit' GROUP BY 1, 2"
        ):
            self.counts.doubled += n
            self.counts.details.append(f"track {run}-{number} has {n} exits too many")
            self.counts.details += [
                f"  {kind} at {at - self.zero:.2f} s, generation {generation} of machine {node}, "
                f"changed by {changed_by}, stored at {server_at - self.zero:.2f} s"
                for kind, at, generation, node, changed_by, server_at in self._rows(
                    "SELECT kind, at, generation, node, changed_by, server_at FROM events "
                    f"WHERE run = '{run}' AND track_number = {number} ORDER BY id"
                )
            ]
        for run, number in self._open_stays():
            self.counts.lost += 1
            self.counts.details.append(f"stay {run}-{number} has no exit")
        for line in self._unsent():
            self.counts.lost += 1
            self.counts.details.append(line)

    @property
    def zero(self) -> float:
        """Seconds since 1970 at which this run began."""
        return time.time() - (time.monotonic() - self._began)

    def _counts(self, camera: str, began: float, ended: float) -> bool:
        """Return whether a camera was live on one machine all the time, without a fault there."""
        return any(
            since <= began
            and ended <= until
            and not any(
                name == machine and first < ended and began < last
                for name, first, last in self._touched
            )
            for machine, since, until in self._live[camera]
        )

    def _open_stays(self) -> list[tuple[Any, ...]]:
        return self._rows(
            "SELECT DISTINCT run, track_number FROM events AS seen WHERE kind IN "
            "('enter', 'unknown') AND NOT EXISTS (SELECT 1 FROM events AS gone WHERE "
            "gone.kind = 'exit' AND gone.run = seen.run "
            "AND gone.track_number = seen.track_number AND gone.at >= seen.at)"
        )

    def _unsent(self) -> list[str]:
        """Return a line for each event that a machine has and the database lacks."""
        shared = {row[0] for row in self._rows("SELECT id FROM events")}
        lines = []
        for machine in self._machines:
            path = machine.data / "gallery" / FILE_NAME
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
            with contextlib.closing(connection):
                number = connection.execute(
                    "SELECT value FROM facts WHERE key = 'node'"
                ).fetchone()[0]
                own = connection.execute(
                    "SELECT id, kind, camera FROM events WHERE id & ? = ?", (MAX_NODE, int(number))
                ).fetchall()
            lines += [
                f"{kind} of {camera} is on {machine.name} alone"
                for key, kind, camera in own
                if key not in shared
            ]
        return lines

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._address) as connection:
            connection.execute("SET search_path = facewire, public")
            return connection.execute(statement.encode()).fetchall()

    def _until(self, what: str, condition: Callable[[], bool], *, pause_s: float = 0.5) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > until:
                logs = [
                    f"{each.name}: {(each.data / 'cluster' / 'service.log').read_text()[-2000:]}"
                    for each in self._machines
                    if (each.data / "cluster" / "service.log").exists()
                ]
                troubles = running.troubles()
                sys.exit("\n".join([f"not in {PATIENCE_S:.0f} s: {what}", *troubles, *logs]))
            time.sleep(pause_s)

    def _say(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the faults and print the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--cameras", type=int, default=9)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--pause", type=float, default=20.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="the first faults, such as 'janus killed'")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := why_unavailable() or why_no_janus():
        sys.exit(reason)
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Ray prints what its processes log
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facewire-chaos-")))
        server = stack.enter_context(postgres_server())
        ports = [stack.enter_context(HeldPort()).port for _ in range(options.machines + 1)]
        (folder / "janus").mkdir()
        sfu = stack.enter_context(janus(folder / "janus", ports.pop(), MEDIA))
        servers = [stack.enter_context(RtspServer(is_fed=True)) for _ in range(options.cameras)]
        film = stack.enter_context(Film(servers))
        chaos = Chaos(folder, server, sfu, ports, options)
        with chaos.run([each.url for each in servers]):
            for _ in range(options.faults):
                time.sleep(options.pause)
                chaos.fault()
            time.sleep(options.pause)
            film.empty()
            chaos.count(film)
    document = chaos.counts.document()
    with output:
        if options.json:
            print(json.dumps(document, indent=2), file=output)
        else:
            for key, value in document.items():
                print(f"{key:24} {value}", file=output)
    sys.exit(any(document[key] for key in ("lost", "doubled", "wrong_owner")))


if __name__ == "__main__":
    main()
