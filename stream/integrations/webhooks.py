"""Delivery of events to webhooks: signed HTTP POSTs with retries, in order, at least once.

Each webhook has a thread and a bounded queue of its own. Events that are pending at a stop, or when
the process is killed, are delivered after the next start, with the same id.

The body is

    {"event": {"id", "kind", "camera", "at", "name", ...}}      as in GET /api/events

and the headers are those of Standard Webhooks (https://www.standardwebhooks.com):

    webhook-id          identifies the delivery, the same at each try: receivers drop repeats by it
    webhook-timestamp   seconds since 1970, of this try
    webhook-signature   see `stream.integrations.signing`; only where a secret is set
    Facewire-Event      kind of the event

`Facewire-Delivery` (the event's id), `Facewire-Timestamp` and `Facewire-Signature` are deprecated:
version 0.2 is the last that sends them. Any 2xx is a delivery.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stream.config import WebhookConfig
from stream.errors import EventLogError
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox
from stream.http_address import origin, parse_http_address
from stream.integrations.http_post import HttpPost, PostError
from stream.integrations.signing import delivery_id, legacy_signature, signature
from stream.schemas.events import event_json
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Events kept for a receiver that is unavailable; the oldest is given up first."""

MAX_TRIES = 8
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
"""A try, then others after 1, 2, 4 ... seconds: two minutes, enough for a receiver to restart."""

DEADLINE_S = 10.0
"""Seconds for one try in all, however slowly the answer arrives."""

WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
"""Temporary refusals: timeouts and rate limits. A retry does not change other 4xx."""


def retry_delay(attempt: int, *, first_s: float = FIRST_DELAY_S) -> float:
    """Return seconds to wait after the failed try number `attempt`, counted from 0."""
    return float(min(LONGEST_DELAY_S, first_s * 2 ** min(attempt, 10)))


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """State of a webhook.

    Attributes:
        label: number in the configuration, and host.
        delivered: events that the receiver accepted.
        failures: tries that failed.
        dead: events given up: refused, tried too often, or too many for the queue; over restarts.
        waiting: pending events.
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
        config: URL, secret and kinds of events.
        number: position in the configuration, for messages.
        outbox: stores the pending events; owned and closed by this webhook.
        supervisor: restarts the thread after a failure.
        wall_clock: seconds since 1970.
        first_delay_s: seconds from the first try to the second.
        deadline_s: seconds for one try.
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
        url = parse_http_address(config.url)
        # Without the path: in the URLs of chat services it is a secret.
        self.label = f"{number} at {origin(url)}"
        self._post = HttpPost(url, deadline_s=deadline_s)
        self._secret, self._key = config.secret, config.key
        self._kinds = frozenset(config.events)
        self._wall_clock = wall_clock
        self._first_delay_s = first_delay_s
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
        """Add an event to the queue; from any thread, never blocks."""
        if self._kinds and event.kind not in self._kinds:
            return
        with self._changed:
            if len(self._queue) >= MAX_WAITING:
                self._queue.popleft()
                self._dead += 1
            self._queue.append(event)
            self._changed.notify()

    def status(self) -> WebhookStatus:
        """Return the state."""
        return WebhookStatus(
            label=self.label,
            delivered=self._delivered,
            failures=self._failures,
            dead=self._dead,
            waiting=len(self._queue),
            trouble=self._trouble,
        )

    def stop(self) -> None:
        """Ask the thread to end after the current try; pending events are kept."""
        self._stopping.set()
        self._thread.stop()
        with self._changed:
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)
        if not self._thread.is_alive:
            self._outbox.close()
            self._post.close()
        if self._queue:
            logger.info(
                "%d events for %s are pending until the next start", len(self._queue), self.label
            )

    def _run(self) -> None:
        while (event := self._next()) is not None:
            is_accepted = self._deliver(event)
            if not is_accepted and self._stopping.is_set():
                return  # it stays pending
            self._delivered += is_accepted
            self._mark_done(event, is_accepted=is_accepted)

    def _give_up_after(self, in_row: int) -> None:
        """Give up an event that makes the thread fail repeatedly; others are queued behind it."""
        if in_row % MAX_TRIES == 0 and (event := next(iter(self._queue), None)) is not None:
            logger.error("webhook %s: event %d is given up", self.label, event.id)
            self._mark_done(event, is_accepted=False)

    def _mark_done(self, event: LoggedEvent, *, is_accepted: bool) -> None:
        with self._changed:
            # A full queue may have dropped it meanwhile.
            if self._queue and self._queue[0] is event:
                self._queue.popleft()
                self._dead += not is_accepted
        try:
            self._outbox.mark_done(event.id, self._dead)
        except EventLogError as error:
            logger.error(
                "webhook %s: event %d may be delivered twice: %s", self.label, event.id, error
            )

    def _next(self) -> LoggedEvent | None:
        """Wait for an event; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping.is_set())
            return None if self._stopping.is_set() else self._queue[0]

    def _deliver(self, event: LoggedEvent) -> bool:
        """Try until the event is accepted, refused or given up; return whether it was accepted."""
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
                    logger.info("webhook %s: accepts events again", self.label)
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
        """Return an event as the log has it now; None if its person was erased meanwhile."""
        try:
            current = self._outbox.current(event)
        except EventLogError as error:
            logger.warning(
                "webhook %s: event %d is sent as it was: %s", self.label, event.id, error
            )
            return event
        if current is None:
            logger.info("webhook %s: event %d was erased before its delivery", self.label, event.id)
        return current

    def _try(self, event: LoggedEvent, body: bytes) -> tuple[str, bool]:
        """Post once; return what went wrong, empty for nothing, and whether that is final."""
        try:
            status = self._post(body, self._headers(event, body))
        except PostError as error:
            return str(error), False
        if 200 <= status < 300:
            return "", False
        is_final = 300 <= status < 500 and status not in WORTH_ANOTHER_TRY
        return f"answers with status {status}", is_final

    def _headers(self, event: LoggedEvent, body: bytes) -> dict[str, str]:
        message_id = delivery_id(event)
        timestamp = str(int(self._wall_clock()))
        headers = {
            "Content-Type": "application/json",
            "Facewire-Event": event.kind.value,
            "Facewire-Delivery": str(event.id),
            "Facewire-Timestamp": timestamp,
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
        }
        if self._secret:
            headers["webhook-signature"] = signature(self._key, message_id, timestamp, body)
            headers["Facewire-Signature"] = legacy_signature(self._secret, timestamp, body)
        return headers
