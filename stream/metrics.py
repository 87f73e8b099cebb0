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
from stream.stats import Percentiles

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
        yield _percentiles(
            "facewire_camera_latency_ms",
            "Milliseconds from capture to encoded packet, over the last minute.",
            "camera",
            {status.name: status.latency_ms for status in statuses},
        )
        yield _percentiles(
            "facewire_stage_ms",
            "Milliseconds of a tick by stage, over the last minute.",
            "stage",
            service.stage_ms(),
        )
        yield _percentiles(
            "facewire_time_to_name_ms",
            "Milliseconds from a face's first frame to the event with its name.",
            "of",
            {"enter": service.time_to_name_ms.percentiles()},
        )
        yield CounterMetricFamily("facewire_ticks", "Recognition ticks.", service.ticks)
        yield CounterMetricFamily(
            "facewire_tick_failures", "Frames that recognition failed on.", service.tick_failures
        )
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
    """Return a registry of this service alone; nothing is global."""
    registry = CollectorRegistry()
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


def _percentiles(name: str, text: str, label: str, figures: dict[str, Percentiles]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=[label, "quantile"])
    for key, value in figures.items():
        gauge.add_metric([key, "0.5"], value.p50)
        gauge.add_metric([key, "0.95"], value.p95)
    return gauge
