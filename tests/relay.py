"""A relay between an RTSP camera and the service, that spoils what the camera sends."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

# RTP in the RTSP connection, RFC 2326 section 10.12: "$", channel, two bytes of length.
DOLLAR, HEAD, RTP_HEAD = 0x24, 4, 12


class Relay:
    """Passes RTSP over TCP on, and changes the RTP packets on their way from the camera.

    Attributes:
        port: where it listens.
        damaged: part of the packets in which some bytes of the video are changed, in [0, 1].
        clock_step: added to the RTP timestamps, in 1/90000 s; changes are jumps of the clock.

    Args:
        camera_port: where the camera listens, on this machine.
    """

    def __init__(self, camera_port: int) -> None:
        self.damaged = 0.0
        self.clock_step = 0
        self._camera_port = camera_port
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", self._camera_port))
                self._sockets += [client, camera]
                for source, target, spoil in ((client, camera, False), (camera, client, True)):
                    thread = threading.Thread(target=self._pass_on, args=(source, target, spoil))
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, spoil: bool) -> None:
        with suppress(OSError):
            for part in _parts(source):
                is_rtp = spoil and part[0] == DOLLAR and part[1] == 0
                target.sendall(self._spoil(bytearray(part)) if is_rtp else part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _spoil(self, part: bytearray) -> bytes:
        at = HEAD + 4
        time = (int.from_bytes(part[at : at + 4], "big") + self.clock_step) % (1 << 32)
        part[at : at + 4] = time.to_bytes(4, "big")
        if self._random.random() < self.damaged:
            for _ in range(8):
                part[self._random.randrange(HEAD + RTP_HEAD, len(part))] ^= 0xFF
        return bytes(part)


def _parts(source: socket.socket) -> Iterator[bytes]:
    """Split a connection into RTP packets and what is between them."""
    waiting = b""
    while received := source.recv(65536):
        waiting += received
        while waiting:
            if waiting[0] != DOLLAR:
                # Text of RTSP; a packet that begins in the same piece is at its "$".
                end = waiting.find(b"\r\n\r\n$\0") + 4
                end = len(waiting) if end < 4 else end
            else:
                end = HEAD + int.from_bytes(waiting[2:4], "big")
                if len(waiting) < max(end, HEAD):
                    break
            yield waiting[:end]
            waiting = waiting[end:]
