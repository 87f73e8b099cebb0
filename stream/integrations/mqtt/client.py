"""A client of one MQTT broker, in a thread of its own: reconnects, and holds up nobody.

State is retained and latest-wins: of each topic only the newest payload is sent, and all of them
again after every connection, because a broker may forget. Messages are queued while the broker is
away; a full queue drops the oldest, and counts it.

Retained messages of the client's own topics that are not in its state are emptied at each
connection: what an earlier run published of a person who was erased since must not stay.

The will of an earlier connection, such as of a run that a power cut ended, may be published minutes
after the new connection: the client then publishes again that it is online.
"""

import asyncio
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiomqtt

from stream.config import MqttConfig
from stream.integrations.mqtt.connection import is_refusal, open_client, reason
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

ONLINE, OFFLINE = "online", "offline"

MAX_WAITING = 1000
"""Messages kept while the broker is away."""

MAX_IN_FLIGHT = 50
"""States sent at one time before their acknowledgments."""

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
"""Seconds until the next try to connect: at first, and at most after doubling."""

REFUSED_DELAY_S = 60.0
"""The same after a wrong password: brokers lock out who tries too often."""

STOP_S = 1.0
"""Seconds for the last states and the word that the service is offline, at a stop."""

Payload = str | bytes
Handler = Callable[[str, bytes], None]
"""Called with topic and payload of a message, in the client's thread; must not block."""


class MqttUnavailableError(Exception):
    """Raised by `MqttClient.deliver` when the broker did not acknowledge a message."""


@dataclass(frozen=True, slots=True)
class MqttStatus:
    """State of a client.

    Attributes:
        broker: host and port.
        is_connected: whether the broker has accepted the client.
        published: messages and states that the broker acknowledged.
        dropped: messages dropped because too many were waiting.
        errors: failed connections, and subscriptions that the broker refused.
        waiting: messages and states that wait.
        trouble: why the client is not connected, or misses messages, one line; empty if neither.
    """

    broker: str
    is_connected: bool
    published: int
    dropped: int
    errors: int
    waiting: int
    trouble: str


@dataclass(slots=True, eq=False)
class _Message:
    topic: str
    payload: Payload
    qos: int
    done: "Future[None]" = field(default_factory=Future)


class MqttClient:
    """Publishes to one broker and receives from it; every method may be called from any thread.

    Args:
        config: broker, user and base topic.
        supervisor: restarts the thread after a failure.
        first_delay_s: seconds from a failed connection to the next try.
        refused_delay_s: the same after the broker refused the client.
    """

    def __init__(
        self,
        config: MqttConfig,
        *,
        supervisor: Supervisor,
        first_delay_s: float = FIRST_DELAY_S,
        refused_delay_s: float = REFUSED_DELAY_S,
    ) -> None:
        self._config = config
        self._label = f"the broker {config.broker}"
        self._first_delay_s = first_delay_s
        self._refused_delay_s = refused_delay_s
        self._status_topic = f"{config.base}/status"
        self._identifier = f"facewire-{config.instance}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._state: dict[str, Payload] = {}
        self._unsent: dict[str, None] = {}
        self._messages: deque[_Message] = deque()
        self._deliveries: deque[_Message] = deque()
        self._handlers: list[tuple[str, Handler, bool]] = []
        self._unsubscribed: list[str] = []
        self._own: tuple[str, ...] = ()
        self._on_connect: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: list[asyncio.Event] = []
        self._is_stopping = False
        self._is_cleaning = False
        self._connected = threading.Event()
        self._published = self._dropped = self._errors = 0
        self._trouble = ""
        self._logged = ""
        self._refused: dict[str, None] = {}
        self._thread = supervisor.thread("mqtt", self._run)

    def start(self) -> None:
        """Connect, and reconnect until `stop`; once, when the first state is set."""
        self._thread.start()

    def set(self, topic: str, payload: Payload) -> None:
        """Set the retained payload of a topic; sent now or once the broker is there."""
        with self._lock:
            if self._state.get(topic) == payload:
                return
            self._state[topic] = payload
            self._unsent[topic] = None
        self._wake()

    def clear(self, topic: str) -> None:
        """Remove a topic: the broker keeps nothing of it."""
        with self._lock:
            self._state.pop(topic, None)
            self._unsent[topic] = None
        self._wake()

    def resend(self) -> None:
        """Send the whole state again."""
        with self._lock:
            self._unsent.update(dict.fromkeys(self._state))
        self._wake()

    def publish(
        self, topic: str, payload: Payload, *, qos: int = 1, retain: bool = False
    ) -> "Future[None]":
        """Publish a message, or with `retain` set a state; returns at once.

        Returns:
            A future that is done when the broker has acknowledged the message, or fails with
            `MqttUnavailableError` when it was dropped; of a state it is done at once.
        """
        message = _Message(topic, payload, qos)
        if retain:
            self.set(topic, payload)
            message.done.set_result(None)
            return message.done
        dropped = None
        with self._lock:
            if len(self._messages) >= MAX_WAITING:
                dropped = self._messages.popleft()
                self._dropped += 1
            self._messages.append(message)
        if dropped is not None:
            _fail(dropped, "too many messages wait")
        self._wake()
        return message.done

    def deliver(self, topic: str, payload: Payload, *, timeout_s: float) -> None:
        """Publish a message and wait until the broker has acknowledged it. Blocks.

        Raises:
            MqttUnavailableError: if it has not in time; then the message may have arrived.
        """
        message = _Message(topic, payload, 1)
        with self._lock:
            if not self._connected.is_set():
                raise MqttUnavailableError(self._trouble or "is not connected")
            self._deliveries.append(message)
        self._wake()
        try:
            message.done.result(timeout_s)
        except TimeoutError:
            message.done.cancel()
            raise MqttUnavailableError("does not answer in time") from None

    def subscribe(self, topic: str, handler: Handler, *, takes_retained: bool = False) -> None:
        """Call a handler with each message of a topic, which may hold the wildcards + and #.

        Args:
            topic: or a filter of topics.
            handler: called in the client's thread; must not block.
            takes_retained: whether also with what the broker kept, which is of the past.
        """
        with self._lock:
            self._handlers.append((topic, handler, takes_retained))
            self._unsubscribed.append(topic)
        self._wake()

    def own(self, *topics: str) -> None:
        """Empty retained messages of these topics at each connection, unless they are state."""
        self._own = topics

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Call a function after each connection, in the client's thread; it must not block."""
        self._on_connect.append(callback)

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the client is connected; return whether it is."""
        return self._connected.wait(timeout_s)

    def status(self) -> MqttStatus:
        """Return the state."""
        with self._lock:
            waiting = len(self._unsent) + len(self._messages) + len(self._deliveries)
            trouble = self._trouble
            refused = next(iter(self._refused), "")
        if not trouble and refused:
            trouble = f"refuses the subscription to {refused}: allow it to the user"
        return MqttStatus(
            broker=str(self._config.broker),
            is_connected=self._connected.is_set(),
            published=self._published,
            dropped=self._dropped,
            errors=self._errors,
            waiting=waiting,
            trouble=trouble,
        )

    def stop(self) -> None:
        """Send what waits for a moment, publish that the service is offline, and disconnect."""
        self._is_stopping = True
        self._thread.stop()
        self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        if self._thread.is_alive:
            self._thread.join(timeout_s)

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        for event in self._changed:
            event.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._stay_connected())
        finally:
            self._loop = None
            self._disconnected()

    async def _stay_connected(self) -> None:
        """Connect, and again after each failure, until the stop."""
        wake = asyncio.Event()
        self._loop, self._changed = asyncio.get_running_loop(), [wake]
        delay_s = self._first_delay_s
        while not self._is_stopping:
            was_connected = False
            try:
                will = aiomqtt.Will(self._status_topic, OFFLINE, qos=1, retain=True)
                async with open_client(
                    self._config, identifier=self._identifier, will=will
                ) as client:
                    was_connected = True
                    client.pending_calls_threshold = 2 * MAX_IN_FLIGHT
                    await self._use(client)
            except (aiomqtt.MqttError, OSError) as error:
                if self._is_stopping:
                    return
                if was_connected:
                    delay_s = self._first_delay_s
                wait_s = self._refused_delay_s if is_refusal(error) else delay_s
                self._failed(reason(error, self._config), wait_s)
                delay_s = min(2 * delay_s, LONGEST_DELAY_S)
            else:
                return
            finally:
                self._changed = [wake]
                self._disconnected()
            await self._pause(wake, wait_s)

    async def _pause(self, wake: asyncio.Event, seconds: float) -> None:
        """Wait, but not longer than until the stop."""
        ends_at = asyncio.get_running_loop().time() + seconds
        while not self._is_stopping:
            left_s = ends_at - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), left_s)
            wake.clear()

    def _failed(self, trouble: str, wait_s: float) -> None:
        self._errors += 1
        self._trouble = trouble
        # Once per reason: a broker that is away overnight must not fill the log.
        level = logging.DEBUG if trouble == self._logged else logging.WARNING
        self._logged = trouble
        logger.log(level, "mqtt: %s %s (retrying in %.0f s)", self._label, trouble, wait_s)

    def _disconnected(self) -> None:
        with self._lock:
            self._connected.clear()
            failed = list(self._deliveries)
            self._deliveries.clear()
        for message in failed:
            _fail(message, self._trouble or "closed the connection")

    async def _use(self, client: aiomqtt.Client) -> None:
        """Exchange messages until the stop; raises MqttError when the connection ends."""
        # What the broker keeps arrives before what is published now, and is compared with it.
        with self._lock:
            topics = [topic for topic, *_ in self._handlers]
            self._unsubscribed.clear()
            self._is_cleaning = bool(self._own)
            self._refused.clear()
            # First the topics that are emptied: they may hold what somebody wanted erased.
            gone = [topic for topic in self._unsent if topic not in self._state]
            self._unsent = dict.fromkeys([*gone, *self._state])
        receiving = asyncio.create_task(self._receive(client))
        try:
            own = (*self._own, self._status_topic)
            await self._subscribe(client, list(dict.fromkeys((*own, *topics))))
            await client.publish(self._status_topic, ONLINE, qos=1, retain=True)
            with self._lock:
                self._connected.set()
            if self._trouble or not self._published:
                logger.info("mqtt: connected to %s", self._label)
            self._trouble = self._logged = ""
            for callback in self._on_connect:
                callback()
            await self._send(client, receiving)
        finally:
            receiving.cancel()
            with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await receiving

    async def _subscribe(self, client: aiomqtt.Client, topics: Sequence[str]) -> None:
        if not topics:
            return
        codes: Sequence[Any] = await client.subscribe([(topic, 1) for topic in topics])
        for topic, code in zip(topics, codes, strict=True):
            if getattr(code, "value", code) >= 128:
                self._errors += 1
                with self._lock:
                    self._refused[topic] = None
                logger.warning("mqtt: %s refuses the subscription to %s", self._label, topic)

    async def _send(self, client: aiomqtt.Client, receiving: "asyncio.Task[None]") -> None:
        """Send states and messages as they come."""
        states, messages = asyncio.Event(), asyncio.Event()
        self._changed = [states, messages]
        tasks = [
            asyncio.create_task(self._send_states(client, states)),
            asyncio.create_task(self._send_messages(client, messages)),
        ]
        try:
            done, _ = await asyncio.wait([*tasks, receiving], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            # Both return at a stop, when nothing waits.
            await asyncio.wait(tasks, timeout=STOP_S)
            await client.publish(self._status_topic, OFFLINE, qos=1, retain=True, timeout=STOP_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_states(self, client: aiomqtt.Client, changed: asyncio.Event) -> None:
        while True:
            changed.clear()
            with self._lock:
                topics, self._unsubscribed = self._unsubscribed, []
                batch = {
                    topic: self._state.get(topic, "")
                    for topic, _ in zip(self._unsent, range(MAX_IN_FLIGHT), strict=False)
                }
            await self._subscribe(client, topics)
            # Only the first one that fails is raised; all are sent again after the next connection.
            await asyncio.gather(
                *(client.publish(topic, each, qos=1, retain=True) for topic, each in batch.items())
            )
            with self._lock:
                for topic, payload in batch.items():
                    if self._state.get(topic, "") == payload:
                        self._unsent.pop(topic, None)
                self._published += len(batch)
            if not batch:
                if self._is_stopping:
                    return
                await changed.wait()

    async def _send_messages(self, client: aiomqtt.Client, changed: asyncio.Event) -> None:
        while True:
            changed.clear()
            for queue in (self._deliveries, self._messages):
                with self._lock:
                    message = queue[0] if queue else None
                if message is not None:
                    break
            if message is None:
                if self._is_stopping:
                    return
                await changed.wait()
                continue
            await client.publish(message.topic, message.payload, qos=message.qos)
            self._published += 1
            with self._lock:
                if queue and queue[0] is message:  # a full queue may have dropped it meanwhile
                    queue.popleft()
            with suppress(InvalidStateError):
                message.done.set_result(None)

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic)
            payload = message.payload if isinstance(message.payload, bytes) else b""
            is_said = topic == self._status_topic and not message.retain
            if is_said and payload == OFFLINE.encode() and not self._is_stopping:
                logger.info(
                    "mqtt: %s published that the service is offline; it is not", self._label
                )
                await client.publish(self._status_topic, ONLINE, qos=1, retain=True)
            if self._is_cleaning:
                if is_said and payload == ONLINE.encode():
                    # Ours, sent after the subscription: all that the broker keeps has arrived.
                    self._is_cleaning = False
                    await client.unsubscribe(list(self._own))
                elif message.retain and any(message.topic.matches(each) for each in self._own):
                    self._empty_unless_state(topic, payload)
            for wanted, handler, takes_retained in self._handlers:
                if message.topic.matches(wanted) and (takes_retained or not message.retain):
                    handler(topic, payload)

    def _empty_unless_state(self, topic: str, payload: bytes) -> None:
        with self._lock:
            if not payload or topic in self._state or topic == self._status_topic:
                return
            self._unsent[topic] = None
        logger.info("mqtt: %s is emptied: it is not published any more", topic)
        self._wake()


def _fail(message: _Message, why: str) -> None:
    with suppress(InvalidStateError):
        message.done.set_exception(MqttUnavailableError(why))
