"""A camera's encoder without a camera, and aiortc viewers that record the frames they receive."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.codecs import get_capabilities
from numpy.typing import NDArray

from stream.frames import Frame, FrameResult
from stream.ice import IceServers
from stream.supervisor import Supervisor
from stream.video.channel import VideoOut
from stream.video.encoder import Codec
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed
from stream.webrtc.peers import Peers

FPS = 25.0
SIZE = (360, 640)
N_BITS = 12

PATIENCE_S = 20.0  # a busy machine is slow; only a hang takes this long


def open_peers(*ice_servers: str, max_peers: int = 100) -> Peers:
    """Peers with their own supervisor."""
    supervisor = Supervisor(clock=time.monotonic)
    ice = IceServers(ice_servers, wall_clock=time.time)
    return Peers(ice, supervisor=supervisor, max_peers=max_peers)


def numbered(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """An image with a number that survives compression: one broad bar per bit."""
    bits = [255 * (number >> bit & 1) for bit in range(N_BITS)]
    row = np.repeat(np.array(bits, np.uint8), size[1] // N_BITS)
    image = np.full((*size, 3), 90, np.uint8)
    image[:, : len(row)] = row[None, :, None]
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    width = image.shape[1] // N_BITS
    middle = image[image.shape[0] // 2, width // 2 :: width, 1][:N_BITS]
    return sum(1 << bit for bit, value in enumerate(middle) if value > 128)


class Show:
    """Publishes numbered images at 25 per second from its own thread, like a camera."""

    def __init__(self) -> None:
        self.hub = PacketHub(time.monotonic)
        self.shown_at: dict[int, float] = {}
        self.keyframes = 0
        self.size = SIZE
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        out = VideoOut(self.hub, fps=FPS)
        number = 0
        while not self._stopping.wait(1 / FPS):
            image = numbered(number, self.size)
            self.shown_at[number] = now = time.monotonic()
            self.keyframes += self.hub.wants_keyframe(Feed())
            result = FrameResult(Frame("show", number, now, image), (), (), {})
            out.send(out.render(result), result)
            number += 1

    def __enter__(self) -> "Show":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.hub.close()


VIEWERS: list["Viewer"] = []


class Viewer:
    """A client that records the numbers and times of the frames it receives."""

    def __init__(self, *, codec: Codec | None = None, camera: VideoStreamTrack | None = None):
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.seen: list[tuple[int, float]] = []
        self.sizes: set[tuple[int, int]] = set()
        self._task: asyncio.Task[None] | None = None
        self.faces: list[dict[str, Any]] = []
        VIEWERS.append(self)
        if camera is None:
            transceiver = self.connection.addTransceiver("video", "recvonly")
        else:
            transceiver = self.connection.addTransceiver(camera, "sendrecv")
        if codec is not None:
            codecs = get_capabilities("video").codecs
            transceiver.setCodecPreferences([c for c in codecs if c.mimeType == codec])
        self.connection.on("track", self._start)

    def _start(self, track: VideoStreamTrack) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch(track))

    async def _watch(self, track: VideoStreamTrack) -> None:
        while True:
            frame: Any = await track.recv()
            self.sizes.add((frame.height, frame.width))
            self.seen.append((number_of(frame.to_ndarray(format="rgb24")), time.monotonic()))

    def open_channel(self) -> None:
        """Request the faces along with the video."""
        channel = self.connection.createDataChannel("tracks", ordered=False, maxRetransmits=0)
        channel.on("message", lambda text: self.faces.append(json.loads(text)))

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self.connection.close()


@asynccontextmanager
async def watching(
    peers: Peers, show: Show, codec: Codec | None = None, *, raw: bool = False, small: bool = False
) -> AsyncIterator[Viewer]:
    viewer = Viewer(codec=codec)
    if raw:
        viewer.open_channel()
    answer = await peers.watch(await viewer.offer(), show.hub, raw=raw, small=small)
    await viewer.accept(answer.sdp)
    try:
        yield viewer
    finally:
        await viewer.close()
        await peers.close(answer.peer_id)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
