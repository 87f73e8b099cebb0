import pickle

import numpy as np
import pytest

from tests.shared_data import shared_data
from trainer.data.faceset import encode
from trainer.data.pairs import PairSet, PhotoPair, alternate, read_bin, read_pairs_txt, write_bin
from trainer.data.photos import pairs_of_photos
from trainer.errors import DataError, RecordError

IMAGE = encode(np.full((112, 112, 3), 90, np.uint8))
FLAT = np.frombuffer(IMAGE, np.uint8)


def dump(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def test_no_pairs_are_read_and_written(tmp_path):
    write_bin(tmp_path / "none.bin", PairSet("none", [], np.zeros(0, bool)))
    with pytest.raises(RecordError, match="answers"):  # an empty list has no type of its own
        read_bin(dump(tmp_path / "x.bin", ([], [0.5])))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "element",
    [
        IMAGE,
        bytearray(IMAGE),
        np.frombuffer(IMAGE, np.uint8),
        np.frombuffer(IMAGE, np.uint8)[:, None],
    ],
    ids=["bytes", "bytearray", "flat", "column"],
)
@pytest.mark.parametrize("answers", [[True], [np.bool_(True)], np.array([True]), (1,)], ids=str)
def test_every_make_is_read(tmp_path, element, protocol, answers):
    pairs = read_bin(dump(tmp_path / "lfw.bin", ([element, element], answers), protocol))
    assert pairs.name == "lfw"
    assert list(pairs.images) == [IMAGE, IMAGE]
    assert pairs.is_same.tolist() == [True]
    assert pairs.image(1).shape == (112, 112, 3)


def test_python_2_files_are_read(tmp_path):
    # what Python 2's cPickle writes at protocol 2 for ([str, str], [True, False][:1])
    text = b"\xff\xd8abc"
    item = b"U" + bytes([len(text)]) + text
    (tmp_path / "py2.bin").write_bytes(b"\x80\x02]q\x01(" + item + item + b"e]q\x02\x88a\x86q\x03.")
    assert list(read_bin(tmp_path / "py2.bin").images) == [text, text]


def test_insightface_s_own_file_is_read():
    pairs = read_bin(shared_data("bin/small_lfw.bin"))
    assert len(pairs.images) == 20
    assert all(pairs.image(i).shape == (112, 112, 3) for i in range(20))


def test_what_is_written_is_read(tmp_path):
    pairs = PairSet("a", [IMAGE] * 4, np.array([True, False]))
    write_bin(tmp_path / "a.bin", pairs)
    assert pickle.loads((tmp_path / "a.bin").read_bytes()) == ([IMAGE] * 4, [True, False])
    again = read_bin(tmp_path / "a.bin")
    assert list(again.images) == list(pairs.images)
    np.testing.assert_array_equal(again.is_same, pairs.is_same)


class Malicious:
    def __reduce__(self):
        return (print, ("this must never run",))


class System:
    def __reduce__(self):
        import os

        return (os.system, ("touch owned",))


@pytest.mark.parametrize("payload", [Malicious(), System(), getattr, pickle.Unpickler])
@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_by_name_and_does_not_run(tmp_path, monkeypatch, capsys, payload, protocol):
    monkeypatch.chdir(tmp_path)
    path = dump(tmp_path / "evil.bin", ([payload, IMAGE], [True]), protocol)
    with pytest.raises(RecordError, match=r"refused: it asks for \w+\.\w+"):
        read_bin(path)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "expected \\(images, answers\\)"),
        (([IMAGE],), "expected \\(images, answers\\)"),
        ((IMAGE, [True]), "the images are no list"),
        (([1, 2], [True]), "an image is a int"),
        (([np.zeros(3), IMAGE], [True]), "an image is a ndarray"),
        (([IMAGE, IMAGE], ["yes"]), "no booleans"),
        (([IMAGE, IMAGE], [True, False]), "2 images for 2 pairs"),
    ],
)
def test_other_contents_are_refused(tmp_path, value, expected):
    with pytest.raises(RecordError, match=expected):
        read_bin(dump(tmp_path / "x.bin", value))


def test_damage_and_absence_are_named(tmp_path):
    good = dump(tmp_path / "x.bin", ([IMAGE, IMAGE], [True])).read_bytes()
    for length in (0, 1, 10, len(good) - 1):
        (tmp_path / "x.bin").write_bytes(good[:length])
        with pytest.raises(RecordError, match="no verification file"):
            read_bin(tmp_path / "x.bin")
    with pytest.raises(RecordError, match="cannot read"):
        read_bin(tmp_path / "none.bin")


def test_pairs_txt_with_and_without_a_first_line(tmp_path):
    path = tmp_path / "pairs.txt"
    expected = [
        PhotoPair("Ann_B/Ann_B_0001", "Ann_B/Ann_B_0003", is_same=True),
        PhotoPair("Ann_B/Ann_B_0002", "Cy/Cy_0010", is_same=False),
    ]
    lines = "Ann_B\t1\t3\nAnn_B\t2\tCy\t10\n"
    for text in (lines, "10\t300\n" + lines, "1\n" + lines, lines.replace("\t", " ")):
        path.write_text(text)
        assert read_pairs_txt(path) == expected


@pytest.mark.parametrize("text", ["", "10 300\n", "a b c\n", "a 1\n", "a 1 b c\n", "a 1 2 3 4\n"])
def test_other_pairs_are_named(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"names no pairs|line 1: expected"):
        read_pairs_txt(path)


def test_missing_pairs_are_named(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_pairs_txt(tmp_path / "pairs.txt")


def test_the_pairs_of_lfw():
    pairs = read_pairs_txt(shared_data("lfw_fold1_pairs.txt"))
    assert [len(pairs), sum(p.is_same for p in pairs)] == [600, 300]


def test_kinds_alternate_and_what_is_left_over_comes_last():
    images = [bytes([i]) for i in range(10)]
    turned = alternate(PairSet("x", images, np.array([True, True, True, False, False])))
    assert turned.is_same.tolist() == [True, False, True, False, True]
    assert [image[0] for image in turned.images] == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5]
    none = alternate(PairSet("none", [], np.zeros(0, bool)))
    assert (len(none.images), len(none.is_same)) == (0, 0)


def test_a_list_may_name_any_two_photos(tmp_path):
    """As the reference's pairs_label.txt does."""
    folder = tmp_path / "photos"
    for name, value in (("ada/smile.jpg", 1), ("ada/x y.png", 2), ("bob/1.jpg", 3)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        suffix_quality = 0 if name.endswith("png") else 95
        crop = encode(np.full((112, 112, 3), value, np.uint8), quality=suffix_quality)
        (folder / name).write_bytes(crop)
    (tmp_path / "pairs_label.txt").write_text(
        "ada/smile.jpg\tada/x y.png\t1\nada/smile.jpg\tbob/1\t0\nbob/1.jpg\tada/x y\t-1\n"
    )
    pairs = read_pairs_txt(tmp_path / "pairs_label.txt")
    made = pairs_of_photos(folder, pairs, name="mine", open_detector=no_detector)
    assert made.is_same.tolist() == [True, False, False]
    assert [int(made.image(i).mean()) for i in range(6)] == [1, 2, 1, 3, 3, 2]


def test_a_missing_photo_is_named_before_any_is_detected(tmp_path):
    photo = np.zeros((300, 300, 3), np.uint8)
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada/1.jpg").write_bytes(encode(photo))
    pairs = [PhotoPair("ada/1.jpg", "ada/2.jpg", is_same=True)]
    with pytest.raises(DataError, match=r"cannot find .*ada/2"):
        pairs_of_photos(tmp_path, pairs, name="mine", open_detector=no_detector)


def no_detector():
    raise AssertionError("no photo is to be detected")
