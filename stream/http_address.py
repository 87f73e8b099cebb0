"""HTTP addresses that people type: checked, with international names and paths in ASCII."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpx2

MAX_URL = 2048
"""Characters: what browsers and servers agree on."""

HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What resolvers take; underscores occur in the names of containers."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where to send a request.

    Attributes:
        scheme: "http" or "https".
        host: ASCII, international names by IDNA; IPv6 addresses without brackets.
        port: of the URL, or the scheme's own.
        target: path and query, percent-encoded.
        username: decoded; None where the URL has none.
        password: decoded; empty where the URL has none.
    """

    scheme: str
    host: str
    port: int
    target: str
    username: str | None
    password: str

    @property
    def origin(self) -> str:
        """Scheme, host and, if the URL names one, port: what may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if is_default else f":{self.port}")


def parse_http_address(url: str) -> HttpAddress:
    """Read an http:// or https:// URL.

    Raises:
        ValueError: if it is none; the message says what is wrong and never holds the URL.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"must have at most {MAX_URL} characters, has {len(url)}")
    try:
        parts, parsed = urlsplit(url), httpx2.URL(url)
        port = parts.port
    except (ValueError, httpx2.InvalidURL):
        raise ValueError("must be an address that begins with http:// or https://") from None
    host = parsed.raw_host.decode("ascii")
    is_host = HOST_NAME.fullmatch(host) or ":" in host  # IPv6
    if parsed.scheme not in {"http", "https"} or not is_host or port == 0:
        raise ValueError("must be an address that begins with http:// or https://")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError("the host name must be parts of 1 to 63 characters between single dots")
    return HttpAddress(
        scheme=parsed.scheme,
        host=host,
        port=port or {"http": 80, "https": 443}[parsed.scheme],
        target=parsed.raw_path.decode("ascii"),
        username=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
    )
