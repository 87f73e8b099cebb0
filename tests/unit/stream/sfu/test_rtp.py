"""SRTP that another implementation's session can read, and requests for keyframes."""

import asyncio
import base64
from typing import Any

from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpSrPacket, RtpPacket
from pylibsrtp import Policy, Session

from stream.sfu.rtp import RtpSocket, RtpStream, asks_for_keyframe

JANUS = ("192.0.2.2", 5004)


class Wire(asyncio.DatagramTransport):
    """What a socket would send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def is_closing(self) -> bool:
        return False

    def sendto(self, data: Any, address: Any = None) -> None:
        self.sent.append((data, address))


def open_socket() -> tuple[RtpSocket, Wire]:
    socket, wire = RtpSocket(), Wire()
    socket.connection_made(wire)
    return socket, wire


def test_a_frame_is_readable_with_the_key_that_janus_gets():
    socket, wire = open_socket()
    stream = RtpStream(socket, payload_type=109)
    stream.send([b"one", b"two"], (1 << 32) + 90, *JANUS, 5005)
    *media, (report, to) = wire.sent
    assert [address for _, address in media] == [JANUS, JANUS]
    key = base64.b64decode(stream.crypto)
    srtp = Session(policy=Policy(key, Policy.SSRC_ANY_INBOUND))
    packets = [RtpPacket.parse(srtp.unprotect(data)) for data, _ in media]
    assert [each.payload for each in packets] == [b"one", b"two"]
    assert [each.marker for each in packets] == [0, 1]
    assert {each.timestamp for each in packets} == {90}
    assert {each.payload_type for each in packets} == {109}
    assert packets[1].sequence_number == packets[0].sequence_number + 1
    assert to == (JANUS[0], 5005)
    (sent,) = RtcpPacket.parse(report)
    assert isinstance(sent, RtcpSrPacket)
    assert sent.sender_info.packet_count == 2
    assert sent.sender_info.octet_count == 6


def test_every_stream_has_a_key_of_its_own():
    socket, _ = open_socket()
    assert RtpStream(socket, payload_type=96).crypto != RtpStream(socket, payload_type=96).crypto


def test_packets_that_the_network_does_not_take_are_dropped_and_counted():
    socket, wire = open_socket()
    socket.pause_writing()
    socket.send(b"data", JANUS)
    assert (wire.sent, socket.n_dropped) == ([], 1)
    socket.resume_writing()
    socket.send(b"data", JANUS)
    assert (len(wire.sent), socket.n_sent) == (1, 1)


def test_requests_for_keyframes_are_those_of_rfc_4585_and_5104():
    assert asks_for_keyframe(bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=2)))
    assert asks_for_keyframe(bytes(RtcpPsfbPacket(fmt=4, ssrc=1, media_ssrc=2, fci=bytes(8))))
    assert not asks_for_keyframe(bytes(RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=2, fci=b"REMB")))
    assert not asks_for_keyframe(bytes(RtcpRrPacket(ssrc=1, reports=[])))
    for damaged in (b"", b"\x81", b"\x81\xce\x00\x09", bytes(40)):
        assert not asks_for_keyframe(damaged)


def test_a_request_reaches_the_stream_of_its_port():
    socket, _ = open_socket()
    asked: list[int] = []
    socket.listen(5005, lambda: asked.append(5005))
    pli = bytes(RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=2))
    socket.datagram_received(pli, (JANUS[0], 5007))
    assert asked == []
    socket.datagram_received(pli, (JANUS[0], 5005))
    assert asked == [5005]
    socket.listen(5005, None)
    socket.datagram_received(pli, (JANUS[0], 5005))
    assert asked == [5005]
