"""All that a service publishes over MQTT, opened, started and stopped together."""

import asyncio
import socket
import time
from collections.abc import Callable
from importlib.metadata import version

from gallery import Gallery
from stream.cameras.registry import Cameras
from stream.config import Config
from stream.events.log import LoggedEvent
from stream.events.webhook_queue import Outbox
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.mqtt.events import MqttEvents, outbox_key
from stream.integrations.mqtt.past import Past
from stream.integrations.mqtt.payloads import Home
from stream.integrations.mqtt.publisher import MqttPublisher
from stream.integrations.status import IntegrationStatus, of_mqtt
from stream.supervisor import Supervisor

FINISH_S = 0.5
"""Seconds at a stop in which the last events are sent; the others after the next start."""

LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
ALL_HOSTS = frozenset({"0.0.0.0", "::"})


def home_of(config: Config) -> Home:
    """Return what all payloads of a service share."""
    host = config.server.host
    page_url = config.mqtt.page_url
    if not page_url and host not in LOCAL_HOSTS:
        name = socket.gethostname() if host in ALL_HOSTS else host
        page_url = f"http://{f'[{name}]' if ':' in name else name}:{config.server.port}/"
    return Home(
        base=config.mqtt.base,
        prefix=config.mqtt.discovery_prefix,
        instance=config.mqtt.instance,
        version=version("facewire"),
        page_url=page_url,
        has_faces=config.mqtt.faces,
    )


class MqttLink:
    """The client of a broker, and what publishes there.

    Args:
        config: of the service, with a broker.
        supervisor: restarts the threads after a failure.

    Attributes:
        client: for others who publish or subscribe.

    Raises:
        EventLogError: if the queue of events cannot be opened; the log must have been.
    """

    def __init__(self, config: Config, *, supervisor: Supervisor) -> None:
        self._config = config
        self._home = home_of(config)
        self._supervisor = supervisor
        self.client = MqttClient(config.mqtt, supervisor=supervisor)
        self._events = MqttEvents(
            self._home,
            self.client,
            outbox=Outbox(config.gallery_directory, outbox_key(config.mqtt)),
            supervisor=supervisor,
        )
        self._state: MqttPublisher | None = None
        self._events.start()

    def offer(self, event: LoggedEvent) -> None:
        """Add an event to the queue; from any thread, never blocks."""
        self._events.offer(event)

    def start(
        self,
        *,
        cameras: Cameras,
        gallery: Gallery,
        has_visitors: Callable[[], bool],
        is_ignored: Callable[[str], bool],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        """Start to publish; once. See `MqttPublisher` for the arguments."""
        self._state = MqttPublisher(
            self._config.mqtt,
            self._home,
            self.client,
            cameras=cameras,
            gallery=gallery,
            past=Past(self._config.gallery_directory),
            has_visitors=has_visitors,
            is_ignored=is_ignored,
            absence_s=self._config.events.absence_s,
            loop=loop,
            supervisor=self._supervisor,
            clock=clock,
        )
        self._state.start()

    def stop(self) -> None:
        """Send the last events for a moment, and end the threads. Blocks for that moment."""
        ends_at = time.monotonic() + FINISH_S
        while self._events.status().waiting and time.monotonic() < ends_at:
            if not self.client.wait_connected(0):
                break
            time.sleep(0.01)
        self._events.stop()
        if self._state is not None:
            self._state.stop()
        self.client.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads' end; they share the time."""
        ends_at = time.monotonic() + timeout_s
        for each in (self._events, self._state, self.client):
            if each is not None:
                each.join(max(0.0, ends_at - time.monotonic()))

    @property
    def waiting(self) -> int:
        """Events, messages and states that wait."""
        return self.client.status().waiting + self._events.status().waiting

    @property
    def dropped(self) -> int:
        """Messages dropped and events given up."""
        return self.client.status().dropped + self._events.status().dead

    def problem(self) -> str:
        """Return what is wrong, one line; empty if nothing is."""
        status, events = self.client.status(), self._events.status()
        if not status.trouble:
            return ""
        return (
            f"the MQTT broker {status.broker} {status.trouble}: {events.waiting} events wait, "
            f"{self.dropped} were given up"
        )

    def status(self) -> IntegrationStatus:
        """Return the state for people."""
        return of_mqtt(self.client.status(), waiting=self.waiting, dropped=self.dropped)
