"""What Frigate sends over MQTT on PREFIX/events, and its cameras' sizes.

Source: blakeblackshear/frigate 0.18, docs/docs/integrations/mqtt.md and
frigate/track/tracked_object.py.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVENT_ID = re.compile(r"\w[\w.-]{0,63}", re.ASCII)
MAX_SIDE = 32768
MAX_CAMERA = 100
MAX_NUMBER = 1e12


@dataclass(frozen=True, slots=True)
class PersonEvent:
    """One message about a person whom Frigate follows.

    Attributes:
        event_id: of Frigate.
        camera: Frigate's name of it.
        at: seconds since 1970, of the frame.
        box: x1, y1, x2, y2 of the person, pixels of Frigate's detect stream.
        is_stationary: whether the person stays there until the next message.
        is_over: whether the person has left.
    """

    event_id: str
    camera: str
    at: float
    box: tuple[float, float, float, float]
    is_stationary: bool
    is_over: bool


def parse_event(payload: bytes) -> PersonEvent | None:
    """Return what a message says; None if it is not about a person.

    Raises:
        ValueError: if it is no message of Frigate.
    """
    try:
        message = json.loads(payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    match message:
        case {
            "type": "new" | "update" | "end" as kind,
            "after": {
                "id": str(event_id),
                "camera": str(camera),
                "label": str(label),
                "frame_time": int() | float() as at,
                "box": [x1, y1, x2, y2],
                **after,
            },
        }:
            box = (_number(x1), _number(y1), _number(x2), _number(y2))
            if not EVENT_ID.fullmatch(event_id) or not 0 < len(camera) <= MAX_CAMERA:
                raise ValueError("not an event")
            if label != "person" or after.get("false_positive") is True:
                return None
            is_stationary = after.get("stationary") is True
            return PersonEvent(event_id, camera, _number(at), box, is_stationary, kind == "end")
    raise ValueError("not an event")


def detect_sizes(config: Any) -> Mapping[str, tuple[int, int]]:
    """Return width and height of each camera's detect stream, from the answer of /api/config."""
    sizes = {}
    cameras = config.get("cameras") if isinstance(config, dict) else None
    for name, camera in cameras.items() if isinstance(cameras, dict) else ():
        match camera:
            case {"detect": {"width": int(width), "height": int(height)}}:
                if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE:
                    sizes[name] = width, height
    return sizes


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if not abs(value) <= MAX_NUMBER:  # NaN too
        raise ValueError("not a finite number")
    return float(value)
