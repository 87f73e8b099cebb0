import json
import logging
from collections.abc import Iterator

import pytest
import typer
import typer.core
import typer.main
from typer.testing import CliRunner

import stream.cli.main
from stream.cli import common
from stream.cli.main import app
from stream.errors import StreamError

# The contract of architecture.md: verbs, and the options that others script against.
COMMANDS = {
    "serve": ["--config", "--camera", "--host", "--port", "--cluster", "--gallery", "--model"],
    "cluster start": ["--join", "--site", "--port", "--cpus", "--gpus", "--config"],
    "cluster stop": [],
    "cluster add": ["--site", "--config"],
    "cluster remove": ["--config"],
    "cluster status": ["--config", "--json"],
    "cluster nodes": ["--forget", "--config", "--json"],
    "detect": ["--config", "--out", "--json"],
    "compare": ["--config", "--model", "--json"],
    "enroll": ["--config", "--folder", "--gallery", "--model", "--json"],
    "identify": ["--config", "--gallery", "--model", "--json"],
    "gallery list": ["--config", "--gallery", "--json"],
    "gallery show": ["--config", "--gallery", "--json"],
    "gallery rename": ["--config", "--gallery", "--json"],
    "gallery merge": ["--config", "--gallery", "--json"],
    "gallery remove": ["--config", "--gallery", "--json"],
    "import compreface": ["--dry-run", "--any-certificate", "--gallery", "--config", "--json"],
    "import frigate": ["--dry-run", "--any-certificate", "--gallery", "--config", "--json"],
    "import double-take": ["--dry-run", "--force", "--gallery", "--config", "--json"],
    "import deepface": ["--dry-run", "--force", "--gallery", "--config", "--json"],
    "models list": ["--json"],
    "models fetch": ["--json"],
    "models add": ["--name", "--colour-order", "--json"],
    "models convert": ["--json"],
    "gallery export": ["--config", "--gallery"],
    "gallery import": ["--config", "--gallery"],
    "gallery calibrate": ["--config", "--gallery", "--json"],
    "gallery split": ["--config", "--gallery", "--json"],
    "gallery check": ["--config", "--gallery", "--repair", "--json"],
    "gallery reembed": ["--config", "--gallery", "--model", "--json"],
    "bench search": ["--size", "--images", "--json"],
    "bench past": ["--size", "--images", "--json"],
    "search": [
        "--camera",
        "--since",
        "--until",
        "--min-similarity",
        "--limit",
        "--gallery",
        "--config",
        "--json",
    ],
    "bench detect": ["--config", "--device", "--json"],
    "bench follow": ["--config", "--device", "--json"],
    "bench embed": ["--config", "--model", "--json"],
    "bench stream": ["--config", "--json"],
    "bench visitors": ["--seed", "--seeds", "--json"],
    "bench quality": ["--only", "--limit", "--seed", "--plot", "--model", "--json"],
    "backup": ["--config", "--gallery", "--replace", "--json"],
    "load": ["--camera", "--viewers", "--seconds", "--direct", "--token", "--pid", "--json"],
    "migrate": ["--to", "--gallery", "--config", "--json"],
    "restore": ["--config", "--gallery", "--model", "--force", "--json"],
    "check": ["--config", "--json"],
    "report": ["--from", "--to", "--person", "--csv", "--gallery", "--config", "--json"],
    "events": [
        "--config",
        "--follow",
        "--camera",
        "--person",
        "--kind",
        "--since",
        "--gallery",
        "--json",
    ],
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(run, command: str):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"facewire {command}" in result.stdout.partition("Example")[2]
    for option in COMMANDS[command]:
        assert option in result.stdout


def test_the_contract_names_every_command() -> None:
    def names(group: typer.core.TyperGroup, prefix: str = "") -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, typer.core.TyperGroup):
                yield from names(command, f"{name} ")
            else:
                yield prefix + name

    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    assert set(names(root)) == set(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["detect"],
        ["detect", "a.jpg", "--no-such-option"],
        ["compare", "a.jpg"],
        ["enroll"],
        ["enroll", "Grace"],
        ["enroll", "Grace", "a.jpg", "--folder", "b"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "http"],
        ["gallery", "remove"],
        ["events", "--kind", "leave"],
    ],
)
def test_wrong_usage_is_2(run, arguments: list[str]):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("facewire ")


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]):
    common.print_json([{"name": "Zoë"}])
    out = capsys.readouterr().out
    assert json.loads(out) == [{"name": "Zoë"}]
    assert "Zoë" in out


def test_bars_show_nothing_where_nothing_is_fetched(capsys: pytest.CaptureFixture[str]):
    bars = common.FetchBars()
    bars.close()
    bars.close()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_bars_show_each_model_on_stderr(capsys: pytest.CaptureFixture[str]):
    bars = common.FetchBars()
    bars("sface", 10, 20)
    bars("sface", 20, 20)
    bars("mtcnn", 5, 5)
    bars.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "sface" in captured.err
    assert "mtcnn" in captured.err


def test_expected_failure_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(**_: object) -> None:
        raise StreamError("cannot open rtsp://user:secret@host/live: refused")

    monkeypatch.setattr(stream.cli.main, "app", fail)
    with pytest.raises(SystemExit, match="1"):
        stream.cli.main.main()
    captured = capsys.readouterr()
    assert captured.err == "facewire: cannot open rtsp://***@host/live: refused\n"
    assert captured.out == ""


@pytest.fixture(autouse=True)
def _quiet_again():
    """The callback configures logging for a whole process; a test puts it back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in stream.cli.main.OUR_LOGGERS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
