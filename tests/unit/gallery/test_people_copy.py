"""The copy of a database's people on the disk: a start without the database, and what is erased."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest

from gallery import Gallery, NewPhoto
from gallery.calibration import kept_similarities
from gallery.errors import GalleryUnreachableError, ModelMismatchError
from gallery.people_copy import COPIED_AT, DIRECTORY, KEEP_S, PLACE, PeopleCopy
from gallery.schema import FILE_NAME
from gallery.store import Connection
from tests.postgres_server import Server, postgres_server
from tests.unit.gallery.conftest import MODEL, SIZE, people

PATIENCE_S = 60.0
ROW = np.eye(1, SIZE, dtype=np.float32)[0]


def opened(address: str, copy: PeopleCopy | None, *, model: str = MODEL) -> Gallery:
    return Gallery.open(address, model_id=model, embedding_size=SIZE, wait_s=0.5, copy=copy)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[PeopleCopy]:
    with closing(PeopleCopy(tmp_path)) as copy:
        yield copy


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Return a server that tests may stop."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def away(server: Server) -> Iterator[Server]:
    yield server
    server.stop()
    server.start()


def rows(connection: Connection) -> list[list[tuple[object, ...]]]:
    """Return what a copy holds of a gallery."""
    return [
        [
            tuple(bytes(each) if isinstance(each, bytes) else each for each in row)
            for row in connection.execute(f"SELECT {columns} ORDER BY 1").fetchall()
        ]
        for columns in (
            "person, identity_id, name FROM identities",
            "photo_id, person, model_id, embedding FROM photos",
            "max(revision) FROM journal",
            f"key, value FROM facts WHERE key NOT IN ('{COPIED_AT}', '{PLACE}')",
        )
    ]


def is_same(gallery: Gallery, directory: Path) -> bool:
    with (
        gallery.store.reading() as database,
        closing(sqlite3.connect(directory / DIRECTORY / FILE_NAME)) as copy,
    ):
        expected = rows(database)
        expected[-1].sort()
        return rows(copy) == expected


def bring_up(copy: PeopleCopy, gallery: Gallery, directory: Path) -> None:
    """Update a copy until it is the same: the server announces a change a moment after it."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE_S
    copy.update(gallery.store)
    while not is_same(gallery, directory):
        assert time.monotonic() < end, "the copy is not the same"
        pause.wait(0.01)
        copy.update(gallery.store)


def test_a_start_without_the_server_names_from_the_copy_and_then_goes_on(
    away: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    address = away.new_database()
    with people(address, 5, 2) as gallery:
        gallery.facts.put({"threshold": "0.4", "threshold_people": "2"})
        gallery.facts.put({"threshold_similarities": "{}"})
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        expected = gallery.best(probe, 5)
        threshold = gallery.threshold_for(0.3)
        copy.update(gallery.store)
    away.stop()
    before = time.time()
    with opened(address, copy) as gallery:
        assert gallery.best(probe, 5) == expected
        assert gallery.threshold_for(0.3) == threshold
        assert kept_similarities(gallery) == {}
        assert gallery.copied_at is not None
        assert gallery.copied_at <= before
        with pytest.raises(GalleryUnreachableError, match="once it is back") as caught:
            gallery.photos.add("Late", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        assert "\n" not in str(caught.value)
        with pytest.raises(GalleryUnreachableError):
            gallery.refresh()
        with pytest.raises(GalleryUnreachableError):
            copy.update(gallery.store)
        assert gallery.search(probe, threshold=0.5)[0].identity.name == "Pérson 1"
        away.start()
        with opened(address, None) as elsewhere:
            elsewhere.photos.add("Late", [NewPhoto(ROW, None, "0" * 64, 1.0)])
            elsewhere.people.rename("Pérson 1", "Ada")
        assert gallery.refresh()
        assert gallery.copied_at is None
        assert gallery.search(probe, threshold=0.5)[0].identity.name == "Ada"
        assert gallery.search(ROW[None], threshold=0.5)[0].identity.name == "Late"
        gallery.people.remove("Late")
        bring_up(copy, gallery, tmp_path)


def test_a_copy_of_many_is_searched_as_exactly(
    away: Server, copy: PeopleCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery.index.FLAT_ROWS", 5)
    address = away.new_database()
    with people(address, 5, 2) as gallery:
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        expected = gallery.best(probe, 5)
        copy.update(gallery.store)
    away.stop()
    with opened(address, copy) as gallery:
        assert gallery.index_kind == "int8"
        assert gallery.best(probe, 5) == expected


def test_the_copy_follows_every_change(postgres: Server, copy: PeopleCopy, tmp_path: Path) -> None:
    address = postgres.new_database()
    with people(address, 6, 3) as gallery:
        bring_up(copy, gallery, tmp_path)
        for change in (
            lambda: gallery.people.rename("Pérson 0", "Ada"),
            lambda: gallery.people.merge("Pérson 1", "Pérson 2"),
            lambda: gallery.people.remove("Pérson 3"),
            lambda: gallery.photos.add("Eve", [NewPhoto(ROW, None, "0" * 64, 1.0)]),
            lambda: gallery.facts.put({"threshold": "0.5"}),
        ):
            change()
            bring_up(copy, gallery, tmp_path)
        for name, new_name in (("Ada", "x"), ("Pérson 4", "Ada"), ("x", "Pérson 4")):
            gallery.people.rename(name, new_name)
        gallery.people.remove("Eve")
        gallery.photos.add("Eve", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        bring_up(copy, gallery, tmp_path)
        with gallery.store.writing() as connection:  # further back than what is noted
            connection.execute("DELETE FROM journal WHERE revision < 40")
        gallery.people.remove("Pérson 4")
        with gallery.store.writing() as connection:
            connection.execute(
                "DELETE FROM journal WHERE revision < (SELECT max(revision) FROM journal)"
            )
        bring_up(copy, gallery, tmp_path)


def test_nothing_of_an_erased_person_is_left_in_the_copy(
    postgres: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    with people(postgres.new_database(), 40, 4) as gallery:
        copy.update(gallery.store)
        secrets = ["Pérson 7".encode()]
        secrets += [row.astype("<f4").tobytes() for row in gallery.photos.embeddings("Pérson 7")]
        files = [each for each in (tmp_path / DIRECTORY).iterdir() if each.is_file()]
        held = b"".join(each.read_bytes() for each in files)
        assert all(secret in held for secret in secrets)
        gallery.people.remove("Pérson 7")
        bring_up(copy, gallery, tmp_path)
        held = b"".join(each.read_bytes() for each in (tmp_path / DIRECTORY).iterdir())
        assert not any(secret in held for secret in secrets)
        for each in (tmp_path / DIRECTORY, *(tmp_path / DIRECTORY).iterdir()):
            assert not stat.S_IMODE(each.stat().st_mode) & 0o077
    copy.erase()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_missing_foreign_old_or_damaged_is_not_used(
    away: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    address = away.new_database()
    with people(address, 3, 2) as gallery:
        copy.update(gallery.store)
    copy.close()
    with pytest.raises(ModelMismatchError), opened(address, copy, model="other-1"):
        pass
    away.stop()
    path = tmp_path / DIRECTORY / FILE_NAME
    for refused in (None, PeopleCopy(tmp_path / "empty")):
        with pytest.raises(GalleryUnreachableError, match="cannot reach"), opened(address, refused):
            pass
    with pytest.raises(GalleryUnreachableError), opened(address, copy, model="other-1"):
        pass
    for other in (away.address("other"), address.replace("127.0.0.1", "localhost")):
        with pytest.raises(GalleryUnreachableError), opened(other, copy):
            pass
    with opened(address, copy):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # begins as it should
    with pytest.raises(GalleryUnreachableError), opened(address, copy):
        pass
    path.write_bytes(whole)
    with closing(sqlite3.connect(path)) as connection:
        old = str(time.time() - KEEP_S - 60)
        connection.execute("UPDATE facts SET value = ? WHERE key = ?", (old, COPIED_AT))
        connection.commit()
    with pytest.raises(GalleryUnreachableError), opened(address, copy):
        pass
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(GalleryUnreachableError), opened(address, copy):
        pass


def test_a_copy_of_another_gallery_is_replaced_as_a_whole(
    postgres: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    with people(postgres.new_database(), 5, 3) as gallery:
        copy.update(gallery.store)
    with people(postgres.new_database(), 3, 1) as gallery:
        copy.update(gallery.store)
        assert is_same(gallery, tmp_path)


def photo(number: int) -> NewPhoto:
    """Return a photo that is like no other."""
    return NewPhoto(np.eye(1, SIZE, number, dtype=np.float32)[0], None, f"{number:064d}", 1.0)


def restore(address: str) -> None:
    """Do what a restored backup and two later enrollments do: numbers are given once more."""
    with opened(address, None) as gallery:
        with gallery.store.writing() as connection:
            connection.execute(
                "TRUNCATE identities, photos, crops, journal, removed RESTART IDENTITY"
            )
        for number in range(10, 14):
            gallery.photos.add(f"Carol {number}", [photo(number)])


def test_a_copy_from_before_a_restored_backup_is_written_anew(away: Server, tmp_path: Path) -> None:
    address = away.new_database()
    with opened(address, None) as gallery, closing(PeopleCopy(tmp_path)) as copy:
        for number in range(3):
            gallery.photos.add(f"Erased {number}", [photo(number)])
        copy.update(gallery.store)
    away.stop()
    with opened(address, PeopleCopy(tmp_path)) as gallery, closing(PeopleCopy(tmp_path)) as copy:
        away.start()
        restore(address)
        assert gallery.refresh()
        found = gallery.search(
            np.stack([photo(number).embedding for number in (0, 1, 2, 10, 11, 12, 13)]),
            threshold=0.5,
        )
        names = [each and each.identity.name for each in found]
        assert names == [None] * 3 + [f"Carol {number}" for number in range(10, 14)]
        copy.update(gallery.store)
        assert is_same(gallery, tmp_path)


def test_a_person_whose_id_changed_is_so_in_the_copy(
    postgres: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    with people(postgres.new_database(), 3, 1) as gallery:
        copy.update(gallery.store)
        one, other = (gallery.people.find(f"Pérson {n}").identity_id for n in (0, 1))
        with gallery.store.writing() as connection:
            for before, after in ((one, "x"), (other, one), ("x", other)):
                connection.execute(
                    "UPDATE identities SET identity_id = ? WHERE identity_id = ?", (after, before)
                )
        bring_up(copy, gallery, tmp_path)


def make_foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE another (program)")


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"no database " * 1000),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        make_foreign,
        make_newer,
    ],
    ids=["garbage", "truncated", "empty", "foreign", "newer"],
)
def test_a_copy_that_cannot_be_used_is_made_again(
    postgres: Server, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    with people(postgres.new_database(), 20, 3) as gallery:
        with closing(PeopleCopy(tmp_path)) as copy:
            copy.update(gallery.store)
        spoil(tmp_path / DIRECTORY / FILE_NAME)
        with closing(PeopleCopy(tmp_path)) as copy:
            copy.update(gallery.store)
            assert is_same(gallery, tmp_path)


def test_a_copy_that_was_erased_while_it_was_open_is_made_again(
    postgres: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    with people(postgres.new_database(), 3, 1) as gallery:
        copy.update(gallery.store)
        PeopleCopy(tmp_path).erase()
        gallery.people.remove("Pérson 1")
        bring_up(copy, gallery, tmp_path)


def test_an_erased_person_is_overwritten_once_no_one_reads_the_copy(
    postgres: Server, copy: PeopleCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery.people_copy.WAIT_S", 0.1)
    path = tmp_path / DIRECTORY / FILE_NAME
    with people(postgres.new_database(), 3, 1) as gallery:
        copy.update(gallery.store)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT name FROM identities").fetchall()
            gallery.people.remove("Pérson 1")
            bring_up(copy, gallery, tmp_path)
            assert "Pérson 1".encode() in path.read_bytes()
        copy.update(gallery.store)
        held = b"".join(each.read_bytes() for each in path.parent.iterdir())
        assert "Pérson 1".encode() not in held


def test_a_process_killed_while_it_copies_leaves_a_whole_copy(
    postgres: Server, tmp_path: Path
) -> None:
    address = postgres.new_database()
    script = (
        "import sys, pathlib, itertools; from gallery import Gallery\n"
        "from gallery.people_copy import PeopleCopy\n"
        f"g = Gallery.open(sys.argv[1], model_id={MODEL!r}, embedding_size={SIZE})\n"
        "copy = PeopleCopy(pathlib.Path(sys.argv[2]))\n"
        "for i in itertools.count():\n"
        "    copy.update(g.store)\n"
        "    print(i, flush=True)\n"
        "    g.people.rename('Pérson 1', f'n{i}'); g.people.rename(f'n{i}', 'Pérson 1')\n"
    )
    with people(address, 20, 5) as gallery:
        for n_updates in (0, 1, 3):
            with subprocess.Popen(
                [sys.executable, "-c", script, address, str(tmp_path)],
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stdout is not None
                for _ in range(n_updates + 1):
                    process.stdout.readline()
                os.kill(process.pid, signal.SIGKILL)
            with closing(PeopleCopy(tmp_path)) as copy:
                file = copy.open_to_read(address, model_id=MODEL, embedding_size=SIZE)
                assert file is not None
                with closing(file), file.reading() as connection:
                    assert len(rows(connection)[1]) == 100
                    assert len(rows(connection)[0]) == 20
                bring_up(copy, gallery, tmp_path)


def test_a_database_that_was_made_anew_is_searched_once_it_is_reached(
    away: Server, copy: PeopleCopy
) -> None:
    address = away.new_database()
    with people(address, 5, 2) as gallery:
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        copy.update(gallery.store)
    away.stop()
    with opened(address, copy) as gallery:
        away.start()
        away.drop(address)
        name = address.rpartition("/")[2]
        with psycopg.connect(away.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        assert gallery.search(probe, threshold=0.5)[0].identity.name == "Pérson 1"
        gallery.refresh()
        assert gallery.search(probe, threshold=0.5) == [None]
        gallery.photos.add("Late", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        assert gallery.search(ROW[None], threshold=0.5)[0].identity.name == "Late"


def test_an_older_copy_of_the_database_is_read_as_a_whole(
    postgres: Server, copy: PeopleCopy, tmp_path: Path
) -> None:
    address = postgres.new_database()
    with people(address, 5, 2) as gallery:
        copy.update(gallery.store)
        with psycopg.connect(address) as connection:
            connection.execute("DELETE FROM facewire.photos WHERE photo_id > 4")
            connection.execute("DELETE FROM facewire.identities WHERE person > 2")
            connection.execute("DELETE FROM facewire.journal WHERE revision > 6")
        while len(gallery) > 4:  # the server announces it a moment later
            gallery.refresh()
        bring_up(copy, gallery, tmp_path)
