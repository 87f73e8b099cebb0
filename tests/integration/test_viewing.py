"""Viewers behind bad links, viewers that draw by themselves, and such that vanish."""

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from aiortc import RTCPeerConnection

from stream.video import link_quality as link
from stream.video.rendition import Feed
from stream.webrtc import viewer as viewing
from tests.viewers import SIZE, VIEWERS, Show, Viewer, open_peers, until, watching

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

SMALL_SIZE = (SIZE[0] // 2, SIZE[1] // 2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def show() -> Iterator[Show]:
    with Show() as show:
        yield show


@pytest.fixture(autouse=True)
async def _close_viewers() -> AsyncIterator[None]:
    yield
    while VIEWERS:
        await VIEWERS.pop().close()


class BadLink:
    """Drops a fraction of the RTP packets that a peer of the service sends; RTCP passes.

    Attributes:
        lost: the fraction, in [0, 1].
        times: RTP timestamps of all, in order.
    """

    def __init__(self, connection: RTCPeerConnection) -> None:
        self.lost = 0.0
        self.times: list[int] = []
        self._transport = connection.getSenders()[0].transport
        self._send = self._transport._send_rtp
        self._transport._send_rtp = self._lossy
        self._random = random.Random(0)

    async def _lossy(self, data: bytes) -> None:
        # RTCP shares the socket, RFC 5761 section 4.
        is_rtcp = 192 <= data[1] <= 223
        if not is_rtcp:
            self.times.append(int.from_bytes(data[4:8], "big"))
        if is_rtcp or self._random.random() >= self.lost:
            await self._send(data)


async def test_a_bad_link_gets_the_small_rendition_and_the_full_one_when_it_is_good_again(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "FIRST_HOLD_S", 1.0)
    peers = open_peers()
    async with watching(peers, show) as good, watching(peers, show) as bad:
        bad_link = BadLink([*peers._peers.values()][1].connection)
        await until(lambda: good.seen and bad.seen)
        assert show.hub.feeds() == (Feed(),)
        bad_link.lost = 0.5
        await until(lambda: Feed(small=True) in show.hub.feeds())
        # The small rendition decodes once retransmission can repair the link's losses.
        bad_link.lost = 0.05
        await until(lambda: SMALL_SIZE in bad.sizes)
        bad_link.lost = 0.0
        await until(lambda: show.hub.feeds() == (Feed(),))
        bad.sizes.clear()
        await until(lambda: SIZE in bad.sizes)
    assert good.sizes == {SIZE}, "one bad link is nobody else's trouble"
    # What one saw went through the other's changes without a gap.
    numbers = [number for number, _ in good.seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_who_asks_for_the_small_rendition_stays_with_it(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "FIRST_HOLD_S", 0.0)
    peers = open_peers()
    async with watching(peers, show, small=True) as viewer, watching(peers, show) as full:
        await until(lambda: len(viewer.seen) >= 100 and full.seen)  # reports came meanwhile
        assert set(show.hub.feeds()) == {Feed(small=True), Feed()}
    assert (viewer.sizes, full.sizes) == ({SMALL_SIZE}, {SIZE})


async def test_raw_video_comes_with_the_faces_of_each_frame(show: Show) -> None:
    peers = open_peers()
    async with watching(peers, show, raw=True) as viewer, watching(peers, show):
        sent = BadLink(next(iter(peers._peers.values())).connection)
        await until(lambda: len(viewer.seen) >= 25 and len(viewer.faces) >= 25)
        assert set(show.hub.feeds()) == {Feed(raw=True), Feed()}
        faces = viewer.faces[-1]
    assert (faces["camera"], faces["width"], faces["height"]) == ("show", SIZE[1], SIZE[0])
    numbers = dict.fromkeys(number for number, _ in viewer.seen)
    assert {each["seq"] for each in viewer.faces[:20]} <= set(numbers)
    assert {each["rtp"] for each in viewer.faces} <= set(sent.times)
    # The order of the messages is that of the frames, though the channel does not promise it.
    assert [each["seq"] for each in viewer.faces] == sorted(each["seq"] for each in viewer.faces)


async def test_raw_video_without_a_channel_is_only_raw(show: Show) -> None:
    peers, viewer = open_peers(), Viewer()
    answer = await peers.watch(await viewer.offer(), show.hub, raw=True)
    await viewer.accept(answer.sdp)
    await until(lambda: len(viewer.seen) >= 5)
    assert show.hub.feeds() == (Feed(raw=True),)
    await peers.close_all()


async def test_one_that_vanishes_without_a_word_is_let_go_soon(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "SILENCE_S", 15.0)
    peers = open_peers()
    async with watching(peers, show) as stays, watching(peers, show) as vanishes:
        await until(lambda: stays.seen and vanishes.seen)

        async def nowhere(data: bytes) -> None:
            pass

        # Like a viewer without a network: none of its packets arrive, not even ICE's answers.
        vanishes.connection.getReceivers()[0].transport._send_rtp = nowhere
        await until(lambda: len(peers) == 1)
        n_before = len(stays.seen)
        await until(lambda: len(stays.seen) >= n_before + 50)
        assert len(peers) == 1 == show.hub.n_viewers
