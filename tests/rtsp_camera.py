"""An RTSP camera in Python for tests of streams that GStreamer's server cannot send.

RTSP 1.0 (RFC 2326) with H.264 over TCP (RFC 6184), interleaved. It can respond late, send its
parameter sets only in the video, be joined in the middle, and disconnect after some frames.
"""

import itertools
import re
import socketserver
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np

from tests.serving import Serving

MAX_PAYLOAD = 1400


@dataclass(slots=True, eq=False)
class RtspCamera:
    """Sends access units, lists of NAL units each, to every client.

    Attributes:
        units: to send; the connection ends after the last.
        before_describe: called before DESCRIBE is answered.
        before_unit: called with its number before each access unit.
        challenge: WWW-Authenticate header of a refusal; empty to admit every client.
        n_plays: number of clients so far.
    """

    units: Sequence[list[bytes]]
    before_describe: Callable[[], object] = lambda: None
    before_unit: Callable[[int], object] = lambda number: None
    challenge: str = ""
    n_plays: int = 0
    _serving: Serving = field(init=False)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._serving.port}/live"

    def __enter__(self) -> Self:
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    camera._talk(self)
                except OSError:
                    return

        self._serving = Serving(Handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serving.close()

    def _talk(self, handler: socketserver.StreamRequestHandler) -> None:
        while (request := _read(handler)) is not None:
            method, sequence = request
            head = [f"CSeq: {sequence}", "Session: 1"]
            body, status = "", "200 OK"
            match method:
                case "OPTIONS":
                    head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
                case "DESCRIBE" if self.challenge:
                    status = "401 Unauthorized"
                    head.append(f"WWW-Authenticate: {self.challenge}")
                case "DESCRIBE":
                    self.before_describe()
                    # No sprop-parameter-sets: they are sent in the video.
                    body = (
                        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
                        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
                        "a=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
                    )
                    head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
                case "SETUP":
                    head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            answer = "\r\n".join([f"RTSP/1.0 {status}", *head, "", body])
            handler.wfile.write(answer.encode())
            if method == "PLAY":
                self.n_plays += 1
                for packet in self._packets():
                    handler.wfile.write(b"$\x00" + struct.pack(">H", len(packet)) + packet)
                return

    def _packets(self) -> Iterator[bytes]:
        numbers = itertools.count()
        for number, unit in enumerate(self.units):
            self.before_unit(number)
            payloads = [payload for nal in unit for payload in _payloads(nal)]
            for index, payload in enumerate(payloads):
                marker = 0x80 if index == len(payloads) - 1 else 0
                stamp = number * 3600
                head = struct.pack(">BBHII", 0x80, 96 | marker, next(numbers) & 0xFFFF, stamp, 7)
                yield head + payload


def _read(handler: socketserver.StreamRequestHandler) -> tuple[str, str] | None:
    lines = []
    while (line := handler.rfile.readline()).strip():
        lines.append(line.decode("latin-1"))
    if not lines:
        return None
    (sequence,) = re.findall(r"CSeq: *(\d+)", "".join(lines), re.IGNORECASE)
    return lines[0].split()[0], sequence


def _payloads(nal: bytes) -> list[bytes]:
    """Split a NAL unit into payloads of one packet each, as FU-A if it is too long."""
    if len(nal) <= MAX_PAYLOAD:
        return [nal]
    indicator, kind, rest = nal[0] & 0xE0 | 28, nal[0] & 31, nal[1:]
    parts = [rest[at : at + MAX_PAYLOAD] for at in range(0, len(rest), MAX_PAYLOAD)]
    flags = [0x80, *[0] * (len(parts) - 2), 0x40]
    return [bytes([indicator, flag | kind]) + p for flag, p in zip(flags, parts, strict=True)]


def access_units(n: int, *, gop: int, size: tuple[int, int] = (96, 128)) -> list[list[bytes]]:
    """Return encoded frames of increasing brightness, with parameter sets before each keyframe."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = size
    codec.pix_fmt, codec.time_base = "yuv420p", Fraction(1, 25)
    codec.options = {
        "tune": "zerolatency",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:repeat-headers=1:annexb=1",
    }
    units = []
    for number in range(n):
        image = np.full((*size, 3), 30 + number * 200 // n, np.uint8)
        for packet in codec.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
            nals = re.split(rb"\x00\x00\x00?\x01", bytes(packet))
            units.append([nal for nal in nals if nal])
    return units
