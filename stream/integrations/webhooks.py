"""Events told to other programs by HTTP: signed, tried again, and never in anybody's way.

Each webhook has a thread and a bounded queue of its own. What waits at a stop, or when the process
is killed, goes out at the next start: in order, at least once, under the same number.

A delivery is a POST of

    {"event": {"id", "kind", "camera", "at", "name", ...}}      as GET /api/events gives it

with the headers `Facewire-Event` (its kind), `Facewire-Delivery` (its id; the same at every try, by
which a receiver knows what it has taken before),
`Facewire-Timestamp` (seconds since 1970) and, where a secret is set, `Facewire-Signature`:
"sha256=" and the HMAC-SHA256 of timestamp, a dot and the body, in hex. Any 2xx is a delivery.
"""

import base64
import hashlib
import hmac
import http.client
import io
import json
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from typing_extensions import Buffer  # of collections.abc from Python 3.12 on

from stream.config import WebhookConfig
from stream.errors import EventLogError
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox
from stream.http_address import HttpAddress, parse_http_address
from stream.schemas import event_json
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Events kept for a receiver that is away; the oldest is given up first."""

MAX_TRIES = 8
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
"""A try, then others 1, 2, 4 ... seconds apart: two minutes, in which a receiver restarts."""

CONNECT_S, DEADLINE_S = 5.0, 10.0
"""Seconds for a connection to come up, and for one try in all, however the answer drips in."""

WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
"""Refusals that pass: timeouts and rate limits. Other 4xx come again however often it is tried."""


def retry_delay(attempt: int, *, first_s: float = FIRST_DELAY_S) -> float:
    """Return seconds to wait after the failed try number `attempt`, counted from 0."""
    return float(min(LONGEST_DELAY_S, first_s * 2 ** min(attempt, 10)))


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what the header Facewire-Signature must say."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """How a webhook is doing.

    Attributes:
        label: its number in the configuration and its host.
        delivered: events that were taken.
        failures: tries that failed.
        dead: events given up: refused, tried too often, or too many for the queue; over restarts.
        waiting: events in the queue.
        trouble: why the last try failed; empty when it did not.
    """

    label: str
    delivered: int
    failures: int
    dead: int
    waiting: int
    trouble: str


class Webhook:
    """Delivers events to one URL, in order.

    Args:
        config: where to, the secret and which events.
        number: which of the webhooks it is, for people.
        outbox: keeps what is pending, from before too; this webhook's alone, and closed by it.
        supervisor: runs the thread again where it fails.
        wall_clock: seconds since 1970.
        first_delay_s: seconds from the first try to the second.
        deadline_s: seconds for one try in all.
    """

    def __init__(
        self,
        config: WebhookConfig,
        *,
        number: int,
        outbox: Outbox,
        supervisor: Supervisor,
        wall_clock: Callable[[], float],
        first_delay_s: float = FIRST_DELAY_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._address = parse_http_address(config.url)
        # Without its path: chats and the like have their secret in it.
        self.label = f"{number} at {self._address.origin}"
        self._secret = config.secret
        self._kinds = frozenset(config.events)
        self._wall_clock = wall_clock
        self._first_delay_s = first_delay_s
        self._deadline_s = deadline_s
        self._outbox = outbox
        pending, self._dead = outbox.pending(self._kinds, limit=MAX_WAITING)
        self._queue = deque(pending)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._delivered = self._failures = 0
        self._trouble = ""
        self._thread = supervisor.thread(
            f"webhook-{number}", self._run, on_failure=self._give_up_after
        )
        self._thread.start()

    def offer(self, event: LoggedEvent) -> None:
        """Take an event to deliver; from any thread, never blocks."""
        if self._kinds and event.kind not in self._kinds:
            return
        with self._changed:
            if len(self._queue) >= MAX_WAITING:
                self._queue.popleft()
                self._dead += 1
            self._queue.append(event)
            self._changed.notify()

    def status(self) -> WebhookStatus:
        """Say how it is doing."""
        return WebhookStatus(
            label=self.label,
            delivered=self._delivered,
            failures=self._failures,
            dead=self._dead,
            waiting=len(self._queue),
            trouble=self._trouble,
        )

    def stop(self) -> None:
        """Ask the thread to end after the try that runs; what waits is kept."""
        self._stopping.set()
        self._thread.stop()
        with self._changed:
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive:
            self._outbox.close()
        if self._queue:
            logger.info("%d events wait for %s until the next start", len(self._queue), self.label)

    def _run(self) -> None:
        while (event := self._next()) is not None:
            is_taken = self._deliver(event)
            if not is_taken and self._stopping.is_set():
                return  # it may be taken after the next start
            self._delivered += is_taken
            self._mark_done(event, is_taken=is_taken)

    def _give_up_after(self, in_row: int) -> None:
        """Give up an event that makes the thread fail again and again; others wait behind it."""
        if in_row % MAX_TRIES == 0 and (event := next(iter(self._queue), None)) is not None:
            logger.error("webhook %s: event %d is given up", self.label, event.id)
            self._mark_done(event, is_taken=False)

    def _mark_done(self, event: LoggedEvent, *, is_taken: bool) -> None:
        with self._changed:
            # A full queue may have given it up meanwhile.
            if self._queue and self._queue[0] is event:
                self._queue.popleft()
                self._dead += not is_taken
        try:
            self._outbox.mark_done(event.id, self._dead)
        except EventLogError as error:
            logger.error("webhook %s: event %d may come twice: %s", self.label, event.id, error)

    def _next(self) -> LoggedEvent | None:
        """Wait for an event; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue[0]

    def _deliver(self, event: LoggedEvent) -> bool:
        """Try until the event is taken, refused, or tried often enough; return whether taken."""
        for attempt in range(MAX_TRIES):
            current = self._current(event)
            if current is None:
                return False
            text = json.dumps({"event": event_json(current)}, ensure_ascii=False)
            body = text.encode(errors="replace")  # a lone surrogate has no UTF-8
            trouble, is_final = self._try(event, body)
            if trouble != self._trouble:
                if trouble:
                    logger.warning("webhook %s: %s", self.label, trouble)
                else:
                    logger.info("webhook %s: takes events again", self.label)
                self._trouble = trouble
            if not trouble:
                return True
            self._failures += 1
            delay_s = retry_delay(attempt, first_s=self._first_delay_s)
            if is_final or attempt == MAX_TRIES - 1 or self._stopping.wait(delay_s):
                break
        if not self._stopping.is_set():
            logger.error("webhook %s: event %d is given up", self.label, event.id)
        return False

    def _current(self, event: LoggedEvent) -> LoggedEvent | None:
        """Return an event as the log has it now; None where its person was erased meanwhile."""
        try:
            current = self._outbox.current(event)
        except EventLogError as error:
            logger.warning("webhook %s: event %d as it was: %s", self.label, event.id, error)
            return event
        if current is None:
            logger.info("webhook %s: event %d was erased before", self.label, event.id)
        return current

    def _try(self, event: LoggedEvent, body: bytes) -> tuple[str, bool]:
        """Post once; return what went wrong, empty for nothing, and whether that is final."""
        deadline = time.monotonic() + self._deadline_s
        try:
            status = _post(self._address, body, self._headers(event, body), deadline)
        except (OSError, http.client.HTTPException) as error:
            return _describe(error), False
        if 200 <= status < 300:
            return "", False
        is_final = 300 <= status < 500 and status not in WORTH_ANOTHER_TRY
        return f"answers with status {status}", is_final

    def _headers(self, event: LoggedEvent, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._wall_clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facewire",
            "Facewire-Event": event.kind.value,
            "Facewire-Delivery": str(event.id),
            "Facewire-Timestamp": timestamp,
        }
        if self._secret:
            headers["Facewire-Signature"] = signature(self._secret, timestamp, body)
        if self._address.username is not None:
            pair = f"{self._address.username}:{self._address.password}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers


def _post(address: HttpAddress, body: bytes, headers: dict[str, str], deadline: float) -> int:
    """Post and return the status, without reading the answer's body.

    Redirects are not followed, since what is posted is signed.

    Args:
        address: where to.
        body: what to post.
        headers: sent as they are.
        deadline: seconds, `time.monotonic`, at which the answer's headers must have come.
    """
    connection = (
        http.client.HTTPSConnection(
            address.host, address.port, timeout=CONNECT_S, context=ssl.create_default_context()
        )
        if address.scheme == "https"
        else http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_S)
    )
    try:
        connection.request("POST", address.target, body, headers)
        # `getresponse` would wait anew for each byte.
        reader = cast(socket.socket, _Reader(connection.sock, deadline))
        response = http.client.HTTPResponse(reader, method="POST")
        response.begin()
        return response.status
    finally:
        connection.close()


class _Reader(io.RawIOBase):
    """Reads a socket until a deadline and no longer."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Read once."""
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining_s)
        return self._sock.recv_into(memoryview(buffer))

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return itself as `HTTPResponse` asks a socket for it."""
        return io.BufferedReader(self)


def _describe(error: OSError | http.client.HTTPException) -> str:
    """Say what went wrong in our own words: some errors quote what the receiver sent."""
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has no valid certificate: {error.verify_message}".lower()
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return f"cannot be reached: {error.strerror}".lower()
    if isinstance(error, ssl.SSLError):
        return "cannot be reached: no TLS there"
    if isinstance(error, ConnectionError):
        return "cannot be reached: it broke off the connection"
    return "does not answer in HTTP"
