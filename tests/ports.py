"""TCP ports held for servers that cannot take port 0, or that must come back on the same port."""

import socket
from types import TracebackType
from typing import Self


class HeldPort:
    """A port of 127.0.0.1 that is reserved until `close`.

    The socket is bound and does not listen. Linux lets a server with SO_REUSEADDR listen on the
    port meanwhile, and does not assign it as a free port. While no server listens, connections
    are refused.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Release the port."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
