"""ASGI middleware that forwards requests about cameras to the machines that run them."""

import json
import re
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.errors import MachineError
from stream.front.front import Answered, Endless, Front
from stream.front.machines import Machine
from stream.front.signed_calls import Caller

CAMERA = re.compile(r"/api/cameras/([A-Za-z0-9_-]{1,64})(?:/(?!\.{1,2}(?:/|$))[^/]*)*")
"""Below a camera's address, without the segments . and .., which clients of HTTP remove."""

FROM_CAMERA = "/api/identities/from-camera"
MAX_FROM_CAMERA = 64 * 1024
"""Bytes of the body that names a camera and a person."""

RETRY_AFTER_S = 5


class Forwarder:
    """Passes requests to the application, except those about cameras of other machines.

    It follows the access check: who may not change a camera here may not do so there.

    Args:
        app: the application.
        front: calls the other machines.
    """

    def __init__(self, app: ASGIApp, *, front: Front) -> None:
        self._app = app
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except HTTPException as error:  # the access check's, of a body that is too large
            refused = JSONResponse({"error": error.detail}, error.status_code)
            await refused(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["state"].get("is_forwarded"):
            await self._app(scope, receive, send)
            return
        path, body = scope["path"], None
        camera = named.group(1) if (named := CAMERA.fullmatch(path)) else None
        if path == FROM_CAMERA and scope["method"] == "POST":
            body = await _body(receive)
            camera = _camera_in(body)
        machine = None if camera is None else self._front.machines.owner_of(camera)
        if machine is None:
            await self._app(scope, receive if body is None else _again(body, receive), send)
            return
        body = await _body(receive) if body is None else body
        try:
            answer = await self._call(machine, scope, body)
        except MachineError as error:
            again = {"retry-after": str(RETRY_AFTER_S)}
            await JSONResponse({"error": str(error)}, 503, again)(scope, receive, send)
            return
        endless = answer.body if isinstance(answer.body, Endless) else None
        response = (
            Response(answer.body, answer.status)
            if isinstance(answer.body, bytes)
            else StreamingResponse(answer.body, answer.status)
        )
        for name, value in answer.headers:
            response.headers.append(name, value)
        try:
            await response(scope, receive, send)
        finally:
            if endless is not None:
                await endless.close()

    async def _call(self, machine: Machine, scope: Scope, body: bytes) -> Answered:
        return await self._front.call(
            machine,
            Caller.of(scope["state"]["client"]),
            method="HEAD" if scope["state"].get("is_head") else scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=Headers(scope=scope),
            body=body,
            prefix=scope["state"].get("prefix", ""),
        )


async def _body(receive: Receive) -> bytes:
    """Return a request's body; the access check limits its size."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""  # the client is gone
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _camera_in(body: bytes) -> str | None:
    if len(body) > MAX_FROM_CAMERA:
        return None
    try:
        fields: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    camera = fields.get("camera") if isinstance(fields, dict) else None
    return camera if isinstance(camera, str) else None
