"""APIs in the form of other programs: where their keys are, and how they refuse."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Protocol

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from stream.integrations.status import IntegrationStatus


@dataclass(slots=True)
class Requests:
    """Count of the requests of one API since the start.

    Attributes:
        name: of the programs that send them.
        n: all of them.
        n_refused: those without the right key.
    """

    name: str
    n: int = 0
    n_refused: int = 0

    def status(self) -> IntegrationStatus:
        """Return the state as that of an integration."""
        counts = [f"{self.n} request{'s' * (self.n != 1)}"] + [f"{self.n_refused} refused"] * bool(
            self.n_refused
        )
        return IntegrationStatus(
            name=self.name, where="", is_working=True, detail=", ".join(counts), trouble=""
        )


class Dialect(Protocol):
    """What the access check and the error handlers have to know of such an API."""

    @property
    def prefix(self) -> str:
        """Begins all its paths, and no other."""

    @property
    def is_for_pages(self) -> bool:
        """Whether pages of other sites may use it, with a key."""

    @property
    def max_bytes(self) -> int:
        """Largest body of a POST."""

    @property
    def requests(self) -> "Requests":
        """Count of its requests."""

    def key_of(self, headers: Headers) -> str | None:
        """Return the key that a request shows in its header; None without one."""

    def is_open(self, path: str) -> bool:
        """Return whether a path needs no key in the header."""

    def is_for_viewers(self, method: str, path: str) -> bool:
        """Return whether the viewers' token is enough."""

    def refusal(self, status: int, reason: str, path: str) -> tuple[int, dict[str, object]]:
        """Return status and JSON of a refusal.

        Args:
            status: as facewire's own API has it: 401 without a key, 403 with a wrong one.
            reason: one line.
            path: of the request.
        """


SERVICES = {
    "recognition": "Recognition",
    "detection": "Detection",
    "verification": "Verification",
}


@dataclass(frozen=True, slots=True)
class CompreFaceDialect:
    """CompreFace's REST API, version 1.2."""

    max_bytes: int
    requests: Requests = field(default_factory=partial(Requests, "Clients of CompreFace"))
    prefix: str = "/api/v1/"
    is_for_pages: bool = True

    def key_of(self, headers: Headers) -> str | None:
        """Return the key of the header, None without one."""
        return headers.get("x-api-key")

    def is_open(self, path: str) -> bool:
        """Return whether a path needs no key in the header."""
        return path == "/api/v1/config"

    def is_for_viewers(self, method: str, path: str) -> bool:
        """Return whether the viewers' token is enough."""
        return method in {"GET", "HEAD"} or _VIEWER_POSTS.fullmatch(path) is not None

    def refusal(self, status: int, reason: str, path: str) -> tuple[int, dict[str, object]]:
        """Return status and JSON of a refusal."""
        service = SERVICES.get(path.removeprefix(self.prefix).partition("/")[0], "Recognition")
        match status:
            case HTTPStatus.UNAUTHORIZED:
                return 400, {"message": "Missing header: x-api-key", "code": 20}
            case HTTPStatus.FORBIDDEN:
                message = f"{service} service with this API key not found: {reason}"
                return 404, {"message": message, "code": 10}
            case HTTPStatus.METHOD_NOT_ALLOWED:
                return 404, {"message": reason, "code": 0}
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE | HTTPStatus.UNPROCESSABLE_ENTITY:
                return 400, {"message": reason, "code": 0}
        return status, {"message": reason, "code": 0}


_VIEWER_POSTS = re.compile(
    r"/api/v1/(recognition/recognize|recognition/faces/[^/]+/verify|detection/detect"
    r"|verification/verify|recognition/embeddings/.+|verification/embeddings/verify)"
)


@dataclass(frozen=True, slots=True)
class DeepStackDialect:
    """The face API of DeepStack and CodeProject.AI, whose key is a field of the form."""

    max_bytes: int = 32 * 1024 * 1024  # less, since it is read before the key is known
    requests: Requests = field(default_factory=partial(Requests, "Clients of DeepStack"))
    prefix: str = "/v1/vision/face"
    is_for_pages: bool = False

    def key_of(self, headers: Headers) -> str | None:
        """Return the key of the header, None without one."""
        return None

    def is_open(self, path: str) -> bool:
        """Return whether a path needs no key in the header."""
        return True  # the routes check it

    def is_for_viewers(self, method: str, path: str) -> bool:
        """Return whether the viewers' token is enough."""
        return True  # likewise

    def refusal(self, status: int, reason: str, path: str) -> tuple[int, dict[str, object]]:
        """Return status and JSON of a refusal."""
        return status, {"success": False, "error": reason, "code": status}


def has_text(headers: Headers) -> bool:
    """Return whether a form's texts are UTF-8: other encodings can take minutes to decode."""
    _, options = parse_options_header(headers.get("content-type", ""))
    return options.get(b"charset", b"utf-8").lower() in {b"utf-8", b"utf8", b"us-ascii"}


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect | None:
    """Return the API that a path belongs to; None for facewire's own."""
    return next((each for each in dialects if path.startswith(each.prefix)), None)


class ForPages:
    """ASGI middleware that lets pages of all sites use the APIs that are for them (CORS).

    Only where a key is needed, which such a page has from its user: without one, any site could
    erase people through the browser of somebody in this network.
    """

    def __init__(self, app: ASGIApp, *, dialects: Sequence[Dialect]) -> None:
        self._app = app
        self._prefixes = tuple(each.prefix for each in dialects if each.is_for_pages)
        self._shared = CORSMiddleware(
            app, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_shared = scope["type"] == "http" and scope["path"].startswith(self._prefixes)
        await (self._shared if is_shared else self._app)(scope, receive, send)
