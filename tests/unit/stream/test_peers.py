import pytest
from aiortc import RTCPeerConnection, RTCRtpSender

from stream.encoder import Codec
from stream.errors import ConfigError, SignalingError
from stream.hub import PacketHub
from stream.peers import parse_ice_server
from stream.renditions import Feed
from stream.viewing import HubTrack
from tests.viewers import open_peers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("url", "urls", "user", "password"),
    [
        ("stun:stun.example.org:3478", "stun:stun.example.org:3478", None, None),
        ("turn:turn.example.org", "turn:turn.example.org", None, None),
        ("turn:me:secret@turn.example.org:5", "turn:turn.example.org:5", "me", "secret"),
        ("turns:me:s%40:x@host?transport=tcp", "turns:host?transport=tcp", "me", "s@:x"),
    ],
)
def test_ice_servers_may_hold_credentials(
    url: str, urls: str, user: str | None, password: str | None
) -> None:
    server = parse_ice_server(url)
    assert (server.urls, server.username, server.credential) == (urls, user, password)


@pytest.mark.parametrize("url", ["", "http://host", "stun:", "turn:me:secret@", "turn:me:secret"])
def test_other_servers_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ConfigError, match="ICE server") as caught:
        open_peers(url)
    assert "secret@" not in str(caught.value)


def test_the_private_name_that_asks_for_keyframes_is_still_there() -> None:
    assert callable(RTCRtpSender._send_keyframe)


async def test_the_private_name_that_tells_the_rtp_timestamp_is_still_there() -> None:
    sender = RTCPeerConnection().addTransceiver("video").sender
    assert sender._RTCRtpSender__rtp_timestamp == 0


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
