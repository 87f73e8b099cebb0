"""Additions to FastAPI's OpenAPI document: errors, images, sign-in."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

JPEG = "image/jpeg"

REASONS: Mapping[int, str] = {
    400: "The request is invalid.",
    401: "A token is needed.",
    403: "Viewers may only watch and read, or the request is from another site's page.",
    404: "Not found.",
    405: "Method not allowed at this address; see Allow.",
    409: "Conflict with the current state, such as a name that is taken.",
    413: "The request is too large.",
    421: "Host header not allowed.",
    422: "A value is missing or out of range.",
    426: "The address speaks WebSocket.",
    429: "Too many wrong tokens from this address: see Retry-After.",
    503: "Too busy, or no frame now: see Retry-After.",
    507: "The disk is full.",
}

# Any request may get these answers, from the access check.
ALWAYS = (400, 401, 403, 413, 421, 422, 429, 503, 507)

BINARY: Mapping[str, str] = {"type": "string", "format": "binary"}
TEXT: Mapping[str, object] = {"type": "string", "minLength": 1}

# Requests and answers that are not JSON, by method and end of the path.
BODIES: Mapping[tuple[str, str], str] = {
    ("post", "/whep"): "application/sdp",
    ("post", "/whip"): "application/sdp",
}
ANSWERS: Mapping[tuple[str, str], tuple[str, str, Mapping[str, object]]] = {
    ("get", ".jpg"): ("200", "image/jpeg", BINARY),
    ("get", "/metrics"): ("200", "text/plain", TEXT),
    ("post", "/whep"): ("201", "application/sdp", TEXT),
    ("post", "/whip"): ("201", "application/sdp", TEXT),
}


class ErrorJson(TypedDict):
    """Why a request was refused, in one line."""

    error: str


Responses = dict[int | str, dict[str, Any]]


def errors(*statuses: int) -> Responses:
    """Return FastAPI's `responses` for these kinds of refusals."""
    return {
        status: {"model": ErrorJson, "description": REASONS[status]} for status in sorted(statuses)
    }


def complete(document: dict[str, Any], *, foreign: Sequence[str] = ()) -> dict[str, Any]:
    """Return the OpenAPI document, completed in place.

    Adds the sign-in, the answers for missing and conflicting resources, and the types of requests
    and answers that are not JSON.

    Args:
        document: as FastAPI makes it.
        foreign: what begins the paths of APIs in the form of other programs, which describe
            themselves.
    """
    document["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The administrator's or the viewer's token; none is asked for where the "
            "configuration has none.",
        }
    }
    # One of them is enough; {} is no sign-in.
    document["security"] = [{"bearer": []}, {}]
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorJson"}}}
    for path, methods in document["paths"].items():
        if path.startswith(tuple(foreign)):
            document["components"]["securitySchemes"]["key"] = {
                "type": "apiKey",
                "in": "header",
                "name": "x-api-key",
                "description": "The administrator's or the viewer's token, as CompreFace has keys.",
            }
            continue
        for method, operation in methods.items():
            answers = operation["responses"]
            if "{" in path or method in ("post", "patch"):
                for status in (404, 409) if method in ("post", "patch") else (404,):
                    answers[str(status)] = {"description": REASONS[status], "content": refused}
            for (each, end), kind in BODIES.items():
                if each == method and path.endswith(end):
                    body = {"required": True, "content": {kind: {"schema": TEXT}}}
                    operation["requestBody"] = body
            for (each, end), (status_of, kind, schema) in ANSWERS.items():
                if each == method and path.endswith(end):
                    answers[status_of]["content"] = {kind: {"schema": schema}}
            _tell_rejected(answers)
    return document


def _tell_rejected(answers: dict[str, Any]) -> None:
    """Document the answer 422 if no photo was added, which lists photos as 201 does."""
    added = answers.get("201", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if added.get("$ref", "").endswith("/EnrolJson"):
        refused = {"$ref": "#/components/schemas/ErrorJson"}
        answers["422"]["content"]["application/json"]["schema"] = {"anyOf": [refused, added]}


class Undone:
    """ASGI application for API paths without a route: answers 405 with Allow, or 404."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request."""
        if methods := allowed_methods(self._routes, scope):
            raise HTTPException(405, "Method Not Allowed", {"allow": ", ".join(methods)})
        raise HTTPException(404, HTTPStatus.NOT_FOUND.phrase)


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """Return the methods allowed for a request's path, sorted; empty if there is no such path.

    A literal path, such as /api/identities/from-camera, takes precedence over a route with a
    parameter in its place.
    """
    matching = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
    ]
    if not matching:
        return []
    most = max(_literal_length(route.path) for route in matching)
    methods: set[str] = set()
    for route in matching:
        if _literal_length(route.path) == most:
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def _literal_length(path: str) -> int:
    """Return the length of a route's path without its parameters."""
    return len(re.sub(r"\{[^}]*\}", "", path))
