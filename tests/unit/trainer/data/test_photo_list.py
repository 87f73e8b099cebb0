import numpy as np
import pytest

from trainer.data.photo_list import Photo, around, read_photo_list
from trainer.errors import DataError


def write(path, text):
    path.write_text(text)
    return path


def test_both_kinds_of_rows_are_read(tmp_path):
    numbers = "\t".join(map(str, range(14)))
    path = write(
        tmp_path / "a.lst",
        f"17\t4.0\tfour/x.jpg\n1\tsix/y.jpg\t6\n\n0\tsix/z.jpg\t6\t{numbers}\n",
    )
    assert read_photo_list(path) == {
        "four": [Photo(tmp_path / "four/x.jpg")],
        "six": [
            Photo(tmp_path / "six/y.jpg", is_aligned=True),
            Photo(
                tmp_path / "six/z.jpg",
                box=(0, 1, 2, 3),
                landmarks=(4, 9, 5, 10, 6, 11, 7, 12, 8, 13),
            ),
        ],
    }


def test_people_are_named_after_their_labels_where_folders_do_not_tell_them_apart(tmp_path):
    path = write(tmp_path / "a.lst", "0\t10\tall/x.jpg\n1\t2\tall/y.jpg\n")
    assert list(read_photo_list(path)) == ["2", "10"]


@pytest.mark.parametrize(
    "row", ["photo.jpg\t1", "0\tnan\tx.jpg", "2\tx.jpg\t5", "1\tx.jpg\t5\t1\t2", "1 2 x.jpg"]
)
def test_a_row_of_no_known_kind_is_named(tmp_path, row):
    with pytest.raises(DataError, match=r"a\.lst, line 2: expected NUMBER<tab>LABEL"):
        read_photo_list(write(tmp_path / "a.lst", f"0\t1\tx.jpg\n{row}\n"))


def test_an_empty_or_foreign_file_is_named(tmp_path):
    with pytest.raises(DataError, match="names no photos"):
        read_photo_list(write(tmp_path / "a.lst", "\n"))
    (tmp_path / "b.lst").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="is not a list of photos"):
        read_photo_list(tmp_path / "b.lst")


@pytest.mark.parametrize(
    ("box", "shape"),
    [((40, 30, 60, 50), (40, 40)), ((0, 0, 20, 20), (30, 30)), ((200, 200, 220, 220), (0, 0))],
)
def test_the_surroundings_of_a_box_are_cut_out(box, shape):
    assert around(np.zeros((100, 120, 3), np.uint8), box).shape[:2] == shape
