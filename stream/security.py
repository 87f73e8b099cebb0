"""Who may ask: the Host, Origin, token and size of a request, and what browsers are told."""

import hashlib
import hmac
import ipaddress
import json
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
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

UPLOAD_BYTES = 96 * 1024 * 1024  # a photo of 200 megapixels has up to 70 MiB, of 12 about 5
BODY_BYTES = 256 * 1024  # a browser's offer has about 8 KiB, a name far less

TOO_MANY = "too many wrong tokens: wait a minute"
VIEWERS_ONLY_LOOK = "viewers may only watch and read: sign in as administrator"

LOCAL_NAMES = frozenset({"localhost"})

# What a viewer may ask for beside reading: to watch, to stop watching, and who is in a picture,
# of which nothing is kept.
VIEWER_WRITES = re.compile(r"/api/cameras/[^/]+/whep(/[^/]+)?|/api/identify|/api/session")

# These say nothing about anybody: the page itself, and the door.
OPEN_PATHS = frozenset({"/healthz", "/api/session"})
CLOSED_PREFIXES = ("/api/", "/metrics", "/openapi.json")


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets that open the service.

    Attributes:
        admin: lets do everything; None lets everybody.
        viewer: lets watch and read; None for nobody.
    """

    admin: str | None = None
    viewer: str | None = None

    def role_of(self, shows: Callable[[str], bool]) -> Role | None:
        """Return the role of whoever shows a token, asked for one after the other."""
        if self.admin is None or shows(self.admin):
            return Role.ADMIN
        return Role.VIEWER if self.viewer is not None and shows(self.viewer) else None


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
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        attempts: "Attempts",
        clock: Callable[[], float],
        allowed_hosts: Collection[str] = (),
    ) -> None:
        """Guard an application.

        Args:
            app: the application.
            keys: the secrets that are asked for.
            attempts: counts wrong ones, with those of the sign-in.
            clock: seconds, monotonic.
            allowed_hosts: names, besides addresses and localhost, by which it may be called.
        """
        self._app = app
        self._keys = keys
        self._attempts = attempts
        self._clock = clock
        self._allowed_hosts = LOCAL_NAMES | {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        role = self._keys.role_of(lambda token: has_session(headers, token))
        is_heard = True
        if role is None and (shown := bearer_of(headers)) is not None:
            who, now = client_of(scope), self._clock()
            if is_heard := self._attempts.is_open(who, now):
                role = self._keys.role_of(lambda token: is_token(shown, token))
                if role is None:
                    self._attempts.failed(who, now)
        refusal = self._judge(headers, scope, role)
        if not is_heard and refusal is not None and refusal.status is HTTPStatus.UNAUTHORIZED:
            refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)
        scope.setdefault("state", {})["role"] = role
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

    def _judge(self, headers: Headers, scope: Scope, role: Role | None) -> Refusal | None:
        path, method = scope["path"], scope.get("method", "GET")
        host = headers.get("host", "")
        if not is_allowed_host(host, self._allowed_hosts):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server does not go by that name: use its address, or allow the host",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Refusal(HTTPStatus.FORBIDDEN, "requests from other sites are refused")
        if _is_closed(path) and role is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: sign in")
        if role is Role.VIEWER and not is_for_viewers(method, path):
            return Refusal(HTTPStatus.FORBIDDEN, VIEWERS_ONLY_LOOK)
        return None


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED_PREFIXES) and path not in OPEN_PATHS


def is_for_viewers(method: str, path: str) -> bool:
    """Tell whether a request changes nothing: what a viewer may ask for."""
    return method in {"GET", "HEAD", "OPTIONS"} or VIEWER_WRITES.fullmatch(path) is not None


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


def bearer_of(headers: Headers) -> str | None:
    """Return the token that a request shows as bearer; None where it shows none."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" and shown.strip() else None


def client_of(scope: Scope) -> str:
    """Return who asks, for counting: an IPv4 address, or an IPv6 network of one household."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def has_session(headers: Headers, token: str) -> bool:
    """Tell whether a request has the cookie that signing in with the token gave."""
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
    """Bounds how often a token can be guessed, as bearer or at the sign-in.

    By each address, so that one guesser locks out nobody else, and by all together, since addresses
    are cheap. Whoever is signed in already stays so.
    """

    MAX_FAILURES = 10
    MAX_FAILURES_OF_ALL = 200
    SPAN_S = 60.0

    def __init__(self) -> None:
        self._failed: deque[tuple[float, str]] = deque()

    def is_open(self, who: str, now: float) -> bool:
        """Tell whether another try of an address is heard at `now`, seconds, monotonic."""
        while self._failed and now - self._failed[0][0] >= self.SPAN_S:
            self._failed.popleft()
        if len(self._failed) >= self.MAX_FAILURES_OF_ALL:
            return False
        return sum(each == who for _, each in self._failed) < self.MAX_FAILURES

    def failed(self, who: str, now: float) -> None:
        """Count a wrong token."""
        self._failed.append((now, who))


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
