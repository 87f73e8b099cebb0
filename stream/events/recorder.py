"""Recording events: written to the log on disk, then published to pages and webhooks."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

from stream.errors import EventLogError
from stream.events.broadcast import Broadcast, Subscription
from stream.events.log import EventLog, LoggedEvent
from stream.events.open_stay import OpenStay
from stream.frames import Event, EventKind, Sighting
from stream.metrics.figures import Figures
from stream.metrics.windows import Window
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING = 1000
"""Events kept in memory for a log that cannot be written now; each holds a crop of 37 KiB."""

RETENTION_S = 3600.0
"""Seconds between two looks for what is too old, should there be no events."""

RETRY_S = 1.0
"""Seconds between two tries to write them."""


class Journal:
    """Writes events in a dedicated thread and notifies listeners.

    Args:
        event_log: used only by this thread from now on.
        listeners: called with every stored event, in that thread; must not block.
        figures: receives the time to a name.
        supervisor: restarts the thread after a failure.
        loop: the event loop of the pages.
        clock: seconds, monotonic.

    Attributes:
        lost: events dropped because the log could not be written for too long, or at all.
        trouble: why the log cannot be written, one line; empty while it can.
        time_to_name_ms: from a face's first frame to the event with its name.
    """

    def __init__(
        self,
        event_log: EventLog,
        *,
        listeners: Sequence[Callable[[LoggedEvent], None]],
        figures: Figures,
        supervisor: Supervisor,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self.lost = 0
        self.trouble = ""
        self.time_to_name_ms = Window(observe=figures.time_to_name.observe)
        self._event_log = event_log
        self._listeners = listeners
        self._loop = loop
        self._clock = clock
        self._writer = supervisor.jobs("events")
        self._pending: deque[Callable[[], None]] = deque()
        self._is_retrying = self._is_closing = self._is_assigning = False
        self._events: Broadcast[LoggedEvent] = Broadcast()
        loop.call_later(RETENTION_S, self._retain_at_times)

    @property
    def n_waiting(self) -> int:
        """The number of events that wait to be written."""
        return len(self._pending)

    def log(self, event: Event) -> None:
        """Write an event and publish it; from any thread, returns at once.

        While the log cannot be written, because another program holds it or the disk is full,
        events wait in memory, and are written in order once it can.
        """
        wall_at = time.time() - (self._clock() - event.at)
        if len(self._pending) >= MAX_WAITING:
            self.lost += 1
            self.trouble = self.trouble or "the event log takes too long to write"
            return
        self._enqueue(partial(self._write, event, wall_at))

    def close_stays(self, stays: Sequence[OpenStay]) -> None:
        """Write exits now of people whom another machine, or a killed service, left without one.

        From any thread; returns at once.
        """
        self._enqueue(partial(self._close_stays, stays))

    def _close_stays(self, stays: Sequence[OpenStay]) -> None:
        for stay in stays:
            if not self._event_log.has_exit(stay.run, stay.track_number, stay.seen_at):
                # not before it began: the clock of the machine that saw it may be ahead
                self._write(stay.exit_at(self._clock()), max(time.time(), stay.seen_at))

    def keep(self, sighting: Sighting) -> None:
        """Write a sighting, after the events before it; from any thread, returns at once.

        A track that ended undecided is published as an event where it shows a known visitor.
        It is dropped where too much waits: a later report of its track has all that it has.
        """
        if len(self._pending) < MAX_WAITING:
            offset_s = time.time() - self._clock()
            self._enqueue(partial(self._keep, sighting, offset_s))

    def reconcile(self) -> None:
        """Synchronize people in past events with the gallery; from any thread, returns at once.

        Erased people are erased there too.
        """
        self._writer.post(self._reconcile)

    def rename_camera(self, name: str, new_name: str) -> None:
        """Rename a camera in past and waiting events; from any thread."""
        self._enqueue(partial(self._event_log.rename_camera, name, new_name))

    def show(self, events: Sequence[LoggedEvent]) -> None:
        """Publish events that another machine wrote, to pages alone; from any thread.

        They are published as they are once what came with them is applied.
        """
        self._enqueue(partial(self._show, [event.id for event in events]))

    def assign_received(self) -> None:
        """Assign sightings that wait to visitors; from any thread, returns at once.

        A few at a time: events of this machine are written between them.
        """
        if not self._is_assigning:
            self._is_assigning = True
            self._enqueue(self._assign_received)

    def _assign_received(self) -> None:
        self._is_assigning = False
        if self._event_log.assign_received() and not self._is_closing:
            self.assign_received()

    def changed_elsewhere(self, named: Sequence[int]) -> None:
        """Apply to visitors that another machine named or erased events; from any thread."""
        self._enqueue(partial(self._event_log.changed_elsewhere, named))

    def subscribe(self) -> Subscription[LoggedEvent]:
        """Return a subscription to new events; iterate it asynchronously and close it."""
        return self._events.subscribe()

    def do(self, change: Callable[[], None]) -> None:
        """Run a change of the event log behind the waiting ones; from any thread.

        It is tried again while the log cannot be written.
        """
        self._enqueue(partial(self._do, change))

    def _do(self, change: Callable[[], None]) -> None:
        with self._event_log.changing():
            change()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the event log in its thread."""
        return await self._writer.run(function, *args, **kwargs)

    def close(self) -> None:
        """Write the waiting events and end the thread."""
        self._is_closing = True
        self._writer.post(self._drain)
        self._writer.close()
        self._writer.join()

    def _enqueue(self, write: Callable[[], None]) -> None:
        self._pending.append(write)
        self._writer.post(self._drain)

    def _retain_at_times(self) -> None:
        if not self._is_closing:
            self._writer.post(self._retain)
            self._loop.call_later(RETENTION_S, self._retain_at_times)

    def _retain(self) -> None:
        try:
            self._event_log.retain(time.time())
        except EventLogError as error:  # tried again later
            logger.warning("%s", error)

    def _reconcile(self) -> None:
        try:
            self._event_log.reconcile()
        except EventLogError as error:  # retried before events are read or written
            logger.warning("%s", error)

    def _retry(self) -> None:
        self._is_retrying = False
        self._writer.post(self._drain)

    def _drain(self) -> None:
        """Write the waiting events, in order, until a write fails."""
        while self._pending and (not self._is_retrying or self._is_closing):
            write = self._pending.popleft()
            try:
                write()
            except EventLogError as error:
                if error.may_pass and not self._is_closing:
                    self._pending.appendleft(write)
                    self._delay(error)
                else:
                    n_lost = 1
                    if self._is_closing:
                        n_lost += len(self._pending)
                        self._pending.clear()
                    self.lost += n_lost
                    self.trouble = str(error)
                    logger.error("events lost: %d (%s)", n_lost, error)
            except BaseException:
                self.lost += 1
                raise
            else:
                if self.trouble:
                    logger.info("the event log can be written again")
                self.trouble = ""

    def _delay(self, error: EventLogError) -> None:
        if not self.trouble:
            logger.warning("events wait in memory: %s", error)
        self.trouble = str(error)
        if not self._loop.is_closed():
            self._is_retrying = True
            self._loop.call_soon_threadsafe(self._loop.call_later, RETRY_S, self._retry)

    def _write(self, event: Event, wall_at: float) -> None:
        if self._event_log.is_silent(event):
            return
        logged = self._event_log.append(event, wall_at)
        if event.kind is EventKind.ENTER and event.match is not None and not self.trouble:
            self.time_to_name_ms.add((self._clock() - event.first_seen) * 1e3)
        self._publish(logged)

    def _keep(self, sighting: Sighting, offset_s: float) -> None:
        for event in self._event_log.keep_sighting(sighting, offset_s):
            self._publish(event)

    def _show(self, event_ids: Sequence[int]) -> None:
        for event in self._event_log.again(event_ids):
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._events.publish, event)

    def _publish(self, logged: LoggedEvent) -> None:
        for listener in self._listeners:
            listener(logged)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.publish, logged)
