"""The gallery's threads: reads go on, writes wait a bounded time, other processes are noticed."""

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gallery import Gallery, GalleryBusyError, GalleryError, NewPhoto
from stream.enrollment.gallery_worker import GalleryWorker
from stream.errors import WorkerError
from stream.supervisor import Supervisor
from tests.fakes import looks_like

PATIENCE_S = 300.0
SIZE = len(looks_like(0))


def add(gallery: Gallery, name: str, person: int) -> str:
    return gallery.photos.add(name, [NewPhoto(looks_like(person), None, f"{person:064x}", 0.5)])[
        0
    ].identity_id


def opened(directory: Path, wait_s: float = 0.1) -> Gallery:
    return Gallery.open(directory, model_id="m", embedding_size=SIZE, wait_s=wait_s)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Gallery]:
    with opened(tmp_path) as gallery:
        add(gallery, "Ada", 1)
        yield gallery


async def at_once() -> None:
    """Apply a change without delay: no tracks are named here."""


@asynccontextmanager
async def working(
    gallery: Gallery, told: Callable[[float], None] = lambda _: None
) -> AsyncIterator[GalleryWorker]:
    worker = GalleryWorker(
        gallery,
        threshold=lambda: gallery.threshold_for(0.4),
        changed=told,
        applied=at_once,
        supervisor=Supervisor(clock=time.monotonic),
        clock=time.monotonic,
    )
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        worker.join(PATIENCE_S)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


def lock(gallery: Gallery) -> sqlite3.Connection:
    """Return a connection that writes, as another process would."""
    connection = sqlite3.connect(gallery.file.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_reads_and_searches_go_on_while_another_process_writes(people: Gallery) -> None:
    async def scenario() -> None:
        async with working(people) as worker:
            with closing(lock(people)):
                assert [
                    each.identity.name for each in await worker.read(people.people.summaries)
                ] == ["Ada"]
                (match,) = people.search(looks_like(1)[None], threshold=0.5)
                assert match is not None
                with pytest.raises(GalleryBusyError, match="is busy: another process is writing"):
                    await worker.write(add, people, "Eve", 2)
                await until(lambda: "is busy" in worker.trouble)
            await until(lambda: not worker.trouble)
            await worker.write(add, people, "Eve", 2)

    asyncio.run(scenario())
    assert len(people.people.summaries()) == 2


def test_a_write_that_waited_too_long_for_its_turn_is_not_begun(people: Gallery) -> None:
    now = [0.0]
    worker = GalleryWorker(
        people,
        threshold=lambda: 0.4,
        changed=lambda _: None,
        applied=at_once,
        supervisor=Supervisor(clock=time.monotonic),
        clock=lambda: now[0],
    )

    is_queued = threading.Event()

    def last_hour() -> None:
        is_queued.wait(PATIENCE_S)
        now[0] += 3600.0

    async def scenario() -> None:
        first = asyncio.create_task(worker.write(last_hour))
        await asyncio.sleep(0)
        second = asyncio.create_task(worker.write(add, people, "Eve", 2))
        await asyncio.sleep(0)
        is_queued.set()
        await first
        with pytest.raises(GalleryBusyError):
            await second

    asyncio.run(scenario())
    worker.stop()
    assert [each.identity.name for each in people.people.summaries()] == ["Ada"]


def test_changes_of_whatever_process_are_notified_once(people: Gallery, tmp_path: Path) -> None:
    told: list[float] = []

    async def scenario() -> None:
        async with working(people, told.append) as worker:
            await worker.write(add, people, "Eve", 2)
            assert len(told) == 1
            with opened(tmp_path) as elsewhere:
                add(elsewhere, "Bob", 3)
            await until(lambda: len(told) == 2)
            add(people, "Cay", 4)
            await worker.notify()
            await worker.notify()
            assert len(told) == 3

    asyncio.run(scenario())
    assert told == sorted(told)
    (match,) = people.search(looks_like(3)[None], threshold=0.5)
    assert match is not None


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_is_gone_or_another_is_reported_and_not_written(
    people: Gallery, tmp_path: Path, how: str
) -> None:
    path = people.file.path

    async def scenario() -> None:
        async with working(people) as worker:
            if how == "deleted":
                path.unlink()
            else:
                copy = path.with_name("copy")
                shutil.copy(path, copy)
                copy.replace(path)
            await until(lambda: "was replaced or deleted" in worker.trouble)
            with pytest.raises(GalleryError, match="was replaced or deleted"):
                await worker.write(add, people, "Eve", 2)
            assert people.search(looks_like(1)[None], threshold=0.5)[0] is not None

    asyncio.run(scenario())


def test_a_failure_reaches_who_called(people: Gallery) -> None:
    async def scenario() -> None:
        async with working(people) as worker:
            with pytest.raises(ZeroDivisionError):
                await worker.write(lambda: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                await worker.read(lambda: 1 // 0)
            assert await worker.read(lambda: 42) == 42

    asyncio.run(scenario())


def test_a_stopped_worker_says_so(people: Gallery) -> None:
    async def scenario() -> GalleryWorker:
        async with working(people) as worker:
            return worker

    async def call(worker: GalleryWorker) -> None:
        with pytest.raises(WorkerError, match="stopping"):
            await worker.read(people.people.summaries)

    asyncio.run(call(asyncio.run(scenario())))
