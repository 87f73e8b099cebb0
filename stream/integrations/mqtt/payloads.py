"""Topics and payloads: what is published of a camera, a person and a visitor.

Pure functions. The forms of Home Assistant's discovery are those of its MQTT integration from
2024.3 on (https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery), one topic for each
entity, which every version reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stream.events.log import LoggedEvent
from stream.frames import EventKind
from stream.schemas.events import event_json

Payload = str | bytes

MAX_STATE = 255
"""Characters of a state in Home Assistant."""

NOBODY, NOWHERE = "nobody", "None"

CACHED = 4096
"""People, visitors and cameras of which the discovery is kept, so that it is written once."""

LEAVES: Mapping[str, tuple[str, ...]] = {
    "cameras": (
        *("status", "occupancy", "people", "state", "face", "enabled/state"),
        "zones/+/occupancy",
    ),
    "people": ("presence", "camera", "attributes"),
    "visitors": ("presence", "camera", "attributes"),
}
"""What is retained below the base topic, of each."""


@dataclass(frozen=True, slots=True)
class Home:
    """What all payloads of a service share.

    Attributes:
        base: begin of the topics.
        prefix: of Home Assistant's discovery; empty for none.
        instance: tells services of one broker apart.
        version: of facewire.
        page_url: address of the page; empty where it is not known.
        has_faces: whether the last face of each camera is published.
    """

    base: str
    prefix: str
    instance: str
    version: str
    page_url: str
    has_faces: bool

    @property
    def node(self) -> str:
        """The part of the discovery topics that is this service's own."""
        return "facewire" if self.instance == "main" else f"facewire-{self.instance}"

    def owned(self) -> list[str]:
        """Return filters of all topics that may be retained, and of no others."""
        own = [f"{self.base}/{kind}/+/{leaf}" for kind in LEAVES for leaf in LEAVES[kind]]
        return own + ([f"{self.prefix}/+/{self.node}/+/config"] if self.prefix else [])


@dataclass(frozen=True, slots=True)
class PersonInView:
    """A known person in view of a camera; `since` is ISO 8601 in UTC."""

    identity_id: str
    name: str
    similarity: float
    since: str
    track_id: str


@dataclass(frozen=True, slots=True)
class CameraView:
    """A camera at one moment.

    Attributes:
        name: of the camera.
        status: online, offline or disabled.
        is_enabled: whether it is switched on.
        people: the known people in view, by name.
        n_unknown: faces of strangers in view.
        count: faces in view, those included that are not decided yet.
        at: when who is in view last changed, ISO 8601 in UTC.
        face: the last face as JPEG; None if there is none, or it is not published.
        zones: its zones, and whether a face is in each.
    """

    name: str
    status: str
    is_enabled: bool
    people: tuple[PersonInView, ...]
    n_unknown: int
    count: int
    at: str
    face: bytes | None = None
    zones: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Who:
    """A person or visitor at one moment.

    Attributes:
        kind: "people" or "visitors".
        key: identity id, or visitor's id.
        name: the name, or "Visitor 12".
        is_present: seen within the last `away_s`.
        camera: the last one that saw them; empty if none did.
        at: when it did, ISO 8601 in UTC; empty if none did.
        similarity: of the last event; None where there is none.
        event_id: the last event; None where there is none.
        visit_count: of a visitor, stays so far; None of a person.
    """

    kind: str
    key: str
    name: str
    is_present: bool
    camera: str = ""
    at: str = ""
    similarity: float | None = None
    event_id: int | None = None
    visit_count: int | None = None


def camera_payloads(home: Home, camera: CameraView) -> dict[str, Payload]:
    """Return what is retained of a camera, by topic."""
    root = f"{home.base}/cameras/{camera.name}"
    names = ", ".join(dict.fromkeys(person.name for person in camera.people))
    state = {
        "people": [
            {
                "identity_id": person.identity_id,
                "name": person.name,
                "similarity": person.similarity,
                "since": person.since,
                "track_id": person.track_id,
            }
            for person in camera.people
        ],
        "unknown": camera.n_unknown,
        "count": camera.count,
        "at": camera.at,
    }
    found: dict[str, Payload] = {
        f"{root}/status": camera.status,
        f"{root}/occupancy": _on(camera.count > 0),
        f"{root}/people": text(_shortened(names) or NOBODY),
        f"{root}/state": _json(state),
        f"{root}/enabled/state": _on(camera.is_enabled),
    }
    for zone, is_occupied in camera.zones:
        found[f"{root}/zones/{zone}/occupancy"] = _on(is_occupied)
    if camera.face is not None:
        found[f"{root}/face"] = camera.face
    zones = tuple(zone for zone, _ in camera.zones)
    return {**found, **_camera_discovery(home, camera.name, zones)}


def who_payloads(home: Home, who: Who) -> dict[str, Payload]:
    """Return what is retained of a person or visitor, by topic."""
    root = f"{home.base}/{who.kind}/{who.key}"
    attributes: dict[str, Any] = {
        "name": who.name,
        "camera": who.camera or None,
        "at": who.at or None,
        "similarity": who.similarity,
        "event_id": who.event_id,
    }
    if who.visit_count is not None:
        attributes["visit_count"] = who.visit_count
    return {
        f"{root}/presence": _on(who.is_present),
        f"{root}/camera": who.camera if who.is_present and who.camera else NOWHERE,
        f"{root}/attributes": _json(attributes),
        **_who_discovery(home, who.kind, who.key, who.name),
    }


@lru_cache(CACHED)
def service_discovery(home: Home) -> dict[str, str]:
    """Return the discovery of the service itself, by topic."""
    if not home.prefix:
        return {}
    config = {
        "name": "Connection",
        "unique_id": f"facewire_{home.instance}_connection",
        "state_topic": f"{home.base}/status",
        "payload_on": "online",
        "payload_off": "offline",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "device": _service_device(home),
        "origin": _origin(home),
    }
    return _configs(home, {("binary_sensor", "service_connection"): config})


def event_payload(event: LoggedEvent) -> str:
    """Return an event as GET /api/events gives it, with what Home Assistant's events need."""
    crop_url = f"/api/events/{event.id}/crop.jpg" if event.has_crop else None
    return _json({"event_type": event.kind.value, **event_json(event), "crop_url": crop_url})


def event_topics(home: Home, event: LoggedEvent) -> list[str]:
    """Return the topics of an event: the camera's, and that of all events."""
    return [f"{home.base}/cameras/{event.camera}/event", f"{home.base}/events"]


@lru_cache(CACHED)
def _camera_discovery(home: Home, camera: str, zones: tuple[str, ...]) -> dict[str, str]:
    if not home.prefix:
        return {}
    root = f"{home.base}/cameras/{camera}"
    unique = f"facewire_{home.instance}_{camera}"
    is_up = {
        "topic": f"{root}/status",
        # Home Assistant has no word for a camera that is switched off.
        "value_template": "{{ 'online' if value == 'online' else 'offline' }}",
    }
    device: dict[str, Any] = {
        "identifiers": [unique],
        "name": camera,
        "manufacturer": "facewire",
        "model": "camera",
        "sw_version": home.version,
        "via_device": f"facewire_{home.instance}",
    }
    if home.page_url:
        device["configuration_url"] = home.page_url
    of_camera = {
        "availability": [{"topic": f"{home.base}/status"}, is_up],
        "availability_mode": "all",
        "device": device,
        "origin": _origin(home),
    }
    of_service = {**of_camera, "availability": [{"topic": f"{home.base}/status"}]}
    slug = _slug(camera)
    configs: dict[tuple[str, str], dict[str, Any]] = {
        ("binary_sensor", f"{camera}_occupancy"): {
            "name": "Face",
            "unique_id": f"{unique}_occupancy",
            "default_entity_id": f"binary_sensor.{slug}_face",
            "state_topic": f"{root}/occupancy",
            "device_class": "occupancy",
            "json_attributes_topic": f"{root}/state",
            **of_camera,
        },
        ("sensor", f"{camera}_people"): {
            "name": "People",
            "unique_id": f"{unique}_people",
            "state_topic": f"{root}/people",
            "json_attributes_topic": f"{root}/state",
            "icon": "mdi:face-recognition",
            **of_camera,
        },
        ("event", f"{camera}_event"): {
            "name": "Event",
            "unique_id": f"{unique}_event",
            "state_topic": f"{root}/event",
            "event_types": [kind.value for kind in EventKind],
            # That a camera went down is an event of it, too.
            **of_service,
        },
        ("switch", f"{camera}_enabled"): {
            "name": "Enabled",
            "unique_id": f"{unique}_enabled",
            "command_topic": f"{root}/enabled/set",
            "state_topic": f"{root}/enabled/state",
            "payload_on": "ON",
            "payload_off": "OFF",
            "entity_category": "config",
            **of_service,
        },
    }
    for zone in zones:
        configs["binary_sensor", f"{camera}_zone_{zone}"] = {
            "name": f"{zone} occupancy",
            "unique_id": f"{unique}_zone_{zone}",
            "default_entity_id": f"binary_sensor.{slug}_{_slug(zone)}_occupancy",
            "state_topic": f"{root}/zones/{zone}/occupancy",
            "device_class": "occupancy",
            **of_camera,
        }
    if home.has_faces:
        configs["image", f"{camera}_face"] = {
            "name": "Last face",
            "unique_id": f"{unique}_last_face",
            "image_topic": f"{root}/face",
            "content_type": "image/jpeg",
            **of_service,
        }
    return _configs(home, configs)


@lru_cache(CACHED)
def _who_discovery(home: Home, kind: str, key: str, name: str) -> dict[str, str]:
    if not home.prefix:
        return {}
    root = f"{home.base}/{kind}/{key}"
    what = "person" if kind == "people" else "visitor"
    unique = f"facewire_{home.instance}_{what}_{key}"
    shared = {
        "availability": [{"topic": f"{home.base}/status"}],
        "device": _service_device(home),
        "origin": _origin(home),
    }
    return _configs(
        home,
        {
            ("binary_sensor", f"{key}_presence"): {
                "name": name,
                "unique_id": unique,
                "state_topic": f"{root}/presence",
                "device_class": "presence",
                "json_attributes_topic": f"{root}/attributes",
                **shared,
            },
            ("sensor", f"{key}_camera"): {
                "name": f"{name} last camera",
                "unique_id": f"{unique}_camera",
                "state_topic": f"{root}/camera",
                "icon": "mdi:cctv",
                **shared,
            },
        },
    )


def _configs(home: Home, configs: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, str]:
    return {
        f"{home.prefix}/{component}/{home.node}/{object_id}/config": _json(config)
        for (component, object_id), config in configs.items()
    }


def _service_device(home: Home) -> dict[str, Any]:
    device: dict[str, Any] = {
        "identifiers": [f"facewire_{home.instance}"],
        "name": "facewire" if home.instance == "main" else f"facewire {home.instance}",
        "manufacturer": "facewire",
        "model": "service",
        "sw_version": home.version,
    }
    if home.page_url:
        device["configuration_url"] = home.page_url
    return device


def _origin(home: Home) -> dict[str, str]:
    return {"name": "facewire", "sw_version": home.version}


def _slug(name: str) -> str:
    """Return the name of a camera or zone as a part of an entity's id."""
    return name.lower().replace("-", "_")


def _json(value: object) -> str:
    return text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def text(words: str) -> str:
    """Return text that MQTT takes: UTF-8 has no lone surrogates."""
    return words.encode("utf-8", "replace").decode()


def _shortened(words: str) -> str:
    return words if len(words) <= MAX_STATE else words[: MAX_STATE - 1] + "…"


def _on(is_on: bool) -> str:
    return "ON" if is_on else "OFF"
