"""Sets that are merged, split and extracted."""

import itertools
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.data.extract import extract
from trainer.data.faceset import FaceSet, FaceSetWriter, encode
from trainer.data.labelled import LabelledSet
from trainer.data.labels import check_labels, read_labels
from trainer.data.merge import merge
from trainer.data.pack import pack
from trainer.data.recordio import Record, RecordWriter
from trainer.data.split import split
from trainer.errors import DataError


def image(value):
    return encode(np.full((112, 112, 3), value, np.uint8))


def write(folder, *, size=(112, 112), **people):
    """Write a set of people with an image for each value; a name that begins with _ is none."""
    with FaceSetWriter(folder, size=size) as writer:
        for name, values in people.items():
            writer.add([image(value) for value in values], name=name.lstrip("_"))
    return folder


def contents(folder):
    """Return the images of each identity of a set, which can be trained on."""
    faces = FaceSet(folder)
    check_labels(faces, read_labels(faces))
    return [[faces.reader.read(key).image for key in group] for group in faces.groups]


def expected(*people):
    return [[image(value) for value in values] for values in people]


def no_detector():
    raise AssertionError("crops need no detector")


# ---- merge


def test_people_of_one_name_become_one_and_keep_their_images(tmp_path):
    sets = [
        LabelledSet(write(tmp_path / "a", ada=[1, 1, 2], bob=[3])),
        LabelledSet(write(tmp_path / "b", cid=[4], ada=[2, 5])),
    ]
    done = merge(sets, tmp_path / "all")
    assert contents(tmp_path / "all") == expected([1, 1, 2, 5], [3], [4])
    assert (tmp_path / "all/names.txt").read_text() == "ada\nbob\ncid\n"
    assert (done.n_identities, done.n_images, done.n_joined, done.n_duplicates) == (3, 6, 1, 1)


def test_people_without_names_are_never_joined(tmp_path):
    write(tmp_path / "a", **{"_": [1], "__": [2]})
    write(tmp_path / "x/a", **{"_": [1]})
    write(tmp_path / "b", **{"a-0": [4]})
    sets = [LabelledSet(tmp_path / name) for name in ("a", "x/a", "b")]
    done = merge(sets, tmp_path / "all")
    assert done.n_joined == 0
    assert sorted(contents(tmp_path / "all")) == sorted(expected([4], [1], [2], [1]))
    names = (tmp_path / "all/names.txt").read_text().split()
    assert sorted(names) == ["a-0", "a-0-2", "a-0-3", "a-1"]


def test_a_merge_overwrites_nothing(tmp_path):
    a, b = write(tmp_path / "a", ada=[1]), write(tmp_path / "b", bob=[2])
    small = write(tmp_path / "small", size=(96, 96), cid=[3])
    before = (b / "train.rec").read_bytes()
    sets = [LabelledSet(a), LabelledSet(b)]
    with pytest.raises(DataError, match="is one of the sets"):
        merge(sets, b, replace=True)
    with pytest.raises(DataError, match=r"small/train\.rec exists"):
        merge(sets, small)
    with pytest.raises(DataError, match=r"has images of 112x112, .* of 96x96"):
        merge([*sets, LabelledSet(small)], tmp_path / "all")
    assert (b / "train.rec").read_bytes() == before
    done = CliRunner().invoke(app, ["merge", str(a), str(b)])
    assert isinstance(done.exception, DataError)
    assert (b / "train.rec").read_bytes() == before


# ---- split


def test_people_are_held_out_with_all_their_images(tmp_path):
    faces = LabelledSet(write(tmp_path / "a", **{f"p{n}": [n, n + 20] for n in range(10)}))
    parts = split(faces, tmp_path / "train", tmp_path / "test", people=0.3, seed=4)
    assert [(part.n_identities, part.n_images) for part in parts] == [(7, 14), (3, 6)]
    found = contents(tmp_path / "train") + contents(tmp_path / "test")
    assert sorted(found) == sorted(expected(*([n, n + 20] for n in range(10))))
    names = (tmp_path / "train/names.txt").read_text() + (tmp_path / "test/names.txt").read_text()
    assert sorted(names.split()) == [f"p{n}" for n in range(10)]
    split(faces, tmp_path / "train2", tmp_path / "test2", people=3, seed=4)
    assert contents(tmp_path / "test2") == contents(tmp_path / "test")
    split(faces, tmp_path / "train3", tmp_path / "test3", people=3, seed=5)
    assert contents(tmp_path / "test3") != contents(tmp_path / "test")


def test_images_of_each_person_are_held_out(tmp_path):
    faces = LabelledSet(write(tmp_path / "a", ada=[1, 2, 3], bob=[4], cid=[5, 6]))
    split(faces, tmp_path / "train", tmp_path / "test", images=1)
    train, test = contents(tmp_path / "train"), contents(tmp_path / "test")
    assert [len(person) for person in train] == [2, 1, 1]
    assert [len(person) for person in test] == [1, 1]
    assert (tmp_path / "test/names.txt").read_text() == "ada\ncid\n"
    assert sorted(itertools.chain.from_iterable(train + test)) == sorted(
        image(value) for value in range(1, 7)
    )


def test_a_split_leaves_both_sets_or_none(tmp_path):
    faces = LabelledSet(write(tmp_path / "a", ada=[1, 2], bob=[4]))
    train, test = tmp_path / "train", tmp_path / "test"
    write(test, eve=[9])
    before = (test / "train.rec").read_bytes()
    for arguments, match in (
        ((train, test), "exists: choose"),
        ((train, tmp_path / "a"), "need two other directories"),
        ((train, train), "need two other directories"),
    ):
        with pytest.raises(DataError, match=match):
            split(faces, *arguments, people=1)
    with pytest.raises(DataError, match="leave nobody"):
        split(faces, train, test, replace=True, people=2)
    with pytest.raises(DataError, match="more than 2 images"):
        split(faces, train, test, replace=True, images=2)
    assert not train.exists() or not list(train.iterdir())
    assert (test / "train.rec").read_bytes() == before


# ---- extract


def test_an_extracted_set_packs_to_the_same_set(tmp_path):
    faces = write(tmp_path / "a", ada=[1, 2], bob=[3])
    done = extract(LabelledSet(faces), tmp_path / "folder")
    assert (done.n_identities, done.n_images, done.renamed) == (2, 3, {})
    assert (tmp_path / "folder/ada/00000001.jpg").read_bytes() == image(1)
    pack(tmp_path / "folder", tmp_path / "b", open_detector=no_detector)
    for file in ("train.rec", "train.idx", "property", "names.txt"):
        assert (tmp_path / "b" / file).read_bytes() == (faces / file).read_bytes()


def test_no_image_is_written_over_another_and_none_outside_of_the_folder(tmp_path):
    names = ["../evil", "Ada", "ada", ".hidden", "x" * 250, "000001"]
    with FaceSetWriter(tmp_path / "a") as writer:
        for number, name in enumerate(names):
            writer.add([image(number), image(number + 10)], name=name)
    done = extract(LabelledSet(tmp_path / "a"), tmp_path / "folder")
    assert done.renamed == {
        "../evil": "000000",
        "ada": "000002",
        ".hidden": "000003",
        "x" * 250: "000004",
    }
    files = sorted((tmp_path / "folder").rglob("*.jpg"))
    assert len(files) == 12
    assert sorted(f.read_bytes() for f in files) == sorted(
        image(v) for n in range(6) for v in (n, n + 10)
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a", "folder"}


def test_records_of_one_id_do_not_overwrite_each_other(tmp_path):
    (tmp_path / "a").mkdir()
    with RecordWriter(tmp_path / "a/train.rec") as writer:
        for key in range(3):
            writer.write(key, Record((5.0,), 7, image(key)))
    extract(LabelledSet(tmp_path / "a"), tmp_path / "folder")
    files = (tmp_path / "folder/000005").iterdir()
    assert sorted(file.read_bytes() for file in files) == sorted(image(key) for key in range(3))


def test_an_extraction_that_fails_leaves_nothing_and_overwrites_nothing(tmp_path):
    faces = LabelledSet(write(tmp_path / "a", ada=[1, 2]))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(faces, tmp_path / "folder", on_progress=stop)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="exists: choose a new folder"):
        extract(faces, tmp_path / "folder")
    assert (tmp_path / "folder/mine.txt").read_text() == "mine"


# ---- commands


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_the_commands(tmp_path):
    a, b = write(tmp_path / "a", ada=[1, 2]), write(tmp_path / "b", bob=[3], ada=[2])
    assert run("merge", a, b, tmp_path / "all") == {
        **{"identities": 2, "images": 3, "joined": 1, "duplicates": 1},
        "left_out": [],
    }
    assert run("split", tmp_path / "all", tmp_path / "x", tmp_path / "y", "--people", 1) == {
        "train": {"identities": 1, "images": 1},
        "held_out": {"identities": 1, "images": 2},
        "left_out": [],
    }
    assert run("extract", tmp_path / "all", tmp_path / "folder") == {
        **{"identities": 2, "images": 3, "renamed": {}},
        "left_out": [],
    }
    (tmp_path / "more/cid").mkdir(parents=True)
    (tmp_path / "more/cid/1.jpg").write_bytes(image(7))
    facts = run("pack", tmp_path / "more", tmp_path / "all", "--append")
    assert (facts["identities"], facts["images"]) == (3, 4)
    assert contents(tmp_path / "all") == expected([1, 2], [3], [7])
