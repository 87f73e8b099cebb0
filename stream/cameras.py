"""The cameras of a service: started, added, changed and removed while it runs."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

from recognizer import Recognizer
from stream.camera import Camera, CameraState, CameraStatus
from stream.camera_store import CameraStore
from stream.config import CameraConfig
from stream.errors import ConfigError, UnknownCameraError
from stream.figures import Figures
from stream.frames import Event, EventKind, FrameResult
from stream.hub import PacketHub
from stream.inference import Inference
from stream.limits import Limits
from stream.pipeline import Pipeline
from stream.push import PushCamera, PushSource
from stream.redact import MASK, safe_url
from stream.sources import Source, check_url, open_source
from stream.supervisor import Supervisor

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 1.0
"""How long the removal of a camera waits for its threads."""


class Cameras:
    """Every camera by name; belongs to the event loop, but `show` to the inference thread.

    Args:
        store: keeps what is changed.
        inference: recognises their frames.
        pipeline: what recognises; used in the inference thread alone.
        recognizer: of the pipeline.
        min_face_px: smallest face of cameras that do not say.
        bitrate_kbps: kbit/s of a camera's video; 0 for what suits its size.
        log: takes events.
        renamed: hears of a camera's old and new name.
        figures: takes in what frames cost.
        supervisor: runs their threads again where they fail.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: CameraStore,
        inference: Inference,
        pipeline: Pipeline,
        recognizer: Recognizer,
        *,
        min_face_px: int,
        bitrate_kbps: int,
        log: Callable[[Event], None],
        renamed: Callable[[str, str], None],
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._inference = inference
        self._pipeline = pipeline
        self._recognizer = recognizer
        self._min_face_px = min_face_px
        self._bitrate_kbps = bitrate_kbps
        self._log = log
        self._renamed = renamed
        self._figures = figures
        self._supervisor = supervisor
        self._clock = clock
        self._by_name: dict[str, Camera] = {}
        # One change after the other: the file, the threads and the limits of a camera agree.
        self._changing = asyncio.Lock()
        self._promised = ""

    def __iter__(self) -> Iterator[Camera]:
        return iter(list(self._by_name.values()))

    async def start(self) -> None:
        """Start every camera that the configuration and later edits ask for."""
        for config in self._store.cameras():
            check_url(config.url)
            self._start(config, self._open, is_pushed=False)
        await self._tell_limits()

    def statuses(self) -> list[CameraStatus]:
        """Return how every camera is doing, in the order they were added."""
        dropped = self._inference.batcher.dropped
        return [camera.status(dropped=dropped(camera.name)) for camera in self]

    def get(self, name: str) -> Camera:
        """Return a camera by name.

        Raises:
            UnknownCameraError: if there is none of that name.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownCameraError(name) from None

    def show(self, result: FrameResult) -> None:
        """Give a recognised frame to its camera, if that is still there."""
        if (camera := self._by_name.get(result.frame.camera)) is not None:
            camera.show(result)

    async def add(self, config: CameraConfig) -> None:
        """Start a camera and keep it for the next start.

        Raises:
            ConfigError: if the name is taken or the URL is of no known kind.
            CameraStoreError: if it cannot be kept.
        """
        async with self._changing:
            check_url(config.url)
            with self._promise(config.name):
                await asyncio.to_thread(self._store.put, config)
            self._start(config, self._open, is_pushed=False)
            await self._tell_limits()

    async def change(self, name: str, config: CameraConfig) -> None:
        """Give a camera other settings, its name among them, and keep them.

        The settings of a camera that a browser or encoder brings last as long as it is connected.

        Raises:
            UnknownCameraError: if there is none of that name.
            ConfigError: if the name is taken or the URL is of no known kind.
            CameraStoreError: if they cannot be kept.
        """
        async with self._changing:
            camera = self.get(name)
            config = _with_password(config, camera.config)
            if config.url != camera.config.url:
                if camera.is_pushed:
                    raise ConfigError(f"camera {name} comes from a browser or encoder: no URL")
                check_url(config.url)
            keep = self._store.put if config.name == name else partial(self._store.rename, name)
            with nullcontext() if config.name == name else self._promise(config.name):
                if not camera.is_pushed:
                    await asyncio.to_thread(keep, config)
            if config.name != name:
                await self._rename(camera, config.name)
            await self._apply(camera, config)
            await self._tell_limits()

    async def remove(self, name: str) -> None:
        """Stop a camera and forget it; see `change` for errors."""
        async with self._changing:
            camera = self.get(name)
            if not camera.is_pushed:
                await asyncio.to_thread(self._store.remove, name)
            await self._remove(camera)

    async def reconfigure(self, configured: Sequence[CameraConfig]) -> None:
        """Take in a configuration that was edited: start, change and stop what differs.

        Where one name is gone and another there with the same URL, the camera was renamed.

        Raises:
            ConfigError: if a URL is of no known kind; then nothing is changed.
        """
        for config in configured:
            check_url(config.url)
        async with self._changing:
            self._store.reconfigure(configured)
            wanted = {config.name: config for config in self._store.cameras()}
            gone = [each for each in self if each.name not in wanted and not each.is_pushed]
            new: dict[str, str] = {}
            for name, config in wanted.items():
                if name not in self._by_name:
                    new.setdefault(config.url, name)
            for camera in gone:
                name = new.pop(camera.config.url, "")
                if name and name not in self._by_name:  # a browser may have taken it meanwhile
                    await self._rename(camera, name)
                else:
                    await self._remove(camera)
            for name, config in wanted.items():
                there = self._by_name.get(name)
                if there is None:
                    self._start(config, self._open, is_pushed=False)
                elif there.is_pushed:
                    logger.warning("camera %s is not started: a browser has its name", name)
                elif there.config != config:
                    await self._apply(there, config)
            await self._tell_limits()

    def push(self, name: str) -> PushCamera:
        """Make a camera that a browser or encoder feeds.

        Raises:
            ConfigError: if the name is taken.
        """
        self._check_free(name)
        source = PushSource(camera=name, clock=self._clock)
        config = CameraConfig.model_validate({"name": name, "url": f"browser:{name}"})
        camera = self._start(config, lambda config: source, is_pushed=True)
        return PushCamera(name, source, camera.hub, partial(self._forget, camera))

    def stop(self) -> None:
        """Ask every camera to end; returns at once."""
        for camera in self:
            camera.stop()

    async def join(self, deadline: float) -> None:
        """Wait for the cameras' threads until `deadline`, seconds, monotonic clock."""
        for camera in self:
            await asyncio.to_thread(camera.join, deadline)

    async def _forget(self, camera: Camera) -> None:
        """Remove this very camera, unless it is gone or another has taken its name."""
        async with self._changing:
            if self._by_name.get(camera.name) is camera:
                await self._remove(camera)

    async def _apply(self, camera: Camera, config: CameraConfig) -> None:
        was_on = camera.config.enabled
        if config.enabled and not was_on:
            self._inference.batcher.add(camera.name)
        camera.change(config)
        if was_on and not config.enabled:
            await self._drop(camera.name)

    async def _rename(self, camera: Camera, new_name: str) -> None:
        """Let a camera go on under another name, with its people, viewers and past events."""
        name = camera.name

        self._by_name = {
            new_name if each is camera else key: each for key, each in self._by_name.items()
        }
        camera.rename(new_name, self._figures.latency(new_name))

        def rename() -> None:
            # Between two ticks, so that no frame under the old name comes after it.
            self._inference.batcher.rename(name, new_name)
            self._pipeline.rename_camera(name, new_name)

        await self._inference.run(rename)
        self._renamed(name, new_name)
        self._figures.forget(name)
        logger.info("camera %s: renamed to %s", name, new_name)

    async def _remove(self, camera: Camera) -> None:
        name = camera.name
        del self._by_name[name]
        camera.stop()
        camera.hub.close()
        await asyncio.to_thread(camera.join, self._clock() + STOP_TIMEOUT_S)
        await self._drop(name)
        if camera.state is CameraState.LIVE:
            self._tell(name, CameraState.OFF, "removed")
        self._figures.forget(name)
        await self._tell_limits()

    async def _drop(self, name: str) -> None:
        """Take no more frames of a camera, and let go who was there."""
        self._inference.batcher.remove(name)
        left = await self._inference.run(self._pipeline.drop_camera, name, self._clock())
        for event in left:
            self._log(event)

    async def _tell_limits(self) -> None:
        """Tell the pipeline which faces count, and the recognizer the smallest of them."""
        limits = {camera.name: self._limits(camera.config) for camera in self}
        smallest = min((each.min_face_px for each in limits.values()), default=self._min_face_px)

        def tell() -> None:
            self._recognizer.look_for(smallest)
            for name, each in limits.items():
                self._pipeline.set_limits(name, each)

        await self._inference.run(tell)

    def _limits(self, config: CameraConfig) -> Limits:
        min_face_px = config.min_face_px or self._min_face_px
        return Limits(min_face_px, config.region) if config.region else Limits(min_face_px)

    @contextmanager
    def _promise(self, name: str) -> Iterator[None]:
        """Keep a free name free while the disk takes it: a browser may not take it meanwhile."""
        self._check_free(name)
        self._promised = name
        try:
            yield
        finally:
            self._promised = ""

    def _check_free(self, name: str) -> None:
        if name in self._by_name or name == self._promised:
            raise ConfigError(f"a camera named {name!r} is already there: choose another name")

    def _open(self, config: CameraConfig) -> Source:
        return open_source(
            config.url,
            camera=config.name,
            clock=self._clock,
            loop=config.loop,
            rtsp_transport=config.rtsp_transport,
            target_fps=config.target_fps,
        )

    def _start(
        self, config: CameraConfig, open_: Callable[[CameraConfig], Source], *, is_pushed: bool
    ) -> Camera:
        camera = Camera(
            config=config,
            open_source=open_,
            is_pushed=is_pushed,
            hub=PacketHub(self._clock),
            bitrate_kbps=self._bitrate_kbps,
            deliver=self._inference.batcher.put,
            on_state=self._changed,
            figures=self._figures,
            supervisor=self._supervisor,
            clock=self._clock,
        )
        self._by_name[config.name] = camera
        if config.enabled:
            self._inference.batcher.add(config.name)
        camera.start()
        return camera

    def _changed(self, camera: Camera, state: CameraState, reason: str) -> None:
        if state is not CameraState.FAILING:  # the camera itself says why it fails
            logger.info("camera %s: %s", camera.name, f"{state} ({reason})" if reason else state)
        self._tell(camera.name, state, reason)

    def _tell(self, name: str, state: CameraState, reason: str) -> None:
        kind = EventKind.CAMERA_UP if state is CameraState.LIVE else EventKind.CAMERA_DOWN
        now = self._clock()
        self._log(Event(kind, name, now, None, None, now, None, detail=reason))


def _with_password(config: CameraConfig, was: CameraConfig) -> CameraConfig:
    """Return new settings with the old URL where it came back as it is shown."""
    if config.url == safe_url(was.url):
        return config.model_copy(update={"url": was.url})
    if MASK in config.url:
        raise ConfigError(
            f"{MASK} stands for what is not shown of the camera's URL: type the URL whole to "
            "change it"
        )
    return config
