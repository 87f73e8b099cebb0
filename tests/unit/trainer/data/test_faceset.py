from pathlib import Path

import numpy as np
import pytest

from trainer.data.faceset import (
    FaceSet,
    FaceSetWriter,
    Property,
    decode,
    encode,
    histogram,
    images_per_class,
    read_property,
    resize_short,
)
from trainer.data.recordio import Record, RecordReader, RecordWriter
from trainer.errors import DataError, RecordError


def face(value):
    return np.full((112, 112, 3), (value, 10, 200), np.uint8)


@pytest.fixture
def directory(tmp_path):
    with FaceSetWriter(tmp_path) as writer:
        writer.add([encode(face(10)), encode(face(20), quality=0)])
        writer.add([])
        writer.add([encode(face(30))])
    return tmp_path


def test_a_written_set_has_the_layout_of_the_field(directory):
    assert (directory / "property").read_text() == "2,112,112\n"
    index = (directory / "train.idx").read_text().splitlines()
    assert [line.split("\t")[0] for line in index] == list("123450")
    reader = RecordReader(directory / "train.rec")
    assert reader.read(0).labels == (4, 6)
    assert [reader.read(k).labels for k in (4, 5)] == [(1, 3), (3, 4)]
    assert [reader.read(k).labels for k in (1, 2, 3)] == [(0,), (0,), (1,)]
    reader.close()


def test_it_is_read_back(directory):
    faces = FaceSet(directory)
    assert len(faces) == 3
    assert list(map(list, faces.groups)) == [[1, 2], [3]]
    assert faces.n_classes == 2
    image, labels = faces.read(2)
    np.testing.assert_array_equal(image, face(20))
    assert labels == (0,)
    np.testing.assert_allclose(faces.read(1)[0], face(10), atol=3)
    assert histogram(faces) == {1: 1, 2: 1}
    faces.reader.close()


def test_identities_with_few_images_are_left_out(directory):
    faces = FaceSet(directory, min_images=2)
    assert faces.keys.tolist() == [1, 2]
    assert faces.n_classes == 2  # classes keep their numbers
    faces.reader.close()
    with pytest.raises(DataError, match="min_images"):
        FaceSet(directory, min_images=3)


def test_a_set_without_a_header_is_all_images(tmp_path):
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, label in enumerate([2, 0, 2]):
            writer.write(key, Record((label, 1.0), key, encode(face(9)), is_vector=True))
    faces = FaceSet(tmp_path)
    assert faces.keys.tolist() == [0, 1, 2]
    assert faces.n_classes == 3
    assert not faces.has_identities
    np.testing.assert_array_equal(images_per_class(faces), [1, 2])
    assert faces.read(1)[1] == (0, 1)
    faces.reader.close()


def test_an_empty_or_missing_set_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"cannot find .*train\.rec"):
        FaceSet(tmp_path)
    with RecordWriter(tmp_path / "train.rec"):
        pass
    with pytest.raises(RecordError, match="is empty"):
        FaceSet(tmp_path)


def test_a_header_that_points_at_images_is_refused(tmp_path):
    with RecordWriter(tmp_path / "train.rec") as writer:
        writer.write(1, Record((0.0,), 1, encode(face(1))))
        writer.write(0, Record((1, 2), 0, b"", is_vector=True))
    with pytest.raises(RecordError, match="record 1 is no identity"):
        FaceSet(tmp_path)


def test_a_failed_set_is_not_completed(tmp_path):
    with pytest.raises(TypeError), FaceSetWriter(tmp_path) as writer:
        writer.add([None])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_a_set_is_replaced_on_request_alone_and_only_by_a_complete_one(directory):
    before = (directory / "train.rec").read_bytes()
    with pytest.raises(DataError, match=r"train\.rec exists: choose another directory, or"):
        FaceSetWriter(directory)
    with pytest.raises(TypeError), FaceSetWriter(directory, replace=True) as writer:
        writer.add([None])  # type: ignore[list-item]
    assert (directory / "train.rec").read_bytes() == before
    with FaceSetWriter(directory, replace=True) as writer:
        writer.add([encode(face(1))])
        with pytest.raises(DataError, match="another program writes a set to"):
            FaceSetWriter(directory, replace=True)
    assert len(FaceSet(directory)) == 1
    assert {file.name for file in directory.iterdir()} == {"train.rec", "train.idx", "property"}


@pytest.mark.parametrize("moment", range(5))
def test_a_set_whose_replacement_was_killed_is_the_new_one(directory, monkeypatch, moment):
    """No moment between the first file that is renamed and the last leaves a mixture, or nothing"""
    (directory / "names.txt").write_text("old\n")
    rename, n_renamed = Path.replace, 0

    def replace(source, target):
        nonlocal n_renamed
        if source.parent.name == ".part" and target.parent == directory:
            n_renamed += 1
            if n_renamed > moment:
                raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(Path, "replace", replace)
        with FaceSetWriter(directory, replace=True) as writer:
            writer.add([encode(face(1))])
        raise KeyboardInterrupt  # all renamed
    faces = FaceSet(directory)
    assert len(faces) == faces.n_classes == 1
    assert {file.name for file in directory.iterdir()} == {"train.rec", "train.idx", "property"}


def test_a_set_that_was_killed_before_it_was_complete_leaves_the_old_one(directory):
    (directory / ".part").mkdir()
    (directory / ".part/train.rec").write_bytes(b"half")
    assert len(FaceSet(directory)) == 3
    with FaceSetWriter(directory, replace=True) as writer:
        writer.add([encode(face(1))])
    assert len(FaceSet(directory)) == 1


def test_without_an_index_the_file_is_scanned(directory, caplog):
    whole = FaceSet(directory)
    (directory / "train.idx").unlink()
    scanned = FaceSet(directory)
    assert scanned.reader.offsets == whole.reader.offsets
    assert list(map(list, scanned.groups)) == [[1, 2], [3]]
    assert "there is no" in caplog.text


def test_records_of_one_id_are_keyed_by_their_place(tmp_path):
    with RecordWriter(tmp_path / "train.rec") as writer:
        for label in (1, 0):
            writer.write(label, Record((label,), 7, encode(face(9))))
    (tmp_path / "train.idx").unlink()
    faces = FaceSet(tmp_path)
    assert faces.keys.tolist() == [0, 1]
    assert faces.read(0)[1] == (1,)


@pytest.mark.parametrize("text", ["3,112,112\n24", "3,112,112\n3\n112\n112\n"])
def test_the_first_line_of_property_counts(tmp_path, text):
    (tmp_path / "property").write_text(text)
    assert read_property(tmp_path) == Property(3, 112, 112)


@pytest.mark.parametrize("text", ["", "5", "a,b,c", "1,2,3,4"])
def test_a_wrong_property_file_is_named(tmp_path, text):
    (tmp_path / "property").write_text(text)
    with pytest.raises(RecordError, match=r"the first line of .*property must be"):
        read_property(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_what_is_no_picture_is_named(data):
    with pytest.raises(RecordError, match="record 7"):
        decode(data, name="record 7")


@pytest.mark.parametrize("size", [(112, 112), (224, 112), (100, 250), (96, 96)])
def test_other_sizes_become_112(size):
    assert resize_short(np.zeros((*size, 3), np.uint8)).shape == (112, 112, 3)


def test_more_images_than_float32_counts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.data.faceset.EXACT_FLOAT32", 2)
    with pytest.raises(DataError, match="cannot count"), FaceSetWriter(tmp_path) as writer:
        writer.add([b"x", b"y"])


def test_extra_labels_follow_the_class(tmp_path):
    with FaceSetWriter(tmp_path) as writer:
        writer.add([encode(face(1))], extra_labels=[(1.0, 30.0)])
    faces = FaceSet(tmp_path)
    assert faces.read(1)[1] == (0, 1, 30)
    faces.reader.close()


def test_the_keys_of_identities_are_computed(tmp_path):
    with FaceSetWriter(tmp_path) as writer:
        for size in (2, 1, 3):
            writer.add([b"image"] * size)
    faces = FaceSet(tmp_path, min_images=2)
    assert [list(group) for group in faces.groups] == [[1, 2], [4, 5, 6]]
    assert faces.groups[-1] == range(4, 7)
    assert faces.groups[0:1] == [range(1, 3)]
    assert faces.keys.tolist() == [1, 2, 4, 5, 6]
    assert [faces.keys[i] for i in (0, 2, 4, -1)] == [1, 4, 6, 6]
    assert faces.keys[1:4] == [2, 4, 5]
    with pytest.raises(IndexError):
        faces.keys[5]


def test_a_damaged_record_of_a_set_without_a_property_file_does_not_stop_it(tmp_path):
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key in range(4):
            writer.write(key, Record((key,), key, encode(face(key))))
    data = bytearray((tmp_path / "train.rec").read_bytes())
    at = FaceSet(tmp_path).reader.offsets[1]
    (tmp_path / "train.rec").write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    faces = FaceSet(tmp_path)
    assert faces.n_classes == 4
    assert [faces.label(key) for key in range(4)] == [0, None, 2, 3]
    for key in range(4):
        data[faces.reader.offsets[key]] ^= 1
    (tmp_path / "train.rec").write_bytes(data)
    with pytest.raises(RecordError):
        FaceSet(tmp_path)
