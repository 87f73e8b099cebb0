"""A camera's annotated pictures to its viewers: encoders that run only while somebody watches."""

import numpy as np
from numpy.typing import NDArray

from stream.encoder import Codec, Encoder
from stream.hub import PacketHub


class VideoOut:
    """Encodes what viewers watch, once per codec in use, and publishes it.

    Belongs to one thread; the hub it publishes to belongs to the event loop.

    Args:
        hub: where the viewers are.
        fps: about how many pictures a second will come.
        bitrate: bits per second; 0 for what suits the pictures' size.
    """

    def __init__(self, hub: PacketHub, *, fps: float, bitrate: int = 0) -> None:
        self._hub = hub
        self._fps = fps
        self._bitrate = bitrate
        self._encoders: dict[Codec, Encoder] = {}

    def send(self, image: NDArray[np.uint8], at: float) -> int:
        """Encode and publish one picture for everybody who watches.

        Args:
            image: (H, W, 3) uint8 RGB; its size may change from one call to the next.
            at: when it was captured, seconds, monotonic clock.

        Returns:
            Bytes published; 0 when nobody watches.
        """
        watched = self._hub.codecs()
        for codec in tuple(self._encoders):
            if codec not in watched or not self._encoders[codec].fits(image):
                del self._encoders[codec]
        n_bytes = 0
        for codec in watched:
            if codec not in self._encoders:
                height, width = image.shape[:2]
                self._encoders[codec] = Encoder(
                    width, height, self._fps, self._bitrate, codec=codec
                )
            keyframe = self._hub.wants_keyframe(codec)
            packets = self._encoders[codec].encode(image, at, keyframe=keyframe)
            self._hub.publish(packets, codec)
            n_bytes += sum(packet.size for packet in packets)
        return n_bytes
