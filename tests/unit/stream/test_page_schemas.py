"""The page's types and defaults are those of the service."""

import json
import re
from pathlib import Path

import pytest
from typing_extensions import is_typeddict

import stream
from stream.config import CameraConfig
from stream.schemas import cameras, events, faces, machines, people, visits

WEB = Path(stream.__file__).parent / "web"
TYPES = WEB / "connection/schemas.d.ts"
INTERFACE = re.compile(r"^export interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^  (\w+)\??: ", re.M)

INTERFACES = {
    name: (base, set(FIELD.findall(body)))
    for name, base, body in INTERFACE.findall(TYPES.read_text("utf-8"))
}


@pytest.mark.parametrize("name", INTERFACES)
def test_a_type_of_the_page_has_the_fields_of_the_json(name: str) -> None:
    (described,) = {
        getattr(module, f"{name}Json")
        for module in (cameras, events, faces, machines, people, visits)
        if hasattr(module, f"{name}Json")
    }
    assert is_typeddict(described)
    base, fields = INTERFACES[name]
    inherited = INTERFACES[base][1] if base else set()
    assert fields | inherited == set(described.__annotations__)


def test_the_types_are_read() -> None:
    assert {"Camera", "CameraSettings", "Track", "Event", "WholePerson"} <= set(INTERFACES)


def test_a_new_camera_has_the_default_settings() -> None:
    source = (WEB / "cameras/camera_settings.js").read_text("utf-8")
    (text,) = re.findall(r"DEFAULTS = \{(.*?),\n\};", source, re.S)
    shown = json.loads("{" + re.sub(r"(\w+): ", r'"\1": ', text) + "}")
    defaults = CameraConfig(name="yard", url="/dev/video0").model_dump(mode="json")
    assert shown == {name: defaults[name] for name in shown} | {"url": ""}
    assert set(shown) == set(cameras.CameraSettingsJson.__annotations__)
