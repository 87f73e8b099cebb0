"""A viewer that counts frames without decoding them, for benchmarks with many viewers."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, RtpPacket
from pylibsrtp import Error as SrtpError

# Seconds between receiver reports, as in browsers.
REPORT_S = 1.0


SSRC = 1

# RFC 5764, section 5.1.2, as updated by RFC 7983: first bytes of RTP and RTCP; RFC 5761, section 4:
# second bytes of RTCP.
RTP_FIRST, RTP_LAST = 128, 191
RTCP_FIRST, RTCP_LAST = 192, 223

# RFC 6184, section 5.2: NAL units of a keyframe, aggregates, and fragments.
IDR, SPS, STAP_A, FU_A = 5, 7, 24, 28

PLI = 1


class LightViewer:
    """Intercepts the RTP of a receiver before aiortc decrypts, sorts and decodes it.

    Thirty decoders would compete with the measured service for the CPU. RTP's marker bit separates
    frames and the sequence numbers show missing packets; neither is encrypted. Only the packets
    before the first keyframe are decrypted, to find it.

    Attributes:
        n_frames: complete frames since it was last set to 0.
        n_packets: packets received since the start.
        n_missing: packets that were lost since the start.
        n_bytes: bytes of them, with RTP's headers.
        joined_at: when the first keyframe was complete, on the monotonic clock; None before.

    Args:
        receiver: not yet connected; receives no packets any more.
    """

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        self.n_frames = 0
        self.n_packets = self.n_missing = self.n_bytes = 0
        self.joined_at: float | None = None
        self._transport = receiver.transport
        self._ssrc = 0
        self._next: int | None = None
        self._highest = 0
        self._n_expected = 0
        self._n_lost = 0
        self._is_whole = True
        self._is_keyframe = False
        # Private names: aiortc has no public way to skip the rest.
        self._transport._handle_rtp_data = self._take_later  # type: ignore[method-assign]
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    def skip_queues(self) -> None:
        """Take RTP from the sockets themselves, past aiortc's queues; after the candidates.

        aiortc wakes three tasks for each packet, which costs four times as much as all this.
        """
        for protocol in self._transport.transport._connection._protocols:
            self._intercept(protocol)

    def _intercept(self, protocol: Any) -> None:
        further = protocol.datagram_received

        def received(data: bytes, address: tuple[str, int]) -> None:
            if not RTP_FIRST <= data[0] <= RTP_LAST:
                further(data, address)
            elif not RTCP_FIRST <= data[1] <= RTCP_LAST:
                self._take(data)

        protocol.datagram_received = received

    def close(self) -> None:
        """Stop reporting."""
        self._reporting.cancel()

    async def _take_later(self, data: bytes, arrival_time_ms: int) -> None:
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Parse the fixed header, RFC 3550 section 5.1."""
        sequence, ssrc = int.from_bytes(data[2:4], "big"), int.from_bytes(data[8:12], "big")
        if self._ssrc not in (0, ssrc):
            return  # retransmissions
        self._ssrc = ssrc
        n_lost = 0 if self._next is None else (sequence - self._next) % 0x10000
        if n_lost >= 0x8000:
            return  # late
        self._n_lost += n_lost
        self._n_expected += n_lost + 1
        self.n_missing += n_lost
        self.n_packets += 1
        self.n_bytes += len(data)
        self._is_whole &= n_lost == 0
        self._next, self._highest = (sequence + 1) % 0x10000, sequence
        if self.joined_at is None and not self._is_keyframe:
            self._is_keyframe = self._begins_keyframe(data)
        if data[1] & 0x80:
            self.n_frames += self._is_whole
            if self.joined_at is None and self._is_keyframe and self._is_whole:
                self.joined_at = time.monotonic()
            self._is_keyframe &= self._is_whole
            self._is_whole = True

    def _begins_keyframe(self, data: bytes) -> bool:
        """Whether an encrypted packet begins a keyframe of H.264."""
        srtp = self._transport._rx_srtp
        if srtp is None:
            return False
        with suppress(SrtpError, ValueError, IndexError):
            payload = RtpPacket.parse(srtp.unprotect(data)).payload
            kind = payload[0] & 0x1F
            if kind == STAP_A:
                kind = payload[3] & 0x1F
            elif kind == FU_A:
                kind = payload[1] & 0x1F
            return kind in (IDR, SPS)
        return False

    async def _report(self) -> None:
        """Report the losses: a viewer without reports is considered gone."""
        while True:
            await asyncio.sleep(REPORT_S)
            if not self._n_expected:
                continue
            fraction = min(255, 256 * self._n_lost // self._n_expected)
            self._n_lost = self._n_expected = 0
            info = RtcpReceiverInfo(self._ssrc, fraction, 0, self._highest, 0, 0, 0)
            data = bytes(RtcpRrPacket(ssrc=SSRC, reports=[info]))
            if self.joined_at is None:
                data += bytes(RtcpPsfbPacket(fmt=PLI, ssrc=SSRC, media_ssrc=self._ssrc))
            with suppress(ConnectionError):
                await self._transport._send_rtp(data)
