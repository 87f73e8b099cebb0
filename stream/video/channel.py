"""A camera's pictures to its viewers: encoders that run only while somebody watches."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stream.frames import FrameResult
from stream.video.encoder import Encoder, VideoPacket, bitrate_for
from stream.video.link_quality import SMALL_SHARE
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed, render


class VideoOut:
    """Renders and encodes what viewers watch, once per feed, and publishes it.

    Belongs to one thread; the hub it publishes to belongs to the event loop.

    Args:
        hub: where the viewers are.
        fps: about how many pictures a second will come.
        bitrate: bits per second of the full rendition; 0 for what suits the pictures' size.
    """

    def __init__(self, hub: PacketHub, *, fps: float, bitrate: int = 0) -> None:
        self._hub = hub
        self._fps = fps
        self._bitrate = bitrate
        self._encoders: dict[Feed, Encoder] = {}

    def render(self, result: FrameResult) -> dict[Feed, NDArray[np.uint8]]:
        """Make the picture of every feed that is watched; feeds of one look share it."""
        looks: dict[tuple[bool, bool], NDArray[np.uint8]] = {}
        pictures = {}
        for feed in self._hub.feeds():
            look = (feed.small, feed.raw)
            if look not in looks:
                looks[look] = render(result, small=feed.small, raw=feed.raw)
            pictures[feed] = looks[look]
        return pictures

    def send(self, pictures: Mapping[Feed, NDArray[np.uint8]], result: FrameResult) -> int:
        """Encode and publish one frame for everybody who watches.

        Args:
            pictures: what `render` made of it; sizes may change from one call to the next.
            result: the frame; the packets of raw feeds carry it along as `opaque`.

        Returns:
            Bytes published; 0 when nobody watches.
        """
        for feed in self._encoders.keys() - pictures.keys():
            del self._encoders[feed]
        packets = {feed: self._encode(feed, pictures[feed], result) for feed in pictures}
        self._hub.publish(packets)
        return sum(packet.size for each in packets.values() for packet in each)

    def _encode(
        self, feed: Feed, image: NDArray[np.uint8], result: FrameResult
    ) -> list[VideoPacket]:
        height, width = result.frame.image.shape[:2]
        bitrate = self._bitrate or bitrate_for(width, height)
        bitrate = round(bitrate * self._hub.part(feed) * (SMALL_SHARE if feed.small else 1.0))
        encoder = was = self._encoders.get(feed)
        if was is None or not was.fits(image) or not was.set_bitrate(bitrate):
            height, width = image.shape[:2]
            encoder = Encoder(width, height, self._fps, bitrate, codec=feed.codec)
            encoder.last_pts = was.last_pts if was else None
            self._encoders[feed] = encoder
        assert encoder is not None
        keyframe = self._hub.wants_keyframe(feed)
        packets = encoder.encode(image, result.frame.captured_at, keyframe=keyframe)
        if feed.raw:
            for packet in packets:
                packet.opaque = result
        return packets
