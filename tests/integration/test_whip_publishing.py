"""Cameras published by WHIP to a real server: another facewire."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import anyio.to_thread
import pytest

from stream.config import Config, SfuConfig
from stream.errors import WorkerError
from stream.ice import IceServers
from stream.service import Service
from stream.sfu.whip import WhipSfu
from stream.supervisor import Supervisor
from tests.e2e.harness import RunningService, service
from tests.ports import HeldPort
from tests.viewers import PATIENCE_S, Show, Viewer, until

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    data: Path = tmp_path_factory.mktemp("receiver")
    with service("whip", data) as running:
        yield running


@asynccontextmanager
async def publishing(config: SfuConfig, *shows: tuple[str, Show]) -> AsyncIterator[WhipSfu]:
    sfu = WhipSfu(
        config,
        cameras=lambda: [(name, show.hub) for name, show in shows],
        ice=IceServers((), wall_clock=time.time),
        supervisor=Supervisor(clock=time.monotonic),
    )
    sfu.start()
    try:
        yield sfu
    finally:
        await sfu.stop()


def to(url: str, **more: Any) -> SfuConfig:
    return SfuConfig(
        kind="whip",
        url=f"{url}api/whip?name={{camera}}",
        watch_url=f"{url}api/cameras/{{camera}}/whep",
        **more,
    )


async def cameras_of(url: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        with urlopen(f"{url}api/cameras") as response:
            return {each["name"]: each for each in json.load(response)}

    return await anyio.to_thread.run_sync(read)


async def test_a_camera_is_published_and_watched_from_there(receiver: RunningService):
    with Show() as show, Show() as other:
        config = to(receiver.url, cameras=("yard",))
        async with publishing(config, ("yard", show), ("attic", other)) as sfu:
            await until(lambda: sfu.is_there)
            assert sfu.status().streams == 1
            assert other.hub.n_viewers == 0
            while (await cameras_of(receiver.url)).get("yard", {}).get("state") != "live":
                await anyio.sleep(0.05)
            viewer = Viewer()
            answer = await sfu.watch(
                await viewer.offer(),
                "yard",
                show.hub,
                small=False,
                on_close=lambda: None,
                client=None,
            )
            assert answer is not None
            assert answer.via == "whip"
            await viewer.accept(answer.sdp)
            await until(lambda: len(viewer.seen) > 10)
            assert sfu.status().viewers == 1
            await sfu.close(answer.peer_id)
            assert sfu.status().viewers == 0
            await viewer.close()
        while "yard" in await cameras_of(receiver.url):
            await anyio.sleep(0.05)


async def test_each_camera_has_its_own_token(tmp_path: Path):
    token = "a secret of its own"
    with service("keyed", tmp_path, token=token) as keyed, Show() as show, Show() as other:
        config = to(keyed.url, secret="wrong for the attic", camera_secrets={"yard": token})
        async with publishing(config, ("yard", show), ("attic", other)) as sfu:
            await until(lambda: sfu._published and sfu._published[show.hub].is_up)
            await until(lambda: "status 401" in sfu.status().trouble)
            assert sfu.status().trouble.startswith("camera attic ")


async def test_it_is_published_again_after_the_connection_is_lost(receiver: RunningService):
    with Show() as show:
        async with publishing(to(receiver.url), ("hall", show)) as sfu:
            await until(lambda: sfu.is_there)
            published = sfu._published[show.hub]
            connection = published.connection
            assert connection is not None
            await connection.close()
            await until(lambda: sfu.status().published == 2)
            assert sfu.status().losses == 1
            assert sfu.status().trouble == ""


@contextmanager
def keeping(url: str) -> Iterator[tuple[str, threading.Event]]:
    """A server before another that does not answer when a publication is to end.

    Yields:
        Its address, and an event that is set when the end was requested.
    """
    asked, released = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sdp = {"content-type": self.headers["content-type"]}
            with urlopen(Request(url + self.path[1:], body, sdp)) as response:
                answer = response.read()
                self.send_response(response.status)
                self.send_header("location", response.headers["location"])
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_DELETE(self) -> None:
            asked.set()
            released.wait()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_service_stops_although_the_sfu_does_not_answer(
    receiver: RunningService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))
    monkeypatch.setattr("stream.sfu.whip.HTTP_S", 10 * PATIENCE_S)
    no_camera = {"name": "porch", "url": "rtsp://127.0.0.1:9/"}
    with keeping(receiver.url) as (url, asked):
        sfu = {"kind": "whip", "url": f"{url}api/whip?name={{camera}}"}
        config = Config.model_validate({"cameras": [no_camera], "sfu": sfu})
        async with asyncio.timeout(3 * PATIENCE_S):
            async with Service.open(config) as service:
                assert service.viewing.sfu is not None
                await until(lambda: service.viewing.sfu.is_there)
        assert asked.is_set()
        with pytest.raises(WorkerError):
            await service.journal.run(service.event_log.list, limit=1)
    assert "the SFU did not answer in time" in caplog.messages


async def test_a_refusal_is_one_line_without_the_address(caplog: pytest.LogCaptureFixture):
    with HeldPort() as held, Show() as show:
        config = SfuConfig(kind="whip", url=f"http://127.0.0.1:{held.port}/k3y/whip", cameras=["a"])
        async with publishing(config, ("a", show)) as sfu:
            await until(lambda: sfu.status().failures > 1)
            assert "camera a is not taken: the SFU cannot be reached" in sfu.status().trouble
        lines = [each.message for each in caplog.records if each.levelname == "WARNING"]
        assert len(lines) == 1
        assert "k3y" not in caplog.text
