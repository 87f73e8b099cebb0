"""What a worker process does with messages of the service."""

import asyncio
from pathlib import Path
from typing import cast

from gallery import Gallery
from recognizer import Recognizer
from stream.config import CameraConfig
from stream.errors import WorkerError
from stream.workers.process import MAX_PICTURES, Setup, Worker
from stream.workers.wire import Message, Outbox
from tests.fakes import FakeRecognizer, FakeWorld, looks_like

PIPELINE = {
    "threshold": 0.4,
    "margin": 0.0,
    "confirm_s": 0.5,
    "absence_s": 2.0,
    "camera_away_s": 5.0,
    "cooldown_s": 30.0,
}


def test_a_camera_that_cannot_be_released_goes_on(tmp_path: Path) -> None:
    async def failing(name: str) -> None:
        worker.inference.batcher.remove(name)
        raise WorkerError("recognition failed: try again")

    async def scenario() -> None:
        worker.inference.start()
        await worker.handle(Message("start", (CameraConfig(name="door", url="missing.mp4"),)))
        camera = worker._cameras["door"]
        worker._host.release = failing
        await worker.handle(Message("release", ("door",), 7))
        assert worker._cameras == {"door": camera}
        assert "door" in worker.inference.batcher._last_put
        await worker.handle(Message("change", (camera.config,)))
        await worker.stop()

    with Gallery.open(tmp_path, model_id="m", embedding_size=len(looks_like(0))) as gallery:
        setup = Setup(str(tmp_path), tmp_path, {}, 40, PIPELINE, 0, 0)
        recognizer = cast(Recognizer, FakeRecognizer(FakeWorld()))
        worker = Worker(Outbox(MAX_PICTURES), setup, recognizer, gallery)
        asyncio.run(scenario())
