import asyncio
from typing import Any, cast

import av
import pytest

from stream.video.encoder import VideoPacket
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed
from stream.workers.process import MAX_PICTURES, Demand, RelayHub
from stream.workers.wire import Message, Outbox

pytestmark = pytest.mark.anyio

FULL = Feed()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def packet(*, key: bool) -> VideoPacket:
    made: Any = av.Packet(b"\0\0\0\1")
    made.pts, made.is_keyframe = 0, key
    return cast(VideoPacket, made)


async def test_a_worker_is_told_of_viewers_and_of_keyframes_they_need() -> None:
    told: list[Demand] = []
    hub = PacketHub(lambda: 0.0)
    hub.changed = lambda: told.append(Demand.of(hub))
    viewer = hub.subscribe()
    assert Demand.of(hub) == Demand()  # it does not watch yet
    waiting = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    assert told[-1] == Demand(1, ((FULL, 1.0),), frozenset({FULL}))
    hub.publish({FULL: [packet(key=True)]})
    assert (await waiting).is_keyframe
    assert Demand.of(hub).keyframes == frozenset()
    viewer.close()
    assert told[-1] == Demand()


def test_a_worker_sends_what_is_watched_and_asks_for_a_keyframe_after_a_gap() -> None:
    now = [0.0]
    outbox = Outbox(MAX_PICTURES)
    hub = RelayHub("door", outbox, lambda: now[0])
    assert hub.feeds() == ()
    hub.ask(Demand(2, ((FULL, 0.5),), frozenset({FULL})))
    assert (hub.n_viewers, hub.feeds(), hub.part(FULL)) == (2, (FULL,), 0.5)
    assert hub.wants_keyframe(FULL)
    hub.publish({FULL: [packet(key=True)]})
    assert not hub.wants_keyframe(FULL)
    while outbox.put_picture(Message("picture")):
        pass
    hub.publish({FULL: [packet(key=False)]})  # no room: what follows cannot be decoded
    now[0] += 1.0
    assert hub.wants_keyframe(FULL)
