"""Visitors of several machines in one real PostgreSQL database: one of them assigns."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from gallery import NewPhoto
from stream.errors import MachineError, UnknownVisitorError, VisitorError
from stream.events import replica, shared_visitors
from stream.events.log import LoggedEvent
from stream.events.recorder import Journal
from stream.events.schema import FILE_NAME
from stream.replication import visitor_tables, visitors
from stream.visitors.book import VisitorBook
from stream.visitors.changes import VisitorChanges, carry_out
from tests.postgres_server import Server, postgres_server
from tests.unit.stream.events.test_sightings import event, sighting, unit
from tests.unit.stream.replication.test_replicator import Machine, stored
from tests.unit.stream.visitors.test_book import LIMITS

STARTED = time.time() - 600.0


class Keeper(Machine):
    """A machine that keeps visitors, as the service does."""

    book: VisitorBook

    def keep_visitors(self, *, is_enabled: bool = True) -> None:
        self.book = VisitorBook(
            self.log,
            self.gallery,
            limits=LIMITS,
            threshold=lambda: 0.5,
            is_enabled=is_enabled,
            keep_days=30.0,
        )
        self.log.keeper = self.book
        self.replicator.changed = self.log.changed_elsewhere
        visitors = self.replicator.visitors
        self.book.share(visitors.leads)
        visitors.assigns = lambda: self.book.is_enabled
        visitors.seen = self.log.assign_received
        visitors.asked = lambda number, text: visitors.answer(number, carry_out(self.book, text))
        self.changes = VisitorChanges(self.book, cast(Journal, self))
        self.changes.ask = visitors.ask

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def come(self, track: int, person: int, *, n_shots: int = 9, began: float = 0.0) -> LoggedEvent:
        """Log a stranger who is clearly seen for three seconds."""
        name, camera = f"{self.directory.name}-{track}", self.cameras[0]
        seen = replace(
            sighting(name, stay=name, face=person),
            camera=camera,
            began=began,
            ended=began + 3.0,
            n_good=n_shots,
            n_shots=n_shots,
            good_s=3.0,
            face_px=100.0,
        )
        happened = replace(event(seen=seen), camera=camera, track_id=name, at=began + 3.0)
        return self.log.append(happened, STARTED + began + 3.0)

    def visitor_of(self, *events: LoggedEvent) -> list[tuple[str | None, int | None]]:
        held = {each.id: (each.visitor, each.visit_count) for each in self.log.list(limit=1000)}
        return [held[each.id] for each in events]

    def visitors(self) -> list[tuple[object, ...]]:
        """Return all that is shared of visitors, without the moment of a merge."""
        with closing(sqlite3.connect(self.directory / FILE_NAME)) as connection:
            found = shared_visitors.everything(connection)
        return [(part, *row) for part in found.rows for row in sorted(found.rows[part])]

    @property
    def waiting(self) -> int:
        with closing(sqlite3.connect(self.directory / FILE_NAME)) as connection:
            return int(connection.execute("SELECT count(*) FROM received").fetchone()[0])


Keepers = Callable[..., Keeper]


@pytest.fixture
def address(postgres: Server) -> Iterator[str]:
    address = postgres.new_database()
    yield address
    postgres.drop(address)


@pytest.fixture
def machines(tmp_path: Path, address: str) -> Iterator[Keepers]:
    with ExitStack() as stack:

        def open_one(
            name: str, camera: str, *, at: str = address, is_enabled: bool = True
        ) -> Keeper:
            machine = Keeper(tmp_path / name, at, camera)
            stack.callback(machine.close)
            machine.keep_visitors(is_enabled=is_enabled)
            return machine

        yield open_one


def both(*machines: Machine) -> None:
    """Exchange everything: what is seen, to whom it is assigned, and that."""
    for each in (*machines, *machines, *machines):
        each.turn()
        assert each.replicator.trouble == ""


def silence(address: str, machine: Machine) -> None:
    """Let a machine have given no sign for a minute, as one that is frozen or killed."""
    with psycopg.connect(address) as connection:
        connection.execute(
            "UPDATE facewire.nodes SET seen = seen - 60 WHERE node = %s", (machine.replicator.node,)
        )


def ask(change: Callable[..., Any], *arguments: Any, of: tuple[Keeper, ...], **values: Any) -> Any:
    """Have a person's change carried out, while the machines exchange what there is."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: asyncio.run(change(*arguments, **values)))
        while not asked.done():
            for machine in of:
                machine.turn()
        return asked.result()


def test_a_stranger_of_two_machines_is_one_visitor_on_both(machines: Keepers, address: str) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    assert (a.replicator.visitors.leads(), b.replicator.visitors.leads()) == (True, False)
    assert b.replicator.visitors.assigner == "a"
    first = a.come(1, person=0)
    assert (first.visitor, first.visit_count) == ("Visitor 1", 1)
    second = b.come(1, person=0, began=60.0)
    assert second.visitor is None  # b does not know the visitor yet
    both(a, b)
    third = b.come(2, person=0, began=120.0)
    assert (third.visitor, third.visit_count) == ("Visitor 1", 3)  # now it does
    other = b.come(3, person=1, began=180.0)
    beside = b.come(4, person=2, began=181.0)
    both(a, b)
    for each in (a, b):
        assert each.visitor_of(first, second, third, other, beside) == [
            ("Visitor 1", 1),
            ("Visitor 1", 2),
            ("Visitor 1", 3),
            ("Visitor 2", 1),
            ("Visitor 3", 1),
        ]
        assert each.waiting == 0
        (shared,) = [found for found in each.book.page()[0] if found.number == 1]
        assert (shared.cameras, shared.visit_count) == (("door", "yard"), 3)
    assert a.visitors() == b.visitors()
    assert stored(address, "number FROM facewire.visitors ORDER BY number") == [(1,), (2,), (3,)]
    with pytest.raises(VisitorError, match="in view together"):
        a.book.merge(*(each.visitor_id for each in a.book.page()[0] if each.number != 1))
    c = machines("c", "ramp")  # later
    both(a, b, c)
    assert c.visitors() == a.visitors()


def test_another_machine_assigns_when_the_one_that_did_is_killed(
    machines: Keepers, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    first = a.come(1, person=0)
    both(a, b)
    silence(address, a)
    second = b.come(1, person=0, began=60.0)
    new = b.come(2, person=1, began=120.0)
    assert b.waiting == 2
    b.turn()
    assert b.replicator.visitors.leads()
    assert b.waiting == 0
    assert b.visitor_of(first, second) == [("Visitor 1", 1), ("Visitor 1", 2)]
    (number,) = [each.number for each in b.book.page()[0] if each.cameras == ("yard",)]
    assert number > 1
    a.replicator.close()
    a.replicator = a.start(address)
    a.keep_visitors()
    both(a, b)
    assert not a.replicator.visitors.leads()
    assert a.visitors() == b.visitors()
    assert a.visitor_of(first, second, new) == b.visitor_of(first, second, new)


def test_a_frozen_machine_that_wakes_assigns_nothing(machines: Keepers, address: str) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    a.come(1, person=0)
    both(a, b)
    unsent = a.come(2, person=1, began=60.0)  # assigned, and frozen before it is sent
    assert unsent.visitor == "Visitor 2"
    silence(address, a)
    b.turn()
    own = b.come(1, person=2, began=120.0)
    b.turn()
    before = stored(address, "number, visitor_id FROM facewire.visitors ORDER BY number")
    assert len(before) == 2
    late = a.come(3, person=3, began=180.0)  # it wakes, and does not know yet
    assert late.visitor == "Visitor 3"
    a.replicator._send()
    a.replicator.visitors.send()
    assert stored(address, "number, visitor_id FROM facewire.visitors ORDER BY number") == before
    both(a, b)
    assert a.visitors() == b.visitors()
    assert a.visitor_of(unsent, late, own) == b.visitor_of(unsent, late, own)
    names = [name for name, _ in b.visitor_of(unsent, late, own)]
    assert len(set(names)) == 3
    assert {"Visitor 2", "Visitor 3"}.isdisjoint(names)  # those were said of others
    assert a.waiting == b.waiting == 0


def test_a_machine_that_goes_on_keeps_what_it_had_not_sent(machines: Keepers, address: str) -> None:
    a = machines("a", "door")
    both(a)
    a.come(1, person=0)
    unsent = a.come(2, person=1, began=60.0)
    a.replicator.close()  # killed
    a.replicator = a.start(address)
    a.keep_visitors()
    both(a)
    assert a.visitor_of(unsent) == [("Visitor 2", 1)]
    assert stored(address, "count(*) FROM facewire.visitors") == [(2,)]
    assert a.come(3, person=2, began=120.0).visitor == "Visitor 3"
    a.turn()
    a.replicator.leave()
    assert stored(address, "next FROM facewire.visitor_numbers") == [(4,)]
    b = machines("b", "yard")
    both(b)
    assert b.come(1, person=3, began=180.0).visitor == "Visitor 4"


def test_new_visitors_wait_while_no_number_is_reserved(
    machines: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitor_tables, "AHEAD", 2)
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    seen = [a.come(number, person=number - 1, began=60.0 * number) for number in range(1, 5)]
    assert [each.visitor for each in seen] == ["Visitor 1", "Visitor 2", None, None]
    both(a, b)
    for each in (a, b):
        assert [name for name, _ in each.visitor_of(*seen)] == [
            f"Visitor {number}" for number in range(1, 5)
        ]


def test_what_people_change_on_any_machine_is_changed_on_all(
    machines: Keepers, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    seen = [a.come(number, person=number - 1, began=60.0 * number) for number in range(1, 4)]
    again = b.come(1, person=0, began=300.0)
    both(a, b)
    ids = {each.number: each.visitor_id for each in b.book.page()[0]}
    on_b = partial(ask, of=(b, a))
    merged = on_b(b.changes.merge, ids[2], ids[1])
    assert (merged.number, merged.cameras) == (1, ("door", "yard"))
    assert [each.visitor_id for each in merged.merged] == [ids[2]]
    assert b.visitor_of(seen[1])[0][0] == "Visitor 1"
    with pytest.raises(VisitorError, match="both are the same visitor"):
        on_b(b.changes.merge, ids[2], ids[1])
    assert [each.number for each in on_b(b.changes.unmerge, ids[1])] == [1, 2]
    assert b.book._visitors().are_apart(1, 2)
    again_one = on_b(b.changes.merge, ids[2], ids[1], force=True)
    on_b(b.changes.unmerge, again_one.visitor_id, ids[2])
    both(a, b)
    assert a.visitors() == b.visitors()
    b.book.forget()
    assert b.book._visitors().are_apart(1, 2)
    one = next(each.sighting_id for each in b.book.seen(ids[1]) if each.camera == "yard")
    split = on_b(b.changes.split, ids[1], [one])
    assert split.cameras == ("yard",)
    assert on_b(b.changes.ignore, ids[3], is_ignored=True).is_ignored
    both(a, b)
    assert a.visitors() == b.visitors()
    ignored = replace(sighting("b-9", stay="b-9", face=2), n_shots=9, n_good=9, face_px=100.0)
    assert b.book.is_ignored(ignored)  # on every machine
    with pytest.raises(UnknownVisitorError, match="there is no visitor 0000"):
        on_b(b.changes.erase, "0000")
    on_b(b.changes.erase, ids[2])
    both(a, b)
    assert seen[1].id not in {*a.ids(), *b.ids()}
    assert stored(address, f"count(*) FROM facewire.events WHERE id = {seen[1].id}") == [(0,)]
    for table, column in (("visitors", "visitor_id"), ("visitor_sightings", "visitor_id")):
        rows = stored(address, f"count(*) FROM facewire.{table} WHERE {column} = '{ids[2]}'")
        assert rows == [(0,)]
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    live = on_b(b.changes.name, ids[1], b.book.stays(ids[1]), ann)
    assert live == [("door", "a-1")]
    both(a, b)
    for each in (a, b):
        names = {event.id: event.name for event in each.log.list()}
        assert (names[seen[0].id], names[again.id]) == ("Ann", None)
    assert on_b(b.changes.erase_all) == 2
    both(a, b)
    assert a.visitors() == b.visitors() == []
    assert stored(address, "count(*) FROM facewire.visitors") == [(0,)]
    assert stored(address, "count(*) FROM facewire.visitor_requests") == [(0,)]


def test_a_change_is_refused_in_a_sentence_while_nobody_can_make_it(
    tmp_path: Path, machines: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres_server() as server:
        address = server.new_database()
        a, b = machines("a", "door", at=address), machines("b", "yard", at=address)
        both(a, b)
        a.come(1, person=0)
        both(a, b)
        (only,) = b.book.page()[0]
        with monkeypatch.context() as brief:
            brief.setattr(visitors, "PATIENCE_S", 0.0)
            with pytest.raises(MachineError, match="visitors cannot be changed at present"):
                ask(b.changes.erase, only.visitor_id, of=(b,))  # a does not answer
        server.stop()
        with pytest.raises(MachineError, match="visitors cannot be changed here: the shared event"):
            ask(b.changes.erase, only.visitor_id, of=(b,))
        server.start()
        for each in (a, b):
            each.replicator._tried_at = float("-inf")
            each.turn()
        both(a, b)
        assert b.book.page()[1] == 1
        ask(b.changes.erase, only.visitor_id, of=(b, a))
        assert b.book.page()[1] == 0
        for each in (a, b):
            each.gallery.close()
            each.replicator.close()


def test_visitors_that_a_machine_had_before_come_with_it(
    tmp_path: Path, machines: Keepers, address: str
) -> None:
    a = machines("a", "door")
    both(a)
    first = a.come(1, person=0)
    a.come(2, person=1, began=60.0)
    both(a)
    alone = tmp_path / "alone"
    with closing(Machine(alone, address, "yard")) as before:
        own = Keeper.__new__(Keeper)
        own.__dict__.update(before.__dict__)
        own.book = VisitorBook(
            own.log,
            own.gallery,
            limits=LIMITS,
            threshold=lambda: 0.5,
            is_enabled=True,
            keep_days=30,
        )
        own.log.keeper = own.book
        kept = own.come(1, person=2, began=120.0)
        merged = own.come(2, person=3, began=180.0)
        assert [kept.visitor, merged.visitor] == ["Visitor 1", "Visitor 2"]
        ids = [each.visitor_id for each in own.book.page()[0]]
        own.book.merge(ids[0], ids[1])
        own.book.ignore(ids[1], is_ignored=True)
    b = machines("alone", "yard")
    both(b, a)
    both(b, a)
    assert a.visitors() == b.visitors()
    for each in (a, b):
        assert each.visitor_of(first)[0][0] == "Visitor 1"
        names = {name for name, _ in each.visitor_of(kept, merged)}
        assert len(names) == 1
        (ignored,) = each.book.page(is_ignored=True)[0]
        assert ignored.number > 2
        assert names == {ignored.name}
        assert [each.visitor_id for each in ignored.merged] == [ids[0]]
    new = a.come(3, person=0, began=240.0)
    assert new.visitor == "Visitor 1"
    b.replicator.close()
    b.replicator = b.start(address)
    b.keep_visitors()
    both(a, b)
    assert stored(address, "count(*) FROM facewire.visitors") == [(4,)]  # once


def test_what_a_machine_sees_while_its_visitors_are_off_is_not_assigned(
    machines: Keepers,
) -> None:
    a, b = machines("a", "door", is_enabled=False), machines("b", "yard", is_enabled=False)
    both(a, b)
    before = a.come(1, person=0)
    both(a, b)
    b.book.switch(is_enabled=True)
    both(a, b)
    assert (a.replicator.visitors.leads(), b.replicator.visitors.leads()) == (False, True)
    theirs, own = a.come(2, person=0, began=60.0), b.come(1, person=1, began=120.0)
    both(a, b)
    assert a.visitor_of(before, theirs, own) == [(None, None), (None, None), ("Visitor 1", 1)]
    a.book.switch(is_enabled=True)
    both(a, b)
    theirs = a.come(3, person=0, began=180.0)
    both(a, b)
    assert a.visitor_of(theirs) == [("Visitor 2", 1)]
    b.book.switch(is_enabled=False)
    both(b, a)
    assert (a.replicator.visitors.leads(), b.replicator.visitors.leads()) == (True, False)


def test_visitors_can_be_erased_while_they_are_off_everywhere(machines: Keepers) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    a.come(1, person=0)
    both(a, b)
    for each in (a, b):
        each.book.switch(is_enabled=False)
    both(a, b)
    assert a.come(2, person=1, began=60.0).visitor is None
    (only,) = b.book.page()[0]
    ask(b.changes.erase, only.visitor_id, of=(b, a))
    both(a, b)
    assert a.visitors() == b.visitors() == []


def test_a_visitor_who_is_named_on_another_machine_is_one_no_longer(machines: Keepers) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    kept = a.come(1, person=0)
    both(a, b)
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    b.log.name_events([kept.id], ann)
    both(b, a, b)
    for each in (a, b):
        (named,) = each.log.list()
        assert (named.name, named.visitor_id) == ("Ann", None)
        assert each.book.page()[1] == 0


def test_who_got_a_name_while_nobody_assigned_is_a_visitor_no_longer(
    machines: Keepers, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    kept = a.come(1, person=0)
    both(a, b)
    ann, _ = b.gallery.photos.add("Ann", [NewPhoto(unit(0), None, "a" * 64, 0.9)])
    silence(address, a)
    b.log.name_events([kept.id], ann)
    b.turn()
    assert b.replicator.visitors.leads()
    assert b.book.page()[1] == 0
    both(b, a)
    assert a.visitors() == b.visitors() == []


def test_a_track_that_grows_is_assigned_again_wherever_it_is(
    machines: Keepers, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    brief = b.come(1, person=0, n_shots=2)  # too few shots
    both(a, b)
    assert a.visitor_of(brief) == [(None, None)]
    assert b.waiting == 0  # decided
    grown = b.come(1, person=0, n_shots=9)
    assert b.waiting == 1
    both(a, b)
    assert b.visitor_of(grown) == a.visitor_of(grown) == [("Visitor 1", 1)]
    assert a.waiting == b.waiting == 0
    assert len(a.rows("sightings")) == 1


def test_a_guess_that_the_assigning_machine_does_not_share_is_taken_back(
    machines: Keepers,
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    a.come(1, person=0)
    both(a, b)
    a.come(2, person=1, began=30.0)
    a.turn()
    a.book.erase(next(each.visitor_id for each in a.book.page()[0] if each.number == 1))
    guessed = b.come(1, person=0, began=60.0)
    assert guessed.visitor == "Visitor 1"
    both(a, b)
    assert b.visitor_of(guessed) == a.visitor_of(guessed) == [("Visitor 3", 1)]
    assert a.visitors() == b.visitors()


def test_only_the_machine_that_assigns_erases_old_visitors(machines: Keepers) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    a.come(1, person=0)
    both(a, b)
    b.book.keep_days = 0.0
    assert b.book.page()[1] == 1
    b.log.retain(time.time())
    both(a, b)
    assert b.book.page()[1] == 1
    a.book.keep_days = 0.0
    a.log.retain(time.time())
    both(a, b)
    assert a.visitors() == b.visitors() == []


def test_a_log_of_an_earlier_version_begins_to_share_its_visitors(machines: Keepers) -> None:
    a = machines("a", "door")
    with closing(sqlite3.connect(a.directory / FILE_NAME)) as connection:
        for name in shared_visitors.TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for table in ("outgoing_visitors", "guessed"):
            connection.execute(f"DROP TABLE {table}")
        assert replica.is_shared(connection)
    a.replicator.close()
    a.replicator = a.start(a.replicator._shared._address)
    a.keep_visitors()
    both(a)
    seen = a.come(1, person=0)
    both(a)
    assert a.visitor_of(seen) == [("Visitor 1", 1)]


def test_what_a_killed_service_had_not_assigned_is_assigned_at_its_next_start(
    machines: Keepers, address: str
) -> None:
    a, b = machines("a", "door"), machines("b", "yard")
    both(a, b)
    first = a.come(1, person=0)
    a.replicator.visitors.seen = lambda: None  # killed there
    second = b.come(1, person=0, began=60.0)
    both(a, b)
    assert a.visitor_of(first, second) == [("Visitor 1", 1), (None, None)]
    assert (a.waiting, b.waiting) == (1, 1)
    a.replicator.close()
    a.replicator = a.start(address)
    a.keep_visitors()
    both(a, b)
    for each in (a, b):
        assert each.visitor_of(first, second) == [("Visitor 1", 1), ("Visitor 1", 2)]
        assert each.waiting == 0


def test_nothing_is_called_once_the_service_ends(machines: Keepers) -> None:
    a = machines("a", "door")
    both(a)
    a.come(1, person=0)
    called: list[str] = []
    a.replicator.receive_no_more()  # the journal is closed behind it
    a.replicator.visitors.seen = lambda: called.append("seen")
    a.replicator._expired_at = float("-inf")
    a.replicator.leave()
    assert called == []
    assert not a.replicator.visitors.leads()
