"""`facewire serve`: the service behind its HTTP server, from start to the last thread."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import uvicorn

from recognizer import Progress
from stream.api.app import create_app
from stream.api.connections import (
    ConnectionLimits,
    Connections,
    HttpProtocol,
    LoopFailures,
    SocketProtocol,
    raise_open_files,
)
from stream.api.proxies import TrustedProxies
from stream.api.signaling import MAX_MESSAGE_BYTES
from stream.config import Config, ServerConfig
from stream.errors import ConfigError, StreamError
from stream.heap import limit_heaps
from stream.service import Service

logger = logging.getLogger(__name__)

GRACE_S = 1
"""Seconds that open requests and sockets get at a stop; the whole must end within two."""

BACKLOG = 512
"""Connections that may wait for the event loop."""

PING_S = 10.0
"""Seconds between two pings of a WebSocket, and until the answer."""

INTERRUPTED = 130
"""Exit status of a second Ctrl-C, as shells give it."""


def serve(
    config: Config,
    *,
    progress: Progress | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
    reload: Callable[[], Config] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; a second one exits at once.

    At SIGHUP the configuration is read again, and its cameras and rules are applied.

    Args:
        config: the whole configuration.
        progress: called while models are fetched.
        on_ready: called with the page's address once it answers.
        reload: reads the configuration again; None to ignore SIGHUP.

    Raises:
        ConfigError: if the address cannot be listened on.
        RecognizerError: if a model cannot be fetched or opened.
        GalleryError: if the gallery cannot be opened.
    """
    limit_heaps()
    limits = raise_open_files(
        ConnectionLimits(
            total=config.server.max_connections,
            per_address=config.server.max_connections_per_address,
            header_s=config.server.header_timeout_s,
            body_s=config.server.body_timeout_s,
            idle_s=config.server.idle_timeout_s,
            send_s=config.server.send_timeout_s,
        )
    )
    with contextlib.closing(_bind(config.server)) as listener:
        asyncio.run(_serve(config, listener, limits, progress, on_ready, reload))


async def _serve(
    config: Config,
    listener: socket.socket,
    limits: ConnectionLimits,
    progress: Progress | None,
    on_ready: Callable[[str], None],
    reload: Callable[[], Config] | None,
) -> None:
    loop = asyncio.get_running_loop()
    async with Service.open(config, progress=progress) as service:
        opened = service.recognizer
        logger.info("%s runs on %s, by %s", opened.model_id, opened.device, opened.engine)
        proxies = TrustedProxies(config.server.forwarded_allow_ips)
        connections = Connections(
            limits, is_shared=lambda host: host in proxies, clock=time.monotonic
        )
        server = _Server(
            uvicorn.Config(
                create_app(
                    service,
                    host=config.server.host,
                    port=listener.getsockname()[1],
                    token=config.server.token,
                    viewer_token=config.server.viewer_token,
                    allowed_hosts=config.server.allowed_hosts,
                    proxies=proxies,
                    root_path=config.server.root_path,
                    max_pages=config.server.max_pages,
                    max_uploads=config.server.max_uploads,
                    compreface=config.compreface.enabled,
                    deepstack=config.deepstack.enabled,
                ),
                log_config=None,
                access_log=False,
                proxy_headers=False,  # `stream.api.proxies` reads these headers and others
                backlog=BACKLOG,
                timeout_keep_alive=math.ceil(config.server.idle_timeout_s),
                timeout_graceful_shutdown=GRACE_S,
                http=cast(type[asyncio.Protocol], partial(HttpProtocol, connections)),
                ws=cast(type[asyncio.Protocol], partial(SocketProtocol, connections)),
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
            ),
            connections,
        )
        loop.set_exception_handler(LoopFailures(time.monotonic))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, server)
        reloads: set[asyncio.Task[None]] = set()
        watched = service.supervisor.watch("reading the configuration again")

        def begin_reload() -> None:
            if reload is not None:
                task = watched.task(_reload(service, reload))
                reloads.add(task)
                task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, begin_reload)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:  # otherwise it was stopped before it answered
            host, port = listener.getsockname()[:2]
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await serving
        if reloads:
            await asyncio.wait(reloads)


async def _reload(service: Service, reload: Callable[[], Config]) -> None:
    try:
        if await service.reconfigure(await asyncio.to_thread(reload)):
            logger.info("the configuration's cameras and rules are taken in")
    except StreamError as error:
        logger.error("%s (cameras and rules stay as they are)", error)


class _Server(uvicorn.Server):
    """A uvicorn server without signal handlers: its own raise the signals again at the end."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """Close slow connections once a second; uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop(server: _Server) -> None:
    if server.should_exit:
        os._exit(INTERRUPTED)
    logger.info("stopping; press Ctrl-C again to exit at once")
    server.should_exit = True


def _bind(config: ServerConfig) -> socket.socket:
    """Bind the port before models are loaded, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except (OSError, UnicodeError, ValueError) as error:  # an invalid host name is not an OSError
        listener.close()
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {reason}; "
            "choose another with --port"
        ) from error
    return listener
