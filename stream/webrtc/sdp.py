"""Parsing of SDP offers, and additions to SDP answers. Pure functions of text."""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from aioice.mdns import is_mdns_hostname
from aiortc import RTCIceCandidate
from aiortc.codecs import CODECS
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from stream.errors import SignalingError
from stream.video.encoder import Codec

# Chromium starts at 640x360 and takes half a minute to reach 720p without this start bitrate
# (measured); below the minimum a face cannot be recognized.
START_KBPS, MIN_KBPS = 3000, 1000

# Chromium's offer with data channel and simulcast is about 8 kB.
MAX_OFFER_BYTES = 64 * 1024

# aiortc does not check its input; it raises these on damaged offers (found by damaging some).
DAMAGE = (
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    TypeError,
    AssertionError,
    StopIteration,
)

# RFC 8839 section 5.1; the address may be a name, for which RFC 6762 has those ending in .local.
_CANDIDATE = re.compile(r"(?m)^a=candidate:((?:\S+ ){4}(\S+) [^\r\n]*)\r?\n")

_DIRECTION = re.compile(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)[ \t]*\r?$")


@dataclass(frozen=True, slots=True)
class OfferedMedia:
    """One media section of an offer, from the side of the sender of the offer.

    Attributes:
        kind: "audio", "video" or "application".
        sends: it offers to send.
        receives: it offers to receive.
        codecs: supported codecs that it decodes or sends.
    """

    kind: str
    sends: bool
    receives: bool
    codecs: tuple[Codec, ...]


def parse_offer(sdp: str) -> tuple[OfferedMedia, ...]:
    """Return the media sections of an offer.

    Returns:
        Its media sections in order; with at least one of video.

    Raises:
        SignalingError: if it is too long, not SDP, or offers no video.
    """
    if len(sdp) > MAX_OFFER_BYTES:
        raise SignalingError(f"the offer is too long: {len(sdp)} characters")
    if not sdp.startswith("v=0"):
        raise SignalingError("the offer is not SDP: it must start with v=0")
    try:
        description = SessionDescription.parse(sdp)
    except DAMAGE as error:
        raise SignalingError(f"the offer is damaged: {type(error).__name__}: {error}") from error
    media = tuple(_read_media(section) for section in description.media)
    if not any(section.kind == "video" for section in media):
        raise SignalingError("the offer has no video section: add a video transceiver")
    return media


def _read_media(section: MediaDescription) -> OfferedMedia:
    codecs: list[Codec] = []
    if section.kind == "video":
        common = find_common_codecs(CODECS["video"], section.rtp.codecs)
        codecs = [codec for codec in Codec if any(c.mimeType == codec for c in common)]
    direction = section.direction or "sendrecv"
    return OfferedMedia(
        kind=section.kind,
        sends=direction in ("sendonly", "sendrecv"),
        receives=direction in ("recvonly", "sendrecv"),
        codecs=tuple(codecs),
    )


def with_directions(sdp: str) -> str:
    """Return an offer with the default direction added to each media section without one.

    That is the session's, or sendrecv (RFC 8866, section 6.7); aiortc supports neither.
    """
    head, *sections = re.split(r"(?m)^(?=m=)", sdp)
    usual = _DIRECTION.search(head)
    line = f"a={usual[1] if usual else 'sendrecv'}\r\n"
    said = [
        each if _DIRECTION.search(each) else each + ("" if each.endswith("\n") else "\r\n") + line
        for each in sections
    ]
    return "".join([head, *said])


def split_names(sdp: str) -> tuple[str, tuple[RTCIceCandidate, ...]]:
    """Return an offer without the candidates that have a name as their address.

    Browsers hide their addresses behind names that only multicast DNS can resolve. Without
    multicast, as in a container, a lookup takes a second, which must not delay the answer: the
    browser connects to the service's own addresses meanwhile. Other names are ignored.

    Returns:
        The offer without them, and those of multicast DNS, to be added later.
    """
    head, *sections = re.split(r"(?m)^(?=m=)", sdp)
    late = []
    texts = [head]
    for index, section in enumerate(sections):
        for line, address in _CANDIDATE.findall(section):
            if not is_mdns_hostname(address):
                continue
            # A line that cannot be parsed is dropped.
            with suppress(AssertionError, ValueError, IndexError):
                candidate = candidate_from_sdp(line)
                candidate.sdpMLineIndex = index
                late.append(candidate)
        texts.append(_CANDIDATE.sub(lambda line: line[0] if _is_ip(line[2]) else "", section))
    text = "".join(texts)
    if late:
        # Firefox sends this, but then aiortc would give up before the browser connects.
        text = re.sub(r"(?m)^a=end-of-candidates\r?\n", "", text)
    return text, tuple(late)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def finish_answer(sdp: str, *, receiving: Iterable[int] = ()) -> str:
    """Return aiortc's answer, adapted to browsers and players.

    Args:
        sdp: the answer.
        receiving: indices of the sections in which the peer sends its camera.

    Returns:
        The answer with only the SHA-256 fingerprints (libdatachannel rejects others), and with
        the start bitrate of the sender.
    """
    head, *sections = re.split(r"(?m)^(?=m=)", sdp)
    for index in receiving:
        sections[index] = _with_start_bitrate(sections[index])
    text = "".join([head, *sections])
    return re.sub(r"(?m)^a=fingerprint:(?!sha-256 ).*\r?\n", "", text)


def _with_start_bitrate(section: str) -> str:
    # The first payload type is the one that is sent.
    first_line = re.match(r"m=video \S+ \S+ (\d+)", section)
    if first_line is None:
        return section
    payload = first_line[1]
    hint = f"x-google-start-bitrate={START_KBPS};x-google-min-bitrate={MIN_KBPS}"
    section, n_found = re.subn(
        rf"(?m)^(a=fmtp:{payload} [^\r\n]*)", lambda line: f"{line[1]};{hint}", section
    )
    if n_found:
        return section
    # VP8 has no parameters, and so no such line.
    return re.sub(
        rf"(?m)^(a=rtpmap:{payload} [^\r\n]*(\r?\n))",
        lambda line: f"{line[1]}a=fmtp:{payload} {hint}{line[2]}",
        section,
    )


def has_candidate(sdp: str) -> bool:
    """Whether an answer has an address to send to."""
    return "a=candidate:" in sdp
