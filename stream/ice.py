"""STUN and TURN servers for the service and its viewers.

Both ends need them: a viewer behind a NAT finds its own public address by STUN, and where no
direct path exists, both send through TURN.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from typing_extensions import TypedDict  # pydantic accepts the standard one from Python 3.12 on

CREDENTIAL_S = 24 * 3600
"""Seconds for which a time-limited TURN credential is good: a page that stays open asks anew."""

# RFC 7064 and 7065, plus a login before the host, which is removed again.
_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):"
    r"(?:(?P<username>[^:@]*):(?P<credential>.*)@)?"
    r"(?P<host>[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<query>\?transport=(?:udp|tcp))?"
)
_EXAMPLES = "such as stun:host:3478 or turn:user:password@host"


class IceServerJson(TypedDict, total=False):
    """One server, as RTCPeerConnection takes it; credentials are there for TURN alone."""

    urls: str
    username: str
    credential: str


class IceServersJson(TypedDict):
    """The servers that viewers should use, and for how many seconds their credentials are good."""

    ice_servers: list[IceServerJson]
    valid_s: int


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server.

    Attributes:
        url: without credentials.
        username: of TURN; empty for none.
        credential: of TURN; empty for none.
    """

    url: str
    username: str = ""
    credential: str = ""

    @property
    def is_turn(self) -> bool:
        """Whether it is a TURN server, which needs credentials."""
        return self.url.startswith("turn")

    def to_json(self) -> IceServerJson:
        """Return the server as RTCPeerConnection expects it."""
        if not self.username:
            return {"urls": self.url}
        return {"urls": self.url, "username": self.username, "credential": self.credential}

    def to_link(self) -> str:
        """Return the server as the value of a Link header (RFC 9725, section 4.6)."""
        link = f'<{self.url}>; rel="ice-server"'
        if not self.username:
            return link
        return (
            f"{link}; username={_quoted(self.username)}; credential={_quoted(self.credential)}"
            '; credential-type="password"'
        )


class IceServers:
    """The configured servers.

    Args:
        urls: stun: and turn: URLs; credentials as turn:USER:PASSWORD@HOST.
        secret: shared with the TURN servers whose URLs hold no credentials (coturn's
            `use-auth-secret`); empty for none.
        wall_clock: seconds since 1970.

    Raises:
        ValueError: if a URL is invalid, or a TURN server has no credentials.
    """

    def __init__(
        self, urls: Sequence[str], *, secret: str = "", wall_clock: Callable[[], float]
    ) -> None:
        self._servers = [parse_ice_server(url) for url in urls]
        self._secret = secret
        self._wall_clock = wall_clock
        for server in self._servers:
            if server.is_turn and not server.username and not secret:
                raise ValueError(
                    f"{server.url} needs credentials: turn:USER:PASSWORD@HOST, or a turn_secret"
                )

    def current(self) -> list[IceServer]:
        """Return the servers with credentials valid from now on."""
        return [self._with_credential(server) for server in self._servers]

    def to_json(self) -> IceServersJson:
        """Return the servers and the lifetime of their credentials, for a page."""
        servers = [server.to_json() for server in self.current()]
        return {"ice_servers": servers, "valid_s": CREDENTIAL_S}

    def to_links(self) -> list[str]:
        """Return the values of the Link headers of a WHEP or WHIP answer."""
        return [server.to_link() for server in self.current()]

    def _with_credential(self, server: IceServer) -> IceServer:
        """Return the server; adds a credential of draft-uberti-behave-turn-rest-00 if needed."""
        if not server.is_turn or server.username:
            return server
        username = f"{int(self._wall_clock()) + CREDENTIAL_S}:facewire"
        digest = hmac.new(self._secret.encode(), username.encode(), hashlib.sha1).digest()
        return replace(server, username=username, credential=base64.b64encode(digest).decode())


def parse_ice_server(url: str) -> IceServer:
    """Return the server of a STUN or TURN URL, with the credentials in it, if any.

    Raises:
        ValueError: if the URL is invalid; the message never contains it.
    """
    match = _URL.fullmatch(url)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ValueError(f"expected a stun: or turn: URL, {_EXAMPLES}")
    is_turn = match["scheme"].startswith("turn")
    username, credential = unquote(match["username"] or ""), unquote(match["credential"] or "")
    if match["username"] is not None and not is_turn:
        raise ValueError("a stun: URL takes no credentials")
    if bool(username) != bool(credential):
        raise ValueError("a turn: URL needs both user and password: turn:USER:PASSWORD@HOST")
    if match["query"] and not is_turn:
        raise ValueError("a stun: URL takes no transport")
    if not all(text.isascii() and text.isprintable() for text in (username, credential)):
        raise ValueError("the user and password of a turn: URL must be ASCII")
    port = f":{match['port']}" if match["port"] else ""
    address = f"{match['scheme']}:{match['host']}{port}{match['query'] or ''}"
    return IceServer(address, username, credential)


def _quoted(text: str) -> str:
    """Return a quoted string (RFC 9110, section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
