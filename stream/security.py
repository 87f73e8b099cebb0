"""Who may ask: the Host, Origin, token and size of a request, and what browsers are told."""

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "facewire"

# The page takes nothing from elsewhere, runs no inline script and is framed by nobody.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}

UPLOAD_BYTES = 32 * 1024 * 1024  # a dozen photos of a phone
BODY_BYTES = 256 * 1024  # a browser's offer has about 8 KiB, a name far less

LOCAL_NAMES = frozenset({"localhost"})

# These say nothing about anybody: the page itself, and the door.
OPEN_PATHS = frozenset({"/healthz", "/api/session"})
CLOSED_PREFIXES = ("/api/", "/metrics", "/openapi.json")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is turned away."""

    status: HTTPStatus
    reason: str


class Gate:
    """ASGI middleware that lets through only who may ask, and sets the security headers.

    Every refusal is JSON; a refused WebSocket is answered before it is opened.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, allowed_hosts: Collection[str] = ()
    ) -> None:
        """Guard an application.

        Args:
            app: the application.
            token: the secret that is asked for; None asks for none.
            allowed_hosts: names, besides addresses and localhost, by which it may be called.
        """
        self._app = app
        self._token = token
        self._allowed_hosts = LOCAL_NAMES | {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_trusted = self._token is None or is_authorised(headers, self._token)
        refusal = self._judge(headers, scope["path"], is_trusted=is_trusted)
        scope.setdefault("state", {})["is_trusted"] = is_trusted
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                is_private = scope["path"].startswith("/api/")
                answer.setdefault("cache-control", "no-store" if is_private else "no-cache")
            await send(message)

        if refusal is None:
            limit = UPLOAD_BYTES if _takes_photos(scope["path"]) else BODY_BYTES
            await self._app(scope, _bounded(receive, headers, limit), send_guarded)
        else:
            await _refuse(refusal, send_guarded)

    def _judge(self, headers: Headers, path: str, *, is_trusted: bool) -> Refusal | None:
        host = headers.get("host", "")
        if not is_allowed_host(host, self._allowed_hosts):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server does not go by that name: use its address, or allow the host",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Refusal(HTTPStatus.FORBIDDEN, "requests from other sites are refused")
        is_closed = path.startswith(CLOSED_PREFIXES) and path not in OPEN_PATHS
        if is_closed and not is_trusted:
            return Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: sign in")
        return None


def is_allowed_host(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header names this server.

    Addresses pass: a page of another site that had its name turned into our address (DNS
    rebinding) sends its own name.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_authorised(headers: Headers, token: str) -> bool:
    """Tell whether a request shows the token, as bearer or by the page's cookie."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(shown.strip(), token):
        return True
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and hmac.compare_digest(
        cookie.value.encode(), session_of(token).encode()
    )


def is_token(shown: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(shown.encode(), token.encode())


def session_of(token: str) -> str:
    """Return the cookie's value: proves the token, does not tell it, ends when it is changed."""
    return hmac.new(token.encode(), b"facewire session", hashlib.sha256).hexdigest()


class Attempts:
    """Bounds how often the token can be guessed; by all together, since addresses are cheap."""

    MAX_FAILURES = 10
    SPAN_S = 60.0

    def __init__(self) -> None:
        self._failed_at: list[float] = []

    def is_open(self, now: float) -> bool:
        """Tell whether another try is heard at `now`, seconds, monotonic."""
        self._failed_at = [at for at in self._failed_at if now - at < self.SPAN_S]
        return len(self._failed_at) < self.MAX_FAILURES

    def failed(self, now: float) -> None:
        """Count a wrong token."""
        self._failed_at.append(now)


def _takes_photos(path: str) -> bool:
    return path.startswith("/api/identi")  # /api/identities, its photos, and /api/identify


def _bounded(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Refuse a body beyond `limit` bytes, as announced or as it comes."""
    announced = headers.get("content-length", "0")
    left = limit - (int(announced) if announced.isdecimal() else 0)
    refusal = HTTPException(413, f"the request is larger than {limit // 1024} KiB")
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        if left < 0:
            raise refusal
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise refusal
        return message

    return receive_bounded


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
