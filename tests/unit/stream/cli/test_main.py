import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stream.cli.main
from stream.cli import common
from stream.cli.main import app
from stream.errors import StreamError

# The contract of architecture.md: verbs, and the options that others script against.
COMMANDS = {
    "serve": ["--config", "--camera", "--host", "--port", "--gallery", "--model"],
    "detect": ["--out", "--json"],
    "compare": ["--model", "--json"],
    "enroll": ["--folder", "--gallery", "--model", "--json"],
    "identify": ["--gallery", "--model", "--json"],
    "gallery list": ["--gallery", "--json"],
    "gallery show": ["--gallery", "--json"],
    "gallery rename": ["--gallery", "--json"],
    "gallery merge": ["--gallery", "--json"],
    "gallery remove": ["--gallery", "--json"],
    "models list": ["--json"],
    "models fetch": ["--json"],
    "models add": ["--name", "--colour-order", "--json"],
    "models convert": ["--json"],
    "gallery export": ["--gallery"],
    "gallery import": ["--gallery"],
    "gallery calibrate": ["--gallery", "--json"],
    "bench search": ["--json"],
    "bench detect": ["--device", "--json"],
    "bench embed": ["--model", "--json"],
    "bench stream": ["--json"],
    "check": ["--json"],
    "events": ["--follow", "--camera", "--person", "--kind", "--since", "--gallery", "--json"],
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


def test_given_gallery_wins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEWIRE_DATA", "/data")
    assert common.gallery_directory(None) == Path("/data/gallery")
    assert common.gallery_directory(Path("/other")) == Path("/other")


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
