"""Validates HTTP addresses, and converts international names and paths to ASCII."""

import re
from urllib.parse import urlsplit

import httpx2

MAX_URL = 2048
"""Characters: what browsers and servers agree on."""

HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
"""What resolvers accept; underscores occur in the names of containers."""


def parse_http_address(url: str) -> httpx2.URL:
    """Return an http:// or https:// URL, its host by IDNA and its path percent-encoded.

    Raises:
        ValueError: if it is invalid; the message says what is wrong and never contains the URL.
    """
    if len(url) > MAX_URL:
        raise ValueError(f"must have at most {MAX_URL} characters, has {len(url)}")
    try:
        port, parsed = urlsplit(url).port, httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        raise ValueError("must be an address that begins with http:// or https://") from None
    host = parsed.raw_host.decode("ascii")
    is_host = HOST_NAME.fullmatch(host) or ":" in host  # IPv6
    if parsed.scheme not in {"http", "https"} or not is_host or port == 0:
        raise ValueError("must be an address that begins with http:// or https://")
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError("the host name must be parts of 1 to 63 characters between single dots")
    return parsed


def origin(url: httpx2.URL) -> str:
    """Return the scheme, host and non-default port of a URL: the parts that may be shown."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
