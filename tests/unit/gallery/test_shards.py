"""Shares of the people, and the answers of shards put together."""

import socket
import threading

import numpy as np
import pytest

from gallery import Match, shard_link
from gallery.identities import Identity
from gallery.shard_link import LinkError, Request, ShardAddress, ShardLink
from gallery.shards import merged
from gallery.templates import ALL, Share

KEY = "the key"


def test_everybody_is_in_one_share():
    persons = np.arange(1, 1000)
    held = np.stack([Share(number, 7).holds(persons) for number in range(7)])
    assert (held.sum(axis=0) == 1).all()
    assert held.sum(axis=1).min() >= 999 // 7
    assert ALL.holds(persons).all()


def test_the_best_of_all_shards_are_those_of_one_gallery():
    one = [[3, 0.9, "c", "Cy"], [1, 0.5, "a", "Ada"]]
    other = [[2, 0.9, "b", "Bo"], [4, 0.7, "d", "Di"]]
    bo, cy = Match(Identity("b", "Bo"), 0.9), Match(Identity("c", "Cy"), 0.9)
    assert merged([one, other], 2) == [bo, cy]  # equal ones in order of enrollment
    assert merged([one, other], 3) == [bo, cy, Match(Identity("d", "Di"), 0.7)]
    assert merged([one, []], 1) == [cy]
    assert merged([[], []], 2) == []


def test_the_best_of_random_shards_are_those_of_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows: list[tuple[int, float, str, str]] = [
            (person, float(round(rng.uniform(), 1)), str(person), str(person))
            for person in range(20)
        ]
        whole = merged([rows], 2)
        parts = [[row for row in rows if row[0] % 3 == number] for number in range(3)]
        best = [sorted(part, key=lambda row: (-row[1], row[0]))[:2] for part in parts]
        assert merged(best, 2) == whole


def test_a_request_comes_back_as_it_was():
    probes = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    again = Request.parsed(Request("model\n", 2, 7, probes).packed())
    assert (again.model_id, again.k, again.revision) == ("model\n", 2, 7)
    np.testing.assert_array_equal(again.probes, probes)


@pytest.mark.parametrize("data", [b"", b"[]", b'["m", 1, 0, 2, 8]\nshort', b"\xff\n"])
def test_other_bytes_are_no_request(data: bytes):
    with pytest.raises(LinkError):
        Request.parsed(data)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"host": "h"}', "7"])
def test_other_text_is_no_address(text: str):
    assert ShardAddress.parsed(0, text) is None


def test_an_address_comes_back_as_it_was():
    address = ShardAddress(3, 4, "192.0.2.2", 4711, KEY)
    assert ShardAddress.parsed(3, address.text()) == address


def greeted(ours: str, theirs: str) -> tuple[object, object]:
    """Return what a shard and somebody who asks it raise, given their keys."""
    raised: list[object] = [None]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            asker, _ = server.accept()
            with asker:
                try:
                    shard_link.welcome(asker, ours)
                    shard_link.receive(asker)
                    shard_link.answer(asker, {"found": []})
                    shard_link.receive(asker)
                except (OSError, LinkError) as error:
                    raised[0] = error

        thread = threading.Thread(target=greet)
        thread.start()
        asked = None
        try:
            link = ShardLink(ShardAddress(0, 1, "127.0.0.1", server.getsockname()[1], theirs), 60.0)
            link.send(Request("m", 1, 0, np.zeros((1, 2), np.float32)).packed(), 60.0)
            while asked is None:
                asked = link.received()
            link.close()
        except LinkError as error:
            asked = error
        thread.join()
    return raised[0], asked


def test_who_knows_the_key_is_answered():
    _, answer = greeted(KEY, KEY)
    assert answer == {"found": []}


def test_who_does_not_know_the_key_is_not_answered():
    raised, asked = greeted(KEY, "another")
    assert str(raised) == "somebody asks without the key"
    assert isinstance(asked, LinkError)


def test_a_shard_that_does_not_know_the_key_is_not_asked():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pretend() -> None:
            asker, _ = server.accept()
            with asker:
                asker.sendall(bytes(32))
                shard_link.exactly(asker, 64)
                asker.sendall(bytes(32))

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(LinkError, match="another program"):
            ShardLink(ShardAddress(0, 1, "127.0.0.1", server.getsockname()[1], KEY), 60.0)
        thread.join()
