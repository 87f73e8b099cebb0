"""Encoded video as SRTP over UDP, and the requests for keyframes that come back by RTCP."""

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import Callable
from typing import cast

from aiortc.codecs.h264 import H264Encoder
from aiortc.rtp import (
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
)
from pylibsrtp import Policy, Session

from stream.video.encoder import VideoPacket

logger = logging.getLogger(__name__)

KEY_BYTES = 30
"""Master key and salt of AES_CM_128_HMAC_SHA1_80, RFC 4568, section 6.2."""

REPORT_S = 1.0
"""Seconds between two sender reports, which also show Janus where to send its requests."""

PLI, FIR = 1, 4
"""Payload-specific feedback that asks for a keyframe: RFC 4585, section 6.3.1; RFC 5104, 4.3.1."""

NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900 to 1970."""

SEQUENCE_WRAP, TIME_WRAP = 1 << 16, 1 << 32


class RtpSocket(asyncio.DatagramProtocol):
    """One UDP socket for all streams of an SFU.

    Attributes:
        n_sent: datagrams sent.
        n_dropped: datagrams that were not, because too many waited.
    """

    def __init__(self) -> None:
        self.n_sent = self.n_dropped = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._is_full = False
        self._listeners: dict[int, Callable[[], None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def pause_writing(self) -> None:
        """Drop what follows: 64 KiB wait for the network."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Send again."""
        self._is_full = False

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        """Send a datagram, or drop it where too many wait."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._is_full:
            self.n_dropped += 1
            return
        self.n_sent += 1
        transport.sendto(data, address)

    def listen(self, port: int, request_keyframe: Callable[[], None] | None) -> None:
        """Call a function at each request for a keyframe that a port of Janus sends."""
        if request_keyframe is None:
            self._listeners.pop(port, None)
        else:
            self._listeners[port] = request_keyframe

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Look for requests for keyframes."""
        listener = self._listeners.get(address[1])
        if listener is not None and asks_for_keyframe(data):
            listener()

    def error_received(self, error: Exception) -> None:
        """Ignore it: Janus has closed a port, and its other connection says when it is gone."""
        logger.debug("a datagram came back: %s", error)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


def asks_for_keyframe(data: bytes) -> bool:
    """Whether a datagram of RTCP holds a picture loss indication or a full intra request."""
    try:
        packets = RtcpPacket.parse(data)
    except ValueError:
        return False
    return any(
        isinstance(packet, RtcpPsfbPacket) and packet.fmt in (PLI, FIR) for packet in packets
    )


class RtpStream:
    """One stream of RTP to one port of an SFU, encrypted with a key of its own.

    Attributes:
        crypto: the key, base64, as in SDES (RFC 4568) and Janus's `srtpcrypto`.

    Args:
        socket: sends it.
        payload_type: of its packets.
    """

    def __init__(self, socket: RtpSocket, *, payload_type: int) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        self.crypto = base64.b64encode(key).decode()
        self._socket = socket
        self._payload_type = payload_type
        self._ssrc = secrets.randbits(31) or 1
        self._sequence = secrets.randbits(15)
        policy = Policy(key, Policy.SSRC_ANY_OUTBOUND)  # its default is the profile of the key
        self._srtp = Session(policy=policy)
        self._n_packets = self._n_bytes = 0
        self._reported_at = float("-inf")

    def send(
        self, payloads: list[bytes], timestamp: int, host: str, port: int, rtcp_port: int
    ) -> None:
        """Send the packets of one frame, and a sender report when one is due."""
        for index, payload in enumerate(payloads):
            packet = RtpPacket(
                payload_type=self._payload_type,
                marker=int(index == len(payloads) - 1),
                sequence_number=self._sequence,
                timestamp=timestamp % TIME_WRAP,
                ssrc=self._ssrc,
                payload=payload,
            )
            self._sequence = (self._sequence + 1) % SEQUENCE_WRAP
            self._n_packets += 1
            self._n_bytes += len(payload)
            self._socket.send(self._srtp.protect(packet.serialize()), (host, port))
        now = time.monotonic()
        if now - self._reported_at >= REPORT_S:
            self._reported_at = now
            self._socket.send(self._report(timestamp), (host, rtcp_port))

    def _report(self, timestamp: int) -> bytes:
        seconds = time.time() + NTP_EPOCH_S
        info = RtcpSenderInfo(
            ntp_timestamp=int(seconds * TIME_WRAP) % (1 << 64),
            rtp_timestamp=timestamp % TIME_WRAP,
            packet_count=self._n_packets % TIME_WRAP,
            octet_count=self._n_bytes % TIME_WRAP,
        )
        return bytes(RtcpSrPacket(ssrc=self._ssrc, sender_info=info, reports=[]))


class Packetizer:
    """Cuts encoded H.264 frames into RTP payloads, RFC 6184 in non-interleaved mode."""

    def __init__(self) -> None:
        self._encoder = H264Encoder()  # only its packetization is used

    def __call__(self, packet: VideoPacket) -> tuple[list[bytes], int]:
        """Return a frame's payloads and its RTP timestamp, 1/90000 s."""
        return self._encoder.pack(packet)
