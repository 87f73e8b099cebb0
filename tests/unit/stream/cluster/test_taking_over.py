"""Placements, their coordinator and the machines that follow them, in one real PostgreSQL."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from stream.cameras.store import PUSHED
from stream.cluster.coordinator import GRACE_S, PAUSE_S, Coordinator
from stream.cluster.database import DEAD_S, ClusterDatabase
from stream.cluster.follower import Follower
from stream.cluster.store import ClusterStore
from stream.config import CameraConfig
from stream.errors import CameraExistsError, CameraStoreError, EventLogFullError
from stream.events.open_stay import OpenStay
from stream.frames import Event, EventKind
from stream.supervisor import Supervisor
from tests.fake_time import FakeTime
from tests.postgres_server import ENCODED, PASSWORD, Server
from tests.unit.stream.replication.test_replicator import Machine


def camera(name: str, url: str = "demo:") -> CameraConfig:
    return CameraConfig.model_validate({"name": name, "url": url})


class Node(Machine):
    """One machine of a cluster, without a service: what runs there is what it was given."""

    def __init__(self, directory: Path, address: str, run: str = "") -> None:
        super().__init__(directory, address)
        self.name = directory.name
        self.run = run or self.name
        self.follower = Follower(
            address,
            node=self.name,
            site=None,
            run=self.run,
            number=lambda: self.replicator.node,
            place=self._place,
            close=self._close_stays,
            cpu_s=time.process_time,
            frames=lambda: (0, 0),
            supervisor=Supervisor(clock=time.monotonic),
        )
        self.replicator.is_placed = self.follower.is_placed

    def _place(self, cameras: list[CameraConfig], generations: dict[str, int]) -> None:
        self.replicator.hold(generations)
        self.cameras[:] = [each.name for each in cameras]

    def _close_stays(self, stays: list[OpenStay]) -> None:
        for each in stays:
            if not self.log.has_exit(each.run, each.track_number, each.seen_at):
                self.log.append(each.exit_at(1.0), time.time())

    def follow(self) -> None:
        """Give a sign, and take the present placements."""
        self.follower._beat_at = float("-inf")
        self.follower._turn()
        self.follower.stays.turn()

    def leaves(self, camera: str, track: int = 1, *, ago_s: float = 0.0) -> None:
        track_id = f"{self.run}-{track}"
        self.log.append(
            Event(EventKind.EXIT, camera, 1.0, track_id, None, 1.0, None), time.time() - ago_s
        )

    def close(self) -> None:
        self.follower._database.close()
        self.follower.stays.close()
        super().close()


Nodes = Callable[..., Node]


@pytest.fixture
def address(postgres: Server) -> Iterator[str]:
    address = postgres.new_database()
    yield address
    postgres.drop(address)


@pytest.fixture
def database(address: str) -> Iterator[ClusterDatabase]:
    database = ClusterDatabase(address)
    yield database
    database.close()


@pytest.fixture
def nodes(tmp_path: Path, address: str) -> Iterator[Nodes]:
    with ExitStack() as stack:

        def open_one(name: str, run: str = "") -> Node:
            node = Node(tmp_path / name, address, run)
            stack.callback(node.close)
            node.follow()
            return node

        yield open_one


def change(address: str, statement: str) -> None:
    with psycopg.connect(address) as connection:
        connection.execute("SET search_path = facewire, public")
        connection.execute(statement.encode())


def shared(address: str, what: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address) as connection:
        connection.execute("SET search_path = facewire, public")
        return connection.execute(f"SELECT {what}".encode()).fetchall()


def silent(address: str, node: str) -> None:
    change(address, f"UPDATE cluster_nodes SET seen = seen - {DEAD_S} WHERE node = '{node}'")


def test_a_camera_that_is_wanted_runs_on_one_machine(
    database: ClusterDatabase, nodes: Nodes
) -> None:
    assert database.want(camera("door", "rtsp://user:secret@192.0.2.7/live"), None)
    assert not database.want(camera("door"), None)
    a, b = nodes("a"), nodes("b")
    coordinator = Coordinator(database, "a")
    coordinator.turn()
    for each in (a, b, a, b):
        each.follow()
    assert [a.cameras, b.cameras] in ([["door"], []], [[], ["door"]])
    owner = a if a.cameras else b
    (placed,), names = database.placed_on(owner.name, owner.replicator.node)
    assert placed.settings == {"name": "door", "url": "rtsp://user:secret@192.0.2.7/live"}
    assert names == {"door"}
    assert database.unwant("door")
    assert not database.unwant("door")
    owner.follow()
    assert owner.cameras == []
    owner.turn()
    assert owner.replicator.trouble == ""


def test_a_dead_machine_is_replaced_and_writes_nothing_more(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    clock = FakeTime()
    coordinator = Coordinator(database, "a", clock=clock)
    assert coordinator.turn() == {"door": "a"}
    a.follow()
    before = a.see("door", 1)
    a.turn()
    waiting = a.see("door", 2)  # sent after the takeover, seen before it
    b = nodes("b")
    silent(address, "a")
    b.follow()
    clock.wait(PAUSE_S / 2)
    assert coordinator.turn() == {}  # it may only now be seen that the database was away
    clock.wait(GRACE_S)
    coordinator.turn()
    clock.wait(GRACE_S)
    for _ in range(int(GRACE_S / PAUSE_S) + 2):
        silent(address, "a")
        b.follow()
        found = coordinator.turn()
        clock.wait(PAUSE_S)
        if found:
            break
    assert found == {"door": "b"}
    b.follow()
    assert b.cameras == ["door"]
    late = a.see("door", 3)  # it was frozen and wakes
    a.leaves("door", 2)
    now = b.see("door", 1)
    b.turn()
    a.turn()
    kept = {int(str(row[0])) for row in shared(address, "id FROM events WHERE kind = 'unknown'")}
    assert kept == {before.id, waiting.id, now.id}
    assert late.id not in a.ids()
    a.follow()
    assert a.cameras == []
    # Of those who were in view of the other machine, each has left once.
    b.follow()
    b.turn()
    a.turn()
    b.follow()
    b.turn()
    exits = shared(
        address, "run, track_number, count(*) FROM events WHERE kind = 'exit' GROUP BY 1, 2"
    )
    assert sorted(exits) == [("a", 1, 1), ("a", 2, 1)]


def test_of_two_exits_of_a_stay_the_first_counts(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    coordinator = Coordinator(database, "a")
    coordinator.turn()
    a.follow()
    a.see("door", 1)
    a.turn()
    a.leaves("door", 1)  # written, and not sent before the camera is placed elsewhere
    b = nodes("b")
    database.place(coordinator.holder, {"door": "b"})
    b.follow()
    b.turn()
    a.turn()
    ((run, node),) = shared(address, "run, node FROM events WHERE kind = 'exit'")
    assert (run, node) == ("a", b.replicator.node)
    a.turn()
    assert [each.kind for each in a.log.list()] == [EventKind.EXIT, EventKind.UNKNOWN]


def test_a_stay_that_goes_on_after_an_exit_is_closed_again(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    coordinator = Coordinator(database, "a")
    coordinator.turn()
    a.follow()
    a.see("door", 1)
    a.leaves("door", 1)
    a.see("door", 1)
    a.turn()
    b = nodes("b")
    database.place(coordinator.holder, {"door": "b"})
    for _ in range(2):
        b.follow()
        b.turn()
    exits = shared(address, "node FROM events WHERE kind = 'exit' ORDER BY at")
    assert exits == [(a.replicator.node,), (b.replicator.node,)]


def test_what_is_seen_while_a_camera_stops_is_sent_and_refused(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a, b = nodes("a"), nodes("b")
    coordinator = Coordinator(database, "a")
    coordinator.turn()
    database.place(coordinator.holder, {"door": "a"})
    a.follow()
    seen = a.see("door", 1)
    a.turn()
    database.place(coordinator.holder, {"door": "b"})
    for each in (a, b):
        each.follow()
    a.turn()  # it owns the camera no longer
    late = a.see("door", 2)
    for _ in range(2):
        a.turn()
    assert a.replicator.n_waiting == 0
    assert a.replicator.clashes == []
    assert {seen.id} <= set(a.ids())
    assert late.id not in a.ids()
    assert shared(address, "count(*) FROM events WHERE kind = 'unknown'") == [(1,)]


def test_a_service_that_starts_again_owns_what_is_placed_there(
    address: str, database: ClusterDatabase, nodes: Nodes, tmp_path: Path
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    Coordinator(database, "a").turn()
    a.follow()
    a.see("door", 1)
    a.turn()
    ((before,),) = shared(address, "generation FROM placements")
    a.close()  # killed: no exit was written
    again = nodes("a", "a2")
    assert again.cameras == ["door"]
    ((after,),) = shared(address, "generation FROM placements")
    assert int(str(after)) > int(str(before))
    again.turn()
    ((run, number),) = shared(address, "run, track_number FROM events WHERE kind = 'exit'")
    assert (run, number) == ("a", 1)


def test_two_services_do_not_run_as_one_machine(nodes: Nodes, tmp_path: Path, address: str) -> None:
    a = nodes("a")
    other = Node(tmp_path / "elsewhere" / "a", address)
    other.follow()
    assert "another service runs as machine a" in other.follower.problems()[0]
    silent(address, "a")
    other.follow()
    assert other.follower.problems() == []
    a.follow()
    assert "another service runs as machine a" in a.follower.problems()[0]
    other.close()


def test_one_coordinator_places_and_another_follows_it(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    nodes("a")
    first, second = Coordinator(database, "a"), Coordinator(database, "b")
    assert first.turn() == second.turn() == {}
    assert (first.is_first, second.is_first) == (True, False)
    database.want(camera("door"), None)
    assert second.turn() == {}
    assert database.place(second.holder, {"door": "a"}) == {}
    change(address, f"UPDATE coordinator SET seen = seen - {DEAD_S}")
    # It has watched all the time, so it need not wait for machines that are silent.
    assert second.turn() == {"door": "a"}
    first.turn()
    assert not first.is_first


def test_a_machine_that_stops_is_replaced_at_once(database: ClusterDatabase, nodes: Nodes) -> None:
    a, b = nodes("a"), nodes("b")
    database.want(camera("door"), None)
    coordinator = Coordinator(database, "a")
    (owner,) = coordinator.turn().values()
    database.gone(owner)
    other = {"a": "b", "b": "a"}[owner]
    assert coordinator.turn() == {"door": other}
    for each in (a, b):
        each.follow()
    assert {"a": a, "b": b}[other].cameras == ["door"]
    assert not database.forget(other)
    database.gone(owner)
    assert database.forget(owner)
    assert [each.machine.node for each in database.state().nodes] == [other]


def test_cameras_of_a_page_are_wanted_by_the_cluster(
    address: str, database: ClusterDatabase, nodes: Nodes, tmp_path: Path
) -> None:
    a, b = nodes("a"), nodes("b")
    store = ClusterStore.of_node(a.directory, address=address, node="a", site="hall")
    store.put(camera("door"))
    assert database.state().placed == {"door": "a"}
    assert database.state().wanted[0].site == "hall"
    assert store.cameras() == [camera("door")]
    store.put(camera("door", "rtsp://192.0.2.7/live"))
    database.want(camera("yard"), None, node="b")
    with pytest.raises(CameraExistsError):
        store.put(camera("yard"))
    with pytest.raises(CameraExistsError):
        store.rename("door", camera("yard"))
    store.rename("door", camera("gate", "rtsp://192.0.2.8/live"))
    assert store.cameras() == [camera("gate", "rtsp://192.0.2.8/live")]
    a.follow()
    assert a.cameras == ["gate"]
    a.see("gate")
    a.turn()
    assert shared(address, "camera FROM events") == [("gate",)]
    b.follow()
    assert b.cameras == ["yard"]
    pushed = camera("phone", f"{PUSHED}phone")
    store.put(pushed)
    assert store.pushed("phone") == pushed
    store.remove("gate")
    assert sorted(each.name for each in database.state().wanted) == ["yard"]
    assert [each.name for each in store.cameras()] == []
    again = ClusterStore.of_node(a.directory, address=address, node="a", site=None)
    assert again.pushed("phone") == pushed
    again.remove("phone")
    assert again.pushed("phone") is None


def test_a_camera_of_wrong_settings_stops_no_other(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    a = nodes("a")
    for name in ("door", "yard", "dock"):
        database.want(camera(name), None, node="a")
    for name, settings in (
        ("door", '{"url": "gopher://x/y"}'),
        ("yard", '{"url": "demo:", "zoom": 2}'),
    ):
        change(address, f"UPDATE wanted_cameras SET settings = '{settings}' WHERE name = '{name}'")
    a.follow()
    assert a.cameras == ["dock"]
    assert [each.partition(":")[0] for each in a.follower.problems()] == [
        "camera door",
        "camera yard",
    ]


def test_the_database_is_away(postgres: Server, tmp_path: Path) -> None:
    away = f"postgresql://somebody:{ENCODED}@127.0.0.1:9/none"
    store = ClusterStore.of_node(tmp_path, address=away, node="a", site=None)
    with pytest.raises(CameraStoreError) as raised:
        store.put(camera("door"))
    assert PASSWORD not in str(raised.value)
    assert store.cameras() == []


def test_a_placement_that_could_not_be_noted_is_taken_later(
    database: ClusterDatabase, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = nodes("a")
    database.want(camera("door"), None, node="a")
    with monkeypatch.context() as patched:
        patched.setattr(a.replicator, "hold", _full)
        with pytest.raises(EventLogFullError):
            a.follow()
    assert a.cameras == []
    a.follow()
    assert a.cameras == ["door"]


def _full(generations: dict[str, int]) -> None:
    raise EventLogFullError("the disk is full")


def test_what_could_not_be_placed_is_placed_again(database: ClusterDatabase, nodes: Nodes) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    Coordinator(database, "a").turn()
    a.follow()
    a.cameras.clear()
    a.follow()
    assert a.cameras == [], "it is told once"
    a.follower.place_again()
    a.follow()
    assert a.cameras == ["door"]


def test_a_machine_whose_name_another_one_has_runs_nothing(
    tmp_path: Path, address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    Coordinator(database, "a").turn()
    a.follow()
    assert a.cameras == ["door"]
    change(address, "UPDATE cluster_nodes SET seen = 0")  # it was frozen for a while
    with closing(Node(tmp_path / "copy" / "a", address)) as other:
        other.follow()
        a.follow()
        assert a.cameras == []
        assert "another service runs as machine a" in a.follower.problems()[0]


def test_a_look_for_stays_that_the_database_refuses_delays_no_sign_of_life(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a, b = nodes("a"), nodes("b")
    coordinator = Coordinator(database, "a")
    coordinator.turn()
    database.place(coordinator.holder, {"door": "a"})
    a.follow()
    a.see("door", 1)
    a.turn()
    database.place(coordinator.holder, {"door": "b"})
    name = address.rpartition("/")[2]
    change(address, f"ALTER DATABASE {name} SET lock_timeout = '100ms'")
    with psycopg.connect(address) as other:
        other.execute("LOCK TABLE facewire.events")
        b.follow()
        assert b.cameras == ["door"]
        assert b.follower.trouble == ""
        (line,) = b.follower.problems()
        assert "people whom another machine left in view get no exit" in line
        assert "lock timeout" in line
        assert PASSWORD not in line
    b.follow()
    assert b.follower.problems() == []
    assert [each.kind for each in b.log.list()] == [EventKind.EXIT]


def test_a_look_for_stays_that_takes_long_delays_no_sign_of_life(
    address: str, database: ClusterDatabase, nodes: Nodes
) -> None:
    database.want(camera("door"), None)
    a = nodes("a")
    Coordinator(database, "a").turn()
    a.follow()
    a.follower.stays.look_again()
    with psycopg.connect(address) as other:
        other.execute("LOCK TABLE facewire.events")
        looking = threading.Thread(target=a.follower.stays.turn)
        looking.start()
        a.follower._beat_at = float("-inf")
        change(address, "UPDATE cluster_nodes SET seen = 0")
        a.follower._turn()
        ((seen,),) = shared(address, "seen > 0 FROM cluster_nodes")
        assert seen
        assert looking.is_alive()
    looking.join()
    assert a.follower.problems() == []
