"""Prometheus histograms of a service; other metrics are read at each scrape."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Histogram

# Seconds. From following one face to detecting in a 4K frame on a busy machine.
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

# Seconds. The service's targets are 0.3, 0.8 and 1.5.
NAME_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)

# Frames or faces of one tick: a wall of 16 cameras, a crowd.
BATCH_BUCKETS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32)


class Figures:
    """The histograms of one service, in their own registry; thread-safe.

    Attributes:
        registry: contains them; more metrics are added as collectors.
        time_to_name: seconds from a face's first frame to the event with its name.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "facewire_stage_seconds",
            "Time a stage takes: of one frame for decode, annotate and encode, else of one tick.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self._latency = Histogram(
            "facewire_camera_latency_seconds",
            "From capture to encoded packet.",
            ["camera"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._tick_frames = Histogram(
            "facewire_tick_frames",
            "Frames recognized together.",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self._tick_faces = Histogram(
            "facewire_tick_faces",
            "Faces in the frames recognized together.",
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self.time_to_name = Histogram(
            "facewire_time_to_name_seconds",
            "From a face's first frame to the event with its name.",
            buckets=NAME_BUCKETS,
            registry=self.registry,
        )

    def stage(self, name: str) -> Callable[[float], None]:
        """Return the function that observes the seconds of a stage."""
        observe: Callable[[float], None] = self._stages.labels(name).observe
        return observe

    def tick(self, frames: int, faces: int) -> None:
        """Observe the frames recognized together, and the faces in them."""
        self._tick_frames.observe(frames)
        self._tick_faces.observe(faces)

    def forget(self, camera: str) -> None:
        """Drop the metrics of a removed camera."""
        self._latency.remove(camera)

    def latency(self, camera: str) -> Callable[[float], None]:
        """Return the function that observes a camera's seconds from capture to packet."""
        observe: Callable[[float], None] = self._latency.labels(camera).observe
        return observe
