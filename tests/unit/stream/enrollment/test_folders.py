import os
from pathlib import Path

import pytest

from gallery import Identity
from stream.enrollment.crops import Enrolled, EnrolReport, Rejected
from stream.enrollment.folders import read_people_folder
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError


def fill(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")


def items(directory: Path) -> list[tuple[str, str]]:
    return [
        (item.name, os.path.relpath(item.label, directory))
        for item in read_people_folder(directory).items
    ]


def rejected(directory: Path) -> list[tuple[str, Reason]]:
    return [
        (os.path.relpath(each.label, directory), each.reason)
        for each in read_people_folder(directory).rejected
    ]


def test_every_file_of_a_person_is_an_item_whatever_it_is_called(tmp_path):
    ada = ["1.HEIC", "2.avif", "2019/summer/8.jpg", "3.gif", "4.jfif", "5.jpe", "6", "notes.txt"]
    fill(tmp_path, *(f"Ada/{name}" for name in ada), "Bob/1.png")
    assert items(tmp_path) == [*(("Ada", f"Ada/{name}") for name in ada), ("Bob", "Bob/1.png")]
    assert read_people_folder(tmp_path).items[0].load() == b"content"
    assert rejected(tmp_path) == []


def test_what_systems_leave_is_skipped_and_counted(tmp_path):
    fill(
        tmp_path,
        "Ada/1.jpg",
        *("Ada/._1.jpg", "Ada/.DS_Store", "Ada/Thumbs.db", "Ada/desktop.ini"),
        *("Ada/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "Ada/.thumbnails/1.jpg"),
        *(".thumbnails/1.jpg", "@eaDir/1.jpg", "__MACOSX/Ada/._1.jpg", "$RECYCLE.BIN/1.jpg"),
        *("lost+found/1", "System Volume Information/x", "Thumbs.db", ".DS_Store"),
    )
    assert items(tmp_path) == [("Ada", "Ada/1.jpg")]
    assert rejected(tmp_path) == []
    assert read_people_folder(tmp_path).n_skipped == 14


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * 201, Reason.NO_NAME), ("caf\udce9", Reason.NO_NAME), ("\u202eada", Reason.NO_NAME)],
)
def test_a_folder_whose_name_is_none_stops_nobody_else(tmp_path, name, reason):
    fill(tmp_path, "Ada/1.jpg", f"{name}/1.jpg", "Zoe/1.jpg")
    assert items(tmp_path) == [("Ada", "Ada/1.jpg"), ("Zoe", "Zoe/1.jpg")]
    assert rejected(tmp_path) == [(name, reason)]


def test_a_folder_that_cannot_be_read_stops_nobody_else(tmp_path, monkeypatch):
    fill(tmp_path, "Ada/1.jpg", "Bob/1.jpg", "Zoe/1.jpg")
    scandir = os.scandir

    def without_bob(path):
        if Path(path).name == "Bob":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_bob)
    assert items(tmp_path) == [("Ada", "Ada/1.jpg"), ("Zoe", "Zoe/1.jpg")]
    [each] = read_people_folder(tmp_path).rejected
    assert each.detail == "cannot read the folder: permission denied"


def test_empty_folders_and_stray_files_are_named(tmp_path):
    fill(tmp_path, "Ada/1.jpg", "Bob/Thumbs.db", "stray.jpg")
    (tmp_path / "Carl").mkdir()
    assert rejected(tmp_path) == [
        ("Bob", Reason.EMPTY),
        ("Carl", Reason.EMPTY),
        ("stray.jpg", Reason.NO_PERSON),
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    fill(tmp_path, "elsewhere/2.jpg", "people/Ada/1.jpg")
    (tmp_path / "people" / "Ada" / "circle").symlink_to(tmp_path / "people" / "Ada")
    (tmp_path / "people" / "Ada" / "self").symlink_to("self")
    (tmp_path / "people" / "Bob").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "people" / "Carl").symlink_to(tmp_path / "nowhere")
    assert items(tmp_path / "people") == [
        ("Ada", "Ada/1.jpg"),
        ("Ada", "Ada/self"),
        ("Bob", "Bob/2.jpg"),
    ]
    assert rejected(tmp_path / "people") == [("Carl", Reason.NO_PERSON)]


def test_a_pipe_is_refused_when_it_is_read(tmp_path):
    fill(tmp_path, "Ada/1.jpg")
    os.mkfifo(tmp_path / "Ada" / "2.jpg")
    with pytest.raises(OSError, match="is a named pipe"):
        read_people_folder(tmp_path).items[1].load()


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "cannot read"), (".", "no folder of a person"), ("file", "is not a directory")],
)
def test_what_is_no_folder_of_people_is_named(tmp_path, name, message):
    fill(tmp_path, "file")
    with pytest.raises(EnrolmentError, match=message):
        read_people_folder(tmp_path / name)


def test_a_person_without_a_usable_photo_is_named(tmp_path):
    fill(tmp_path, "Ada/1.jpg", "Bob/1.jpg", "Bob/2.jpg", "Carl/1.jpg", "Dora/1.jpg")
    folder = read_people_folder(tmp_path)
    first, *rest = (item.label for item in folder.items)
    bob_1, bob_2, carl, dora = rest
    report = EnrolReport(
        (
            Rejected(first, "Ada", Reason.NO_FACE, "no face"),
            Rejected(bob_1, "Bob", Reason.NO_FACE, "no face"),
            Enrolled(bob_2, Identity("0", "Bob"), 0.5),
            Rejected(carl, "Carl", Reason.DUPLICATE, "enrolled already"),
            Rejected(dora, "Dora", Reason.UNREADABLE, "not an image"),
        )
    )
    assert [name for _, name in folder.without_photo(report)] == ["Ada", "Dora"]
