"""Galleries opened to read: nothing in their directory is made or changed."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gallery import Access, Gallery, GalleryError, GalleryFormatError, connections, schema
from tests.unit.gallery.conftest import MODEL, SIZE, people

NOBODY = 65534  # the user without rights


def state(directory: Path) -> dict[str, tuple[int, int]]:
    """Return what is in a directory, and when it was changed."""
    found = {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in directory.iterdir()}
    return {**found, "": (0, directory.stat().st_mtime_ns)}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    people(tmp_path / "few", 5, 4).close()
    return tmp_path / "few"


def test_reading_changes_nothing(directory: Path) -> None:
    before = state(directory)
    with Gallery.open_to_read(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert len(gallery.people.summaries()) == 5
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        (match,) = gallery.search(probe, threshold=0.5)
        assert match is not None
        assert match.identity.name == "Pérson 1"
        assert not gallery.refresh()
        with pytest.raises(GalleryError, match="open for reading only"):
            gallery.people.remove("Pérson 1")
        assert state(directory) == before
    assert state(directory) == before


def test_nothing_is_made_where_there_is_no_gallery(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "none"):
        with pytest.raises(GalleryFormatError, match="there is no gallery"):
            Gallery.open_any(missing, access=Access.READ)
    assert list(tmp_path.iterdir()) == []


def test_who_reads_sees_what_another_process_writes_meanwhile(directory: Path) -> None:
    with Gallery.open_any(directory, access=Access.READ) as reader:
        assert len(reader.people.summaries()) == 5
        with Gallery.open_any(directory) as writer:
            writer.people.remove("Pérson 1")
            assert len(reader.people.summaries()) == 4
            assert len(reader.people.page(limit=10).people) == 4
        assert len(reader.people.summaries()) == 4


def test_an_older_file_is_read_without_being_brought_up_to_date(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = schema.MIGRATIONS
    old = tmp_path / "old"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", now[:2])
        old.mkdir()
        connections.connect(old / schema.FILE_NAME, create=True).close()
        with sqlite3.connect(old / schema.FILE_NAME) as connection:
            connection.execute(
                "INSERT INTO identities (identity_id, name, created_at) VALUES ('a', 'Ada', 0)"
            )
            connection.executemany(
                "INSERT INTO facts VALUES (?, ?)",
                [("model_id", MODEL), ("embedding_size", str(SIZE))],
            )
        connection.close()
    before = state(old)
    with Gallery.open_any(old, access=Access.READ) as gallery:
        assert gallery.people.find("ada").name == "Ada"
        assert [each.identity.name for each in gallery.people.summaries()] == ["Ada"]
    assert state(old) == before
    with Gallery.open_any(old) as gallery:
        assert gallery.people.find("ada").name == "Ada"


def as_nobody(act: Callable[[], object]) -> str:
    """Run a function without root's rights, in a process of its own; return what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing came of it"
        try:
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            act()
            said = ""
        except GalleryError as error:
            said = str(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up rights")
@pytest.mark.parametrize("is_interrupted", [False, True])
def test_read_only_media_are_read(directory: Path, *, is_interrupted: bool) -> None:
    if is_interrupted:  # its last writer was killed: part of it is in the log alone
        with Gallery.open_any(directory) as writer:
            writer.people.rename("Pérson 1", "Ada")
            copy = directory.with_name("copy")
            copy.mkdir()
            for name in (schema.FILE_NAME, schema.FILE_NAME + "-wal"):
                shutil.copy(directory / name, copy)
        directory = copy
    for parent in directory.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)
    before = state(directory)

    def read() -> None:
        with Gallery.open_any(directory, access=Access.READ) as gallery:
            name = "Ada" if is_interrupted else "Pérson 1"
            assert len(gallery.photos.embeddings(gallery.people.find(name).identity_id)) == 4
            assert len(gallery) == 20

    assert as_nobody(read) == ""
    assert state(directory) == before
    assert "read-only" in as_nobody(lambda: Gallery.open_any(directory)) or is_interrupted
