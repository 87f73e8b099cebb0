"""What the soak of integrations counts: real deliveries to a receiver and a broker that fail."""

import json
import time
from functools import partial
from pathlib import Path

import pytest

from scripts.counterparts import FAULTS, EventSink, HttpCounterpart, Tap
from stream.config import MqttConfig
from stream.integrations.mqtt.client import MqttClient, MqttUnavailableError
from stream.integrations.webhooks import Webhook
from stream.supervisor import Supervisor
from tests.integration.test_webhooks import event, hooked
from tests.mosquitto import mosquitto, until

pytestmark = pytest.mark.integration


def test_a_receiver_fails_in_every_way_and_each_event_is_counted_in_order() -> None:
    sink = EventSink(lambda posted: int(json.loads(posted.body)["event"]["id"]))
    with (
        HttpCounterpart(sink) as receiver,
        hooked(f"http://127.0.0.1:{receiver.port}/", deadline_s=0.3) as webhook,
    ):
        for number, fault in enumerate(FAULTS, 1):
            receiver.fail(fault)
            failures = webhook.status().failures
            webhook.offer(event(number))
            until(partial(_has_failed, webhook, failures), fault)
            if fault in {"down", "hang", "error"}:
                assert number not in sink.came, fault
            receiver.fail("up")
            until(partial(_has_delivered, webhook, number), fault)
    assert list(sink.came) == list(range(1, len(FAULTS) + 1))
    assert sink.came[FAULTS.index("cut") + 1] > 1, "it was taken, but not answered"


def _has_failed(webhook: Webhook, before: int) -> bool:
    return webhook.status().failures > before


def _has_delivered(webhook: Webhook, wanted: int) -> bool:
    return webhook.status().delivered == wanted


def test_a_message_counts_once_the_broker_has_acknowledged_it(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        client = MqttClient(
            MqttConfig.model_validate({"url": f"mqtt://127.0.0.1:{tap.port}"}),
            supervisor=Supervisor(clock=time.monotonic, first_delay_s=0.01),
            first_delay_s=0.05,
        )
        client.start()
        assert client.wait_connected(60)
        client.deliver("a/events", '{"id": 1}', timeout_s=60)
        client.deliver("a/rule", '{"event": {"id": 1}}', timeout_s=60)
        client.deliver("a/other", "no JSON", timeout_s=60)
        broker.freeze(is_frozen=True)
        with pytest.raises(MqttUnavailableError):
            client.deliver("a/events", '{"id": 2}', timeout_s=0.2)
        broker.kill()
        until(lambda: not client.status().is_connected)
        assert list(tap.came("a/events")) == [1]
        broker.start()
        assert client.wait_connected(60)
        client.deliver("a/events", '{"id": 2}', timeout_s=60)
        client.stop()
        client.join(60)
    assert dict(tap.came("a/events")) == {1: 1, 2: 1}
    assert dict(tap.came("a/rule")) == {1: 1}
    assert tap.n_acknowledged >= 4
