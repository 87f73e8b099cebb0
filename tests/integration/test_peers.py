"""Two aiortc peers over this machine's own network, the real hub and encoder between them."""

import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import av
import numpy as np
import pytest
from aiortc import VideoStreamTrack

from stream.errors import SignalingError
from stream.ice import IceServers
from stream.supervisor import Supervisor
from stream.video.encoder import Codec
from stream.video.rendition import Feed
from stream.webrtc.peers import Peers
from tests.viewers import VIEWERS, Show, Viewer, number_of, numbered, open_peers, until, watching

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def show() -> Iterator[Show]:
    with Show() as show:
        yield show


@pytest.fixture(autouse=True)
async def _close_viewers() -> AsyncIterator[None]:
    """Leave no socket behind a test that failed."""
    yield
    while VIEWERS:
        await VIEWERS.pop().close()


def longest_run(viewer: Viewer, since: int = 0) -> int:
    """Return the longest run of frames without a missing one; a busy machine drops some."""
    longest = run = 0
    last = -2
    for number, _ in viewer.seen[since:]:
        run = run + 1 if number == last + 1 else 1
        longest, last = max(longest, run), number
    return longest


async def test_numbers_survive() -> None:
    assert [number_of(numbered(n)) for n in (0, 1, 2048, 4095)] == [0, 1, 2048, 4095]


@pytest.mark.parametrize("codec", [None, Codec.H264, Codec.VP8])
async def test_pictures_arrive_whole_and_in_order(show: Show, codec: Codec | None) -> None:
    peers = open_peers()
    async with watching(peers, show, codec) as viewer:
        await until(lambda: longest_run(viewer) >= 50)
        assert show.hub.feeds() == (Feed(codec or Codec.H264),)
    numbers = [number for number, _ in viewer.seen]
    assert all(first < second for first, second in itertools.pairwise(numbers))


async def test_joiners_see_a_picture(show: Show) -> None:
    peers = open_peers()
    async with AsyncExitStack() as stack:
        for n in range(1, 4):
            viewer = await stack.enter_async_context(watching(peers, show))
            await until(partial(getattr, viewer, "seen"))
            assert show.hub.n_viewers == n == len(peers)
    assert show.hub.n_viewers == 0 == len(peers)


async def test_a_viewer_that_lost_something_gets_a_keyframe(show: Show) -> None:
    peers = open_peers()
    async with watching(peers, show) as viewer:
        await until(lambda: len(viewer.seen) >= 10)
        before = show.keyframes
        # What a browser does at a loss: RTCP PLI, RFC 4585 section 6.3.1.
        receiver = viewer.connection.getTransceivers()[0].receiver
        (ssrc,) = (source.source for source in receiver.getSynchronizationSources())
        await receiver._send_rtcp_pli(ssrc)
        await until(lambda: show.keyframes > before)


async def test_the_size_may_change_while_somebody_watches(show: Show) -> None:
    peers = open_peers()
    async with watching(peers, show) as viewer:
        await until(lambda: len(viewer.seen) >= 5)
        show.size = (480, 848)
        await until(lambda: (480, 848) in viewer.sizes)


async def test_a_viewer_that_leaves_is_noticed_at_once(show: Show) -> None:
    peers, left = open_peers(), []
    viewer = Viewer()
    answer = await peers.watch(await viewer.offer(), show.hub, lambda: left.append(1))
    await viewer.accept(answer.sdp)
    await until(lambda: viewer.seen)
    await viewer.close()
    await until(lambda: left)
    assert (len(peers), show.hub.n_viewers) == (0, 0)
    await peers.close(answer.peer_id)
    await peers.close(answer.peer_id)
    assert left == [1]


async def test_a_removed_camera_ends_its_viewers(show: Show) -> None:
    peers = open_peers()
    async with watching(peers, show) as viewer:
        await until(lambda: viewer.seen)
        show.hub.close()
        await until(lambda: len(peers) == 0)
        late = Viewer()
        with pytest.raises(SignalingError, match="removed"):
            await peers.watch(await late.offer(), show.hub)
        await late.close()


async def test_one_that_never_connects_is_given_up(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.webrtc.peers.CONNECT_TIMEOUT_S", 0.2)
    peers, viewer = open_peers(), Viewer()
    await peers.watch(await viewer.offer(), show.hub)
    assert len(peers) == 1
    assert show.hub.n_viewers == 0
    await until(lambda: len(peers) == 0)
    await until(lambda: not show.hub._subscriptions)
    await viewer.close()


async def test_closing_all_is_complete(show: Show) -> None:
    peers = open_peers()
    viewers = [Viewer() for _ in range(4)]
    for viewer in viewers[:3]:
        answer = await peers.watch(await viewer.offer(), show.hub)
        await viewer.accept(answer.sdp)
    # The fourth is in the middle of connecting.
    await peers.watch(await viewers[3].offer(), show.hub)
    await until(lambda: all(viewer.seen for viewer in viewers[:3]))
    await peers.close_all()
    assert len(peers) == 0
    assert show.hub.n_viewers == 0
    for viewer in viewers:
        await viewer.close()


async def test_there_is_a_bound(show: Show) -> None:
    peers, viewers = open_peers(max_peers=1), [Viewer(), Viewer()]
    await peers.watch(await viewers[0].offer(), show.hub)
    with pytest.raises(SignalingError, match="too many"):
        await peers.watch(await viewers[1].offer(), show.hub)
    await peers.close_all()
    for viewer in viewers:
        await viewer.close()


async def test_damaged_offers_are_refused_or_answered_and_nothing_is_left(show: Show) -> None:
    peers, viewer = open_peers(), Viewer()
    whole, rng = await viewer.offer(), random.Random(0)
    reasons: list[str] = []
    for _ in range(60):
        text = list(whole)
        for _ in range(rng.randint(1, 8)):
            where = rng.randrange(3, len(text))
            text[where : where + rng.randint(0, 9)] = rng.choice(["", " ", "x", "9"])
        try:
            await peers.watch("".join(text), show.hub)
        except SignalingError as error:
            reasons.append(str(error))
    assert reasons
    assert not any("\n" in reason for reason in reasons)
    await peers.close_all()
    assert not show.hub._subscriptions
    await viewer.close()


async def test_a_machine_with_loopback_alone_says_so(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers, viewer = open_peers(), Viewer()
    offer = await viewer.offer()
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: [])
    with pytest.raises(SignalingError, match="no network address for WebRTC"):
        await peers.watch(offer, show.hub)
    assert len(peers) == 0
    await viewer.close()


async def test_wrong_directions_are_named(show: Show) -> None:
    peers, viewer, sender = open_peers(), Viewer(), Viewer(camera=BrowserCamera())
    sender.connection.getTransceivers()[0].direction = "sendonly"
    with pytest.raises(SignalingError, match="recvonly"):
        await peers.watch(await sender.offer(), show.hub)
    with pytest.raises(SignalingError, match="sendonly or sendrecv"):
        await peers.receive(await viewer.offer(), lambda frame: None, None)
    await viewer.close()
    await sender.close()


class BrowserCamera(VideoStreamTrack):
    """A track like a browser's: numbered frames at 30 per second."""

    def __init__(self) -> None:
        super().__init__()
        self.n_sent = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(numbered(self.n_sent), format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        self.n_sent += 1
        return frame


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
async def test_a_browsers_camera_comes_in_and_the_hub_goes_out(show: Show, codec: Codec) -> None:
    peers, left = open_peers(), []
    got: list[av.VideoFrame] = []
    browser = Viewer(codec=codec, camera=BrowserCamera())
    answer = await peers.receive(
        await browser.offer(), got.append, show.hub, lambda: left.append(1)
    )
    assert "x-google-start-bitrate=3000" in answer.sdp
    await browser.accept(answer.sdp)
    await until(lambda: len(got) >= 20 and len(browser.seen) >= 20)
    numbers = [number_of(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in got]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    await browser.close()
    await until(lambda: left == [1])
    assert show.hub.n_viewers == 0


async def test_a_browsers_camera_without_anything_back(show: Show) -> None:
    peers = open_peers()
    got: list[av.VideoFrame] = []
    browser = Viewer(camera=BrowserCamera())
    answer = await peers.receive(await browser.offer(), got.append, None)
    await browser.accept(answer.sdp)
    await until(lambda: len(got) >= 5)
    assert browser.seen == []
    await peers.close(answer.peer_id)
    await browser.close()


async def test_its_queue_does_not_grow(show: Show) -> None:
    peers, viewer = open_peers(), Viewer(camera=BrowserCamera())
    got: list[int] = []

    def on_frame(frame: av.VideoFrame) -> None:
        (peer,) = peers._peers.values()
        track: Any = peer.connection.getReceivers()[0].track
        got.append(track._queue.qsize())

    answer = await peers.receive(await viewer.offer(), on_frame, None)
    await viewer.accept(answer.sdp)
    await until(lambda: len(got) >= 60)
    # Not one was left lying for long, however busy the machine.
    assert got[-1] <= 2
    assert max(got) <= 10
    await peers.close_all()
    await viewer.close()


async def test_sound_is_declined(show: Show) -> None:
    peers, viewer = open_peers(), Viewer()
    viewer.connection.addTransceiver("audio", "sendrecv")
    viewer.connection.createDataChannel("extra")
    answer = await peers.watch(await viewer.offer(), show.hub)
    assert "a=inactive" in answer.sdp.split("m=audio")[1]
    await viewer.accept(answer.sdp)
    await until(lambda: viewer.seen)
    await peers.close_all()
    await viewer.close()


LOSSES = {
    "one in twenty": [number % 20 == 7 for number in range(20)],
    "a burst": [30 <= number < 60 for number in range(400)],
    # 128 packets are kept for retransmission; beyond that aiortc as a viewer waits long to ask.
    "nearly all that is kept": [20 <= number < 140 for number in range(2000)],
    "the first keyframe": [number < 12 for number in range(2000)],
}


@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES.keys())
async def test_a_viewer_recovers_from_losses(show: Show, losses: list[bool]) -> None:
    peers = open_peers()
    async with watching(peers, show) as viewer:
        (peer,) = peers._peers.values()
        transport = peer.connection.getSenders()[0].transport
        send, pattern, n_lost = transport._send_rtp, itertools.cycle(losses), 0

        async def lossy(data: bytes) -> None:
            nonlocal n_lost
            # RTCP shares the socket, RFC 5761 section 4.
            if not 192 <= data[1] <= 223 and next(pattern):
                n_lost += 1
                return
            await send(data)

        transport._send_rtp = lossy
        await until(lambda: n_lost >= sum(losses) and len(viewer.seen) >= 25)
        # From here on everything must be there again.
        transport._send_rtp = send
        n_before = len(viewer.seen)
        await until(lambda: longest_run(viewer, n_before) >= 25)


async def test_an_offer_that_says_no_direction_means_both(show: Show) -> None:
    peers, viewer = open_peers(), Viewer()
    offer = (await viewer.offer()).replace("a=recvonly\r\n", "")
    answer = await peers.watch(offer, show.hub)
    assert "a=sendonly" in answer.sdp
    await viewer.accept(answer.sdp)
    await until(lambda: viewer.seen)
    await peers.close_all()


async def test_names_that_cannot_be_resolved_do_not_hurt(
    monkeypatch: pytest.MonkeyPatch, show: Show
) -> None:
    async def no_multicast() -> object:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("aioice.mdns.create_mdns_protocol", no_multicast)
    supervisor = Supervisor(clock=time.monotonic)
    peers = Peers(IceServers((), wall_clock=time.time), supervisor=supervisor)
    viewer = Viewer()
    named = re.sub(r"( \d+ )\d+(\.\d+){3}( \d+ typ host)", r"\1a1-b2.local\3", await viewer.offer())
    assert ".local" in named
    answer = await peers.watch(named, show.hub)
    await viewer.accept(answer.sdp)
    await until(lambda: viewer.seen)
    await peers.close_all()
    assert supervisor.problems() == []
