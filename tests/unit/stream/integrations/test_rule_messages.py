"""What notifications say: values are escaped for their place, however hostile a name is."""

import json
from dataclasses import replace
from datetime import UTC
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from stream.config import RuleConfig
from stream.config.rules import PLACEHOLDERS
from stream.frames import EventKind
from stream.integrations.rules.message import (
    fill,
    for_json,
    for_line,
    for_topic,
    for_url,
    header_of,
    message_of,
)
from stream.integrations.rules.senders import push_payload
from tests.unit.stream.integrations.test_rule_matching import ADA, AGAIN, DOWN, STRANGER

HOSTILE = [
    'Ada "the first"',
    "a&b=c#d?e/../f",
    "\\",
    '","admin":true,"x":"',
    "{name}{crop_url}",
    "Zoë 🙂 नमस्ते",
    "line\nbreak\r\nX-Evil: yes",
    "#/+",
    "%0d%0a",
    "\ud800",
]


def message(event=ADA, **settings):
    return message_of(event, **{"rule": "r", "crop": None, "page_url": "", "zone": UTC, **settings})


def test_every_placeholder_has_a_value() -> None:
    assert set(message().values) == set(PLACEHOLDERS)


def test_times_are_local_and_addresses_are_of_the_page() -> None:
    values = message(zone=ZoneInfo("Europe/Berlin"), page_url="https://faces.example/x").values
    assert values["at"] == "2026-11-24T11:00:00+01:00"
    assert values["time"] == "11:00"
    assert values["crop_url"] == "https://faces.example/x/api/events/7/crop.jpg"
    assert values["event_url"] == "https://faces.example/x/#/events?event=7"
    assert message(replace(ADA, has_crop=False)).values["crop_url"] == ""


@pytest.mark.parametrize(
    ("event", "name", "text"),
    [
        (ADA, "Ada", "Ada is at door"),
        (replace(ADA, kind=EventKind.EXIT), "Ada", "Ada left door"),
        (STRANGER, "Unknown", "An unknown face is at door"),
        (AGAIN, "Visitor 1", "Visitor 1 (3 visits) is at door"),
        (DOWN, "door", "Camera door is down"),
        (
            replace(DOWN, detail="cannot open rtsp://u:hunter2@host/"),
            "door",
            "Camera door is down: cannot open rtsp://***@host/",
        ),
    ],
)
def test_what_happened_is_a_sentence(event, name: str, text: str) -> None:
    values = message(event).values
    assert (values["name"], values["text"]) == (name, text)
    assert "hunter2" not in str(values)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_value(name: str) -> None:
    values = message(replace(ADA, name=name)).values
    sent = name.encode(errors="replace").decode()
    url = urlsplit(fill("https://h/{camera}/{name}/x?t={name}&u=1", values, for_url))
    assert (url.netloc, url.fragment) == ("h", "")
    assert url.path.count("/") == 3
    assert parse_qs(url.query) == {"t": [sent], "u": ["1"]}
    document = json.loads(fill('{"who": "{name}", "n": {event_id}}', values, for_json))
    assert document == {"who": sent, "n": 7}
    header = header_of(fill("{name} at {camera}", values, for_line))
    assert header.isascii()
    assert not set(header) & set("\r\n\0")
    topic = fill("faces/{camera}/{name}", values, for_topic)
    assert topic.count("/") == 2
    assert not set(topic) & set("+#\n")
    assert json.loads(message(replace(ADA, name=name)).json())["event"]["id"] == 7


def test_only_placeholders_are_replaced() -> None:
    assert fill('{"a": {}, "b": "{x y}", "c": "{name}"}', message().values, for_json) == (
        '{"a": {}, "b": "{x y}", "c": "Ada"}'
    )


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ({"url": "https://h/{nmae}"}, "{nmae} is no placeholder"),
        ({"url": "https://{name}.example/"}, "path and query only"),
        ({"url": "https://u:{name}@h/"}, "path and query only"),
        ({"url": "ftp://h/"}, "http:// or https://"),
        ({"url": "https://h/", "headers": {"Content-Length": "1"}}, "cannot be set"),
        ({"url": "https://h/", "headers": {"a b": "1"}}, "cannot be set"),
        ({"url": "https://h/", "headers": {"a": "1\r\nb: 2"}}, "must be one line"),
        ({"url": "https://h/", "body": "{who}"}, "{who} is no placeholder"),
    ],
)
def test_a_wrong_template_is_refused_when_the_rule_is_made(action: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RuleConfig.model_validate({"name": "r", "then": [{"type": "webhook", **action}]})


def test_a_push_message_fits_whatever_it_says() -> None:
    long = message(replace(ADA, name="🙂" * 5000))
    payload = push_payload(long, title=long.values["name"], body=long.values["text"])
    assert len(payload) <= 3993
    assert json.loads(payload)["url"] == "#/events?event=7"
