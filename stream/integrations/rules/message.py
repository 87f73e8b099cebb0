"""What a notification says: templates, filled with values that are escaped for their place."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from urllib.parse import quote

from stream.config.rules import PLACEHOLDER
from stream.events.log import LoggedEvent
from stream.frames import EventKind
from stream.integrations.rules.matching import local_time
from stream.redaction import redact
from stream.schemas.events import event_json


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A notification of one event by one rule.

    Attributes:
        event: the event, as currently logged.
        rule: name of the rule.
        crop: the face as JPEG, 112x112; None if there is none.
        values: of the placeholders, see `stream.config.rules.PLACEHOLDERS`.
    """

    event: LoggedEvent
    rule: str
    crop: bytes | None
    values: Mapping[str, str]

    def json(self) -> str:
        """Return the message as JSON: the event as in GET /api/events, with the sentence."""
        document = {
            "rule": self.rule,
            "text": self.values["text"],
            "crop_url": self.values["crop_url"],
            "event_url": self.values["event_url"],
            "event": event_json(self.event),
        }
        return json.dumps(document, ensure_ascii=False)


def message_of(
    event: LoggedEvent,
    *,
    rule: str,
    crop: bytes | None,
    page_url: str,
    zone: tzinfo | None,
) -> Message:
    """Return the message of an event.

    Args:
        event: the event.
        rule: name of the rule.
        crop: the face as JPEG; None if there is none.
        page_url: address of the page; empty for addresses relative to it.
        zone: time zone of its times; None for the system's.
    """
    local = local_time(event, zone)
    base = page_url and page_url.rstrip("/") + "/"
    name = event.name or event.visitor or ("" if event.track_id is None else "Unknown")
    values = {
        "text": sentence(event),
        "name": name or event.camera,
        "camera": event.camera,
        "zone": event.zones[-1] if event.zones else "",
        "kind": event.kind.value,
        "at": local.isoformat(timespec="seconds"),
        "time": local.strftime("%H:%M"),
        "similarity": "" if event.similarity is None else f"{event.similarity:.2f}",
        "visit_count": "" if event.visit_count is None else str(event.visit_count),
        "detail": redact(event.detail),
        "rule": rule,
        "event_id": str(event.id),
        "event_url": f"{base}{event_route(event)}",
        "crop_url": f"{base}api/events/{event.id}/crop.jpg" if event.has_crop else "",
    }
    return Message(event, rule, crop, values)


def event_route(event: LoggedEvent) -> str:
    """Return the address of an event within the page."""
    return f"#/events?event={event.id}"


def sentence(event: LoggedEvent) -> str:
    """Return what happened, in one sentence without its time."""
    times = event.visit_count or 0
    who = event.name or event.visitor or "An unknown face"
    if event.name is None and times > 1:
        who = f"{who} ({times} visits)"
    match event.kind:
        case EventKind.EXIT:
            return f"{who} left {event.camera}"
        case EventKind.ZONE:
            return f"{who} entered {event.zones[-1]} at {event.camera}"
        case EventKind.CAMERA_DOWN:
            detail = redact(event.detail)
            return f"Camera {event.camera} is down" + (f": {detail}" if detail else "")
        case EventKind.CAMERA_UP:
            return f"Camera {event.camera} is up"
        case _:
            where = f" ({event.zones[-1]})" if event.zones else ""
            return f"{who} is at {event.camera}{where}"


def fill(template: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    """Return a template with its placeholders replaced by escaped values."""
    return PLACEHOLDER.sub(lambda found: escape(_clean(values[found[1]])), template)


def _clean(value: str) -> str:
    # A lone surrogate has no UTF-8.
    return value.encode(errors="replace").decode()


def as_is(value: str) -> str:
    """Return a value for plain text."""
    return value


def for_url(value: str) -> str:
    """Return a value for one segment of a path, or one value of a query (RFC 3986)."""
    return quote(value, safe="")


def for_json(value: str) -> str:
    """Return a value for the inside of a JSON string (RFC 8259)."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def for_line(value: str) -> str:
    """Return a value for one line: control characters become spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in value)


def for_topic(value: str) -> str:
    """Return a value for one level of an MQTT topic (MQTT 3.1.1, 4.7)."""
    return "".join("_" if letter in "/+#" else letter for letter in for_line(value))


def header_of(text: str) -> str:
    """Return a header's value, in RFC 2047's encoding where it is not ASCII, as ntfy reads it."""
    if text.isascii():
        return text
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="
