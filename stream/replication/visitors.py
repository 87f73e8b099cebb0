"""Keeps one machine's visitors and those of all machines on the database the same.

One machine assigns sightings to visitors and changes them, whichever of those that keep visitors is
first to own that; where none does, one of the others changes and erases what is kept. It writes its
own log first and sends what changed; another one takes over when it has given no sign for
`LEASE_S`. What a former one wrote after that is refused by the database, and undone in its log.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stream.errors import MachineError
from stream.events import replica, shared_visitors
from stream.events.identity_sync import fact
from stream.events.schema import transaction
from stream.events.shared_visitors import BOUND, CHANGED, LED, PULLED, Changes
from stream.replication import visitor_tables
from stream.replication.database import LEASE_S, SharedLog
from stream.replication.visitor_tables import ASSIGNING

logger = logging.getLogger(__name__)

HOLD_S = LEASE_S - 3.0
"""Seconds after its last sign in which a machine assigns: it stops before another one begins."""

PATIENCE_S = 10.0
"""Seconds for which a request waits for a machine that assigns."""

CARRY_OUT_S = 20.0
"""Seconds for which one waits that is being carried out."""

NOBODY = (
    "visitors cannot be changed at present: the machine that does so does not answer, and another "
    "one takes its place within 20 seconds"
)


@dataclass(slots=True)
class _Request:
    text: str
    until: float
    answer: "Future[str]" = field(default_factory=Future)
    number: int | None = None


class VisitorReplicator:
    """Sends and receives visitors; in the replicator's thread, except what says otherwise.

    Args:
        shared: the shared log.
        local: connection to this machine's log.
        errors: converts errors of the log.

    Attributes:
        assigns: returns whether this machine keeps visitors, and so assigns before others.
        seen: called when sightings may wait to be assigned here; must not block.
        changed: called after the visitors here became others as a whole, with the ids of events of
            visitors that got a name; must not block.
        asked: called with number and text of a request of another machine, to be answered by
            `answer`; must not block.
        assigner: name of the other machine that assigns; empty if none or this one does.
    """

    def __init__(
        self,
        shared: SharedLog,
        local: sqlite3.Connection,
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.assigns: Callable[[], bool] = lambda: False
        self.seen: Callable[[], object] = _nothing
        self.changed: Callable[[list[int]], object] = lambda named: None
        self.asked: Callable[[int, str], object] = _refuse
        self.assigner = ""
        self._shared = shared
        self._local = local
        self._errors = errors
        self._generation: int | None = None
        self._until = float("-inf")
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._answers: list[tuple[int, str]] = []

    def leads(self) -> bool:
        """Return whether this machine assigns now; from any thread."""
        return time.monotonic() < self._until

    @property
    def waits(self) -> bool:
        """Whether requests wait for an answer."""
        return bool(self._requests)

    # Who assigns

    def beat(self, owned: int | None, at: float) -> None:
        """Assign, if this machine may, or stop.

        Args:
            owned: the generation in which this machine owns that, by the database.
            at: when its sign was given, monotonic clock.
        """
        self._join()
        if not self.assigns() and self._others_keep():
            self._stop(owned)
        elif owned is not None and owned == self._generation:
            self._until = at + HOLD_S
        else:
            self._claim(at)
        if self._generation is not None:
            self.assigner = ""
            self.seen()
            return
        last = self._last()
        self.assigner = last.name if last is not None and last.is_live else ""
        with self._errors():
            is_stale = shared_visitors.has_notes(self._local)
            led = fact(self._local, LED)
        if is_stale and last is not None and str(last.generation) != led:
            logger.warning("visitors of this machine are those of the machine that assigns again")
            self._replace()

    def _others_keep(self) -> bool:
        with self._shared.reading() as statements:
            return visitor_tables.others_keep(statements, self._shared.node, LEASE_S)

    def _last(self) -> visitor_tables.Assigner | None:
        with self._shared.reading() as statements:
            return visitor_tables.assigner(statements, LEASE_S)

    def _claim(self, at: float) -> None:
        """Begin to assign if no other machine does."""
        self._generation, self._until = None, float("-inf")
        with self._lock:
            self._answers.clear()
        last = self._last()
        if last is not None and last.is_live and last.node != self._shared.node:
            return
        with self._shared.writing() as statements:
            last = visitor_tables.assigner(statements, LEASE_S)
            if last is not None and last.is_live and last.node != self._shared.node:
                return
            generation = self._shared.assign(statements, ASSIGNING)
            with self._errors():
                goes_on = last is not None and fact(self._local, LED) == str(last.generation)
                first, bound = visitor_tables.reserve(
                    statements,
                    shared_visitors.next_number(self._local),
                    self._bound() if goes_on else None,
                )
                is_stale = not goes_on and shared_visitors.has_notes(self._local)
        if is_stale:
            self._replace()
        else:
            self.receive()
        with self._errors(), transaction(self._local):
            replica.put_fact(self._local, LED, str(generation))
            replica.put_fact(self._local, BOUND, str(bound))
            if first is not None:
                shared_visitors.begin_numbers(self._local, first)
        if self.assigns():
            logger.info("this machine assigns the visitors of all machines")
        self._generation, self._until = generation, at + HOLD_S
        with self._errors():
            named = self._local.execute(
                "SELECT id FROM events WHERE visitor_id IS NOT NULL AND name IS NOT NULL"
            ).fetchall()
        self.changed([int(each) for (each,) in named])

    def _stop(self, owned: int | None) -> None:
        """Leave that to a machine that keeps visitors; what is noted is sent first."""
        self._until = float("-inf")
        if owned is not None:
            if owned == self._generation:
                self.send()
                self.leave()
            self._shared.release([ASSIGNING])
        self._generation = None

    def leave(self) -> None:
        """Assign no more, and give the reserved numbers back; behind the last `send`."""
        generation, self._generation = self._generation, None
        self._until = float("-inf")
        if generation is None:
            return
        with self._errors():
            number = shared_visitors.next_number(self._local)
            is_stale = shared_visitors.has_notes(self._local)
            bound = self._bound()
        if not is_stale and bound is not None:
            with self._shared.writing() as statements:
                if visitor_tables.is_assigner(statements, self._shared.node, generation):
                    visitor_tables.give_back(statements, number, bound)

    # From here to the others

    def send(self) -> bool:
        """Send what this machine assigned, and its answers to requests.

        Returns:
            Whether numbers of new visitors are reserved now for which sightings may have waited.
        """
        if self._generation is None:
            return False
        with self._lock:  # first: what they say is in the notes, or sent
            answers = tuple(self._answers)
        with self._errors(), transaction(self._local):
            last, changes = shared_visitors.noted(self._local)
            number = shared_visitors.next_number(self._local)
            bound = self._bound()
            has_number = shared_visitors.has_number(self._local)
        if not changes and not answers and has_number:
            return False
        with self._shared.writing() as statements:
            node, generation = self._shared.node, self._generation
            is_ours = visitor_tables.is_assigner(statements, node, generation)
            if is_ours:
                visitor_tables.write(statements, node, changes)
                visitor_tables.answer(statements, answers)
                first, bound = visitor_tables.reserve(statements, number, bound)
        if not is_ours:  # undone at the next sign
            self._generation, self._until = None, float("-inf")
            return False
        with self._errors(), transaction(self._local):
            shared_visitors.sent(self._local, last)
            replica.put_fact(self._local, BOUND, str(bound))
            if first is not None:  # another machine has brought its visitors
                shared_visitors.begin_numbers(self._local, first)
        with self._lock:
            del self._answers[: len(answers)]
        return True

    # From the others to here

    def receive(self) -> None:
        """Write what others changed into the own log."""
        self._join()
        with self._errors():
            pulled = int(fact(self._local, PULLED) or 0)
        with self._shared.reading(is_snapshot=True) as statements:
            news = visitor_tables.news(statements, pulled, but=self._shared.node)
        if news is None:
            return
        revision, changes = news
        with self._errors(), transaction(self._local):
            replica.put_fact(self._local, PULLED, str(revision))
            if changes:
                shared_visitors.apply(self._local, changes)
                replica.put_fact(self._local, CHANGED, str(revision))

    def _join(self) -> None:
        """Bring the visitors that this machine had before, and take those of all, once."""
        with self._errors():
            if fact(self._local, PULLED) is not None:
                return
            own = shared_visitors.everything(self._local)
        with self._shared.writing() as statements:
            n = visitor_tables.bring(statements, self._shared.node, own)
        if n:
            logger.info("%d visitors of this machine are those of all machines from now on", n)
        self._replace()

    def _replace(self) -> None:
        """Have the visitors of the database and no others."""
        with self._shared.reading(is_snapshot=True) as statements:
            revision, changes = visitor_tables.news(statements, 0, but=0) or (0, Changes({}, ()))
        with self._errors(), transaction(self._local):
            shared_visitors.replace_all(self._local, changes)
            for each in (PULLED, CHANGED):
                replica.put_fact(self._local, each, str(revision))
        self.changed([])

    def of_rows(self, sightings: Sequence[int], events: Sequence[int]) -> tuple[Changes, set[int]]:
        """Return whose some received rows are, and the machines that keep visitors."""
        with self._shared.reading() as statements:
            keys = {"sightings": list(sightings), "events": list(events)}
            found = visitor_tables.of_rows(statements, keys)
            rows = statements.execute("SELECT node FROM nodes WHERE has_visitors").fetchall()
        return found, {int(node) for (node,) in rows}

    def expire(self) -> None:
        """Erase what is too old, where this machine assigns."""
        if not self.leads():
            return
        with self._shared.writing() as statements:
            visitor_tables.expire(statements)

    # Requests to the machine that assigns

    def ask(self, request: str) -> "Future[str]":
        """Have a request carried out by the machine that assigns; from any thread.

        Returns:
            Its answer; MachineError where no machine assigns or the database is away.
        """
        asking = _Request(request, time.monotonic() + PATIENCE_S)
        with self._lock:
            self._requests.append(asking)
        return asking.answer

    def answer(self, number: int, text: str) -> None:
        """Answer a request, with what it changed; from any thread."""
        with self._lock:
            self._answers.append((number, text))

    def exchange_requests(self) -> None:
        """Send requests, take those of others, and receive answers."""
        if self._generation is not None and self.leads():
            self._take_requests(self._generation)
        with self._lock:
            waiting = list(self._requests)
        if not waiting:
            return
        for each in waiting:
            if each.number is None:
                with self._shared.writing() as statements:
                    last = visitor_tables.assigner(statements, LEASE_S)
                    if last is not None and last.is_live:
                        each.number = visitor_tables.ask(statements, self._shared.node, each.text)
                if each.number is None:
                    self._fail(each, NOBODY)
        numbers = [each.number for each in waiting if each.number is not None]
        with self._shared.reading() as statements:
            found = visitor_tables.take_answers(statements, numbers)
        if found:
            self.receive()  # what they changed, before who asked reads it
        now = time.monotonic()
        for each in waiting:
            if each.number is None:
                continue
            if each.number in found:
                self._done(each)
                each.answer.set_result(found[each.number])
            elif now > each.until and self._is_withdrawn(each.number):
                self._fail(each, NOBODY)
            elif now > each.until + CARRY_OUT_S:
                self._fail(
                    each, "the machine that assigns visitors does not answer: look again later"
                )

    def _take_requests(self, generation: int) -> None:
        with self._shared.reading() as statements:
            if not visitor_tables.has_requests(statements, generation):
                return
        taken: list[tuple[int, str]] = []
        with self._shared.writing() as statements:
            if visitor_tables.is_assigner(statements, self._shared.node, generation):
                taken = visitor_tables.take_requests(statements, generation)
        for number, text in taken:
            self.asked(number, text)

    def _bound(self) -> int | None:
        held = fact(self._local, BOUND)
        return None if held is None else int(held)

    def fail(self, why: str) -> None:
        """Refuse all requests: the database is away."""
        with self._lock:
            waiting = list(self._requests)
        for each in waiting:
            self._fail(each, why)

    def _is_withdrawn(self, number: int) -> bool:
        with self._shared.reading() as statements:
            return visitor_tables.withdraw(statements, number)

    def _done(self, request: _Request) -> None:
        with self._lock:
            self._requests.remove(request)

    def _fail(self, request: _Request, why: str) -> None:
        self._done(request)
        request.answer.set_exception(MachineError(why))


def _nothing() -> None:
    pass


def _refuse(number: int, text: str) -> None:
    logger.error("request %d is about visitors, and nobody carries it out here", number)
