"""Encodes a camera's frames for its viewers; encoders exist only while there are viewers."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stream.frames import FrameResult, Matrix, Planes
from stream.metrics.figures import Figures
from stream.metrics.windows import Rate, Window
from stream.supervisor import Supervisor
from stream.video.encoder import MATRICES, Encoder, VideoPacket, bitrate_for
from stream.video.link_quality import SMALL_SHARE
from stream.video.mailbox import LatestMailbox, MailboxClosed
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed, render, render_planes

IDLE_S = 0.5
"""How long the encoder's thread waits for a frame before it checks again."""

ENCODER_QUEUE = 3
"""Recognized frames that wait for the encoder: 120 ms at 25 fps, which outlasts every hiccup
measured on two busy cores; one alone lost a frame a minute."""

NOMINAL_FPS = 25.0
"""Frame rate for the encoder's rate control; timestamps carry the real one."""


class VideoOut:
    """Renders and encodes what viewers watch, once per feed, and publishes it.

    Belongs to one thread; the hub it publishes to belongs to the event loop.

    Args:
        hub: where the viewers are.
        fps: nominal frames per second.
        bitrate: bits per second of the full rendition; 0 to choose by the size.
    """

    def __init__(self, hub: PacketHub, *, fps: float, bitrate: int = 0) -> None:
        self._hub = hub
        self._fps = fps
        self._bitrate = bitrate
        self._encoders: dict[Feed, Encoder] = {}

    def render(self, result: FrameResult) -> dict[Feed, NDArray[np.uint8] | Planes]:
        """Render the image of every watched feed; feeds with equal images share it."""
        looks: dict[tuple[bool, bool, bool], NDArray[np.uint8] | Planes] = {}
        pictures: dict[Feed, NDArray[np.uint8] | Planes] = {}
        for feed in self._hub.feeds():
            planes = result.frame.planes
            is_direct = planes is not None and planes.matrix in MATRICES[feed.codec]
            look = (feed.small, feed.raw, is_direct)
            if look not in looks:
                found = render_planes(result, feed)
                looks[look] = (
                    render(result, small=feed.small, raw=feed.raw) if found is None else found
                )
            pictures[feed] = looks[look]
        return pictures

    def send(self, pictures: Mapping[Feed, NDArray[np.uint8] | Planes], result: FrameResult) -> int:
        """Encode and publish one frame for all viewers.

        Args:
            pictures: the images that `render` returned; sizes may change between calls.
            result: the frame; the packets of raw feeds carry it as `opaque`.

        Returns:
            Bytes published; 0 without viewers.
        """
        for feed in self._encoders.keys() - pictures.keys():
            del self._encoders[feed]
        packets = {feed: self._encode(feed, pictures[feed], result) for feed in pictures}
        self._hub.publish(packets)
        return sum(packet.size for each in packets.values() for packet in each)

    def _encode(
        self, feed: Feed, image: NDArray[np.uint8] | Planes, result: FrameResult
    ) -> list[VideoPacket]:
        height, width = result.frame.size
        bitrate = self._bitrate or bitrate_for(width, height)
        bitrate = round(bitrate * self._hub.part(feed) * (SMALL_SHARE if feed.small else 1.0))
        if isinstance(image, Planes):
            size, matrix = (image.picture.height, image.picture.width), image.matrix
        else:
            size, matrix = (image.shape[0], image.shape[1]), Matrix.BT601
        encoder = was = self._encoders.get(feed)
        if was is None or not was.fits(size, matrix) or not was.set_bitrate(bitrate):
            encoder = Encoder(size[1], size[0], self._fps, bitrate, codec=feed.codec, matrix=matrix)
            encoder.last_pts = was.last_pts if was else None
            self._encoders[feed] = encoder
        assert encoder is not None
        keyframe = self._hub.wants_keyframe(feed)
        packets = encoder.encode(image, result.frame.captured_at, keyframe=keyframe)
        if feed.raw:
            for packet in packets:
                packet.opaque = result
        return packets


class VideoChannel:
    """Takes a camera's recognized frames and encodes them, in a thread of its own, for viewers.

    Attributes:
        hub: the packets of its video.
        windows: milliseconds by stage of a frame.
        latest: the last recognized frame; None before the first.
        encoded: annotated frames encoded since the start.

    Args:
        camera: the camera's name.
        hub: takes the packets.
        bitrate_kbps: kbit/s of the video; 0 to choose by the frame size.
        figures: metrics of its frames.
        supervisor: restarts its thread if it fails.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        camera: str,
        *,
        hub: PacketHub,
        bitrate_kbps: int,
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self.hub = hub
        self.windows: dict[str, Window] = {
            key: Window(observe=figures.stage(key)) for key in ("annotate", "encode")
        }
        self.windows["latency"] = Window(observe=figures.latency(camera))
        self.latest: FrameResult | None = None
        self.encoded = 0
        self._bitrate_kbps = bitrate_kbps
        self._clock = clock
        self._results: LatestMailbox[FrameResult] = LatestMailbox(ENCODER_QUEUE)
        self._rate_out = Rate()
        self._encoder = supervisor.thread(f"encode-{camera}", self._encode)

    @property
    def dropped(self) -> int:
        """Recognized frames replaced before encoding, since the start."""
        return self._results.dropped

    @property
    def n_waiting(self) -> int:
        """Number of recognized frames that wait for the encoder."""
        return len(self._results)

    def fps_out(self, now: float) -> float:
        """Return the encoded frames per second over the last seconds; `now` in seconds."""
        return self._rate_out.per_s(now)

    def start(self) -> None:
        """Start its thread."""
        self._encoder.start()

    def rename(self, camera: str, observe_latency: Callable[[float], None]) -> None:
        """Rename the camera, effective from the next frame; `observe_latency` takes seconds."""
        self._encoder.name = f"encode-{camera}"
        self.windows["latency"] = Window(observe=observe_latency)

    def stop(self) -> None:
        """Ask its thread to end; returns at once."""
        self._results.close()
        self._encoder.stop()

    def join(self, deadline: float) -> None:
        """Wait for its thread until `deadline` (seconds, monotonic clock) at the latest."""
        self._encoder.join(max(0.0, deadline - self._clock()))

    def show(self, result: FrameResult) -> None:
        """Queue a recognized frame for the viewers."""
        self.latest = result
        if self.hub.n_viewers:  # otherwise its thread would wake for nothing
            self._results.put(result)

    def _encode(self) -> None:
        video = VideoOut(self.hub, fps=NOMINAL_FPS, bitrate=self._bitrate_kbps * 1000)
        while True:
            try:
                result = self._results.get(IDLE_S)
            except MailboxClosed:
                return
            if result is not None:
                self._send(video, result)

    def _send(self, video: VideoOut, result: FrameResult) -> None:
        started = self._clock()
        pictures = video.render(result)
        annotated = self._clock()
        video.send(pictures, result)
        done = self._clock()
        self.encoded += 1
        self._rate_out.tick(done)
        self.windows["annotate"].add((annotated - started) * 1e3)
        self.windows["encode"].add((done - annotated) * 1e3)
        self.windows["latency"].add((done - result.frame.captured_at) * 1e3)
