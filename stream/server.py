"""The service over HTTP: the page, the API and the WebSocket behind one gate."""

import time
from collections.abc import Collection
from pathlib import Path
from socket import gethostname

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from gallery import GalleryError, InvalidNameError, UnknownIdentityError
from gallery.errors import NameTakenError
from recognizer import ImageError, RecognizerError
from stream import api_cameras, api_events, api_people
from stream.engine import Service
from stream.errors import (
    CameraStoreError,
    StreamError,
    UnknownCameraError,
    UnknownTrackError,
    WorkerError,
)
from stream.metrics import registry_of
from stream.security import Attempts, Gate, Keys, Role
from stream.signaling import Conversation

WEB = Path(__file__).with_name("web")

# The first class that fits decides, so the narrower stand before the wider.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownCameraError, 404),
    (UnknownTrackError, 404),
    (UnknownIdentityError, 404),
    (NameTakenError, 409),
    (InvalidNameError, 422),
    (ImageError, 422),
    (CameraStoreError, 500),
    (WorkerError, 503),
    (StreamError, 400),
    (GalleryError, 500),
    (RecognizerError, 500),
)


def create_app(
    service: Service,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    viewer_token: str | None = None,
    allowed_hosts: Collection[str] = (),
) -> FastAPI:
    """Make the application of a running service.

    Args:
        service: the running service.
        host: the address or name it listens on.
        token: the secret that is asked for; None asks for none.
        viewer_token: the secret of those who only watch and read; None for nobody.
        allowed_hosts: further names by which browsers may call it, such as a proxy's.
    """
    app = FastAPI(
        title="facewire",
        description="Faces over the wire: cameras in, names out, live in the browser.",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.keys = keys = Keys(token, viewer_token)
    app.state.attempts = attempts = Attempts()
    app.state.registry = registry_of(service)
    for kind, _ in STATUS:
        app.add_exception_handler(kind, _answer_failure)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_surprise)
    app.include_router(api_cameras.router)
    app.include_router(api_people.router)
    app.include_router(api_events.router)

    @app.websocket("/api/ws")
    async def converse(socket: WebSocket) -> None:
        await socket.accept()
        may_publish = socket.state.role is Role.ADMIN
        await Conversation(service, socket, may_publish=may_publish).run()

    app.mount("/", StaticFiles(directory=WEB, html=True))
    app.add_middleware(
        Gate,
        keys=keys,
        attempts=attempts,
        clock=time.monotonic,
        allowed_hosts={*allowed_hosts, host, gethostname()},
    )
    return app


async def _answer_failure(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return _error(status, str(error))


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail).lower(), error.headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # Never the value: it may hold a password.
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return _error(422, f"{where}: {str(first['msg']).removeprefix('Value error, ').lower()}")


async def _answer_surprise(request: Request, error: Exception) -> Response:
    return _error(500, "internal error: see the service's log")


def _error(status: int, message: str, headers: object = None) -> Response:
    assert headers is None or isinstance(headers, dict)
    # A message may name what was asked for: no lone surrogate of it can be sent.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": line}, status, headers=headers)
