"""The [server] table of the configuration."""

import ipaddress

from pydantic import Field, field_validator

from stream.config.section import Section
from stream.errors import ConfigError
from stream.inputs import Text

TOKEN_VARIABLE = "FACEWIRE_TOKEN"
VIEWER_TOKEN_VARIABLE = "FACEWIRE_VIEWER_TOKEN"
FORWARDED_VARIABLE = "FORWARDED_ALLOW_IPS"


class ServerConfig(Section):
    """The [server] table."""

    host: Text = Field(
        "127.0.0.1", description="address to listen on; any but loopback needs a token"
    )
    port: int = Field(
        8080, ge=0, le=65535, description="TCP port of the page and the API; 0 for a free one"
    )
    token: Text | None = Field(
        None,
        min_length=16,
        repr=False,
        description=f"secret that clients must send; from the environment: {TOKEN_VARIABLE}",
    )
    viewer_token: Text | None = Field(
        None,
        min_length=16,
        repr=False,
        description="secret of viewers, who may watch and read but change nothing; from the "
        f"environment: {VIEWER_TOKEN_VARIABLE}",
    )
    insecure: bool = Field(False, description="listen beyond this machine without a token")
    allowed_hosts: tuple[Text, ...] = Field(
        (), description="host names, such as a proxy's, that browsers may use for the service"
    )
    forwarded_allow_ips: tuple[str, ...] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded- headers are trusted; "
        f"from the environment: {FORWARDED_VARIABLE}, separated by commas",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="path below which a proxy serves the page, such as /faces",
    )
    max_connections: int = Field(
        1000, ge=16, le=30000, description="HTTP connections at one time, in all"
    )
    max_connections_per_address: int = Field(
        250, ge=8, le=30000, description="of those, from one IPv4 address or IPv6 /64 network"
    )
    header_timeout_s: float = Field(
        10.0, gt=0, le=600, description="seconds until a request's header is complete"
    )
    body_timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="seconds until a request's body is complete, and one more for each 8 KiB",
    )
    idle_timeout_s: float = Field(
        15.0, gt=0, le=600, description="seconds that a connection may wait between two requests"
    )
    send_timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="seconds until a response has been read, and one more for each 8 KiB",
    )
    max_pages: int = Field(
        200, ge=2, le=10000, description="open pages (WebSockets) at one time, in all"
    )
    max_viewers: int = Field(
        100, ge=2, le=10000, description="videos (WebRTC connections) at one time, in all"
    )
    max_uploads: int = Field(
        16, ge=2, le=1000, description="requests with photos at one time, in all"
    )

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for each in proxies:
            if each != "*":
                try:
                    ipaddress.ip_network(each)
                except ValueError:
                    raise ValueError(f"{each!r} is no IP address or network") from None
        return proxies


def require_token(server: ServerConfig) -> None:
    """Raise ConfigError if the service needs a token and has none, or if two tokens are one."""
    if server.viewer_token and not server.token:
        raise ConfigError(
            f"a viewer token without {TOKEN_VARIABLE} leaves no administrator: set both"
        )
    if server.viewer_token and server.viewer_token == server.token:
        raise ConfigError(
            "the viewer token and the administrator token are the same: set two different ones"
        )
    is_local = server.host in {"127.0.0.1", "::1", "localhost"}
    if not is_local and not server.token and not server.insecure:
        raise ConfigError(
            f"listening on {server.host} lets other machines connect: set {TOKEN_VARIABLE} to a "
            "secret of at least 16 characters, or pass --insecure"
        )
