"""A camera whose frames are brought: a browser's or an encoder's."""

from collections.abc import Awaitable, Callable

import av
import numpy as np

from stream.errors import SourceUnavailable
from stream.frames import Frame
from stream.hub import PacketHub
from stream.mailbox import LatestMailbox, MailboxClosed
from stream.pacing import Decimator

SILENCE_S = 5.0
"""A sender that brings nothing for so long is shown as failing; its return is noticed at once."""


class PushSource:
    """Turns frames that others bring into a source; the newest wins.

    Attributes:
        fps: unknown to WebRTC, so the rate that browsers are asked for.
        size: (height, width) of the last picture, pixels; (0, 0) before the first.
        damaged: 0, for WebRTC asks again for what is damaged.
    """

    def __init__(self, *, camera: str, clock: Callable[[], float]) -> None:
        self.fps = 25.0
        self.size = (0, 0)
        self.damaged = 0
        self._camera = camera
        self._clock = clock
        self._frames: LatestMailbox[tuple[av.VideoFrame, float]] = LatestMailbox()
        self._decimator = Decimator(None)
        self._seq = 0

    def put(self, frame: av.VideoFrame) -> None:
        """Bring a frame; from any thread."""
        self._frames.put((frame, self._clock()))

    def read(self) -> Frame:
        """Wait for the next frame.

        Raises:
            SourceUnavailable: if none is brought for some seconds, or the sender has left.
        """
        frame, captured_at = self._next()
        while not self._decimator.keep(captured_at):
            frame, captured_at = self._next()
        image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        self.size = (image.shape[0], image.shape[1])
        self._seq += 1
        return Frame(self._camera, self._seq - 1, captured_at, image)

    def _next(self) -> tuple[av.VideoFrame, float]:
        try:
            item = self._frames.get(SILENCE_S)
        except MailboxClosed:
            raise SourceUnavailable(f"{self._camera} has left") from None
        if item is None:
            raise SourceUnavailable(f"{self._camera} sends no pictures")
        return item

    def set_target_fps(self, target_fps: float | None) -> None:
        """Let through no more pictures a second than this; None for all."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Do nothing: the camera opens this same source again after a silence."""

    def leave(self) -> None:
        """Note that the sender has left."""
        self._frames.close()


class PushCamera:
    """A camera fed from outside, for as long as its sender is connected.

    Attributes:
        name: the camera's name.
        hub: the packets of its annotated video.
    """

    def __init__(
        self, name: str, source: PushSource, hub: PacketHub, remove: Callable[[], Awaitable[None]]
    ) -> None:
        self.name = name
        self.hub = hub
        self._source = source
        self._remove = remove

    def on_frame(self, frame: av.VideoFrame) -> None:
        """Take a decoded frame; a newer one replaces one not yet read."""
        self._source.put(frame)

    async def close(self) -> None:
        """Take the camera out of the service; may be called twice."""
        self._source.leave()
        await self._remove()
