"""`facewire serve`: the service behind its HTTP server, from start to the last thread."""

import asyncio
import contextlib
import ctypes
import logging
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from recognizer import Progress
from stream.config import Config, ServerConfig
from stream.engine import Service
from stream.errors import ConfigError, StreamError
from stream.server import create_app

logger = logging.getLogger(__name__)

GRACE_S = 1
"""Seconds that open requests and sockets get at a stop; the whole must end within two."""

M_ARENA_MAX, ARENAS = -8, 2
"""`mallopt`'s parameter, and how many heaps glibc may keep for threads. Eight a core, its default,
each keep what cameras that reconnected left in them: 0.3 MiB more a connection, none with two."""

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

    At SIGHUP the configuration is read again, and its cameras are taken in.

    Args:
        config: the whole configuration.
        progress: hears of models being fetched.
        on_ready: gets the page's address once it answers.
        reload: reads the configuration again; None to do without.

    Raises:
        ConfigError: if the address cannot be listened on.
        RecognizerError: if a model cannot be fetched or opened.
        GalleryError: if the gallery cannot be opened.
    """
    _limit_heaps()
    with contextlib.closing(_bind(config.server)) as listener:
        asyncio.run(_serve(config, listener, progress, on_ready, reload))


async def _serve(
    config: Config,
    listener: socket.socket,
    progress: Progress | None,
    on_ready: Callable[[str], None],
    reload: Callable[[], Config] | None,
) -> None:
    loop = asyncio.get_running_loop()
    async with Service.open(config, progress=progress) as service:
        opened = service.recognizer
        logger.info("%s runs on %s, by %s", opened.model_id, opened.device, opened.engine)
        server = _Server(
            uvicorn.Config(
                create_app(
                    service,
                    host=config.server.host,
                    token=config.server.token,
                    viewer_token=config.server.viewer_token,
                    allowed_hosts=config.server.allowed_hosts,
                ),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=GRACE_S,
                ws="websockets-sansio",
            )
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _stop, server)
        reloads: set[asyncio.Task[None]] = set()

        def begin_reload() -> None:
            if reload is not None:
                task = loop.create_task(_reload(service, reload), name="reload")
                reloads.add(task)
                task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, begin_reload)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:  # else it was stopped before it answered
            host, port = listener.getsockname()[:2]
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        await serving
        if reloads:
            await asyncio.wait(reloads)


def _limit_heaps() -> None:
    """Bound the memory that threads leave behind; elsewhere than on glibc nothing is to be done."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


async def _reload(service: Service, reload: Callable[[], Config]) -> None:
    try:
        await service.reconfigure(await asyncio.to_thread(reload))
    except StreamError as error:
        logger.error("%s (the cameras stay as they are)", error)
    else:
        logger.info("the configuration's cameras are taken in")


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn would raise them again after its own end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop(server: _Server) -> None:
    if server.should_exit:
        os._exit(INTERRUPTED)
    logger.info("stopping; press Ctrl-C again to exit at once")
    server.should_exit = True


def _bind(config: ServerConfig) -> socket.socket:
    """Take the port before models are loaded, so that a taken one is said at once."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise ConfigError(
            f"cannot listen on {config.host} port {config.port}: {reason}; "
            "choose another with --port"
        ) from error
    return listener
