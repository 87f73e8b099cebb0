import stat
from pathlib import Path

import pytest

from gallery import Gallery
from gallery.private_files import keep_private, make_private_directory, make_private_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_and_its_parents_are_private(tmp_path: Path) -> None:
    make_private_directory(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    make_private_directory(tmp_path / "a" / "b")


def test_a_data_directory_of_an_older_version_is_closed(tmp_path: Path) -> None:
    old = tmp_path / "gallery"
    old.mkdir(mode=0o755)
    (old / "events.db-wal").touch()
    make_private_directory(old)
    assert mode(old) == 0o700


def test_a_directory_of_data_directories_is_closed_too(tmp_path: Path) -> None:
    (tmp_path / "data" / "demo").mkdir(parents=True)
    (tmp_path / "data").chmod(0o755)
    make_private_directory(tmp_path / "data")
    assert mode(tmp_path / "data") == 0o755
    make_private_directory(tmp_path / "data", own=("demo", "gallery"))
    assert mode(tmp_path / "data") == 0o700


def test_a_directory_that_serves_something_else_stays_open(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "gallery.sqlite3").touch()
    (shared / "holiday.jpg").touch()
    make_private_directory(shared)
    assert mode(shared) == 0o755


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        make_private_directory(tmp_path / "file")
    with pytest.raises(OSError, match=r"[Nn]ot a directory"):
        make_private_directory(tmp_path / "file" / "below")


def test_files_are_private_from_their_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    make_private_file(path)
    assert mode(path) == 0o600
    path.write_text("kept")
    make_private_file(path)
    assert path.read_text() == "kept"
    make_private_file(tmp_path / "nowhere" / "events.db")


def test_existing_files_are_closed_with_what_lies_beside_them(tmp_path: Path) -> None:
    names = ["events.db", "events.db-wal", "events.db-shm"]
    for name in names:
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    keep_private(tmp_path / "events.db")
    assert [mode(tmp_path / name) for name in names] == [0o600] * 3


def test_nobody_else_can_read_a_gallery_new_or_old(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "gallery"
    for _ in range(2):
        with Gallery.open(directory, model_id="m", embedding_size=4) as opened:
            opened.facts.put({"a": "b"})
            files = list(directory.iterdir())
            assert len(files) == 3
            assert {mode(path) for path in files} == {0o600}
            assert mode(directory) == 0o700
        directory.chmod(0o755)  # as an older version made them
        Path(opened.store.place, "gallery.sqlite3").chmod(0o644)
