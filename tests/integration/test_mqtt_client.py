"""The MQTT client against a real broker that is away, restarts, and refuses."""

import asyncio
import datetime
import ipaddress
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stream.config import MqttConfig
from stream.doctor import Finding, check_broker
from stream.integrations.mqtt import connection
from stream.integrations.mqtt.client import MAX_WAITING, MqttClient, MqttUnavailableError
from stream.supervisor import Supervisor
from tests.mosquitto import (
    Listener,
    Mosquitto,
    listening,
    mosquitto,
    require_mosquitto,
    retained,
    until,
)
from tests.ports import HeldPort

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    with listening(broker) as running:
        yield running


@contextmanager
def connected(url: str, *, own: Sequence[str] = (), **settings: Any) -> Iterator[MqttClient]:
    client = MqttClient(
        MqttConfig.model_validate({"url": url, **settings}),
        supervisor=Supervisor(clock=time.monotonic, first_delay_s=0.01),
        first_delay_s=0.05,
        refused_delay_s=0.2,
    )
    client.own(*own)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.join(30)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_states_messages_and_availability(broker: Mosquitto, version: str) -> None:
    came: list[tuple[str, bytes]] = []
    with listening(broker) as listener:
        with connected(broker.url, version=version) as client:
            client.subscribe("home/+/set", lambda topic, payload: came.append((topic, payload)))
            client.set("facewire/a", "1")
            client.publish("facewire/said", "once").result(60)
            until(lambda: client.status().waiting == 0)
            assert retained(broker) == {"facewire/status": b"online", "facewire/a": b"1"}
            listener.client.publish("home/door/set", "ON", 1)
            until(lambda: came == [("home/door/set", b"ON")])
            client.clear("facewire/a")
            until(lambda: "facewire/a" not in retained(broker))
        until(lambda: listener.payloads("facewire/status") == [b"online", b"offline"])
        assert listener.payloads("facewire/said") == [b"once"]
    assert retained(broker) == {"facewire/status": b"offline"}


def test_a_client_that_is_killed_is_offline_by_its_will(broker: Mosquitto) -> None:
    program = (
        "import sys, time\n"
        "from stream.config import MqttConfig\n"
        "from stream.integrations.mqtt.client import MqttClient\n"
        "from stream.supervisor import Supervisor\n"
        "client = MqttClient(MqttConfig(url=sys.argv[1]), supervisor=Supervisor(clock=time.time))\n"
        "client.start()\n"
        "time.sleep(600)\n"
    )
    with listening(broker) as listener:
        process = subprocess.Popen([sys.executable, "-c", program, broker.url])
        try:
            until(lambda: listener.payloads("facewire/status") == [b"online"])
        finally:
            process.kill()
            process.wait()
        until(lambda: listener.payloads("facewire/status") == [b"online", b"offline"])
    assert retained(broker) == {"facewire/status": b"offline"}


@pytest.mark.parametrize("own", [(), ("facewire/#",)])
def test_the_will_of_an_earlier_connection_does_not_stay(
    broker: Mosquitto, listener: Listener, own: Sequence[str]
) -> None:
    said = partial(listener.payloads, "facewire/status")
    with connected(broker.url, own=own):
        until(lambda: said() == [b"online"])
        for times in (1, 2):
            will = listener.client.publish("facewire/status", "offline", 1, retain=True)
            will.wait_for_publish(60)
            until(lambda: said().count(b"offline") == times and said()[-1] == b"online")  # noqa: B023
            assert retained(broker)["facewire/status"] == b"online"
    until(lambda: said()[-1] == b"offline")
    assert retained(broker)["facewire/status"] == b"offline"


class Arriving:
    """A connection on which messages arrive in an order that a broker cannot be made to choose."""

    def __init__(self, *messages: tuple[str, bytes, bool]) -> None:
        self._messages = messages
        self.calls: list[tuple[object, ...]] = []

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        for topic, payload, retain in self._messages:
            yield aiomqtt.Message(topic, payload, 1, retain, 0, None)

    async def publish(self, topic: str, payload: str, **_: object) -> None:
        self.calls.append(("publish", topic, payload))

    async def unsubscribe(self, topics: list[str]) -> None:
        self.calls.append(("unsubscribe", *topics))


def test_a_late_will_does_not_end_the_emptying() -> None:
    client = MqttClient(
        MqttConfig.model_validate({"url": "mqtt://127.0.0.1"}),
        supervisor=Supervisor(clock=time.monotonic),
    )
    client.own("facewire/#")
    client._is_cleaning = True
    arriving = Arriving(
        ("facewire/status", b"online", True),
        ("facewire/status", b"offline", False),
        ("facewire/left", b"1", True),
        ("facewire/status", b"online", False),
    )
    asyncio.run(client._receive(cast(aiomqtt.Client, arriving)))
    assert list(client._unsent) == ["facewire/left"]
    assert arriving.calls == [
        ("publish", "facewire/status", "online"),
        ("unsubscribe", "facewire/#"),
    ]


def test_a_broker_that_comes_later_and_is_killed(tmp_path: Path) -> None:
    with HeldPort() as held, connected(f"mqtt://127.0.0.1:{held.port}") as client:
        client.set("facewire/a", "1")
        first = client.publish("facewire/said", "first")
        until(lambda: client.status().errors)
        assert client.status().trouble == "cannot be reached: connection refused"
        (tmp_path / "broker").mkdir()
        require_mosquitto()
        broker = Mosquitto(tmp_path / "broker", held.port)
        try:
            first.result(60)
            until(lambda: client.status().waiting == 0)
            assert client.status().trouble == ""
            broker.kill()
            until(lambda: not client.status().is_connected)
            with pytest.raises(MqttUnavailableError):
                client.deliver("facewire/said", "now", timeout_s=10)
            client.set("facewire/a", "2")
            client.set("facewire/a", "3")
            client.clear("facewire/b")
            second = client.publish("facewire/said", "second")
            broker.start()
            second.result(60)
            until(lambda: client.status().waiting == 0)
            assert retained(broker) == {"facewire/status": b"online", "facewire/a": b"3"}
            client.deliver("facewire/said", "now", timeout_s=60)
        finally:
            broker.kill()


def test_messages_beyond_the_queue_are_dropped_and_counted() -> None:
    with HeldPort() as held, connected(f"mqtt://127.0.0.1:{held.port}") as client:
        first = client.publish("facewire/said", "0")
        for number in range(1, MAX_WAITING + 10):
            client.publish("facewire/said", str(number))
        assert client.status().dropped == 10
        assert client.status().waiting == MAX_WAITING
        with pytest.raises(MqttUnavailableError, match="too many"):
            first.result(60)


def test_what_an_earlier_run_left_is_emptied(broker: Mosquitto, listener: Listener) -> None:
    for topic in ("facewire/people/a/name", "facewire/b", "facewirex/c", "other/d"):
        listener.client.publish(topic, "left", 1, retain=True).wait_for_publish(60)
    with connected(broker.url, own=("facewire/#",)) as client:
        client.set("facewire/b", "mine")
        until(lambda: "facewire/people/a/name" not in retained(broker))
        until(lambda: client.status().waiting == 0)
        kept = retained(broker)
    assert kept == {
        "facewire/b": b"mine",
        "facewire/status": b"online",
        "facewirex/c": b"left",
        "other/d": b"left",
    }


def test_a_wrong_password_is_one_line_and_tried_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with mosquitto(tmp_path / "broker", user="me", password="right") as broker:
        settings: dict[str, Any] = {"user": "me", "password": "wr0ng"}
        with connected(broker.url, **settings) as client:
            until(lambda: client.status().errors >= 3)
            assert client.status().trouble == (
                "refuses the user or password: check user, and FACEWIRE_MQTT_PASSWORD"
            )
        with connected(broker.url) as client:
            until(lambda: client.status().errors >= 2)
            assert client.status().trouble.startswith("wants a user and password")
        with connected(broker.url, user="me", password="right") as client:
            assert client.wait_connected(60)
    lines = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(lines) == 2, lines
    assert "wr0ng" not in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of paho-mqtt
def test_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    certificate, other = tmp_path / "own.pem", tmp_path / "other.pem"
    for file in (certificate, other):
        make_certificate(file)
    with mosquitto(tmp_path / "broker", certificate=certificate) as broker:
        with connected(broker.url, ca_file=str(certificate)) as client:
            assert client.wait_connected(60)
        troubles: dict[str, dict[str, str]] = {
            "has no valid certificate: self-signed certificate; ca_file names who signed it": {},
            f"is not tried: cannot read {tmp_path}/none.pem: no such file or directory": {
                "ca_file": f"{tmp_path}/none.pem"
            },
            f"is not tried: {broker.log} holds no PEM certificate": {"ca_file": str(broker.log)},
        }
        for trouble, settings in troubles.items():
            with connected(broker.url, **settings) as client:
                until(partial(_has_failed, client))
                assert client.status().trouble == trouble
        with connected(broker.url, ca_file=str(other)) as client:
            until(lambda: client.status().errors)
            assert client.status().trouble.startswith("has no valid certificate")


def _has_failed(client: MqttClient) -> bool:
    return client.status().errors > 0


def make_certificate(file: Path) -> None:
    """Write a self-signed certificate of 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )


def test_the_check_says_whether_the_broker_accepts_the_service(tmp_path: Path) -> None:
    def check(url: str, **settings: str) -> list[Finding]:
        return list(check_broker(MqttConfig.model_validate({"url": url, **settings})))

    assert check("") == []
    with mosquitto(tmp_path / "broker", user="me", password="right") as broker:
        (good,) = check(broker.url, user="me", password="right")
        assert (good.is_fine, good.detail) == (
            True,
            f"the broker 127.0.0.1:{broker.port} is connected",
        )
        (bad,) = check(broker.url, user="me", password="wr0ng")
        assert not bad.is_fine
        assert "refuses the user or password" in bad.detail


def test_a_broker_that_hangs_loses_nothing(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 1.0)
    with listening(broker) as listener, connected(broker.url) as client:
        assert client.wait_connected(60)
        broker.freeze(is_frozen=True)
        said = client.publish("facewire/said", "late")
        client.set("facewire/a", "1")
        until(lambda: not client.status().is_connected)
        until(lambda: client.status().errors)
        broker.freeze(is_frozen=False)
        said.result(60)
        until(lambda: client.status().waiting == 0)
        assert b"late" in listener.payloads("facewire/said")
        assert retained(broker)["facewire/a"] == b"1"
        assert client.status().trouble == ""


def test_a_connection_that_closes_before_the_loop_waits_to_write_is_no_error(
    broker: Mosquitto,
) -> None:
    troubles: list[dict[str, Any]] = []

    async def scenario() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        config = MqttConfig.model_validate({"url": broker.url})
        client: Any = connection.open_client(config, identifier="facewire-test")
        async with client:
            sock = client._client.socket()
            number = sock.fileno()
            # What paho does where the broker takes no more, and then is gone: in one turn.
            client._on_socket_register_write(client._client, None, sock)
            client._client._sock_close()
            pair = socket.socketpair()  # another thread may get the number at once
            assert number in {each.fileno() for each in pair}
            await asyncio.sleep(0.01)
            is_waiting = bool(loop.remove_writer(number))
            for each in pair:
                each.close()
        return is_waiting

    assert not asyncio.run(scenario()), "the loop waits for a socket of somebody else"
    assert troubles == []
