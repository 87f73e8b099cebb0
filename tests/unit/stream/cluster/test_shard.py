"""Shards of a gallery in this process; those of Ray are in tests/integration/test_shards.py."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery import Gallery, Match, NewPhoto
from gallery.facts import Facts
from gallery.moving import copy_gallery
from gallery.searcher import Searcher
from gallery.shard_link import ShardAddress
from gallery.shards import announce, divide
from gallery.templates import Share
from stream.cluster.shard import Shard

MODEL, SIZE, N = "model-1", 32, 3
Open = Callable[[], Gallery]


def unit(rng: np.random.Generator) -> np.ndarray:
    row = rng.standard_normal(SIZE).astype(np.float32)
    return row / np.linalg.norm(row)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a gallery of 40 people with two photos each, divided in three."""
    rng = np.random.default_rng(0)
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        for person in range(40):
            photos = [
                NewPhoto(unit(rng), None, f"{2 * person + number:064x}", 0.5) for number in range(2)
            ]
            gallery.photos.add(f"p{person}", photos)
        divide(gallery.facts, N)
    return tmp_path


@pytest.fixture
def shards(place: Path) -> Iterator[list[Shard]]:
    started = [Shard(place, Share(number, N), "127.0.0.1") for number in range(N)]
    for shard in started:
        shard.start()
    yield started
    for shard in started:
        shard.stop()


@pytest.fixture
def divided(place: Path, shards: list[Shard]) -> Iterator[Gallery]:
    with Gallery.open(place, model_id=MODEL, embedding_size=SIZE) as gallery:
        until_whole(gallery)
        yield gallery


def until_whole(gallery: Gallery) -> None:
    while gallery.unsearched():
        time.sleep(0.01)
        gallery.refresh()


def until_gone(gallery: Gallery, number: int) -> None:
    while gallery.shards()[number].is_there:
        time.sleep(0.01)
        gallery.refresh()


def whole(gallery: Gallery, probes: np.ndarray, k: int) -> list[list[Match]]:
    """Return what one search of all people finds."""
    one = Searcher(gallery.store, model_id=MODEL, embedding_size=SIZE)
    return one.ranked(probes, k).matches


def names(found: list[list[Match]]) -> list[list[str]]:
    return [[match.identity.name for match in ranked] for ranked in found]


def probes(n: int = 50) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([unit(rng) for _ in range(n)])


def test_shards_find_what_one_search_of_all_finds(divided: Gallery) -> None:
    found, expected = divided.ranked(probes(), 2), whole(divided, probes(), 2)
    assert found.is_whole
    assert names(found.matches) == names(expected)
    np.testing.assert_allclose(
        [[match.similarity for match in ranked] for ranked in found.matches],
        [[match.similarity for match in ranked] for ranked in expected],
        atol=1e-6,
    )
    assert len(divided) == 80
    assert divided.index_kind == "shards"
    assert divided.tidy() is False
    assert divided.check_recent() == (0, 0)


def test_rows_without_a_direction_find_nobody(divided: Gallery) -> None:
    rows = np.stack([np.zeros(SIZE, np.float32), probes(1)[0]])
    found = divided.ranked(rows, 1)
    assert [len(ranked) for ranked in found.matches] == [0, 1]
    assert divided.ranked(rows[:1], 1).is_whole
    assert divided.best(np.empty((0, SIZE), np.float32)) == []


def test_the_threshold_grows_with_all_people(divided: Gallery, place: Path) -> None:
    before = divided.threshold_for(0.4)
    divide(divided.facts, 0)
    with Gallery.open(place, model_id=MODEL, embedding_size=SIZE) as one:
        assert one.threshold_for(0.4) == before > 0.4


def test_every_change_is_searched_when_it_is_made(divided: Gallery) -> None:
    row = probes(60)[59]
    for number in range(6):  # whatever the shard
        name = f"new {number}"
        identity, _ = divided.photos.add(name, [NewPhoto(row, None, f"{900 + number:064x}", 0.5)])
        assert names(divided.best(row[None])) == [[name]]
        divided.people.rename(identity.identity_id, f"{name}, renamed")
        assert names(divided.best(row[None])) == [[f"{name}, renamed"]]
        divided.people.merge(identity.identity_id, "p7")
        assert names(divided.best(row[None])) == [["p7"]]
        moved = [
            each.photo_id
            for each in divided.photos.of(divided.people.find("p7").identity_id)
            if each.source_sha256 == f"{900 + number:064x}"
        ]
        apart = divided.photos.split(divided.people.find("p7").identity_id, moved, "apart")
        assert names(divided.best(row[None])) == [["apart"]]
        divided.people.remove(apart.identity_id)
        assert divided.best(row[None])[0][0].similarity < 0.99
        assert names(divided.best(row[None], 2)) == names(whole(divided, row[None], 2))
    assert {each.name for each in divided._searcher.identities()} == {f"p{n}" for n in range(40)}


def test_a_change_by_another_process_is_searched_after_refresh(
    divided: Gallery, place: Path
) -> None:
    row, before = probes(61)[60], divided.state
    with Gallery.open(place, model_id=MODEL, embedding_size=SIZE) as other:
        other.photos.add("elsewhere", [NewPhoto(row, None, "f" * 64, 0.5)])
    assert divided.refresh()
    assert divided.state != before
    assert names(divided.best(row[None])) == [["elsewhere"]]


def test_a_shard_that_ends_is_said_and_others_are_searched(
    divided: Gallery, shards: list[Shard], place: Path
) -> None:
    before = divided.state
    stop(shards[1])
    until_gone(divided, 1)
    assert divided.unsearched() == (
        "1 of 3 shards (number 2) do not answer: the people in them are not searched, all others "
        "are"
    )
    assert divided.state != before
    found = divided.ranked(probes(), 2)
    assert not found.is_whole
    # Those of the other shards, as they are among these alone; none of the people who are away.
    expected = [
        [match for match in ranked if int(match.identity.name[1:]) % N != 0][:2]
        for ranked in whole(divided, probes(), 40)
    ]
    assert names(found.matches) == names(expected)
    again = Shard(place, Share(1, N), "127.0.0.1")
    again.start()
    until_whole(divided)
    assert divided.ranked(probes(), 2).is_whole
    assert divided.state == before
    again.stop()


def stop(shard: Shard) -> None:
    """End a shard as the end of its process does, with its connections."""
    shard.stop()
    shard._searcher = None


def test_a_shard_that_never_answers_is_not_waited_for(
    divided: Gallery, shards: list[Shard]
) -> None:
    stop(shards[0])
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        announce(divided.facts, ShardAddress(0, N, "127.0.0.1", frozen.getsockname()[1], "key"))
        divided.refresh()
        assert not divided.ranked(probes(), 2).is_whole
        assert [each.is_there for each in divided.shards()] == [False, True, True]


def test_nobody_is_searched_before_the_shards_run(place: Path) -> None:
    with Gallery.open(place, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert gallery.unsearched() == (
            "none of the 3 shards answers, so nobody is searched: they run while the cluster "
            "does, see facewire cluster start"
        )
        found = gallery.ranked(probes(2), 2)
        assert (found.matches, found.is_whole) == ([[], []], False)


def test_a_shard_of_another_model_is_not_searched(divided: Gallery, shards: list[Shard]) -> None:
    assert shards[0]._searcher is not None
    shards[0]._searcher.model_id = "model-2"
    assert not divided.ranked(probes(), 2).is_whole


def test_a_shard_waits_for_the_first_person(tmp_path: Path) -> None:
    shard = Shard(tmp_path, Share(0, 1), "127.0.0.1")
    shard.start()
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        divide(gallery.facts, 1)
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        row = probes(1)
        gallery.photos.add("first", [NewPhoto(row[0], None, "a" * 64, 0.5)])
        until_whole(gallery)
        assert names(gallery.best(row)) == [["first"]]
    shard.stop()


def test_a_copy_of_the_gallery_has_no_shards(divided: Gallery, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copy_gallery(Path(divided.store.place), target)
    with Gallery.open(target, model_id=MODEL, embedding_size=SIZE) as one:
        assert one.shards() == ()
        assert one.unsearched() == ""
        assert not [key for key in Facts(one.store).all() if key.startswith("shard")]
        assert names(one.best(probes(), 2)) == names(divided.best(probes(), 2))


def test_idle_connections_are_used_again(divided: Gallery) -> None:
    for _ in range(20):
        divided.best(probes(1))
    held = [len(links) for links in divided._searcher._idle.values()]
    assert held == [1, 1, 1]
    divided.close()
    with contextlib.suppress(Exception):
        divided.close()
