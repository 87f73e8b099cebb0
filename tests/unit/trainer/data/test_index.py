import os
import pickle

import numpy as np
import pytest

from trainer.data import index as index_module
from trainer.data.faceset import FaceSet, FaceSetWriter
from trainer.data.index import Index, open_index
from trainer.data.recordio import RecordReader
from trainer.errors import RecordError

N = 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A set that is large enough to be cached, because the bound is low here."""
    monkeypatch.setattr(index_module, "CACHED_FROM", 10)
    monkeypatch.setenv("FACEWIRE_CACHE", str(tmp_path / "cache"))
    with FaceSetWriter(tmp_path / "set") as writer:
        for value in range(N // 2):
            writer.add([bytes([value]) * 900, bytes([value]) * 90])
    return tmp_path / "set"


def refuse(path):
    raise AssertionError("it is read again")


def cached(folder):
    return sorted((folder.parent / "cache/indexes").iterdir())


@pytest.mark.parametrize("has_index", [True, False])
def test_a_cached_index_is_the_one_that_was_read(folder, monkeypatch, has_index):
    if not has_index:
        (folder / "train.idx").unlink()
    first = FaceSet(folder)
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "read_index", refuse)
        patch.setattr(index_module, "scan_index", refuse)
        again = FaceSet(folder)
        copy = pickle.loads(pickle.dumps(again))  # as a process that is spawned gets it
    assert len(pickle.dumps(again.reader)) < 1000
    for other in (again, copy):
        assert other.reader.offsets.is_cached
        assert dict(other.reader.offsets) == dict(first.reader.offsets)
        assert list(other.reader.offsets) == list(first.reader.offsets)
        assert other.keys.tolist() == list(range(1, N + 1))
        for key in (0, 1, N, N + 1):
            assert other.reader.read(key) == first.reader.read(key)
        assert N + 1 + N // 2 not in other.reader.offsets
        assert -1 not in other.reader.offsets
    assert len(cached(folder)) == 1


def test_a_set_that_changed_is_read_again(folder):
    before = FaceSet(folder)
    with FaceSetWriter(folder, replace=True) as writer:
        writer.add([b"x" * 900] * (N + 1))
    assert len(FaceSet(folder)) == N + 1
    assert len(cached(folder)) == 2
    with pytest.raises(RecordError, match="was replaced while it was in use: start again"):
        pickle.loads(pickle.dumps(before.reader)).read(1)


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 20, None], ids=["empty", "other", "cut"])
def test_a_damaged_cache_is_made_anew(folder, damage):
    FaceSet(folder)
    (file,) = cached(folder)
    file.write_bytes(file.read_bytes()[:-4] if damage is None else damage)
    assert len(FaceSet(folder)) == N
    assert Index.load(file) is not None


def test_a_cache_that_cannot_be_written_is_done_without(folder, monkeypatch):
    (folder.parent / "file").write_text("")
    monkeypatch.setenv("FACEWIRE_CACHE", str(folder.parent / "file"))
    assert len(FaceSet(folder)) == N
    assert not FaceSet(folder).reader.offsets.is_cached


def test_few_indexes_are_kept(folder, monkeypatch):
    monkeypatch.setattr(index_module, "KEPT", 2)
    for number in range(4):
        with FaceSetWriter(folder, replace=True) as writer:
            writer.add([b"x" * (900 + 4 * number)] * N)
        reader = RecordReader(folder / "train.rec")
        for file in cached(folder):
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9))
    assert len(cached(folder)) == 2
    assert reader.read(1).image == b"x" * 912
    assert reader.offsets.is_cached


def test_keys_with_gaps_are_not_cached_and_right(folder):
    lines = [f"{key}\t{place * 8}\n" for place, key in enumerate(range(100, 0, -3))]
    (folder / "train.idx").write_text("".join(lines))
    index = open_index(folder / "train.rec")
    assert list(index) == list(range(100, 0, -3))
    assert [index[key] for key in (100, 4, 1)] == [0, 32 * 8, 33 * 8]
    assert 5 not in index
    assert not index.is_cached


@pytest.mark.parametrize("place", [0, 1, 7, 9])
def test_the_first_key_may_be_anywhere_in_the_file(place):
    keys = np.insert(np.arange(4, 13), place, 3)
    offsets = np.arange(10) * 2**34
    index = Index(keys, offsets)
    assert index.can_be_cached
    assert list(index) == keys.tolist() == index.keys_array.tolist()
    assert [index[key] for key in keys.tolist()] == offsets.tolist()
    assert index.positions(range(3, 13)).tolist() == [index[key] for key in range(3, 13)]
    with pytest.raises(KeyError):
        index.positions(range(3, 14))


def test_identities_are_read_alike_in_one_go_and_one_by_one(folder, monkeypatch):
    fast = FaceSet(folder)
    monkeypatch.setattr(FaceSet, "_read_identities", lambda faces, keys: None)
    slow = FaceSet(folder)
    assert list(fast.groups) == list(slow.groups) == [range(k, k + 2) for k in range(1, N, 2)]
    assert fast.keys.tolist() == slow.keys.tolist()
