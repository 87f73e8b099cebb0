import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import (
    Gallery,
    GalleryBusyError,
    GalleryDamagedError,
    GalleryError,
    GalleryFormatError,
    NewPhoto,
    connections,
    schema,
)
from gallery.blobs import decode_crop
from gallery.file import GalleryFile
from gallery.store import Access
from gallery.templates import revision, trim_journal
from tests.unit.gallery.conftest import MODEL, SIZE, people

ROW = np.ones(SIZE, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source_sha256": "abc"}, "64 hexadecimal digits"),
        ({"source_sha256": "X" * 64}, "64 hexadecimal digits"),
        ({"quality": 1.5}, r"in \[0, 1\], got 1.5"),
        ({"crop": np.zeros((100, 100, 3), np.uint8)}, r"\(112, 112, 3\) uint8, got \(100"),
        ({"crop": np.zeros((112, 112, 3), np.float32)}, "got .* float32"),
    ],
)
def test_a_photo_is_checked_when_it_is_made(change, message):
    good: dict[str, Any] = {
        "embedding": ROW,
        "crop": None,
        "source_sha256": "0" * 64,
        "quality": 0.5,
    }
    NewPhoto(**good)
    with pytest.raises(ValueError, match=message):
        NewPhoto(**{**good, **change})


def test_photos_are_found_by_the_file_they_came_from(few):
    [(photo, name)] = few.photos.of_source(f"{6:064x}")
    assert name == "Pérson 1"
    assert few.photos.of(few.people.find(name).identity_id)[1] == photo
    assert few.photos.of_source("f" * 64) == []


def test_embeddings_of_a_person_and_of_nobody(few):
    assert few.photos.embeddings("Pérson 1").shape == (4, SIZE)
    assert few.photos.embeddings("nobody").shape == (0, SIZE)


def test_a_gallery_that_nobody_claimed_is_empty(tmp_path):
    GalleryFile(tmp_path, access=Access.CREATE).close()
    with pytest.raises(GalleryFormatError, match="is empty: enroll somebody first"):
        Gallery.open_any(tmp_path)


def test_a_directory_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "gallery.sqlite3").mkdir()
    with pytest.raises(GalleryError, match="is a directory"):
        Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE)


def test_a_second_connection_that_fails_closes_the_first(tmp_path, monkeypatch):
    opened = []

    def connect_and_keep(path, **options):
        opened.append(connections.connect(path, **options))
        return opened[0]

    def refuse(path, **options):
        raise GalleryError("cannot")

    monkeypatch.setattr("gallery.file.connect", connect_and_keep)
    monkeypatch.setattr("gallery.file.connect_reader", refuse)
    with pytest.raises(GalleryError, match="cannot"):
        GalleryFile(tmp_path, access=Access.CREATE)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


@pytest.mark.on_disk
def test_an_older_file_is_brought_up_to_date_in_one_step_or_not_at_all(few, monkeypatch):
    few.close()
    path = Path(few.store.place, "gallery.sqlite3")
    good = "CREATE TABLE later (x);"
    now = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*now, good + "CREATE NONSENSE;"))
    with pytest.raises(GalleryError, match="syntax error"):
        connections.connect(path, create=False)
    monkeypatch.setattr(schema, "MIGRATIONS", (*now, good))
    connection = connections.connect(path, create=False)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)
    assert connection.execute("SELECT count(*) FROM later").fetchone()[0] == 0
    assert connection.execute("SELECT count(*) FROM photos").fetchone()[0] == 20
    connection.close()


def test_a_long_journal_is_cut(few, monkeypatch):
    monkeypatch.setattr("gallery.templates.JOURNAL_ROWS", 5)
    trim_journal(few.store)
    with few.store.reading() as connection:
        kept = connection.execute("SELECT count(*), max(revision) FROM journal").fetchone()
    assert kept == (5, revision(few.store))
    trim_journal(few.store)


def test_a_damaged_crop_is_named():
    with pytest.raises(GalleryDamagedError, match="stored crop is damaged"):
        decode_crop(b"not a picture")


def test_reading_again_from_the_start_after_another_model_is_refused(few):
    few.facts.put({"model_id": "other-1"})
    with few.store.writing() as connection:
        connection.execute("UPDATE photos SET quality = 0.1")
        connection.execute("DELETE FROM journal WHERE revision < 46")
    with pytest.raises(GalleryError, match="now holds embeddings of other-1"):
        few.refresh()


def test_a_gallery_has_an_id_that_copies_and_repairs_keep(few, places):
    assert uuid.UUID(few.gallery_id).version == 4
    with Gallery.open(places("other"), model_id=MODEL, embedding_size=SIZE) as other:
        assert other.gallery_id != few.gallery_id
    with Gallery.open_any(places("few")) as again:
        assert again.gallery_id == few.gallery_id


def test_who_was_erased_is_told_from_who_was_never_here(few):
    ann, bob, eve = (summary.identity.identity_id for summary in few.people.summaries()[:3])
    few.people.merge(ann, bob)
    few.people.remove(bob)
    assert few.people.removed([ann, bob, eve, "another gallery's"]) == {ann, bob}
    with few.store.writing() as connection:  # such as by an import
        connection.execute(
            "INSERT INTO identities (identity_id, name, created_at) VALUES (?, 'Bob', 0)", (bob,)
        )
    assert few.people.removed([ann, bob]) == {ann}


def test_a_file_of_the_second_version_gets_an_id_and_its_removals(tmp_path):
    connection = sqlite3.connect(tmp_path / schema.FILE_NAME)
    for script in schema.MIGRATIONS[:2]:
        connection.executescript(script)
    connection.executescript(
        f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 2;"
        "INSERT INTO audit (at, action, identity_id, n_photos) VALUES"
        " (1, 'enroll', 'a', 1), (2, 'remove', 'a', 1), (3, 'remove', 'b', 1), (4, 'merge', 'c', 1)"
    )
    connection.close()
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as opened:
        assert uuid.UUID(opened.gallery_id)
        assert opened.people.removed(["a", "b", "c"]) == {"a", "b"}


@pytest.mark.on_disk
def test_a_gallery_is_opened_while_another_process_writes(few):
    holder = sqlite3.connect(Path(few.store.place, "gallery.sqlite3"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    directory = Path(few.store.place)
    with Gallery.open(directory, model_id=MODEL, embedding_size=SIZE, wait_s=0.05) as gallery:
        assert len(gallery) == 20
        assert gallery.store.is_locked()
        with pytest.raises(GalleryBusyError, match="is busy"):
            gallery.people.remove("Pérson 1")
        holder.close()
        assert not gallery.store.is_locked()
        gallery.people.remove("Pérson 1")


def test_writers_of_one_process_wait_for_each_other_a_bounded_time(few):
    few.store._wait_s = 0.05
    with few.store.writing(), ThreadPoolExecutor(1) as pool:
        write = pool.submit(few.people.remove, "Pérson 1")
        with pytest.raises(GalleryBusyError):
            write.result()
    few.people.remove("Pérson 1")


def test_a_search_of_many_goes_on_where_the_file_cannot_be_read(places, monkeypatch):
    monkeypatch.setattr("gallery.index.FLAT_ROWS", 10)
    with people(places("p"), 8, 4) as gallery:
        assert gallery.index_kind == "int8"
        probe = gallery.photos.embeddings("Pérson 3")[:1]
        (exact,) = gallery.search(probe, threshold=0.5)
        monkeypatch.setattr(gallery.store, "reading", lambda **_: _raise(GalleryBusyError("busy")))
        (rough,) = gallery.search(probe, threshold=0.5)
    assert exact is not None
    assert rough is not None
    assert rough.identity == exact.identity
    assert abs(rough.similarity - exact.similarity) < 0.02


def _raise(error: Exception) -> None:
    raise error


def test_a_file_put_in_place_of_an_open_one_stays_as_it_was_put(tmp_path):
    """SQLite would write the log of the old file into the new one, at its next opening."""
    with people(tmp_path / "backup", 3, 2) as backup:
        backup.people.rename("Pérson 1", "Ada")
    with people(tmp_path / "now", 40, 4) as gallery:
        assert Path(gallery.store.place, "gallery.sqlite3-wal").stat().st_size > 0
        now = Path(gallery.store.place, "gallery.sqlite3")
        (tmp_path / "backup" / "gallery.sqlite3").replace(now)
        with pytest.raises(GalleryError, match="was replaced or deleted"):
            gallery.people.rename("Pérson 2", "Eve")
        with pytest.raises(GalleryError, match="was replaced or deleted"):
            gallery.people.summaries()
        assert len(gallery) == 160  # who was known is still recognized
    with Gallery.open_any(tmp_path / "now") as gallery:
        names = [each.identity.name for each in gallery.people.summaries()]
        assert names == ["Ada", "Pérson 0", "Pérson 2"]
        with gallery.store.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
