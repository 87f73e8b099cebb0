import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, NewPhoto, index_file, large_index, searcher
from gallery.index_file import Head
from gallery.large_index import LargeIndex

SIZE = 32
N = 600
MODEL = "test"


def units(rng: np.random.Generator, n: int, size: int = SIZE) -> np.ndarray:
    rows = rng.standard_normal((n, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def large_from_500(monkeypatch):
    monkeypatch.setattr(large_index, "LARGE_ROWS", 500)
    monkeypatch.setattr(index_file, "SAMPLE_ROWS", 300)


@pytest.fixture(scope="module")
def templates() -> np.ndarray:
    return units(np.random.default_rng(1), N)


def opened(directory: Path) -> Gallery:
    return Gallery.open(directory, model_id=MODEL, embedding_size=SIZE)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, templates) -> Path:
    """Two photos of each of 300 people."""
    directory = tmp_path_factory.mktemp("filled")
    with opened(directory) as gallery:
        for person in range(N // 2):
            gallery.photos.add(f"person {person}", photos(templates[2 * person : 2 * person + 2]))
    return directory


def photos(embeddings: np.ndarray) -> list[NewPhoto]:
    return [NewPhoto(each, None, each.tobytes().hex()[:64], 0.5) for each in embeddings]


@pytest.fixture
def directory(tmp_path, filled) -> Path:
    copied(filled, tmp_path)
    return tmp_path


def copied(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(source / "gallery.sqlite3")) as old,
        closing(sqlite3.connect(target / "gallery.sqlite3")) as new,
    ):
        old.backup(new)


def index_of(directory: Path) -> Path:
    return directory / "gallery.sqlite3.index"


def names(gallery: Gallery, probes: np.ndarray) -> list[str]:
    return [ranked[0].identity.name for ranked in gallery.best(probes)]


def all_names() -> list[str]:
    return [f"person {i // 2}" for i in range(N)]


def test_the_file_is_written_once_and_mapped_by_the_next_start(directory, templates):
    with opened(directory) as gallery:
        assert gallery.index_kind == "pq"
        assert names(gallery, templates) == all_names()
        assert len(gallery.people.page(limit=5).people) == 5
        first = gallery.best(templates[:50], k=2)
    before = index_of(directory).stat()
    assert before.st_mode & 0o777 == 0o600
    with opened(directory) as gallery:
        assert gallery.best(templates[:50], k=2) == first
        assert len(gallery) == N
    after = index_of(directory).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_similarities_are_those_of_the_plain_matrix_product(directory, templates):
    probes = units(np.random.default_rng(2), 40)
    similarities = (probes @ templates.T).reshape(40, N // 2, 2).max(axis=2)
    order = np.argsort(-similarities, axis=1)[:, :3]
    with opened(directory) as gallery:
        found = gallery.best(probes, k=3)
    assert [[each.identity.name for each in ranked] for ranked in found] == [
        [f"person {person}" for person in ranked] for ranked in order.tolist()
    ]
    np.testing.assert_allclose(
        [[each.similarity for each in ranked] for ranked in found],
        np.take_along_axis(similarities, order, 1),
        atol=1e-6,
    )


def test_changes_are_found_at_once_and_after_a_restart(directory, templates):
    new = units(np.random.default_rng(3), 1)
    with opened(directory) as gallery, opened(directory) as other:
        gallery.photos.add("newcomer", photos(new))
        gallery.people.rename("person 3", "Ann")
        gallery.people.merge("person 4", "person 5")
        gallery.people.remove("person 6")
        assert other.refresh()
        for each in (gallery, other):
            changed(each, templates, new)
    with opened(directory) as gallery:
        changed(gallery, templates, new)


def changed(gallery: Gallery, templates: np.ndarray, new: np.ndarray) -> None:
    assert len(gallery) == N + 1 - 2
    assert names(gallery, new) == ["newcomer"]
    assert names(gallery, templates[6:12]) == ["Ann", "Ann", *4 * ["person 5"]]
    assert not {"person 6"} & set(names(gallery, templates[12:14]))
    assert gallery.search(templates[12:14], threshold=0.99) == [None, None]


def test_erased_people_leave_nothing_in_the_file(directory, templates):
    with opened(directory) as gallery:
        gallery.people.remove("person 6")
    file = index_file.read(
        index_of(directory), token=token_of(directory), model_id=MODEL, embedding_size=SIZE
    )
    rows = np.flatnonzero(file.persons < 0)
    assert file.photo_ids[rows].tolist() == [13, 14]
    assert not file.codes[rows].any()
    assert file.codes[[0, 11, 14]].any(axis=1).all()
    packed, scanned = file.packed, index_file._blocks_of(file.scan)
    np.testing.assert_array_equal(packed, scanned)
    packer = index_file._packer(file.scan)
    assert not packer.unpack_1(packed[:1], int(rows[0])).any()
    assert packer.unpack_1(packed[:1], int(rows[0]) - 1).any()


def token_of(directory: Path) -> str:
    with closing(sqlite3.connect(directory / "gallery.sqlite3")) as connection:
        return connection.execute(
            "SELECT value FROM facts WHERE key = ?", (searcher.TOKEN,)
        ).fetchone()[0]


def test_a_backup_restored_beside_a_newer_file_is_searched_whole(directory, templates, tmp_path):
    with opened(directory):
        pass
    saved = tmp_path / "saved"
    saved.mkdir()
    copied(directory, saved)
    with opened(directory) as gallery:
        gallery.people.remove("person 6")
    copied(saved, directory)
    (saved / "gallery.sqlite3").unlink()
    saved.rmdir()
    with opened(directory) as gallery:
        assert len(gallery) == N
        assert names(gallery, templates) == all_names()


@pytest.mark.parametrize(
    "damage", ["cut", "other", "empty", "longer", "garbage", "of another gallery"]
)
def test_a_file_that_cannot_be_right_is_written_anew(directory, templates, damage):
    with opened(directory):
        pass
    index, data = index_of(directory), index_of(directory).read_bytes()
    if damage == "of another gallery":
        with closing(sqlite3.connect(directory / "gallery.sqlite3")) as connection, connection:
            connection.execute("UPDATE facts SET value = 'x' WHERE key = ?", (searcher.TOKEN,))
    else:
        index.write_bytes(
            {
                "cut": data[:-4096],
                "other": data.replace(MODEL.encode(), b"temp", 1),
                "empty": b"",
                "longer": data + bytes(4096),
                "garbage": bytes(range(256)) * 64,
            }[damage]
        )
    with opened(directory) as gallery:
        assert names(gallery, templates) == all_names()
    assert len(index.read_bytes()) == len(data)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from gallery import Gallery, index_file, large_index
large_index.LARGE_ROWS = 500
index_file.SAMPLE_ROWS = 300
when = sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if when == "writing":
    index_file._blocks_of = die
elif when == "claimed":
    index_file.sync_directory = die
    Path.replace = die
else:
    index_file._train = die
Gallery.open(Path(sys.argv[1]), model_id="test", embedding_size=32)
"""


@pytest.mark.parametrize(
    ("when", "is_first"),
    [("writing", True), ("started", False), ("writing", False), ("claimed", False)],
)
def test_a_kill_while_the_file_is_written_leaves_it_right(directory, templates, when, is_first):
    if not is_first:
        with opened(directory) as gallery:
            gallery.people.remove("person 6")
        head = index_of(directory).read_bytes()[:4096]
        # As if it were too old for the journal: written anew at the next start.
        with closing(sqlite3.connect(directory / "gallery.sqlite3")) as connection, connection:
            connection.execute("DELETE FROM journal WHERE revision < 903")
        assert b'"revision": 900' in head
    ended = subprocess.run([sys.executable, "-c", KILLED, directory, when], check=False)
    assert ended.returncode == -signal.SIGKILL
    with opened(directory) as gallery:
        expected = [n if is_first or n != "person 6" else "" for n in all_names()]
        found = [
            each.identity.name if each else "" for each in gallery.search(templates, threshold=0.99)
        ]
        assert found == expected
    assert sorted(each.name for each in directory.iterdir()) == [
        "gallery.sqlite3",
        "gallery.sqlite3.index",
    ]


def test_a_gallery_that_is_only_read_is_searched_without_a_file(directory, templates):
    with Gallery.open_to_read(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert gallery.index_kind == "pq"
        assert names(gallery, templates) == all_names()
    assert sorted(each.name for each in directory.iterdir()) == ["gallery.sqlite3"]


def test_a_file_with_many_changes_is_written_anew_during_searches(
    directory, templates, monkeypatch
):
    monkeypatch.setattr(searcher, "MANY_CHANGES", 10)
    rng = np.random.default_rng(4)
    new, later = units(rng, 11), units(rng, 1)
    with opened(directory) as gallery:
        assert not gallery.tidy()
        for number, each in enumerate(new):
            gallery.photos.add(f"new {number}", photos(each[np.newaxis]))
        gallery.people.remove("person 6")
        first = index_of(directory).stat().st_ino

        def pause() -> None:
            gallery.photos.add("later", photos(later))
            gallery.people.remove("person 7")

        calls = iter([pause])
        assert gallery.tidy(lambda: next(calls, lambda: None)())
        assert index_of(directory).stat().st_ino != first
        assert names(gallery, np.concatenate([new, later])) == [
            *(f"new {number}" for number in range(11)),
            "later",
        ]
        assert names(gallery, templates[:12]) == all_names()[:12]
        assert gallery.search(templates[12:16], threshold=0.99) == 4 * [None]
        assert not gallery.tidy()


def test_a_gallery_that_grew_large_gets_its_file_when_it_is_tidied(
    directory, templates, monkeypatch
):
    monkeypatch.setattr(large_index, "LARGE_ROWS", N)
    with opened(directory) as gallery:
        assert gallery.index_kind == "flat"
        assert gallery.check_recent() == (0, 0)
        gallery.photos.add("one more", photos(units(np.random.default_rng(5), 1)))
        assert gallery.tidy()
        assert gallery.index_kind == "pq"
        assert names(gallery, templates) == all_names()


def test_the_check_of_recent_probes_finds_what_the_scan_misses(directory, templates, monkeypatch):
    probes = templates[:8] + 0.02
    with opened(directory) as gallery:
        for each in probes:
            gallery.best(each[np.newaxis])
        assert gallery.check_recent() == (8, 8)
        assert gallery.check_recent() == (0, 0)
        monkeypatch.setattr(large_index, "CANDIDATES", 1)
        monkeypatch.setattr(LargeIndex, "_ranked", lambda *_: [(299, 0.5)])
        for each in probes:
            gallery.best(each[np.newaxis])
        assert gallery.check_recent() == (8, 0)


def test_sizes_of_embeddings_that_can_be_packed():
    assert [
        size for size in (2, 3, 8, 100, 128, 130, 512, 16_384) if index_file.is_suited(size)
    ] == [8, 100, 128, 512, 16_384]


@pytest.mark.parametrize("size", [8, 100, 128, 512])
def test_every_such_size_is_searched(size):
    rng = np.random.default_rng(6)
    rows = units(rng, 400, size)
    ids = np.arange(1, 401)
    head = Head("token", MODEL, size, 1)
    file = index_file.write(None, [(ids, ids, rows)], head, claim=lambda: None)
    index = LargeIndex(file, lambda wanted: {i: rows[i - 1] for i in wanted})
    found = index.best_persons(rows[:20], 1)
    assert [ranked[0][0] for ranked in found] == list(range(1, 21))
    assert index.exact_persons(rows[:20], 1) == found
