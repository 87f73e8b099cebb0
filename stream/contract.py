"""What the OpenAPI document says beside what FastAPI finds out: refusals, pictures, the sign-in."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

JPEG = "image/jpeg"

REASONS: Mapping[int, str] = {
    400: "The request cannot be done as it is asked for.",
    401: "A token is needed.",
    403: "Viewers may only watch and read, or the request is from another site's page.",
    404: "There is no such thing.",
    405: "That is not done at this address; see Allow.",
    409: "It cannot be done as things are now, such as where a name is taken.",
    413: "The request is too large.",
    421: "The service does not go by the name in Host.",
    422: "A value is missing or out of range.",
    426: "The address speaks WebSocket.",
    429: "Too many wrong tokens from this address: see Retry-After.",
    503: "There is no place, or no picture, now: see Retry-After.",
    507: "The disk is full.",
}

# Any request may be answered so, by the door alone.
ALWAYS = (400, 401, 403, 413, 421, 422, 429, 503, 507)


class ErrorJson(TypedDict):
    """Why a request was refused, in one line."""

    error: str


Responses = dict[int | str, dict[str, Any]]


def errors(*statuses: int) -> Responses:
    """Return what FastAPI takes as `responses` for refusals of these kinds."""
    return {
        status: {"model": ErrorJson, "description": REASONS[status]} for status in sorted(statuses)
    }


def binary(kind: str, what: str, *statuses: int, status: int = 200) -> Responses:
    """Return `responses` for an answer that is no JSON, with refusals of these kinds.

    Args:
        kind: its content-type.
        what: what it is, a sentence.
        statuses: of refusals.
        status: of the answer.
    """
    schema = {"type": "string"} if kind.startswith(("text/", "application/sdp")) else BINARY
    content = {kind: {"schema": schema}}
    return {status: {"description": what, "content": content}, **errors(*statuses)}


BINARY: Mapping[str, str] = {"type": "string", "format": "binary"}


def body_of(kind: str, what: str) -> dict[str, Any]:
    """Return `openapi_extra` for a request's body that is no JSON."""
    return {
        "requestBody": {
            "required": True,
            "description": what,
            "content": {kind: {"schema": {"type": "string", "minLength": 1}}},
        }
    }


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to the OpenAPI document how to sign in."""
    parts = document.setdefault("components", {})
    parts["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The administrator's or the viewer's token. Without a token in the "
            "configuration none is asked for.",
        }
    }
    # Which one of them is enough; {}: none, where the configuration has no token.
    document["security"] = [{"bearer": []}, {}]
    return document


class Undone:
    """ASGI application of every API address that no route takes: 405 with Allow, or 404."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request."""
        if methods := allowed_methods(self._routes, scope):
            raise HTTPException(405, "Method Not Allowed", {"allow": ", ".join(methods)})
        raise HTTPException(404, HTTPStatus.NOT_FOUND.phrase)


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """Return what may be asked of a request's address, sorted."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
