"""The [[webhooks]] tables of the configuration."""

import base64

from pydantic import Field, field_validator

from stream.config.section import Section
from stream.frames import EventKind
from stream.http_address import parse_http_address
from stream.inputs import Text, Url

WEBHOOK_SECRET_VARIABLE = "FACEWIRE_WEBHOOK_SECRET"

ENCODED_SECRET = "whsec_"
"""Begins a webhook's secret that is written in base64, after Standard Webhooks."""


def _decoded(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(ENCODED_SECRET), validate=True)


class WebhookConfig(Section):
    """One [[webhooks]] table."""

    url: Url = Field(description="http:// or https:// address that receives each event", repr=False)
    secret: Text = Field(
        "",
        repr=False,
        description="signs what is sent: whsec_ and the base64 of 24 to 64 bytes, or any text; "
        f"from the environment: {WEBHOOK_SECRET_VARIABLE}",
    )
    events: tuple[EventKind, ...] = Field((), description="kinds of events to send; all by default")

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        parse_http_address(url)
        return url

    @field_validator("secret")
    @classmethod
    def _secret_is_a_key(cls, secret: str) -> str:
        if secret.startswith(ENCODED_SECRET):
            try:
                size = len(_decoded(secret))
            except ValueError:
                size = 0
            if not 24 <= size <= 64:
                raise ValueError(f"after {ENCODED_SECRET} must be the base64 of 24 to 64 bytes")
        return secret

    @property
    def key(self) -> bytes:
        """Key of the signature: the base64 text after whsec_, decoded; else the text's bytes."""
        is_encoded = self.secret.startswith(ENCODED_SECRET)
        return _decoded(self.secret) if is_encoded else self.secret.encode()
