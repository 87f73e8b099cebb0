import asyncio
import time

from stream.errors import EventLogError
from stream.figures import Figures
from stream.frames import Event, EventKind
from stream.journal import Journal
from stream.supervisor import Supervisor


class FullDisk:
    """An event log whose disk is full for the first two events."""

    def __init__(self) -> None:
        self.n_asked = 0

    def append(self, event: Event, wall_at: float) -> Event:
        self.n_asked += 1
        if self.n_asked <= 2:
            raise EventLogError("cannot keep an event: database or disk is full")
        return event


def test_a_full_disk_is_told_until_it_takes_an_event_again() -> None:
    async def scenario() -> list[tuple[int, bool]]:
        journal = Journal(
            FullDisk(),  # type: ignore[arg-type]
            listeners=(),
            figures=Figures(),
            supervisor=Supervisor(clock=time.monotonic),
            loop=asyncio.get_running_loop(),
            clock=time.monotonic,
        )
        told = [(journal.lost, journal.is_losing)]
        for _ in range(3):
            journal.log(Event(EventKind.CAMERA_UP, "door", 0.0, None, None, 0.0, None))
            await journal.run(lambda: None)  # written by then
            told.append((journal.lost, journal.is_losing))
        journal.close()
        return told

    assert asyncio.run(scenario()) == [(0, False), (1, True), (2, True), (2, False)]
