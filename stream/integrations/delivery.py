"""Delivery of events to one receiver: in order, at least once, also after a restart.

Each delivery has a thread and a bounded queue of its own. Events that are pending at a stop, or
when the process is killed, are delivered after the next start, with the same id.
"""

import itertools
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from stream.errors import EventLogError
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox
from stream.frames import EventKind
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Events kept for a receiver that is unavailable; the oldest is given up first."""

MAX_TRIES = 8
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
"""A try, then others after 1, 2, 4 ... seconds: two minutes, enough for a receiver to restart."""

READY_S = 0.5
"""How often it is looked whether to stop, while a receiver is waited for."""


def retry_delay(attempt: int, *, first_s: float = FIRST_DELAY_S) -> float:
    """Return seconds to wait after the failed try number `attempt`, counted from 0."""
    return float(min(LONGEST_DELAY_S, first_s * 2 ** min(attempt, 10)))


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """State of a delivery.

    Attributes:
        label: of the receiver, for people.
        delivered: events that the receiver accepted.
        failures: tries that failed.
        dead: events given up: refused, tried too often, or too many for the queue; over restarts.
        waiting: pending events.
        trouble: why the last try failed; empty when it did not.
    """

    label: str
    delivered: int
    failures: int
    dead: int
    waiting: int
    trouble: str


class Delivery(ABC):
    """Delivers events to one receiver, in order; a subclass says how.

    Args:
        name: of the thread.
        label: of the receiver, for figures.
        title: of the delivery, for messages, such as "webhook 1 at https://192.0.2.9".
        kinds: of events to deliver; all if empty.
        outbox: stores the pending events; owned and closed by this delivery.
        supervisor: restarts the thread after a failure.
        first_delay_s: seconds from the first try to the second.
        max_tries: of an event; None to try until it is delivered.
        is_ready: waits some seconds for the receiver, and returns whether it is there; no event is
            tried before. Events that are erased meanwhile are not sent.
    """

    def __init__(
        self,
        name: str,
        *,
        label: str,
        title: str,
        kinds: Collection[EventKind],
        outbox: Outbox,
        supervisor: Supervisor,
        first_delay_s: float = FIRST_DELAY_S,
        max_tries: int | None = MAX_TRIES,
        is_ready: Callable[[float], bool] = lambda seconds: True,
    ) -> None:
        self.label = label
        self._title = title
        self._kinds = frozenset(kinds)
        self._first_delay_s = first_delay_s
        self._max_tries = max_tries
        self._is_ready = is_ready
        self._outbox = outbox
        pending, self._dead = outbox.pending(self._kinds, limit=MAX_WAITING)
        self._queue = deque(pending)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._delivered = self._failures = 0
        self._trouble = ""
        self._thread = supervisor.thread(name, self._run, on_failure=self._give_up_after)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    @abstractmethod
    def send(self, event: LoggedEvent) -> tuple[str, bool]:
        """Try once; return what went wrong, empty for nothing, and whether that is final."""

    @abstractmethod
    def close(self) -> None:
        """Release what `send` uses; after the end of the thread."""

    def offer(self, event: LoggedEvent) -> None:
        """Add an event to the queue; from any thread, never blocks."""
        if self._kinds and event.kind not in self._kinds:
            return
        with self._changed:
            if len(self._queue) >= MAX_WAITING:
                self._queue.popleft()
                self._dead += 1
            self._queue.append(event)
            self._changed.notify()

    def status(self) -> DeliveryStatus:
        """Return the state."""
        return DeliveryStatus(
            label=self.label,
            delivered=self._delivered,
            failures=self._failures,
            dead=self._dead,
            waiting=len(self._queue),
            trouble=self._trouble,
        )

    def stop(self) -> None:
        """Ask the thread to end after the current try; pending events are kept."""
        self._stopping.set()
        self._thread.stop()
        with self._changed:
            self._changed.notify()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs or will be restarted."""
        return self._thread.is_alive

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive:
            self._outbox.close()
            self.close()
        if self._queue:
            logger.info(
                "%d events for %s are pending until the next start", len(self._queue), self.label
            )

    def _run(self) -> None:
        while (event := self._next()) is not None:
            is_accepted = self._deliver(event)
            if not is_accepted and self._stopping.is_set():
                return  # it stays pending
            self._delivered += is_accepted
            self._mark_done(event, is_accepted=is_accepted)

    def _give_up_after(self, in_row: int) -> None:
        """Give up an event that makes the thread fail repeatedly; others are queued behind it."""
        if in_row % MAX_TRIES == 0 and (event := next(iter(self._queue), None)) is not None:
            logger.error("%s: event %d is given up", self._title, event.id)
            self._mark_done(event, is_accepted=False)

    def _mark_done(self, event: LoggedEvent, *, is_accepted: bool) -> None:
        with self._changed:
            # A full queue may have dropped it meanwhile.
            if self._queue and self._queue[0] is event:
                self._queue.popleft()
                self._dead += not is_accepted
        try:
            self._outbox.mark_done(event.id, self._dead)
        except EventLogError as error:
            logger.error("%s: event %d may be delivered twice: %s", self._title, event.id, error)

    def _next(self) -> LoggedEvent | None:
        """Wait for an event; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue[0]

    def _deliver(self, event: LoggedEvent) -> bool:
        """Try until the event is accepted, refused or given up; return whether it was accepted."""
        for attempt in itertools.count():
            while not self._is_ready(READY_S):
                if self._stopping.is_set():
                    return False
            current = self._current(event)
            if current is None:
                return False
            trouble, is_final = self.send(current)
            if self._stopping.is_set() and trouble:
                return False
            if trouble != self._trouble:
                if trouble:
                    logger.warning("%s: %s", self._title, trouble)
                else:
                    logger.info("%s: accepts events again", self._title)
                self._trouble = trouble
            if not trouble:
                return True
            self._failures += 1
            delay_s = retry_delay(attempt, first_s=self._first_delay_s)
            if is_final or attempt + 1 == self._max_tries or self._stopping.wait(delay_s):
                break
        if not self._stopping.is_set():
            logger.error("%s: event %d is given up", self._title, event.id)
        return False

    def _current(self, event: LoggedEvent) -> LoggedEvent | None:
        """Return an event as the log has it now; None if its person was erased meanwhile."""
        try:
            current = self._outbox.current(event)
        except EventLogError as error:
            logger.warning("%s: event %d is sent as it was: %s", self._title, event.id, error)
            return event
        if current is None:
            logger.info("%s: event %d was erased before its delivery", self._title, event.id)
        return current
