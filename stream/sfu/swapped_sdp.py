"""An offer of Janus turned into the answer to a player's offer, and that offer into an answer.

Janus's streaming plugin makes the offer, and so does a player (WHEP, RFC 9725 for its senders).
Each is answered here with what the other has offered. Both then take part in ICE as the controlling
side, which RFC 8445, section 7.3.1.1, resolves. Janus 1.2 can answer offers by itself; Debian 12
has 1.1. Pure functions of text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stream.errors import SignalingError

CRLF = "\r\n"

_PROFILE = re.compile(r"profile-level-id=(42[0-9a-f]{4})", re.IGNORECASE)

_UDP = re.compile(r"a=candidate:\S+ \d+ udp \d+ [0-9a-f.:]+ ", re.IGNORECASE)
"""A candidate with an address, RFC 8839, section 5.1; browsers hide theirs behind names."""

_FEEDBACK = ("nack", "nack pli", "ccm fir")
"""What Janus and browsers support without header extensions, which are left out."""


@dataclass(frozen=True, slots=True)
class PlayerVideo:
    """The video section of a player's offer that can be answered with H.264.

    Attributes:
        index: of the section, from 0.
        payload_type: number of constrained baseline H.264 in non-interleaved mode.
        fmtp: its parameters.
    """

    index: int
    payload_type: int
    fmtp: str


def find_video(offer: str) -> PlayerVideo | None:
    """Return the first section that receives H.264 as facewire encodes it; None if there is none.

    The section of a data channel makes it None, too: Janus does not forward facewire's.
    """
    _, sections = _split(offer)
    found = None
    for index, lines in enumerate(sections):
        if lines[0].startswith("m=application"):
            return None
        if found is None and lines[0].startswith("m=video") and not _is_closed(lines):
            found = _h264(index, lines)
    return found


def swap(offer: str, janus_offer: str, video: PlayerVideo) -> tuple[str, str]:
    """Return the answer for the player, and that for Janus.

    Args:
        offer: of the player.
        janus_offer: of Janus, for a stream with the payload type of `video`.
        video: what `find_video` returned for the player's offer.

    Raises:
        SignalingError: if either lacks what a connection needs.
    """
    head, sections = _split(offer)
    janus_head, janus_sections = _split(janus_offer)
    theirs = next((each for each in janus_sections if each[0].startswith("m=video")), None)
    if theirs is None:
        raise SignalingError("the SFU offers no video")
    ours = sections[video.index]
    player_waits = _value(head, ours, "setup") == "passive"
    codec = [
        f"a=rtpmap:{video.payload_type} H264/90000",
        f"a=fmtp:{video.payload_type} {video.fmtp}",
        *(f"a=rtcp-fb:{video.payload_type} {each}" for each in _FEEDBACK),
    ]

    def section(
        head: list[str], lines: list[str], mid: str, direction: str, setup: str
    ) -> list[str]:
        return [
            f"m=video 9 UDP/TLS/RTP/SAVPF {video.payload_type}",
            "c=IN IP4 0.0.0.0",
            f"a={direction}",
            f"a=mid:{mid}",
            "a=rtcp-mux",
            *_transport(head, lines),
            f"a=setup:{setup}",
            *codec,
            # The first: a second one is of retransmissions, which are not negotiated.
            *[line for line in lines if line.startswith("a=ssrc:")][:1],
            *(line for line in lines if _UDP.match(line)),
            "a=end-of-candidates",
        ]

    mid = _value([], ours, "mid") or "0"
    of_player = [
        section(janus_head, theirs, mid, "sendonly", "active" if player_waits else "passive")
        if index == video.index
        else _refused(lines)
        for index, lines in enumerate(sections)
    ]
    janus_mid = _value([], theirs, "mid") or "0"
    of_janus = section(head, ours, janus_mid, "recvonly", "passive" if player_waits else "active")
    lite = ["a=ice-lite"] if "a=ice-lite" in janus_head else []
    return (
        _session(mid, lite) + _text(line for each in of_player for line in each),
        _session(janus_mid, []) + _text(of_janus),
    )


def _session(mid: str, more: list[str]) -> str:
    return _text(
        [
            *("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=facewire", "t=0 0"),
            f"a=group:BUNDLE {mid}",
            *more,
        ]
    )


def _refused(lines: list[str]) -> list[str]:
    kind, _, rest = lines[0].split(" ", 2)
    mid = _value([], lines, "mid")
    return [
        f"{kind} 0 {rest}",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        *([f"a=mid:{mid}"] if mid else []),
    ]


def _transport(head: list[str], lines: list[str]) -> list[str]:
    """Return the lines of ICE and DTLS; RFC 8122 allows several fingerprints."""
    names = ("ice-ufrag", "ice-pwd")
    found = [f"a={name}:{_value(head, lines, name)}" for name in names]
    prints = [
        line for line in (*lines, *head) if line.lower().startswith("a=fingerprint:sha-256 ")
    ][:1]
    if not prints or any(line.endswith(":") for line in found):
        raise SignalingError("the offer has no ICE user, password, or SHA-256 fingerprint")
    return [*found, *prints]


def _h264(index: int, lines: list[str]) -> PlayerVideo | None:
    if "a=sendonly" in lines or "a=inactive" in lines:
        return None
    for payload_type in re.findall(r"(?m)^a=rtpmap:(\d+) H264/90000", "\n".join(lines), re.I):
        prefix = f"a=fmtp:{payload_type} "
        fmtp = next((line.removeprefix(prefix) for line in lines if line.startswith(prefix)), "")
        if _PROFILE.search(fmtp) and "packetization-mode=1" in fmtp:
            return PlayerVideo(index, int(payload_type), fmtp)
    return None


def _is_closed(lines: list[str]) -> bool:
    parts = lines[0].split(" ")
    return len(parts) < 4 or (parts[1] == "0" and "a=bundle-only" not in lines)


def _value(head: list[str], lines: list[str], name: str) -> str:
    """Return an attribute of a section, or else of the session; empty if there is none."""
    prefix = f"a={name}:"
    return next(
        (line.removeprefix(prefix) for line in (*lines, *head) if line.startswith(prefix)), ""
    )


def _split(sdp: str) -> tuple[list[str], list[list[str]]]:
    """Return the lines of the session and of each media section."""
    head, *sections = re.split(r"(?m)^(?=m=)", sdp)
    return head.splitlines(), [each.splitlines() for each in sections]


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}{CRLF}" for line in lines)
