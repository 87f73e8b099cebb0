"""A camera's annotated frames as MJPEG, for clients without WebRTC: multipart/x-mixed-replace.

Each viewer's stream has a thread's time for each of its JPEGs and one part on its way; a viewer who
reads too slowly gets fewer frames, and is disconnected as after any answer that nobody reads.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stream.budget import Budget, Client
from stream.cameras.registry import Cameras
from stream.config import CameraConfig
from stream.errors import UnknownCameraError

MAX_STREAMS = 16
"""Streams at a time: each costs the drawing and encoding of its frames, about 10 ms at 720p."""

AWAY_S = 10.0
"""Seconds without a frame after which a stream ends, unless its frames are that far apart."""

MISSED = 3
"""Frames that a slow stream may miss before it ends."""

MEDIA_TYPE = "multipart/x-mixed-replace; boundary=frame"


class MjpegStream(StreamingResponse):
    """The frames of a camera, from a first one, until it is gone.

    Args:
        cameras: all cameras.
        name: of the camera.
        first: its last frame, JPEG.
        fps: frames a second, at most.
        max_width: pixels; wider frames are shrunk.
        client: who asked.
        places: of streams; one is taken for as long as the answer lasts.
    """

    def __init__(
        self,
        cameras: Cameras,
        name: str,
        first: bytes,
        *,
        fps: float,
        max_width: int | None,
        client: Client,
        places: Budget,
    ) -> None:
        frames = _frames(cameras, name, first, fps=fps, max_width=max_width)
        super().__init__(frames, media_type=MEDIA_TYPE)
        self._client, self._places = client, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; raises BusyError before its start where no place is left."""
        if scope["state"]["is_head"]:
            await Response(media_type=MEDIA_TYPE)(scope, receive, send)
            return
        self._places.take(self._client)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.give_back(self._client)


async def _frames(
    cameras: Cameras, name: str, first: bytes, *, fps: float, max_width: int | None
) -> AsyncIterator[bytes]:
    """Yield each part; RFC 2046, 5.1."""
    clock = asyncio.get_running_loop().time
    yield b"--frame\r\n" + _part(first)
    shown, shown_at = None, clock()
    away_s = AWAY_S
    while clock() - shown_at < away_s:
        await asyncio.sleep(1 / fps)
        try:
            camera = cameras.get(name)
        except UnknownCameraError:
            break
        away_s = patience_s(camera.config, fps=fps)
        if (latest := camera.latest) is None or latest is shown:
            continue
        jpeg = await run_in_threadpool(camera.snapshot, max_width=max_width)
        if jpeg is not None:
            shown, shown_at = latest, clock()
            yield _part(jpeg)


def patience_s(config: CameraConfig, *, fps: float) -> float:
    """Return the seconds without a frame after which a stream of a camera ends.

    Args:
        config: of the camera, which counts as live until it is silent for `read_timeout_s`.
        fps: frames a second that the viewer asked for.
    """
    slowest = min(fps, config.target_fps or fps)
    return max(AWAY_S, config.read_timeout_s, (MISSED + 1) / slowest)


def _part(jpeg: bytes) -> bytes:
    """Return a frame with its header and the delimiter after it, so that it is shown at once."""
    header = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
    return header + jpeg + b"\r\n--frame\r\n"
