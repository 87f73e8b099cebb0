"""Event logs of several machines in one real PostgreSQL database."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from gallery import Gallery, Identity, NewPhoto
from gallery.errors import GalleryUnreachableError
from stream.errors import EventLogError
from stream.events import replica
from stream.events.log import EventLog, LoggedEvent
from stream.events.schema import FILE_NAME, connect, transaction
from stream.events.visits import read_visits
from stream.events.webhook_queue import Outbox
from stream.frames import Event, EventKind
from stream.replication import numbers
from stream.replication.database import SharedLog
from stream.replication.replicator import Replicator
from tests.postgres_server import PASSWORD, Server, postgres_server
from tests.unit.stream.events.test_sightings import SIZE, event, sighting, unit


class Machine:
    """One machine: its gallery, its event log, and what keeps it the same as the others'."""

    def __init__(self, directory: Path, address: str, *cameras: str) -> None:
        self.directory = directory
        self.cameras = list(cameras)
        self.shown: list[LoggedEvent] = []
        self.gallery = Gallery.open(address, model_id="m", embedding_size=SIZE)
        self.log = EventLog.open(directory)
        self.log.follow(self.gallery)
        self.replicator = self.start(address)

    def start(self, address: str) -> Replicator:
        replicator = Replicator(self.directory, address, keep_days=30.0, name=self.directory.name)
        replicator.cameras = lambda: self.cameras
        replicator.arrived = self.shown.extend
        replicator.enter()
        return replicator

    def turn(self) -> None:
        self.replicator._beat_at = float("-inf")
        self.replicator.turn()

    def see(self, camera: str, track: int = 1, *, ago_s: float = 0.0) -> LoggedEvent:
        """Log a stranger with a sighting, now."""
        name = f"{self.directory.name}-{track}"
        seen = replace(sighting(name, stay=name), camera=camera)
        return self.log.append(
            replace(event(seen=seen), camera=camera, track_id=name), time.time() - ago_s
        )

    def rows(self, part: str) -> list[tuple[object, ...]]:
        columns = ", ".join(replica.PARTS[part])
        with closing(sqlite3.connect(self.directory / FILE_NAME)) as connection:
            return connection.execute(f"SELECT {columns} FROM {part} ORDER BY id").fetchall()

    def ids(self) -> list[int]:
        return [each.id for each in self.log.list(limit=1000)]

    def close(self) -> None:
        self.replicator.close()
        self.log.close()
        self.gallery.close()


Machines = Callable[..., Machine]


@pytest.fixture
def address(postgres: Server) -> Iterator[str]:
    address = postgres.new_database()
    yield address
    postgres.drop(address)


@pytest.fixture
def machines(tmp_path: Path, address: str) -> Iterator[Machines]:
    with ExitStack() as stack:

        def open_one(name: str, *cameras: str, at: str = address) -> Machine:
            machine = Machine(tmp_path / name, at, *cameras)
            stack.callback(machine.close)
            return machine

        yield open_one


def stored(address: str, what: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address) as connection:
        return connection.execute(f"SELECT {what}".encode()).fetchall()


def both(*machines: Machine) -> None:
    """Exchange everything."""
    for each in (*machines, *machines):
        each.turn()
        assert each.replicator.trouble == ""
        assert each.replicator.clashes == []


def test_the_shared_columns_are_those_of_the_log(tmp_path: Path, address: str) -> None:
    own = {"events": {"visitor_id", "visit_count"}, "sightings": {"visitor_id"}}  # shared apart
    with closing(connect(tmp_path)) as connection:
        for part, columns in replica.PARTS.items():
            rows = connection.execute(f"PRAGMA table_info({part})").fetchall()
            assert {row[1] for row in rows} == {*columns} | own[part]


def test_what_one_machine_sees_is_read_on_the_other(machines: Machines, address: str) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    kept = a.see("door")
    both(a, b)
    assert b.log.list() == [kept]
    assert b.shown == [kept]
    assert a.shown == []
    assert b.log.crop_jpeg(kept.id) == a.log.crop_jpeg(kept.id)
    assert a.rows("sightings") == b.rows("sightings") != []
    assert a.rows("events") == b.rows("events")
    assert stored(address, "count(*) FROM facewire.events") == [(1,)]
    assert stored(address, "count(*) FROM facewire.sightings") == [(1,)]
    # The track goes on.
    a.log.keep_sighting(
        replace(sighting("a-1", stay="a-1", face=2), n_good=9, camera="door"), time.time() - 12
    )
    both(a, b)
    assert a.rows("sightings") == b.rows("sightings")
    template = b.rows("sightings")[0][replica.PARTS["sightings"].index("template")]
    assert isinstance(template, bytes)
    assert np.frombuffer(template, "<f2").tolist() == unit(2).tolist()


def test_both_write_at_once_and_nothing_is_lost_or_doubled(
    machines: Machines, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    for number in range(1, 120):  # more than one batch
        a.see("door", number)
        b.see("yard", number)
    both(a, b)
    assert len(a.ids()) == 238
    assert a.ids() == b.ids()
    assert a.rows("sightings") == b.rows("sightings")
    assert stored(address, "count(*), count(DISTINCT id) FROM facewire.events") == [(238, 238)]
    assert (a.replicator.n_waiting, b.replicator.n_waiting) == (0, 0)


def test_people_are_named_renamed_and_erased_on_any_machine(
    machines: Machines, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    kept = a.see("door")
    both(a, b)
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    assert b.log.name_events([kept.id], ann) == 1
    both(b, a)
    assert [each.name for each in a.log.list()] == ["Ann"]
    a.gallery.people.rename("Ann", "Anna")
    assert [each.name for each in a.log.list()] == [each.name for each in b.log.list()] == ["Anna"]
    both(a, b)  # both have brought their names up to date by themselves
    revisions = stored(address, "max(revision) FROM facewire.events")
    both(a, b)
    assert stored(address, "max(revision) FROM facewire.events") == revisions
    b.gallery.people.remove(ann.identity_id)
    b.log.reconcile()
    both(b, a)
    assert a.rows("events") == a.rows("sightings") == []
    assert stored(address, "count(*) FROM facewire.events") == [(0,)]


def test_who_is_in_view_on_two_machines_stays_until_it_leaves(machines: Machines) -> None:
    """Each service has runs of its own: events of one do not end the stays of the other."""
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    for number, ago_s in enumerate((50.0, 40.0, 30.0), 1):
        a.see("door", number, ago_s=ago_s)
        b.see("yard", number, ago_s=ago_s - 5.0)
    gone = Event(EventKind.EXIT, "yard", 1.0, "b-2", None, 1.0, None)
    b.log.append(gone, time.time() - 10.0)
    both(a, b)

    def going(machine: Machine) -> list[tuple[str, ...]]:
        now = time.time()
        return [
            each.cameras
            for each in read_visits(
                machine.log.connection,
                after=now - 3600,
                before=now + 1,
                live_run=machine.directory.name,
            )
            if each.ended is None
        ]

    assert going(a) == going(b) == [("door",), ("yard",), ("door",), ("door",), ("yard",)]
    b.replicator.leave()
    a.turn()
    assert going(a) == [("door",)] * 3  # the service of the other has ended


def test_an_erased_event_does_not_come_back_with_a_late_change(
    machines: Machines, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    kept = a.see("door")
    both(a, b)
    ann, _ = a.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    a.log.name_events([kept.id], ann)  # not sent yet
    with closing(connect(b.directory)) as connection:
        connection.execute("DELETE FROM events")
    b.turn()
    both(a, b)
    assert a.ids() == b.ids() == []
    assert stored(address, "count(*) FROM facewire.events") == [(0,)]


def test_a_track_that_is_seen_again_after_its_erasure_replaces_it(machines: Machines) -> None:
    """Its sighting has another number then, and the rows are received with the erasure."""
    a, b = machines("a", "door"), machines("b")
    kept = a.see("door")
    both(a, b)
    with closing(connect(a.directory)) as connection:
        connection.execute("DELETE FROM sightings")
    a.log.keep_sighting(replace(sighting("a-1", stay="a-1", face=2), camera="door"), time.time())
    both(a, b)
    assert a.rows("sightings") == b.rows("sightings") != []
    # The event, too, while its sighting follows a newer one.
    newer = a.see("door")
    a.log.keep_sighting(replace(sighting("a-1", stay="a-1", face=2), camera="door"), time.time())
    with closing(connect(a.directory)) as connection:
        connection.execute("DELETE FROM events WHERE id = ?", (kept.id,))
    both(a, b)
    assert a.ids() == b.ids() == [newer.id]
    assert a.rows("sightings") == b.rows("sightings") != []


def test_a_camera_renamed_before_its_events_were_sent_keeps_them(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b")
    both(a, b)
    a.see("door")
    a.log.rename_camera("door", "gate")
    a.cameras = ["gate"]
    both(a, b)
    assert [each.camera for each in b.log.list()] == ["gate"]


def test_a_change_does_not_overtake_an_event_that_waits_for_its_camera(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b")
    both(a, b)
    a.cameras = ["gate"]
    kept = a.see("gate")
    a.log.keep_sighting(replace(sighting("a-1", stay="a-1"), camera="gate"), time.time())
    ann, _ = a.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    a.log.name_events([kept.id], ann)
    a.replicator.turn()  # between two signs of the machine: the camera is not owned yet
    assert a.replicator.trouble == ""
    assert a.replicator.n_waiting > 0
    both(a, b)
    assert [each.name for each in b.log.list()] == ["Ann"]
    assert a.rows("sightings") == b.rows("sightings") != []


def test_a_camera_that_was_there_for_a_moment_is_not_forgotten(machines: Machines) -> None:
    a, b = machines("a"), machines("b")
    both(a, b)
    kept = a.see("browser")
    both(a, b)
    assert b.log.list() == [kept]


def test_events_wait_on_disk_while_the_server_is_away_or_frozen(
    tmp_path: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.replication.database.SILENCE_S", 2.0)
    with postgres_server() as server:
        address = server.new_database()
        a, b = machines("a", "door", at=address), machines("b", "yard", at=address)
        both(a, b)
        server.stop()
        a.see("door", 1)
        a.turn()
        assert "cannot be reached" in a.replicator.trouble
        assert "kept on this machine until it is back" in a.replicator.trouble
        assert "\n" not in a.replicator.trouble
        assert PASSWORD not in a.replicator.trouble
        assert a.replicator.n_waiting > 0
        server.start()
        b.turn()  # notes that its connection is gone
        both(a, b)
        server.freeze()
        try:
            a.see("door", 2)
            a.turn()
            assert "cannot be reached" in a.replicator.trouble
            a.see("door", 3)
        finally:
            server.thaw()
        b.turn()
        both(a, b)
        assert len(b.ids()) == 3
        assert a.ids() == b.ids()
        assert a.rows("sightings") == b.rows("sightings")
        for each in (a, b):
            each.gallery.close()
            each.replicator.close()


def test_what_was_written_but_not_confirmed_is_written_once(
    machines: Machines, address: str
) -> None:
    """As after kill -9 between the database's commit and the note that it is done."""
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    a.see("door")
    with closing(connect(a.directory)) as connection:
        noted = connection.execute("SELECT * FROM outgoing").fetchall()
        both(a, b)
        connection.executemany("INSERT INTO outgoing VALUES (?, ?, ?, ?, ?, ?)", noted)
    a.replicator.close()
    a.replicator = a.start(address)  # the process that was killed, started again
    both(a, b)
    assert len(a.ids()) == 1
    assert a.ids() == b.ids()
    assert stored(address, "count(*) FROM facewire.events") == [(1,)]


@pytest.mark.parametrize("is_named_here", [False, True])
def test_what_is_sent_again_leaves_what_others_changed_meanwhile(
    machines: Machines, is_named_here: bool
) -> None:
    a, b = machines("a", "door"), machines("b")
    both(a, b)
    kept = a.see("door")
    with closing(connect(a.directory)) as connection:
        noted = connection.execute("SELECT * FROM outgoing").fetchall()
        both(a, b)
        ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
        b.log.name_events([kept.id], ann)
        both(b)
        connection.executemany("INSERT INTO outgoing VALUES (?, ?, ?, ?, ?, ?)", noted)
    if is_named_here:
        bob, _ = a.gallery.photos.add("Bob", [NewPhoto(unit(2), None, "b" * 64, 0.9)])
        a.log.name_events([kept.id], bob)
    both(a, b)
    for each in (a, b):
        assert [event.name for event in each.log.list()] == ["Bob" if is_named_here else "Ann"]


def test_a_log_that_is_shared_anew_leaves_what_others_changed_meanwhile(
    machines: Machines,
) -> None:
    a, b = machines("a", "door"), machines("b")
    first, second = a.see("door", 1), a.see("door", 2)
    both(a, b)
    with closing(connect(a.directory)) as connection:
        replica.leave(connection)
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    b.log.name_events([first.id], ann)
    a.log.name_events([second.id], ann)
    both(b)
    a.replicator.enter()
    both(a, b)
    for each in (a, b):
        assert [event.name for event in each.log.list()] == ["Ann", "Ann"]


def test_a_frozen_owner_that_wakes_adds_nothing_to_a_track(
    machines: Machines, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "door2")
    a.see("door", 1, ago_s=30.0)
    both(a, b)
    before = a.rows("sightings")
    b.cameras = ["door"]
    b.replicator.take_over("door")
    a.log.keep_sighting(
        replace(sighting("a-1", stay="a-1", face=3), camera="door"), time.time() - 12
    )
    assert a.rows("sightings") != before
    told: list[list[int]] = []
    a.replicator.changed = told.append
    a.replicator._send()
    assert told == [[]]
    assert a.replicator.refused == 1
    assert a.rows("sightings") == before
    template = replica.PARTS["sightings"].index("template")
    assert stored(address, "template FROM facewire.sightings") == [(before[0][template],)]


def test_a_frozen_owner_that_wakes_writes_nothing(machines: Machines, address: str) -> None:
    a, b = machines("a", "door"), machines("b", "door2")
    both(a, b)
    before = a.see("door", 1, ago_s=30.0)  # before it is frozen, and not sent
    b.cameras = ["door"]
    b.replicator.take_over("door")
    after = a.see("door", 2, ago_s=-0.5)  # it wakes, and does not know yet
    a.log.keep_sighting(
        replace(sighting("a-1", stay="a-1", face=3), camera="door"), time.time() - 12
    )
    a.replicator._send()
    assert [row[0] for row in stored(address, "id FROM facewire.events")] == [before.id]
    assert a.replicator.refused > 0
    assert after.id not in a.ids()
    own = b.see("door", 3)
    b.turn()
    a.turn()
    b.turn()
    assert a.ids() == b.ids() == [own.id, before.id]
    assert a.replicator.clashes == [
        "camera door runs on b, too: rename it on one of the two; its events are kept on this "
        "machine alone"
    ]


def test_an_exit_is_left_to_the_machine_that_had_the_camera_then(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    seen = a.see("door")
    both(a, b)
    a.cameras, b.cameras = [], ["yard", "door"]
    b.replicator.take_over("door")
    a.turn()
    gone = Event(EventKind.EXIT, "door", 1.0, "a-1", None, 1.0, None)
    a.log.append(gone, time.time())  # it was frozen
    own = b.log.append(gone, time.time())
    a.cameras, b.cameras = ["door"], ["yard"]  # before what it saw late was refused
    a.replicator.take_over("door")
    for each in (a, b, a):
        each.turn()
    assert a.replicator.refused == 1
    assert a.ids() == [own.id, seen.id]


def test_the_clocks_are_compared_again_after_a_sleep_or_a_change(machines: Machines) -> None:
    a = machines("a", "door")
    both(a)
    for ago_s in (30.0, -30.0):
        a.replicator._shared._ahead_s = 99.0
        a.replicator._beat_wall_at -= ago_s
        a.replicator.turn()
        assert a.replicator._shared._ahead_s != 99.0


@pytest.mark.parametrize("is_started_again", [False, True])
def test_a_restored_database_gets_what_it_lacks(
    machines: Machines, address: str, is_started_again: bool
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    kept = a.see("door")
    both(a, b)
    with psycopg.connect(address) as connection:  # as it was before
        connection.execute("DELETE FROM facewire.events")
        connection.execute("SELECT setval('facewire.event_revisions', 1, false)")
        if is_started_again:  # and before the machine's last start
            connection.execute("UPDATE facewire.nodes SET session = 'older', seen = 0")
    both(a, b)
    own = b.see("yard")
    both(a, b)
    assert a.ids() == b.ids() == [own.id, kept.id]
    assert a.rows("sightings") == b.rows("sightings")
    assert stored(address, "count(*) FROM facewire.events") == [(2,)]


def test_two_machines_do_not_write_for_one_camera(machines: Machines) -> None:
    a, b = machines("a", "demo"), machines("b", "demo")
    a.turn()
    b.turn()
    b.see("demo")
    b.turn()
    a.turn()
    assert a.replicator.clashes == []
    assert b.replicator.clashes
    assert a.ids() == []
    assert len(b.ids()) == 1
    b.log.rename_camera("demo", "demo 2")
    b.cameras = ["demo 2"]
    both(b, a)
    assert [each.camera for each in a.log.list()] == ["demo 2"]


def test_events_of_a_clash_stay_on_their_machine_after_its_end(
    machines: Machines, address: str
) -> None:
    a, b = machines("a", "demo"), machines("b", "demo")
    a.turn()
    b.turn()
    kept = b.see("demo")
    b.turn()
    assert b.replicator.clashes
    a.replicator.leave()
    both(b)
    assert b.replicator.refused == 2
    assert b.replicator.n_waiting == 0
    b.log.keep_sighting(replace(sighting("b-1", stay="b-1"), camera="demo"), time.time() + 30)
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    b.log.name_events([kept.id], ann)
    both(b)
    assert b.ids() == [kept.id]
    assert len(b.rows("sightings")) == 1
    assert b.replicator.own_rows("events", after=-1, limit=9) == []
    assert stored(address, "count(*) FROM facewire.events") == [(0,)]
    shared = b.see("demo", 2)
    both(b)
    assert b.ids() == [shared.id, kept.id]
    assert stored(address, "id FROM facewire.events") == [(shared.id,)]
    b.log.erase_identity(ann.identity_id)
    both(b)
    assert b.ids() == [shared.id]
    with closing(connect(b.directory)) as connection:
        assert connection.execute("SELECT * FROM outgoing").fetchall() == []


def test_a_machine_that_stopped_gives_its_cameras_up(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    kept = a.see("door")
    b.see("yard")
    b.turn()
    a.replicator.leave()
    assert a.ids() == [kept.id]  # nothing is received at the end
    b.cameras = ["door"]
    both(b)
    assert kept.id in b.ids()


def test_what_comes_while_the_service_ends_is_received_at_the_next_start(
    machines: Machines, address: str
) -> None:
    """The visitors of the machine would not be told of it: their journal is closed first."""
    a, b = machines("a", "door"), machines("b", "yard")
    kept = a.see("door")
    both(a, b)
    applied: list[list[int]] = []
    inside, may_go_on = threading.Event(), threading.Event()

    def changed(named: list[int]) -> None:
        inside.set()
        may_go_on.wait()
        applied.append(named)

    a.replicator.changed = changed
    with closing(connect(a.directory)) as log, transaction(log):
        log.execute("UPDATE events SET visitor_id = '0123456789abcdef'")
    b.log.reassign([kept.id], Identity("1" * 16, "Ann"))
    b.turn()
    turning = threading.Thread(target=a.turn)
    turning.start()
    inside.wait()
    ending = threading.Thread(target=a.replicator.receive_no_more)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()  # waits for what is being applied
    may_go_on.set()
    for each in (turning, ending):
        each.join()
    assert applied == [[kept.id]]
    b.log.reassign([kept.id], Identity("2" * 16, "Bob"))
    b.turn()
    own = a.see("door", 2)
    a.turn()
    a.replicator.leave()
    assert applied == [[kept.id]]
    assert next(each.name for each in a.log.list() if each.id == kept.id) == "Ann"
    assert own.id in {row[0] for row in stored(address, "id FROM facewire.events")}
    a.replicator.close()
    a.replicator = a.start(address)
    a.replicator.changed = applied.append
    both(a)
    assert applied == [[kept.id]] * 3  # as it assigns visitors from now on, and as it receives
    assert next(each.name for each in a.log.list() if each.id == kept.id) == "Bob"


def test_a_machine_starts_while_the_server_is_away_and_stays_itself(
    tmp_path: Path, machines: Machines
) -> None:
    with postgres_server() as server:
        address = server.new_database()
        a, b = machines("a", "door", at=address), machines("b", "yard", at=address)
        both(a, b)
        number = a.replicator.node
        a.replicator.close()
        server.stop()
        for _ in range(4):
            a.replicator = Replicator(a.directory, address, keep_days=30.0, name="a")
            a.replicator.cameras = lambda: ["door"]
            with pytest.raises(GalleryUnreachableError) as caught:
                a.replicator.enter()
            a.replicator.enter_later(caught.value)
            assert "kept on this machine until it is back" in a.replicator.trouble
            seen = a.see("door", 1)
            a.turn()
            assert a.replicator.n_waiting > 0
            a.replicator.close()
        a.replicator = Replicator(a.directory, address, keep_days=30.0, name="a")
        a.replicator.cameras = lambda: ["door"]
        a.replicator.enter_later(caught.value)
        server.start()
        b.turn()
        for each in (a, b, a, b):
            each.replicator._tried_at = float("-inf")
            each.turn()
            assert each.replicator.trouble == ""
        assert a.replicator.node == number
        assert seen.id in b.ids()
        assert a.ids() == b.ids()
        assert len(a.ids()) == 4
        for each in (a, b):
            each.gallery.close()
            each.replicator.close()


def test_a_log_that_was_never_shared_does_not_start_without_the_server(tmp_path: Path) -> None:
    EventLog.open(tmp_path).close()
    address = "postgresql://facewire@127.0.0.1:9/none"
    with closing(Replicator(tmp_path, address, keep_days=30.0)) as replicator:
        with pytest.raises(GalleryUnreachableError) as caught:
            replicator.enter()
        with pytest.raises(GalleryUnreachableError, match="cannot reach"):
            replicator.enter_later(caught.value)


def test_the_past_of_each_machine_comes_with_it(tmp_path: Path, machines: Machines) -> None:
    """Events and sightings of logs that were not shared have the same numbers on each."""
    past = {}
    for name in ("a", "b"):
        directory = tmp_path / name
        with (
            Gallery.open(directory / "g", model_id="m", embedding_size=SIZE) as gallery,
            EventLog.open(directory) as log,
        ):
            log.follow(gallery)
            Outbox(directory, "hook").close()
            for number in range(1, 4):
                track = f"{name}-{number}"
                seen = replace(sighting(track, stay=track), camera=name)
                at = time.time() - 100.0 + number
                log.append(replace(event(seen=seen), camera=name, track_id=track), at)
            with closing(connect(directory)) as connection, transaction(connection):
                connection.execute("PRAGMA defer_foreign_keys = ON")
                connection.execute("UPDATE events SET id = id % 10")
                connection.execute("UPDATE sightings SET event_id = event_id % 10")
                connection.execute("INSERT INTO rule_firings VALUES ('a', 2)")
            past[name] = log.list()
    a, b = machines("a", "a"), machines("b", "b")
    both(a, b)
    assert a.ids() == b.ids()
    assert a.rows("sightings") == b.rows("sightings")
    for name, events in past.items():
        own = [each for each in b.log.list() if each.camera == name]
        assert [replace(each, id=0) for each in own] == [replace(each, id=0) for each in events]
        with closing(sqlite3.connect(tmp_path / name / FILE_NAME)) as connection:
            fired = connection.execute("SELECT event_id FROM rule_firings").fetchone()
        assert fired == (own[1].id,)
    newer = a.see("a", 9)
    assert newer.id > max(b.ids())


def enter(address: str) -> int:
    """Return the number of another machine."""
    with closing(SharedLog(address)) as shared:
        return shared.enter(None, ["session"], "another").node


def test_numbers_of_machines_that_left_nothing_behind_are_given_again(
    machines: Machines, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    a.see("door")
    both(a, b)
    assert (a.replicator.node, b.replicator.node) == (1, 2)
    monkeypatch.setattr(numbers, "MAX_NODE", 4)
    c, idle = machines("c", "dock"), machines("idle")
    assert (c.replicator.node, idle.replicator.node) == (3, 4)
    c.turn()  # it owns a camera, and writes nothing
    with psycopg.connect(address) as connection:
        connection.execute(
            b"UPDATE facewire.nodes SET seen = facewire.server_now() - 2 * 86400 WHERE node > 2"
        )
        connection.execute(b"UPDATE facewire.nodes SET seen = 0 WHERE node = 1")
    assert machines("d").replicator.node == 4  # 3 had a camera, of 1 there is an event
    with pytest.raises(EventLogError, match="all 4 numbers of machines are taken: keep each"):
        enter(address)
    with psycopg.connect(address) as connection:
        connection.execute(b"UPDATE facewire.nodes SET seen = 0 WHERE node = 3")
    assert enter(address) == 3
    assert stored(address, "camera FROM facewire.assignments WHERE node = 3") == []


def test_a_copied_log_gets_another_number(tmp_path: Path, machines: Machines, address: str) -> None:
    a = machines("a", "door")
    kept = a.see("door")
    both(a)
    a.see("door", 2)  # waits
    (tmp_path / "c").mkdir()
    with (
        closing(sqlite3.connect(a.directory / FILE_NAME)) as old,
        closing(sqlite3.connect(tmp_path / "c" / FILE_NAME)) as new,
    ):
        old.backup(new)
    a.replicator.close()
    a.replicator = a.start(address)
    c = machines("c", "yard")
    assert c.replicator.node != a.replicator.node
    both(a, c)
    own = c.see("yard")
    both(a, c)
    assert a.ids() == c.ids()
    assert {kept.id, own.id} < set(a.ids())
    assert len(a.ids()) == 3


def test_old_events_expire_on_each_without_a_note(machines: Machines, address: str) -> None:
    a, b = machines("a", "door"), machines("b")
    a.see("door", 1, ago_s=40 * 86_400)
    kept = a.see("door", 2)
    a.turn()
    a.log.retain(time.time())
    a.replicator._expired_at = float("-inf")
    both(a, b)
    assert a.ids() == b.ids() == [kept.id]
    assert stored(address, "count(*) FROM facewire.erased") == [(0,)]


def test_a_log_that_is_shared_no_longer_notes_nothing(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b")
    both(a, b)
    with closing(connect(a.directory)) as connection:
        replica.leave(connection)
        replica.leave(connection)
        kept = a.see("door")
        assert connection.execute("SELECT count(*) FROM outgoing").fetchone() == (0,)
        assert not replica.is_shared(connection)
    a.replicator.enter()  # shared again
    both(a, b)
    assert b.ids() == [kept.id]


def test_text_that_the_database_refuses_stops_nothing(machines: Machines) -> None:
    a, b = machines("a", "door"), machines("b")
    a.log.append(
        Event(EventKind.CAMERA_DOWN, "door", 1.0, None, None, 1.0, None, "no\x00thing"), time.time()
    )
    kept = a.see("door")
    both(a, b)
    assert [each.detail for each in b.log.list()] == ["", "no\ufffdthing"]
    assert b.ids()[0] == kept.id


def test_a_damaged_log_is_reported(machines: Machines) -> None:
    a = machines("a", "door")
    a.replicator._local.close()
    with pytest.raises(EventLogError):
        a.replicator._receive()
    a.turn()
    assert a.replicator.trouble


WRITER = """
import sys, time
from pathlib import Path
from tests.unit.stream.replication.test_replicator import Machine
machine = Machine(Path(sys.argv[1]), sys.argv[2], "door")
first = int(sys.argv[3])
print("writes", flush=True)
for number in range(first, first + 100000):
    machine.see("door", number)
    machine.turn()
"""


def test_nothing_is_lost_or_doubled_when_service_and_server_are_killed(
    tmp_path: Path, machines: Machines
) -> None:
    pause = threading.Event()
    with postgres_server() as server:
        address = server.new_database()
        for first, wait_s in ((1, 0.5), (100_001, 0.2)):
            command = [sys.executable, "-c", WRITER, str(tmp_path / "a"), address, str(first)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "writes\n"
                pause.wait(wait_s)
                server.stop()
                pause.wait(0.2)
                server.start()
                pause.wait(wait_s)
                writer.kill()
        a, b = machines("a", "door", at=address), machines("b", at=address)
        both(a, b)
        ids = [row[0] for row in a.rows("events")]
        assert len(ids) > 2
        assert a.rows("events") == b.rows("events")
        assert a.rows("sightings") == b.rows("sightings")
        assert len(a.rows("sightings")) == len(ids)
        assert stored(address, "id FROM facewire.events ORDER BY id") == [(each,) for each in ids]
        for each in (a, b):
            each.gallery.close()
            each.replicator.close()
