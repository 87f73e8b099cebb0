"""What a message or a text advises can be done: commands, options, settings and packages exist."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from stream.cli.main import app as serving
from stream.config import Config
from trainer.cli import app as training
from trainer.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "facewire": typer.main.get_command(serving),
    "facewire-train": typer.main.get_command(training),
}
CODE = [
    path
    for folder in ("stream", "recognizer", "gallery", "trainer", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / "docs").rglob("*.md"),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FOREIGN_OPTIONS = {
    *("--version", "--hash", "--help"),  # pip's
    "--logdir",  # TensorBoard's
    "--resources",  # Ray's
    *("--nproc-per-node", "--no-python"),  # torchrun's
}
FOREIGN_PACKAGES = {"tensorrt-cu13", "onnxruntime-gpu", "openvino", "pre-commit", "torch"}


def strings_of(path: Path) -> Iterator[str]:
    """Yield every text in a Python file; what is filled in reads X."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.value


def texts() -> Iterator[tuple[str, str]]:
    for path in CODE:
        yield from ((str(path.relative_to(ROOT)), text) for text in strings_of(path))
    for path in TEXTS:  # of prose, what is in code type: a sentence may begin with our name
        code = r"^```[^\n]*\n(?:[^\n]*\n)*?```$|`[^`\n]+`"
        parts = re.findall(code, path.read_text("utf-8"), re.MULTILINE)
        yield str(path.relative_to(ROOT)), "\n".join(parts)


def commands_in(text: str) -> Iterator[str]:
    """Yield commands of ours: in code type, after "Example:", on a line of its own."""
    ours = r"facewire(?:-train)?(?: [^`\n#;&|]*)?"
    yield from re.findall(rf"`(?:\S*bin/)?({ours})`", text)
    yield from re.findall(
        r"^\s*(?:Example: |\$ )?(?:\S*bin/)?(facewire(?:-train)? (?!is |serves )[a-z-][^`\n#;&|]*)",
        text,
        re.MULTILINE,
    )
    yield from re.findall(r": ?(facewire(?:-train)? (?!serves )[a-z]+ [^`\n#;&|]*)$", text)


def fault_of(line: str) -> str | None:
    """Return what is wrong with a command, None where it can be given."""
    words = shlex.split(line.replace("'", "").replace('"', ""))
    command: Any = PROGRAMS[words[0]]
    rest = words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        name = rest.pop(0).rstrip(",.)")
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {"--help", "-v"}
    for word in rest:
        option = word.partition("=")[0].rstrip(",.)")
        if re.fullmatch(r"--?[a-z][a-z-]*", option) and option not in known:
            return f"{command.name} has no option {option}"
    return None


def all_options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for inner in getattr(command, "commands", {}).values():
        yield from all_options(inner)


def test_every_command_that_is_advised_exists():
    advised = {(where, line) for where, text in texts() for line in commands_in(text)}
    assert len(advised) > 40
    # A sentence of prose may begin with the name: its second word is not a subcommand.
    faults = [
        f"{where}: {line.strip()}: {fault}"
        for where, line in sorted(advised)
        if (fault := fault_of(line)) is not None
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("facewire gallery calibrate --apply", None),
        ("facewire gallery tune", "there is no command 'tune'"),
        ("facewire models add x.onnx --photos DIR", "add has no option --photos"),
        ("facewire-train export best.pt x.onnx --pairs lfw.bin", None),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line, fault):
    assert fault_of(line) == fault


def test_every_option_that_a_message_names_exists():
    known = {option for program in PROGRAMS.values() for option in all_options(program)}
    faults = []
    for path in CODE:
        if path.parts[-2] == "scripts":
            continue  # they name their own
        for text in strings_of(path):
            if " " in text:
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
                faults += [
                    f"{path.name}: {option} in {text!r}"
                    for option in sorted(named - known - FOREIGN_OPTIONS)
                ]
    assert faults == []


def test_every_setting_that_a_message_names_exists():
    sections: dict[str, set[str]] = {}
    for model in (Recipe, Config):
        for name, field in model.model_fields.items():
            inner = getattr(field.annotation, "model_fields", None)
            if inner is not None:
                sections.setdefault(name, set()).update(inner)
    names = "|".join(sections)
    faults = []
    for path in CODE:
        for text in strings_of(path):
            if " " not in text or "(" not in text:
                continue
            for section, key in re.findall(
                rf"\((?:lower|raise|set|with) ({names})\.([a-z_]+)", text
            ):
                if key not in sections[section]:
                    faults.append(f"{path.name}: {section}.{key}")
    assert faults == []


def test_every_package_that_is_advised_is_ours_or_known():
    known = {
        Requirement(line).name
        for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for line in lines
    } | FOREIGN_PACKAGES
    advised = []
    for where, text in texts():
        for arguments in re.findall(
            r"pip install ((?:'[^']+'|[\w.\[\],<>=-]+)(?: |$|[^\w]))", text
        ):
            word = arguments.strip(" `).;,:\n").strip("'\"")
            advised.append((where, word))
            if word.startswith("-"):
                continue
            if word.startswith("."):
                extra = re.fullmatch(r"\.(?:\[(\w+)\])?", word)
                assert extra, f"{where}: pip install {word}"
                assert extra[1] is None or extra[1] in PROJECT["optional-dependencies"], where
            else:
                assert Requirement(word).name in known, f"{where}: pip install {word}"
    assert ("trainer/cli/main.py", ".[train]") in advised
