from pathlib import Path

import numpy as np
import psycopg
import pytest

from gallery import Gallery, GalleryDamagedError, GalleryError, GalleryFormatError, moving
from gallery.moving import TABLES, copy_gallery
from tests.postgres_server import Server
from tests.unit.gallery.conftest import MODEL, SIZE, people


def used(place: Path) -> None:
    """Fill a gallery in which each table has rows, and the last numbers are of erased rows."""
    with people(place, 8, 4) as gallery:
        gallery.people.merge("Pérson 1", "Pérson 2")
        gallery.people.rename("Pérson 3", "Ärzu")
        gallery.people.remove("Pérson 7")
        gallery.facts.put({"threshold": "0.4"})


def last_numbers(gallery: Gallery) -> dict[str, int]:
    with gallery.store.reading() as connection:
        return gallery.store.last_numbers(connection)


def test_a_gallery_goes_to_the_database_and_back_as_it_was(postgres: Server, tmp_path: Path):
    used(tmp_path / "one")
    address = postgres.new_database()
    steps: list[tuple[int, int]] = []
    there = copy_gallery(
        tmp_path / "one", address, progress=lambda done, total: steps.append((done, total))
    )
    back = copy_gallery(address, tmp_path / "two")
    assert there == back
    assert set(there.rows) == set(TABLES)
    assert all(there.rows.values())
    assert there.rows["photos"] == 28
    assert steps[-1][0] == steps[-1][1] == sum(there.rows.values())
    with (
        Gallery.open_any(tmp_path / "one") as one,
        Gallery.open_any(address) as two,
        Gallery.open_any(tmp_path / "two") as three,
    ):
        assert one.gallery_id == two.gallery_id == three.gallery_id
        assert one.revision() == two.revision() == three.revision()
        probes = np.concatenate([one.photos.embeddings("Ärzu"), one.photos.embeddings("Pérson 2")])
        assert one.best(probes, 5) == two.best(probes, 5) == three.best(probes, 5)
        added = [gallery.photos.add("New", [])[0] for gallery in (one, two, three)]
        numbers = [last_numbers(gallery) for gallery in (one, two, three)]
    assert len({each.identity_id for each in added}) == 3
    assert numbers[0] == numbers[1] == numbers[2]
    assert set(numbers[0]) == {"identities", "photos", "journal", "audit"}


@pytest.mark.parametrize("is_database", [False, True])
def test_a_place_that_holds_somebody_is_left_alone(
    postgres: Server, tmp_path: Path, *, is_database: bool
):
    used(tmp_path / "one")
    target = postgres.new_database() if is_database else tmp_path / "two"
    people(target, 1, 1).close()
    with pytest.raises(GalleryError, match="holds a gallery already: name an empty"):
        copy_gallery(tmp_path / "one", target)
    with Gallery.open_any(target) as gallery:
        assert len(gallery) == 1


@pytest.mark.parametrize("is_database", [False, True])
def test_a_copy_that_differs_is_not_kept(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_database: bool
):
    used(tmp_path / "one")
    target = postgres.new_database() if is_database else tmp_path / "two"
    insert = moving._insert

    def spoil(table: str) -> str:
        return insert(table).replace("png) VALUES (?,?)", "png) VALUES (?,substr(?, 2))")

    monkeypatch.setattr("gallery.moving._insert", spoil)
    with pytest.raises(GalleryDamagedError, match="table crops came out differently"):
        copy_gallery(tmp_path / "one", target)
    if is_database:
        with psycopg.connect(str(target)) as connection:
            assert connection.execute("SELECT count(*) FROM facewire.photos").fetchone() == (0,)
    else:
        assert not (tmp_path / "two" / "gallery.sqlite3").exists()
    monkeypatch.undo()
    assert copy_gallery(tmp_path / "one", target).rows["photos"] == 28


def test_nothing_is_made_for_a_gallery_that_is_not_there(postgres: Server, tmp_path: Path):
    for missing in (tmp_path / "none", postgres.new_database()):
        with pytest.raises(GalleryFormatError, match="there is no gallery in"):
            copy_gallery(missing, tmp_path / "two")
    assert list(tmp_path.iterdir()) == []


def test_text_that_a_database_refuses_is_named_and_nothing_is_written(
    postgres: Server, tmp_path: Path
):
    with people(tmp_path / "one", 2, 1) as gallery, gallery.store.writing() as connection:
        connection.execute("UPDATE identities SET notes = ?", ("a\0b",))
    address = postgres.new_database()
    with pytest.raises(GalleryError, match="NUL") as caught:
        copy_gallery(tmp_path / "one", address)
    assert "\n" not in str(caught.value)
    with Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert len(gallery) == 0
