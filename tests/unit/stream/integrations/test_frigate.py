"""Frigate's messages, and which of our tracks is which person of Frigate."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from stream.config import Config, FrigateConfig, load_config
from stream.errors import ConfigError
from stream.integrations.frigate.matching import (
    ENDED_S,
    MAX_EVENTS,
    MAX_TRACKS,
    SILENT_S,
    Box,
    Face,
    Matcher,
    Named,
    rotated,
)
from stream.integrations.frigate.messages import PersonEvent, detect_sizes, parse_event

LEFT, RIGHT = (0.1, 0.2, 0.3, 0.9), (0.6, 0.2, 0.8, 0.9)  # boxes of two people
FACE_LEFT, FACE_RIGHT = (0.17, 0.22, 0.23, 0.32), (0.67, 0.22, 0.73, 0.32)
ADA = Face("1-1", FACE_LEFT, "Ada", 0.6)
SOMEBODY = Face("1-1", FACE_LEFT)


def event(event_id: str = "1.5-abc", at: float = 100.0, **changed: Any) -> PersonEvent:
    settings = {"camera": "front", "box": (0, 0, 1, 1), "is_stationary": False, "is_over": False}
    return PersonEvent(event_id=event_id, at=at, **{**settings, **changed})


def receive(matcher: Matcher, box: Box, event_id: str = "1.5-abc", at: float = 100.0, **changed):
    matcher.receive(event(event_id, at, **changed), "door", box, at)


def message(**after: Any) -> bytes:
    whole = {
        "id": "1607123955.475377-mxklsc",
        "camera": "front",
        "frame_time": 1607123961.837752,
        "label": "person",
        "sub_label": None,
        "false_positive": False,
        "box": [424, 500, 536, 712],
        "stationary": False,
        **after,
    }
    return json.dumps({"type": "new", "before": whole, "after": whole}).encode()


def test_a_message_about_a_person_is_read() -> None:
    found = parse_event(message())
    assert found == PersonEvent(
        "1607123955.475377-mxklsc", "front", 1607123961.837752, (424, 500, 536, 712), False, False
    )
    ended = parse_event(message(stationary=True).replace(b'"new"', b'"end"'))
    assert ended is not None
    assert (ended.is_stationary, ended.is_over) == (True, True)


@pytest.mark.parametrize("after", [{"label": "car"}, {"false_positive": True}])
def test_messages_about_others_are_passed_over(after: dict[str, Any]) -> None:
    assert parse_event(message(**after)) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"type": "new"}',
        message(id=7),
        message(id="../../login"),
        message(id=""),
        message(camera=""),
        message(camera="x" * 101),
        message(frame_time="now"),
        message(frame_time=True),
        message(box=None),
        message(box=[1, 2, 3]),
        message(box=[1, 2, 3, "4"]),
        message(box=[1, 2, 3, 10**400]),
        message(frame_time=1e300),
        message(box=[1, 2, 3, 4]).replace(b"4]", b"NaN]"),
        message().replace(b'"new"', b'"other"'),
    ],
)
def test_damaged_messages_are_errors(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_event(payload)


def test_sizes_of_cameras_are_those_of_the_detect_stream() -> None:
    sizes = {"detect": {"width": 1280, "height": 720, "fps": 5}}
    odd = [{"detect": {"width": 0, "height": 720}}, {"detect": None}, None, {}]
    cameras = {"front": sizes, **{str(i): each for i, each in enumerate(odd)}}
    assert detect_sizes({"cameras": cameras}) == {"front": (1280, 720)}
    for config in (None, [], {}, {"cameras": []}):
        assert detect_sizes(config) == {}


def test_a_face_in_a_persons_box_names_the_event_once() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT)
    matcher.see("door", 100.2, [ADA])
    assert matcher.names(100.2) == [Named("1.5-abc", "front", "Ada", 0.6)]
    matcher.see("door", 100.3, [ADA])
    receive(matcher, LEFT, at=100.4)
    assert matcher.names(100.4) == []


def test_a_frame_before_the_message_counts_as_well() -> None:
    matcher = Matcher(1.0)
    matcher.see("door", 99.5, [ADA])
    receive(matcher, LEFT)
    assert [named.name for named in matcher.names(101.0)] == ["Ada"]


@pytest.mark.parametrize(
    ("camera", "at", "box"),
    [
        ("yard", 100.0, LEFT),
        ("door", 101.2, LEFT),
        ("door", 98.8, LEFT),
        ("door", 100.0, RIGHT),
        ("door", 100.0, (0.2, 0.2, 0.3, 0.9)),  # half of the face, less a pixel, is outside
        ("door", 100.0, (0.1, 0.1, 0.1, 0.1)),
        ("door", 100.0, (0.3, 0.9, 0.1, 0.2)),
    ],
)
def test_another_place_time_or_camera_is_another_person(camera: str, at: float, box: Box) -> None:
    matcher = Matcher(1.0)
    matcher.see(camera, at, [Face("1-1", (0.169, 0.22, 0.23, 0.32), "Ada", 0.6)])
    receive(matcher, box)
    assert matcher.names(100.0) == []


def test_a_track_that_is_named_later_names_its_event_then() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT)
    matcher.see("door", 100.1, [SOMEBODY])
    assert matcher.names(100.1) == []
    elsewhere = Face("1-1", FACE_RIGHT, "Ada", 0.5)
    matcher.see("door", 120.0, [elsewhere])
    assert [named.name for named in matcher.names(120.0)] == ["Ada"]


def test_a_stationary_person_stays_until_the_next_message() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT, is_stationary=True)
    matcher.see("door", 150.0, [ADA])
    assert [named.name for named in matcher.names(150.0)] == ["Ada"]
    receive(matcher, LEFT, "moved", at=200.0)
    matcher.see("door", 250.0, [Face("1-2", FACE_LEFT, "Bob", 0.9)])
    assert "moved" not in [named.event_id for named in matcher.names(250.0)]


def test_better_names_replace_others() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT)

    def name_of(face: Face, at: float) -> list[str]:
        receive(matcher, LEFT, at=at)
        matcher.see("door", at, [face])
        return [named.name for named in matcher.names(at)]

    assert name_of(Face("1-1", FACE_LEFT, "Ada", 0.5), 100.1) == ["Ada"]
    assert name_of(Face("1-2", FACE_LEFT, "Bob", 0.45), 100.2) == []  # another track, no better
    assert name_of(Face("1-3", FACE_LEFT, "Eve", 0.7), 100.3) == ["Eve"]
    assert name_of(Face("1-3", FACE_LEFT, "Ada", 0.48), 100.4) == ["Ada"]  # it decided anew


def test_two_people_side_by_side_and_one_before_the_other() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT, "left")
    receive(matcher, RIGHT, "right")
    bob = Face("1-2", FACE_RIGHT, "Bob", 0.7)
    matcher.see("door", 100.0, [bob, ADA])
    assert {named.event_id: named.name for named in matcher.names(100.0)} == {
        "left": "Ada",
        "right": "Bob",
    }
    crowd = Matcher(1.0)
    front, behind = (0.2, 0.3, 0.5, 1.0), (0.3, 0.1, 0.6, 0.8)
    receive(crowd, front, "front")
    receive(crowd, behind, "behind")
    faces = [
        Face("1-1", (0.32, 0.34, 0.38, 0.44), "Ada", 0.6),
        Face("1-2", (0.42, 0.14, 0.48, 0.24), "Bob", 0.6),
    ]
    crowd.see("door", 100.0, faces)
    assert {named.event_id: named.name for named in crowd.names(100.0)} == {
        "front": "Ada",
        "behind": "Bob",
    }


def test_a_track_belongs_to_the_event_in_whose_box_it_was_most_often() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT, "passing")
    matcher.see("door", 100.0, [SOMEBODY])
    receive(matcher, RIGHT, "passing", at=100.1)
    receive(matcher, LEFT, "hers", at=100.1)
    for step in range(3):
        matcher.see("door", 100.2 + step / 10, [ADA])
    assert [named.event_id for named in matcher.names(100.5)] == ["hers"]


def test_ended_and_silent_events_are_forgotten() -> None:
    matcher = Matcher(1.0)
    receive(matcher, LEFT, "ended", is_over=True)
    receive(matcher, RIGHT, "silent")
    matcher.names(100 + ENDED_S)
    assert matcher.n_events == 2
    matcher.names(101 + ENDED_S)
    assert matcher.n_events == 1
    matcher.names(101 + SILENT_S)
    assert matcher.n_events == 0


def test_memory_is_bounded() -> None:
    matcher = Matcher(1.0)
    for number in range(MAX_EVENTS + 50):
        receive(matcher, LEFT, str(number))
    assert matcher.n_events == MAX_EVENTS
    for number in range(MAX_TRACKS * 3):
        matcher.see("door", 100.0, [Face(str(number), FACE_LEFT, "Ada", 0.5)])
    assert len(matcher.names(100.0)) == 1


def test_boxes_turn_with_the_frame() -> None:
    box = (0.1, 0.2, 0.3, 0.4)
    assert rotated(box, 0) == box
    assert rotated(box, 90) == pytest.approx((0.6, 0.1, 0.8, 0.3))
    assert rotated(box, 180) == pytest.approx((0.7, 0.6, 0.9, 0.8))
    assert rotated(rotated(box, 90), 270) == pytest.approx(box)


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "frigate:5000"},
        {"url": "http://user:password@frigate:5000"},
        {"url": "http://frigate:8971", "user": "admin"},
        {"topic": "frigate/#"},
        {"cameras": {"front": "no name"}},
        {"cameras": {"": "door"}},
        {"within_s": 0},
        {"within_s": float("nan")},
        {"colour": 1},
    ],
)
def test_wrong_settings_are_refused_without_the_password(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        FrigateConfig.model_validate(changed)
    assert "password@" not in str(refused.value).partition("input_value")[0]


def test_it_needs_a_broker_and_takes_its_login_from_the_environment(monkeypatch) -> None:
    tables = {"frigate": {"url": "http://frigate:8971"}, "mqtt": {"url": "mqtt://broker"}}
    monkeypatch.setenv("FACEWIRE_FRIGATE_USER", "admin")
    monkeypatch.setenv("FACEWIRE_FRIGATE_PASSWORD", "correct-horse")
    config = load_config(overrides=tables)
    assert (config.frigate.user, config.frigate.password) == ("admin", "correct-horse")
    assert "correct-horse" not in repr(config)
    with pytest.raises(ConfigError, match=r"needs the url of \[mqtt\]"):
        load_config(overrides={"frigate": tables["frigate"]})
    assert Config().frigate == FrigateConfig()
