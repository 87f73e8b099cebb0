"""The [mqtt] table: the broker, and what is published there."""

import re
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from stream.config.section import Section
from stream.http_address import HOST_NAME, parse_http_address
from stream.inputs import Text, Url

MQTT_PASSWORD_VARIABLE = "FACEWIRE_MQTT_PASSWORD"

MQTT_PORT, MQTTS_PORT = 1883, 8883
"""Registered ports of MQTT, without and with TLS."""

MAX_TOPIC = 200
"""Characters of the first part of topics; MQTT allows 65,535 bytes for a whole one."""


class Broker(NamedTuple):
    """Where a broker is."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_broker(url: str) -> Broker:
    """Return the broker of an mqtt:// or mqtts:// address.

    Raises:
        ValueError: if it is invalid; the message never contains the address.
    """
    wanted = "must be mqtt://HOST or mqtts://HOST, with :PORT where it is another one"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError(wanted) from None
    if "@" in parts.netloc:
        raise ValueError(
            f"must not hold a user or password: set user, and {MQTT_PASSWORD_VARIABLE}"
        )
    is_host = HOST_NAME.fullmatch(host) or ":" in host
    if parts.scheme not in {"mqtt", "mqtts"} or not is_host or port == 0:
        raise ValueError(wanted)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(wanted)
    is_tls = parts.scheme == "mqtts"
    return Broker(host, port or (MQTTS_PORT if is_tls else MQTT_PORT), is_tls)


def _check_topic(topic: str) -> str:
    parts = topic.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts):
        raise ValueError("must be letters, digits, - _ . in parts between /, such as home/facewire")
    return topic


class MqttConfig(Section):
    """The [mqtt] table."""

    url: Url = Field(
        "", description="mqtt://HOST or mqtts://HOST of the broker; nothing is published unless set"
    )
    user: Text = Field("", description="name by which to sign in at the broker")
    password: Text = Field(
        "",
        repr=False,
        description=f"of the user; from the environment: {MQTT_PASSWORD_VARIABLE}",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of the authority that signed the broker's certificate; the system's "
        "unless set",
    )
    version: Literal["3.1.1", "5"] = Field("3.1.1", description="of the MQTT protocol")
    instance: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9-]{1,32}$",
        description="tells several facewire services of one broker apart: letters, digits, -",
    )
    base_topic: Text = Field(
        "",
        max_length=MAX_TOPIC,
        description="begin of all topics; facewire, or facewire-INSTANCE for another instance than "
        "main, unless set",
    )
    discovery_prefix: Text = Field(
        "homeassistant",
        max_length=MAX_TOPIC,
        description="where Home Assistant looks for new devices; empty to publish none",
    )
    page_url: Url = Field(
        "", description="http:// or https:// address of the page, for links in Home Assistant"
    )
    away_s: float = Field(
        60.0,
        ge=1,
        le=86400,
        description="seconds after which a person who is not seen any more counts as away",
    )
    max_people: int = Field(
        500,
        ge=0,
        le=10000,
        description="people that are published; of larger galleries, those seen last",
    )
    faces: bool = Field(
        False, description="publish each camera's last face as a JPEG, which the broker keeps"
    )

    @field_validator("url")
    @classmethod
    def _url_is_a_broker(cls, url: str) -> str:
        if url:
            parse_broker(url)
        return url

    @field_validator("base_topic", "discovery_prefix")
    @classmethod
    def _topic_is_plain(cls, topic: str) -> str:
        return topic and _check_topic(topic)

    @field_validator("page_url")
    @classmethod
    def _page_is_http(cls, url: str) -> str:
        if url:
            parse_http_address(url)
        return url

    @field_validator("ca_file", mode="before")
    @classmethod
    def _ca_file_has_a_name(cls, path: object) -> object:
        if path == "" or "\x00" in str(path):
            raise ValueError("must be the path of a PEM file")
        return path

    @model_validator(mode="after")
    def _topics_are_apart(self) -> Self:
        base, prefix = self.base, self.discovery_prefix
        if prefix and f"{prefix}/".startswith(f"{base}/"):
            raise ValueError("base_topic must not hold the discovery_prefix: choose another")
        return self

    @model_validator(mode="after")
    def _password_has_a_user(self) -> Self:
        if self.password and self.url and not self.user:
            raise ValueError("a password needs a user: set user")
        return self

    @property
    def is_on(self) -> bool:
        """Whether a broker is configured."""
        return bool(self.url)

    @property
    def broker(self) -> Broker:
        """Where the broker is; see `is_on`."""
        return parse_broker(self.url)

    @property
    def base(self) -> str:
        """Begin of all topics, without a slash at its end."""
        own = "facewire" if self.instance == "main" else f"facewire-{self.instance}"
        return self.base_topic or own
