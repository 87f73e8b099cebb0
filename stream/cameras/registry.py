"""The cameras of a service: started, added, changed and removed while it runs."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

from gallery import Identity
from stream.cameras.camera import CameraState, CameraStatus
from stream.cameras.host import STOP_TIMEOUT_S, Carried, Host, HostedCamera, LocalHost, MovingHost
from stream.cameras.liveness import Liveness, Report
from stream.cameras.masked_url import unmask
from stream.cameras.push_source import STALE_S, PushCamera, PushSource
from stream.cameras.source import check_url, source_settings
from stream.cameras.store import PUSHED, CameraStore
from stream.config import CameraConfig
from stream.enrollment.crops import FaceCrop
from stream.errors import CameraExistsError, ConfigError, UnknownCameraError, UnknownTrackError
from stream.frames import Event, EventKind, Sighting
from stream.heap import trim_heaps
from stream.metrics.figures import Figures
from stream.recognition.face_filter import WHOLE, Limits
from stream.supervisor import SupervisedTask, Supervisor
from stream.video.packet_hub import PacketHub
from stream.zones import Zone

logger = logging.getLogger(__name__)

TRIM_EVERY_S = 10.0
"""Shortest time between two returns of free memory, which hold up allocations for a moment."""

CHECK_S = 0.5
"""How often it is checked whether a camera is to be reported as up or down."""

PATIENCE_S = STALE_S + 1.0
"""How long a sender waits for the former one of the same name to become silent."""


class Cameras:
    """All cameras by name; for the event loop.

    Args:
        store: stores changes.
        local: runs the cameras that browsers and encoders send, and all others without `workers`.
        workers: run the cameras that are opened by a URL.
        min_face_px: smallest face in pixels, for cameras without a setting.
        log: receives events.
        keep: receives the last sightings of a removed camera.
        renamed: called with a camera's old and new name.
        figures: metrics of frames.
        supervisor: restarts their threads after a failure.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: CameraStore,
        local: LocalHost,
        workers: Sequence[MovingHost] = (),
        *,
        min_face_px: int,
        log: Callable[[Event], None],
        keep: Callable[[Sighting], None],
        renamed: Callable[[str, str], None],
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._local = local
        self._workers = workers
        self._min_face_px = min_face_px
        self._log = log
        self._keep = keep
        self._renamed = renamed
        self._figures = figures
        self._supervisor = supervisor
        self._clock = clock
        self._by_name: dict[str, HostedCamera] = {}
        self._hosts: dict[str, Host] = {}
        # Changes are serialized, so that the file, threads and limits of a camera agree.
        self._changing = asyncio.Lock()
        self._promised = ""
        self._pushed: dict[HostedCamera, PushSource] = {}
        # Used by capture threads and by the event loop.
        self._liveness: dict[str, Liveness] = {}
        self._telling = threading.Lock()
        self._check: SupervisedTask | None = None
        self._is_stopping = False
        # A session has ended, so much memory may be free.
        self._wants_trim = False
        self._trimmed_at = clock()

    def __iter__(self) -> Iterator[HostedCamera]:
        return iter(list(self._by_name.values()))

    @property
    def n_opened(self) -> int:
        """Number of cameras that are opened by a URL."""
        return sum(not each.is_pushed for each in self)

    async def start(self) -> None:
        """Start every camera of the configuration and its later edits."""
        for config in self._store.cameras():
            check_url(config.url)
            self._start(config)
        self._check = self._supervisor.task("liveness", self._check_liveness)
        await self._tell_limits()

    def statuses(self) -> list[CameraStatus]:
        """Return the status of every camera, in the order they were added."""
        return [
            camera.status(dropped=self._hosts[camera.name].dropped(camera.name)) for camera in self
        ]

    def get(self, name: str) -> HostedCamera:
        """Return a camera by name.

        Raises:
            UnknownCameraError: if there is none of that name.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownCameraError(name) from None

    async def faces_of(self, camera: str, track_id: str) -> list[FaceCrop]:
        """Return the best crops of a camera's track; see `Pipeline.faces_of`.

        Raises:
            UnknownCameraError: if there is no camera of that name.
        """
        self.get(camera)
        return await self._hosts[camera].faces_of(camera, track_id)

    async def assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign an identity to a camera's track; see `Pipeline.assign`.

        Raises:
            UnknownTrackError: if the track or its camera is gone.
        """
        host = self._hosts.get(camera)
        if host is None:
            raise UnknownTrackError(track_id)
        await host.assign(camera, track_id, identity)

    async def add(self, config: CameraConfig) -> None:
        """Start a camera and store it for the next start.

        Raises:
            ConfigError: if the name is taken or the URL is of no known kind.
            CameraStoreError: if it cannot be stored.
        """
        async with self._changing:
            check_url(config.url)
            unmask(config.url, "")
            with self._promise(config.name):
                await asyncio.to_thread(self._store.put, config)
            self._start(config)
            await self._tell_limits()

    async def change(self, name: str, config: CameraConfig) -> None:
        """Change the settings of a camera, including its name, and store them.

        Settings of a camera that a browser or encoder sends are stored for its next connection.

        Raises:
            UnknownCameraError: if there is none of that name.
            ConfigError: if the name is taken or the URL is of no known kind.
            CameraStoreError: if they cannot be stored.
        """
        async with self._changing:
            camera = self.get(name)
            config = config.model_copy(update={"url": unmask(config.url, camera.config.url)})
            if config.url != camera.config.url:
                if camera.is_pushed:
                    raise ConfigError(f"camera {name} comes from a browser or encoder: no URL")
                check_url(config.url)
            keep = self._store.put if config.name == name else partial(self._store.rename, name)
            with nullcontext() if config.name == name else self._promise(config.name):
                await asyncio.to_thread(keep, config)
            if config.name != name:
                await self._rename(camera, config.name)
            await self._apply(camera, config)
            await self._tell_limits()

    async def remove(self, name: str) -> None:
        """Stop and remove a camera; see `change` for errors."""
        async with self._changing:
            camera = self.get(name)
            if not camera.is_pushed or self._store.pushed(name) is not None:
                await asyncio.to_thread(self._store.remove, name)
            await self._remove(camera, "removed")

    async def move(self, name: str, worker: int) -> None:
        """Let the worker of this index run a camera; its tracks, people and viewers stay.

        Raises:
            UnknownCameraError: if there is none of that name.
            WorkerError: if the process that runs it has ended; then it stays there.
        """
        async with self._changing:
            self.get(name)
            to = self._workers[worker]
            host = next((each for each in self._workers if each is self._hosts[name]), None)
            if host is None or host is to:  # a camera of this process stays here
                return
            await self._move(await host.release(name), to)

    async def move_out(self) -> tuple[str, str] | None:
        """Let the worker with the fewest cameras run one that this process opens by its URL.

        Its tracks, people and viewers stay.

        Returns:
            The names of the camera and the worker; None if all have moved, or no worker is ready.

        Raises:
            WorkerError: if recognition fails meanwhile; then the camera stays.
        """
        async with self._changing:
            ready, here = self._ready(), self._here()
            if not ready or not here:
                return None
            carried = await self._local.carry(here[0])
            to = self._emptiest(ready)
            await self._move(carried, to)
            return here[0], to.name

    async def _move(self, carried: Carried, to: MovingHost) -> None:
        name = carried.camera.name
        self._hosts[name] = to
        self._by_name[name] = await to.adopt(carried, self._changed)
        await self._tell_limits()

    async def reconfigure(self, configured: Sequence[CameraConfig]) -> None:
        """Apply an edited configuration: start, change and stop cameras that differ.

        A removed name and a new name with the same URL are a renamed camera.

        Raises:
            ConfigError: if the kind of a URL is unknown; then nothing is changed.
        """
        await self._reconfigure(configured, is_rename=True)

    async def place(self, placed: Sequence[CameraConfig]) -> None:
        """Run the cameras that are placed on this machine: start, change and stop what differs.

        Raises:
            ConfigError: if the kind of a URL is unknown; then nothing is changed.
        """
        await self._reconfigure(placed, is_rename=False)

    async def _reconfigure(self, configured: Sequence[CameraConfig], *, is_rename: bool) -> None:
        for config in configured:
            check_url(config.url)
        async with self._changing:
            self._store.reconfigure(configured)
            wanted = {config.name: config for config in self._store.cameras()}
            gone = [each for each in self if each.name not in wanted and not each.is_pushed]
            new: dict[str, str] = {}
            for name, config in wanted.items():
                if is_rename and name not in self._by_name:
                    new.setdefault(config.url, name)
            for camera in gone:
                name = new.pop(camera.config.url, "")
                if name and name not in self._by_name:  # a browser may have used the name meanwhile
                    await self._rename(camera, name)
                else:
                    await self._remove(camera, "removed" if is_rename else "")
            for name, config in wanted.items():
                there = self._by_name.get(name)
                if there is None:
                    self._start(config)
                elif there.is_pushed:
                    logger.warning("camera %s is not started: a browser has its name", name)
                elif there.config != config:
                    await self._apply(there, config)
            await self._tell_limits()

    async def push(self, name: str) -> PushCamera:
        """Create a camera that a browser or encoder sends, or take over one with a silent sender.

        Raises:
            ConfigError: if the name is taken.
        """
        await self._await_silence(name)
        camera = self._by_name.get(name)
        if camera is None or not camera.is_pushed:
            self._check_free(name)
            source = PushSource(camera=name, clock=self._clock)
            config = self._store.pushed(name) or CameraConfig.model_validate(
                {"name": name, "url": ""}
            )
            config = config.model_copy(update={"url": f"{PUSHED}{name}"})
            camera = self._local.begin(
                config,
                PacketHub(self._clock),
                self._changed,
                lambda config: source.use(source_settings(config)),
                is_pushed=True,
            )
            self._by_name[name], self._hosts[name] = camera, self._local
            self._pushed[camera] = source
        source = self._pushed[camera]
        sender = PushCamera(name, source, camera.video.hub, partial(self._forget, camera))
        former = source.take(sender)
        if former is not None:
            logger.info("camera %s: another sender replaces one that sends no frames", name)
            former.on_replaced()
        try:
            await self._tell_limits()
        except BaseException:
            await asyncio.shield(sender.close())
            raise
        return sender

    async def _await_silence(self, name: str) -> None:
        """Wait briefly until the sender of a pushed camera times out: it may have crashed."""
        deadline = self._clock() + PATIENCE_S
        while (camera := self._by_name.get(name)) is not None and camera.is_pushed:
            if self._pushed[camera].is_stale:
                return
            if self._clock() >= deadline:
                raise ConfigError(
                    f"a camera named {name!r} is already being sent: choose another name"
                )
            await asyncio.sleep(PATIENCE_S / 20)

    def stop(self) -> None:
        """Request the end of every camera; returns at once."""
        self._is_stopping = True
        if self._check is not None:
            self._check.cancel()
        for camera in self:
            camera.stop()

    async def join(self, deadline: float) -> None:
        """Wait for the cameras' threads until `deadline`, seconds, monotonic clock."""
        for camera in self:
            await asyncio.to_thread(camera.join, deadline)

    async def _forget(self, camera: HostedCamera) -> None:
        """Remove this camera, unless it is already removed or another has its name.

        A stored camera of that name, which could not be started, is started.
        """
        async with self._changing:
            if self._by_name.get(camera.name) is not camera:
                return
            await self._remove(camera, None)
            for config in self._store.cameras():
                if config.name == camera.name and not self._is_stopping:
                    self._start(config)
                    await self._tell_limits()

    async def _apply(self, camera: HostedCamera, config: CameraConfig) -> None:
        was_on = camera.config.enabled
        if config.enabled and not was_on:
            self._hosts[camera.name].accept(camera.name)
        camera.change(config)
        if was_on and not config.enabled:
            await self._drop(camera.name)

    async def _rename(self, camera: HostedCamera, new_name: str) -> None:
        """Rename a camera; its tracks, viewers and past events stay."""
        name = camera.name
        self._by_name = {
            new_name if each is camera else key: each for key, each in self._by_name.items()
        }
        host = self._hosts[new_name] = self._hosts.pop(name)
        await host.rename(name, new_name)
        with self._telling:
            if name in self._liveness:
                self._liveness[new_name] = self._liveness.pop(name)
        self._renamed(name, new_name)
        self._figures.forget(name)
        logger.info("camera %s: renamed to %s", name, new_name)

    async def _remove(self, camera: HostedCamera, reason: str | None) -> None:
        """Remove a camera; None where its sender has left, which may return soon.

        An empty reason is not reported: the camera goes on, on another machine.
        """
        name = camera.name
        del self._by_name[name]
        self._pushed.pop(camera, None)
        camera.stop()
        camera.video.hub.close()
        await asyncio.to_thread(camera.join, self._clock() + STOP_TIMEOUT_S)
        await self._drop(name)
        self._hosts.pop(name).forget(name)
        with self._telling:
            if (liveness := self._liveness.get(name)) is not None:
                if reason is None:
                    reports = liveness.went(self._clock(), "its sender disconnected")
                else:
                    del self._liveness[name]
                    reports = liveness.end(reason) if reason else []
                self._tell(name, reports)
        self._figures.forget(name)
        await self._tell_limits()
        self._wants_trim = True

    async def _drop(self, name: str) -> None:
        """Accept no more frames of a camera, and log its last sightings and exits."""
        events, sightings = await self._hosts[name].drop(name)
        for sighting in sightings:
            self._keep(sighting)
        for event in events:
            self._log(event)

    async def _tell_limits(self) -> None:
        """Set the face filter of the pipeline, and the smallest face of the recognizer."""
        limits = {camera.name: self._limits(camera.config) for camera in self}
        smallest = min((each.min_face_px for each in limits.values()), default=self._min_face_px)
        for host in (self._local, *self._workers):
            of_host = {name: each for name, each in limits.items() if self._hosts[name] is host}
            await host.filter_faces(of_host, smallest)

    def _limits(self, config: CameraConfig) -> Limits:
        min_face_px = config.min_face_px or self._min_face_px
        zones = tuple(Zone.of(name, points) for name, points in config.zones.items())
        return Limits(min_face_px, config.region or WHOLE, zones)

    @contextmanager
    def _promise(self, name: str) -> Iterator[None]:
        """Reserve a free name while it is written to disk, so that no browser can use it."""
        self._check_free(name)
        self._promised = name
        try:
            yield
        finally:
            self._promised = ""

    def _check_free(self, name: str) -> None:
        if name in self._by_name or name == self._promised:
            raise CameraExistsError(name)

    def _start(self, config: CameraConfig) -> None:
        """Start a camera that is opened by its URL."""
        host = self._place()
        self._hosts[config.name] = host
        self._by_name[config.name] = host.start(config, self._changed)

    def _place(self) -> Host:
        """Return the host for another camera: of the workers, that with the fewest."""
        ready = self._ready()
        # Workers that are started while cameras run here take them, and this one, once they can.
        if not self._workers or (not ready and self._here()):
            return self._local
        return self._emptiest(ready or self._workers)

    def _emptiest(self, workers: Sequence[MovingHost]) -> MovingHost:
        hosts = list(self._hosts.values())
        return min(workers, key=hosts.count)

    def _ready(self) -> list[MovingHost]:
        return [each for each in self._workers if each.is_ready]

    def _here(self) -> list[str]:
        """Return the cameras that this process opens by a URL."""
        return [
            each.name
            for each in self
            if not each.is_pushed and self._hosts[each.name] is self._local
        ]

    def _changed(self, camera: HostedCamera, state: CameraState, reason: str) -> None:
        logger.debug("camera %s: %s %s", camera.name, state, reason)
        now = self._clock()
        self._wants_trim |= state is not CameraState.LIVE
        with self._telling:
            liveness = self._liveness.setdefault(camera.name, Liveness())
            match state:
                case CameraState.LIVE:
                    self._tell(camera.name, liveness.came(now))
                case CameraState.FAILING | CameraState.FROZEN:
                    self._tell(camera.name, liveness.went(now, reason))
                case CameraState.OFF | CameraState.ENDED:
                    self._tell(camera.name, liveness.end(reason))

    async def _check_liveness(self) -> None:
        """Report state changes that are due, drop removed cameras, and free their memory."""
        while True:
            await asyncio.sleep(CHECK_S)
            now = self._clock()
            if self._wants_trim and now - self._trimmed_at >= TRIM_EVERY_S:
                self._wants_trim, self._trimmed_at = False, now
                await asyncio.to_thread(trim_heaps)
            with self._telling:
                for name, liveness in list(self._liveness.items()):
                    self._tell(name, liveness.check(now))
                    if name not in self._by_name and liveness.is_forgotten(now):
                        del self._liveness[name]

    def _tell(self, name: str, reports: Sequence[Report]) -> None:
        now = self._clock()
        for report in reports:
            kind = EventKind.CAMERA_UP if report.is_up else EventKind.CAMERA_DOWN
            state = "up" if report.is_up else f"down: {report.reason}"
            logger.info("camera %s is %s", name, state)
            self._log(Event(kind, name, now, None, None, now, None, detail=report.reason))
