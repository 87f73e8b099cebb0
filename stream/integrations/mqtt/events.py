"""Events over MQTT: in order, at least once, by the same queue as those of webhooks."""

from stream.config import MqttConfig
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox, hook_keys
from stream.integrations.delivery import Delivery
from stream.integrations.mqtt.client import MqttClient, MqttUnavailableError
from stream.integrations.mqtt.payloads import Home, event_payload, event_topics
from stream.supervisor import Supervisor

DEADLINE_S = 15.0
"""Seconds until a message must be acknowledged."""


def outbox_key(config: MqttConfig) -> str:
    """Return the key of the queue of a broker; another broker gets no earlier events."""
    return hook_keys([f"{config.url} {config.base}"])[0]


class MqttEvents(Delivery):
    """Publishes events, each on the topic of its camera and on that of all events.

    Args:
        home: the begin of the topics.
        client: publishes them.
        outbox: stores the pending events; owned and closed by this.
        supervisor: restarts the thread after a failure.
    """

    def __init__(
        self, home: Home, client: MqttClient, *, outbox: Outbox, supervisor: Supervisor
    ) -> None:
        super().__init__(
            "mqtt-events",
            label=home.base,
            title="mqtt",
            kinds=(),
            outbox=outbox,
            supervisor=supervisor,
            max_tries=None,
            is_ready=client.wait_connected,
        )
        self._home = home
        self._client = client

    def send(self, event: LoggedEvent) -> tuple[str, bool]:
        """Publish and wait for the broker's acknowledgment; see `Delivery.send`."""
        payload = event_payload(event)
        try:
            for topic in event_topics(self._home, event):
                self._client.deliver(topic, payload, timeout_s=DEADLINE_S)
        except MqttUnavailableError as error:
            return str(error), False
        return "", False

    def close(self) -> None:
        """Do nothing: the client is somebody else's."""
