"""The programs at the other end of the integrations, on 127.0.0.1; each fails when it is told to.

For scripts/soak_integrations.py. The broker is a real mosquitto (`tests.mosquitto`); here are what
takes webhooks, notifications and Frigate's requests, and what notes the messages that the broker
acknowledged.
"""

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Literal, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.ports import HeldPort
from tests.serving import Serving

Mode = Literal["up", "down", "hang", "slow", "error", "cut"]

FAULTS: tuple[Mode, ...] = ("down", "hang", "slow", "error", "cut")

SLOW_S = 3.0
"""Seconds until a slow answer: less than any deadline of the service."""

PUBLISH, PUBACK = 3, 4
"""Types of MQTT 3.1.1, 2.2.1."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request with its body; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpCounterpart:
    """An HTTP server on a port of its own.

    Args:
        take: processes a request; returns status and body of the answer.

    Attributes:
        port: the same for as long as it exists.
        n_requests: received, also those that failed.
    """

    def __init__(self, take: Callable[[Posted], tuple[int, bytes]]) -> None:
        self._take = take
        self._held = HeldPort()
        self.port = self._held.port
        self.n_requests = 0
        self._mode: Mode = "up"
        self._changed = threading.Condition()
        self._serving: Serving | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.fail("down")
        self._held.close()

    def fail(self, mode: Mode) -> None:
        """Fail in a way from now on, or with "up" no longer.

        "down" refuses connections, "hang" never answers, "slow" answers late, "error" answers 500,
        and "cut" processes the request, then breaks off before the answer.
        """
        with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode == "down" and self._serving is not None:
            self._serving.close()
            self._serving = None
        elif mode != "down" and self._serving is None:
            self._listen()

    def _listen(self) -> None:
        ours = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def _answer(self) -> None:
                ours.answer(self)

            do_GET = do_POST = _answer  # noqa: N815 - names of the standard library

            def log_message(self, *arguments: object) -> None:
                pass

        # A client that gives up waiting is what is tested.
        self._serving = Serving(Handler, port=self.port, is_quiet=True)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request as the mode is; for the handler."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        posted = Posted(handler.command, handler.path, headers, body)
        with self._changed:
            self.n_requests += 1
            mode = self._mode
            if mode == "hang":
                self._changed.wait_for(lambda: self._mode != "hang", 60)
                return  # without an answer
        if mode == "slow":
            time.sleep(SLOW_S)
        status, content = (500, b"") if mode == "error" else self._take(posted)
        if mode == "cut":
            return
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


class EventSink:
    """Counts the events that a receiver accepted.

    Args:
        event_id: returns the id of a request's event.

    Attributes:
        came: how often each event came, in the order of the first time.
    """

    def __init__(self, event_id: Callable[[Posted], int], *, status: int = 200) -> None:
        self.came: Counter[int] = Counter()
        self._event_id, self._status = event_id, status

    def __call__(self, posted: Posted) -> tuple[int, bytes]:
        """Accept a request; see `HttpCounterpart`."""
        self.came[self._event_id(posted)] += 1
        return self._status, b"{}"


class Tap:
    """A relay between the service and the broker that notes what the broker acknowledged.

    A subscriber cannot tell: what a broker had acknowledged when it was killed reaches nobody.

    Args:
        broker_port: of 127.0.0.1.

    Attributes:
        port: for the service.
        events: how often each event was acknowledged, by topic, in the order of the first time; of
            payloads that are JSON with an "id".
        n_acknowledged: messages.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.events: dict[str, Counter[int]] = {}
        self.n_acknowledged = 0
        self._sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(5)

    def came(self, topic: str) -> Counter[int]:
        """Return how often each event of a topic was acknowledged."""
        return self.events.get(topic, Counter())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        sent: dict[bytes, tuple[str, bytes]] = {}
        with client, contextlib.suppress(OSError):
            broker = socket.create_connection(("127.0.0.1", self._broker_port))
            self._sockets |= {client, broker}
            with broker:
                back = threading.Thread(
                    target=self._forward, args=(broker, client, self._acknowledged, sent)
                )
                back.start()
                self._forward(client, broker, _published, sent)
                back.join()
            self._sockets -= {client, broker}

    def _forward(
        self,
        source: socket.socket,
        target: socket.socket,
        note: Callable[[int, bytes, dict[bytes, tuple[str, bytes]]], None],
        sent: dict[bytes, tuple[str, bytes]],
    ) -> None:
        with contextlib.suppress(OSError):
            for first, whole, body in _packets(source):
                note(first, body, sent)
                target.sendall(whole)
        for each in (source, target):  # what one side ends, ends for the other
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _acknowledged(self, first: int, body: bytes, sent: dict[bytes, tuple[str, bytes]]) -> None:
        if first >> 4 != PUBACK or body[:2] not in sent:
            return
        topic, payload = sent.pop(body[:2])
        self.n_acknowledged += 1
        with contextlib.suppress(ValueError, TypeError, KeyError):
            document = json.loads(payload)
            event = document.get("event", document) if isinstance(document, dict) else {}
            self.events.setdefault(topic, Counter())[int(event["id"])] += 1


def _published(first: int, body: bytes, sent: dict[bytes, tuple[str, bytes]]) -> None:
    """Note a PUBLISH with QoS 1 by its packet identifier, MQTT 3.1.1, 3.3."""
    if first >> 4 == PUBLISH and first & 0b0110:
        size = int.from_bytes(body[:2], "big")
        topic = body[2 : 2 + size].decode(errors="replace")
        # states and pictures are not counted one by one
        payload = body[4 + size :] if len(body) < 20_000 else b""
        sent[body[2 + size : 4 + size]] = topic, payload


def _packets(source: socket.socket) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield first byte, whole packet and its part after the fixed header, MQTT 3.1.1, 2.2."""
    with source.makefile("rb") as file:
        while first := file.read(1):
            head, size, shift = bytearray(first), 0, 0
            while byte := file.read(1):
                head += byte
                size |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    break
            body = file.read(size)
            if len(body) < size:
                return
            yield first[0], bytes(head) + body, body


class FrigateMessages:
    """Publishes what a Frigate does about the people of its cameras; reconnects by itself.

    Args:
        broker_port: of 127.0.0.1.
        cameras: Frigate's names.
        stay_s: seconds for which it follows a person.

    Attributes:
        n_people: events begun.
        n_heard: messages of the service on the topic of all events.
    """

    def __init__(self, broker_port: int, cameras: list[str], *, stay_s: float = 8.0) -> None:
        self.n_people = self.n_heard = 0
        self._cameras, self._stay_s = cameras, stay_s
        self._ended = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", broker_port)
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def restart_home_assistant(self) -> None:
        """Publish what Home Assistant does when it has started."""
        self._client.publish("homeassistant/status", "online")

    def _subscribe(self, *_: object) -> None:
        self._client.subscribe("facewire/events", 1)

    def _heard(self, *_: object) -> None:
        self.n_heard += 1

    def _publish(self) -> None:
        began: dict[str, tuple[str, float]] = {}
        while not self._ended.wait(0.5):
            for camera in self._cameras:
                event_id, since = began.get(camera, ("", 0.0))
                kind = "update"
                if not event_id:
                    self.n_people += 1
                    event_id, since = f"{time.time():.6f}-{self.n_people:06}", time.monotonic()
                    began[camera] = event_id, since
                    kind = "new"
                elif time.monotonic() - since > self._stay_s:
                    del began[camera]
                    kind = "end"
                about = {
                    "id": event_id,
                    "camera": camera,
                    "frame_time": time.time(),
                    "label": "person",
                    "false_positive": False,
                    "box": [0, 0, 1280, 720],
                    "stationary": False,
                }
                text = json.dumps({"type": kind, "before": about, "after": about})
                self._client.publish("frigate/events", text)
