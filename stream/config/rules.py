"""The [[rules]] and [notify] tables: who is notified of which events, and how."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, field_validator

from stream.config.camera import CameraName, ZoneName
from stream.config.section import Section
from stream.frames import EventKind
from stream.http_address import parse_http_address
from stream.inputs import Text, Url

SERVICE_VARIABLE = "FACEWIRE_NOTIFY_"
"""Begins the name of a variable that holds the address of a notification service."""

PLACEHOLDERS: Mapping[str, str] = {
    "text": "what happened, in a sentence",
    "name": "the person, Visitor 12 or Unknown",
    "camera": "the camera",
    "zone": "the zone that was entered last; empty outside of zones",
    "kind": "enter, exit, unknown, renamed, zone, camera_up or camera_down",
    "at": "date and time of ISO 8601",
    "time": "hours and minutes",
    "similarity": "such as 0.71; empty for unknown faces",
    "visit_count": "how often a visitor has come; empty where visitors are not kept",
    "detail": "a note on the event, such as why a camera is down",
    "rule": "the name of the rule",
    "event_id": "the number of the event",
    "event_url": "address of the event on the page",
    "crop_url": "address of the face's picture; a signed-in browser may read it",
}
"""What `{word}` in a template stands for."""

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

ANYBODY, KNOWN, UNKNOWN = "*", "known", "unknown"
FIRST_TIME, RETURNING = "first-time visitor", "returning visitor"
GROUP = "@"
"""Begins an entry of `who` that names a group."""

SPAN = re.compile(r"(?P<begin>([01]\d|2[0-3]):[0-5]\d)-(?P<end>([01]\d|2[0-3]):[0-5]\d|24:00)")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A field name of RFC 9110, 5.1."""

OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Format = Literal["json", "text", "crop"]


def _known_placeholders(template: str) -> str:
    for word in PLACEHOLDER.findall(template):
        if word not in PLACEHOLDERS:
            raise ValueError(f"{{{word}}} is no placeholder: use " + ", ".join(PLACEHOLDERS))
    return template


def _one_line(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("must be one line")
    return text


Line = Annotated[Text, AfterValidator(_one_line)]
Template = Annotated[Text, AfterValidator(_known_placeholders)]
LineTemplate = Annotated[Line, AfterValidator(_known_placeholders)]

TITLE = "{name} at {camera}"
TEXT = "{text}"


class WebhookAction(Section):
    """A POST to any address."""

    type: Literal["webhook"]
    url: Annotated[Url, AfterValidator(_known_placeholders)] = Field(
        description="http:// or https:// address; its path and query may hold {placeholders}",
        repr=False,
    )
    headers: dict[Annotated[Line, Field(max_length=100)], LineTemplate] = Field(
        {}, max_length=30, description="further headers", repr=False
    )
    body: Template = Field(
        "", max_length=20_000, description="template of the body; the event as JSON unless set"
    )
    format: Format = Field(
        "json", description="how values are escaped in the body; crop sends the picture itself"
    )

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        parse_http_address(PLACEHOLDER.sub("x", url))
        if "{" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]:
            raise ValueError("placeholders may be in the path and query only")
        return url

    @field_validator("headers")
    @classmethod
    def _headers_may_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set as a header")
        return headers


class AppriseAction(Section):
    """A message by one of the services that Apprise knows."""

    type: Literal["apprise"]
    service: Text = Field(description="name of the service in [notify.services]")
    title: LineTemplate = Field(TITLE, max_length=1000, description="template of the title")
    body: Template = Field(TEXT, max_length=20_000, description="template of the message")
    with_crop: StrictBool = Field(True, description="attach the face's picture")


class PushAction(Section):
    """A notification on the phones and browsers that asked for it on the page."""

    type: Literal["push"]
    title: LineTemplate = Field(TITLE, max_length=200, description="template of the title")
    body: Template = Field(TEXT, max_length=500, description="template of the message")


class MqttAction(Section):
    """A message to the MQTT broker of [mqtt]."""

    type: Literal["mqtt"]
    topic: LineTemplate = Field(min_length=1, max_length=500, description="template of the topic")
    payload: Template = Field(
        "", max_length=20_000, description="template of the payload; the event as JSON unless set"
    )

    @field_validator("topic")
    @classmethod
    def _topic_has_no_wildcard(cls, topic: str) -> str:
        if "+" in topic or "#" in topic:
            raise ValueError("must hold neither + nor #")
        return topic


Action = Annotated[
    WebhookAction | AppriseAction | PushAction | MqttAction, Field(discriminator="type")
]


class RuleConfig(Section):
    """One [[rules]] table."""

    name: Line = Field(min_length=1, max_length=80, description="shown on the page")
    who: tuple[Annotated[Line, Field(min_length=1, max_length=220)], ...] = Field(
        (ANYBODY,),
        max_length=200,
        description='people by name or id, "@GROUP", "known", "unknown", "first-time visitor", '
        '"returning visitor" or "*"; after "!" or "not ": all but these',
    )
    cameras: tuple[CameraName, ...] = Field(
        (), max_length=200, description="cameras that count; all by default"
    )
    zones: tuple[ZoneName, ...] = Field(
        (),
        max_length=200,
        description="zones of cameras, of which the person must have entered one in this stay, at "
        "once or later; the whole frame by default",
    )
    kinds: tuple[EventKind, ...] = Field(
        (EventKind.ENTER, EventKind.UNKNOWN),
        min_length=1,
        description="of enter, exit, unknown, camera_down and camera_up",
    )
    hours: Text = Field(
        "", description='time of day, such as "22:00-06:00"; at any time unless set'
    )
    days: tuple[Weekday, ...] = Field(
        (), max_length=7, description="mon to sun, on which `hours` begin; every day by default"
    )
    cooldown_s: float = Field(
        60.0,
        ge=0,
        le=86400,
        description="seconds without another notification of the same person and camera",
    )
    max_per_hour: int = Field(30, ge=1, le=1000, description="notifications in an hour, at most")
    then: tuple[Action, ...] = Field(
        min_length=1, max_length=8, description="what is done: webhook, apprise, push or mqtt"
    )

    @field_validator("kinds")
    @classmethod
    def _zones_have_their_own_key(cls, kinds: tuple[EventKind, ...]) -> tuple[EventKind, ...]:
        if EventKind.ZONE in kinds:
            raise ValueError('must not hold "zone": name the zones under `zones`, here enter')
        return kinds

    @field_validator("hours")
    @classmethod
    def _hours_are_a_span(cls, hours: str) -> str:
        match = SPAN.fullmatch(hours)
        if hours and (match is None or match["begin"] == match["end"]):
            raise ValueError('must be like "22:00-06:00", with two different times')
        return hours

    @property
    def groups(self) -> Iterator[str]:
        """The names of the groups in `who`."""
        for entry in self.who:
            what = positive(entry)
            if what.startswith(GROUP):
                yield what.removeprefix(GROUP)

    @property
    def services(self) -> Iterator[str]:
        """The names of the services in `then`."""
        return (each.service for each in self.then if isinstance(each, AppriseAction))


def positive(entry: str) -> str:
    """Return an entry of `who` without its "!" or "not "."""
    return entry.removeprefix("!").removeprefix("not ").strip()


def is_negative(entry: str) -> bool:
    """Return whether an entry of `who` excludes."""
    return entry.startswith(("!", "not "))


class NotifyConfig(Section):
    """The [notify] table."""

    page_url: Url = Field(
        "",
        description="address of the page for links in messages, such as https://faces.example.org/",
    )
    services: dict[Annotated[Text, Field(pattern=r"^[a-z0-9_-]{1,40}$")], Line] = Field(
        {},
        repr=False,
        description="addresses of Apprise by name, which hold secrets; from the environment: "
        f"{SERVICE_VARIABLE}NAME",
    )
    groups: dict[
        Annotated[Line, Field(min_length=1, max_length=80)],
        tuple[Annotated[Line, Field(min_length=1, max_length=220)], ...],
    ] = Field({}, description="names or ids of people by the name of their group")
    contact: Text = Field(
        "mailto:admin@example.org",
        pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$",
        description="mailto: or https: address that push services may complain to",
    )

    @field_validator("page_url")
    @classmethod
    def _page_is_http(cls, url: str) -> str:
        if url:
            parse_http_address(url)
        return url


def check_rules(rules: Sequence[RuleConfig], notify: NotifyConfig) -> None:
    """Check that names differ, and that what rules refer to exists.

    Raises:
        ValueError: if not, in one sentence.
    """
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            raise ValueError(f"two rules are named {rule.name!r}")
        for group in rule.groups:
            if group not in notify.groups:
                raise ValueError(
                    f"rule {rule.name!r} names the group {group!r}: add it to [notify.groups]"
                )
        for service in rule.services:
            if service not in notify.services:
                raise ValueError(
                    f"rule {rule.name!r} names the service {service!r}: add it to "
                    f"[notify.services], or set {SERVICE_VARIABLE}{service.upper()}"
                )
