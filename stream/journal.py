"""The way of an event: into the log on disk, then to every page and every webhook."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

from stream.errors import EventLogError
from stream.events import EventLog, LoggedEvent
from stream.figures import Figures
from stream.frames import Event, EventKind
from stream.stats import Window
from stream.subscriptions import Broadcast, Subscription
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING = 1000
"""Events that wait for a disk that hangs; each holds a crop of 37 KiB."""


class Journal:
    """Writes events in a thread of its own and tells who listens.

    Args:
        event_log: belongs to this thread from now on.
        listeners: get every event that was kept, in that thread; must not block.
        figures: takes in how long names take.
        supervisor: runs the thread again where it fails.
        loop: where the pages are.
        clock: seconds, monotonic.

    Attributes:
        lost: events that the disk did not take, or not in time.
        is_losing: whether the last event is among them.
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
        self.is_losing = False
        self.time_to_name_ms = Window(observe=figures.time_to_name.observe)
        self._event_log = event_log
        self._listeners = listeners
        self._loop = loop
        self._clock = clock
        self._writer = supervisor.jobs("events")
        self._waiting: deque[float] = deque()
        self._events: Broadcast[LoggedEvent] = Broadcast()

    @property
    def n_waiting(self) -> int:
        """How many events wait for the disk."""
        return len(self._waiting)

    def log(self, event: Event) -> None:
        """Keep and tell an event; from any thread, returns at once."""
        wall_at = time.time() - (self._clock() - event.at)
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            self.is_losing = True
            return
        self._waiting.append(wall_at)
        self._writer.submit(self._write, event, wall_at).add_done_callback(self._written)

    def settle(self) -> None:
        """Let past events bear the present names of people soon; from any thread, returns at once.

        Who was erased is erased there too.
        """
        self._writer.post(self._keep_up, self._event_log.settle)

    def rename_camera(self, name: str, new_name: str) -> None:
        """Let past events bear a camera's new name soon; from any thread, returns at once."""
        self._writer.post(self._keep_up, partial(self._event_log.rename_camera, name, new_name))

    def subscribe(self) -> Subscription[LoggedEvent]:
        """Return the events from now on; iterate it asynchronously and close it."""
        return self._events.subscribe()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the event log in the thread that owns it."""
        return await self._writer.run(function, *args, **kwargs)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._writer.close()
        self._writer.join()

    def _keep_up(self, change: Callable[[], None]) -> None:
        try:
            change()
        except EventLogError as error:
            logger.error("%s", error)

    def _written(self, future: "Future[None]") -> None:
        self._waiting.popleft()
        if (error := future.exception()) is not None:
            self.lost += 1
            self.is_losing = True
            logger.error("an event is lost", exc_info=error)

    def _write(self, event: Event, wall_at: float) -> None:
        try:
            logged = self._event_log.append(event, wall_at)
        except EventLogError as error:
            self.lost += 1
            self.is_losing = True
            logger.error("an event is lost: %s", error)
            return
        self.is_losing = False
        if event.kind is EventKind.ENTER and event.match is not None:
            self.time_to_name_ms.add((self._clock() - event.first_seen) * 1e3)
        for listener in self._listeners:
            listener(logged)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.publish, logged)
