import json

import numpy as np
import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.data.faceset import FaceSet, FaceSetWriter, encode
from trainer.data.framing import MAGIC_BYTES
from trainer.data.labels import check_labels, read_labels
from trainer.data.recordio import Record, RecordWriter
from trainer.data.repair import repair
from trainer.errors import DataError, RecordError


def image(value):
    return encode(np.full((112, 112, 3), value, np.uint8), quality=0)


def write(folder, rows, *, n_classes=2):
    """Write records of (label, image) without identity records."""
    folder.mkdir()
    with RecordWriter(folder / "train.rec") as writer:
        for key, (label, content) in enumerate(rows):
            labels = label if isinstance(label, tuple) else (label,)
            writer.write(key, Record(labels, key, content, is_vector=len(labels) != 1))
    (folder / "property").write_text(f"{n_classes},112,112\n")
    return folder


def contents(folder):
    """Return the images of each identity of a set."""
    faces = FaceSet(folder)
    check_labels(faces, read_labels(faces))
    assert faces.has_identities
    return [[faces.reader.read(key).image for key in group] for group in faces.groups]


@pytest.mark.parametrize("labels", [(1, 2, 1), (0, 7, 0), (-1, 3, -1)], ids=str)
def test_labels_are_numbered_from_0_in_their_order(tmp_path, labels):
    bad = write(tmp_path / "bad", [(label, image(10 * i)) for i, label in enumerate(labels)])
    done = repair(bad, tmp_path / "good")
    assert done.labels.tolist() == sorted(set(labels))
    assert (done.n_images, done.left_out) == (3, ())
    assert contents(tmp_path / "good") == [[image(0), image(20)], [image(10)]]
    assert (tmp_path / "good/property").read_text() == "2,112,112\n"


def test_what_cannot_be_learned_is_left_out_and_named(tmp_path):
    rows = [
        (4, image(1)),
        (np.nan, image(2)),
        ((np.inf, 2), image(3)),
        (9, b"no image"),
        (5, image(4)),
    ]
    done = repair(write(tmp_path / "bad", rows), tmp_path / "good")
    assert done.labels.tolist() == [4, 5]  # of 9 nothing is left
    assert [line.rpartition("train.rec, ")[2] for line in done.left_out] == [
        "record 1: it has no label",
        "record 2: it has no label",
        "record 3: the image cannot be decoded",
    ]
    assert contents(tmp_path / "good") == [[image(1)], [image(4)]]


def test_damage_costs_the_records_that_it_hit_alone(tmp_path):
    bad = write(tmp_path / "bad", [(i, image(i)) for i in range(5)])
    content = bytearray((bad / "train.rec").read_bytes())
    offsets = FaceSet(bad).reader.offsets
    content[offsets[2] : offsets[2] + 4] = bytes(4)  # no magic word
    (bad / "train.rec").write_bytes(content + MAGIC_BYTES)  # cut off in the next one
    done = repair(bad, tmp_path / "good")
    assert done.labels.tolist() == [0, 1, 3, 4]
    assert [line.partition(": ")[2] for line in done.left_out] == [
        f"bytes {offsets[2]} to {offsets[3]} are no record",
        f"bytes {len(content)} to {len(content) + 4} are no record",
    ]


def test_names_and_further_labels_come_along(tmp_path):
    rows = [((2, 1, 30), image(1)), ((0, 0, 50), image(2))]
    bad = write(tmp_path / "bad", rows)
    (bad / "names.txt").write_text("Ada\nBob\nCid\n")
    repair(bad, tmp_path / "good")
    assert (tmp_path / "good/names.txt").read_text() == "Ada\nCid\n"
    assert FaceSet(tmp_path / "good").read(2)[1] == (1, 1, 30)


def test_an_index_a_header_and_a_property_that_are_wrong_do_not_matter(tmp_path):
    with FaceSetWriter(tmp_path / "bad") as writer:
        writer.add([image(1), image(2)])
        writer.add([image(3)])
    (tmp_path / "bad/train.idx").write_text("nonsense")
    (tmp_path / "bad/property").write_text("7")
    repair(tmp_path / "bad", tmp_path / "good")
    assert contents(tmp_path / "good") == [[image(1), image(2)], [image(3)]]


def test_nothing_is_overwritten(tmp_path):
    bad = write(tmp_path / "bad", [(1, image(1))])
    with pytest.raises(DataError, match="needs another directory"):
        repair(bad, tmp_path / "bad")
    repair(bad, tmp_path / "good")
    with pytest.raises(DataError, match=r"good/train\.rec exists: choose another directory"):
        repair(bad, tmp_path / "good")
    with pytest.raises(DataError, match="holds no image with a label"):
        repair(write(tmp_path / "none", [(np.nan, image(1))]), tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(RecordError, match="cannot find"):
        repair(tmp_path, tmp_path / "new")


def test_the_commands(tmp_path):
    bad = write(tmp_path / "bad", [(3, image(1)), (8, b"damaged"), (8, image(2))])
    before = (bad / "train.rec").read_bytes()
    for arguments, n_left_out in (
        (["inspect", str(bad), "--repair", str(tmp_path / "a"), "--json"], 1),
        (["pack", str(bad), str(tmp_path / "b"), "--relabel", "--json"], 0),
    ):
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        facts = json.loads(done.stdout)
        assert (facts["identities"], facts["old_labels"]) == (2, [3, 8])
        assert len(facts["left_out"]) == n_left_out
        assert facts["images"] == 3 - n_left_out
    assert (bad / "train.rec").read_bytes() == before
