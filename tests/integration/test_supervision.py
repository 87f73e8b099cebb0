"""Every long-lived thread of a running service, killed, is restarted, and health reports it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from prometheus_client import generate_latest

from stream.api.metrics import registry_of
from stream.cameras.camera import CameraState
from stream.cameras.source import DemoSource
from stream.config import CameraConfig, Config, load_config
from stream.errors import WorkerError
from stream.frames import Event, EventKind
from stream.integrations.webhooks import Webhook
from stream.recognition.batcher import Batcher
from stream.recognition.pipeline import Pipeline
from stream.service import Service
from stream.supervisor import JobThread
from stream.video.channel import VideoOut
from stream.video.encoder import Codec
from stream.video.rendition import Feed
from tests.integration.test_webhooks import receiving
from tests.viewers import PATIENCE_S, until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))


@pytest.fixture
def hook_url() -> Iterator[str]:
    with receiving() as receiver:
        yield receiver.url


@asynccontextmanager
async def opened(config: Config | None = None) -> AsyncIterator[Service]:
    async with Service.open(config or load_config()) as service:
        yield service


async def frames_come(service: Service) -> None:
    captured = service.cameras.statuses()[0].captured
    await until(lambda: service.cameras.statuses()[0].captured > captured + 2)
    assert service.cameras.statuses()[0].state is CameraState.LIVE


async def packets_come(service: Service) -> None:
    subscription = service.cameras.get("demo").video.hub.subscribe()
    async with asyncio.timeout(PATIENCE_S):
        assert (await subscription.recv()).is_keyframe
        await subscription.recv()
    subscription.close()


async def calls_are_answered(service: Service) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert await service.inference.run(lambda: 3) == 3
    await frames_come(service)


async def events_are_kept(service: Service) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert await service.journal.run(service.event_log.list) is not None


async def photos_are_read(service: Service) -> None:
    async with asyncio.timeout(PATIENCE_S):
        model_id = service.recognizer.model_id
        assert await service.photo_worker.run(lambda recognizer: recognizer.model_id) == model_id


async def webhooks_deliver(service: Service) -> None:
    before = service.webhooks[0].status().delivered
    event = Event(EventKind.CAMERA_UP, "demo", time.monotonic(), None, None, 0.0, None)
    service.journal.log(event)
    await until(lambda: service.webhooks[0].status().delivered > before)


@pytest.mark.parametrize(
    ("worker", "owner", "attribute", "works"),
    [
        ("capture-demo", DemoSource, "read", frames_come),
        ("encode-demo", VideoOut, "render", packets_come),
        ("inference", Pipeline, "leave", calls_are_answered),
        ("events", JobThread, "_next", events_are_kept),
        ("photos", JobThread, "_next", photos_are_read),
        ("webhook-1", Webhook, "_next", webhooks_deliver),
    ],
)
def test_a_thread_that_is_killed_is_run_again_and_health_says_so(
    monkeypatch: pytest.MonkeyPatch,
    hook_url: str,
    worker: str,
    owner: type,
    attribute: str,
    works: Callable[[Service], Any],
) -> None:
    config = load_config().model_validate({"webhooks": [{"url": hook_url}]})
    usual, is_wanted, killed = getattr(owner, attribute), threading.Event(), threading.Event()

    def fail_once(*arguments: object, **named: object) -> object:
        if is_wanted.is_set() and threading.current_thread().name == worker:
            is_wanted.clear()
            killed.set()
            raise SystemExit("user:hunter2")  # no `except Exception` stops it
        return usual(*arguments, **named)

    monkeypatch.setattr(owner, attribute, fail_once)

    async def scenario() -> tuple[list[str], str]:
        async with opened(config) as service:
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            await works(service)
            assert service.supervisor.problems() == []
            is_wanted.set()
            while not killed.is_set():  # it has to be at work to fail
                await asyncio.wait({asyncio.ensure_future(works(service))}, timeout=1)
            await until(lambda: service.supervisor.problems())
            problems = service.problems()
            await works(service)
            return problems, generate_latest(registry_of(service)).decode()

    problems, metrics = asyncio.run(scenario())
    assert f"{worker} failed once, last by SystemExit: see the log" in problems
    assert "hunter2" not in str(problems)
    assert f'facewire_worker_failures_total{{worker="{worker}"}} 1.0' in metrics
    assert f'facewire_worker_up{{worker="{worker}"}} 1.0' in metrics


def test_nothing_hangs_while_recognition_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, is_broken = Batcher.take, threading.Event()

    def take(batcher: Batcher, timeout_s: float) -> object:
        if is_broken.is_set():
            raise OSError("broken")
        return usual(batcher, timeout_s)

    monkeypatch.setattr(Batcher, "take", take)

    async def scenario() -> None:
        async with opened() as service:
            await until(lambda: service.cameras.get("demo").latest)
            is_broken.set()
            await until(lambda: not service.is_recognizing)
            assert "recognition is not running: see the log" in service.problems()
            calls = [
                service.inference.run(lambda: 3),
                service.cameras.add(CameraConfig(name="other", url="demo:")),
                service.cameras.remove("demo"),
            ]
            async with asyncio.timeout(PATIENCE_S):
                answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in answers] == [WorkerError] * 3
            is_broken.clear()
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with suppress(WorkerError):  # a call may come just before the last failure
                        assert await service.inference.run(lambda: 3) == 3
                        break
                await service.cameras.add(CameraConfig(name="third", url="demo:"))
            await until(lambda: service.cameras.get("third").latest)

    asyncio.run(scenario())


def test_calls_after_the_end_are_refused() -> None:
    async def scenario() -> None:
        async with opened() as service:
            await until(lambda: service.cameras.get("demo").latest)
        async with asyncio.timeout(PATIENCE_S):
            for call in (
                service.inference.run(lambda: 3),
                service.journal.run(lambda: 3),
                service.photo_worker.run(lambda recognizer: 3),
            ):
                with pytest.raises(WorkerError, match="has ended"):
                    await call

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [(1, 1), (100, 1), (3, 5)])
def test_a_camera_of_any_size_has_video(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    path = tmp_path / "tiny.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(50):
            image = np.full((height, width, 3), 5 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    config = load_config().model_validate({"cameras": [{"name": "tiny", "url": str(path)}]})

    async def scenario() -> tuple[list[bytes | None], list[str]]:
        async with opened(config) as service:
            await until(lambda: service.cameras.statuses()[0].state is CameraState.LIVE)
            packets: list[bytes | None] = []
            for feed in (Feed(), Feed(codec=Codec.VP8, small=True)):
                subscription = service.cameras.get("tiny").video.hub.subscribe(feed)
                async with asyncio.timeout(PATIENCE_S):
                    packets += [bytes(await subscription.recv()) for _ in range(3)]
                subscription.close()
            packets.append(service.cameras.get("tiny").snapshot())
            return packets, service.problems()

    packets, problems = asyncio.run(scenario())
    assert all(packets)
    assert problems == []
