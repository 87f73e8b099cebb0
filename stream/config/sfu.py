"""The [sfu] table of the configuration."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream.config.section import Section
from stream.http_address import HOST_NAME, MAX_URL, parse_http_address
from stream.inputs import Text

SFU_SECRET_VARIABLE = "FACEWIRE_SFU_SECRET"

CAMERA = "{camera}"
"""Stands for a camera's name in an address."""


class SfuConfig(Section):
    """The [sfu] table."""

    kind: Literal["off", "janus", "whip"] = Field(
        "off",
        description="what multiplies the viewers: janus (viewers come by facewire's page and API), "
        "or whip for MediaMTX, LiveKit and others (each camera is published to it)",
    )
    url: str = Field(
        "",
        repr=False,
        description="janus: its WebSocket API, such as ws://HOST:8188; whip: the address to "
        "publish to, with {camera} for the camera's name",
    )
    watch_url: str = Field(
        "",
        repr=False,
        description="whip: its WHEP address, with {camera}; then facewire's viewers come from it, "
        "too",
    )
    room: Text = Field(
        "facewire",
        min_length=1,
        max_length=64,
        description="janus: separates the streams of several facewire services on one Janus; in a "
        "cluster each machine's name does, too",
    )
    secret: str = Field(
        "",
        repr=False,
        description="janus: its api_secret, which is sent as admin_key too; whip: the bearer "
        f"token; from the environment: {SFU_SECRET_VARIABLE}",
    )
    camera_secrets: dict[Text, str] = Field(
        default_factory=dict,
        repr=False,
        description="whip: bearer tokens by the names of the cameras that have their own, as "
        "LiveKit's do; secret is that of the others",
    )
    cameras: tuple[Text, ...] = Field(
        (), description="whip: the cameras to publish; all of them by default"
    )
    max_viewers: int = Field(
        1000, ge=2, le=100000, description="viewers by way of the SFU at one time"
    )

    @field_validator("url", "watch_url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        if not url:
            return url
        if url.startswith(("ws://", "wss://")):
            try:
                parts = urlsplit(url)
                is_address = bool(parts.hostname and HOST_NAME.fullmatch(parts.hostname))
                is_address = is_address or ":" in (parts.hostname or "")
                if not is_address or parts.port == 0 or len(url) > MAX_URL:
                    raise ValueError
            except ValueError:
                raise ValueError("must be an address such as ws://HOST:8188") from None
        else:
            parse_http_address(url.replace(CAMERA, "camera"))
        return url

    @model_validator(mode="after")
    def _has_its_address(self) -> Self:
        if self.kind == "janus" and not self.url.startswith(("ws://", "wss://")):
            raise ValueError('kind = "janus" needs url, such as "ws://127.0.0.1:8188"')
        if self.kind == "whip" and not self.url.startswith(("http://", "https://")):
            raise ValueError(
                'kind = "whip" needs url, such as "http://127.0.0.1:8889/{camera}/whip"'
            )
        one_address = self.kind == "whip" and CAMERA not in self.url
        if one_address and len(self.cameras) != 1 and not self.camera_secrets:
            raise ValueError(
                "url without {camera} is the address of one camera: name it in cameras, or give "
                "each camera its token in camera_secrets"
            )
        if self.kind == "whip" and self.watch_url.startswith("ws"):
            raise ValueError("watch_url must be an address that begins with http:// or https://")
        return self
