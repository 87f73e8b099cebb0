import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from stream.events import recorder as journal_module
from stream.events.log import EventLog, LoggedEvent
from stream.events.open_stay import OpenStay
from stream.events.recorder import Journal
from stream.events.schema import FILE_NAME
from stream.frames import Event, EventKind
from stream.metrics.figures import Figures
from stream.supervisor import Supervisor


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    with EventLog.open(tmp_path) as opened:
        opened._connection.execute("PRAGMA busy_timeout = 10")
        yield opened


@pytest.fixture
def lock(tmp_path: Path, log: EventLog) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of the log as another program does."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@asynccontextmanager
async def keeping(log: EventLog, told: list[LoggedEvent]) -> AsyncIterator[Journal]:
    journal = Journal(
        log,
        listeners=[told.append],
        figures=Figures(),
        supervisor=Supervisor(clock=time.monotonic),
        loop=asyncio.get_running_loop(),
        clock=time.monotonic,
    )
    try:
        yield journal
    finally:
        journal.close()


def happen(journal: Journal, camera: str = "door") -> None:
    journal.log(Event(EventKind.CAMERA_UP, camera, 0.0, None, None, 0.0, None))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def test_events_wait_while_another_program_holds_the_log(
    log: EventLog, lock: sqlite3.Connection
) -> None:
    told: list[LoggedEvent] = []

    async def scenario() -> None:
        async with keeping(log, told) as journal:
            happen(journal, "one")
            await until(lambda: journal.trouble)
            assert "another program holds" in journal.trouble
            happen(journal, "two")
            journal.rename_camera("one", "first")
            happen(journal, "one")  # another camera of that name, added after the change
            assert await journal.run(log.list) == [], "the log can be read meanwhile"
            await until(lambda: journal.n_waiting == 4)  # one fewer while it is tried
            assert journal.lost == 0
            lock.execute("ROLLBACK")
            await until(lambda: not journal.n_waiting and not journal.trouble)
            assert journal.lost == 0

    asyncio.run(scenario())
    assert [event.camera for event in told] == ["one", "two", "one"]
    assert [event.camera for event in log.list()] == ["one", "two", "first"]


def test_events_beyond_what_memory_holds_are_counted(
    log: EventLog, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MAX_WAITING", 3)
    told: list[LoggedEvent] = []

    async def scenario() -> None:
        async with keeping(log, told) as journal:
            happen(journal)
            await until(lambda: journal.trouble and journal.n_waiting == 1)
            for _ in range(4):
                happen(journal)
            assert (journal.n_waiting, journal.lost) == (3, 2)
            lock.execute("ROLLBACK")
            await until(lambda: not journal.n_waiting)
            happen(journal)
            await until(lambda: len(told) == 4)
            assert journal.lost == 2

    asyncio.run(scenario())
    assert len(log.list()) == 4


def test_a_full_disk_costs_no_event_once_there_is_room(log: EventLog) -> None:
    told: list[LoggedEvent] = []

    async def scenario() -> None:
        async with keeping(log, told) as journal:
            while not journal.trouble:
                log._connection.execute("PRAGMA max_page_count = 1")
                for _ in range(50):
                    happen(journal)
                await journal.run(lambda: None)
            assert "is full" in journal.trouble
            n_logged = len(told) + journal.n_waiting
            await journal.run(log._connection.execute, "PRAGMA max_page_count = 1000000")
            await until(lambda: not journal.n_waiting)
            assert (journal.trouble, journal.lost, len(told)) == ("", 0, n_logged)

    asyncio.run(scenario())
    assert len(log.list(limit=1000)) == len(told)


def test_an_event_that_no_retry_can_save_is_lost_alone(log: EventLog) -> None:
    log._connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.camera = 'bad'"
        " BEGIN SELECT raise(ABORT, 'no'); END"
    )
    told: list[LoggedEvent] = []

    async def scenario() -> None:
        async with keeping(log, told) as journal:
            for camera in ("good", "bad", "fine"):
                happen(journal, camera)
            await until(lambda: len(told) == 2 and not journal.trouble)
            assert (journal.lost, journal.n_waiting) == (1, 0)

    asyncio.run(scenario())
    assert [event.camera for event in log.list()] == ["fine", "good"]


def test_a_stop_does_not_wait_for_another_program(
    log: EventLog, lock: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> Journal:
        async with keeping(log, []) as journal:
            for _ in range(3):
                happen(journal)
        return journal

    journal = asyncio.run(scenario())
    assert (journal.lost, journal.n_waiting) == (3, 0)
    assert "events lost: 3" in caplog.text


def test_a_stay_seen_by_a_clock_that_is_ahead_is_closed_once(log: EventLog) -> None:
    told: list[LoggedEvent] = []
    stay = OpenStay("door", "b1b2", 3, time.time() + 30, None, None, None)

    async def scenario() -> None:
        async with keeping(log, told) as journal:
            for _ in range(3):
                journal.close_stays([stay])
            await until(lambda: not journal.n_waiting)

    asyncio.run(scenario())
    assert [event.kind for event in told] == [EventKind.EXIT]


def test_what_is_too_old_is_erased_while_nothing_happens(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETENTION_S", 0.01)

    async def scenario() -> None:
        async with keeping(log, []) as journal:
            happen(journal)
            await until(lambda: journal.n_waiting == 0)
            assert len(await journal.run(log.list)) == 1
            log.keep_days = 0.0
            async with asyncio.timeout(60):
                while await journal.run(log.list):
                    await asyncio.sleep(0.005)

    asyncio.run(scenario())
