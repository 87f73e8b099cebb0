import pytest

from stream.enrolment import EnrolReport, Rejected, folder_items, upload_item
from stream.errors import EnrolmentError
from stream.photo_checks import Reason


def test_a_folder_gives_a_person_per_directory(tmp_path):
    for name in ["Bob/2.JPG", "Bob/1.png", "Ada/x.jpeg", "Ada/notes.txt", "stray.jpg"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
    items = folder_items(tmp_path)
    assert [(i.name, i.label.rsplit("/", 1)[1]) for i in items] == [
        ("Ada", "x.jpeg"),
        ("Bob", "1.png"),
        ("Bob", "2.JPG"),
    ]
    assert items[0].load() == b"content"


@pytest.mark.parametrize(("name", "message"), [("none", "is not a directory"), (".", "no photos")])
def test_a_folder_without_photos_is_named(tmp_path, name, message):
    with pytest.raises(EnrolmentError, match=message):
        folder_items(tmp_path / name)


def test_duplicates_are_rejected_but_not_refused():
    twice = Rejected("a.jpg", "Ada", Reason.DUPLICATE, "enrolled already")
    dark = Rejected("b.jpg", "Ada", Reason.TOO_DARK, "the face is too dark")
    assert EnrolReport((), (twice, dark)).refused == (dark,)


def test_an_upload_brings_its_bytes():
    assert upload_item("a.jpg", "Ada", b"abc").load() == b"abc"
