import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from stream.cli import settings as module
from stream.cli.settings import Settings, settings_for, settings_to_measure
from stream.errors import ConfigError
from stream.service_lock import SERVICES, announced, running_services


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty data directory; the system's own is empty too."""
    monkeypatch.setattr(module, "SYSTEM_DATA", tmp_path / "system")
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("FACEWIRE_CONFIG", raising=False)
    return tmp_path / "data"


@pytest.fixture
def serve(data: Path) -> Any:
    """Return what announces a service on a gallery until the test ends."""
    with ExitStack() as stack:

        def begin(directory: Path, at: Path = data, **tables: dict[str, Any]) -> None:
            stack.enter_context(announced(directory, data=at, settings=tables))

        yield begin


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_anything_it_is_the_default_gallery_with_default_settings(data: Path) -> None:
    found = settings_for(config=None, model=None)
    assert (found.directory, found.origin) == (data / "gallery", "the default")
    assert found.recognizer == {"threads": 0}
    assert (found.threshold, found.margin, found.service) == (None, None, None)


def test_a_flag_beats_the_file_and_the_file_the_defaults(data: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path / "facewire.toml",
        f"""[recognizer]
model = "mine"
threads = 3
precision = "bf16"
[gallery]
directory = "{tmp_path / "people"}"
threshold = 0.5
margin = 0.1
""",
    )
    found = settings_for(config=file, model="other", device="cpu", threads=None)
    assert found.directory == tmp_path / "people"
    assert found.recognizer == {
        "model": "other",
        "device": "cpu",
        "threads": 3,
        "precision": "bf16",
    }
    assert (found.threshold, found.margin) == (0.5, 0.1)
    given = settings_for(config=file, gallery=tmp_path / "given")
    assert (given.directory, given.threshold) == (tmp_path / "given", 0.5)
    assert settings_to_measure(file, model=None)["model"] == "mine"


def test_the_environment_names_a_file_and_the_flag_another(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(tmp_path / "one.toml", f'[gallery]\ndirectory = "{tmp_path / "one"}"\n')
    two = written(tmp_path / "two.toml", f'[gallery]\ndirectory = "{tmp_path / "two"}"\n')
    monkeypatch.setenv("FACEWIRE_CONFIG", str(one))
    assert settings_for(config=None).directory == tmp_path / "one"
    assert settings_for(config=two).directory == tmp_path / "two"


def test_a_file_that_opens_the_service_to_others_needs_no_token_here(
    data: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "facewire.toml", '[server]\nhost = "0.0.0.0"\n')
    assert settings_for(config=file).directory == data / "demo"


def test_a_running_service_is_followed(data: Path, serve: Any, tmp_path: Path) -> None:
    tables = {"recognizer": {"model": "mine"}, "gallery": {"threshold": 0.6}}
    serve(tmp_path / "people", **tables)
    found = settings_for(config=None, device="cpu")
    assert found.directory == tmp_path / "people"
    assert found.origin == f"of the running service (process {os.getpid()})"
    assert found.recognizer == {"threads": 0, "model": "mine", "device": "cpu"}
    assert found.threshold == 0.6
    # Another gallery is another matter: it may hold another model's embeddings.
    other = settings_for(config=None, gallery=tmp_path / "other")
    assert (other.recognizer, other.threshold) == ({"threads": 0}, None)
    assert [each.directory for each in other.others] == [tmp_path / "people"]
    same = settings_for(config=None, gallery=tmp_path / "x" / ".." / "people")
    assert same.recognizer["model"] == "mine"


def test_a_file_of_the_environment_is_refused_beside_a_service_elsewhere(
    data: Path, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "facewire.toml", f'[gallery]\ndirectory = "{tmp_path / "mine"}"\n')
    monkeypatch.setenv("FACEWIRE_CONFIG", str(file))
    serve(tmp_path / "people")
    with pytest.raises(ConfigError, match=r"runs on .*people .*choose a gallery by --gallery"):
        settings_for(config=None)
    assert settings_for(config=file).directory == tmp_path / "mine"
    assert settings_for(config=None, needs_gallery=False).recognizer == {"threads": 0}
    serve(tmp_path / "mine", recognizer={"model": "of-a-flag"})
    assert settings_for(config=None).recognizer["model"] == "of-a-flag"
    assert settings_for(config=file).recognizer == {"threads": 0}


def test_of_several_services_none_is_guessed(data: Path, serve: Any, tmp_path: Path) -> None:
    serve(tmp_path / "one")
    serve(tmp_path / "two")
    with pytest.raises(ConfigError, match=r"several services run, on .* and .*: choose"):
        settings_for(config=None)
    assert settings_for(config=None, gallery=tmp_path / "two").service is not None
    assert settings_for(config=None, needs_gallery=False).recognizer == {"threads": 0}


def test_the_systems_own_service_is_found_and_left_to_its_user(
    data: Path, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(tmp_path / "people", at=tmp_path / "system")
    assert settings_for(config=None).service is None  # set by FACEWIRE_DATA
    monkeypatch.delenv("FACEWIRE_DATA")
    monkeypatch.setattr(module, "data_dir", lambda: data)
    found = settings_for(config=None)
    assert found.to_write() == found.directory == tmp_path / "people"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match="as another user"):
        found.to_write()
    given = settings_for(config=None, gallery=tmp_path / "people")
    assert given.to_write() == tmp_path / "people"


def test_what_is_written_to_is_named_on_stderr(
    data: Path, serve: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(tmp_path / "people")
    settings: Settings = settings_for(config=None, gallery=tmp_path / "other")
    settings.to_write()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"facewire: gallery {tmp_path / 'other'}, of --gallery",
        f"facewire: note: a service runs on {tmp_path / 'people'} (process {os.getpid()})",
    ]


def test_services_are_listed_while_they_run(tmp_path: Path) -> None:
    assert running_services(tmp_path) == []
    with announced(tmp_path / "people", data=tmp_path, settings={"recognizer": {"threads": 2}}):
        (service,) = running_services(tmp_path)
        assert service.directory == tmp_path / "people"
        assert (service.process, service.user) == (os.getpid(), os.geteuid())
        assert service.settings == {"recognizer": {"threads": 2}}
        (file,) = (tmp_path / SERVICES).iterdir()
        assert file.stat().st_mode & 0o077 == 0
        text = file.read_text()
    assert running_services(tmp_path) == []
    file.write_text(text)  # as a service leaves it that was killed
    assert json.loads(text)["process"] == os.getpid()
    assert running_services(tmp_path) == []


def test_a_service_runs_where_it_cannot_be_announced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with announced(tmp_path / "people", data=tmp_path / "file", settings={}):
        assert running_services(tmp_path / "file") == []
    assert "do not find this service" in caplog.text


def test_a_service_of_another_version_is_named(data: Path, serve: Any, tmp_path: Path) -> None:
    serve(tmp_path / "people", gallery={"new_key": 1})
    with pytest.raises(
        ConfigError, match=r"running service .*unknown key gallery.new_key.*--config"
    ):
        settings_for(config=None)


def test_links_in_circles_are_left_to_what_opens_them(
    data: Path, serve: Any, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("link")
    serve(tmp_path / "link")
    assert settings_for(config=None, gallery=tmp_path / "link").service is not None
    assert settings_for(config=None, gallery=tmp_path / "other").service is None
