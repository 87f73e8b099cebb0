"""The running service: every thread and queue, from captured frames to packets and events."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar

from gallery import Gallery, GalleryError, Identity
from recognizer import Progress, Recognizer, default_cache, fetch_photos, open_recognizer
from stream.batcher import Batcher
from stream.camera import Camera, CameraState, CameraStatus
from stream.config import CameraConfig, Config
from stream.demo import enrol_demo
from stream.errors import ConfigError, EventLogError, UnknownCameraError
from stream.events import EventLog, LoggedEvent
from stream.frames import Event, EventKind, Frame, FrameResult
from stream.hub import PacketHub
from stream.peers import Peers
from stream.pipeline import Pipeline
from stream.push import PushCamera, PushSource
from stream.redact import redact
from stream.sources import Source, check_url, open_source
from stream.stats import Percentiles, Window
from stream.subscriptions import Broadcast, Subscription

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

TICK_TIMEOUT_S = 0.25
"""How long the inference thread sleeps without frames before it looks after the gallery."""

GALLERY_CHECK_S = 0.5
"""How often another process's change of the gallery is looked for."""

STOP_TIMEOUT_S = 1.0
"""How long a stop waits for the inference thread, the peers and a camera, each."""

DEMO_CAMERA = CameraConfig(name="demo", url="demo:")  # type: ignore[call-arg]


class Service:
    """Cameras in, packets and events out. Made by `Service.open`."""

    def __init__(
        self,
        config: Config,
        recognizer: Recognizer,
        gallery: Gallery,
        event_log: EventLog,
        *,
        open_another: Callable[[], Recognizer],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self.recognizer = recognizer
        self.gallery = gallery
        self.event_log = event_log
        self.is_demo = config.is_demo
        self.peers = Peers(config.video.ice_servers)
        self.windows: dict[str, Window] = {}
        self.ticks = 0
        self.tick_failures = 0
        self.time_to_name_ms = Window()
        self.margin = config.gallery.margin
        self.pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=self.threshold,
            margin=self.margin,
            confirm_s=config.events.confirm_s,
            absence_s=config.events.absence_s,
            cooldown_s=config.events.cooldown_s,
        )
        self._clock = clock
        self._loop = loop
        self._cameras: dict[str, Camera] = {}
        self._batcher = Batcher(clock=clock)
        self._gallery_trouble = ""
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._stopping = threading.Event()
        self._inference = threading.Thread(target=self._infer, name="inference", daemon=True)
        self._event_writer = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._photo_worker = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._open_another = open_another
        self._photo_recognizer: Recognizer | None = None
        self._events: Broadcast[LoggedEvent] = Broadcast()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Config,
        *,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Self]:
        """Open models, gallery and event log, start the cameras, and stop them all at the end.

        Raises:
            RecognizerError: if a model cannot be fetched or opened.
            GalleryError: if the gallery cannot be opened.
            StreamError: if the configuration cannot be honoured.
        """
        settings = config.recognizer
        open_one = partial(
            open_recognizer,
            device=settings.device,
            threads=settings.threads,
            model=settings.model,
            min_face_px=settings.min_face_px,
        )
        recognizer = await asyncio.to_thread(open_one, progress=progress)
        directory = config.gallery_directory
        with (
            Gallery.open(
                directory,
                model_id=recognizer.model_id,
                embedding_size=recognizer.embedding_size,
            ) as gallery,
            EventLog.open(
                directory,
                keep_days=config.events.keep_days,
                keep_bytes=int(config.events.keep_mib * 2**20),
            ) as event_log,
        ):
            if config.is_demo:
                photos = await asyncio.to_thread(fetch_photos, default_cache(), progress)
                await asyncio.to_thread(enrol_demo, gallery, recognizer, photos)
            service = cls(
                config,
                recognizer,
                gallery,
                event_log,
                open_another=open_one,
                loop=asyncio.get_running_loop(),
                clock=clock,
            )
            service._inference.start()
            try:
                for camera in config.cameras or (DEMO_CAMERA,):
                    service._start_camera(camera)
                yield service
            finally:
                await service._close()

    @property
    def threshold(self) -> float:
        """Similarity that makes a match: configured, calibrated, or fit for so many people."""
        configured = self._config.gallery.threshold
        if configured is not None:
            return configured
        return self.gallery.threshold_for(self.recognizer.threshold)

    # Cameras

    def cameras(self) -> list[CameraStatus]:
        """Return how every camera is doing, in the order they were added."""
        return [
            camera.status(dropped=self._batcher.dropped(name))
            for name, camera in list(self._cameras.items())
        ]

    def camera(self, name: str) -> Camera:
        """Return a camera by name.

        Raises:
            UnknownCameraError: if there is none of that name.
        """
        try:
            return self._cameras[name]
        except KeyError:
            raise UnknownCameraError(name) from None

    def hub(self, name: str) -> PacketHub:
        """Return the packets of a camera; see `camera` for errors."""
        return self.camera(name).hub

    def tracks(self, name: str) -> FrameResult | None:
        """Return the last recognised frame of a camera; see `camera` for errors."""
        return self.camera(name).latest

    async def add_camera(self, config: CameraConfig) -> None:
        """Start a camera while the service runs.

        Raises:
            ConfigError: if the name is taken or the URL is of no known kind.
        """
        self._start_camera(config)

    async def remove_camera(self, name: str) -> None:
        """Stop a camera and forget it; see `camera` for errors."""
        camera = self.camera(name)
        del self._cameras[name]
        self._batcher.remove(name)
        camera.stop()
        camera.hub.close()
        await asyncio.to_thread(camera.join, self._clock() + STOP_TIMEOUT_S)
        for event in await self.run_inference(self.pipeline.drop_camera, name, self._clock()):
            self._log(event)

    def push_camera(self, name: str) -> PushCamera:
        """Make a camera that a browser or encoder feeds.

        Raises:
            ConfigError: if the name is taken.
        """
        source = PushSource(camera=name, clock=self._clock)
        camera = self._start(name, f"browser:{name}", lambda: source)
        return PushCamera(name, source, camera.hub, partial(self._forget, camera))

    async def _forget(self, camera: Camera) -> None:
        """Remove this very camera, unless it is gone or another has taken its name."""
        if self._cameras.get(camera.name) is camera:
            await self.remove_camera(camera.name)

    def _start_camera(self, config: CameraConfig) -> None:
        check_url(config.url)
        self._start(
            config.name,
            redact(config.url),
            partial(
                open_source,
                config.url,
                camera=config.name,
                clock=self._clock,
                loop=config.loop,
                rtsp_transport=config.rtsp_transport,
                target_fps=config.target_fps,
            ),
        )

    def _start(self, name: str, url: str, open_: Callable[[], Source]) -> Camera:
        if name in self._cameras:
            raise ConfigError(f"a camera named {name!r} is already there: choose another name")
        camera = Camera(
            name=name,
            url=url,
            open_source=open_,
            hub=PacketHub(self._clock),
            bitrate_kbps=self._config.video.bitrate_kbps,
            deliver=self._batcher.put,
            on_state=self._camera_changed,
            clock=self._clock,
        )
        self._cameras[name] = camera
        self._batcher.add(name)
        camera.start()
        return camera

    def _camera_changed(self, camera: Camera, state: CameraState, reason: str) -> None:
        if state is not CameraState.FAILING:  # the camera itself says why it fails
            logger.info("camera %s: %s", camera.name, f"{state} ({reason})" if reason else state)
        kind = EventKind.CAMERA_UP if state is CameraState.LIVE else EventKind.CAMERA_DOWN
        now = self._clock()
        self._log(Event(kind, camera.name, now, None, None, now, None, detail=reason))

    # Recognition

    async def run_inference(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the inference thread, between two ticks, and return its result.

        Whatever uses the live recognizer or the tracks goes through here.
        """
        future: Future[T] = Future()
        self._jobs.append((future, partial(function, *args, **kwargs)))
        self._batcher.wake()
        return await asyncio.wrap_future(future)

    async def run_photos(self, function: Callable[[Recognizer], T]) -> T:
        """Run a function over photos with a recognizer and a thread of their own.

        Live video goes on meanwhile. The recognizer is opened with the first photos.
        """
        return await self._loop.run_in_executor(self._photo_worker, self._with_photos, function)

    def _with_photos(self, function: Callable[[Recognizer], T]) -> T:
        if self._photo_recognizer is None:
            self._photo_recognizer = self._open_another()
        return function(self._photo_recognizer)

    async def name_track(self, camera: str, track_id: int, name: str) -> Identity:
        """Enrol the face of a track under a name, which it bears from the next frame on.

        Raises:
            UnknownCameraError: if there is no such camera.
            UnknownTrackError: if the track has left.
            GalleryError: if the gallery cannot take it.
        """
        self.camera(camera)
        identity = await self.run_inference(self.pipeline.name_track, camera, track_id, name)
        await self.gallery_changed()
        return identity

    async def gallery_changed(self) -> None:
        """Name all tracks anew; call it after any change of the gallery."""
        await self.run_inference(self._regallery)

    def _regallery(self) -> None:
        self.pipeline.set_threshold(self.threshold)
        self.pipeline.regallery()

    def _infer(self) -> None:
        checked = self._clock()
        while not self._stopping.is_set():
            frames = self._batcher.take(TICK_TIMEOUT_S)
            while self._jobs:
                _run_job(*self._jobs.popleft())
            if frames:
                self._tick(frames)
            for event in self.pipeline.leave(self._clock()):
                self._log(event)
            now = self._clock()
            if now - checked >= GALLERY_CHECK_S:
                checked = now
                self._take_in_gallery()
        while self._jobs:
            self._jobs.popleft()[0].cancel()

    def _take_in_gallery(self) -> None:
        trouble = ""
        try:
            if self.gallery.refresh():
                self._regallery()
        except GalleryError as error:
            # Locked, damaged or another model's by now: what is in memory still names people.
            trouble = str(error)
            if trouble != self._gallery_trouble:
                logger.error("%s", trouble)
        self._gallery_trouble = trouble

    def _tick(self, frames: list[Frame]) -> None:
        try:
            results = self.pipeline.process(frames, self._clock())
        except Exception:
            # One bad frame must not end the service; it is counted and shown by /healthz.
            self.tick_failures += 1
            logger.exception("recognition failed on a frame")
            return
        self.ticks += 1
        for stage, milliseconds in results[0].timings_ms.items():
            if milliseconds > 0:  # else this tick did without
                self.windows.setdefault(stage, Window()).add(milliseconds)
        for result in results:
            if (camera := self._cameras.get(result.frame.camera)) is not None:
                camera.show(result)
            for event in result.events:
                self._log(event)

    # Events

    def subscribe_events(self) -> Subscription[LoggedEvent]:
        """Return the events from now on; iterate it asynchronously and close it."""
        return self._events.subscribe()

    async def run_events(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the event log in the thread that owns it."""
        call = partial(function, *args, **kwargs)
        return await self._loop.run_in_executor(self._event_writer, call)

    def _log(self, event: Event) -> None:
        wall_at = time.time() - (self._clock() - event.at)
        self._event_writer.submit(self._write_event, event, wall_at)

    def _write_event(self, event: Event, wall_at: float) -> None:
        try:
            logged = self.event_log.append(event, wall_at)
        except EventLogError as error:
            logger.error("an event is lost: %s", error)
            return
        if event.kind is EventKind.ENTER and event.match is not None:
            self.time_to_name_ms.add((self._clock() - event.first_seen) * 1e3)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.publish, logged)

    # Health

    def stage_ms(self) -> dict[str, Percentiles]:
        """Return milliseconds by stage of a tick, over the last minute."""
        return {stage: window.percentiles() for stage, window in self.windows.items()}

    @property
    def is_recognising(self) -> bool:
        """Whether the inference thread runs."""
        return self._inference.is_alive()

    def problems(self) -> list[str]:
        """Return why the service is degraded, one line each; empty when all is well."""
        lines = [
            f"camera {status.name} is {status.state}: {status.reason}"
            for status in self.cameras()
            if status.state is CameraState.FAILING
        ]
        if not self.is_recognising:
            lines.append("the inference thread has ended: restart the service")
        if self.tick_failures:
            lines.append(f"recognition failed on {self.tick_failures} frames, see the log")
        return lines

    async def _close(self) -> None:
        """Stop in the order of the data's way, each step bounded."""
        for camera in self._cameras.values():
            camera.stop()
        self._stopping.set()
        self._batcher.wake()
        try:
            await asyncio.wait_for(self.peers.close_all(), STOP_TIMEOUT_S)
        except TimeoutError:
            logger.warning("some viewers did not say goodbye in time")
        for camera in self._cameras.values():
            camera.hub.close()
        await asyncio.to_thread(self._inference.join, STOP_TIMEOUT_S)
        deadline = self._clock() + STOP_TIMEOUT_S / 2
        for camera in self._cameras.values():
            await asyncio.to_thread(camera.join, deadline)
        await asyncio.to_thread(self._event_writer.shutdown)
        self._photo_worker.shutdown(wait=False, cancel_futures=True)


def _run_job(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
        future.set_exception(error)
    else:
        future.set_result(result)
