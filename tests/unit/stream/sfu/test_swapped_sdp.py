"""An offer of Janus turned into the answer for a player, and the other way around."""

import pytest

from stream.errors import SignalingError
from stream.sfu.swapped_sdp import find_video, swap

PRINT = "AA:" * 31 + "AA"
CHROMIUM = f"""v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=recvonly
a=rtpmap:111 opus/48000/2
m=video 9 UDP/TLS/RTP/SAVPF 96 103 109
c=IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 0d1d.local 50000 typ host
a=candidate:2 1 udp 1677729535 192.0.2.9 50001 typ srflx raddr 0.0.0.0 rport 0
a=ice-ufrag:play
a=ice-pwd:players-password-of-22c
a=fingerprint:sha-256 {PRINT}
a=setup:actpass
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtpmap:103 H264/90000
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f
a=rtpmap:109 H264/90000
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
"""
JANUS = f"""v=0
o=- 3 3 IN IP4 192.0.2.2
s=Mountpoint 5
t=0 0
a=group:BUNDLE v
a=fingerprint:sha-256 {PRINT.replace("A", "B")}
m=video 9 UDP/TLS/RTP/SAVPF 109 110
a=sendonly
a=mid:v
a=ice-ufrag:jans
a=ice-pwd:password-of-janus-22ch
a=setup:actpass
a=rtpmap:109 H264/90000
a=ssrc:7 cname:janus
a=ssrc:8 cname:janus
a=candidate:1 1 udp 2015363327 192.0.2.2 21947 typ host
"""


def test_the_video_that_janus_can_send_is_found():
    video = find_video(CHROMIUM)
    assert video is not None
    assert (video.index, video.payload_type) == (1, 109)
    assert video.fmtp.endswith("profile-level-id=42e01f")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("packetization-mode=1", "packetization-mode=0"),
        ("42e01f", "640c1f"),
        ("m=video 9 ", "m=video 0 "),
        ("a=mid:1\na=recvonly", "a=mid:1\na=sendonly"),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"),
        ("H264", "H265"),
    ],
)
def test_other_offers_are_left_to_facewire(old: str, new: str):
    assert old in CHROMIUM
    assert find_video(CHROMIUM.replace(old, new)) is None


def test_each_side_gets_what_the_other_has_offered():
    video = find_video(CHROMIUM)
    assert video is not None
    for_player, for_janus = swap(CHROMIUM, JANUS, video)
    player, janus = for_player.splitlines(), for_janus.splitlines()
    assert [line for line in player if line.startswith("m=")] == [
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "m=video 9 UDP/TLS/RTP/SAVPF 109",
    ]
    assert "a=group:BUNDLE 1" in player
    assert "a=mid:1" in player
    assert {"a=ice-ufrag:jans", "a=setup:passive", "a=sendonly", "a=ssrc:7 cname:janus"} <= {
        *player
    }
    assert f"a=fingerprint:sha-256 {PRINT.replace('A', 'B')}" in player
    assert "a=ssrc:8 cname:janus" not in player
    assert any("21947" in line for line in player)
    assert "a=group:BUNDLE v" in janus
    assert {"a=ice-ufrag:play", "a=setup:active", "a=recvonly", "a=mid:v"} <= {*janus}
    assert [line for line in janus if line.startswith("a=candidate")] == [
        "a=candidate:2 1 udp 1677729535 192.0.2.9 50001 typ srflx raddr 0.0.0.0 rport 0"
    ]
    assert all(line.endswith("\r\n") for line in for_player.splitlines(keepends=True))


def test_a_player_that_waits_for_dtls_is_called():
    offer = CHROMIUM.replace("a=setup:actpass", "a=setup:passive")
    video = find_video(offer)
    assert video is not None
    for_player, for_janus = swap(offer, JANUS, video)
    assert "a=setup:active" in for_player
    assert "a=setup:passive" in for_janus


@pytest.mark.parametrize("missing", ["a=ice-pwd:", "a=ice-ufrag:", "a=fingerprint:"])
def test_an_offer_without_what_a_connection_needs_is_refused(missing: str):
    video = find_video(CHROMIUM)
    assert video is not None
    offer = "\n".join(line for line in CHROMIUM.splitlines() if not line.startswith(missing))
    with pytest.raises(SignalingError, match="no ICE user, password, or SHA-256 fingerprint"):
        swap(offer, JANUS, video)


def test_an_sfu_without_video_is_refused():
    video = find_video(CHROMIUM)
    assert video is not None
    with pytest.raises(SignalingError, match="offers no video"):
        swap(CHROMIUM, JANUS.replace("m=video", "m=audio"), video)
