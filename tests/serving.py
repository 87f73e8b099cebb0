"""A TCP server in a thread, for the programs at the other end that tests and scripts need."""

import socketserver
import threading


class Serving:
    """Serves from its creation until `close`, each connection in a thread of its own.

    Args:
        handler: of a connection.
        host: address to listen on.
        port: to listen on; 0 for a free one.
        is_quiet: drop what a handler raises, such as that a client gave up, instead of printing it.

    Attributes:
        server: that listens.
        port: on which it does.
    """

    def __init__(
        self,
        handler: type[socketserver.BaseRequestHandler],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        is_quiet: bool = False,
    ) -> None:
        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                if not is_quiet:
                    super().handle_error(request, client_address)  # type: ignore[arg-type]

        self.server = Server((host, port), handler)
        self.port = int(self.server.server_address[1])
        self._thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Accept no more connections; those that are open end by themselves."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
