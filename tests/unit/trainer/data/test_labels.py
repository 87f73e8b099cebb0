"""Labels unusable for a classifier are refused before the first step."""

import numpy as np
import pytest

from trainer.data.faceset import FaceSet, encode
from trainer.data.labels import check_labels, class_of, read_labels
from trainer.data.recordio import Record, RecordWriter
from trainer.errors import DataError

IMAGE = encode(np.zeros((112, 112, 3), np.uint8))


def set_of(folder, labels, classes, *, with_identities):
    """Write a set in which each label has two images."""
    folder.mkdir()
    with RecordWriter(folder / "train.rec") as writer:
        last = 2 * len(labels) + 1
        if with_identities:
            writer.write(0, Record((last, last + len(labels)), 0, b"", is_vector=True))
        for place, label in enumerate(labels):
            for key in (2 * place + 1, 2 * place + 2):
                writer.write(key, Record((label,), key, IMAGE))
        if with_identities:
            for place in range(len(labels)):
                ends = (2 * place + 1, 2 * place + 3)
                writer.write(last + place, Record(ends, last + place, b"", is_vector=True))
    (folder / "property").write_text(f"{classes},112,112\n")
    return FaceSet(folder)


@pytest.mark.parametrize("with_identities", [True, False], ids=["identities", "a list"])
@pytest.mark.parametrize(
    ("labels", "classes", "reason"),
    [
        ((0, 1, 2), 2, "labels go up to 2, but `property` says 2 classes"),
        ((1, 2, 3), 3, "labels go up to 3, and count from 1, but `property` says 3 classes"),
        ((0, 7, 14), 3, "labels go up to 14, but"),
        ((-1, 0, 1), 3, "a label is -1: classes count from 0"),
        ((0, 0.5), 2, "a label is 0.5, which is no whole number"),
        ((0, np.nan), 2, "a label is nan, which is no whole number"),
    ],
)
def test_wrong_labels_are_refused(labels, classes, reason, with_identities, tmp_path):
    faces = set_of(tmp_path / "set", labels, classes, with_identities=with_identities)
    with pytest.raises(DataError, match=reason) as caught:
        check_labels(faces, read_labels(faces))
    assert "--set data.relabel=true" in str(caught.value)


def test_classes_without_images_are_noticed(tmp_path):
    faces = set_of(tmp_path / "set", (0, 3), 5, with_identities=True)
    found = read_labels(faces)
    check_labels(faces, found)
    assert found.warning(5) == "3 of 5 classes have no image among the 4 looked at"
    assert found.values.tolist() == [0, 3]


def test_good_labels_are_silent(tmp_path):
    found = read_labels(set_of(tmp_path / "set", (0, 1, 2), 3, with_identities=True))
    assert (found.fault(3), found.warning(3)) == ("", "")


@pytest.mark.parametrize(("label", "place"), [(7, 1), (-1, 0), (9, 2), (8, -1), (100, -1)])
def test_labels_are_numbered_in_their_order(label, place):
    assert class_of(label, np.array([-1.0, 7.0, 9.0])) == place
