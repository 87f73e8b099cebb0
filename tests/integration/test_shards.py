"""People divided among shards of Ray, read from PostgreSQL; one is killed and one is frozen."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from gallery import Gallery, Match, NewPhoto
from gallery.searcher import Searcher
from gallery.shards import divide
from gallery.store import Store
from tests.postgres_server import postgres_server

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")

from stream.cluster import actors  # noqa: E402

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MODEL, SIZE, N, PEOPLE = "model-1", 64, 2, 60


def unit(rng: np.random.Generator) -> np.ndarray:
    row = rng.standard_normal(SIZE).astype(np.float32)
    return row / np.linalg.norm(row)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return a database with people, whose two shards run as actors of Ray."""
    folder = tempfile.mkdtemp(prefix="fw-ray-")
    rng = np.random.default_rng(0)
    with postgres_server() as server:
        address = server.new_database()
        with Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as gallery:
            for person in range(PEOPLE):
                photo = NewPhoto(unit(rng), None, f"{person:064x}", 0.5)
                gallery.photos.add(f"p{person}", [photo])
            divide(gallery.facts, N)
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            namespace=actors.NAMESPACE,
            log_to_driver=False,
            object_store_memory=80 << 20,
            _temp_dir=folder,
        )
        try:
            for number in range(N):
                actors.start_shard(number, N, address)
            yield address
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def gallery(address: str) -> Iterator[Gallery]:
    with Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as opened:
        until(opened, lambda: not opened.unsearched())
        yield opened


def until(gallery: Gallery, is_so: Callable[[], bool]) -> None:
    while not is_so():  # the test's own limit ends it
        time.sleep(0.05)
        gallery.refresh()


def found_by_one(store: Store, probes: np.ndarray, k: int) -> list[list[Match]]:
    one = Searcher(store, model_id=MODEL, embedding_size=SIZE)
    return one.ranked(probes, k).matches


def names(found: list[list[Match]]) -> list[list[str]]:
    return [[match.identity.name for match in ranked] for ranked in found]


def probes(n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([unit(rng) for _ in range(n)])


def searched(gallery: Gallery, rows: np.ndarray, k: int) -> list[list[Match]]:
    """Search all people; on a machine that is too busy for a shard to be in time, again."""
    while not (found := gallery.ranked(rows, k)).is_whole:
        gallery.refresh()
    return found.matches


def test_shards_of_ray_find_what_one_search_of_all_finds(gallery: Gallery) -> None:
    found, expected = (
        searched(gallery, probes(), 2),
        found_by_one(gallery.store, probes(), 2),
    )
    assert names(found) == names(expected)
    for ranked, others in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            [each.similarity for each in ranked],
            [each.similarity for each in others],
            atol=1e-6,
        )
    assert [each.n_photos for each in gallery.shards()] == [PEOPLE // N] * N
    assert len({each.pid for each in gallery.shards()} | {os.getpid()}) == N + 1


def test_who_is_enrolled_renamed_and_erased_is_so_in_every_process(
    gallery: Gallery, address: str
) -> None:
    rows = probes(50)[-2:]
    with Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as other:
        for number, row in enumerate(rows):  # one in each shard
            gallery.photos.add(f"new {number}", [NewPhoto(row, None, f"{99 + number:064x}", 0.5)])
            assert names(searched(other, row[None], 1)) == [[f"new {number}"]]
        gallery.people.rename("new 0", "renamed")
        assert names(searched(other, rows, 1)) == [["renamed"], ["new 1"]]
        gallery.people.remove("renamed")
        gallery.people.remove("new 1")
        assert max(ranked[0].similarity for ranked in searched(other, rows, 1)) < 0.99


def test_a_shard_that_is_killed_is_started_again_by_ray(gallery: Gallery) -> None:
    whole = found_by_one(gallery.store, probes(), PEOPLE)
    killed = gallery.shards()[0].pid
    os.kill(killed, signal.SIGKILL)
    until(gallery, lambda: not gallery.shards()[0].is_there)
    found = gallery.ranked(probes(), 2)
    if not found.is_whole:  # else Ray was faster
        assert "number 1" in gallery.unsearched()
        there = [
            [each for each in ranked if int(each.identity.name[1:]) % N == 0] for ranked in whole
        ]
        # Person numbers begin at 1: the even ones of the names are in the second shard.
        assert names(found.matches) == names([ranked[:2] for ranked in there])
    until(gallery, lambda: not gallery.unsearched())
    assert gallery.shards()[0].pid != killed
    expected = [ranked[:2] for ranked in whole]
    assert names(searched(gallery, probes(), 2)) == names(expected)


def test_a_shard_that_is_frozen_is_not_waited_for(gallery: Gallery) -> None:
    frozen = gallery.shards()[1].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert not gallery.ranked(probes(), 2).is_whole
        assert not gallery.shards()[1].is_there
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(gallery, lambda: not gallery.unsearched())
    assert gallery.shards()[1].pid == frozen
