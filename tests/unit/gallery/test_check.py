import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, GalleryError, GalleryFormatError
from gallery.check import check
from tests.unit.gallery.conftest import MODEL, SIZE, people

PAGE = 4096


def damage(directory, first: int, last: int) -> None:
    path = directory / "gallery.sqlite3"
    content = bytearray(path.read_bytes())
    content[first * PAGE : last * PAGE] = b"\xab" * ((last - first) * PAGE)
    path.write_bytes(content)


def change(directory, statement: str, *values: object) -> None:
    connection = sqlite3.connect(directory / "gallery.sqlite3")
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.mark.on_disk
def test_a_whole_gallery_has_no_problems(few):
    directory = Path(few.store.place)
    report = check(directory)
    assert (report.problems, report.repaired) == ((), ())
    assert (report.n_people, report.n_photos) == (5, 20)


def test_no_gallery_is_named(tmp_path):
    with pytest.raises(GalleryFormatError, match="nothing to check"):
        check(tmp_path)


def test_a_foreign_file_is_not_repaired(tmp_path):
    path = tmp_path / "gallery.sqlite3"
    path.write_bytes(b"a letter to a friend" * 300)
    with pytest.raises(GalleryFormatError, match="is not a gallery"):
        check(tmp_path, repair=True)
    assert path.read_bytes() == b"a letter to a friend" * 300


@pytest.mark.parametrize(
    ("statement", "value", "problem", "left"),
    [
        ("UPDATE photos SET embedding = ? WHERE photo_id = 2", b"123", "photo 2 has 3 bytes", 19),
        (
            "UPDATE photos SET embedding = ? WHERE photo_id = 2",
            np.full(SIZE, np.nan, "<f4").tobytes(),
            "photo 2 has an embedding of length nan",
            19,
        ),
        (
            "UPDATE photos SET embedding = ? WHERE photo_id = 2",
            np.ones(SIZE, "<f4").tobytes(),
            "photo 2 has an embedding of length 11.314",
            19,
        ),
        ("UPDATE photos SET model_id = ? WHERE photo_id = 2", "x", "photo 2 is of model x", 19),
        (
            "UPDATE crops SET png = ? WHERE photo_id = 2",
            b"not png",
            "crop of photo 2 is damaged",
            20,
        ),
    ],
)
@pytest.mark.on_disk
def test_what_cannot_be_used_is_named_and_dropped(few, statement, value, problem, left):
    directory = Path(few.store.place)
    few.close()
    change(directory, statement, value)
    report = check(directory)
    assert len(report.problems) == 1
    assert problem in report.problems[0]
    assert report.repaired == ()
    report = check(directory, repair=True)
    assert problem in report.repaired[0]
    assert report.n_photos == left
    assert check(directory).problems == ()


def test_what_a_damaged_file_still_holds_is_saved(tmp_path):
    with people(tmp_path, 40, 5) as gallery:
        everything = Path(gallery.store.place, "gallery.sqlite3").stat().st_size // PAGE
        gallery_id = gallery.gallery_id
        erased = gallery.people.find("Pérson 3").identity_id
        gallery.people.remove(erased)
    damage(tmp_path, everything // 2, everything // 2 + 8)
    damaged = (tmp_path / "gallery.sqlite3").read_bytes()
    report = check(tmp_path)
    assert report.problems
    assert report.repaired == ()
    assert (tmp_path / "gallery.sqlite3").read_bytes() == damaged
    report = check(tmp_path, repair=True)
    assert "saved" in report.repaired[0]
    assert (tmp_path / "gallery.sqlite3.damaged").read_bytes() == damaged
    assert check(tmp_path).problems == ()
    assert report.n_people == 39
    assert report.n_photos >= 185
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert len(gallery) == report.n_photos
        assert gallery.gallery_id == gallery_id
        assert gallery.people.removed([erased, "nobody"]) == {erased}


def test_a_second_repair_does_not_overwrite_the_first_ones_backup(tmp_path):
    people(tmp_path, 40, 5).close()
    (tmp_path / "gallery.sqlite3.damaged").write_bytes(b"precious")
    damage(tmp_path, 20, 25)
    with pytest.raises(GalleryError, match="exists already"):
        check(tmp_path, repair=True)
    assert (tmp_path / "gallery.sqlite3.damaged").read_bytes() == b"precious"


def root_page(gallery: Gallery, name: str) -> int:
    with gallery.store.reading() as connection:
        row = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,))
        return int(row.fetchone()[0])


def test_people_whose_table_is_lost_are_saved_from_its_indexes(tmp_path):
    with people(tmp_path, 40, 5) as gallery:
        root = root_page(gallery, "identities")
        before = [s.identity for s in gallery.people.summaries()]
    damage(tmp_path, root - 1, root)
    report = check(tmp_path, repair=True)
    assert (report.n_people, report.n_photos) == (40, 200)
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert [s.identity for s in gallery.people.summaries()] == before


def test_people_of_whom_no_name_is_left_keep_their_photos(tmp_path):
    with people(tmp_path, 3, 5) as gallery:
        roots = [
            root_page(gallery, name)
            for name in ("identities", *(f"sqlite_autoindex_identities_{i}" for i in (1, 2)))
        ]
    for root in roots:
        damage(tmp_path, root - 1, root)
    report = check(tmp_path, repair=True)
    assert (report.n_people, report.n_photos) == (3, 15)
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        names = [s.identity.name for s in gallery.people.summaries()]
    assert names == [f"recovered person {person}" for person in (1, 2, 3)]


def test_a_file_of_which_nothing_is_left_is_left_alone(tmp_path):
    people(tmp_path, 5, 5).close()
    path = tmp_path / "gallery.sqlite3"
    damage(tmp_path, 1, path.stat().st_size // PAGE)
    before = path.read_bytes()
    with pytest.raises(GalleryFormatError, match=r"nothing of .* can be read"):
        check(tmp_path, repair=True)
    assert path.read_bytes() == before
