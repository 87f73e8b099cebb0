from stream.enrollment.enrollment import EnrolReport, Rejected, upload_item
from stream.enrollment.photo_checks import Reason


def test_duplicates_are_rejected_but_not_refused():
    twice = Rejected("a.jpg", "Ada", Reason.DUPLICATE, "enrolled already")
    dark = Rejected("b.jpg", "Ada", Reason.TOO_DARK, "the face is too dark")
    assert EnrolReport((twice, dark)).refused == (dark,)


def test_an_upload_brings_its_bytes():
    assert upload_item("a.jpg", "Ada", b"abc").load() == b"abc"
