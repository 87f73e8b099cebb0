"""A small HTTP camera for tests: sends given responses, and records its requests."""

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from socket import socket
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from tests.serving import Serving


@dataclass(slots=True)
class Asked:
    """One request: its path, and its headers by lower-case name."""

    path: str
    headers: dict[str, str]


@dataclass(slots=True, eq=False)
class WebCamera:
    """Answers each request with the bytes of `answer(asked, number)`, and ends the connection.

    A function with a third argument sends by itself.

    Attributes:
        asked: the requests so far.
        n_connections: number of connections so far.
    """

    answer: Callable[..., bytes | None]
    keeps: bool = False
    host: str = "127.0.0.1"
    asked: list[Asked] = field(default_factory=list)
    n_connections: int = 0
    _serving: Serving = field(init=False)

    @property
    def place(self) -> str:
        return f"{self.host}:{self._serving.port}"

    def url(self, path: str = "/", login: str = "") -> str:
        return f"http://{login}{self.place}{path}"

    def __enter__(self) -> Self:
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                camera.n_connections += 1
                try:
                    while (asked := self._asked()) is not None:
                        camera.asked.append(asked)
                        number = len(camera.asked) - 1
                        code = camera.answer.__code__
                        if code.co_argcount - (code.co_varnames[0] == "self") == 3:
                            camera.answer(asked, number, self.connection)
                        else:
                            self.connection.sendall(camera.answer(asked, number) or b"")
                        if not camera.keeps:
                            return
                except OSError:
                    return

            def _asked(self) -> Asked | None:
                lines = []
                while (line := self.rfile.readline()).strip():
                    lines.append(line.decode("latin-1").strip())
                if not lines:
                    return None
                headers = dict(each.split(": ", 1) for each in lines[1:])
                return Asked(lines[0].split()[1], {k.lower(): v for k, v in headers.items()})

        self._serving = Serving(Handler, host=self.host)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._serving.close()


def jpeg(number: int = 0, size: tuple[int, int] = (48, 64)) -> bytes:
    """Return a JPEG of one color, with a brightness by its number."""
    image = np.full((*size, 3), 40 + 20 * (number % 10), np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def ok(kind: str, body: bytes = b"", *, length: bool = False, more: str = "") -> bytes:
    """Return a response with a content type, and optionally its length."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}" if kind else "Server: camera"]
    lines += [f"Content-Length: {len(body)}"] if length else ["Connection: close"]
    return "\r\n".join([*lines, *([more] if more else []), "", ""]).encode() + body


def drip(connection: socket, data: bytes, stop: threading.Event) -> None:
    """Send a byte every 20 ms."""
    for byte in data:
        if stop.wait(0.02):
            return
        connection.sendall(bytes([byte]))
