import asyncio
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import av
import pytest

from stream.video.encoder import Codec, VideoPacket
from stream.video.packet_hub import (
    MAX_PENDING_DELIVERIES,
    MAX_QUEUED_PACKETS,
    MIN_KEYFRAME_GAP_S,
    HubClosed,
    KeyframeRequests,
    PacketHub,
    Subscription,
)
from stream.video.rendition import Feed

pytestmark = pytest.mark.anyio

FULL, SMALL, VP8 = Feed(), Feed(small=True), Feed(Codec.VP8)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> PacketHub:
    return PacketHub(clock)


def packet(number: int, *, key: bool = False) -> VideoPacket:
    made: Any = av.Packet(b"\0\0\0\1")
    made.pts = number
    made.is_keyframe = key
    return made


def packets(keys: str) -> list[VideoPacket]:
    """One packet a letter, numbered from 0; K is a keyframe."""
    return [packet(number, key=letter == "K") for number, letter in enumerate(keys)]


async def publish(hub: PacketHub, made: Sequence[VideoPacket]) -> None:
    for each in made:
        hub.publish({FULL: [each]})
    await asyncio.sleep(0)


async def join(hub: PacketHub, feed: Feed = FULL) -> Subscription:
    """Make a viewer that has begun to read, as a connected one has."""
    viewer = hub.subscribe(feed)
    waiting = asyncio.create_task(viewer.recv())
    await asyncio.sleep(0)
    waiting.cancel()
    return viewer


def queued(viewer: Subscription) -> list[int | None]:
    return [each.pts for each in viewer._packets]


@pytest.mark.parametrize(
    ("keys", "got"),
    [
        ("", []),
        ("P", []),
        ("K", [0]),
        ("PPP", []),
        ("PPKPP", [2, 3, 4]),
        ("KPPKP", [0, 1, 2, 3, 4]),
    ],
)
async def test_a_viewer_starts_at_a_keyframe(hub: PacketHub, keys: str, got: list[int]) -> None:
    viewer = await join(hub)
    await publish(hub, packets(keys))
    assert queued(viewer) == got
    assert viewer.dropped == 0


async def test_nothing_is_queued_and_nobody_counted_before_the_first_read(hub: PacketHub) -> None:
    viewer = hub.subscribe()
    await publish(hub, packets("K" + "P" * 100))
    assert (hub.n_viewers, queued(viewer), viewer.dropped) == (0, [], 0)
    assert not hub.wants_keyframe(FULL)
    assert hub.feeds() == ()


async def test_joining_asks_for_a_keyframe(hub: PacketHub) -> None:
    await join(hub)
    assert hub.n_viewers == 1
    assert hub.wants_keyframe(FULL)
    assert hub.wants_keyframe(FULL), "a question is not an answer"
    await publish(hub, packets("K"))
    assert not hub.wants_keyframe(FULL)


async def test_packets_come_in_order(hub: PacketHub) -> None:
    viewer = await join(hub)
    await publish(hub, packets("KPPP"))
    assert [(await viewer.recv()).pts for _ in range(4)] == [0, 1, 2, 3]


async def test_every_viewer_gets_the_same_packet(hub: PacketHub) -> None:
    viewers = [await join(hub) for _ in range(3)]
    made = packets("K")
    await publish(hub, made)
    assert all([(await viewer.recv()) is made[0] for viewer in viewers])


async def test_one_that_is_behind_goes_on_from_a_keyframe(hub: PacketHub) -> None:
    slow, fast = await join(hub), await join(hub)
    await publish(hub, packets("K" + "P" * (MAX_QUEUED_PACKETS - 1)))
    for _ in range(MAX_QUEUED_PACKETS):
        await fast.recv()
    assert len(queued(slow)) == MAX_QUEUED_PACKETS
    assert not hub.wants_keyframe(FULL)

    hub.publish({FULL: [packet(1000)]})
    await asyncio.sleep(0)
    assert queued(slow) == []
    assert slow.dropped == MAX_QUEUED_PACKETS + 1
    assert hub.dropped == slow.dropped
    assert queued(fast) == [1000]

    await publish(hub, [packet(1001), packet(1002, key=True), packet(1003)])
    assert queued(slow) == [1002, 1003]
    assert queued(fast) == [1000, 1001, 1002, 1003]


@pytest.mark.parametrize("reads", [[True] * 200, [False] * 200, [True, False, False] * 70])
async def test_queues_stay_bounded_and_decodable(
    hub: PacketHub, clock: Clock, reads: list[bool]
) -> None:
    viewer = await join(hub)
    got: list[VideoPacket] = []
    for number, does_read in enumerate(reads):
        clock.now += 0.04
        hub.publish({FULL: [packet(number, key=hub.wants_keyframe(FULL))]})
        await asyncio.sleep(0)
        assert len(queued(viewer)) <= MAX_QUEUED_PACKETS
        if does_read and queued(viewer):
            got.append(await viewer.recv())
    got += list(viewer._packets)
    for before, after in itertools.pairwise(got):
        assert after.pts == before.pts + 1 or after.is_keyframe  # type: ignore[operator]
    assert len(got) + viewer.dropped == len(reads)


async def test_codecs_are_kept_apart(hub: PacketHub) -> None:
    h264, vp8 = await join(hub), await join(hub, VP8)
    assert hub.feeds() == (FULL, VP8)
    hub.publish({VP8: [packet(1, key=True)]})
    await asyncio.sleep(0)
    assert (queued(h264), queued(vp8)) == ([], [1])
    assert hub.wants_keyframe(FULL)
    assert not hub.wants_keyframe(VP8)


async def show(hub: PacketHub, number: int, *, key: bool) -> None:
    """Publish one frame in both renditions."""
    hub.publish({FULL: [packet(number)], SMALL: [packet(number, key=key)]})
    await asyncio.sleep(0)


async def test_a_change_of_rendition_waits_for_its_keyframe_and_repeats_no_picture(
    hub: PacketHub, clock: Clock
) -> None:
    viewer, other = await join(hub), await join(hub)
    await publish(hub, packets("K"))
    viewer.change(small=True)
    viewer.change(small=True)
    assert hub.feeds() == (FULL, SMALL)
    assert hub.wants_keyframe(SMALL)
    for number in range(1, 5):
        await show(hub, number, key=number == 3)
        clock.now += 0.04
    assert queued(viewer) == queued(other) == [0, 1, 2, 3, 4]
    assert [each.is_keyframe for each in viewer._packets] == [True, False, False, True, False]
    assert [each.is_keyframe for each in other._packets] == [True, *[False] * 4]
    assert viewer.feed == SMALL
    # Back again: both may be watched, then the small one has no viewer.
    viewer.change(small=False)
    assert set(hub.feeds()) == {FULL, SMALL}
    clock.now += 1
    assert hub.wants_keyframe(FULL)
    hub.publish({FULL: [packet(5, key=True)], SMALL: [packet(5)]})
    await asyncio.sleep(0)
    assert hub.feeds() == (FULL,)
    assert queued(viewer)[-1] == 5
    assert hub.n_viewers == 2


async def test_a_change_may_be_taken_back_before_it_happened(hub: PacketHub) -> None:
    viewer = await join(hub)
    await publish(hub, packets("K"))
    viewer.change(small=True)
    viewer.change(small=False)
    await show(hub, 1, key=True)
    assert (viewer.feed, hub.feeds()) == (FULL, (FULL,))


async def test_a_feed_gets_the_bits_that_its_viewers_links_carry(hub: PacketHub) -> None:
    assert hub.part(FULL) == 1.0
    viewers = [await join(hub) for _ in range(3)]
    for viewer, share in zip(viewers, (0.2, 0.6, 0.9), strict=True):
        viewer.share = share
    assert hub.part(FULL) == 0.6
    assert hub.part(SMALL) == 1.0


async def test_a_stuck_event_loop_costs_packets_and_not_memory(hub: PacketHub) -> None:
    viewer = await join(hub)
    for number in range(1000):
        hub.publish({FULL: [packet(number, key=number == 0)]})
    assert hub.dropped == 1000 - MAX_PENDING_DELIVERIES
    assert hub.wants_keyframe(FULL) or hub._requests[FULL].is_wanted
    await asyncio.sleep(0)
    # What comes now refers to what was lost, until a keyframe.
    before = len(queued(viewer))
    await publish(hub, [packet(1000), packet(1001, key=True), packet(1002)])
    numbers = queued(viewer)
    assert 1000 not in numbers
    assert numbers[-2:] == [1001, 1002] or before == 0


async def test_leaving_frees_the_place(hub: PacketHub) -> None:
    viewer = await join(hub)
    viewer.dropped = 3
    viewer.close()
    viewer.close()
    assert hub.n_viewers == 0
    assert hub.dropped == 3
    with pytest.raises(HubClosed):
        await viewer.recv()
    assert hub.n_viewers == 0


async def test_closing_wakes_every_viewer(hub: PacketHub) -> None:
    viewers = [hub.subscribe() for _ in range(3)]
    waiting = [asyncio.create_task(viewer.recv()) for viewer in viewers]
    await asyncio.sleep(0)
    hub.close()
    hub.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, HubClosed) for result in results)
    hub.publish({FULL: packets("K")})
    with pytest.raises(HubClosed):
        hub.subscribe()


async def test_publish_may_be_called_from_a_thread(hub: PacketHub) -> None:
    viewer = await join(hub)
    thread = threading.Thread(target=hub.publish, args=({FULL: packets("K")},))
    thread.start()
    assert (await asyncio.wait_for(viewer.recv(), 5)).pts == 0
    thread.join()


def test_publish_without_any_viewer_does_nothing(hub: PacketHub) -> None:
    hub.publish({FULL: packets("KPP")})
    hub.publish({FULL: []})
    assert hub.dropped == 0


def test_a_loop_that_ended_first_is_no_fault() -> None:
    hub = PacketHub(lambda: 0.0)

    async def watch() -> None:
        hub.subscribe()

    asyncio.run(watch())
    hub.publish({FULL: packets("K")})
    hub.publish({FULL: packets("K")})


@pytest.mark.parametrize(
    ("requests", "made"),
    [
        ([], []),
        ([0.0], [0.0]),
        # Together or too soon: one keyframe, later, but never none.
        ([0.0, 0.01, 0.02], [0.0, 0.3]),
        ([0.0, 0.1, 0.2, 0.29], [0.0, 0.3]),
        ([0.0, 0.3, 0.6], [0.0, 0.3, 0.6]),
        ([0.0, 0.31, 0.35], [0.0, 0.31, 0.61]),
    ],
)
def test_requests_are_spaced_out_and_never_forgotten(
    requests: list[float], made: list[float]
) -> None:
    keyframes = KeyframeRequests()
    got = []
    for hundredth in range(200):
        now = hundredth / 100
        if now in requests:
            keyframes.request()
        if keyframes.is_due(now):
            keyframes.made(now)
            got.append(now)
    assert got == pytest.approx(made)
    assert all(b - a >= MIN_KEYFRAME_GAP_S - 1e-9 for a, b in itertools.pairwise(got))


def test_a_regular_keyframe_answers_a_request() -> None:
    keyframes = KeyframeRequests()
    keyframes.made(0.0)
    keyframes.request()
    assert not keyframes.is_due(0.1)
    keyframes.made(0.2)
    assert not keyframes.is_due(10.0)
