"""A worker process as the service knows it: runs cameras, and is started again when it ends."""

import asyncio
import itertools
import logging
import multiprocessing
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

from gallery import Identity
from stream.cameras.camera import CameraState, CameraStatus
from stream.cameras.host import Carried, Ended, HostedCamera, OnState
from stream.config import CameraConfig
from stream.enrollment.crops import FaceCrop
from stream.errors import WorkerError
from stream.frames import Event, EventKind, FrameResult, Sighting
from stream.metrics.figures import Figures
from stream.metrics.windows import Percentiles, Window
from stream.recognition.face_filter import Limits
from stream.supervisor import JOB_DELAY_S, Supervisor
from stream.video.packet_hub import PacketHub
from stream.workers.balance import CameraLoad
from stream.workers.process import Demand, Load, Setup, run
from stream.workers.wire import Message, Outbox, SentError, unpacked, without_pixels

logger = logging.getLogger(__name__)

OPENING_S, SILENT_S = 120.0, 15.0
"""Seconds without a message after which a worker is stopped and started again, while it opens its
networks and afterwards, when it sends its status twice a second: long, for busy machines."""

ANSWER_S = 10.0
"""How long an answer is waited for where a thread does."""

STALE_S = 3.0
"""Seconds after its last status from which a worker's load is not known: it is busy or frozen."""

MANY = 1 << 30
"""Messages to a worker that wait at most: they are few and small."""


class RemoteVideo:
    """The video of a camera of a worker.

    Attributes:
        hub: its viewers.
        latest: the last recognized frame, without pixels; None before the first.
    """

    def __init__(self, hub: PacketHub) -> None:
        self.hub = hub
        self.latest: FrameResult | None = None


class RemoteCamera:
    """A camera of a worker.

    Attributes:
        config: its settings.
        is_pushed: False: those run in the service's process.
        video: its viewers and faces.
    """

    is_pushed = False

    def __init__(
        self,
        config: CameraConfig,
        host: "WorkerHost",
        on_state: OnState,
        clock: Callable[[], float],
        hub: PacketHub | None = None,
    ) -> None:
        self.config = config
        self.video = RemoteVideo(PacketHub(clock) if hub is None else hub)
        self.video.hub.changed = self.tell_demand
        self._host = host
        self._on_state = on_state
        self._clock = clock
        self._state = CameraState.CONNECTING if config.enabled else CameraState.OFF
        self._reason = ""
        self._since = clock()
        self._sent: CameraStatus | None = None

    @classmethod
    def of(
        cls,
        camera: HostedCamera,
        host: "WorkerHost",
        on_state: OnState,
        clock: Callable[[], float],
    ) -> "RemoteCamera":
        """Return a camera for one that ran in the service's process; state and viewers stay."""
        was = camera.status(dropped=0)
        remote = cls(camera.config, host, on_state, clock, camera.video.hub)
        remote._state, remote._reason, remote._since = was.state, was.reason, clock() - was.since_s
        latest = camera.video.latest
        remote.video.latest = None if latest is None else without_pixels(latest)
        return remote

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.name

    @property
    def state(self) -> CameraState:
        """Its state."""
        return self._state

    @property
    def latest(self) -> FrameResult | None:
        """The last recognized frame, without pixels; None before the first and while not live."""
        return self.video.latest if self._state is CameraState.LIVE else None

    @property
    def windows(self) -> dict[str, Window]:
        """Empty: the worker has them."""
        return {}

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        """Return the last frame, annotated, as JPEG; None where there is none. Blocks."""
        if self.latest is None:
            return None
        try:
            found = self._host.call("snapshot", self.name, max_width).result(ANSWER_S)
        except (WorkerError, TimeoutError):
            return None
        return cast("bytes | None", found)

    def change(self, config: CameraConfig) -> None:
        """Change the settings; reconnects only where necessary."""
        self.config = config
        self._host.send("change", config)

    def stop(self) -> None:
        """Request its end; returns at once."""
        self._host.send("halt", self.name)

    def join(self, deadline: float) -> None:
        """Return: `Host.drop`, which follows, is answered after its end."""

    def status(self, *, dropped: int) -> CameraStatus:
        """Return the camera's status, at most half a second old."""
        sent = self._sent or _unknown(self.config)
        latest = self.video.latest
        height, width = latest.frame.size if latest else (sent.height, sent.width)
        return replace(
            sent,
            width=width,
            height=height,
            config=self.config,
            state=self._state,
            reason=self._reason,
            since_s=self._clock() - self._since,
            dropped=dropped,
            viewers=self.video.hub.n_watching,
            viewer_dropped=self.video.hub.dropped + sent.viewer_dropped,
        )

    @property
    def sent(self) -> CameraStatus | None:
        """What the worker has sent last; None before the first."""
        return self._sent

    @property
    def n_dropped(self) -> int:
        """Frames replaced before they were recognized."""
        return 0 if self._sent is None else self._sent.dropped

    def move_to(self, host: "WorkerHost") -> None:
        """Belong to another host; its viewers stay."""
        self._host, self._sent = host, None

    def take_status(self, status: CameraStatus) -> None:
        """Store what the worker has sent."""
        self._sent = status
        if self.video.hub.n_viewers:
            self.tell_demand()

    def enter(self, state: CameraState, reason: str) -> None:
        """Enter a state, as the worker says or because it has ended."""
        was, self._state, self._reason = self._state, state, reason
        if state is not was:
            self._since = self._clock()
            self._on_state(self, state, reason)

    def tell_demand(self) -> None:
        """Tell the worker what the viewers watch."""
        self._host.send("demand", self.name, Demand.of(self.video.hub))


class WorkerHost:
    """Runs cameras in a process of its own, which is started again when it ends.

    Args:
        number: of the worker, from 1.
        setup: of the process; called at each start.
        log: receives its events, in a thread of this host.
        keep: receives its sightings, likewise.
        figures: of the service.
        gathers: whether strangers are to be embedded more often; asked at each status.
        supervisor: starts the process again after a failure.
        clock: seconds, monotonic.

    Attributes:
        name: "recognition worker 1".
        load: the figures of the process that it sent last.
    """

    def __init__(
        self,
        number: int,
        setup: Callable[[], Setup],
        *,
        log: Callable[[Event], None],
        keep: Callable[[Sighting], None],
        figures: Figures,
        gathers: Callable[[], bool],
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self.name = f"recognition worker {number}"
        self.load = Load()
        self._setup = setup
        self._log = log
        self._keep = keep
        self._figures = figures
        self._clock = clock
        self._cameras: dict[str, RemoteCamera] = {}
        self._limits: tuple[dict[str, Limits], int] | None = None
        self._threshold: float | None = None
        self._gathers = gathers
        self._told_gathers = False
        # Of everybody present, by the track of their stay: who is logged as gone when it ends.
        self._present: dict[str, Event] = {}
        self._past = Load()
        self._numbers = itertools.count(1)
        self._calls: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._outbox = Outbox(MANY)
        self._has_begun = False  # a process reads the outbox
        self._status_at = float("-inf")
        self._is_stopping = False
        self._process: multiprocessing.process.BaseProcess | None = None
        self._thread = supervisor.thread(self.name, self._run, longest_delay_s=JOB_DELAY_S)

    # Its life

    def open(self) -> None:
        """Start the process."""
        self._thread.start()

    def close(self) -> None:
        """Ask the process to end; returns at once."""
        self._is_stopping = True
        self._thread.stop()
        self._outbox.put(Message("stop"))

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the process; end it by force after the timeout."""
        self._thread.join(timeout_s)
        if self._thread.is_alive and (process := self._process) is not None:
            process.kill()
            self._thread.join(timeout_s)

    @property
    def pid(self) -> int | None:
        """The id of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    # What the service asks

    @property
    def ticks(self) -> int:
        """Recognition ticks since the start of the service."""
        return self._past.ticks + self.load.ticks

    @property
    def failures(self) -> int:
        """Ticks that failed since the start of the service."""
        return self._past.failures + self.load.failures

    @property
    def cpu_s(self) -> float:
        """Processor time since the start of the service, seconds."""
        return self._past.cpu_s + self.load.cpu_s

    @property
    def n_waiting(self) -> int:
        """Frames that wait for recognition."""
        return self.load.n_waiting

    @property
    def n_jobs(self) -> int:
        """Calls that wait for the inference thread."""
        return self.load.n_jobs

    @property
    def is_alive(self) -> bool:
        """Whether recognition runs; false in the delay after a failure."""
        return self._thread.is_running and self.load.is_alive

    @property
    def is_ready(self) -> bool:
        """Whether its process has opened its networks."""
        return self.is_alive and self._status_at > float("-inf")

    def start(self, config: CameraConfig, on_state: OnState) -> HostedCamera:
        """Start a camera that is opened by its URL."""
        camera = RemoteCamera(config, self, on_state, self._clock)
        with self._lock:  # not while another process is told of all cameras
            self._cameras[config.name] = camera
            self.send("start", config)
        return camera

    def accept(self, name: str) -> None:
        """Recognize the frames of a camera that was switched on."""
        self.send("accept", name)

    def dropped(self, name: str) -> int:
        """Return the number of a camera's frames replaced before they were recognized."""
        return self._cameras[name].n_dropped

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a camera; its tracks, people and viewers stay."""
        camera = self._cameras[new_name] = self._cameras.pop(name)
        camera.config = camera.config.model_copy(update={"name": new_name})
        for track_id, event in list(self._present.items()):
            if event.camera == name:
                self._present[track_id] = replace(event, camera=new_name)
        with suppress(WorkerError):  # the next process begins with the new name
            await self._ask("rename", name, new_name)

    async def drop(self, name: str) -> Ended:
        """Accept no more frames of a camera, and forget its tracks and limits."""
        try:
            ended: Ended = await self._ask("drop", name)
        except WorkerError:
            return self._exits(name), []
        for track_id, event in list(self._present.items()):
            if event.camera == name:
                del self._present[track_id]
        return ended

    def forget(self, name: str) -> None:
        """Forget a camera that was stopped."""
        self._cameras.pop(name, None)
        self.send("forget", name)

    async def release(self, name: str) -> Carried:
        """Stop a camera here, so that another host can adopt it.

        Raises:
            WorkerError: if the process has ended; then the camera stays.
        """
        watch = await self._ask("release", name)
        with self._lock:  # not while another process is told of all cameras
            camera = self._cameras.pop(name)
            self.send("forget", name)  # another process may have begun since with all cameras
        present = {}
        for track_id, event in list(self._present.items()):
            if event.camera == name and self._present.pop(track_id, None) is not None:
                present[track_id] = event
        return Carried(camera, watch, present)

    async def adopt(self, carried: Carried, on_state: OnState) -> HostedCamera:
        """Start a camera that another host has released; its tracks and viewers go on."""
        if isinstance(carried.camera, RemoteCamera):
            camera = carried.camera
            camera.move_to(self)
        else:
            camera = RemoteCamera.of(carried.camera, self, on_state, self._clock)
        name = camera.name
        self._present.update(carried.present)
        watch = carried.watch
        told = None if watch is None else self.call("adopt", name, watch)
        with self._lock:  # not while another process is told of all cameras
            self._cameras[name] = camera
            self.send("start", camera.config)
        camera.tell_demand()
        try:
            if told is not None:
                await asyncio.wrap_future(told)
        except WorkerError:  # its tracks are lost with the process
            for event in self._exits(name):
                self._log(event)
        return camera

    def loads(self) -> dict[str, CameraLoad] | None:
        """Return what each camera takes, as sent last; None while recognition does not run.

        A process that opens its networks, or does not answer, has time for no camera.
        """
        if not self.is_alive or self._clock() - self._status_at > STALE_S:
            return None
        spent_s = self.load.spent_s
        return {
            name: CameraLoad(sent.captured, sent.dropped, spent_s.get(name, 0.0))
            for name, camera in list(self._cameras.items())
            if camera.config.enabled and (sent := camera.sent) is not None
        }

    async def filter_faces(self, limits: Mapping[str, Limits], smallest: int) -> None:
        """Set which faces of each camera count, and the smallest to look for, pixels."""
        self._limits = dict(limits), smallest
        self.send("limits", *self._limits)

    async def faces_of(self, camera: str, track_id: str) -> list[FaceCrop]:
        """Return a track's best crops; see `Pipeline.faces_of`."""
        crops: list[FaceCrop] = await self._ask("faces_of", camera, track_id)
        return crops

    async def assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign an identity to a track; see `Pipeline.assign`."""
        await self._ask("assign", camera, track_id, identity)

    def gallery_changed(self, threshold: float) -> None:
        """Decide all tracks again; from any thread, returns at once."""
        self._threshold = threshold
        self.send("gallery", threshold)

    async def gallery_applied(self) -> None:
        """Wait until the last change is applied to all tracks."""
        if self._threshold is not None:
            with suppress(WorkerError):  # the next process begins with the gallery as it is
                await self._ask("gallery", self._threshold)

    # Messages

    def send(self, kind: str, *arguments: object) -> None:
        """Send a message that is not answered; from any thread, returns at once."""
        self._outbox.put(Message(kind, arguments))

    def call(self, kind: str, *arguments: object) -> "Future[Any]":
        """Send a message; return its answer, a `WorkerError` if the process has ended."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if not self._has_begun:
                future.set_exception(WorkerError(f"{self.name} is being started: try again"))
                return future
            self._calls[number] = future
            self._outbox.put(Message(kind, arguments, number))
        return future

    async def _ask(self, kind: str, *arguments: object) -> Any:
        return await asyncio.wrap_future(self.call(kind, *arguments))

    def _run(self) -> None:
        """Run one process, until it ends."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=run, args=(theirs, self._setup()), name=self.name, daemon=True
        )
        process.start()
        theirs.close()
        self._process = process
        with self._lock:
            # What was said before this process belongs to the last one: it is said anew.
            outbox = self._outbox = Outbox(MANY)
            for message in self._beginning():
                outbox.put(message)
            self._has_begun = True
        sender = threading.Thread(target=partial(_send, outbox, ours), daemon=True)
        sender.start()
        try:
            self._receive(ours)
        finally:
            process.kill()
            process.join()
            outbox.close()
            sender.join()
            ours.close()
            self._ended()

    def _beginning(self) -> list[Message]:
        messages = [Message("start", (each.config,)) for each in list(self._cameras.values())]
        if self._limits is not None:
            messages.append(Message("limits", self._limits))
        if self._threshold is not None:
            messages.append(Message("gallery", (self._threshold,)))
        self._told_gathers = self._gathers()
        messages.append(Message("gathers", (self._told_gathers,)))
        if self._is_stopping:
            messages.append(Message("stop"))
        return messages

    def _receive(self, connection: Connection) -> None:
        """Handle messages until the process ends.

        Raises:
            WorkerError: if it was not asked to.
        """
        patience_s = OPENING_S
        try:
            while connection.poll(patience_s):
                for message in connection.recv():
                    self._handle(message)
                patience_s = SILENT_S
        except (EOFError, OSError):
            if self._is_stopping:
                return
            raise WorkerError(f"{self.name} has ended") from None
        raise WorkerError(f"{self.name} has not answered for {patience_s:g} s")

    def _handle(self, message: Message) -> None:
        match message.kind, message.arguments:
            case "faces", (result,):
                if (camera := self._cameras.get(result.frame.camera)) is not None:
                    camera.video.latest = result
            case "picture", (name, picture):
                if (camera := self._cameras.get(name)) is not None:
                    camera.video.hub.publish(unpacked(picture))
            case "event", (event,):
                self._remember(event)
                self._log(event)
            case "sighting", (sighting,):
                self._keep(sighting)
            case "state", (name, state, reason):
                if (camera := self._cameras.get(name)) is not None:
                    camera.enter(state, reason)
            case "status", (statuses, load, observed):
                self.load = load
                self._status_at = self._clock()
                for name, status in statuses.items():
                    if (camera := self._cameras.get(name)) is not None:
                        camera.take_status(status)
                self._observe(observed)
                if (gathers := self._gathers()) != self._told_gathers:
                    self._told_gathers = gathers
                    self.send("gathers", gathers)
            case "log", (fields,):
                record = logging.makeLogRecord({**fields, "msg": f"{self.name}: {fields['msg']}"})
                logging.getLogger(record.name).handle(record)
            case "trouble", (text,):
                logger.error("%s: %s", self.name, text)
            case "answer", (result,):
                with self._lock:
                    future = self._calls.pop(message.number, None)
                if future is not None:
                    with suppress(InvalidStateError):  # canceled meanwhile
                        if isinstance(result, SentError):
                            future.set_exception(result.error())
                        else:
                            future.set_result(result)

    def _observe(self, observed: list[tuple[str, str, float, float]]) -> None:
        for kind, label, value, second in observed:
            if kind == "stage":
                self._figures.stage(label)(value)
            elif kind == "tick":
                self._figures.tick(int(value), int(second))
            elif label in self._cameras:
                self._figures.latency(label)(value)

    def _remember(self, event: Event) -> None:
        if event.track_id is None:
            return
        if event.kind is EventKind.EXIT:
            self._present.pop(event.track_id, None)
        else:
            self._present[event.track_id] = event

    def _exits(self, camera: str | None = None) -> list[Event]:
        """Return the exits of those present, who are present no longer."""
        now, exits = self._clock(), []
        for track_id, event in list(self._present.items()):
            if camera is None or event.camera == camera:
                if self._present.pop(track_id, None) is None:
                    continue  # another thread has reported it
                exits.append(
                    replace(event, kind=EventKind.EXIT, at=now, previous=None, sighting=None)
                )
        return exits

    def _ended(self) -> None:
        """Answer the calls of a process that has ended, and report its cameras and people."""
        self._status_at = float("-inf")
        with self._lock:
            self._has_begun = False
            calls, self._calls = self._calls, {}
        for future in calls.values():
            with suppress(InvalidStateError):
                future.set_exception(WorkerError(f"{self.name} has ended: try again"))
        for event in self._exits():
            self._log(event)
        load, self.load = self.load, Load()
        self._past = replace(
            self._past,
            ticks=self._past.ticks + load.ticks,
            failures=self._past.failures + load.failures,
            cpu_s=self._past.cpu_s + load.cpu_s,
        )
        if self._is_stopping:
            return
        for camera in list(self._cameras.values()):
            if camera.config.enabled:
                camera.enter(CameraState.FAILING, f"{self.name} has ended and is started again")


def _send(outbox: Outbox, connection: Connection) -> None:
    with suppress(OSError):  # the process has ended, which the receiver notices
        outbox.send_all(connection)


def _unknown(config: CameraConfig) -> CameraStatus:
    """Return the status of a camera of which nothing was sent yet."""
    return CameraStatus(
        config=config,
        is_pushed=False,
        state=CameraState.CONNECTING,
        since_s=0.0,
        reason="",
        width=0,
        height=0,
        fps_in=0.0,
        fps_out=0.0,
        captured=0,
        encoded=0,
        dropped=0,
        encoder_dropped=0,
        viewer_dropped=0,
        damaged=0,
        encoder_waiting=0,
        viewers=0,
        reconnects=0,
        latency_ms=Percentiles(0.0, 0.0, 0),
    )
