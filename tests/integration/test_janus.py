"""A camera sent to a real Janus once, and viewers that get it from there."""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stream.config import SfuConfig
from stream.sfu.janus import JanusSfu
from stream.sfu.janus_api import JanusSession, Message
from stream.supervisor import Supervisor
from stream.video.encoder import Codec
from stream.webrtc.peers import Answer
from tests.janus_server import SECRET, JanusServer, janus
from tests.ports import HeldPort
from tests.viewers import PATIENCE_S, Show, Viewer, until

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

MEDIA = (21000, 21999)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JanusServer]:
    folder: Path = tmp_path_factory.mktemp("janus")
    with HeldPort() as held, janus(folder, held.port, MEDIA) as running:
        yield running


@asynccontextmanager
async def connected(server: JanusServer, *, secret: str = SECRET) -> AsyncIterator[JanusSfu]:
    config = SfuConfig(kind="janus", url=server.url, secret=secret)
    sfu = JanusSfu(config, room="facewire", supervisor=Supervisor(clock=time.monotonic))
    sfu.start()
    try:
        yield sfu
    finally:
        await sfu.stop()


async def answer(
    sfu: JanusSfu, show: Show, offer: str, on_close: Callable[[], None] = lambda: None
) -> Answer | None:
    return await sfu.watch(offer, "show", show.hub, small=False, on_close=on_close, client=None)


class JanusViewer(Viewer):
    """A viewer that Janus serves."""

    def __init__(self, sfu: JanusSfu) -> None:
        super().__init__()
        self.sfu = sfu
        self.n_closed = 0
        self.answer = Answer("", "")

    def closed(self) -> None:
        self.n_closed += 1

    async def watch(self, show: Show) -> None:
        given = await answer(self.sfu, show, await self.offer(), self.closed)
        assert given is not None
        self.answer = given
        await self.accept(given.sdp)


async def test_viewers_get_the_packets_of_one_encoder_from_janus(server: JanusServer):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewers = [JanusViewer(sfu) for _ in range(3)]
            for viewer in viewers:
                await viewer.watch(show)
            await until(lambda: all(len(viewer.seen) > 20 for viewer in viewers))
            assert (show.hub.n_viewers, show.hub.n_watching) == (1, 3)
            assert (sfu.status().streams, sfu.status().viewers) == (1, 3)
            for viewer in viewers:
                ports = re.findall(r"a=candidate:\S+ \d+ udp \d+ \S+ (\d+) ", viewer.answer.sdp)
                assert ports
                assert all(MEDIA[0] <= int(port) <= MEDIA[1] for port in ports)
                numbers = [number for number, _ in viewer.seen]
                assert numbers == sorted(numbers)
                assert viewer.answer.via == "janus"
                await sfu.close(viewer.answer.peer_id)
                await viewer.close()
            assert [viewer.n_closed for viewer in viewers] == [1, 1, 1]
            assert sfu.status().viewers == 0
            assert show.hub.n_watching == 0  # the stream itself lingers


async def test_a_request_for_a_keyframe_reaches_the_encoder(server: JanusServer):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer = JanusViewer(sfu)
            await viewer.watch(show)
            await until(lambda: viewer.seen and not show.hub.requested())
            n_before = show.keyframes
            receiver = viewer.connection.getTransceivers()[0].receiver
            (source,) = receiver.getSynchronizationSources()
            # Private: aiortc asks by itself only after a loss. Janus passes on one a second.
            await receiver._send_rtcp_pli(source.source)
            await until(lambda: show.keyframes > n_before)
            await viewer.close()


async def test_a_viewer_that_leaves_without_a_word_is_noticed(server: JanusServer):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer = JanusViewer(sfu)
            await viewer.watch(show)
            await until(lambda: viewer.seen)
            await viewer.close()
            await until(lambda: viewer.n_closed == 1)
            assert sfu.status().viewers == 0


async def test_a_camera_that_is_removed_ends_its_viewers(server: JanusServer):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer = JanusViewer(sfu)
            await viewer.watch(show)
            await until(lambda: viewer.seen)
        await until(lambda: viewer.n_closed == 1)
        assert sfu.status().streams == 0
        await viewer.close()


async def test_a_killed_janus_gets_its_streams_again(
    server: JanusServer, caplog: pytest.LogCaptureFixture
):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer, late = JanusViewer(sfu), JanusViewer(sfu)
            await viewer.watch(show)
            await until(lambda: viewer.seen)
            server.kill()
            await until(lambda: viewer.n_closed == 1)
            offer = await late.offer()
            assert await answer(sfu, show, offer) is None
            await until(lambda: "cannot be reached" in sfu.status().trouble)
            assert show.hub.n_viewers == 0
            server.start()
            # Nobody has watched again: the stream is back for those who will.
            await until(lambda: sfu.is_there)
            assert sfu.status().streams == 1
            await late.watch(show)
            await until(lambda: len(late.seen) > 5)
            status = sfu.status()
            assert (status.losses, status.published, status.trouble) == (1, 2, "")
            lines = [each for each in caplog.records if each.name == "stream.sfu.janus"]
            warnings = [each.message for each in lines if each.levelname == "WARNING"]
            assert warnings == [
                "janus at 127.0.0.1 closed the connection: facewire serves the viewers itself"
            ]
            await viewer.close()
            await late.close()


async def test_a_frozen_janus_gets_no_viewers_until_it_answers(
    server: JanusServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stream.sfu.janus_api.ANSWER_S", 0.5)
    async with connected(server) as sfu:
        n_back = 0

        def back() -> None:
            nonlocal n_back
            n_back += 1

        sfu.on_back = back
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer = JanusViewer(sfu)
            offer = await viewer.offer()
            server.hang()
            try:
                assert await answer(sfu, show, offer) is None
                assert sfu.status().trouble == "does not answer within 0 s"
                failures = sfu.status().failures
                assert await answer(sfu, show, offer) is None  # at once, without a question
                assert sfu.status().failures == failures
            finally:
                server.go_on()
            await until(lambda: sfu.is_there)
            assert n_back == 2
            await viewer.watch(show)
            await until(lambda: viewer.seen)
            await viewer.close()


async def test_after_a_failure_in_a_message_of_janus_it_is_connected_again(server: JanusServer):
    def fails() -> None:
        raise RuntimeError

    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            first, second = JanusViewer(sfu), JanusViewer(sfu)
            first.closed = fails
            await first.watch(show)
            await until(lambda: first.seen)
            await first.close()
            await until(lambda: sfu.status().losses == 1)
            await until(lambda: sfu.is_there)
            await second.watch(show)
            await until(lambda: second.seen)
            await second.close()


async def test_streams_of_a_service_that_crashed_are_removed(server: JanusServer):
    with Show() as show:
        async with connected(server) as crashed:
            await until(lambda: crashed.is_there)
            viewer = JanusViewer(crashed)
            await viewer.watch(show)
            session = crashed._session
            assert session is not None
            assert crashed._task is not None
            await crashed._task.stop()
            async with connected(server) as sfu:
                await until(lambda: sfu.is_there)
                assert sfu._session is not None
                listed = await sfu._session.call(
                    sfu._control, {"request": "list", "admin_key": SECRET}
                )
                assert listed["list"] == []
            await viewer.close()


async def leftovers(sfu: JanusSfu, server: JanusServer) -> tuple[int, int]:
    """Return the numbers of mount points and of viewers' handles at Janus."""
    session = sfu._session
    assert session is not None
    listed = await session.call(sfu._control, {"request": "list", "admin_key": SECRET})
    handles = await asyncio.to_thread(server.handles, session._session)
    return len(listed["list"]), len(set(handles) - {sfu._control})


class Leaving:
    """Counts the answers to requests of one kind, and cancels the viewer who waits for them.

    Args:
        session: with Janus.
        kind: of request, such as "attach".
        moment: of the cancellation: when it was "sent" or "answered"; otherwise there is none.
    """

    def __init__(self, session: JanusSession, kind: str, moment: str) -> None:
        self.session, self.kind, self.moment = session, kind, moment
        self.tasks: dict[str, asyncio.Task[Answer | None]] = {}
        self.task: asyncio.Task[Answer | None] | None = None
        self.n_answered = 0
        self._send, self._receive = session._send, session._receive

    def __enter__(self) -> "Leaving":
        self.session._send = self.send
        self.session._receive = self.receive
        return self

    def __exit__(self, *_: object) -> None:
        del self.session._send, self.session._receive

    async def send(self, message: Message, transaction: str) -> None:
        await self._send(message, transaction)
        if self.kind in (message["janus"], message.get("body", {}).get("request")):
            assert self.task is not None
            self.tasks[transaction] = self.task
            if self.moment == "sent":
                self.task.cancel()

    def receive(self, message: Message) -> None:
        self._receive(message)
        task = self.tasks.get(str(message.get("transaction")))
        if task is not None and message["janus"] != "ack":
            self.n_answered += 1
            if self.moment == "answered":
                task.cancel()


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *itertools.product(("create", "attach", "watch", "start"), ("sent", "answered")),
        ("create", "late"),
        ("attach", "late"),
    ],
)
async def test_viewers_that_leave_during_the_answer_leave_nothing_at_janus(
    server: JanusServer, kind: str, moment: str, monkeypatch: pytest.MonkeyPatch
):
    n = 5
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        assert sfu._session is not None
        viewer = Viewer()
        offer = await viewer.offer()
        with Show() as show:
            if kind != "create":
                served = JanusViewer(sfu)
                await served.watch(show)
                await sfu.close(served.answer.peer_id)
                await served.close()
            with Leaving(sfu._session, kind, moment) as leaving:
                if moment == "late":
                    monkeypatch.setattr("stream.sfu.janus_api.ANSWER_S", 0.0)
                if moment == "late":
                    n = 1  # it is not asked again before it answers
                for _ in range(n):
                    leaving.task = asyncio.create_task(answer(sfu, show, offer))
                    (result,) = await asyncio.gather(leaving.task, return_exceptions=True)
                    if moment == "late":
                        assert result is None
                    else:
                        assert isinstance(result, asyncio.CancelledError)
                if kind in ("create", "attach"):  # a detached handle answers nothing more
                    await until(lambda: leaving.n_answered == n)
                monkeypatch.undo()
            n_streams = int(kind != "create")
            async with asyncio.timeout(PATIENCE_S):
                while await leftovers(sfu, server) != (n_streams, 0):
                    await asyncio.sleep(0.01)
            status = sfu.status()
            assert (status.streams, status.viewers) == (n_streams, 0)
        await viewer.close()


async def test_a_stream_that_expires_while_it_is_sent_again_is_removed(
    server: JanusServer, monkeypatch: pytest.MonkeyPatch
):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            viewer = JanusViewer(sfu)
            await viewer.watch(show)
            await viewer.close()
            server.kill()
            await until(lambda: not sfu.is_there)
            ((stream,), real) = sfu._streams.values(), JanusSession._send
            (mount,) = stream.mounts.values()

            async def send(session: JanusSession, message: Message, transaction: str) -> None:
                await real(session, message, transaction)
                if message.get("body", {}).get("request") == "create":
                    sfu._expire(stream, mount)

            monkeypatch.setattr(JanusSession, "_send", send)
            server.start()
            await until(lambda: sfu.is_there)
            assert sfu.status().published == 2
            async with asyncio.timeout(PATIENCE_S):
                while await leftovers(sfu, server) != (0, 0):
                    await asyncio.sleep(0.01)
            assert show.hub.n_viewers == 0


async def test_other_viewers_are_left_to_facewire(server: JanusServer):
    async with connected(server) as sfu:
        await until(lambda: sfu.is_there)
        with Show() as show:
            vp8 = Viewer(codec=Codec.VP8)
            assert await answer(sfu, show, await vp8.offer()) is None
            raw = Viewer()
            raw.open_channel()
            assert await answer(sfu, show, await raw.offer()) is None
            assert sfu.status().streams == 0
            await vp8.close()
            await raw.close()


async def test_a_wrong_secret_is_one_line(server: JanusServer, caplog: pytest.LogCaptureFixture):
    async with connected(server, secret="of-somebody-else") as sfu:
        await until(lambda: sfu.status().failures > 1)
        assert not sfu.is_there
        assert "refuses: Unauthorized" in sfu.status().trouble
        lines = [each.message for each in caplog.records if "refuses" in each.message]
        assert len(lines) == 1
        assert "of-somebody-else" not in lines[0]
