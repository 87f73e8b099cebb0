"""The gallery's threads: reads go on, writes wait a bounded time, other processes are noticed."""

import asyncio
import shutil
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, GalleryBusyError, GalleryError, NewPhoto
from gallery.people_copy import DIRECTORY, PeopleCopy
from stream.enrollment.gallery_worker import GalleryWorker
from stream.errors import WorkerError
from stream.supervisor import Supervisor
from tests.fakes import looks_like
from tests.postgres_server import postgres_server

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
    gallery: Gallery,
    told: Callable[[float], None] = lambda _: None,
    copy: PeopleCopy | None = None,
) -> AsyncIterator[GalleryWorker]:
    worker = GalleryWorker(
        gallery,
        threshold=lambda: gallery.threshold_for(0.4),
        changed=told,
        applied=at_once,
        supervisor=Supervisor(clock=time.monotonic),
        clock=time.monotonic,
        copy=copy,
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
    connection = sqlite3.connect(Path(gallery.store.place, "gallery.sqlite3"), isolation_level=None)
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
    path = Path(people.store.place, "gallery.sqlite3")

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


def test_searches_of_a_very_large_gallery_are_checked(people, monkeypatch):
    monkeypatch.setattr("gallery.large_index.LARGE_ROWS", 0)
    monkeypatch.setattr("stream.enrollment.gallery_worker.TIDY_S", 0.01)

    async def scenario() -> None:
        async with working(people) as worker:
            await until(lambda: people.index_kind == "pq")
            probe = np.eye(SIZE, dtype=np.float32)[:1]
            people.best(probe)
            await until(lambda: worker.n_checked)
            assert (worker.n_checked, worker.n_equal) == (1, 1)

    asyncio.run(scenario())


def test_the_copy_lacks_who_was_erased_just_before_the_end(people: Gallery, tmp_path: Path) -> None:
    def names() -> list[str]:
        copy = PeopleCopy(tmp_path / "data")
        file = copy.open_to_read(tmp_path, model_id="m", embedding_size=SIZE)
        if file is None:
            return []
        with closing(file), file.reading() as connection:
            return [row[0] for row in connection.execute("SELECT name FROM identities")]

    async def run() -> None:
        async with working(people, copy=PeopleCopy(tmp_path / "data")) as worker:
            await until(lambda: names() == ["Ada"])
            await worker.write(add, people, "Bob", 2)
            await worker.write(people.people.remove, "Ada")

    asyncio.run(run())
    assert names() == ["Bob"]


def test_a_copy_that_cannot_be_written_is_reported(people: Gallery, tmp_path: Path) -> None:
    path = tmp_path / "data" / DIRECTORY
    path.parent.mkdir()
    path.write_bytes(b"")

    async def run() -> None:
        async with working(people, copy=PeopleCopy(tmp_path / "data")) as worker:
            await until(lambda: worker.copy_trouble)
            assert "the copy of the people on this machine is not up to date" in worker.copy_trouble
            assert str(path) in worker.copy_trouble
            path.unlink()
            await until(lambda: not worker.copy_trouble)

    asyncio.run(run())


def test_tracks_are_decided_again_once_the_database_is_searched_in_place_of_its_copy(
    tmp_path: Path,
) -> None:
    """Also if nothing changed: a restored database may have the copy's revision by chance."""
    told: list[float] = []

    async def run(gallery: Gallery) -> None:
        async with working(gallery, told.append):
            assert gallery.copied_at is not None
            await asyncio.to_thread(server.start)
            await until(lambda: told)
            assert gallery.copied_at is None

    with postgres_server() as server:
        address = server.new_database()
        with (
            Gallery.open(address, model_id="m", embedding_size=SIZE) as gallery,
            closing(PeopleCopy(tmp_path)) as copy,
        ):
            add(gallery, "Ada", 1)
            copy.update(gallery.store)
        server.stop()
        with Gallery.open(
            address, model_id="m", embedding_size=SIZE, copy=PeopleCopy(tmp_path)
        ) as gallery:
            asyncio.run(run(gallery))
    assert len(told) == 1
