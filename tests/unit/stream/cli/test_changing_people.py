"""Commands that change people of a database, and the copy of them on this machine."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gallery import Gallery, NewPhoto
from gallery.errors import GalleryUnreachableError
from gallery.people_copy import DIRECTORY, PeopleCopy
from gallery.schema import FILE_NAME
from stream.cli.common import people_and_events
from stream.cli.main import app
from tests.postgres_server import Server

MODEL, SIZE = "sface-0ba9fbfa", 128
STALE = "the copy of the people on this machine is not up to date"


@pytest.fixture
def address(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with Ada and Bob, and a copy of it in the data directory."""
    address = postgres.new_database()
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("FACEWIRE_DATABASE", address)
    directory = tmp_path / "gallery"
    directory.mkdir()
    with (
        Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as gallery,
        closing(PeopleCopy(directory)) as copy,
    ):
        for number, name in enumerate(("Ada", "Bob")):
            row = np.eye(1, SIZE, number, dtype=np.float32)[0]
            gallery.photos.add(name, [NewPhoto(row, None, f"{number:064d}", 1.0)])
        copy.update(gallery.store)
    return address


def in_copy(directory: Path, name: str) -> bool:
    return any(name.encode() in each.read_bytes() for each in (directory / DIRECTORY).iterdir())


def test_a_command_succeeds_although_the_copy_cannot_be_written(
    address: str, tmp_path: Path
) -> None:
    directory = tmp_path / "gallery"
    PeopleCopy(directory).erase()
    (directory / DIRECTORY).write_bytes(b"")  # not a directory
    result = CliRunner().invoke(app, ["gallery", "remove", "--yes", "Ada", "--json"])
    assert result.exit_code == 0, result.output
    assert [each["name"] for each in json.loads(result.stdout)["removed"]] == ["Ada"]
    warning = [line for line in result.stderr.splitlines() if STALE in line]
    assert len(warning) == 1
    with Gallery.open_any(address) as gallery:
        assert [each.identity.name for each in gallery.people.summaries()] == ["Bob"]


def test_the_copy_is_updated_when_the_second_question_is_answered_by_no(
    address: str, tmp_path: Path
) -> None:
    directory = tmp_path / "gallery"
    assert in_copy(directory, "Ada")

    def answer() -> None:
        with people_and_events(directory, address) as (people, _):
            people.people.remove("Ada")
            raise typer.Abort

    with pytest.raises(typer.Abort):
        answer()
    assert not in_copy(directory, "Ada")
    assert in_copy(directory, "Bob")


def test_a_database_that_went_away_is_reported_once(
    address: str, tmp_path: Path, postgres: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "gallery"
    with (
        pytest.raises(GalleryUnreachableError),
        people_and_events(directory, address),
    ):
        raise GalleryUnreachableError("cannot reach it")
    assert capsys.readouterr() == ("", "")
    assert (directory / DIRECTORY / FILE_NAME).exists()
