"""A relay between an RTSP camera and the service that damages the camera's packets."""

import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

# RTP in the RTSP connection, RFC 2326 section 10.12: "$", channel, two bytes of length.
DOLLAR, HEAD, RTP_HEAD = 0x24, 4, 12

# Ports of media over UDP, RTP on the first and RTCP on the second: section 12.39.
CLIENT_PORTS = re.compile(rb"client_port=(\d+)-(\d+)")

LOOK_UP_S = 0.2
"""How often a thread that waits for packets looks whether the relay is closed."""


class Relay:
    """Forwards RTSP, with media over TCP or UDP, and changes the RTP packets from the camera.

    Attributes:
        port: on which it listens.
        dropped: fraction of the UDP packets that are dropped, in [0, 1].
        n_dropped, n_damaged: numbers of such packets.
        damaged: fraction of the packets with some changed bytes of video, in [0, 1].
        clock_step: added to the RTP timestamps, in 1/90000 s; changes are jumps of the clock.

    Args:
        camera_port: on which the camera listens, on this machine.
    """

    def __init__(self, camera_port: int) -> None:
        self.damaged = self.dropped = 0.0
        self.n_damaged = self.n_dropped = 0
        self.clock_step = 0
        self._camera_port = camera_port
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._is_closed = threading.Event()
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
        self._is_closed.set()
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
                if not spoil:
                    target.sendall(CLIENT_PORTS.sub(self._take_udp, part))
                elif part[0] == DOLLAR and part[1] == 0:
                    target.sendall(part[:HEAD] + self._spoil(bytearray(part[HEAD:])))
                else:
                    target.sendall(part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _take_udp(self, asked: re.Match[bytes]) -> bytes:
        """Listen in place of the ports that a client requests, and return the ports to request."""
        sockets = _two_ports()
        for number, udp in enumerate(sockets):
            client = ("127.0.0.1", int(asked[number + 1]))
            thread = threading.Thread(target=self._pass_udp, args=(udp, client, number == 0))
            self._threads.append(thread)
            thread.start()
        return b"client_port=%d-%d" % tuple(udp.getsockname()[1] for udp in sockets)

    def _pass_udp(self, udp: socket.socket, client: tuple[str, int], is_rtp: bool) -> None:
        with udp:
            udp.settimeout(LOOK_UP_S)
            while not self._is_closed.is_set():
                with suppress(OSError):  # a timeout, or a client that has left
                    packet = udp.recv(65536)
                    if is_rtp and self._random.random() < self.dropped:
                        self.n_dropped += 1
                    else:
                        udp.sendto(self._spoil(bytearray(packet)) if is_rtp else packet, client)

    def _spoil(self, packet: bytearray) -> bytes:
        time = (int.from_bytes(packet[4:8], "big") + self.clock_step) % (1 << 32)
        packet[4:8] = time.to_bytes(4, "big")
        if self._random.random() < self.damaged:
            self.n_damaged += 1
            for _ in range(8):
                packet[self._random.randrange(RTP_HEAD, len(packet))] ^= 0xFF
        return bytes(packet)


def _two_ports() -> tuple[socket.socket, socket.socket]:
    """Bind an even port and the one after it."""
    while True:
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with suppress(OSError):
            rtp.bind(("127.0.0.1", 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind(("127.0.0.1", port + 1))
                return rtp, rtcp
        rtp.close()
        rtcp.close()


def _parts(source: socket.socket) -> Iterator[bytes]:
    """Split a connection into RTP packets and the bytes between them."""
    waiting = b""
    while received := source.recv(65536):
        waiting += received
        while waiting:
            if waiting[0] != DOLLAR:
                # RTSP text; a packet in the same piece starts at its "$".
                end = waiting.find(b"\r\n\r\n$\0") + 4
                end = len(waiting) if end < 4 else end
            else:
                end = HEAD + int.from_bytes(waiting[2:4], "big")
                if len(waiting) < max(end, HEAD):
                    break
            yield waiting[:end]
            waiting = waiting[end:]
