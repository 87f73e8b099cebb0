"""Every command, with an invalid value for each of its arguments and options in turn.

With any value a command exits with 0, 1 or 2: without a traceback, without waiting for a pipe, and
with errors in the usual format.
"""

import functools
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import recognizer
import stream.cli.main
from gallery import Gallery, NewPhoto

pytestmark = pytest.mark.integration

MODEL, SIZE = "sface-0ba9fbfa", 128
TEXTS = (
    *("", " ", "x" * 201, "x" * 5000, "caf\udce9", "a\nb", "\x1b[31mred", "\u202eadnA", "\u200b"),
    *("-", "--", "-1", "9223372036854775808", "nan", "a,b", "a,99999999999999999999", "=", "a="),
    *("\U0001fae8", "../..", "~", "*", "%s", "{}", "\ufeff", "con", "/" * 300),
)
NUMBERS = (
    *("", " ", "x", "-1", "nan", "inf", "-inf", "1e400", "9223372036854775808", "0x10"),
    *("9" * 5000, "1,5", "caf\udce9"),
)
PLACES = (
    *("missing", "missing/below", "folder", "pipe", "socket", "empty", "text.jpg", "text.onnx"),
    *("/dev/zero", "/dev/full", "/dev/null", "/proc/self/mem", "/proc/nothing", "link", "x" * 300),
    *("text.jpg/below", "text.toml", "people.toml", "text"),
)

# What else a verb needs, so that the odd value is what it ends on.
BASE: dict[str, tuple[str, ...]] = {
    "detect": ("missing.jpg",),
    "compare": ("missing.jpg", "missing.jpg"),
    "identify": ("missing.jpg",),
    "search": ("missing.jpg",),
    "enroll": ("Ada", "missing.jpg"),
    "gallery show": ("Ada",),
    "gallery rename": ("Nobody", "Grace"),
    "gallery merge": ("Nobody", "Ada"),
    "gallery remove": ("Nobody",),
    "gallery split": ("Ada", "Grace", "99"),
    "gallery export": ("missing",),
    "gallery import": ("missing",),
    "gallery reembed": (),
    "import compreface": ("http://127.0.0.1:9", "key"),
    "import frigate": ("missing",),
    "import double-take": ("missing",),
    "import deepface": ("missing",),
    "models fetch": ("nothing",),
    "models add": ("missing.onnx",),
    "models convert": ("missing,0", "out.onnx"),
    "load": ("http://127.0.0.1:9", "--viewers", "1"),
    "cluster add": ("door", "rtsp://127.0.0.1:9/none"),
    "cluster remove": ("door",),
    "backup": ("missing.zip",),
    "restore": ("missing.zip",),
    "migrate": ("--to", "missing"),
    "bench search": ("100",),
    "bench past": ("100",),
    "bench stream": ("missing.mp4",),
    "bench detect": ("missing.jpg",),
    "bench quality": ("missing",),
    "bench visitors": ("missing",),
    "bench follow": ("missing.mp4",),
}


def commands() -> Iterator[tuple[str, "typer.core.TyperCommand"]]:
    """Yield every verb with its command."""

    def walk(name: str, command: object) -> Iterator[tuple[str, "typer.core.TyperCommand"]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command  # type: ignore[misc]
        else:
            for each, inner in below.items():
                yield from walk(f"{name} {each}".strip(), inner)

    yield from walk("", typer.main.get_command(stream.cli.main.app))


CASES = [
    pytest.param(verb, param.name, id=f"{verb}-{param.name}")
    for verb, command in commands()
    for param in command.params
    if param.name != "help"
    and not getattr(param, "is_flag", False)
    # What it measures is a service with cameras: their addresses are tried for seconds each.
    and (verb, param.name) not in {("bench stream", "sources"), ("bench stream", "config")}
    # It reads every file below a folder, such as those of all other tests.
    and (verb, param.name)
    not in {
        ("bench quality", "directory"),
        ("bench visitors", "directory"),
        ("bench past", "images"),
        ("bench search", "images"),
        ("import frigate", "source"),
        ("import double-take", "directory"),
        ("import deepface", "directory"),
    }
]


@functools.cache
def opened(**settings: Any) -> recognizer.Recognizer:
    """Return the real recognizer, the same for the same settings."""
    return OPEN(**settings)


OPEN = recognizer.open_recognizer


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    with Gallery.open(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        for number, name in enumerate(("Ada", "Bob")):
            rows = rng.standard_normal((3, SIZE)).astype(np.float32)
            gallery.photos.add(
                name,
                [NewPhoto(row, None, f"{number:032x}{i:032x}", 0.5) for i, row in enumerate(rows)],
            )
    return directory


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(
        recognizer, "open_recognizer", lambda *, progress=None, **settings: opened(**settings)
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("link")
    os.mkfifo(tmp_path / "pipe")
    for name in ("text.jpg", "text.onnx", "text.toml", "text"):
        (tmp_path / name).write_text("no such thing\n")
    (tmp_path / "people.toml").write_text("server = 1\n")
    (tmp_path / "empty").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield tmp_path


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def status_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process; whatever it raises but its end is a traceback to a user."""
    monkeypatch.setattr(sys, "argv", ["facewire", *arguments])
    with pytest.raises(SystemExit) as end:
        stream.cli.main.main()
    code = end.value.code
    return code if isinstance(code, int) else int(code is not None)


def values_of(param: object) -> tuple[str, ...]:
    kind = str(param.type_descriptor.annotation)  # type: ignore[attr-defined]
    return NUMBERS if "int" in kind or "float" in kind else (*TEXTS, *PLACES)


def arguments_with(verb: str, command: object, param: object, value: str) -> list[str]:
    """Return the words of a command in which one value is odd."""
    base = list(BASE.get(verb, ()))
    if param.param_type_name == "argument":  # type: ignore[attr-defined]
        places = [p.name for p in command.params if p.param_type_name == "argument"]  # type: ignore[attr-defined]
        position = places.index(param.name)  # type: ignore[attr-defined]
        base[position : position + 1] = [value]
        return [*verb.split(), "--", *base]
    n_values = max(1, getattr(param, "nargs", 1))
    option = max(param.opts, key=len)  # type: ignore[attr-defined]
    return [*verb.split(), option, *[value] * n_values, *(["--", *base] if base else [])]


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_no_value_of_an_argument_ends_in_a_traceback(
    verb: str, name: str, workplace: Path, people: Path, monkeypatch, capsys
):
    command = dict(commands())[verb]
    [param] = [each for each in command.params if each.name == name]
    options = {option for each in command.params for option in each.opts}
    for value in values_of(param):
        arguments = arguments_with(verb, command, param, value)
        words = verb.split()
        if "--gallery" in options and name != "gallery":
            arguments[len(words) : len(words)] = ["--gallery", str(people)]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            if verb == "serve" and name != "port":  # so that nothing is served
                arguments[len(words) : len(words)] = ["--port", str(taken.getsockname()[1])]
            status = status_of(arguments, monkeypatch)
        captured = capsys.readouterr()
        assert status in (0, 1, 2), arguments
        assert "Traceback" not in captured.err
        if status == 1 and verb != "check":
            lines = captured.err.splitlines()
            assert lines, arguments
            assert all(line.startswith("facewire: ") for line in lines), (arguments, lines)
        if status == 2:
            assert captured.out == ""
