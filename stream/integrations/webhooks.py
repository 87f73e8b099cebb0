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
from collections.abc import Callable

from stream.config import WebhookConfig
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox
from stream.http_address import origin, parse_http_address
from stream.integrations.delivery import FIRST_DELAY_S, Delivery
from stream.integrations.http_post import HttpPost, PostError
from stream.integrations.signing import delivery_id, legacy_signature, signature
from stream.schemas.events import event_json
from stream.supervisor import Supervisor

DEADLINE_S = 10.0
"""Seconds for one try in all, however slowly the answer arrives."""

WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
"""Temporary refusals: timeouts and rate limits. A retry does not change other 4xx."""


class Webhook(Delivery):
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
        label = f"{number} at {origin(url)}"
        super().__init__(
            f"webhook-{number}",
            label=label,
            title=f"webhook {label}",
            kinds=config.events,
            outbox=outbox,
            supervisor=supervisor,
            first_delay_s=first_delay_s,
        )
        self._post = HttpPost(url, deadline_s=deadline_s)
        self._secret, self._key = config.secret, config.key
        self._wall_clock = wall_clock
        self.start()

    def send(self, event: LoggedEvent) -> tuple[str, bool]:
        """Post once; return what went wrong, empty for nothing, and whether that is final."""
        text = json.dumps({"event": event_json(event)}, ensure_ascii=False)
        body = text.encode(errors="replace")  # a lone surrogate has no UTF-8
        try:
            status = self._post(body, self._headers(event, body))
        except PostError as error:
            return str(error), False
        if 200 <= status < 300:
            return "", False
        is_final = 300 <= status < 500 and status not in WORTH_ANOTHER_TRY
        return f"answers with status {status}", is_final

    def close(self) -> None:
        """Release the HTTP client."""
        self._post.close()

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
