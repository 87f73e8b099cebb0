import json
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, NewPhoto
from gallery.exchange import export_people
from trainer.adapt.people import Crops, read_names, read_people, split
from trainer.data.faceset import encode
from trainer.data.pack import pack
from trainer.errors import DataError


def image(number: int):
    blocks = np.random.default_rng(number).integers(0, 256, (7, 7, 3))
    return np.kron(blocks, np.ones((16, 16, 1))).astype(np.uint8)


def no_detector():
    raise AssertionError("crops need no detector")


@pytest.fixture
def folder(tmp_path):
    for p in range(3):
        (tmp_path / "people" / f"person {p}").mkdir(parents=True)
        for n in range(p + 1):
            path = tmp_path / "people" / f"person {p}" / f"{n}.png"
            path.write_bytes(encode(image(10 * p + n), quality=0))
    return tmp_path / "people"


def test_crops_of_a_folder_are_read_as_they_are(folder):
    crops, left_out = read_people([folder], no_detector, consented=None)
    assert crops.names == ["person 0", "person 1", "person 2"]
    assert len(crops) == 6
    assert left_out == []
    np.testing.assert_array_equal(crops.of(["person 1"]).images, [image(10), image(11)])


def test_photos_of_people_who_did_not_agree_are_not_even_opened(folder):
    (folder / "person 0" / "0.png").write_bytes(b"would be an error")
    crops, left_out = read_people([folder], no_detector, consented=["person 1"])
    assert crops.names == ["person 1"]
    assert left_out == []


def test_a_name_that_is_nowhere_is_refused(folder):
    with pytest.raises(DataError, match="'person 7' is in the list of people who agreed, but"):
        read_people([folder], no_detector, consented=["person 1", "person 7"])


def test_a_damaged_photo_is_left_out_by_name_and_the_others_are_read(folder):
    (folder / "person 2" / "1.png").write_bytes(b"no image")
    (folder / "loose.png").write_bytes(encode(image(0), quality=0))
    crops, (damaged, loose) = read_people([folder], no_detector, consented=None)
    assert len(crops) == 5
    assert str(folder / "person 2" / "1.png") in damaged
    assert f"{folder / 'loose.png'}: in no person's folder" in loose


def test_a_packed_set_gives_the_same_people(folder, tmp_path):
    pack(folder, tmp_path / "set", open_detector=no_detector)
    crops, _ = read_people([tmp_path / "set"], no_detector, consented=None)
    wanted, _ = read_people([folder], no_detector, consented=None)
    np.testing.assert_array_equal(crops.people, wanted.people)
    np.testing.assert_array_equal(crops.images, wanted.images)


def test_an_export_of_a_gallery_gives_its_crops(tmp_path):
    row = np.eye(4, dtype=np.float32)
    with Gallery.open(tmp_path / "gallery", model_id="m", embedding_size=4) as gallery:
        gallery.photos.add("Ada", [NewPhoto(row[n], image(n), f"{n:064x}", 1.0) for n in (0, 1)])
        gallery.photos.add("Bob", [NewPhoto(row[2], image(2), f"{2:064x}", 1.0)])
        gallery.photos.add("Eve", [NewPhoto(row[3], None, f"{3:064x}", 1.0)])
        export_people(gallery, tmp_path / "export")
    crops, left_out = read_people([tmp_path / "export"], no_detector, consented=None)
    assert sorted(crops.people.tolist()) == ["Ada", "Ada", "Bob"]
    np.testing.assert_array_equal(crops.of(["Bob"]).images, [image(2)])
    (line,) = left_out
    assert line.endswith("photo 4 (Eve): the gallery keeps no crop of it")


@pytest.mark.parametrize("damage", ["people", "photos", "other"])
def test_a_damaged_export_is_refused(tmp_path, damage):
    with Gallery.open(tmp_path / "gallery", model_id="m", embedding_size=4) as gallery:
        photo = NewPhoto(np.eye(4, dtype=np.float32)[0], image(0), f"{0:064x}", 1.0)
        gallery.photos.add("Ada", [photo])
        export_people(gallery, tmp_path / "export")
    people = tmp_path / "export" / "people.jsonl"
    if damage == "people":
        people.write_text("{}\n[]\n")
    elif damage == "photos":
        (tmp_path / "export" / "photos.npz").write_bytes(b"no archive")
    else:
        people.write_text(people.read_text() + json.dumps({"name": "Bob", "photos": [{}]}) + "\n")
    with pytest.raises(DataError, match="export"):
        read_people([tmp_path / "export"], no_detector, consented=None)


def test_names_are_one_a_line(tmp_path):
    (tmp_path / "agreed.txt").write_text("# on paper\nAda Lovelace\n\n  Bob \n")
    assert read_names(tmp_path / "agreed.txt") == ["Ada Lovelace", "Bob"]
    (tmp_path / "none.txt").write_text("# nobody yet\n")
    with pytest.raises(DataError, match="names nobody"):
        read_names(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"cannot read .*missing\.txt: no such file"):
        read_names(Path(tmp_path / "missing.txt"))


def crops_of(counts: dict[str, int]) -> Crops:
    people = np.array([name for name, n in counts.items() for _ in range(n)])
    return Crops(np.zeros((len(people), 112, 112, 3), np.uint8), people)


def test_nobody_is_in_two_parts_and_everybody_in_one():
    crops = crops_of({f"p{n:02}": 2 + n % 3 for n in range(30)} | {"once": 1})
    parts = split(crops, seed=0)
    names = [set(part.names) for part in (parts.learned, parts.choosing, parts.held_out)]
    assert [len(each) for each in names] == [16, 6, 9]
    assert set.union(*names) == set(crops.names)
    assert sum(len(part) for part in (parts.learned, parts.choosing, parts.held_out)) == len(crops)
    assert "once" in names[0]  # no pair to measure with


def test_a_seed_divides_always_alike_and_seeds_differ():
    crops = crops_of({f"p{n:02}": 2 for n in range(20)})
    first, again, other = (split(crops, seed=seed).held_out.names for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_too_few_people_are_refused_with_the_number_needed():
    with pytest.raises(DataError, match="9 people have two photos or more, 10 are needed"):
        split(crops_of({f"p{n}": 3 for n in range(9)} | {"once": 1}), seed=0)
