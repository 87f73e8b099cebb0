"""Limits of HTTP connections: their number in total and per address, and their durations.

uvicorn limits none of these: a connection that sends nothing, half a header or a body byte by byte
stays open forever, as does one that never reads its response. `Connections` counts them and decides
which stay open; `HttpProtocol` and `SocketProtocol` are uvicorn's own with these limits.
"""

import asyncio
import errno
import ipaddress
import logging
import resource
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

logger = logging.getLogger(__name__)

# Minimum rate of a body or a response, bytes per second, after the first seconds of its timeout.
MIN_RATE = 8 * 1024

# Requested limit of open files of the process; half of the allowed number is for HTTP connections,
# the other half for cameras, viewers' video, databases and webhooks.
OPEN_FILES = 65_536

# Fragments of one WebSocket message; empty ones do not add to its size.
MAX_FRAGMENTS = 1024

REPORT_PERIOD_S = 60.0


def _answer(status: str, reason: str) -> bytes:
    body = f'{{"error": "{reason}"}}'
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


BUSY = _answer("503 Service Unavailable", "too many connections: try again in some seconds")
TOO_SLOW = _answer("408 Request Timeout", "the request took too long to arrive")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of connections.

    Attributes:
        total: concurrent connections.
        per_address: of these, from one IPv4 address or 64-bit IPv6 network.
        header_s: seconds until a request's header is complete.
        body_s: seconds until a request's body is complete, extended while it arrives at `MIN_RATE`.
        idle_s: seconds between two requests.
        send_s: seconds until a response is read, extended while it is read at `MIN_RATE`.
    """

    total: int = 1000
    per_address: int = 250
    header_s: float = 10.0
    body_s: float = 20.0
    idle_s: float = 15.0
    send_s: float = 20.0


class Phase(Enum):
    """The state of a connection: what it waits for."""

    HEADER = auto()
    BODY = auto()
    ANSWER = auto()
    IDLE = auto()
    SOCKET = auto()


class Transport(Protocol):
    """The methods of an asyncio transport that are used."""

    def write(self, data: bytes) -> None:
        """Send, now or later."""

    def close(self) -> None:
        """Close once all is sent."""

    def abort(self) -> None:
        """Close at once."""

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes not sent to the client yet."""
        ...


@dataclass(slots=True, eq=False)
class Connection:
    """State of one connection.

    Attributes:
        transport: its transport.
        address: of the client, see `network_of`.
        phase: what it waits for.
        since: start of the phase, seconds, monotonic.
        received: bytes since then.
        is_stuck: whether the client reads too slowly for more to be written.
        unsent_since: time since which bytes are unsent, seconds, monotonic; None for none.
        unsent_most: maximum of unsent bytes since then.
    """

    transport: Transport
    address: str
    phase: Phase
    since: float
    received: int = 0
    is_stuck: bool = False
    unsent_since: float | None = None
    unsent_most: int = 0

    @property
    def rank(self) -> int | None:
        """Eviction order: the lowest first, None never."""
        if self.phase in (Phase.HEADER, Phase.IDLE):
            return 0
        if self.is_stuck or self.phase is Phase.BODY:
            return 1
        return 2 if self.phase is Phase.ANSWER else None


@dataclass(slots=True, eq=False)
class _Address:
    """The connections of one address; evictable ones by rank, the oldest first."""

    n: int = 0
    ranks: tuple[dict[Connection, None], ...] = field(default_factory=lambda: ({}, {}, {}))

    def oldest(self) -> Connection | None:
        return next((next(iter(rank)) for rank in self.ranks if rank), None)


class Connections:
    """All open connections; for the event loop only.

    At the limit, a new connection replaces the one that has been idle longest: of the same
    address if that is at its limit, else of the address with the most connections. So idle
    connections evict one another, and a person's request is answered. Slow ones are closed before
    those that are being answered, and open WebSockets never; they have a `Budget`.

    Args:
        limits: of the connections.
        is_shared: whether an address is shared by many people, such as a proxy's; only the total
            limit applies then.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        is_shared: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._is_shared = is_shared
        self._clock = clock
        self._all: dict[Transport, Connection] = {}
        self._by_address: dict[str, _Address] = {}
        self._closed_for_room: Counter[str] = Counter()
        self._reported_at = clock()

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, transport: Transport, host: str) -> Connection | None:
        """Admit and return a new connection; None at the limit.

        Args:
            transport: its transport.
            host: its IP address.
        """
        address = network_of(host)
        own = self._by_address.get(address)
        if own and own.n >= self._limits.per_address and not self._is_shared(host):
            victim = own.oldest()
        elif len(self._all) >= self._limits.total:
            by_share = sorted(self._by_address.values(), key=lambda each: each.n, reverse=True)
            victim = next((found for each in by_share if (found := each.oldest())), None)
        else:
            return self._take_in(transport, address)
        self._closed_for_room[address if victim is None else victim.address] += 1
        if victim is None:
            return None
        self._abort(victim)
        return self._take_in(transport, address)

    def _take_in(self, transport: Transport, address: str) -> Connection:
        connection = Connection(transport, address, Phase.HEADER, self._clock())
        self._all[transport] = connection
        own = self._by_address.setdefault(address, _Address())
        own.n += 1
        own.ranks[0][connection] = None
        return connection

    def of(self, transport: Transport) -> Connection | None:
        """Return the connection of a transport; None if it was not admitted."""
        return self._all.get(transport)

    def enter(self, connection: Connection, phase: Phase) -> None:
        """Set the phase of a connection; the same phase again changes nothing."""
        if phase is not connection.phase:
            self._unrank(connection)
            connection.phase, connection.since, connection.received = phase, self._clock(), 0
            self._rank(connection)

    def stick(self, connection: Connection, *, is_stuck: bool) -> None:
        """Record whether the client reads too slowly for more to be written."""
        self._unrank(connection)
        connection.is_stuck = is_stuck
        self._rank(connection)

    def leave(self, connection: Connection) -> None:
        """Remove a connection that has ended; does nothing if already removed."""
        if self._all.pop(connection.transport, None) is not None:
            self._unrank(connection)
            own = self._by_address[connection.address]
            own.n -= 1
            if not own.n:
                del self._by_address[connection.address]

    def sweep(self) -> None:
        """Close connections that exceed a timeout; call it about once a second."""
        now = self._clock()
        for connection in list(self._all.values()):
            if self._is_unread_too_long(connection, now):
                self._abort(connection)
            elif self._is_overdue(connection, now):
                if connection.phase is Phase.BODY or connection.received:
                    connection.transport.write(TOO_SLOW)
                connection.transport.close()
        if self._closed_for_room and now - self._reported_at >= REPORT_PERIOD_S:
            ((address, n),) = self._closed_for_room.most_common(1)
            logger.warning(
                "%d connections were closed for lack of room, %d of them from %s",
                self._closed_for_room.total(),
                n,
                address,
            )
            self._closed_for_room.clear()
            self._reported_at = now

    def _is_overdue(self, connection: Connection, now: float) -> bool:
        limits = self._limits
        allowed_s = {
            Phase.HEADER: limits.header_s,
            Phase.BODY: limits.body_s + connection.received / MIN_RATE,
            Phase.IDLE: limits.idle_s,
        }.get(connection.phase)
        return allowed_s is not None and now - connection.since > allowed_s

    def _is_unread_too_long(self, connection: Connection, now: float) -> bool:
        unsent = connection.transport.get_write_buffer_size()
        if not unsent:
            connection.unsent_since, connection.unsent_most = None, 0
            return False
        if connection.unsent_since is None:
            connection.unsent_since = now
        connection.unsent_most = max(connection.unsent_most, unsent)
        allowed_s = self._limits.send_s + connection.unsent_most / MIN_RATE
        return now - connection.unsent_since > allowed_s

    def _abort(self, connection: Connection) -> None:
        # Removed at once: the event loop reports its end only after new connections.
        self.leave(connection)
        connection.transport.abort()

    def _rank(self, connection: Connection) -> None:
        if (rank := connection.rank) is not None and connection.transport in self._all:
            self._by_address[connection.address].ranks[rank][connection] = None

    def _unrank(self, connection: Connection) -> None:
        if (own := self._by_address.get(connection.address)) is not None:
            for rank in own.ranks:
                rank.pop(connection, None)


class HttpProtocol(H11Protocol):
    """uvicorn's HTTP connection within the limits of a `Connections`."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections_in_all = connections
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or respond that there is no room."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self._connection = self._connections_in_all.admit(transport, host)
        if self._connection is None:
            transport.write(BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        super().connection_lost(exc)
        if self._connection is not None:
            self._connections_in_all.leave(self._connection)

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        if self._connection is None:
            return
        self._connection.received += len(data)
        super().data_received(data)
        self._note_phase()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        super().on_response_complete()
        self._note_phase()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to a WebSocket."""
        if self._connection is not None:
            self._connections_in_all.enter(self._connection, Phase.SOCKET)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Note that the other side reads too slowly."""
        super().pause_writing()
        if self._connection is not None:
            self._connections_in_all.stick(self._connection, is_stuck=True)

    def resume_writing(self) -> None:
        """Note that the other side has caught up."""
        super().resume_writing()
        if self._connection is not None:
            self._connections_in_all.stick(self._connection, is_stuck=False)

    def _note_phase(self) -> None:
        if self._connection is None or self._connection.phase is Phase.SOCKET:
            return
        is_answered = self.cycle is None or self.cycle.response_complete
        if not is_answered:
            is_complete = self.conn.their_state is not h11.SEND_BODY
            phase = Phase.ANSWER if is_complete else Phase.BODY
        elif self.cycle is None or (
            self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        ):
            phase = Phase.HEADER
        else:
            # Also while the rest of a refused body still arrives: no longer than that.
            phase = Phase.IDLE
        self._connections_in_all.enter(self._connection, phase)


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket within the limits of a `Connections`."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections_in_all = connections

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        super().connection_lost(exc)
        if (connection := self._connections_in_all.of(self.transport)) is not None:
            self._connections_in_all.leave(connection)

    def pause_writing(self) -> None:
        """Note that the other side reads too slowly."""
        super().pause_writing()
        self._stick(is_stuck=True)

    def resume_writing(self) -> None:
        """Note that the other side has caught up."""
        super().resume_writing()
        self._stick(is_stuck=False)

    def handle_cont(self, event: Frame) -> None:
        """Receive a fragment of a message."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self._refuse(CloseCode.MESSAGE_TOO_BIG)
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Pass a message to the application; text that is not UTF-8 ends the connection."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # uvicorn logs a traceback for it.
                self._refuse(CloseCode.INVALID_DATA)
                return
        super().send_receive_event_to_app()

    def _refuse(self, code: CloseCode) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.send_close(code)
            self.handle_parser_exception()

    def _stick(self, *, is_stuck: bool) -> None:
        if (connection := self._connections_in_all.of(self.transport)) is not None:
            self._connections_in_all.stick(connection, is_stuck=is_stuck)


def network_of(host: str) -> str:
    """Return the key by which a client is counted: IPv4 address, or IPv6 network (a household)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def raise_open_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise this process's limit of open files, and return limits that use half of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY or limits.total <= soft // 2:
        return limits
    logger.warning(
        "%d files may be open, so at most %d connections are taken: raise the limit (ulimit -n, "
        "LimitNOFILE) for %d",
        soft,
        soft // 2,
        limits.total,
    )
    return replace(limits, total=soft // 2)


class LoopFailures:
    """Handles errors of the event loop; full file tables are logged once a minute.

    asyncio reports each of them for every waiting connection, with a traceback.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told_at: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Handle one error of the event loop."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(dict(context))
            return
        now = self._clock()
        if self._told_at is None or now - self._told_at >= REPORT_PERIOD_S:
            self._told_at = now
            logger.error("no connection can be taken: too many files are open (LimitNOFILE)")
