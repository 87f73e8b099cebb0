"""A camera with frames sent by a browser or an encoder."""

from collections.abc import Awaitable, Callable

import av

from stream.cameras.address import SourceSettings
from stream.cameras.conversion import Captured, Converter
from stream.cameras.pacing import Decimator
from stream.errors import SourceUnavailable
from stream.video.mailbox import LatestMailbox, MailboxClosed
from stream.video.packet_hub import PacketHub

CONNECT_S = 10.0
"""Seconds that a sender may take until its first frame; by a relay WebRTC needs about five."""

STALE_S = 2.0
"""Seconds without a frame after which another sender may take a camera over: an encoder that
crashed is missed by WebRTC half a minute later only."""


class PushSource:
    """A source of frames that a sender delivers; a newer frame replaces an unread one.

    Attributes:
        fps: the rate requested from browsers, since WebRTC has no declared one.
        size: (height, width) of the last frame, pixels; (0, 0) before the first.
        damaged: 0, since WebRTC requests damaged packets again.
        is_live: true.
        sender: the one that may deliver frames.
    """

    def __init__(self, *, camera: str, clock: Callable[[], float]) -> None:
        self.fps = 25.0
        self.size = (0, 0)
        self.damaged = 0
        self.is_live = True
        self.sender: PushCamera | None = None
        self._camera = camera
        self._clock = clock
        self._frames: LatestMailbox[tuple[av.VideoFrame, float]] = LatestMailbox()
        self._silence_s = SourceSettings().read_timeout_s
        self._converter = Converter(None, "auto")
        self._decimator = Decimator(None)
        self._patient_until = 0.0

    def take(self, sender: "PushCamera") -> "PushCamera | None":
        """Accept frames of this sender only; return the previous sender."""
        former, self.sender = self.sender, sender
        self._patient_until = self._clock() + CONNECT_S
        return former

    @property
    def is_stale(self) -> bool:
        """Whether its sender has sent nothing for so long that another may replace it."""
        return self._clock() >= self._patient_until

    def put(self, frame: av.VideoFrame) -> None:
        """Deliver a frame; may be called from any thread."""
        now = self._clock()
        self._patient_until = now + STALE_S
        self._frames.put((frame, now))

    def use(self, settings: SourceSettings) -> "PushSource":
        """Apply settings; the camera reopens this same source."""
        self._silence_s = settings.read_timeout_s
        self._converter = Converter(settings.pixel_aspect, settings.deinterlace)
        self._decimator = Decimator(settings.target_fps)
        return self

    def read(self) -> Captured:
        """Return the next image; blocks until there is one.

        Raises:
            SourceUnavailable: if none is delivered for some seconds, or the sender disconnected.
        """
        while True:
            picture, captured_at = self._next()
            if not self._decimator.keep(captured_at):
                continue
            for shown in self._converter.deinterlace(picture):
                captured = self._converter.convert(shown, None, captured_at)
                self.size = captured.size
                return captured

    def _next(self) -> tuple[av.VideoFrame, float]:
        try:
            item = self._frames.get(self._silence_s)
        except MailboxClosed:
            raise SourceUnavailable(f"{self._camera} disconnected") from None
        if item is None:
            raise SourceUnavailable(f"{self._camera} sends no frames")
        return item

    def set_target_fps(self, target_fps: float | None) -> None:
        """Set the maximum of frames per second; None for all."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Do nothing: the camera reopens this same source after a timeout."""

    def leave(self) -> None:
        """Record that the sender disconnected."""
        self._frames.close()


class PushCamera:
    """A sender's camera, while it is connected and no other sender replaces it.

    Attributes:
        name: the camera's name.
        hub: the packets of its annotated video.
        on_replaced: called when another sender has replaced this one.
    """

    def __init__(
        self, name: str, source: PushSource, hub: PacketHub, remove: Callable[[], Awaitable[None]]
    ) -> None:
        self.name = name
        self.hub = hub
        self.on_replaced: Callable[[], object] = lambda: None
        self._source = source
        self._remove = remove

    def on_frame(self, frame: av.VideoFrame) -> None:
        """Deliver a decoded frame; it replaces an unread one."""
        if self._source.sender is self:
            self._source.put(frame)

    async def close(self) -> None:
        """Remove the camera unless another sender has it; may be called twice."""
        if self._source.sender is self:
            self._source.leave()
            await self._remove()
