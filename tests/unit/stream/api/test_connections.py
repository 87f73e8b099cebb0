import asyncio
import errno
import logging
import resource
from typing import Any

import pytest

from stream.api.connections import (
    MIN_RATE,
    REPORT_PERIOD_S,
    ConnectionLimits,
    Connections,
    LoopFailures,
    Phase,
    network_of,
    raise_open_files,
)

LIMITS = ConnectionLimits(total=10, per_address=4, header_s=10, body_s=20, idle_s=15, send_s=20)


class FakeTransport:
    """A connection whose other side reads nothing while `unsent` is set."""

    def __init__(self) -> None:
        self.is_open = True
        self.written = b""
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_open = self.unsent > 0

    def abort(self) -> None:
        self.is_open = False

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Rig:
    """Connections with a clock that is set."""

    def __init__(self, limits: ConnectionLimits = LIMITS, shared: str = "") -> None:
        self.now = 0.0
        self.all = Connections(
            limits, is_shared=lambda host: host == shared, clock=lambda: self.now
        )

    def open(self, host: str = "192.0.2.1", phase: Phase = Phase.HEADER) -> FakeTransport | None:
        transport = FakeTransport()
        self.now += 0.001
        connection = self.all.admit(transport, host)
        if connection is None:
            return None
        self.all.enter(connection, phase)
        return transport

    def sweep_at(self, now: float) -> None:
        self.now = now
        self.all.sweep()


@pytest.mark.parametrize(
    ("phase", "allowed_s"),
    [(Phase.HEADER, 10), (Phase.BODY, 20), (Phase.IDLE, 15)],
)
def test_what_takes_too_long_is_closed(phase: Phase, allowed_s: float) -> None:
    rig = Rig()
    transport = rig.open(phase=phase)
    assert transport
    rig.sweep_at(allowed_s)
    assert transport.is_open
    rig.sweep_at(allowed_s + 0.1)
    assert not transport.is_open


@pytest.mark.parametrize("phase", [Phase.ANSWER, Phase.SOCKET])
def test_what_the_service_works_on_and_open_sockets_stay(phase: Phase) -> None:
    rig = Rig()
    transport = rig.open(phase=phase)
    assert transport
    rig.sweep_at(100_000)
    assert transport.is_open


def test_half_a_request_is_answered_before_it_is_closed() -> None:
    rig = Rig()
    silent, slow = rig.open(), rig.open()
    assert silent
    assert slow
    connection = rig.all.of(slow)
    assert connection
    connection.received = 5
    rig.sweep_at(11)
    assert silent.written == b""
    assert slow.written.startswith(b"HTTP/1.1 408 ")
    head, _, body = slow.written.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head


def test_a_large_body_may_take_longer_but_no_drip_may() -> None:
    rig = Rig()
    steady, drip = rig.open(phase=Phase.BODY), rig.open(phase=Phase.BODY)
    for transport, received in ((steady, 100 * MIN_RATE), (drip, 100)):
        assert transport
        connection = rig.all.of(transport)
        assert connection
        connection.received = received
    rig.sweep_at(21)
    assert steady
    assert steady.is_open
    assert drip
    assert not drip.is_open
    rig.sweep_at(121)
    assert not steady.is_open


@pytest.mark.parametrize("phase", [Phase.ANSWER, Phase.IDLE, Phase.SOCKET])
def test_an_answer_that_is_not_read_ends_its_connection(phase: Phase) -> None:
    rig = Rig()
    transport = rig.open(phase=phase)
    assert transport
    transport.unsent = 10 * MIN_RATE
    for now in (1, 10, 30):
        rig.sweep_at(now)
        assert transport.is_open
    rig.sweep_at(31.1)
    assert not transport.is_open
    assert len(rig.all) == 0


def test_an_answer_that_is_read_lets_its_connection_be() -> None:
    rig = Rig()
    transport = rig.open(phase=Phase.SOCKET)
    assert transport
    for now in range(100):
        transport.unsent = 1000 * (now % 2)
        rig.sweep_at(now * 10.0)
    assert transport.is_open


def test_the_oldest_silent_connection_of_an_address_makes_room() -> None:
    rig = Rig()
    other = rig.open("192.0.2.2")
    mine = [rig.open() for _ in range(4)]
    newest = rig.open()
    assert newest
    assert newest.is_open
    assert other
    assert other.is_open
    assert [each and each.is_open for each in mine] == [False, True, True, True]


def test_the_address_with_the_most_connections_makes_room() -> None:
    rig = Rig(shared="192.0.2.9")
    first = rig.open("192.0.2.1")
    crowd = [rig.open("192.0.2.9") for _ in range(9)]
    assert rig.open("192.0.2.3")
    assert first
    assert first.is_open
    assert [each and each.is_open for each in crowd] == [False] + 8 * [True]
    assert len(rig.all) == 10


def test_silent_ones_go_first_then_slow_ones_then_requests_and_sockets_never() -> None:
    rig = Rig()
    phases = [Phase.ANSWER, Phase.BODY, Phase.SOCKET, Phase.IDLE]
    transports = [rig.open(phase=phase) for phase in phases]

    def are_open() -> list[bool]:
        return [bool(each and each.is_open) for each in transports]

    assert rig.open(phase=Phase.SOCKET)
    assert are_open() == [True, True, True, False]
    assert rig.open(phase=Phase.SOCKET)
    assert are_open() == [True, False, True, False]
    assert rig.open(phase=Phase.SOCKET)
    assert are_open() == [False, False, True, False]
    assert rig.open() is None


def test_who_does_not_read_makes_room_too() -> None:
    rig = Rig()
    transports = [rig.open(phase=Phase.SOCKET) for _ in range(4)]
    assert rig.open() is None
    stuck = transports[2]
    assert stuck
    connection = rig.all.of(stuck)
    assert connection
    rig.all.stick(connection, is_stuck=True)
    assert rig.open()
    assert [bool(each and each.is_open) for each in transports] == [True, True, False, True]


def test_thousands_come_and_go_and_nothing_is_kept() -> None:
    rig = Rig()
    for number in range(5000):
        rig.open(f"198.51.{number // 250}.{number % 250}")
    assert len(rig.all) == 10
    rig.sweep_at(rig.now + 11)
    for transport, connection in list(rig.all._all.items()):
        assert not transport.is_open  # type: ignore[attr-defined]
        rig.all.leave(connection)
        rig.all.leave(connection)
    assert len(rig.all) == 0
    assert not rig.all._by_address


def test_a_flood_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    for _ in range(2000):
        rig.open()
        rig.all.sweep()
    assert len(caplog.records) == 0
    rig.sweep_at(REPORT_PERIOD_S + 5)
    rig.sweep_at(REPORT_PERIOD_S + 6)
    (record,) = caplog.records
    assert "1996 connections were closed for lack of room" in record.getMessage()


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("nobody", "nobody"),
    ],
)
def test_clients_are_counted_by_network(host: str, network: str) -> None:
    assert network_of(host) == network


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to", "total"),
    [
        (1024, 524_288, 65_536, 1000),
        (1024, 4096, 4096, 1000),
        (1024, 1024, None, 512),
        (256, 300, 300, 150),
        (100_000, 100_000, None, 1000),
        (1024, resource.RLIM_INFINITY, 65_536, 1000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1000),
    ],
)
def test_half_of_the_open_files_are_left(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised_to: int | None, total: int
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda what: (soft, hard))
    monkeypatch.setattr("resource.setrlimit", lambda what, both: raised.append(both))
    assert raise_open_files(ConnectionLimits()).total == total
    assert raised == ([] if raised_to is None else [(raised_to, hard)])


def test_a_full_file_table_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now, passed_on = [0.0], []

    class Loop:
        def default_exception_handler(self, context: dict[str, Any]) -> None:
            passed_on.append(context)

    handler, loop = LoopFailures(lambda: now[0]), Loop()

    def fail(context: dict[str, Any]) -> None:
        handler(loop, context)  # type: ignore[arg-type]

    with caplog.at_level(logging.ERROR):
        for _ in range(5000):
            fail({"message": "accept", "exception": OSError(errno.EMFILE, "too many")})
        now[0] = 60.0
        fail({"message": "accept", "exception": OSError(errno.ENFILE, "too many")})
    assert len(caplog.records) == 2
    assert caplog.records[0].exc_info is None
    fail({"message": "other", "exception": asyncio.CancelledError()})
    fail({"message": "none"})
    assert len(passed_on) == 2
