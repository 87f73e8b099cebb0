import numpy as np
import pytest

from trainer.data.faceset import FaceSet, encode
from trainer.data.pack import pack
from trainer.errors import DataError


def crop(value):
    return encode(np.full((112, 112, 3), value, np.uint8))


def people(folder, **values):
    """Write a folder of crops, one photo for each value."""
    for name, some in values.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, value in enumerate(some):
            (folder / name / f"{number}.jpg").write_bytes(crop(value))
    return folder


def no_detector():
    raise AssertionError("crops need no detector")


def images(folder):
    faces = FaceSet(folder)
    return [[faces.reader.read(key).image for key in group] for group in faces.groups]


def test_a_set_is_not_overwritten(tmp_path):
    folder, out = people(tmp_path / "in", ada=[1, 2]), tmp_path / "out"
    pack(folder, out, open_detector=no_detector)
    before = (out / "train.rec").read_bytes()
    (tmp_path / "empty/bob").mkdir(parents=True)
    (tmp_path / "empty/bob/a.jpg").write_bytes(b"no photo")
    for replace, match in ((False, "exists: choose another"), (True, "shows a face")):
        with pytest.raises(DataError, match=match):
            pack(tmp_path / "empty", out, open_detector=no_detector, replace=replace)
        assert (out / "train.rec").read_bytes() == before
    people(tmp_path / "in", bob=[3])
    assert pack(folder, out, open_detector=no_detector, replace=True).names == ("ada", "bob")
    assert images(out) == [[crop(1), crop(2)], [crop(3)]]


def test_another_folder_gets_none_of_an_interrupted_ones_crops(tmp_path):
    """The people and files of both have the same names."""
    out = tmp_path / "out"

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(
            people(tmp_path / "a", ada=[1, 2, 3]), out, open_detector=no_detector, on_progress=stop
        )
    assert len(list(out.rglob("*.crop"))) == 2
    pack(people(tmp_path / "b", ada=[4, 5, 3]), out, open_detector=no_detector)
    assert images(out) == [[crop(4), crop(5), crop(3)]]
    assert not (out / ".pack").exists()
