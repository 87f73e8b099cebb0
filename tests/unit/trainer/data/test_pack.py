import json

import cv2
import numpy as np
import PIL.Image
import pytest

from recognizer.geometry.alignment import TEMPLATE, align
from trainer.data.faceset import FaceSet, FaceSetWriter, decode, encode, resize_short
from trainer.data.pack import Rejected, pack
from trainer.errors import DataError, RecordError


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


def test_appending_adds_new_people_and_new_photos_of_those_it_has(tmp_path):
    out = tmp_path / "out"
    pack(people(tmp_path / "a", ada=[1, 2], cid=[3]), out, open_detector=no_detector)
    people(tmp_path / "b", bob=[4], cid=[3, 5])
    for _ in range(2):  # a second time adds nothing
        added = pack(tmp_path / "b", out, open_detector=no_detector, append=True, min_images=1)
        assert images(out) == [[crop(1), crop(2)], [crop(3), crop(5)], [crop(4)]]
        assert added.names == ("ada", "cid", "bob")
        assert (out / "names.txt").read_text() == "ada\ncid\nbob\n"
        assert (out / "property").read_text() == "3,112,112\n"
    assert not (out / ".pack").exists()


def test_a_set_that_is_appended_to_stays_whole_until_the_new_one_is(tmp_path):
    out = tmp_path / "out"
    pack(people(tmp_path / "a", ada=[1]), out, open_detector=no_detector)
    before = (out / "train.rec").read_bytes()

    def stop(done, total):
        raise KeyboardInterrupt

    more = people(tmp_path / "b", bob=[2])
    with pytest.raises(KeyboardInterrupt):
        pack(more, out, open_detector=no_detector, append=True, on_progress=stop)
    assert (out / "train.rec").read_bytes() == before
    with FaceSetWriter(out, replace=True) as writer:
        with pytest.raises(DataError, match="another program writes a set"):
            pack(more, out, open_detector=no_detector, append=True)
        writer.add([crop(9)], name="eve")
    assert images(out) == [[crop(9)]]


def test_appending_needs_a_set_with_names(tmp_path):
    folder, out = people(tmp_path / "a", ada=[1]), tmp_path / "out"
    with pytest.raises(RecordError, match="cannot find"):
        pack(folder, out, open_detector=no_detector, append=True)
    assert not out.exists()
    pack(folder, out, open_detector=no_detector)
    with pytest.raises(DataError, match="use one of them"):
        pack(folder, out, open_detector=no_detector, append=True, replace=True)
    (out / "names.txt").unlink()
    with pytest.raises(DataError, match=r"cannot append to .*out has no names\.txt"):
        pack(folder, out, open_detector=no_detector, append=True)
    assert images(out) == [[crop(1)]]


def test_names_never_are_those_of_another_set(tmp_path):
    """Names and rejected photos are part of the set: an old list would name other people."""
    out = tmp_path / "out"
    pack(people(tmp_path / "a", ada=[1], bob=[2]), out, open_detector=no_detector)
    with FaceSetWriter(out, replace=True) as writer:
        writer.add([crop(3)])
    assert not {"names.txt", "rejected.json"} & {file.name for file in out.iterdir()}


def test_a_list_of_photos_is_packed_with_its_labels(tmp_path):
    """As `python im2rec.py --list` writes it: number, label, path below the root."""
    people(tmp_path, zoe=[1, 2], ada=[3])
    (tmp_path / "train.lst").write_text(
        "0\t0.000000\tzoe/0.jpg\n2\t1.000000\tada/0.jpg\n1\t0.000000\tzoe/1.jpg\n"
        "3\t1.000000\tada/missing.jpg\n"
    )
    packed = pack(tmp_path / "train.lst", tmp_path / "out", open_detector=no_detector)
    assert packed.names == ("zoe", "ada")  # in the order of the labels
    assert images(tmp_path / "out") == [[crop(1), crop(2)], [crop(3)]]
    (rejected,) = packed.rejected
    assert rejected.photo.endswith("ada/missing.jpg")
    assert rejected.reason == "cannot read: no such file or directory"


def test_further_labels_of_a_list_follow_the_class(tmp_path):
    people(tmp_path, all=[1, 2])
    (tmp_path / "ages.lst").write_text("0\t5\t1\t30\tall/0.jpg\n1\t7\t0\t41\tall/1.jpg\n")
    packed = pack(tmp_path / "ages.lst", tmp_path / "out", open_detector=no_detector)
    assert packed.names == ("5", "7")
    faces = FaceSet(tmp_path / "out")
    assert [faces.read(int(key))[1] for key in faces.keys] == [(0, 1, 30), (1, 0, 41)]


def test_landmarks_of_a_list_align_the_photo(tmp_path):
    """As face2rec2 takes it: aligned, path, label, box, then five x and five y."""
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 256, (20, 30, 3), np.uint8), (300, 200))
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    points = TEMPLATE * 1.5 + (40, 20)
    numbers = [10, 10, 250, 190, *points[:, 0], *points[:, 1]]
    row = "\t".join(["0", "photo.png", "3", *map(str, numbers)])
    (tmp_path / "faces.lst").write_text(f"{row}\n1\tphoto.png\t4\n")
    pack(tmp_path / "faces.lst", tmp_path / "out", open_detector=no_detector)
    faces = FaceSet(tmp_path / "out")
    rgb = np.asarray(photo[:, :, ::-1], np.uint8)
    expected = decode(encode(align(rgb, points[None])[0]), name="")
    np.testing.assert_array_equal(faces.read(1)[0], expected)
    # one that is aligned is only brought to size
    np.testing.assert_array_equal(
        faces.read(2)[0], decode(encode(resize_short(np.ascontiguousarray(rgb))), name="")
    )


def test_no_person_and_no_file_disappears_without_a_word(tmp_path):
    folder = people(tmp_path / "in", ada=[1], bob=[2])
    (folder / "bob/0.jpg").rename(folder / "bob/0.jfif")
    crop_of_zoe = PIL.Image.new("RGB", (112, 112), (9, 90, 200))
    (folder / "zoe").mkdir()
    crop_of_zoe.save(folder / "zoe/0.gif")
    (folder / "cid/2019").mkdir(parents=True)
    (folder / "cid/2019/0.jpg").write_bytes(crop(3))
    (folder / "ada/notes.txt").write_text("no photo")
    (folder / "group.jpg").write_bytes(crop(4))
    for hidden in (".thumbnails", "@eaDir", "__MACOSX"):
        people(folder, **{hidden: [5]})
    packed = pack(folder, tmp_path / "out", open_detector=no_detector)
    assert packed.names == ("ada", "bob", "zoe")
    assert images(tmp_path / "out")[:2] == [[crop(1)], [crop(2)]]
    assert [r.photo.rpartition("in/")[2] for r in packed.rejected] == [
        *("cid", "group.jpg", "ada/notes.txt")
    ]
    assert "no photos (expected" in packed.rejected[0].reason
    assert "in no person's folder" in packed.rejected[1].reason
    assert packed.rejected == tuple(
        Rejected(**row) for row in json.loads((tmp_path / "out/rejected.json").read_text())
    )
