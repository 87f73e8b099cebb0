import asyncio

import pytest
from aiortc import RTCPeerConnection, RTCRtpSender

from stream.errors import SignalingError
from stream.video.encoder import Codec
from stream.video.packet_hub import PacketHub
from stream.video.rendition import Feed
from stream.webrtc.peers import _Peer
from stream.webrtc.viewer import HubTrack
from tests.viewers import open_peers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_private_name_that_asks_for_keyframes_is_still_there() -> None:
    assert callable(RTCRtpSender._send_keyframe)


async def test_the_private_name_that_tells_the_rtp_timestamp_is_still_there() -> None:
    sender = RTCPeerConnection().addTransceiver("video").sender
    assert vars(sender)["_RTCRtpSender__rtp_timestamp"] == 0


@pytest.mark.parametrize("sdp", ["", "v=0", "nonsense"])
async def test_bad_offers_leave_nothing_behind(sdp: str) -> None:
    peers, hub = open_peers(), PacketHub(lambda: 0.0)
    with pytest.raises(SignalingError):
        await peers.watch(sdp, hub)
    with pytest.raises(SignalingError):
        await peers.receive(sdp, lambda frame: None, hub)
    assert len(peers) == 0
    assert hub.n_viewers == 0


async def test_closing_a_stranger_does_nothing() -> None:
    peers = open_peers()
    await peers.close("nobody")
    await peers.close_all()


async def test_a_stopped_track_leaves_the_hub() -> None:
    hub = PacketHub(lambda: 0.0)
    track = HubTrack(hub.subscribe(Feed(Codec.VP8)))
    track.stop()
    track.stop()
    assert track.readyState == "ended"
    assert not hub._subscriptions


async def test_a_connection_that_closes_slowly_is_closed_though_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = RTCPeerConnection()
    transceiver = connection.addTransceiver("video")
    is_free = asyncio.Event()
    monkeypatch.setattr(transceiver, "stop", is_free.wait)
    by_itself = asyncio.create_task(connection.close())
    ends = asyncio.create_task(_Peer(connection, lambda: None).end())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ends.cancel()
    await asyncio.wait([ends])
    is_free.set()
    await by_itself
    assert connection.connectionState == "closed"
