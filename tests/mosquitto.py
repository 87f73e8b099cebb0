"""A real MQTT broker for tests, mosquitto, and a client that records what is published there."""

import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.ports import HeldPort

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
PASSWORDS = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"


def require_mosquitto() -> None:
    """Skip the test where the broker is not installed."""
    if not Path(PROGRAM).exists():
        pytest.skip("no mosquitto: apt-get install mosquitto")


class Mosquitto:
    """A broker on a port of 127.0.0.1.

    Args:
        directory: empty; its files.
        port: to listen on.
        user, password: that clients must have; none without a user.
        certificate: PEM file with key and certificate, for TLS; None for plain TCP.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        user: str = "",
        password: str = "",
        certificate: Path | None = None,
        settings: str = "",
    ) -> None:
        self.port = port
        self.user, self.password = user, password
        self.is_tls = certificate is not None
        lines = [f"listener {port} 127.0.0.1", "log_type all", settings]
        if os.getuid() == 0:  # otherwise it becomes a user who cannot read these files
            lines.append("user root")
        if user:
            file = directory / "passwords"
            file.touch(0o600)
            subprocess.run([PASSWORDS, "-b", file, user, password], check=True)
            lines.append(f"password_file {file}")
        else:
            lines.append("allow_anonymous true")
        if certificate is not None:
            lines += [f"certfile {certificate}", f"keyfile {certificate}"]
        self._settings = directory / "mosquitto.conf"
        self._settings.write_text("\n".join(lines) + "\n")
        self.log = directory / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address, for facewire's configuration."""
        return f"mqtt{'s' if self.is_tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens; it has forgotten everything."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", self._settings], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 60
        while b"running" not in self.log.read_bytes()[offset:]:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as if its machine failed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop it without closing its connections, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGCONT)


@contextmanager
def mosquitto(directory: Path, **settings: Any) -> Iterator[Mosquitto]:
    """Yield a running broker."""
    require_mosquitto()
    directory.mkdir(exist_ok=True)
    with HeldPort() as held:
        broker = Mosquitto(directory, held.port, **settings)
        try:
            yield broker
        finally:
            broker.freeze(is_frozen=False)
            broker.kill()


class Listener:
    """Records every message of a broker; reconnects by itself.

    Attributes:
        live: topic and payload of what was published since the start, in order.
    """

    def __init__(self, broker: Mosquitto, topic: str = "#") -> None:
        self.live: list[tuple[str, bytes]] = []
        self._topic = topic
        self._is_subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if broker.user:
            self.client.username_pw_set(broker.user, broker.password)
        if broker.is_tls:
            self.client.tls_set(cert_reqs=ssl.CERT_NONE)
            self.client.tls_insecure_set(True)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(topic, 1)
        self.client.on_subscribe = lambda *_: self._is_subscribed.set()
        self.client.on_message = self._came
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert self._is_subscribed.wait(60)

    def _came(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if not message.retain:
            self.live.append((message.topic, bytes(message.payload)))

    def payloads(self, topic: str) -> list[bytes]:
        """Return what was published on a topic since the start."""
        return [payload for each, payload in list(self.live) if each == topic]

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def listening(broker: Mosquitto) -> Iterator[Listener]:
    """Yield a client that records what is published."""
    listener = Listener(broker)
    try:
        yield listener
    finally:
        listener.close()


def retained(broker: Mosquitto) -> dict[str, bytes]:
    """Return what a broker retains, by topic."""
    found: dict[str, bytes] = {}
    is_done = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    if broker.user:
        client.username_pw_set(broker.user, broker.password)
    if broker.is_tls:
        client.tls_set(cert_reqs=ssl.CERT_NONE)
        client.tls_insecure_set(True)

    def came(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.topic == "test/end":
            is_done.set()
        elif message.retain:
            found[message.topic] = bytes(message.payload)

    client.on_message = came
    # What is retained comes with the subscription, before what is published after it.
    client.on_connect = lambda *_: client.subscribe("#", 1)
    client.on_subscribe = lambda *_: client.publish("test/end", "", 1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert is_done.wait(60)
    finally:
        client.disconnect()
        client.loop_stop()
    return found


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what or "it did not happen in time"
        time.sleep(0.01)
