"""Viewers of cameras by the WebSocket of a machine's page, who connect again as the page does."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

RETRY_S = 0.5
SILENCE_S = 7.0
STALLED_S = 4.0
OPEN_S = 2.0
ANSWER_S = 10.0
"""Seconds, as in web/connection and web/cameras, without the growth of the delays."""


class PageViewer:
    """One viewer of a camera.

    Args:
        url: of the machine whose page it uses, without a slash at the end.
        camera: that it watches.

    Attributes:
        seen: the time of each frame, monotonic, and what sent it: "facewire" or "janus".
    """

    def __init__(self, url: str, camera: str) -> None:
        self.url, self.camera = url, camera
        self.seen: list[tuple[float, str]] = []
        self._ids = itertools.count(1)

    def saw(self, since: float, via: str = "") -> float | None:
        """Return the time of the first frame since a moment; None if there was none."""
        return next((at for at, by in self.seen if at >= since and by.startswith(via)), None)

    def gap_s(self, since: float) -> float:
        """Return the longest time without a frame since a moment, which was after the first."""
        times = [at for at, _ in self.seen]
        return max(
            later - earlier
            for earlier, later in itertools.pairwise([*times, time.monotonic()])
            if later >= since
        )

    async def watch(self) -> None:
        """Watch until canceled."""
        address = f"ws{self.url.removeprefix('http')}/api/ws"
        while True:
            with suppress(OSError, TimeoutError, EOFError, InvalidHandshake, ConnectionClosed):
                async with connect(
                    address, open_timeout=OPEN_S, close_timeout=0.5, ping_interval=None, proxy=None
                ) as socket:
                    while True:
                        await self._play(socket)
                        await asyncio.sleep(RETRY_S)
            await asyncio.sleep(RETRY_S)

    async def _play(self, socket: ClientConnection) -> None:
        """Show one connection's video until it ends or stalls."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        offer_id = str(next(self._ids))
        showing: asyncio.Task[None] | None = None
        try:
            video = peer.addTransceiver("video", "recvonly")
            await peer.setLocalDescription(await peer.createOffer())
            offer = {"type": "offer", "id": offer_id, "camera": self.camera}
            await socket.send(json.dumps({**offer, "sdp": peer.localDescription.sdp}))
            async with asyncio.timeout(ANSWER_S):
                answer = await self._receive(socket, offer_id)
            if answer["type"] != "answer":
                return
            began = time.monotonic()
            await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            showing = asyncio.create_task(self._show(video.receiver.track, answer["via"]))
            ended = asyncio.create_task(self._receive(socket, offer_id))
            try:
                while not showing.done() and not ended.done():
                    await asyncio.wait({showing, ended}, timeout=RETRY_S)
                    last = max(began, self.seen[-1][0] if self.seen else began)
                    if time.monotonic() - last > STALLED_S:
                        await socket.send(json.dumps({"type": "close", "id": offer_id}))
                        return
                if ended.done():
                    ended.result()
            finally:
                ended.cancel()
        finally:
            if showing is not None:
                showing.cancel()
            await peer.close()

    async def _receive(self, socket: ClientConnection, offer_id: str) -> dict[str, Any]:
        """Return the next message about an offer."""
        while True:
            async with asyncio.timeout(SILENCE_S):
                message: dict[str, Any] = json.loads(await socket.recv())
            if message.get("id") == offer_id:
                return message

    async def _show(self, track: Any, via: str) -> None:
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self.seen.append((time.monotonic(), via))


class PageViewers:
    """Runs viewers in a thread."""

    def __init__(self, viewers: Sequence[PageViewer]) -> None:
        self.viewers = viewers
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="viewers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._watch())

    async def _watch(self) -> None:
        tasks = [asyncio.create_task(each.watch()) for each in self.viewers]
        ended = asyncio.create_task(self._over.wait())
        # A viewer ends by a failure alone.
        await asyncio.wait({*tasks, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or {ended})
        for task in tasks:
            if not task.cancelled():
                task.result()
