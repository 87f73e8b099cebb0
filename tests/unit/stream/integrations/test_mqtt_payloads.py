"""The payloads against what Home Assistant demands of them, written by hand from its source.

The rules are those of homeassistant/components/mqtt of 2026.11 (discovery.py, schemas.py, const.py
and the modules of the platforms), which has no package for this Python.
"""

import json
import re
from typing import Any

import pytest

from stream.config import Config, MqttConfig
from stream.events.log import LoggedEvent
from stream.frames import EventKind
from stream.integrations.mqtt.link import home_of
from stream.integrations.mqtt.payloads import (
    LEAVES,
    CameraView,
    Home,
    PersonInView,
    Who,
    camera_payloads,
    event_payload,
    event_topics,
    service_discovery,
    who_payloads,
)

TOPIC = re.compile(r"homeassistant/(\w+)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config")
"""TOPIC_MATCHER of discovery.py, with the default prefix and a node."""

REQUIRED = {
    "binary_sensor": {"state_topic"},
    "sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "image": {"image_topic"},
    "switch": {"command_topic"},
}
OPTIONAL = {
    "binary_sensor": {"device_class", "payload_on", "payload_off"},
    "sensor": set(),
    "event": set(),
    "image": {"content_type"},
    "switch": {"state_topic", "payload_on", "payload_off"},
}
EVERY = {
    *("name", "unique_id", "default_entity_id", "icon", "entity_category", "device", "origin"),
    *("availability", "availability_mode", "json_attributes_topic"),
}
DEVICE = {
    *("identifiers", "name", "manufacturer", "model", "sw_version", "via_device"),
    "configuration_url",
}
DEVICE_CLASSES = {"occupancy", "presence", "connectivity"}

HOME = Home("facewire", "homeassistant", "main", "0.1.0", "http://box:8080/", has_faces=True)
ADA = PersonInView("id-1", "Ada", 0.61, "2026-11-26T15:04:05.120Z", "run-17")
ZONES = (("porch", True), ("Side-Path", False))
DOOR = CameraView("door", "online", True, (ADA,), 2, 4, "2026-11-26T15:04:06.000Z", b"jpeg", ZONES)
SEEN = Who("people", "id-1", "#/+", True, "door", "2026-11-26T15:04:05.120Z", 0.61, 812)


def check(topic: str, payload: str, topics: set[str]) -> dict[str, Any]:
    """Check one discovery message; return its content."""
    found = TOPIC.fullmatch(topic)
    assert found, topic
    component = found[1]
    config: dict[str, Any] = json.loads(payload)
    own = REQUIRED[component] | OPTIONAL[component]
    assert config.keys() <= own | EVERY, config.keys() - own - EVERY
    assert REQUIRED[component] <= config.keys()
    assert config["unique_id"].startswith("facewire_main_")
    assert config["origin"]["name"] == "facewire"
    assert config["device"].keys() <= DEVICE
    assert config["device"]["identifiers"]
    assert config["device"].get("configuration_url", "http://").startswith("http")
    if component == "binary_sensor":
        assert config["device_class"] in DEVICE_CLASSES
        assert config.get("entity_category") != "config"
    if (entity_id := config.get("default_entity_id")) is not None:
        assert re.fullmatch(rf"{component}\.[a-z0-9_]+", entity_id)
    for each in config.get("availability", []):
        assert each.keys() <= {"topic", "value_template"}
        assert each["topic"] in topics
    for key in ("state_topic", "json_attributes_topic", "image_topic"):
        if key in config and component != "event":
            assert config[key] in topics, f"nothing is published on {config[key]}"
    return config


def test_every_discovery_message_is_what_home_assistant_takes() -> None:
    visitor = Who("visitors", "3f0c", "Visitor 12", False, visit_count=3)
    published = {
        **service_discovery(HOME),
        **camera_payloads(HOME, DOOR),
        **who_payloads(HOME, SEEN),
        **who_payloads(HOME, visitor),
    }
    topics = {*published, "facewire/status"}
    configs = [
        check(topic, str(payload), topics)
        for topic, payload in published.items()
        if topic.endswith("/config")
    ]
    assert len(configs) == 1 + 5 + len(ZONES) + 2 + 2
    ids = [config["unique_id"] for config in configs]
    assert len(set(ids)) == len(ids)
    devices = {config["device"]["identifiers"][0] for config in configs}
    assert devices == {"facewire_main", "facewire_main_door"}
    assert all(config["device"].get("via_device", "facewire_main") in devices for config in configs)


def test_what_is_retained_of_a_camera() -> None:
    published = camera_payloads(HOME, DOOR)
    own = {topic: each for topic, each in published.items() if topic.startswith("facewire/")}
    assert own.pop("facewire/cameras/door/face") == b"jpeg"
    state = json.loads(str(own.pop("facewire/cameras/door/state")))
    assert own == {
        "facewire/cameras/door/status": "online",
        "facewire/cameras/door/occupancy": "ON",
        "facewire/cameras/door/zones/porch/occupancy": "ON",
        "facewire/cameras/door/zones/Side-Path/occupancy": "OFF",
        "facewire/cameras/door/people": "Ada",
        "facewire/cameras/door/enabled/state": "ON",
    }
    assert state == {
        "people": [
            {
                "identity_id": "id-1",
                "name": "Ada",
                "similarity": 0.61,
                "since": "2026-11-26T15:04:05.120Z",
                "track_id": "run-17",
            }
        ],
        "unknown": 2,
        "count": 4,
        "at": "2026-11-26T15:04:06.000Z",
    }


def test_many_and_no_people() -> None:
    many = tuple(
        PersonInView(str(number), f"Person {number}", 0.5, "", "") for number in range(100)
    )
    empty = CameraView("door", "online", True, (), 0, 0, "")
    crowd = CameraView("door", "online", True, many, 0, 100, "")
    assert camera_payloads(HOME, empty)["facewire/cameras/door/people"] == "nobody"
    assert len(camera_payloads(HOME, crowd)["facewire/cameras/door/people"]) == 255


def test_what_is_retained_of_a_person() -> None:
    published = who_payloads(HOME, SEEN)
    own = {topic: each for topic, each in published.items() if topic.startswith("facewire/")}
    attributes = json.loads(str(own.pop("facewire/people/id-1/attributes")))
    assert own == {"facewire/people/id-1/presence": "ON", "facewire/people/id-1/camera": "door"}
    assert attributes == {
        "name": "#/+",
        "camera": "door",
        "at": "2026-11-26T15:04:05.120Z",
        "similarity": 0.61,
        "event_id": 812,
    }
    away = Who("people", "id-1", "Ada", False, "door")
    assert who_payloads(HOME, away)["facewire/people/id-1/camera"] == "None"
    assert not any("#" in topic or "+" in topic for topic in published)


def test_what_is_owned_is_all_that_is_retained() -> None:
    filters = [re.compile(each.replace("+", "[^/]+")) for each in HOME.owned()]
    visitor = Who("visitors", "3f0c", "Visitor 12", False, visit_count=3)
    for topic in (
        *service_discovery(HOME),
        *camera_payloads(HOME, DOOR),
        *who_payloads(HOME, SEEN),
        *who_payloads(HOME, visitor),
    ):
        assert any(each.fullmatch(topic) for each in filters), topic
    assert len(filters) == sum(map(len, LEAVES.values())) + 1


def test_without_discovery_only_states_are_published() -> None:
    plain = Home("facewire", "", "main", "0.1.0", "", has_faces=False)
    published = {
        **service_discovery(plain),
        **camera_payloads(plain, DOOR),
        **who_payloads(plain, SEEN),
    }
    assert all(topic.startswith("facewire/") for topic in published)


def test_an_event_is_what_the_api_gives_and_an_event_type() -> None:
    event = LoggedEvent(
        id=812,
        kind=EventKind.ENTER,
        camera="door",
        at="2026-11-26T15:04:05.120Z",
        track_id="run-17",
        name="Zoë\udc80",
        identity_id="z1",
        similarity=0.612,
        has_crop=True,
        previous_name=None,
        detail="",
    )
    payload = json.loads(event_payload(event))
    assert payload["event_type"] == payload["kind"] == "enter"
    assert payload["crop_url"] == "/api/events/812/crop.jpg"
    assert (payload["id"], payload["name"]) == (812, "Zoë?")
    assert event_topics(HOME, event) == ["facewire/cameras/door/event", "facewire/events"]


@pytest.mark.parametrize(
    ("host", "page_url", "shown"),
    [
        ("127.0.0.1", "", ""),
        ("192.0.2.7", "", "http://192.0.2.7:8080/"),
        ("2001:db8::7", "", "http://[2001:db8::7]:8080/"),
        ("127.0.0.1", "https://faces.example.org", "https://faces.example.org"),
    ],
)
def test_the_page_is_linked_where_it_can_be_reached(host: str, page_url: str, shown: str) -> None:
    config = Config.model_validate(
        {"server": {"host": host}, "mqtt": {"url": "mqtt://box", "page_url": page_url}}
    )
    assert home_of(config).page_url == shown


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"url": "http://box"}, "must be mqtt://HOST"),
        ({"url": "mqtt://"}, "must be mqtt://HOST"),
        ({"url": "mqtt://box:0"}, "must be mqtt://HOST"),
        ({"url": "mqtt://box/topic"}, "must be mqtt://HOST"),
        ({"url": "mqtt://me:s3cret@box"}, "must not hold a user or password"),
        ({"url": "mqtt://box", "password": "x"}, "a password needs a user"),
        ({"url": "mqtt://box", "base_topic": "a/#"}, "must be letters"),
        ({"url": "mqtt://box", "base_topic": "a//b"}, "must be letters"),
        ({"url": "mqtt://box", "base_topic": "homeassistant"}, "must not hold the discovery"),
        ({"base_topic": "home", "discovery_prefix": "home/ha"}, "must not hold the discovery"),
        ({"instance": "a_b"}, "should match pattern"),
        ({"version": "4"}, "'3.1.1' or '5'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        MqttConfig.model_validate(settings)
    assert "s3cret" not in str(error.value.errors()[0]["msg"])  # type: ignore[attr-defined]


def test_addresses_of_brokers() -> None:
    for url, shown in {
        "mqtt://box": "box:1883",
        "mqtts://box/": "box:8883",
        "mqtt://192.0.2.5:2883": "192.0.2.5:2883",
        "mqtt://[2001:db8::5]": "[2001:db8::5]:1883",
    }.items():
        config = MqttConfig.model_validate({"url": url})
        assert str(config.broker) == shown
        assert config.broker.is_tls == url.startswith("mqtts")
