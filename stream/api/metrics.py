"""Metrics for Prometheus, read at each scrape."""

import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gallery.shards import ShardState
from stream.cameras.camera import CameraState, CameraStatus
from stream.front.front import Front
from stream.integrations.delivery import DeliveryStatus
from stream.integrations.frigate.companion import FrigateStatus
from stream.integrations.mqtt.client import MqttStatus
from stream.integrations.rules.engine import RuleStatus
from stream.service import Service
from stream.sfu.status import SfuStatus
from stream.supervisor import WorkerStatus

COUNTERS: tuple[tuple[str, str, Callable[[CameraStatus], float]], ...] = (
    ("captured_frames", "Frames captured.", lambda status: status.captured),
    ("encoded_frames", "Annotated frames encoded.", lambda status: status.encoded),
    ("reconnects", "Reconnects of a camera.", lambda status: status.reconnects),
)
GAUGES: tuple[tuple[str, str, Callable[[CameraStatus], float]], ...] = (
    ("up", "1 while a camera is live.", lambda status: status.state is CameraState.LIVE),
    ("fps_in", "Frames captured a second.", lambda status: status.fps_in),
    ("fps_out", "Annotated frames encoded a second.", lambda status: status.fps_out),
    ("viewers", "Viewers.", lambda status: status.viewers),
    (
        "encoder_queue",
        "Recognized frames waiting for the encoder.",
        lambda status: status.encoder_waiting,
    ),
)


WEBHOOK_COUNTERS: tuple[tuple[str, str, Callable[[DeliveryStatus], float]], ...] = (
    ("delivered_events", "Events delivered.", lambda status: status.delivered),
    ("failed_tries", "Delivery attempts that failed.", lambda status: status.failures),
    ("dead_letters", "Events given up.", lambda status: status.dead),
)


class ServiceCollector(Collector):
    """Reads the metrics of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        service = self._service
        statuses = service.cameras.statuses()
        for name, text, value in COUNTERS:
            counter = CounterMetricFamily(f"facewire_camera_{name}", text, labels=["camera"])
            for status in statuses:
                counter.add_metric([status.name], value(status))
            yield counter
        for name, text, value in GAUGES:
            gauge = GaugeMetricFamily(f"facewire_camera_{name}", text, labels=["camera"])
            for status in statuses:
                gauge.add_metric([status.name], float(value(status)))
            yield gauge
        yield _dropped(statuses)
        yield CounterMetricFamily("facewire_ticks", "Recognition ticks.", service.ticks)
        yield CounterMetricFamily(
            "facewire_tick_failures",
            "Ticks on which recognition failed.",
            service.failures,
        )
        yield CounterMetricFamily(
            "facewire_camera_moves",
            "Cameras moved from one process to another that has time for them.",
            service.rebalancer.moves + service.growth.moves,
        )
        depth = GaugeMetricFamily(
            "facewire_queue_depth", "Entries in each queue.", labels=["queue"]
        )
        for queue, n_waiting in service.waiting().items():
            depth.add_metric([queue], n_waiting)
        yield depth
        yield from _webhooks([webhook.status() for webhook in service.webhooks])
        if service.mqtt_link is not None:
            yield from _mqtt(service.mqtt_link.client.status(), dropped=service.mqtt_link.dropped)
        yield from _rules(service.rules.statuses())
        if service.frigate is not None:
            yield from _frigate(service.frigate.status())
        yield CounterMetricFamily(
            "facewire_lost_events", "Events that could not be written.", service.journal.lost
        )
        yield from _workers(service.supervisor.statuses())
        yield CounterMetricFamily(
            "facewire_cpu_seconds",
            "Processor time of the service and its worker processes.",
            time.process_time() + service.worker_cpu_s,
        )
        yield from _search_check(service.gallery_worker.n_checked, service.gallery_worker.n_equal)
        if shards := service.gallery.shards():
            yield from _shards(shards)
        if service.viewing.sfu is not None:
            yield from _sfu(service.viewing.sfu.status())
        if service.front is not None:
            yield from _machines(service.front)
        yield GaugeMetricFamily("facewire_peers", "WebRTC connections.", len(service.peers))
        yield InfoMetricFamily(
            "facewire_recognizer",
            "Device, engine and model.",
            {
                "device": service.recognizer.device,
                "engine": service.recognizer.engine,
                "model": service.recognizer.model_id,
            },
        )


def _search_check(n_checked: int, n_equal: int) -> Iterable[Metric]:
    yield CounterMetricFamily(
        "facewire_search_checks",
        "Searches of a very large gallery repeated by comparing all templates.",
        n_checked,
    )
    yield CounterMetricFamily(
        "facewire_search_checks_equal",
        "Those with the same most similar person.",
        n_equal,
    )
    if n_checked:
        yield GaugeMetricFamily(
            "facewire_search_recall",
            "Share of those since the start of the service.",
            n_equal / n_checked,
        )


SHARD_GAUGES: tuple[tuple[str, str, Callable[[ShardState], float]], ...] = (
    ("up", "1 while a shard of the people answers.", lambda shard: shard.is_there),
    ("photos", "Photos that a shard holds.", lambda shard: shard.n_photos),
    (
        "search_checks",
        "Searches of a very large shard repeated by comparing all of its templates.",
        lambda shard: shard.n_checked,
    ),
    (
        "search_checks_equal",
        "Those with the same most similar person.",
        lambda shard: shard.n_equal,
    ),
)


def _shards(shards: Sequence[ShardState]) -> Iterable[Metric]:
    for name, text, value in SHARD_GAUGES:
        gauge = GaugeMetricFamily(f"facewire_shard_{name}", text, labels=["shard"])
        for shard in shards:
            gauge.add_metric([str(shard.number)], float(value(shard)))
        yield gauge


def _webhooks(statuses: Sequence[DeliveryStatus]) -> Iterable[Metric]:
    for name, text, value in WEBHOOK_COUNTERS:
        counter = CounterMetricFamily(f"facewire_webhook_{name}", text, labels=["webhook"])
        for status in statuses:
            counter.add_metric([status.label], value(status))
        yield counter


def _mqtt(status: MqttStatus, *, dropped: int) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "facewire_mqtt_connected",
        "1 while the MQTT broker is connected.",
        float(status.is_connected),
    )
    for name, text, value in (
        ("published_messages", "Messages that the broker acknowledged.", status.published),
        ("dropped_messages", "Messages dropped because too many waited.", dropped),
        ("errors", "Failed connections and refused subscriptions.", status.errors),
    ):
        yield CounterMetricFamily(f"facewire_mqtt_{name}", text, value)


def _sfu(status: SfuStatus) -> Iterable[Metric]:
    yield GaugeMetricFamily("facewire_sfu_up", "1 while the SFU is there.", float(status.is_there))
    yield GaugeMetricFamily("facewire_sfu_streams", "Streams sent to it.", status.streams)
    yield GaugeMetricFamily("facewire_sfu_viewers", "Viewers that it serves.", status.viewers)
    yield CounterMetricFamily(
        "facewire_sfu_published_streams", "Streams that it has accepted.", status.published
    )
    yield CounterMetricFamily("facewire_sfu_losses", "Times that it was lost.", status.losses)
    yield CounterMetricFamily("facewire_sfu_failures", "Tries that failed.", status.failures)
    yield CounterMetricFamily(
        "facewire_sfu_dropped_packets", "Packets that the network did not take.", status.dropped
    )


def _machines(front: Front) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "facewire_machine_up",
        "1 while another machine on the database runs and can be called.",
        labels=["machine"],
    )
    seen = GaugeMetricFamily(
        "facewire_machine_seen_seconds",
        "Seconds since the last sign of another machine.",
        labels=["machine"],
    )
    for machine in front.machines.all():
        up.add_metric([machine.name], float(not machine.is_away and not machine.trouble))
        seen.add_metric([machine.name], machine.seen_s)
    yield up
    yield seen
    for index, (name, text) in enumerate(
        (
            ("forwarded_calls", "Requests forwarded to another machine."),
            ("forwarded_call_failures", "Of those, without an answer."),
        )
    ):
        counter = CounterMetricFamily(f"facewire_{name}", text, labels=["machine"])
        for machine_name, counts in front.calls.items():
            counter.add_metric([machine_name], counts[index])
        yield counter


def _rules(rules: Sequence[RuleStatus]) -> Iterable[Metric]:
    fired = CounterMetricFamily(
        "facewire_rule_fired", "Events for which a rule fired.", labels=["rule"]
    )
    held_back = CounterMetricFamily(
        "facewire_rule_held_back",
        "Events that a rule did not notify, by cause: cooldown or the limit of an hour.",
        labels=["rule", "cause"],
    )
    for rule in rules:
        fired.add_metric([rule.config.name], rule.state.fired)
        held_back.add_metric([rule.config.name, "cooldown"], rule.in_cooldown)
        held_back.add_metric([rule.config.name, "limit"], rule.over_limit)
    yield fired
    yield held_back
    for name, text, value in WEBHOOK_COUNTERS:
        counter = CounterMetricFamily(
            f"facewire_notification_{name}", text, labels=["rule", "number", "action"]
        )
        for rule in rules:
            for number, status in enumerate(rule.deliveries, 1):
                labels = [rule.config.name, str(number), rule.config.then[number - 1].type]
                counter.add_metric(labels, value(status))
        yield counter


def _frigate(status: FrigateStatus) -> Iterable[Metric]:
    for name, text, value in (
        ("messages", "Messages of Frigate about people.", status.received),
        ("damaged_messages", "Messages of Frigate that could not be read.", status.damaged),
        ("dropped", "Messages and names dropped because too many waited.", status.dropped),
        ("names", "Names that Frigate accepted for its events.", status.written),
        ("failures", "Requests to Frigate that failed.", status.failures),
        (
            "names_given_up",
            "Names that Frigate refused, or that failed too often.",
            status.given_up,
        ),
    ):
        yield CounterMetricFamily(f"facewire_frigate_{name}", text, value)


def _workers(statuses: Sequence[WorkerStatus]) -> Iterable[Metric]:
    up = GaugeMetricFamily(
        "facewire_worker_up", "1 while a thread or task of the service runs.", labels=["worker"]
    )
    failures = CounterMetricFamily(
        "facewire_worker_failures", "Failures of threads and tasks.", labels=["worker"]
    )
    # Several may share a name, such as the old and the new session of one camera.
    by_name: dict[str, list[WorkerStatus]] = {}
    for status in statuses:
        by_name.setdefault(status.name, []).append(status)
    for name, same in by_name.items():
        up.add_metric([name], float(all(status.is_running for status in same)))
        failures.add_metric([name], sum(status.failures for status in same))
    yield up
    yield failures


def registry_of(service: Service) -> CollectorRegistry:
    """Return a registry of only this service, including its histograms; nothing is global."""
    registry = service.figures.registry
    registry.register(ServiceCollector(service))
    return registry


def _dropped(statuses: Iterable[CameraStatus]) -> Metric:
    counter = CounterMetricFamily(
        "facewire_camera_dropped_frames",
        "Frames lost, by cause: recognition, the encoder or viewers too slow, or damaged packets.",
        labels=["camera", "cause"],
    )
    for status in statuses:
        counter.add_metric([status.name, "recognition"], status.dropped)
        counter.add_metric([status.name, "encoder"], status.encoder_dropped)
        counter.add_metric([status.name, "viewers"], status.viewer_dropped)
        counter.add_metric([status.name, "damaged"], status.damaged)
    return counter
