"""What a worker process does while the database of its people is away."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from gallery import Gallery, NewPhoto
from gallery.people_copy import PeopleCopy
from recognizer import Recognizer
from stream.workers.process import MAX_PICTURES, Setup, Worker
from stream.workers.wire import Message, Outbox
from tests.fakes import FakeRecognizer, FakeWorld, looks_like
from tests.postgres_server import postgres_server

PATIENCE_S = 120.0
MODEL, SIZE = "m", len(looks_like(0))
PIPELINE = {
    "threshold": 0.4,
    "margin": 0.0,
    "confirm_s": 0.5,
    "absence_s": 2.0,
    "camera_away_s": 5.0,
    "cooldown_s": 30.0,
}


def opened(address: str) -> Gallery:
    return Gallery.open(address, model_id=MODEL, embedding_size=SIZE)


def name_of(gallery: Gallery, person: int) -> str | None:
    (found,) = gallery.search(looks_like(person)[None], threshold=0.5)
    return None if found is None else found.identity.name


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_worker_tries_again_until_the_database_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_asked: bool
) -> None:
    monkeypatch.setattr("stream.workers.process.TRY_AGAIN_S", 0.05)

    async def scenario(gallery: Gallery, back: Callable[[], None]) -> None:
        setup = Setup(address, tmp_path, {}, 40, PIPELINE, 0, 0)
        recognizer = cast(Recognizer, FakeRecognizer(FakeWorld()))
        worker = Worker(Outbox(MAX_PICTURES), setup, recognizer, gallery)
        worker.inference.start()
        if is_asked:
            # The service reached the database just now; this process does not.
            async with asyncio.timeout(PATIENCE_S):
                await worker.handle(Message("gallery", (0.4,)))
        else:
            worker.try_again()  # as at the start of a process
        assert name_of(gallery, 1) == "Ada"
        assert gallery.copied_at is not None
        await asyncio.to_thread(back)
        await until(lambda: gallery.copied_at is None)
        assert name_of(gallery, 1) == "Ada"
        await worker.stop()

    with postgres_server() as server:
        address = server.new_database()
        with opened(address) as gallery, closing(PeopleCopy(tmp_path)) as copy:
            gallery.photos.add("Ada", [NewPhoto(looks_like(1), None, "1" * 64, 0.5)])
            copy.update(gallery.store)
        server.stop()
        gallery = Gallery.open_to_read(
            address, model_id=MODEL, embedding_size=SIZE, copy=PeopleCopy(tmp_path)
        )
        with gallery:
            asyncio.run(scenario(gallery, server.start))
