"""Access control: Host, Origin, token and size of a request; security headers of responses."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.api.connections import network_of
from stream.api.dialects import Dialect, dialect_of
from stream.budget import Budget, Client
from stream.errors import BusyError
from stream.front.front import Front
from stream.front.signed_calls import HEADER as CALL_HEADER
from stream.front.signed_calls import Caller

# The page loads nothing from other hosts, runs no inline script and may not be framed.
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
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}

# Browsers ignore it without TLS, and log a warning on every page.
TLS_HEADERS: Mapping[str, str] = {"cross-origin-opener-policy": "same-origin"}

UPLOAD_BYTES = 96 * 1024 * 1024  # a photo of 200 megapixels has up to 70 MiB, of 12 about 5
BODY_BYTES = 256 * 1024  # a browser's offer has about 8 KiB, a name far less

TOO_MANY = "too many wrong tokens: wait a minute"
WRONG_TOKEN = "this is not the token"
WRONG_CALL = "this call is not by a machine of the same database"
VIEWERS_ONLY_LOOK = "viewers may only watch and read: sign in as administrator"

RETRY_AFTER_S: Mapping[HTTPStatus, int] = {
    HTTPStatus.TOO_MANY_REQUESTS: 60,
    HTTPStatus.SERVICE_UNAVAILABLE: 5,
}

LOCAL_NAMES = frozenset({"localhost"})

# What a viewer may request besides reading: to watch, to stop watching, to identify the people in
# an image, which is not stored, and to be notified on a device of their own.
VIEWER_WRITES = re.compile(
    r"/api/cameras/[^/]+/whep(/[^/]+)?|/api/identify|/api/search|/api/session"
    r"|/api/push/devices(/[^/]+)?"
)

SOCKET_PATH = "/api/ws"

# Ports that browsers leave out of Host.
DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

# These hold no personal data: the page itself, and the sign-in.
OPEN_PATHS = frozenset({"/healthz", "/api/session"})
CLOSED_PREFIXES = ("/api/", "/metrics", "/openapi.json")


class Role(StrEnum):
    """The permissions of a client."""

    VIEWER = "viewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Keys:
    """The tokens of the service.

    Attributes:
        admin: allows everything; None requires no token.
        viewer: allows to watch and read; None for no such token.
        port: on which the service listens; browsers share cookies between all ports of a host.
    """

    admin: str | None = None
    viewer: str | None = None
    port: int = 8080

    @property
    def cookie(self) -> str:
        """The name of the session cookie: different for each service of a host."""
        return f"facewire-{self.port}-{_proof(self.admin or '', 'name')[:8]}"

    def role_of(self, shows: Callable[[str], bool]) -> Role | None:
        """Return the role that a token gives; each token is compared in turn."""
        if self.admin is None or shows(self.admin):
            return Role.ADMIN
        return Role.VIEWER if self.viewer is not None and shows(self.viewer) else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a request is refused."""

    status: HTTPStatus
    reason: str


class Gate:
    """ASGI middleware that passes only permitted requests, and sets the security headers.

    Every refusal is JSON, or a page for people; a WebSocket is refused before it is opened.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        attempts: "Attempts",
        clock: Callable[[], float],
        own_hosts: Collection[str] = (),
        allowed_hosts: Collection[str] = (),
        max_uploads: int = 16,
        dialects: Sequence[Dialect] = (),
        front: Front | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            app: the application.
            keys: the accepted tokens.
            attempts: counts wrong tokens, including those of the sign-in.
            clock: seconds, monotonic.
            own_hosts: names of this machine.
            allowed_hosts: further allowed host names, such as a proxy's.
            max_uploads: maximum of concurrent requests with photos.
            dialects: the APIs of other programs that it has.
            front: knows the machines that may call for clients of theirs; None for none.
        """
        self._app = app
        self._dialects = dialects
        self._front = front
        self._keys = keys
        self._attempts = attempts
        self._clock = clock
        self._names = {host.lower() for host in allowed_hosts}
        self._all_names = LOCAL_NAMES | self._names | {host.lower() for host in own_hosts}
        self._uploads = Budget("uploads", max_uploads)
        # Of requests whose key is in their form: they keep nobody with a key from sending.
        self._unproven = Budget("uploads", max_uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        dialect = dialect_of(scope["path"], self._dialects)
        caller = self._caller_of(headers, scope)
        if caller is not None:
            # It has no session or origin of a browser, and another site's page cannot sign.
            role, is_guessing, dialect = Role(caller.role), False, None
            refusal = _judge_role(scope.get("method", "GET"), scope["path"], role)
        elif CALL_HEADER in headers and self._front is not None and not self._front.is_ready:
            role, is_guessing = None, False
            refusal = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is starting")
        elif CALL_HEADER in headers:
            role = None
            is_guessing = not self._attempts.failed(client_of(scope), self._clock())
            refusal = Refusal(HTTPStatus.UNAUTHORIZED, WRONG_CALL)
        else:
            role, is_guessing = self._role_of(headers, scope, dialect)
            refusal = self._judge(headers, scope, role, dialect)
        of_guess = HTTPStatus.UNAUTHORIZED if dialect is None else HTTPStatus.FORBIDDEN
        if is_guessing and refusal is not None and refusal.status is of_guess:
            refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)
        if dialect is not None:
            dialect.requests.n += 1
            dialect.requests.n_refused += refusal is not None
        address = client_of(scope) if caller is None else caller.address
        client = Client(address, role is Role.ADMIN)
        is_head = scope.get("method") == "HEAD"
        scope.setdefault("state", {}).update(
            role=role, client=client, is_forwarded=caller is not None, is_head=is_head
        )
        if scope["type"] == "websocket":
            if refusal is None:
                await _until_stopped(self._app(scope, receive, send))
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
            return
        is_started = False

        async def send_guarded(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                answer = MutableHeaders(scope=message)
                is_tls = scope["scheme"] == "https"
                for name, value in {**HEADERS, **(TLS_HEADERS if is_tls else {})}.items():
                    answer.setdefault(name, value)
                is_private = scope["path"].startswith("/api/")
                answer.setdefault("cache-control", "no-store" if is_private else "no-cache")
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if refusal is not None:
            await _refuse(refusal, scope, dialect, send_guarded)
            return
        is_upload = _takes_photos(scope, dialect)
        limit = UPLOAD_BYTES if is_upload else BODY_BYTES
        if is_upload and dialect is not None:
            limit = dialect.max_bytes
        # HEAD is answered like GET, without the body.
        asked = {**scope, "method": "GET"} if is_head else scope
        places = self._uploads if role is not None else self._unproven
        try:
            if is_upload:
                places.take(client)
            try:
                await _until_stopped(
                    self._app(asked, _bounded(receive, headers, limit), send_guarded)
                )
            finally:
                if is_upload:
                    places.give_back(client)
        except BusyError as error:
            busy = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            await _refuse(busy, scope, dialect, send_guarded)
            return
        if not is_started:
            stopping = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping")
            await _refuse(stopping, scope, dialect, send_guarded)

    def _caller_of(self, headers: Headers, scope: Scope) -> Caller | None:
        """Return for whom another machine calls; None if none does, or if it is not proven."""
        value = headers.get(CALL_HEADER)
        if value is None or self._front is None or not scope["path"].startswith("/api/"):
            return None
        return self._front.caller_of(
            value,
            method=scope.get("method", "GET"),
            path=scope["path"],
            query=scope["query_string"],
        )

    def _role_of(
        self, headers: Headers, scope: Scope, dialect: Dialect | None
    ) -> tuple[Role | None, bool]:
        """Return the client's role, and whether it has sent too many wrong tokens."""
        if dialect is None:
            shown = bearer_of(headers)
            role = self._keys.role_of(
                lambda token: has_session(headers, token, name=self._keys.cookie)
            )
        else:
            # Never the cookie: pages of other sites may send requests, and browsers add it.
            shown = dialect.key_of(headers)
            role = self._keys.role_of(lambda token: False)
        if role is not None or shown is None:
            return role, False
        role = self._keys.role_of(lambda token: is_token(shown, token))
        if role is not None:
            return role, False
        return None, not self._attempts.failed(client_of(scope), self._clock())

    def _judge(
        self, headers: Headers, scope: Scope, role: Role | None, dialect: Dialect | None
    ) -> Refusal | None:
        path, method = scope["path"], scope.get("method", "GET")
        if dialect is not None and self._keys.admin is not None:
            # The key is no cookie, so another site's page or name needs it as well.
            return _judge_key(path, method, role, dialect, has_key=bool(dialect.key_of(headers)))
        host = headers.get("host", "")
        if not is_allowed_host(host, self._all_names):
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this service does not go by the name {host[:100]!r}: use its address, or add the "
                "name to allowed_hosts",
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host, headers, scope):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                f"requests from other sites are refused: the page is from {origin[:100]!r}, the "
                f"request for {host[:100]!r}; let the proxy pass on the browser's Host (nginx: "
                "proxy_set_header Host $http_host), or add the page's host to allowed_hosts",
            )
        if _is_closed(path) and role is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, "a token is needed: sign in")
        return _judge_role(method, path, role)

    def _is_own(self, origin: str, host: str, headers: Headers, scope: Scope) -> bool:
        # Browsers set it, scripts cannot; Host may then be a proxy's own name for the service.
        # Chromium omits it for WebSockets, so those are checked without it.
        is_asked_for_socket = scope["path"] == SOCKET_PATH and scope.get("method") == "OPTIONS"
        if headers.get("sec-fetch-site") == "same-origin" and not is_asked_for_socket:
            return True
        return is_own_origin(origin, host, names=self._names, port=self._keys.port)


def _judge_role(method: str, path: str, role: Role | None) -> Refusal | None:
    if role is Role.VIEWER and not is_for_viewers(method, path):
        return Refusal(HTTPStatus.FORBIDDEN, VIEWERS_ONLY_LOOK)
    return None


def _judge_key(
    path: str, method: str, role: Role | None, dialect: Dialect, *, has_key: bool
) -> Refusal | None:
    if dialect.is_open(path):
        return None
    if role is None and not has_key:
        return Refusal(HTTPStatus.UNAUTHORIZED, "a key is needed")
    if role is None:
        return Refusal(HTTPStatus.FORBIDDEN, WRONG_TOKEN)
    if role is Role.VIEWER and not dialect.is_for_viewers(method, path):
        return Refusal(HTTPStatus.FORBIDDEN, VIEWERS_ONLY_LOOK)
    return None


async def _until_stopped(served: Awaitable[None]) -> None:
    """Serve a request until it ends, its client disconnects, or the service stops."""
    try:
        await served
    except ClientDisconnect:
        pass
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED_PREFIXES) and path not in OPEN_PATHS


def is_for_viewers(method: str, path: str) -> bool:
    """Return whether a request changes nothing, so that a viewer may send it."""
    return method in {"GET", "HEAD", "OPTIONS"} or VIEWER_WRITES.fullmatch(path) is not None


def is_allowed_host(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header names this server.

    IP addresses pass: a page of another site whose name resolves to this server's address (DNS
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


def is_own_origin(origin: str, host: str, *, names: Collection[str], port: int) -> bool:
    """Return whether a page of this service sent a request.

    Args:
        origin: the header Origin: of the page.
        host: the header Host: of the request's target.
        names: hosts that serve this service's pages, whatever a proxy put into Host.
        port: on which the service listens. A browser that connects directly puts the port into
            Host; if it is missing, a proxy has removed it.
    """
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"//{host}")
        default = DEFAULT_PORTS[page.scheme]
        page_port, asked_port = page.port or default, asked.port or default
        is_port_left_out = asked.port is None and port not in DEFAULT_PORTS.values()
    except (ValueError, KeyError):
        return False
    if not page.hostname:
        return False
    if page.hostname in names:
        return True
    return page.hostname == asked.hostname and (page_port == asked_port or is_port_left_out)


def bearer_of(headers: Headers) -> str | None:
    """Return the bearer token of a request; None without one."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" and shown.strip() else None


def client_of(scope: Scope) -> str:
    """Return the client's key for counting: an IPv4 address, or an IPv6 network (a household)."""
    return network_of(str((scope.get("client") or ("",))[0])[:64])


def cookies_of(headers: Headers, name: str) -> list[str]:
    """Return the values of a cookie; other programs of the host may have set further cookies.

    RFC 6265, 5.4 and 4.2.1: pairs are separated by semicolons, and a browser sends several of one
    name if their paths differ.
    """
    pairs = (pair.partition("=") for line in headers.getlist("cookie") for pair in line.split(";"))
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


def has_session(headers: Headers, token: str, *, name: str) -> bool:
    """Return whether a request has the session cookie of the token."""
    session = session_of(token).encode()
    return any(hmac.compare_digest(value.encode(), session) for value in cookies_of(headers, name))


def is_token(shown: str, token: str) -> bool:
    """Return whether two tokens are equal, in constant time."""
    # A form of another encoding than UTF-8 may hold half a character.
    return hmac.compare_digest(shown.encode(errors="surrogatepass"), token.encode())


def session_of(token: str) -> str:
    """Return the cookie's value: derived from the token, not revealing it, void on its change."""
    return _proof(token, "session")


def _proof(token: str, purpose: str) -> str:
    return hmac.new(token.encode(), f"facewire {purpose}".encode(), hashlib.sha256).hexdigest()


class Attempts:
    """Limits how often wrong tokens are answered per address, as bearer or at the sign-in.

    A correct token is never counted and never refused: many people may share an address.
    """

    MAX_FAILURES = 10
    MAX_ADDRESSES = 4096
    SPAN_S = 60.0

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, float]] = {}

    def failed(self, who: str, now: float) -> bool:
        """Count a wrong token; return whether it is one of the few that are answered as such.

        Args:
            who: the client's address.
            now: seconds, monotonic.
        """
        n, since = self._failed.pop(who, (0, now))
        if now - since >= self.SPAN_S:
            n, since = 0, now
        self._failed[who] = (n + 1, since)
        if len(self._failed) > self.MAX_ADDRESSES:
            del self._failed[next(iter(self._failed))]
        return n < self.MAX_FAILURES


def _takes_photos(scope: Scope, dialect: Dialect | None) -> bool:
    # /api/identities, its photos, /api/identify, and /api/search
    path = scope["path"]
    takes = dialect is not None or path.startswith("/api/identi") or path == "/api/search"
    return bool(scope["method"] == "POST" and takes)


def _bounded(receive: Receive, headers: Headers, limit: int) -> Receive:
    """Refuse a body above `limit` bytes, as declared or as received."""
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


async def _refuse(refusal: Refusal, scope: Scope, dialect: Dialect | None, send: Send) -> None:
    headers = Headers(scope=scope)
    status: int = refusal.status
    kind, body = "application/json", json.dumps({"error": refusal.reason})
    if dialect is not None:
        status, answer = dialect.refusal(status, refusal.reason, scope["path"])
        body = json.dumps(answer)
    elif headers.get("sec-fetch-dest") == "document" or "text/html" in headers.get("accept", ""):
        reason = escape(refusal.reason)
        kind, body = "text/html; charset=utf-8", f"<!doctype html><title>facewire</title>{reason}"
    data = body.encode()
    own = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(data))]
    if refusal.status in RETRY_AFTER_S:
        own.append((b"retry-after", b"%d" % RETRY_AFTER_S[refusal.status]))
    if status == HTTPStatus.UNAUTHORIZED:
        own.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": data})
