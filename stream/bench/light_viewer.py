"""A viewer that counts frames without decoding them, for benchmarks with many viewers."""

import asyncio

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket

# Seconds between receiver reports, as in browsers.
REPORT_S = 1.0

SSRC = 1


class LightViewer:
    """Intercepts the RTP of a receiver before aiortc decrypts, sorts and decodes it.

    Thirty decoders would compete with the measured service for the CPU. RTP's marker bit separates
    frames and the sequence numbers show missing packets; neither is encrypted.

    Attributes:
        n_frames: complete frames since it was last set to 0.

    Args:
        receiver: not yet connected; receives no packets any more.
    """

    def __init__(self, receiver: RTCRtpReceiver) -> None:
        self.n_frames = 0
        self._transport = receiver.transport
        self._ssrc = 0
        self._next: int | None = None
        self._highest = 0
        self._n_expected = 0
        self._n_lost = 0
        self._is_whole = True
        # Private names: aiortc has no public way to skip the rest.
        self._transport._handle_rtp_data = self._take  # type: ignore[method-assign]
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    def close(self) -> None:
        """Stop reporting."""
        self._reporting.cancel()

    async def _take(self, data: bytes, arrival_time_ms: int) -> None:
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
        self._is_whole &= n_lost == 0
        self._next, self._highest = (sequence + 1) % 0x10000, sequence
        if data[1] & 0x80:
            self.n_frames += self._is_whole
            self._is_whole = True

    async def _report(self) -> None:
        """Report the losses: a viewer without reports is considered gone."""
        while True:
            await asyncio.sleep(REPORT_S)
            if not self._n_expected:
                continue
            fraction = min(255, 256 * self._n_lost // self._n_expected)
            self._n_lost = self._n_expected = 0
            info = RtcpReceiverInfo(self._ssrc, fraction, 0, self._highest, 0, 0, 0)
            await self._transport._send_rtp(bytes(RtcpRrPacket(ssrc=SSRC, reports=[info])))
