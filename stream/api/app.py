"""The HTTP application: the page, the API and the WebSocket behind one access check."""

import time
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path
from socket import gethostname

from fastapi import APIRouter, FastAPI, Request, WebSocket
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
from gallery.errors import GalleryReplacedError, GalleryUnreachableError, NameTakenError
from recognizer import ImageError, RecognizerError
from stream.api import cameras as api_cameras
from stream.api import cluster as api_cluster
from stream.api import compreface as api_compreface
from stream.api import deepstack as api_deepstack
from stream.api import events as api_events
from stream.api import hygiene as api_hygiene
from stream.api import identities as api_people
from stream.api import integrations as api_integrations
from stream.api import rules as api_rules
from stream.api import search as api_search
from stream.api import session as api_session
from stream.api import visitors as api_visitors
from stream.api import visits as api_visits
from stream.api.camera_messages import CameraMessages
from stream.api.contract import ALWAYS, Undone, complete, errors
from stream.api.dialects import (
    CompreFaceDialect,
    DeepStackDialect,
    Dialect,
    ForPages,
    dialect_of,
)
from stream.api.metrics import registry_of
from stream.api.mjpeg import MAX_STREAMS
from stream.api.proxies import Proxies, TrustedProxies
from stream.api.security import UPLOAD_BYTES, Attempts, Gate, Keys
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
    MachineError,
    RuleStoreError,
    RuleStoreFullError,
    StreamError,
    TooManyDevicesError,
    UnknownCameraError,
    UnknownEventError,
    UnknownRuleError,
    UnknownTrackError,
    UnknownVisitorError,
    VisitorError,
    WorkerError,
)
from stream.front.forwarder import Forwarder
from stream.service import Service

RETRY_AFTER_S = 5  # by then another process has usually finished its write to the gallery
WEB = Path(__file__).parents[1] / "web"

ROUTERS = (
    api_session.router,
    api_cameras.router,
    api_cluster.router,
    api_people.router,
    api_events.router,
    api_visits.router,
    api_hygiene.router,
    api_visitors.router,
    api_search.router,
    api_integrations.router,
    api_rules.router,
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
    (MachineError, 503),
    (UnknownEventError, 404),
    (UnknownRuleError, 404),
    (TooManyDevicesError, 409),
    (RuleStoreFullError, 507),
    (RuleStoreError, 500),
    (UnknownVisitorError, 404),
    (VisitorError, 409),
    (EventLogFullError, 507),
    (EventLogError, 503),
    (EnrolmentError, 422),
    (StreamError, 400),
    (GalleryBusyError, 503),
    (GalleryReplacedError, 503),
    (GalleryUnreachableError, 503),
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
    compreface: bool = False,
    deepstack: bool = False,
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
        compreface: answer clients of CompreFace.
        deepstack: answer clients of DeepStack and CodeProject.AI.
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
    app.state.mjpeg_streams = Budget("MJPEG streams", MAX_STREAMS)
    app.state.pages = pages = Budget("pages", max_pages)
    for kind, _ in STATUS:
        app.add_exception_handler(kind, _answer_failure)
    app.add_exception_handler(BusyError, _answer_busy)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_surprise)
    dialects: list[Dialect] = []
    for router in ROUTERS:
        app.include_router(router, responses=errors(*ALWAYS))
    others: list[APIRouter] = []
    if compreface:
        dialects.append(CompreFaceDialect(UPLOAD_BYTES))
        others.append(api_compreface.router)
    if deepstack:
        dialects.append(DeepStackDialect())
        others.append(api_deepstack.router)
    for router in others:
        app.include_router(router)
    app.state.dialects = dialects

    messages = CameraMessages(service.cameras, time.monotonic, service.front)

    @app.websocket("/api/ws")
    async def converse(socket: WebSocket) -> None:
        await socket.accept()
        await Conversation(
            service,
            socket,
            client=socket.state.client,
            pages=pages,
            cameras=messages,
            is_relayed=socket.state.is_forwarded,
        ).run()

    undone = Undone([route for router in (*ROUTERS, *others) for route in router.routes])
    for path in ("/api/{rest:path}", *(["/v1/{rest:path}"] if deepstack else [])):
        app.router.routes.append(Route(path, undone))
    app.mount("/", StaticFiles(directory=WEB, html=True))
    if service.front is not None:
        app.add_middleware(Forwarder, front=service.front)
    app.add_middleware(
        Gate,
        keys=keys,
        attempts=attempts,
        clock=time.monotonic,
        own_hosts={host, gethostname()},
        allowed_hosts=allowed_hosts,
        max_uploads=max_uploads,
        dialects=dialects,
        front=service.front,
    )
    if token is not None:
        app.add_middleware(ForPages, dialects=dialects)
    # The middleware added last runs first.
    app.add_middleware(Proxies, trusted=proxies or TrustedProxies(), root_path=root_path)
    make_document = app.openapi
    foreign = [each.prefix for each in dialects]
    app.openapi = lambda: complete(make_document(), foreign=foreign)  # type: ignore[method-assign]
    return app


async def _answer_failure(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return _error(request, status, str(error), headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = detail.lower()
    return _error(request, error.status_code, detail, error.headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    # Never the value: it may hold a password.
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    message = str(first["msg"]).removeprefix("Value error, ")
    return _error(request, 422, f"{where}: {message[:1].lower()}{message[1:]}")


async def _answer_busy(request: Request, error: Exception) -> Response:
    return _error(request, 503, str(error), {"retry-after": "5"})


async def _answer_surprise(request: Request, error: Exception) -> Response:
    return _error(request, 500, "internal error: see the service's log")


def _error(request: Request, status: int, message: str, headers: object = None) -> Response:
    assert headers is None or isinstance(headers, dict)
    # A message may quote the request, and a lone surrogate cannot be sent.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    dialect = dialect_of(request.scope["path"], request.app.state.dialects)
    if dialect is None:
        return JSONResponse({"error": line}, status, headers=headers)
    status, answer = dialect.refusal(status, line, request.scope["path"])
    return JSONResponse(answer, status, headers=headers)
