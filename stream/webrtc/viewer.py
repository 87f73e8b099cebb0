"""One viewer of a camera: its video track, link quality, and the faces of raw video."""

import asyncio
import json
import logging
from collections.abc import Callable

from aiortc import MediaStreamError, MediaStreamTrack, RTCDataChannel, RTCRtpSender
from aiortc.stats import (
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
    RTCTransportStats,
)

from stream.frames import FrameResult
from stream.schemas.faces import tracks_json
from stream.video.encoder import VideoPacket
from stream.video.link_quality import OVERFLOW_LOSS, Link
from stream.video.packet_hub import HubClosed, Subscription

logger = logging.getLogger(__name__)

# Browsers report their losses about once a second.
CHECK_S = 1.0

# Seconds without packets until a viewer of video counts as gone. Reports are at most 7.5 s
# apart (RFC 3550, section 6.2 with its random factor of 1.5).
SILENCE_S = 10.0

# A frame's faces are about 1 kB; data that has waited longer is useless.
MAX_BUFFERED_BYTES = 16 * 1024

RTP_WRAP = 1 << 32


class HubTrack(MediaStreamTrack):
    """A camera's encoded packets as a track for aiortc, which only packetizes them.

    Attributes:
        on_packet: called with each packet before it is sent.
    """

    kind = "video"

    def __init__(self, subscription: Subscription) -> None:
        super().__init__()
        self.on_packet: Callable[[VideoPacket], None] = lambda packet: None
        self._subscription = subscription

    async def recv(self) -> VideoPacket:
        """Return the next packet; waits for it."""
        try:
            packet = await self._subscription.recv()
        except HubClosed:
            self.stop()
            raise MediaStreamError from None
        self.on_packet(packet)
        return packet

    def stop(self) -> None:
        """Unsubscribe from the hub."""
        self._subscription.close()
        super().stop()


async def look_after(peer_id: str, sender: RTCRtpSender, subscription: Subscription) -> None:
    """Adapt the rendition of a viewer to its link; return when it sends no reports for too long.

    A viewer that started with the small rendition never gets the full one.

    Args:
        peer_id: for the log.
        sender: sends it the video.
        subscription: source of its packets.
    """
    loop, link = asyncio.get_running_loop(), Link()
    wants_small = subscription.feed.small
    heard_at, n_heard, n_sent_then = loop.time(), -1, 0
    reported_at: object = None
    dropped = 0
    while True:
        await asyncio.sleep(CHECK_S)
        now, lost, n_sent, n_received = loop.time(), None, 0, 0
        for stats in (await sender.getStats()).values():
            match stats:
                case RTCOutboundRtpStreamStats():
                    n_sent = stats.packetsSent
                case RTCTransportStats():
                    n_received = stats.packetsReceived
                case RTCRemoteInboundRtpStreamStats() if stats.timestamp != reported_at:
                    # aiortc returns the byte of RFC 3550, section 6.4.1.
                    reported_at, lost = stats.timestamp, stats.fractionLost / 256
        if n_received != n_heard or n_sent == n_sent_then:
            heard_at, n_heard, n_sent_then = now, n_received, n_sent
        elif now - heard_at >= SILENCE_S:
            logger.info("peer %s: no packets for %.0f s", peer_id[:6], now - heard_at)
            return
        if subscription.dropped > dropped:
            dropped, lost = subscription.dropped, max(lost or 0.0, OVERFLOW_LOSS)
        if lost is not None:
            was_small = link.is_small
            link.report(lost, now)
            subscription.share = link.share
            subscription.change(small=wants_small or link.is_small)
            if link.is_small is not was_small:
                size = "small" if link.is_small else "full"
                logger.info("peer %s gets the %s rendition", peer_id[:6], size)


class FaceTeller:
    """Sends a viewer of raw video the faces of each frame, over its data channel.

    Each message is a JSON object as of `/api/cameras/{camera}/tracks`, with `rtp`, the RTP
    timestamp of its frame.

    Args:
        sender: sends the video.
    """

    LABEL = "tracks"

    def __init__(self, sender: RTCRtpSender) -> None:
        self._sender = sender
        self._channel: RTCDataChannel | None = None
        self._last_pts: int | None = None

    def use(self, channel: RTCDataChannel) -> None:
        """Use a channel that the viewer has opened, if it is that of the faces."""
        if channel.label == self.LABEL:
            self._channel = channel

    def tell(self, packet: VideoPacket) -> None:
        """Send the faces of a packet's frame, before the packet is sent."""
        last_pts, self._last_pts = self._last_pts, packet.pts
        channel, result = self._channel, packet.opaque
        if channel is None or channel.readyState != "open" or last_pts is None:
            return
        if channel.bufferedAmount > MAX_BUFFERED_BYTES or not isinstance(result, FrameResult):
            return
        # aiortc starts at a random number, which only this private attribute gives: the timestamp
        # of the packet before.
        sent: int = self._sender._RTCRtpSender__rtp_timestamp  # type: ignore[attr-defined]
        assert packet.pts is not None
        rtp = (sent + packet.pts - last_pts) % RTP_WRAP
        faces = tracks_json(result.frame.camera, result)
        channel.send(json.dumps({"rtp": rtp, **faces}, separators=(",", ":")))
