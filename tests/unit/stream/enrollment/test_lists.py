"""People in zip files and CSV lists."""

import zipfile
from pathlib import Path

import pytest

from stream.enrollment import lists
from stream.enrollment.folders import PeopleFolder, read_people
from stream.enrollment.photo_checks import Reason
from stream.errors import EnrolmentError


def zipped(path: Path, *names: str, data: bytes = b"content") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return path


def photos(found: PeopleFolder) -> list[tuple[str, str]]:
    return [(item.name, Path(item.label).name) for item in found.items]


def test_a_zip_file_of_folders_has_their_people(tmp_path: Path) -> None:
    names = ["Ada/1.jpg", "Ada/2019/2.jpg", "José/3.jpg", "__MACOSX/Ada/._1.jpg", "Ada/.DS_Store"]
    found = read_people(zipped(tmp_path / "all.ZIP", *names, "stray.jpg", "Eve\\4.jpg"))
    assert sorted(photos(found)) == [
        *(("Ada", "1.jpg"), ("Ada", "2.jpg")),
        *(("Eve", Path(found.items[2].label).name), ("José", "3.jpg")),
    ]
    assert [each.reason for each in found.rejected] == [Reason.NO_PERSON]
    assert found.n_skipped == 2
    assert found.items[0].load() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["all.ZIP"]  # nothing is extracted


def test_a_zip_file_without_folders_is_of_one_person(tmp_path: Path) -> None:
    found = read_people(zipped(tmp_path / "Grace Hopper.zip", "1.jpg", "2.jpg"))
    assert photos(found) == [("Grace Hopper", "1.jpg"), ("Grace Hopper", "2.jpg")]


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (["staff/Ada/1.jpg", "staff/Eve/2.jpg", "staff/Eve/2019/3.jpg"], ["Ada", "Eve", "Eve"]),
        (["staff/Ada/1.jpg", "staff/Eve/2.jpg", "staff/.DS_Store"], ["Ada", "Eve"]),
        (["Ada/1.jpg", "Ada/2019/2.jpg"], ["Ada", "Ada"]),  # photos beside folders: a person
        (["Ada/2019/1.jpg", "Eve/2019/2.jpg"], ["Ada", "Eve"]),
    ],
)
def test_one_folder_around_the_people_of_a_zip_file_is_no_person(
    tmp_path: Path, names: list[str], people: list[str]
) -> None:
    found = read_people(zipped(tmp_path / "all.zip", *names))
    assert [name for name, _ in photos(found)] == people
    assert not found.rejected


def test_zip_files_are_open_only_while_their_photos_are_read(tmp_path: Path) -> None:
    for number in range(20):
        zipped(tmp_path / f"person {number:02}.zip", "1.jpg", "2.jpg")

    def n_open() -> int:
        return sum(path.resolve().suffix == ".zip" for path in Path("/proc/self/fd").iterdir())

    found = read_people(tmp_path)
    assert n_open() == 0
    first, *rest = found.items
    assert first.load() == b"content"
    assert n_open() == 1
    assert {item.load() for item in rest} == {b"content"}
    assert n_open() == 0


def test_a_folder_may_hold_a_zip_file_for_each_person(tmp_path: Path) -> None:
    zipped(tmp_path / "Ada.zip", "web/1.jpg", "2.jpg")
    zipped(tmp_path / "Eve.zip")
    (tmp_path / "Bob.zip").write_bytes(b"no zip file")
    (tmp_path / "Cay").mkdir()
    (tmp_path / "Cay/1.jpg").write_bytes(b"content")
    found = read_people(tmp_path)
    assert {name for name, _ in photos(found)} == {"Ada", "Cay"}
    assert [each.reason for each in found.rejected] == [Reason.UNREADABLE, Reason.EMPTY]


def test_a_zip_file_outside_of_its_folder_names_no_other_place(tmp_path: Path) -> None:
    found = read_people(zipped(tmp_path / "all.zip", "Ada/1.jpg", "../../Eve/2.jpg", "/Bob/3.jpg"))
    assert sorted(photos(found)) == [("Ada", "1.jpg"), ("Bob", "3.jpg")]
    assert found.n_skipped == 1


@pytest.mark.parametrize("fault", ["no zip", "cut off", "encrypted", "empty"])
def test_a_zip_file_that_cannot_be_read_has_one_sentence(tmp_path: Path, fault: str) -> None:
    path = zipped(tmp_path / "all.zip", *([] if fault == "empty" else ["Ada/1.jpg"]))
    data = bytearray(path.read_bytes())
    if fault == "no zip":
        data = bytearray(b"text")
    elif fault == "cut off":
        data = data[: len(data) // 2]
    elif fault == "encrypted":
        data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    message = {"encrypted": "is encrypted", "empty": "holds no photo"}.get(fault, "cannot read")
    with pytest.raises(EnrolmentError, match=message):
        read_people(path)


def test_damaged_and_too_large_photos_of_a_zip_file_are_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_BYTES", 1_000)
    bomb = zipped(tmp_path / "bomb.zip", "Ada/1.jpg", data=bytes(100_000))
    with pytest.raises(OSError, match="more than 1000 bytes"):
        read_people(bomb).items[0].load()
    data = bytearray(bomb.read_bytes())  # it states to be small
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    bomb.write_bytes(data)
    with pytest.raises(OSError, match="damaged here"):
        read_people(bomb).items[0].load()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("Ada/1.jpg", bytes(1_001))
    with pytest.raises(OSError, match="more than 1000 bytes"):
        read_people(bomb).items[0].load()
    path = zipped(tmp_path / "all.zip", "Ada/1.jpg", data=bytes(range(200)))
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with pytest.raises(OSError, match="damaged here"):
        read_people(path).items[0].load()


@pytest.mark.parametrize(
    "text",
    [
        "Ada,1.jpg\nEve,sub/2.jpg\nAda,3.jpg\n",
        "\ufeffname,file\r\nAda,1.jpg\r\nEve,sub/2.jpg\r\n\r\nAda,3.jpg",
        "Photo;Name\n1.jpg;Ada\nsub/2.jpg;Eve\n3.jpg;Ada\n",
        'name,file,note\n"Ada","1.jpg",\nEve,sub/2.jpg,x\nAda,3.jpg,y\n',
    ],
)
def test_a_list_names_the_files_beside_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "people.csv").write_bytes(text.encode())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/2.jpg").write_bytes(b"two")
    found = read_people(tmp_path / "people.csv")
    assert photos(found) == [("Ada", "1.jpg"), ("Ada", "3.jpg"), ("Eve", "2.jpg")]
    assert found.items[2].load() == b"two"
    assert not found.rejected


def test_a_line_that_is_none_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Ada,1.jpg\nEve\n,2.jpg\nBob,\n")
    found = read_people(tmp_path / "a.csv")
    assert photos(found) == [("Ada", "1.jpg")]
    assert [each.label.rsplit(", ")[1] for each in found.rejected] == ["line 2", "line 3", "line 4"]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "lists nobody"), (b"Jos\xe9,1.jpg", "not UTF-8"), (b'Ada,"1.jpg', "line 1")],
)
def test_a_list_that_cannot_be_read_has_one_sentence(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(EnrolmentError, match=message):
        read_people(tmp_path / "a.csv")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match="no such file"):
        read_people(tmp_path / "a.csv")
