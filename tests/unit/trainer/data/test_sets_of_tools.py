"""Sets as the reference's tools write them, record by record."""

import pickle

import numpy as np
import pytest

from trainer.data.faceset import FaceSet, encode
from trainer.data.framing import encode_parts
from trainer.data.labelled import LabelledSet
from trainer.data.labels import check_labels, read_labels
from trainer.data.recordio import Record, pack_record

LABELS = [0, 0, 1, 2, 2]


def image(value):
    return encode(np.full((112, 112, 3), value, np.uint8))


def write(folder, records, *, index=True, text=""):
    """Write records of (key, labels or label, id, image), as mxnet.recordio does."""
    folder.mkdir()
    rec, idx = b"", ""
    for key, label, record_id, content in records:
        idx += f"{key}\t{len(rec)}\n"
        is_vector = isinstance(label, tuple)
        labels = label if is_vector else (label,)
        rec += encode_parts(pack_record(Record(labels, record_id, content, is_vector=is_vector)))
    (folder / "train.rec").write_bytes(rec)
    if index:
        (folder / "train.idx").write_text(idx)
    (folder / "property").write_text(text)
    return folder


def old_builder(folder, *, aligned=False):
    """face2rec2 and dir2rec: images from 1, then record 0 and the identities, all with an index."""
    images = [
        (key, (float(label), 1.0) if aligned else label, key, image(key))
        for key, label in enumerate(LABELS, 1)
    ]
    identities = [(6, (1.0, 3.0), 6, b""), (7, (3.0, 4.0), 7, b""), (8, (4.0, 6.0), 8, b"")]
    return write(folder, [*images, (0, (6.0, 9.0), 0, b""), *identities], text="3,112,112")


def old_builder_aligned(folder):
    """face2rec2 with a vector of label and `aligned`."""
    return old_builder(folder, aligned=True)


def new_builder(folder):
    """rec_builder of the python package: images from 0, no identities, a second line, a pickle."""
    images = [(key, label, key, image(key + 1)) for key, label in enumerate(LABELS)]
    write(folder, images, text="3,112,112\n5\n")
    meta = [{"image_index": key, "image_classes": [label]} for key, label in enumerate(LABELS)]
    (folder / "train.meta").write_bytes(pickle.dumps(meta))
    return folder


def rec2shufrec(folder):
    """Images in another order, numbered anew, without an index, four lines of property."""
    order = [3, 0, 4, 2, 1]
    images = [(i, float(LABELS[k]), i, image(k + 1)) for i, k in enumerate(order)]
    text = "3,112,112\n5\nshuffled\n2020-06-01 12:00:00.123456\n"
    return write(folder, images, index=False, text=text)


def shuffle_rec(folder):
    """arcface_torch's: keyed by the place, with the ids of the old set, and no property."""
    order = [3, 0, 4, 2, 1]
    images = [(i, float(LABELS[k]), k + 1, image(k + 1)) for i, k in enumerate(order)]
    folder = write(folder, images, text="")
    (folder / "property").unlink()
    return folder


def im2rec(folder):
    """mxnet's im2rec of a list: number and label from the list, no property."""
    images = [(key, float(label), key, image(key + 1)) for key, label in enumerate(LABELS)]
    write(folder, images, text="")
    (folder / "property").unlink()
    rows = (f"{key}\t{label:f}\t{label}/{key}.jpg\n" for key, label in enumerate(LABELS))
    (folder / "train.lst").write_text("".join(rows))
    return folder


TOOLS = [old_builder, old_builder_aligned, new_builder, rec2shufrec, shuffle_rec, im2rec]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_a_set_of_any_tool_loads(tool, tmp_path):
    faces = FaceSet(tool(tmp_path / "set"))
    found = sorted(
        (int(labels[0]), int(pixels.mean().round()))
        for pixels, labels in (faces.read(int(key)) for key in faces.keys)
    )
    assert found == [(label, value) for value, label in enumerate(LABELS, 1)]
    assert faces.n_classes == 3
    check_labels(faces, read_labels(faces))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_a_set_of_any_tool_is_grouped_by_its_labels(tool, tmp_path):
    faces = LabelledSet(tool(tmp_path / "set"))
    assert [person.label for person in faces.people] == [0, 1, 2]
    images = [sorted(r.image for r in faces.records(person)) for person in faces.people]
    assert images == [sorted([image(1), image(2)]), [image(3)], sorted([image(4), image(5)])]
    assert faces.left_out == []
