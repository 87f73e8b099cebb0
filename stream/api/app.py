"""The HTTP application: the page, the API and the WebSocket behind one access check."""

import time
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from socket import gethostname

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route

from gallery import (
    GalleryBusyError,
    GalleryError,
    GalleryFullError,
    InvalidNameError,
    UnknownIdentityError,
)
from gallery.errors import GalleryReplacedError, NameTakenError
from recognizer import ImageError, RecognizerError
from stream.api import cameras as api_cameras
from stream.api import events as api_events
from stream.api import hygiene as api_hygiene
from stream.api import identities as api_people
from stream.api import search as api_search
from stream.api import session as api_session
from stream.api import visitors as api_visitors
from stream.api import visits as api_visits
from stream.api.camera_messages import CameraMessages
from stream.api.contract import ALWAYS, Undone, complete, errors
from stream.api.metrics import registry_of
from stream.api.proxies import Proxies, TrustedProxies
from stream.api.security import Attempts, Gate, Keys
from stream.api.signaling import Conversation
from stream.budget import Budget
from stream.errors import (
    BusyError,
    CameraExistsError,
    CameraStoreError,
    CameraStoreFullError,
    EnrolmentError,
    EventLogError,
    EventLogFullError,
    StreamError,
    UnknownCameraError,
    UnknownEventError,
    UnknownTrackError,
    UnknownVisitorError,
    VisitorError,
    WorkerError,
)
from stream.service import Service

RETRY_AFTER_S = 5  # by then another process has usually finished its write to the gallery
WEB = Path(__file__).parents[1] / "web"

ROUTERS = (
    api_session.router,
    api_cameras.router,
    api_people.router,
    api_events.router,
    api_visits.router,
    api_hygiene.router,
    api_visitors.router,
    api_search.router,
)

# The first matching class decides, so subclasses come before their bases.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownCameraError, 404),
    (UnknownTrackError, 404),
    (UnknownIdentityError, 404),
    (NameTakenError, 409),
    (CameraExistsError, 409),
    (InvalidNameError, 422),
    (ImageError, 422),
    (CameraStoreFullError, 507),
    (CameraStoreError, 500),
    (WorkerError, 503),
    (UnknownEventError, 404),
    (UnknownVisitorError, 404),
    (VisitorError, 409),
    (EventLogFullError, 507),
    (EventLogError, 503),
    (EnrolmentError, 422),
    (StreamError, 400),
    (GalleryBusyError, 503),
    (GalleryReplacedError, 503),
    (GalleryFullError, 507),
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
    port: int = 8080,
    proxies: TrustedProxies | None = None,
    root_path: str = "",
    max_pages: int = 200,
    max_uploads: int = 16,
) -> FastAPI:
    """Return the application of a running service.

    Args:
        service: the running service.
        host: the address or name it listens on.
        token: the administrators' token; None to require none.
        viewer_token: the token of clients that only watch and read; None for none.
        allowed_hosts: further host names that browsers may use, such as a proxy's.
        port: the port it listens on.
        proxies: addresses whose X-Forwarded- headers are trusted; None for none.
        root_path: the path below which a proxy serves it; empty for none.
        max_pages: concurrent WebSockets.
        max_uploads: concurrent requests with photos.
    """
    app = FastAPI(
        title="facewire",
        description="Faces over the wire: cameras in, names out, live in the browser.",
        # Their pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.keys = keys = Keys(token, viewer_token, port)
    app.state.attempts = attempts = Attempts()
    app.state.registry = registry_of(service)
    app.state.pages = pages = Budget("pages", max_pages)
    for kind, _ in STATUS:
        app.add_exception_handler(kind, _answer_failure)
    app.add_exception_handler(BusyError, _answer_busy)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_surprise)
    for router in ROUTERS:
        app.include_router(router, responses=errors(*ALWAYS))

    messages = CameraMessages(service.cameras, time.monotonic)

    @app.websocket("/api/ws")
    async def converse(socket: WebSocket) -> None:
        await socket.accept()
        client = socket.state.client
        await Conversation(service, socket, client=client, pages=pages, cameras=messages).run()

    app.router.routes.append(
        Route("/api/{rest:path}", Undone([route for router in ROUTERS for route in router.routes]))
    )
    app.mount("/", StaticFiles(directory=WEB, html=True))
    app.add_middleware(
        Gate,
        keys=keys,
        attempts=attempts,
        clock=time.monotonic,
        own_hosts={host, gethostname()},
        allowed_hosts=allowed_hosts,
        max_uploads=max_uploads,
    )
    # The middleware added last runs first.
    app.add_middleware(Proxies, trusted=proxies or TrustedProxies(), root_path=root_path)
    make_document = app.openapi
    app.openapi = lambda: complete(make_document())  # type: ignore[method-assign]
    return app


async def _answer_failure(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return _error(status, str(error), headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = detail.lower()
    return _error(error.status_code, detail, error.headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # Never the value: it may hold a password.
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    message = str(first["msg"]).removeprefix("Value error, ")
    return _error(422, f"{where}: {message[:1].lower()}{message[1:]}")


async def _answer_busy(request: Request, error: Exception) -> Response:
    return _error(503, str(error), {"retry-after": "5"})


async def _answer_surprise(request: Request, error: Exception) -> Response:
    return _error(500, "internal error: see the service's log")


def _error(status: int, message: str, headers: object = None) -> Response:
    assert headers is None or isinstance(headers, dict)
    # A message may quote the request, and a lone surrogate cannot be sent.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": line}, status, headers=headers)
