import json
import os

import numpy as np
import pytest

from gallery import (
    Gallery,
    GalleryError,
    GalleryFormatError,
    ModelMismatchError,
    NewPhoto,
)
from gallery.check import check
from gallery.exchange import ExportHeader, export_people, read_header
from gallery.importing import Clash, Imported, OnClash, import_people

MODEL, SIZE = "sface-0ba9fbfa", 128


def files(directory) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


@pytest.fixture
def empty(places):
    with Gallery.open(places("empty"), model_id=MODEL, embedding_size=SIZE) as gallery:
        yield gallery


def test_the_round_trip_is_the_same_byte_by_byte(few, empty, tmp_path):
    with few.store.writing() as connection:
        connection.execute(
            "UPDATE identities SET notes = ? WHERE name = ?",
            ('says "hello"\nand more', "Pérson 1"),
        )
    few.people.remove(few.people.find("Pérson 3").identity_id)
    header = export_people(few, tmp_path / "one")
    modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "one").iterdir()}
    assert modes == {0o600}, "faces and names are nobody else's business"
    assert header == ExportHeader(MODEL, SIZE, 4, 16)
    assert read_header(tmp_path / "one") == header
    assert import_people(empty, tmp_path / "one") == Imported(MODEL, SIZE, 4, 16, ())
    export_people(empty, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sorted(files(tmp_path / "one")) == ["people.jsonl", "photos.npz"]
    probes = np.concatenate([few.photos.embeddings(f"Pérson {i}") for i in (0, 1, 2, 4)])
    assert few.best(probes, k=3) == empty.best(probes, k=3)
    photo = few.photos.of(few.people.find("Pérson 0").identity_id)[0]
    copy = empty.photos.of(empty.people.find("Pérson 0").identity_id)[0]
    np.testing.assert_array_equal(few.photos.crop(photo.photo_id), empty.photos.crop(copy.photo_id))


def test_an_empty_gallery_goes_round_too(empty, tmp_path):
    assert export_people(empty, tmp_path / "one") == ExportHeader(MODEL, SIZE, 0, 0)
    assert import_people(empty, tmp_path / "one") == Imported(MODEL, SIZE, 0, 0, ())


def test_importing_twice_changes_nothing(few, tmp_path):
    export_people(few, tmp_path / "one")
    assert import_people(few, tmp_path / "one") == Imported(MODEL, SIZE, 0, 0, ())
    assert len(few) == 20


def test_importing_brings_what_is_missing(few, tmp_path):
    export_people(few, tmp_path / "one")
    first = few.people.find("Pérson 0")
    few.photos.remove(few.photos.of(first.identity_id)[0].photo_id)
    few.people.remove(few.people.find("Pérson 4").identity_id)
    few.people.rename(first.identity_id, "Renamed")
    assert import_people(few, tmp_path / "one") == Imported(MODEL, SIZE, 1, 5, ())
    assert len(few) == 20
    assert few.people.find("Renamed") is not None


def with_a_clash(empty, few, tmp_path):
    """Export few; give another person in empty one of the names."""
    export_people(few, tmp_path / "one")
    photo = NewPhoto(few.photos.embeddings("Pérson 0")[0], None, "f" * 64, 0.5)
    held, _ = empty.photos.add("PÉRSON 3", [photo])
    return held.identity_id, few.people.find("Pérson 3").identity_id


def test_a_name_of_somebody_else_is_left_out_and_the_others_are_added(few, empty, tmp_path):
    held_id, identity_id = with_a_clash(empty, few, tmp_path)
    added = import_people(empty, tmp_path / "one")
    assert added == Imported(MODEL, SIZE, 4, 16, (Clash("Pérson 3", identity_id, held_id, None),))
    assert len(empty.photos.of(held_id)) == 1
    assert len(empty) == 17


def test_a_name_of_somebody_else_gets_a_number(few, empty, tmp_path):
    held_id, identity_id = with_a_clash(empty, few, tmp_path)
    empty.photos.add("pérson 3 (2)", [])
    added = import_people(empty, tmp_path / "one", on_clash=OnClash.RENAME)
    assert (added.n_people, added.n_photos) == (5, 20)
    assert added.clashes == (Clash("Pérson 3", identity_id, held_id, "Pérson 3 (3)"),)
    assert empty.people.find("Pérson 3 (3)").identity_id == identity_id
    assert import_people(empty, tmp_path / "one").n_photos == 0


def test_a_long_name_of_somebody_else_is_cut_for_its_number(few, empty, tmp_path):
    few.people.rename("Pérson 3", "x" * 200)
    export_people(few, tmp_path / "one")
    empty.photos.add("X" * 200, [])
    import_people(empty, tmp_path / "one", on_clash=OnClash.RENAME)
    assert empty.people.find("x" * 196 + " (2)") is not None


def test_photos_of_a_name_of_somebody_else_are_merged(few, empty, tmp_path):
    held_id, identity_id = with_a_clash(empty, few, tmp_path)
    added = import_people(empty, tmp_path / "one", on_clash=OnClash.MERGE)
    assert (added.n_people, added.n_photos) == (4, 20)
    assert added.clashes == (Clash("Pérson 3", identity_id, held_id, "Pérson 3"),)
    assert len(empty.photos.of(held_id)) == 5


def test_whoever_was_merged_since_the_export_stays_merged(few, tmp_path):
    export_people(few, tmp_path / "one")
    few.people.merge("Pérson 1", "Pérson 2")
    assert import_people(few, tmp_path / "one") == Imported(MODEL, SIZE, 0, 0, ())
    assert len(few.people.summaries()) == 4


def test_another_models_export_is_refused(few, places, tmp_path):
    export_people(few, tmp_path / "one")
    with (
        Gallery.open(places("other"), model_id="other-1", embedding_size=SIZE) as other,
        pytest.raises(ModelMismatchError, match="sface-0ba9fbfa, the gallery of other-1"),
    ):
        import_people(other, tmp_path / "one")


def spoil(directory, how: str) -> None:
    people, photos = directory / "people.jsonl", directory / "photos.npz"
    lines = people.read_text().splitlines(keepends=True)
    if how == "no people":
        people.unlink()
    elif how == "no photos":
        photos.unlink()
    elif how == "foreign people":
        people.write_text('{"hello": 1}\n')
    elif how == "binary people":
        people.write_bytes(b"\xff\xfe\x00")
    elif how == "cut people":
        people.write_text("".join(lines)[:-30])
    elif how == "fewer people":
        people.write_text("".join(lines[:-1]))
    elif how == "nameless person":
        line = json.loads(lines[1])
        del line["name"]
        people.write_text("".join([lines[0], json.dumps(line) + "\n", *lines[2:]]))
    elif how == "a list":
        people.write_text("[1]\n")
    elif how == "odd header":
        people.write_text('{"format": "facewire-people", "version": 1}\n')
    elif how == "foreign photos":
        photos.write_bytes(b"not an archive")
    elif how == "cut photos":
        photos.write_bytes(photos.read_bytes()[:-2000])
    elif how == "one array":
        np.save(directory / "one.npy", np.zeros((3, 4)))
        (directory / "one.npy").rename(photos)
    elif how == "other photos":
        np.savez(photos, embeddings=np.zeros((3, 4)))
    elif how == "long embeddings":
        with np.load(photos) as arrays:
            content = dict(arrays)
        content["embeddings"] = content["embeddings"] * np.float32(2)
        np.savez(photos, **content)


@pytest.mark.on_disk
@pytest.mark.parametrize(
    "how",
    [
        "no people",
        "no photos",
        "foreign people",
        "binary people",
        "cut people",
        "fewer people",
        "nameless person",
        "a list",
        "odd header",
        "foreign photos",
        "cut photos",
        "one array",
        "other photos",
        "long embeddings",
    ],
)
def test_a_spoiled_export_brings_nobody(few, empty, tmp_path, how):
    export_people(few, tmp_path / "one")
    spoil(tmp_path / "one", how)
    with pytest.raises(GalleryFormatError, match=r"people\.jsonl|photos\.npz"):
        import_people(empty, tmp_path / "one")
    assert empty.people.summaries() == []


def test_an_export_is_replaced_only_if_asked(few, empty, tmp_path):
    export_people(few, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(before) == {"people.jsonl", "photos.npz"}
    with pytest.raises(GalleryError, match=r"people\.jsonl is there already: name another"):
        export_people(empty, tmp_path)
    (tmp_path / "people.jsonl").unlink()
    with pytest.raises(GalleryError, match=r"photos\.npz is there already"):
        export_people(empty, tmp_path)
    assert {"photos.npz": before["photos.npz"]}.items() <= {
        path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
    }.items()
    export_people(empty, tmp_path, replace=True)
    assert read_header(tmp_path) == ExportHeader(MODEL, SIZE, 0, 0)
    files = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert files == {"people.jsonl", "photos.npz"}


ODD = (
    *(None, True, "", "x", [], {}, -1, 2**63, 10**400, 1.5, float("nan"), float("inf")),
    *("\ud800", "a\x00b", "x" * 200_000, [[]], "1e400"),
)


@pytest.mark.parametrize(
    "key",
    [
        *("format", "version", "model_id", "embedding_size", "n_people", "n_photos"),
        *("identity_id", "name", "notes", "created_at", "photos"),
        *("photos.source_sha256", "photos.quality", "photos.model_id", "photos.created_at"),
    ],
)
@pytest.mark.on_disk
def test_a_forged_value_is_refused_in_one_line_or_stored_as_it_should_be(
    few, tmp_path, key: str
) -> None:
    export_people(few, tmp_path / "one")
    path = tmp_path / "one" / "people.jsonl"
    good = path.read_text().splitlines()
    for number, odd in enumerate(ODD):
        lines = [json.loads(line) for line in good]
        place = next(line for line in lines if key.partition(".")[0] in line)
        if key.startswith("photos."):
            place, last = place["photos"][0], key.removeprefix("photos.")
        else:
            last = key
        place[last] = odd
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with Gallery.open(tmp_path / str(number), model_id=MODEL, embedding_size=SIZE) as gallery:
            message = ""
            try:
                import_people(gallery, tmp_path / "one")
            except GalleryError as error:
                message = str(error)
            for each in gallery.people.summaries():
                each.identity.name.encode()
                assert 0.0 <= each.created_at < 1e12
            assert "\n" not in message
            assert len(message) < 2000
            assert "NOT NULL" not in message
            assert len(gallery.people.summaries()) in ((0,) if message else (5,))
        assert check(tmp_path / str(number)).problems == ()


@pytest.mark.parametrize("name", ["people.jsonl", "photos.npz"])
def test_a_pipe_in_place_of_an_export_is_not_waited_for(few, empty, tmp_path, name):
    export_people(few, tmp_path / "one")
    (tmp_path / "one" / name).unlink()
    os.mkfifo(tmp_path / "one" / name)
    with pytest.raises(GalleryFormatError, match="not a regular file"):
        import_people(empty, tmp_path / "one")


def test_a_place_that_cannot_be_written_is_named(few, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="cannot export to"):
        export_people(few, tmp_path / "file" / "below")
