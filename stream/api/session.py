"""The HTTP API to sign in and out, and to check whether a page's WebSocket is permitted."""

import time

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from stream.api.contract import errors
from stream.api.rooms import ServiceDep
from stream.api.security import (
    TOO_MANY,
    WRONG_TOKEN,
    Attempts,
    Keys,
    Role,
    client_of,
    is_token,
    session_of,
)

router = APIRouter(tags=["session"])

SESSION_S = 30 * 24 * 3600


class SessionJson(TypedDict):
    """Who asks: an admin, a viewer who changes nothing, or nobody known yet.

    `time_zone` is IANA's name of the zone whose days reports use; empty where that is not known,
    and for nobody known.
    """

    role: Role | None
    time_zone: str


class SignIn(BaseModel):
    """The token."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=1024, repr=False)


@router.get("/api/session")
async def session(request: Request, service: ServiceDep) -> SessionJson:
    """Say as whom this browser is signed in."""
    role = request.state.role
    return {"role": role, "time_zone": service.visit_rules.zone_name if role else ""}


@router.post("/api/session", status_code=204, responses=errors(403, 429))
async def sign_in(request: Request, entry: SignIn) -> Response:
    """Take the token and let this browser in by a cookie that scripts cannot read."""
    keys: Keys = request.app.state.keys
    attempts: Attempts = request.app.state.attempts
    if keys.admin is None:
        return Response(status_code=204)
    role = keys.role_of(lambda token: is_token(entry.token, token))
    token = {Role.ADMIN: keys.admin, Role.VIEWER: keys.viewer}.get(role) if role else None
    if token is None:
        if attempts.failed(client_of(request.scope), time.monotonic()):
            raise HTTPException(403, WRONG_TOKEN)
        raise HTTPException(429, TOO_MANY, {"retry-after": "60"})
    response = Response(status_code=204)
    response.set_cookie(
        keys.cookie,
        session_of(token),
        max_age=SESSION_S,
        path=_path_of(request),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete("/api/session", status_code=204)
async def sign_out(request: Request) -> Response:
    """Forget this browser; harmless where it is not signed in."""
    keys: Keys = request.app.state.keys
    response = Response(status_code=204)
    response.delete_cookie(
        keys.cookie,
        path=_path_of(request),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.options("/api/ws", status_code=204, include_in_schema=False)
async def may_converse() -> Response:
    """Answer where a page of this origin may open the WebSocket; a browser never says why not."""
    return Response(status_code=204)


@router.get("/api/ws", include_in_schema=False)
async def explain_socket() -> Response:
    """Say what is missing where a WebSocket is asked for without its upgrade."""
    raise HTTPException(
        426,
        "this address speaks WebSocket: a proxy must pass it on (nginx: proxy_http_version 1.1, "
        "proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection upgrade)",
        {"upgrade": "websocket", "connection": "upgrade"},
    )


def _path_of(request: Request) -> str:
    """Return the path prefix under which the browser sees the service."""
    prefix: str = request.state.prefix
    return f"{prefix}/"
