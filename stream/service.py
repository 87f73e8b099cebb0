"""The running service: cameras, recognition, events and viewers put together."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import ParamSpec, Self, TypeVar

from gallery import Gallery, Identity, Target
from gallery.private_files import make_private_directory
from recognizer import (
    ModelFileError,
    Progress,
    Recognizer,
    default_cache,
    fetch_photos,
    open_recognizer,
)
from stream.cameras.camera import Camera, CameraState, CameraStatus
from stream.cameras.push_source import PushCamera
from stream.cameras.registry import Cameras
from stream.cameras.store import CameraStore
from stream.config import CameraConfig, Config, data_dir
from stream.demo.scene import enrol_demo
from stream.enrollment.crops import enroll_known, with_mirrors
from stream.enrollment.doubts import Doubts
from stream.enrollment.gallery_worker import WAIT_S, GalleryWorker
from stream.enrollment.naming import limits_for, threshold_for
from stream.errors import UnknownTrackError
from stream.events.broadcast import Subscription
from stream.events.log import EventLog, LoggedEvent
from stream.events.recorder import Journal
from stream.events.webhook_queue import Outbox, forget_others, hook_keys
from stream.frames import FrameResult
from stream.ice import IceServers
from stream.integrations.webhooks import Webhook
from stream.metrics.figures import Figures
from stream.metrics.windows import Percentiles, Window
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.service_lock import only_service
from stream.supervisor import Supervisor
from stream.video.packet_hub import PacketHub
from stream.webrtc.peers import Peers

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

STOP_TIMEOUT_S = 1.0
"""How long a stop waits for the inference thread, the peers and a camera, each."""

DEMO_CAMERA = CameraConfig(name="demo", url="demo:")


class Service:
    """Cameras in, packets and events out. Made by `Service.open`."""

    def __init__(
        self,
        config: Config,
        recognizer: Recognizer,
        gallery: Gallery,
        event_log: EventLog,
        *,
        camera_store: CameraStore,
        open_another: Callable[..., Recognizer],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self.recognizer = recognizer
        self.gallery = gallery
        self.event_log = event_log
        self.is_demo = config.is_demo
        self.supervisor = Supervisor(clock=clock)
        self.leaving = self.supervisor.watch("cameras that leave")
        self.peers = Peers(
            IceServers(
                config.video.ice_servers, secret=config.video.turn_secret, wall_clock=time.time
            ),
            supervisor=self.supervisor,
            max_peers=config.server.max_viewers,
        )
        self.figures = Figures()
        self.limits = limits_for(recognizer, gallery)
        margin = config.gallery.margin
        self.margin = self.limits.margin if margin is None else margin
        self.threshold = self._threshold_now()
        self.pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=self.threshold,
            margin=self.margin,
            limits=self.limits,
            confirm_s=config.events.confirm_s,
            absence_s=config.events.absence_s,
            camera_away_s=config.events.camera_away_s,
            cooldown_s=config.events.cooldown_s,
        )
        self.webhooks = _open_webhooks(config, self.supervisor)
        self.journal = Journal(
            event_log,
            listeners=[webhook.offer for webhook in self.webhooks],
            figures=self.figures,
            supervisor=self.supervisor,
            loop=loop,
            clock=clock,
        )
        self.inference = Inference(
            self.pipeline,
            show=lambda result: self._cameras.show(result),
            log=self.journal.log,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self.people = GalleryWorker(
            gallery,
            threshold=self._threshold_now,
            changed=self._people_changed,
            supervisor=self.supervisor,
            clock=clock,
        )
        self._cameras = Cameras(
            camera_store,
            self.inference,
            self.pipeline,
            recognizer,
            min_face_px=config.recognizer.min_face_px,
            bitrate_kbps=config.video.bitrate_kbps,
            log=self.journal.log,
            renamed=self.journal.rename_camera,
            figures=self.figures,
            supervisor=self.supervisor,
            clock=clock,
        )
        self._clock = clock
        self._photo_worker = self.supervisor.jobs("photos")
        self._open_another = open_another
        self._photo_recognizer: Recognizer | None = None
        self.doubts = Doubts()

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
            precision=settings.precision,
            threads=settings.threads,
            model=settings.model,
            min_face_px=settings.min_face_px,
        )
        directory = config.gallery_directory
        if config.gallery.directory is None:
            with suppress(OSError):  # whatever is opened in it says why
                make_private_directory(data_dir(), own=("demo", "gallery"))
        with ExitStack() as stack:
            stack.enter_context(only_service(directory))
            recognizer = await asyncio.to_thread(open_one, progress=progress)
            camera_store = CameraStore.open(directory, config.cameras or (DEMO_CAMERA,))
            gallery = stack.enter_context(
                Gallery.open(
                    directory,
                    model_id=recognizer.model_id,
                    embedding_size=recognizer.embedding_size,
                    wait_s=WAIT_S,
                )
            )
            event_log = stack.enter_context(
                EventLog.open(
                    directory,
                    keep_days=config.events.keep_days,
                    keep_bytes=int(config.events.keep_mib * 2**20),
                )
            )
            if config.is_demo:
                photos = await asyncio.to_thread(fetch_photos, default_cache(), progress)
                await asyncio.to_thread(enrol_demo, gallery, recognizer, photos)
            await asyncio.to_thread(event_log.follow, gallery)
            service = cls(
                config,
                recognizer,
                gallery,
                event_log,
                camera_store=camera_store,
                open_another=open_one,
                loop=asyncio.get_running_loop(),
                clock=clock,
            )
            service.inference.start()
            service.people.start()
            try:
                await service._cameras.start()
                yield service
            finally:
                await service._close()

    def _threshold_now(self) -> float:
        """Return what makes a match: configured, calibrated, or fit for so many people."""
        configured = self._config.gallery.threshold
        if configured is not None:
            return configured
        return threshold_for(self.recognizer, self.gallery)

    def _people_changed(self, threshold: float) -> None:
        self.threshold = threshold
        self.inference.gallery_changed(threshold)
        self.journal.reconcile()

    # Cameras

    def cameras(self) -> list[CameraStatus]:
        """Return how every camera is doing, in the order they were added."""
        return self._cameras.statuses()

    def camera(self, name: str) -> Camera:
        """Return a camera by name; see `Cameras.get`."""
        return self._cameras.get(name)

    def hub(self, name: str) -> PacketHub:
        """Return the packets of a camera; see `Cameras.get` for errors."""
        return self._cameras.get(name).video.hub

    def tracks(self, name: str) -> FrameResult | None:
        """Return the last recognised frame of a camera; see `Cameras.get` for errors."""
        return self._cameras.get(name).latest

    async def add_camera(self, config: CameraConfig) -> None:
        """Start a camera while the service runs; see `Cameras.add`."""
        await self._cameras.add(config)

    async def change_camera(self, name: str, config: CameraConfig) -> None:
        """Give a camera other settings while the service runs; see `Cameras.change`."""
        await self._cameras.change(name, config)

    async def reconfigure(self, config: Config) -> None:
        """Take in the cameras of an edited configuration; see `Cameras.reconfigure`.

        Everything else of it is taken in by the next start.
        """
        await self._cameras.reconfigure(config.cameras or (DEMO_CAMERA,))
        if config.model_copy(update={"cameras": ()}) != self._config.model_copy(
            update={"cameras": ()}
        ):
            logger.warning("of the configuration only cameras are taken in: restart for the rest")

    async def remove_camera(self, name: str) -> None:
        """Stop a camera and forget it; see `Cameras.remove`."""
        await self._cameras.remove(name)

    async def push_camera(self, name: str) -> PushCamera:
        """Make or take over a camera that a browser or encoder sends; see `Cameras.push`."""
        return await self._cameras.push(name)

    # Recognition

    async def run_inference(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the inference thread, between two ticks, and return its result.

        Whatever uses the live recognizer or the tracks goes through here.
        """
        return await self.inference.run(function, *args, **kwargs)

    async def run_photos(self, function: Callable[[Recognizer], T]) -> T:
        """Run a function over photos with a recognizer and a thread of their own.

        Live video goes on meanwhile. The recognizer is opened with the first photos.
        """
        return await self._photo_worker.run(self._with_photos, function)

    def _with_photos(self, function: Callable[[Recognizer], T]) -> T:
        if self._photo_recognizer is None:
            try:
                self._photo_recognizer = self._open_another(attributes=True)
            except ModelFileError as error:  # never fetched, and offline
                logger.warning("answers about photos leave out gender and age: %s", error)
                self._photo_recognizer = self._open_another(attributes=False)
        return function(self._photo_recognizer)

    async def name_track(
        self, camera: str, track_id: str, name: str, *, force: bool = False
    ) -> Identity:
        """Enroll the best crops of a track under a name, which it has from the next frame on.

        Args:
            camera: where it is.
            track_id: of the track.
            name: whose face it is: somebody new, or known already.
            force: enroll even if the face is poor or looks like another person, such as a twin.

        Raises:
            UnknownCameraError: if there is no such camera.
            UnknownTrackError: if the track has left.
            EnrolmentError: if no crop of the face passes the checks.
            GalleryError: if the gallery cannot take it.
        """
        self.camera(camera)
        faces = await self.run_inference(self.pipeline.faces_of, camera, track_id)
        # A few embeddings, in the thread that has them at hand: another recognizer takes seconds to
        # open, and who names a face is looking at it.
        faces = await self.run_inference(with_mirrors, self.recognizer, faces)
        identity = await self.people.write(
            enroll_known,
            self.gallery,
            Target(name),
            faces,
            similarity=self.limits,
            force=force,
        )
        with suppress(UnknownTrackError):  # gone by now: the next one is recognized
            await self.run_inference(self.pipeline.assign, camera, track_id, identity)
        return identity

    async def read_people(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that reads the gallery in a thread of its own; see `GalleryWorker`."""
        return await self.people.read(function, *args, **kwargs)

    async def change_people(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that changes the gallery; all tracks are named anew on return.

        Raises:
            GalleryBusyError: if another process holds the gallery; nothing was changed.
        """
        result = await self.people.write(function, *args, **kwargs)
        await self.run_inference(_nothing)
        return result

    async def gallery_changed(self) -> None:
        """Name all tracks anew; call it after a change that was not made by `change_people`."""
        await self.people.notify()
        await self.run_inference(_nothing)

    # Events

    def subscribe_events(self) -> Subscription[LoggedEvent]:
        """Return the events from now on; iterate it asynchronously and close it."""
        return self.journal.subscribe()

    async def run_events(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the event log in the thread that owns it."""
        return await self.journal.run(function, *args, **kwargs)

    # Health

    @property
    def windows(self) -> dict[str, Window]:
        """Milliseconds by stage of a tick."""
        return self.inference.windows

    @property
    def time_to_name_ms(self) -> Window:
        """From a face's first frame to the event with its name."""
        return self.journal.time_to_name_ms

    def stage_ms(self) -> dict[str, Percentiles]:
        """Return milliseconds by stage of a tick, over the last minute."""
        return {stage: window.percentiles() for stage, window in self.inference.windows.items()}

    @property
    def ticks(self) -> int:
        """How many ticks there were since the start."""
        return self.inference.ticks

    @property
    def tick_failures(self) -> int:
        """How many ticks recognition failed on since the start."""
        return self.inference.failures

    @property
    def lost_events(self) -> int:
        """How many events the disk did not take."""
        return self.journal.lost

    def waiting(self) -> dict[str, int]:
        """Return how much waits in each queue."""
        return {
            "frames": self.inference.batcher.n_waiting,
            "calls": self.inference.n_jobs,
            "events": self.journal.n_waiting,
            "webhooks": sum(webhook.status().waiting for webhook in self.webhooks),
        }

    @property
    def is_recognising(self) -> bool:
        """Whether the inference thread runs; false while it waits to be run again."""
        return self.inference.is_alive

    def problems(self) -> list[str]:
        """Return why the service is degraded, one line each; empty when all is well."""
        lines = [
            f"camera {status.name} is {status.state}: {status.reason}"
            for status in self.cameras()
            if status.state in (CameraState.FAILING, CameraState.FROZEN)
        ]
        if not self.is_recognising:
            lines.append("recognition does not run now: see the log")
        if self.people.trouble:
            lines.append(self.people.trouble)
        if self.inference.failures:
            lines.append(f"recognition failed on {self.inference.failures} frames, see the log")
        if self.journal.trouble:
            waiting, lost = self.journal.n_waiting, self.journal.lost
            lines.append(f"{self.journal.trouble} ({waiting} events wait, {lost} are lost)")
        lines += self.supervisor.problems()
        for webhook in (each.status() for each in self.webhooks):
            if webhook.trouble:
                lines.append(
                    f"webhook {webhook.label} {webhook.trouble}: {webhook.waiting} events wait, "
                    f"{webhook.dead} were given up"
                )
        return lines

    def notices(self) -> list[str]:
        """Return what a person should know though all is well, one line each."""
        return list(self.event_log.notices())

    async def _close(self) -> None:
        """Stop in the order of the data's way, within `STOP_TIMEOUT_S` and what the disk takes."""
        deadline = self._clock() + STOP_TIMEOUT_S
        self._cameras.stop()
        self.inference.stop()
        self.people.stop()
        try:
            await asyncio.wait_for(self.peers.close_all(), STOP_TIMEOUT_S)
        except TimeoutError:
            logger.warning("some viewers did not say goodbye in time")
        for camera in self._cameras:
            camera.video.hub.close()
        await asyncio.to_thread(self.inference.join, self._left_s(deadline))
        # A camera that hangs is waited for in vain: its thread ends with the process.
        await self._cameras.join(min(deadline, self._clock() + STOP_TIMEOUT_S / 2))
        await asyncio.to_thread(self.people.join, self._left_s(deadline))
        await asyncio.to_thread(self.journal.close)
        for webhook in self.webhooks:
            webhook.stop()
        deadline = self._clock() + self._left_s(deadline)
        for webhook in self.webhooks:
            await asyncio.to_thread(webhook.join, max(0.0, deadline - self._clock()))
        self._photo_worker.close(drop=True)

    def _left_s(self, deadline: float) -> float:
        """Return the seconds until `deadline`, but enough for a thread that does end."""
        return max(deadline - self._clock(), STOP_TIMEOUT_S / 4)


def _nothing() -> None:
    """Wait for the inference thread to have applied what it was notified of."""


def _open_webhooks(config: Config, supervisor: Supervisor) -> list[Webhook]:
    """Open the webhooks with what is pending for each; the event log is open by then."""
    keys = hook_keys([each.url for each in config.webhooks])
    directory = config.gallery_directory
    forget_others(directory, keys)  # all of them where none is configured any more
    webhooks = []
    for number, (each, key) in enumerate(zip(config.webhooks, keys, strict=True), 1):
        outbox = Outbox(directory, key)
        webhooks.append(
            Webhook(each, number=number, outbox=outbox, supervisor=supervisor, wall_clock=time.time)
        )
    return webhooks
