import random
from contextlib import suppress

import pytest

from stream.errors import SignalingError
from stream.video.encoder import Codec
from stream.webrtc.sdp import (
    MAX_OFFER_BYTES,
    OfferedMedia,
    finish_answer,
    has_candidate,
    parse_offer,
    split_names,
    with_directions,
)

HEAD = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE {mids}
a=msid-semantic: WMS
"""
TRANSPORT = """c=IN IP4 0.0.0.0
a=ice-ufrag:8cqk
a=ice-pwd:eLQMawKYqfje3SlZMyiMHg7U
a=fingerprint:sha-256 0F:E5
a=setup:actpass
a=mid:{mid}
a=rtcp-mux
"""
VP8 = "a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack pli\n"
VP9 = "a=rtpmap:98 VP9/90000\na=fmtp:98 profile-id=0\n"
BASELINE = "a=rtpmap:102 H264/90000\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\n"
MODE_0 = "a=rtpmap:104 H264/90000\na=fmtp:104 packetization-mode=0;profile-level-id=42e01f\n"
HIGH = "a=rtpmap:106 H264/90000\na=fmtp:106 packetization-mode=1;profile-level-id=64001f\n"


def video(codecs: str, direction: str, mid: int = 0) -> str:
    payloads = " ".join(line.split()[0][9:] for line in codecs.splitlines() if "rtpmap" in line)
    line = f"m=video 9 UDP/TLS/RTP/SAVPF {payloads}\n"
    return line + TRANSPORT.format(mid=mid) + f"a={direction}\n" + codecs


def audio(mid: int) -> str:
    line = "m=audio 9 UDP/TLS/RTP/SAVPF 111\n"
    return line + TRANSPORT.format(mid=mid) + "a=sendonly\na=rtpmap:111 opus/48000/2\n"


def channel(mid: int) -> str:
    line = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n"
    return line + TRANSPORT.format(mid=mid) + "a=sctp-port:5000\n"


def offer(*sections: str) -> str:
    mids = " ".join(map(str, range(len(sections))))
    return (HEAD.format(mids=mids) + "".join(sections)).replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("codecs", "expected"),
    [
        (VP8 + VP9 + BASELINE, (Codec.H264, Codec.VP8)),
        (BASELINE, (Codec.H264,)),
        (VP8, (Codec.VP8,)),
        (VP8 + HIGH + MODE_0, (Codec.VP8,)),
        (VP9 + HIGH + MODE_0, ()),
    ],
)
def test_codecs_in_our_order(codecs: str, expected: tuple[Codec, ...]) -> None:
    media = parse_offer(offer(video(codecs, "recvonly")))
    assert media == (OfferedMedia("video", sends=False, receives=True, codecs=expected),)


@pytest.mark.parametrize(
    ("direction", "sends", "receives"),
    [
        ("sendrecv", True, True),
        ("sendonly", True, False),
        ("recvonly", False, True),
        ("inactive", False, False),
    ],
)
def test_directions(direction: str, sends: bool, receives: bool) -> None:
    (media,) = parse_offer(offer(video(VP8, direction)))
    assert (media.sends, media.receives) == (sends, receives)


def test_sections_keep_their_order() -> None:
    sections = (audio(0), video(VP8, "sendonly", 1), channel(2), video(BASELINE, "recvonly", 3))
    media = parse_offer(offer(*sections))
    assert [each.kind for each in media] == ["audio", "video", "application", "video"]


@pytest.mark.parametrize(
    ("sdp", "reason"),
    [
        ("", "not SDP"),
        ("{}", "not SDP"),
        ("hello", "not SDP"),
        ("v=0", "no video"),
        ("v=0\r\n", "no video"),
        (offer(), "no video"),
        (offer(audio(0), channel(1)), "no video"),
        ("v=0\r\nm=video\r\n", "damaged"),
        ("v=0\r\nm=video x UDP/TLS/RTP/SAVPF a b\r\n", "damaged"),
        (offer(video(VP8, "recvonly")).replace("96 VP8", "x VP8"), "damaged"),
        ("v=0\r\n" + "a" * MAX_OFFER_BYTES, "too long"),
    ],
)
def test_what_is_no_offer_is_refused_in_one_line(sdp: str, reason: str) -> None:
    with pytest.raises(SignalingError, match=reason) as caught:
        parse_offer(sdp)
    assert "\n" not in str(caught.value)


def test_damaged_offers_never_raise_anything_else() -> None:
    whole = offer(audio(0), video(VP8 + BASELINE, "sendrecv", 1), channel(2))
    rng = random.Random(0)
    for _ in range(500):
        text = list(whole)
        for _ in range(rng.randint(1, 20)):
            where = rng.randrange(len(text))
            text[where : where + rng.randint(0, 9)] = rng.choice(["", " ", ":", "\r\n", "x", "9"])
        with suppress(SignalingError):
            parse_offer("".join(text))


@pytest.mark.parametrize(
    ("codecs", "line"),
    [
        (VP8, "a=fmtp:96 x-google-start-bitrate=3000;x-google-min-bitrate=1000"),
        (
            BASELINE + VP8,
            "a=fmtp:102 packetization-mode=1;profile-level-id=42e01f;"
            "x-google-start-bitrate=3000;x-google-min-bitrate=1000",
        ),
    ],
)
def test_the_sender_is_told_where_to_start(codecs: str, line: str) -> None:
    answer = finish_answer(offer(video(codecs, "recvonly")), receiving=[0])
    assert answer.count("x-google-start-bitrate") == 1
    assert line in answer.split("\r\n")


def test_only_sections_that_bring_a_camera_are_told() -> None:
    sdp = offer(audio(0), video(VP8, "sendonly", 1), video(VP8, "recvonly", 2))
    assert finish_answer(sdp) == sdp
    *before, told = finish_answer(sdp, receiving=[2]).split("m=video")
    assert "x-google" not in "".join(before)
    assert "x-google" in told


def test_only_sha256_fingerprints_are_left() -> None:
    sdp = offer(video(VP8, "recvonly"))
    more = sdp.replace(
        "a=setup", "a=fingerprint:sha-384 00:11\r\na=fingerprint:sha-512 22\r\na=setup"
    )
    assert finish_answer(more) == sdp


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_names_for_multicast_dns_are_put_aside(ending: str) -> None:
    plain = "a=candidate:1 1 udp 2113937151 192.0.2.7 52800 typ host"
    hidden = "a=candidate:2 1 udp 2113937151 315ccdbf-2876.local 52801 typ host generation 0"
    end = "a=end-of-candidates"
    sdp = offer(audio(0), video(VP8, "recvonly", 1)).replace("\r\n", ending)
    whole = sdp + ending.join([plain, hidden, end, ""])
    rest, late = split_names(whole)
    assert rest == sdp + plain + ending
    assert [(each.ip, each.port, each.sdpMLineIndex) for each in late] == [
        ("315ccdbf-2876.local", 52801, 1)
    ]
    assert split_names(rest) == (rest, ())
    assert split_names(sdp + end + ending) == (sdp + end + ending, ())


@pytest.mark.parametrize(
    "address", ["turn.example.org", "a.b.local", "x" * 300 + ".local", "-", "1.2.3.4.5", "[::1]"]
)
def test_other_names_are_left_out(address: str) -> None:
    sdp = offer(video(VP8, "recvonly"))
    line = f"a=candidate:2 1 udp 2113937151 {address} 52801 typ host\r\n"
    assert split_names(sdp + line) == (sdp, ())


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "fe80::1%eth0"])
def test_addresses_stay(address: str) -> None:
    sdp = offer(video(VP8, "recvonly"))
    line = f"a=candidate:2 1 udp 2113937151 {address} 52801 typ host\r\n"
    assert split_names(sdp + line) == (sdp + line, ())


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize(
    ("session", "sends", "receives"),
    [("", True, True), ("sendonly", True, False), ("recvonly", False, True)],
)
def test_a_direction_that_is_not_said_is_the_sessions_or_both(
    session: str, sends: bool, receives: bool, ending: str
) -> None:
    said = offer(video(VP8, "recvonly", 0), video(VP8, "sendrecv", 1))
    unsaid = said.replace("a=sendrecv\r\n", "")
    if session:
        unsaid = unsaid.replace("t=0 0\r\n", f"t=0 0\r\na={session}\r\n")
    assert unsaid != said
    media = parse_offer(with_directions(unsaid.replace("\r\n", ending).rstrip("\r\n")))
    assert [(each.sends, each.receives) for each in media] == [(False, True), (sends, receives)]


def test_directions_that_are_said_stay() -> None:
    said = offer(video(VP8, "recvonly", 0), video(VP8, "inactive", 1))
    assert with_directions(said) == said


def test_candidates_are_seen() -> None:
    sdp = offer(video(VP8, "recvonly"))
    assert not has_candidate(sdp)
    assert has_candidate(sdp + "a=candidate:1 1 udp 1 192.0.2.7 5 typ host\r\n")
