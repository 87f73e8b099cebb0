"""Sources of frames: cameras, files, devices and the demo scene."""

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.cameras.address import RtspTransport, SourceSettings, parse_address
from stream.cameras.av_source import AvSource, History
from stream.cameras.conversion import Captured
from stream.cameras.pacing import Decimator
from stream.cameras.web_source import open_web
from stream.config import CameraConfig
from stream.errors import SourceUnavailable
from stream.frames import Pixels

__all__ = [
    "Captured",
    "DemoSource",
    "History",
    "RtspTransport",
    "Source",
    "SourceSettings",
    "check_url",
    "open_source",
    "parse_address",
    "source_settings",
]

DEMO_URL = "demo:"
DEMO_FPS = 25.0
DEMO_SIZE = (720, 1280)

DEFAULTS = SourceSettings()


class Source(Protocol):
    """An opened camera.

    Attributes:
        fps: frames per second, as declared by the source.
        size: (height, width) of the last frame, pixels.
        damaged: packets that could not be decoded.
        is_live: whether its frames come from a sensor in real time; false for files.
    """

    fps: float
    size: tuple[int, int]
    damaged: int
    is_live: bool

    def read(self) -> Captured:
        """Return the next image; blocks for some seconds at most.

        Raises:
            SourceUnavailable: if the camera stopped or fell silent.
            SourceEnded: if a file that is not looped has been played.
        """
        ...

    def set_target_fps(self, target_fps: float | None) -> None:
        """Set the maximum of frames per second, None for all; from any thread."""
        ...

    def close(self) -> None:
        """Stop; from any thread, any number of times."""
        ...


class Scene(Protocol):
    """A scene that can be rendered for any time."""

    def render(self, t: float) -> NDArray[np.uint8]:
        """Return the image of second `t`, (720, 1280, 3) uint8 RGB."""
        ...


def open_source(
    url: str,
    *,
    clock: Callable[[], float],
    settings: SourceSettings = DEFAULTS,
    history: History | None = None,
) -> Source:
    """Open a camera; takes seconds where the camera is slow or does not respond.

    Args:
        url: rtsp://, http:// or https:// (MJPEG, snapshots, HLS, video files), a path or file:
            URL, /dev/videoN or v4l2:N, or demo: for the demo scene.
        clock: seconds, monotonic.
        settings: of reading.
        history: frames of earlier sessions, to drop a replay; None for the first session.

    Raises:
        ConfigError: if the URL is of no known kind.
        SourceUnavailable: if it cannot be opened now; the message names the masked URL and why.
    """
    if url == DEMO_URL:
        demo = DemoSource(_demo_scene(), clock=clock)
        demo.set_target_fps(settings.target_fps)
        return demo
    address = parse_address(
        url, rtsp_transport=settings.rtsp_transport, verify_tls=settings.verify_tls
    )
    if address.is_web:
        web = open_web(address, clock=clock, settings=settings)
        if web is not None:
            return web
    return AvSource(address, clock=clock, settings=settings, history=history or History())


def source_settings(config: CameraConfig) -> SourceSettings:
    """Return the settings for reading a camera."""
    width, _, height = config.pixel_aspect.partition(":")
    return SourceSettings(
        rtsp_transport=config.rtsp_transport,
        loop=config.loop,
        target_fps=config.target_fps,
        open_timeout_s=config.open_timeout_s,
        read_timeout_s=config.read_timeout_s,
        pixel_aspect=None if width == "auto" else Fraction(int(width), int(height)),
        deinterlace=config.deinterlace,
        verify_tls=config.verify_tls,
    )


def check_url(url: str) -> None:
    """Reject a camera's URL that can never be opened.

    Raises:
        ConfigError: if it is of no known kind.
    """
    if url != DEMO_URL:
        parse_address(url)


def _demo_scene() -> Scene:
    # Imported here: only the demo needs the photos.
    from recognizer.cache import default_cache
    from recognizer.models.fetch import fetch_photos
    from stream.demo.scene import DemoScene

    scene: Scene = DemoScene(fetch_photos(default_cache(), None))
    return scene


class DemoSource:
    """The demo scene as a camera: 25 frames per second; late frames are skipped."""

    def __init__(self, scene: Scene, *, clock: Callable[[], float]) -> None:
        self.fps = DEMO_FPS
        self.size = DEMO_SIZE
        self.damaged = 0
        self.is_live = False
        self._scene = scene
        self._clock = clock
        self._started_at = clock()
        self._next = 0
        self._decimator = Decimator(None)
        self._closing = threading.Event()

    def read(self) -> Captured:
        """Return the next frame's image, at its time.

        Raises:
            SourceUnavailable: if it was closed.
        """
        captured_at = self._next_time()
        while not self._decimator.keep(captured_at):
            self._next += 1
            captured_at = self._next_time()
        image = self._scene.render(self._next / self.fps)
        self._next += 1
        return Captured(captured_at, Pixels(image))

    def _next_time(self) -> float:
        elapsed_s = self._clock() - self._started_at
        self._next = max(self._next, int(elapsed_s * self.fps))
        self._closing.wait(max(0.0, self._next / self.fps - elapsed_s))
        if self._closing.is_set():
            raise SourceUnavailable("demo: was closed")
        return self._clock()

    def set_target_fps(self, target_fps: float | None) -> None:
        """Set the maximum of frames per second; None for 25."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """End a waiting read."""
        self._closing.set()
