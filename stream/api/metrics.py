"""Metrics for Prometheus, read at each scrape."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream.cameras.camera import CameraState, CameraStatus
from stream.integrations.webhooks import WebhookStatus
from stream.service import Service
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


WEBHOOK_COUNTERS: tuple[tuple[str, str, Callable[[WebhookStatus], float]], ...] = (
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
        yield CounterMetricFamily("facewire_ticks", "Recognition ticks.", service.inference.ticks)
        yield CounterMetricFamily(
            "facewire_tick_failures",
            "Ticks on which recognition failed.",
            service.inference.failures,
        )
        depth = GaugeMetricFamily(
            "facewire_queue_depth", "Entries in each queue.", labels=["queue"]
        )
        for queue, n_waiting in service.waiting().items():
            depth.add_metric([queue], n_waiting)
        yield depth
        yield from _webhooks([webhook.status() for webhook in service.webhooks])
        yield CounterMetricFamily(
            "facewire_lost_events", "Events that could not be written.", service.journal.lost
        )
        yield from _workers(service.supervisor.statuses())
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


def _webhooks(statuses: Sequence[WebhookStatus]) -> Iterable[Metric]:
    for name, text, value in WEBHOOK_COUNTERS:
        counter = CounterMetricFamily(f"facewire_webhook_{name}", text, labels=["webhook"])
        for status in statuses:
            counter.add_metric([status.label], value(status))
        yield counter


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
