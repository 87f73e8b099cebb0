"""The X-Forwarded- headers in which a proxy passes on the browser's address and target.

Only proxies that the configuration names are trusted: anyone can send these headers.
"""

import re
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,100}){1,8}")


class TrustedProxies:
    """Addresses and networks with trusted X-Forwarded- headers; "*" for all."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self.addresses = ["*"] if "*" in addresses else [*addresses]
        self._hosts = ProxyHeadersMiddleware(_nothing, self.addresses).trusted_hosts

    def __contains__(self, host: str) -> bool:
        return bool(self.addresses) and host in self._hosts


class Proxies:
    """ASGI middleware that puts the browser's address, scheme, host and path into the scope.

    uvicorn's middleware reads X-Forwarded-For and -Proto, -Host replaces Host, and -Prefix, or
    else the configured path, is the path under which the service is shown: it is removed from
    the request's path if the proxy left it there, and stored in `scope["state"]["prefix"]` for
    responses that hold an address.

    Args:
        app: the application.
        trusted: addresses of proxies with trusted headers.
        root_path: the path under which a proxy shows the service; empty for none.
    """

    def __init__(self, app: ASGIApp, *, trusted: TrustedProxies, root_path: str = "") -> None:
        self._app = app
        # uvicorn has its own ASGI types.
        application: Any = app
        self._forwarded: Any = ProxyHeadersMiddleware(application, trusted.addresses)
        self._trusted = trusted
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        prefix = self._root_path
        host = (scope.get("client") or ("",))[0]
        is_believed = host in self._trusted
        if is_believed:
            headers = MutableHeaders(scope=scope)
            forwarded = _last(headers, "x-forwarded-prefix").rstrip("/")
            if PREFIX.fullmatch(forwarded):
                prefix = forwarded
            if name := _last(headers, "x-forwarded-host"):
                headers["host"] = name
        if prefix and scope["path"] == prefix and scope["type"] == "http":
            await RedirectResponse(f"{prefix}/", 308)(scope, receive, send)
            return
        if prefix and scope["path"].startswith(f"{prefix}/"):
            scope["path"] = scope["path"][len(prefix) :]
        scope.setdefault("state", {})["prefix"] = prefix
        await (self._forwarded if is_believed else self._app)(scope, receive, send)


def _last(headers: Headers, name: str) -> str:
    """Return the value set by the nearest proxy."""
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""


async def _nothing(scope: object, receive: object, send: object) -> None:
    """Do nothing."""
