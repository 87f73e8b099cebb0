"""Cameras sent over WebRTC by a browser or an encoder, removed when the connection ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from stream.budget import Client
from stream.cameras.registry import Cameras
from stream.config import CAMERA_NAME
from stream.errors import SignalingError, WorkerError
from stream.supervisor import Watched
from stream.webrtc.peers import Answer, Peers


async def publish(
    cameras: Cameras,
    peers: Peers,
    leaving: Watched,
    name: str,
    offer_sdp: str,
    *,
    is_shown_back: bool,
    on_close: Callable[[], None] = lambda: None,
    client: Client | None = None,
) -> Answer:
    """Add a camera under a name for as long as its sender is connected; return the answer.

    Args:
        cameras: where the camera is added.
        peers: answers the offer.
        leaving: the tasks that remove a camera whose sender has left.
        name: the camera's name: unused, or that of a sender that stopped sending, such as a
            crashed encoder, which is replaced.
        offer_sdp: complete, not trickled.
        is_shown_back: whether the annotated video is sent back over the same connection.
        on_close: called once when the connection has ended.
        client: the sender; None for the service itself.

    Raises:
        ConfigError: if the name is taken.
        SignalingError: if the name is invalid, or the offer cannot be answered.
    """
    if not CAMERA_NAME.fullmatch(name):
        raise SignalingError(
            f"a camera's name has 1 to 64 letters, digits, - or _, got {name[:80]!r}"
        )
    camera = await cameras.push(name)

    async def close() -> None:
        with suppress(WorkerError):  # the service is stopping, or recognition is restarting
            await camera.close()

    def leave() -> asyncio.Task[None]:
        return leaving.task(close())

    def gone() -> None:
        leave()
        on_close()

    try:
        answer = await peers.receive(
            offer_sdp,
            camera.on_frame,
            camera.hub if is_shown_back else None,
            on_close=gone,
            client=client,
        )
    except BaseException:
        # Also if the page disconnects meanwhile: nothing else would end the camera.
        await asyncio.shield(leave())
        raise

    camera.on_replaced = lambda: leaving.task(peers.close(answer.peer_id))
    return answer
