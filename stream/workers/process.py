"""The program of a worker process: cameras, their recognition and their video."""

import asyncio
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2

from gallery import Gallery, GalleryError, Identity, Place
from gallery.errors import GalleryUnreachableError
from gallery.people_copy import PeopleCopy
from recognizer import Recognizer, RecognizerError, open_recognizer
from stream.cameras.camera import Camera, CameraState
from stream.cameras.host import HostedCamera, LocalHost, Opener
from stream.config import CameraConfig
from stream.errors import StreamError
from stream.frames import FrameResult
from stream.metrics.figures import Figures
from stream.recognition.camera_state import Watch
from stream.recognition.face_filter import Limits
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.supervisor import Supervisor
from stream.video.packet_hub import PacketHub, Picture
from stream.video.rendition import Feed
from stream.workers.wire import Message, Outbox, SentError, packed

logger = logging.getLogger(__name__)

STATUS_S = 0.5
"""How often a worker sends the status of its cameras."""

MAX_PICTURES = 100
"""Encoded frames that wait to be sent at most: some seconds of a watched camera."""

TRY_AGAIN_S = 1.0
"""How often a database that was away is tried again."""

STOP_TIMEOUT_S = 1.0
"""How long a stop waits for the inference thread and for the cameras, each."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to begin.

    Attributes:
        gallery: directory or address of the gallery, which it only reads.
        copy: of a database's people, by the data directory; None for a directory's.
        recognizer: arguments of `open_recognizer`.
        min_face_px: smallest face to look for, pixels.
        pipeline: arguments of `Pipeline`, with the id of the service's run and the number of the
            first track, which no other process of the run has used.
        bitrate_kbps: kbit/s of a camera's video; 0 to choose by its size.
        level: of the log.
    """

    gallery: Place = field(repr=False)  # an address may hold a password
    copy: Path | None
    recognizer: dict[str, Any]
    min_face_px: int
    pipeline: dict[str, Any]
    bitrate_kbps: int
    level: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What the viewers of a camera watch.

    Attributes:
        n_viewers: how many there are.
        parts: the feeds, and the fraction of the usual bitrate of each.
        keyframes: feeds that need a keyframe.
    """

    n_viewers: int = 0
    parts: tuple[tuple[Feed, float], ...] = ()
    keyframes: frozenset[Feed] = frozenset()

    @classmethod
    def of(cls, hub: PacketHub) -> "Demand":
        """Return what the viewers of a hub watch now."""
        parts = tuple((feed, hub.part(feed)) for feed in hub.feeds())
        return cls(hub.n_viewers, parts, hub.requested())


@dataclass(frozen=True, slots=True)
class Load:
    """A worker's own figures.

    Attributes:
        ticks: recognition ticks since its start.
        failures: ticks that failed.
        n_waiting: frames that wait for recognition.
        n_jobs: calls that wait.
        is_alive: whether recognition runs.
        cpu_s: processor time since its start, seconds.
        rss_mib: largest resident memory since its start, MiB.
        spent_s: of recognition on each camera since its start there, seconds.
    """

    ticks: int = 0
    failures: int = 0
    n_waiting: int = 0
    n_jobs: int = 0
    is_alive: bool = True
    cpu_s: float = 0.0
    rss_mib: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)


class RelayHub(PacketHub):
    """Sends a camera's packets to the service, whose viewers it knows by its messages.

    Args:
        camera: its name.
        outbox: of the worker.
        clock: seconds, monotonic.

    Attributes:
        camera: its present name.
        demand: what the viewers watch.
    """

    def __init__(self, camera: str, outbox: Outbox, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.camera = camera
        self.demand = Demand()
        self._outbox = outbox

    @property
    def n_viewers(self) -> int:
        """Number of viewers that are connected and watching."""
        return self.demand.n_viewers

    def feeds(self) -> tuple[Feed, ...]:
        """Return the feeds that are watched or about to be."""
        return tuple(feed for feed, _ in self.demand.parts)

    def part(self, feed: Feed) -> float:
        """Return the fraction of the usual bitrate to send to a feed's viewers, in (0, 1]."""
        return dict(self.demand.parts).get(feed, 1.0)

    def ask(self, demand: Demand) -> None:
        """Take what the viewers watch now."""
        self.demand = demand
        for feed in demand.keyframes:
            self.request_keyframe(feed)

    def publish(self, picture: Picture) -> None:
        """Send one frame, in every feed at once; never waits."""
        is_stuck = self._outbox.is_full
        sound = self._sound(picture, is_stuck=is_stuck)
        if sound:
            self._outbox.put_picture(Message("picture", (self.camera, packed(sound))))


class SentFigures(Figures):
    """Collects observations, to be sent to the service and observed there."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._observed: list[tuple[str, str, float, float]] = []

    def stage(self, name: str) -> Callable[[float], None]:
        """Return the function that observes the seconds of a stage."""
        return lambda seconds: self._add("stage", name, seconds)

    def latency(self, camera: str) -> Callable[[float], None]:
        """Return the function that observes a camera's seconds from capture to packet."""
        return lambda seconds: self._add("latency", camera, seconds)

    def tick(self, frames: int, faces: int) -> None:
        """Observe the frames recognized together, and the faces in them."""
        self._add("tick", "", frames, faces)

    def forget(self, camera: str) -> None:
        """The service does that."""

    def take(self) -> list[tuple[str, str, float, float]]:
        """Return what was observed since the last call: kind, label and values."""
        with self._lock:
            observed, self._observed = self._observed, []
            return observed

    def _add(self, kind: str, label: str, value: float, second: float = 0.0) -> None:
        with self._lock:
            self._observed.append((kind, label, value, second))


class SentLog(logging.Handler):
    """Passes log records to the service, which writes them."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, with its text and traceback finished."""
        fields = {
            "name": record.name,
            "levelno": record.levelno,
            "levelname": record.levelname,
            "created": record.created,
            "msg": record.getMessage(),
            "exc_text": record.exc_info and logging.Formatter().formatException(record.exc_info),
        }
        self._outbox.put(Message("log", (fields,)))


def run(connection: Connection, setup: Setup) -> None:
    """Run cameras until the service says stop or has ended; the target of the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the service decides when to stop
    outbox = Outbox(MAX_PICTURES)
    sender = threading.Thread(target=_send, args=(outbox, connection), daemon=True)
    sender.start()
    logging.basicConfig(level=setup.level, handlers=[SentLog(outbox)], force=True)
    cv2.setNumThreads(1)
    try:
        asyncio.run(_serve(connection, outbox, setup))
    except (GalleryError, RecognizerError) as error:
        outbox.put(Message("trouble", (str(error),)))
    except Exception:
        # The process has no output of its own; the service logs it and starts another.
        logger.exception("a worker process failed")
    outbox.close()
    sender.join(STOP_TIMEOUT_S)


def _send(outbox: Outbox, connection: Connection) -> None:
    with suppress(OSError):  # the service has ended, which the receiving thread notices
        outbox.send_all(connection)


async def _serve(connection: Connection, outbox: Outbox, setup: Setup) -> None:
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[Message] = asyncio.Queue()

    def receive() -> None:
        try:
            while True:
                for message in connection.recv():
                    loop.call_soon_threadsafe(inbox.put_nowait, message)
        except (EOFError, OSError):
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(inbox.put_nowait, Message("stop"))

    threading.Thread(target=receive, daemon=True).start()
    recognizer = open_recognizer(**setup.recognizer)
    recognizer.set_min_face_px(setup.min_face_px)
    with ExitStack() as stack:
        gallery = stack.enter_context(
            Gallery.open_to_read(
                setup.gallery,
                model_id=recognizer.model_id,
                embedding_size=recognizer.embedding_size,
                copy=None if setup.copy is None else PeopleCopy(setup.copy),
            )
        )
        worker = Worker(outbox, setup, recognizer, gallery)
        worker.inference.start()
        if gallery.copied_at is not None:
            worker.try_again()
        beat = asyncio.create_task(worker.report())
        while (message := await inbox.get()).kind != "stop":
            await worker.handle(message)
        beat.cancel()
        await worker.stop()


class Worker:
    """Handles the messages of the service.

    Args:
        outbox: of the answers.
        setup: as the service sent it.
        recognizer: used in the inference thread.
        gallery: searched there.

    Attributes:
        inference: the inference thread.
    """

    def __init__(
        self, outbox: Outbox, setup: Setup, recognizer: Recognizer, gallery: Gallery
    ) -> None:
        self._outbox = outbox
        self._gallery = gallery
        self._threshold: float = setup.pipeline["threshold"]
        self._trying: asyncio.Task[None] | None = None
        self._figures = SentFigures()
        self._cameras: dict[str, Camera] = {}
        self._hubs: dict[str, RelayHub] = {}
        self._gathers = False
        supervisor = Supervisor(clock=time.monotonic)
        pipeline = Pipeline(recognizer, gallery, **setup.pipeline)
        pipeline.gather_strangers(lambda: self._gathers)
        self.inference = Inference(
            pipeline,
            show=self._show,
            log=lambda event: outbox.put(Message("event", (event,))),
            keep=lambda sighting: outbox.put(Message("sighting", (sighting,))),
            figures=self._figures,
            supervisor=supervisor,
            clock=time.monotonic,
        )
        self._host = LocalHost(
            self.inference,
            pipeline,
            recognizer,
            bitrate_kbps=setup.bitrate_kbps,
            figures=self._figures,
            supervisor=supervisor,
            clock=time.monotonic,
        )

    def _show(self, result: FrameResult) -> None:
        self._host.show(result)
        self._outbox.put_faces(result)

    def _changed(self, camera: HostedCamera, state: CameraState, reason: str) -> None:
        self._outbox.put(Message("state", (camera.name, state, reason)))

    async def handle(self, message: Message) -> None:
        """Do what a message says, and answer it if somebody waits."""
        try:
            result = await getattr(self, f"on_{message.kind}")(*message.arguments)
        except (StreamError, GalleryError) as error:
            if not message.number:
                logger.error("%s", error)
            result = SentError.of(error)
        if message.number:
            self._outbox.put(Message("answer", (result,), message.number))

    async def on_start(self, config: CameraConfig) -> None:
        """Start a camera."""
        hub = self._hubs[config.name] = RelayHub(config.name, self._outbox, time.monotonic)
        self._cameras[config.name] = self._host.begin(
            config, hub, self._changed, Opener(time.monotonic)
        )

    async def on_change(self, config: CameraConfig) -> None:
        """Change a camera's settings."""
        self._cameras[config.name].change(config)

    async def on_accept(self, name: str) -> None:
        """Recognize the frames of a camera that was switched on."""
        self._host.accept(name)

    async def on_rename(self, name: str, new_name: str) -> None:
        """Rename a camera."""
        self._cameras[new_name] = self._cameras.pop(name)
        hub = self._hubs[new_name] = self._hubs.pop(name)
        hub.camera = new_name
        await self._host.rename(name, new_name)

    async def on_halt(self, name: str) -> None:
        """Stop a camera."""
        camera = self._cameras.pop(name)
        self._hubs.pop(name)
        camera.stop()
        await asyncio.to_thread(camera.join, time.monotonic() + STOP_TIMEOUT_S)

    async def on_drop(self, name: str) -> object:
        """Accept no more frames of a camera; answer with its last events and sightings."""
        return await self._host.drop(name)

    async def on_forget(self, name: str) -> None:
        """Forget a camera."""
        if name in self._cameras:  # this process began after it was stopped
            await self.on_halt(name)
            await self._host.drop(name)
        self._host.forget(name)

    async def on_release(self, name: str) -> object:
        """Stop a camera that moves to another worker; answer with its tracks and people."""
        try:
            watch = await self._host.release(name)
        except StreamError:  # it goes on here
            self._host.accept(name)
            raise
        await self.on_halt(name)
        self._host.forget(name)
        return watch

    async def on_adopt(self, name: str, watch: Watch) -> None:
        """Take the tracks and people of a camera that comes from another worker."""
        await self._host.adopt(name, watch)

    async def on_limits(self, limits: dict[str, Limits], smallest: int) -> None:
        """Set which faces count."""
        await self._host.filter_faces(limits, smallest)

    async def on_faces_of(self, camera: str, track_id: str) -> object:
        """Answer with a track's best crops."""
        return await self._host.faces_of(camera, track_id)

    async def on_assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign an identity to a track."""
        await self._host.assign(camera, track_id, identity)

    async def on_demand(self, camera: str, demand: Demand) -> None:
        """Take what a camera's viewers watch."""
        if (hub := self._hubs.get(camera)) is not None:
            hub.ask(demand)

    async def on_snapshot(self, camera: str, max_width: int | None) -> bytes | None:
        """Answer with the last frame of a camera as JPEG."""
        shown = self._cameras.get(camera)
        return (
            None if shown is None else await asyncio.to_thread(shown.snapshot, max_width=max_width)
        )

    async def on_gallery(self, threshold: float) -> None:
        """Decide all tracks again after a change of the gallery; later if it is away now."""
        self._threshold = threshold
        try:
            await self._read_gallery()
        except GalleryUnreachableError as error:
            if self._trying is None or self._trying.done():
                logger.warning("%s", error)
            self.try_again()

    def try_again(self) -> None:
        """Read the people again and again until their database answers; returns at once."""
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        while True:
            await asyncio.sleep(TRY_AGAIN_S)
            try:
                await self._read_gallery()
            except GalleryUnreachableError:
                continue
            except (StreamError, GalleryError) as error:
                logger.error("%s", error)
            return

    async def _read_gallery(self) -> None:
        await asyncio.to_thread(self._gallery.refresh)
        self.inference.gallery_changed(self._threshold)
        await self.inference.gallery_applied()

    async def on_gathers(self, gathers: bool) -> None:
        """Set whether strangers are embedded more often."""
        self._gathers = gathers

    async def report(self) -> None:
        """Send the status of the cameras again and again."""
        while True:
            statuses = {
                name: camera.status(dropped=self._host.dropped(name))
                for name, camera in self._cameras.items()
            }
            used = resource.getrusage(resource.RUSAGE_SELF)
            load = Load(
                ticks=self._host.ticks,
                failures=self._host.failures,
                n_waiting=self._host.n_waiting,
                n_jobs=self._host.n_jobs,
                is_alive=self._host.is_alive,
                cpu_s=used.ru_utime + used.ru_stime,
                rss_mib=used.ru_maxrss / 1024,
                spent_s=self._host.spent_s(),
            )
            self._outbox.put(Message("status", (statuses, load, self._figures.take())))
            await asyncio.sleep(STATUS_S)

    async def stop(self) -> None:
        """Stop everything, in the order of the data flow; the last events are sent."""
        if self._trying is not None:
            self._trying.cancel()
        for camera in self._cameras.values():
            camera.stop()
        self.inference.stop()
        await asyncio.to_thread(self.inference.join, STOP_TIMEOUT_S)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for camera in self._cameras.values():
            await asyncio.to_thread(camera.join, deadline)
