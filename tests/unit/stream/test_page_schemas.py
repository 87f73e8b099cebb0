"""The page's types are those of the service's JSON."""

import re
from pathlib import Path

import pytest
from typing_extensions import is_typeddict

import stream
from stream.schemas import cameras, events, faces, people

TYPES = Path(stream.__file__).parent / "web/connection/schemas.d.ts"
INTERFACE = re.compile(r"^export interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^  (\w+)\??: ", re.M)

INTERFACES = {
    name: (base, set(FIELD.findall(body)))
    for name, base, body in INTERFACE.findall(TYPES.read_text("utf-8"))
}


@pytest.mark.parametrize("name", INTERFACES)
def test_a_type_of_the_page_has_the_fields_of_the_json(name: str) -> None:
    (json,) = {
        getattr(module, f"{name}Json")
        for module in (cameras, events, faces, people)
        if hasattr(module, f"{name}Json")
    }
    assert is_typeddict(json)
    base, fields = INTERFACES[name]
    inherited = INTERFACES[base][1] if base else set()
    assert fields | inherited == set(json.__annotations__)


def test_the_types_are_read() -> None:
    assert {"Camera", "CameraSettings", "Track", "Event", "WholePerson"} <= set(INTERFACES)
