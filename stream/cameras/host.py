"""Where cameras run: their capture, recognition and video, in this process or in another."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gallery import Identity
from recognizer import Recognizer
from stream.cameras.camera import Camera, CameraState, CameraStatus
from stream.cameras.source import History, Source, open_source, source_settings
from stream.config import CameraConfig
from stream.enrollment.crops import FaceCrop
from stream.errors import WorkerError
from stream.frames import Event, FrameResult, Sighting
from stream.metrics.figures import Figures
from stream.metrics.windows import Window
from stream.recognition.camera_state import Watch
from stream.recognition.face_filter import Limits
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.supervisor import Supervisor
from stream.video.channel import VideoChannel
from stream.video.packet_hub import PacketHub

STOP_TIMEOUT_S = 1.0
"""How long the end of a camera waits for its threads."""

Ended = tuple[list[Event], list[Sighting]]
"""What is logged as a camera ends: the exits of those present, the last sightings of its tracks."""


class Video(Protocol):
    """The video of a camera; only that of a camera of this process has pixels."""

    @property
    def hub(self) -> PacketHub:
        """Its viewers."""

    @property
    def latest(self) -> FrameResult | None:
        """The last recognized frame; None before the first."""


class HostedCamera(Protocol):
    """A camera as the service knows it, wherever it runs; see `Camera`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def config(self) -> CameraConfig:
        """Its settings."""

    @property
    def is_pushed(self) -> bool:
        """Whether a browser or encoder sends it."""

    @property
    def state(self) -> CameraState:
        """Its state."""

    @property
    def latest(self) -> FrameResult | None:
        """The last recognized frame; None before the first and while not live."""

    @property
    def video(self) -> Video:
        """Its video."""

    @property
    def windows(self) -> dict[str, Window]:
        """Milliseconds by stage of a frame; empty for one of another process."""

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        """Return the last frame, annotated, as JPEG; None where there is none. May block."""

    def status(self, *, dropped: int) -> CameraStatus:
        """Return the camera's status; `dropped` is the count of `Host.dropped`."""

    def change(self, config: CameraConfig) -> None:
        """Change the settings; reconnects only where necessary."""

    def stop(self) -> None:
        """Request its end; returns at once."""

    def join(self, deadline: float) -> None:
        """Wait for its end until `deadline`, seconds, monotonic clock."""


OnState = Callable[[HostedCamera, CameraState, str], None]
"""Called with each new state of a camera and its reason, from any thread."""


class Host(Protocol):
    """Runs cameras; for the event loop."""

    @property
    def n_waiting(self) -> int:
        """Frames that wait for recognition."""

    @property
    def n_jobs(self) -> int:
        """Calls that wait."""

    @property
    def ticks(self) -> int:
        """Recognition ticks since the start."""

    @property
    def failures(self) -> int:
        """Ticks that failed since the start."""

    @property
    def is_alive(self) -> bool:
        """Whether recognition runs; false in the delay after a failure."""

    def start(self, config: CameraConfig, on_state: OnState) -> HostedCamera:
        """Start a camera that is opened by its URL."""

    def accept(self, name: str) -> None:
        """Recognize the frames of a camera that was switched on."""

    def dropped(self, name: str) -> int:
        """Return the number of a camera's frames replaced before they were recognized."""

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a camera; its tracks, people and viewers stay."""

    async def drop(self, name: str) -> Ended:
        """Accept no more frames of a camera, and forget its tracks and limits."""

    def forget(self, name: str) -> None:
        """Forget a camera that was stopped."""

    async def filter_faces(self, limits: Mapping[str, Limits], smallest: int) -> None:
        """Set which faces of each camera count, and the smallest to look for, pixels."""

    async def faces_of(self, camera: str, track_id: str) -> list[FaceCrop]:
        """Return a track's best crops; see `Pipeline.faces_of`."""

    async def assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign an identity to a track; see `Pipeline.assign`."""


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """A camera on its way from one host to another.

    Attributes:
        camera: the camera, whose viewers stay.
        watch: its tracks and people; None if no frame was recognized.
        present: the last event of everybody present, by the track of their stay.
    """

    camera: HostedCamera
    watch: Watch | None
    present: dict[str, Event]


class MovingHost(Host, Protocol):
    """A host whose cameras can move to another one; for the event loop.

    Attributes:
        name: "recognition worker 1".
    """

    name: str

    @property
    def is_ready(self) -> bool:
        """Whether a camera would begin here at once."""

    async def release(self, name: str) -> Carried:
        """Stop a camera here, so that another host can adopt it.

        Raises:
            WorkerError: if the host's process has ended; then the camera stays.
        """

    async def adopt(self, carried: Carried, on_state: OnState) -> HostedCamera:
        """Start a camera that another host has released; its tracks and viewers go on.

        Returns:
            The camera, which may be another object now, of the same name and viewers.
        """


class LocalHost:
    """Runs cameras in this process.

    Args:
        inference: recognizes their frames.
        pipeline: of the inference thread, used only there.
        recognizer: of the pipeline.
        bitrate_kbps: kbit/s of a camera's video; 0 to choose by its size.
        figures: metrics of frames.
        supervisor: restarts threads after a failure.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        inference: Inference,
        pipeline: Pipeline,
        recognizer: Recognizer,
        *,
        bitrate_kbps: int,
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self._inference = inference
        self._pipeline = pipeline
        self._recognizer = recognizer
        self._bitrate_kbps = bitrate_kbps
        self._figures = figures
        self._supervisor = supervisor
        self._clock = clock
        self._cameras: dict[str, Camera] = {}

    @property
    def n_waiting(self) -> int:
        """Frames that wait for recognition."""
        return self._inference.batcher.n_waiting

    @property
    def n_jobs(self) -> int:
        """Calls that wait for the inference thread."""
        return self._inference.n_jobs

    @property
    def ticks(self) -> int:
        """Recognition ticks since the start."""
        return self._inference.ticks

    @property
    def failures(self) -> int:
        """Ticks that failed since the start."""
        return self._inference.failures

    @property
    def is_alive(self) -> bool:
        """Whether the inference thread runs; false in the delay after a failure."""
        return self._inference.is_alive

    def show(self, result: FrameResult) -> None:
        """Pass a recognized frame to its camera, if it still exists."""
        if (camera := self._cameras.get(result.frame.camera)) is not None:
            camera.video.show(result)

    def start(self, config: CameraConfig, on_state: OnState) -> Camera:
        """Start a camera that is opened by its URL."""
        return self.begin(config, PacketHub(self._clock), on_state, Opener(self._clock))

    def begin(
        self,
        config: CameraConfig,
        hub: PacketHub,
        on_state: OnState,
        open_: Callable[[CameraConfig], Source],
        *,
        is_pushed: bool = False,
    ) -> Camera:
        """Start a camera.

        Args:
            config: its settings.
            hub: receives the packets of its video.
            on_state: called with each new state and its reason, from any thread.
            open_: opens it; blocks up to a timeout.
            is_pushed: whether a browser or encoder sends it.
        """
        video = VideoChannel(
            config.name,
            hub=hub,
            bitrate_kbps=self._bitrate_kbps,
            figures=self._figures,
            supervisor=self._supervisor,
            clock=self._clock,
        )
        camera = Camera(
            config=config,
            open_source=open_,
            is_pushed=is_pushed,
            video=video,
            deliver=self._inference.batcher.put,
            on_state=on_state,
            figures=self._figures,
            supervisor=self._supervisor,
            clock=self._clock,
        )
        self._cameras[config.name] = camera
        if config.enabled:
            self._inference.batcher.add(config.name)
        camera.start()
        return camera

    def accept(self, name: str) -> None:
        """Recognize the frames of a camera that was switched on."""
        self._inference.batcher.add(name)

    def dropped(self, name: str) -> int:
        """Return the number of a camera's frames replaced before they were recognized."""
        return self._inference.batcher.dropped(name)

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a camera; its tracks, people and viewers stay."""
        camera = self._cameras.pop(name)
        self._cameras[new_name] = camera
        camera.rename(new_name, self._figures.latency(new_name))

        def rename() -> None:
            # Between two ticks, so that no frame under the old name follows.
            self._inference.batcher.rename(name, new_name)
            self._pipeline.rename_camera(name, new_name)

        await self._inference.run(rename)

    def spent_s(self) -> dict[str, float]:
        """Return the seconds of recognition spent on each camera so far."""
        return self._pipeline.spent_s()

    async def release(self, name: str) -> Watch | None:
        """Accept no more frames of a camera; return its state, which another host continues."""
        self._inference.batcher.remove(name)
        return await self._inference.run(self._pipeline.release_camera, name)

    async def carry(self, name: str) -> Carried:
        """Stop a camera here, so that another host can adopt it.

        Raises:
            WorkerError: if the inference thread fails meanwhile; then the camera stays.
        """
        camera = self._cameras[name]
        try:
            watch = await self.release(name)
        except WorkerError:
            if camera.config.enabled:
                self.accept(name)
            raise
        camera.stop()
        await asyncio.to_thread(camera.join, self._clock() + STOP_TIMEOUT_S)
        self.forget(name)
        exits = [] if watch is None else watch.presence.exits(self._clock())
        return Carried(camera, watch, {str(event.track_id): event for event in exits})

    async def adopt(self, name: str, watch: Watch) -> None:
        """Continue the tracks of a camera of another host, with its first frame here."""
        await self._inference.run(self._pipeline.adopt_camera, name, watch)

    async def drop(self, name: str) -> Ended:
        """Accept no more frames of a camera, and forget its tracks and limits."""
        self._inference.batcher.remove(name)
        return await self._inference.run(self._pipeline.drop_camera, name, self._clock())

    def forget(self, name: str) -> None:
        """Forget a camera that was stopped."""
        self._cameras.pop(name, None)

    async def filter_faces(self, limits: Mapping[str, Limits], smallest: int) -> None:
        """Set which faces of each camera count, and the smallest to look for, pixels."""

        def tell() -> None:
            self._recognizer.set_min_face_px(smallest)
            for name, each in limits.items():
                self._pipeline.set_limits(name, each)

        await self._inference.run(tell)

    async def faces_of(self, camera: str, track_id: str) -> list[FaceCrop]:
        """Return a track's best crops; see `Pipeline.faces_of`."""
        return await self._inference.run(self._pipeline.faces_of, camera, track_id)

    async def assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign an identity to a track; see `Pipeline.assign`."""
        await self._inference.run(self._pipeline.assign, camera, track_id, identity)


class Opener:
    """Opens one camera repeatedly; keeps the frame history of its earlier sessions.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._history = History()
        self._url = ""

    def __call__(self, config: CameraConfig) -> Source:
        """Open the camera; see `open_source` for errors."""
        if config.url != self._url:
            self._url, self._history = config.url, History()
        return open_source(
            config.url,
            clock=self._clock,
            settings=source_settings(config),
            history=self._history,
        )
