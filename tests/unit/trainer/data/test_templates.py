import pytest

from trainer.data.templates import read_template_pairs, read_templates
from trainer.errors import DataError


@pytest.fixture
def images(tmp_path):
    directory = tmp_path / "img"
    directory.mkdir()
    for name in ("1.jpg", "2.jpg", "a b.jpg"):
        (directory / name).write_bytes(b"")
    return directory


def write(path, text):
    path.write_text(text)
    return path


def listed(tmp_path, images, text="1.jpg 7 70\n2.jpg 7 70\na b.jpg 9 70\n1.jpg 9 5\n"):
    return read_templates(write(tmp_path / "tid.txt", text), images)


def test_a_list_gives_images_media_and_templates(tmp_path, images):
    found = listed(tmp_path, images)
    assert [file.name for file in found.images] == ["1.jpg", "2.jpg", "a b.jpg"]
    assert found.lines == (1, 2, 3)
    assert found.index == {7: 0, 9: 1}
    assert found.image_of_row.tolist() == [0, 1, 2, 0]
    # media 70 of template 9 is not media 70 of template 7
    assert found.media_of_row.tolist() == [0, 0, 1, 2]
    assert found.template_of_media.tolist() == [0, 1, 1]


def test_windows_line_ends_tabs_and_empty_lines_are_read(tmp_path, images):
    text = "\ufeff1.jpg\t7\t70\r\n\r\na b.jpg\t9\t71\r\n"
    found = listed(tmp_path, images, text)
    assert [file.name for file in found.images] == ["1.jpg", "a b.jpg"]
    assert found.lines == (1, 3)
    pairs = read_template_pairs(write(tmp_path / "p.txt", "7 9 1\r\n\r\n9 7 0\r\n"), found)
    assert (pairs.name, pairs.a.tolist(), pairs.b.tolist()) == ("p", [0, 1], [1, 0])
    assert pairs.is_same.tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.jpg 7 70\n2.jpg 7\n", "tid.txt, line 2: expected `IMAGE TEMPLATE MEDIA`"),
        ("1.jpg 7 70\n2.jpg x 70\n", "tid.txt, line 2: expected `IMAGE TEMPLATE MEDIA`"),
        ("1.jpg 7 70\n2.jpg 7 7.5\n", "tid.txt, line 2: expected `IMAGE TEMPLATE MEDIA`"),
        ("7 70\n", "tid.txt, line 1: expected `IMAGE TEMPLATE MEDIA`"),
        ("1.jpg 7 70\n\n3.jpg 7 70\n", "tid.txt, line 3: cannot find the image .*3.jpg"),
        ("\n", "tid.txt names no images"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path, images, text, expected):
    with pytest.raises(DataError, match=expected):
        listed(tmp_path, images, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 9 1\n7 9\n", "p.txt, line 2: expected `TEMPLATE TEMPLATE LABEL`"),
        ("7 9 1 1\n", "p.txt, line 1: expected `TEMPLATE TEMPLATE LABEL`"),
        ("7 9 yes\n", "p.txt, line 1: expected `TEMPLATE TEMPLATE LABEL`"),
        ("7 9 1\n7 9 2\n", "p.txt, line 2: the label is 2, expected 1 .* or 0"),
        ("7 9 -1\n", "p.txt, line 1: the label is -1"),
        ("7 9 1\n7 8 0\n", "p.txt, line 2: template 8 is not in .*tid.txt"),
        ("7 7 1\n", "p.txt, line 1: template 7 is compared with itself"),
        ("", "p.txt names no pairs"),
    ],
)
def test_wrong_pairs_are_refused_with_their_line(tmp_path, images, text, expected):
    with pytest.raises(DataError, match=expected):
        read_template_pairs(write(tmp_path / "p.txt", text), listed(tmp_path, images))


def test_missing_and_binary_files_are_refused(tmp_path, images):
    with pytest.raises(DataError, match=r"cannot find the folder .*none"):
        read_templates(tmp_path / "tid.txt", tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot read .*tid.txt: No such file"):
        read_templates(tmp_path / "tid.txt", images)
    (tmp_path / "tid.txt").write_bytes(b"\xff\xfe1.jpg 1 1")
    with pytest.raises(DataError, match=r"tid.txt is not a text file in UTF-8"):
        read_templates(tmp_path / "tid.txt", images)
