"""The service's figures for Prometheus, read when asked for."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream.camera import CameraState, CameraStatus
from stream.engine import Service

COUNTERS: tuple[tuple[str, str, Callable[[CameraStatus], float]], ...] = (
    ("captured_frames", "Frames captured.", lambda status: status.captured),
    ("encoded_frames", "Annotated frames encoded.", lambda status: status.encoded),
    ("reconnects", "Times that a camera came back.", lambda status: status.reconnects),
)
GAUGES: tuple[tuple[str, str, Callable[[CameraStatus], float]], ...] = (
    ("up", "1 while a camera is live.", lambda status: status.state is CameraState.LIVE),
    ("fps_in", "Frames captured a second.", lambda status: status.fps_in),
    ("fps_out", "Annotated frames encoded a second.", lambda status: status.fps_out),
    ("viewers", "Who watches.", lambda status: status.viewers),
    ("encoder_queue", "Recognised frames that wait.", lambda status: status.encoder_waiting),
)


class ServiceCollector(Collector):
    """Reads a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        service = self._service
        statuses = service.cameras()
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
            "facewire_tick_failures", "Frames that recognition failed on.", service.tick_failures
        )
        depth = GaugeMetricFamily("facewire_queue_depth", "What waits.", labels=["queue"])
        for queue, n_waiting in service.waiting().items():
            depth.add_metric([queue], n_waiting)
        yield depth
        yield GaugeMetricFamily("facewire_peers", "WebRTC connections.", len(service.peers))
        yield InfoMetricFamily(
            "facewire_recognizer",
            "What recognises.",
            {
                "device": service.recognizer.device,
                "engine": service.recognizer.engine,
                "model": service.recognizer.model_id,
            },
        )


def registry_of(service: Service) -> CollectorRegistry:
    """Return a registry of this service alone, its histograms included; nothing is global."""
    registry = service.figures.registry
    registry.register(ServiceCollector(service))
    return registry


def _dropped(statuses: Iterable[CameraStatus]) -> Metric:
    counter = CounterMetricFamily(
        "facewire_camera_dropped_frames",
        "Frames replaced by newer ones, by who was too slow.",
        labels=["camera", "cause"],
    )
    for status in statuses:
        counter.add_metric([status.name, "recognition"], status.dropped)
        counter.add_metric([status.name, "encoder"], status.encoder_dropped)
    return counter
