"""Where frames come from: cameras, files, devices and the demo scene."""

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from stream.capture import Address, AvSource
from stream.errors import ConfigError, SourceUnavailable
from stream.frames import Frame
from stream.pacing import Decimator, reconnect_delay
from stream.redact import redact

__all__ = [
    "DemoSource",
    "Source",
    "check_url",
    "open_source",
    "parse_address",
    "reconnect_delay",
    "redact",
]

DEMO_URL = "demo:"
DEMO_FPS = 25.0
DEMO_SIZE = (720, 1280)

RtspTransport = Literal["tcp", "udp"]

# Look at a stream only until its size is known, not at 20 pictures for its rate. The usual
# "nobuffer" throws away what was looked at: the first picture then waits for another keyframe,
# 2.2 s instead of 0.34 s from an RTSP camera at 25 pictures a second, 3.4 instead of 0.64 at 10
# (measured). Nothing lags for it: what was looked at is decoded at once.
LIVE_OPTIONS: Mapping[str, str] = {"fpsprobesize": "0", "analyzeduration": "100000"}

# What FFmpeg may open for a URL: a playlist on a camera must not read this machine's files.
NETWORK_PROTOCOLS = "rtsp,rtp,rtcp,udp,tcp,tls,http,https,crypto,data"
FILE_PROTOCOLS = "file,crypto,data"

DEFAULT_PORTS: Mapping[str, int] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class Source(Protocol):
    """An opened camera.

    Attributes:
        fps: pictures a second as the source says.
        size: (height, width) of the last picture, pixels.
        damaged: packets that could not be decoded.
    """

    fps: float
    size: tuple[int, int]
    damaged: int

    def read(self) -> Frame:
        """Wait for the next frame; never longer than some seconds.

        Raises:
            SourceUnavailable: if the camera stopped or fell silent.
            SourceEnded: if a file that is not looped has been played.
        """
        ...

    def set_target_fps(self, target_fps: float | None) -> None:
        """Let through no more pictures a second than this, None for all; from any thread."""
        ...

    def close(self) -> None:
        """Stop; from any thread, any number of times."""
        ...


class Scene(Protocol):
    """Something that draws a picture for any time."""

    def render(self, t: float) -> NDArray[np.uint8]:
        """Draw (720, 1280, 3) uint8 RGB for second `t`."""
        ...


def open_source(
    url: str,
    *,
    camera: str,
    clock: Callable[[], float],
    loop: bool = True,
    rtsp_transport: RtspTransport = "tcp",
    target_fps: float | None = None,
) -> Source:
    """Open a camera; takes seconds where the camera is slow or silent.

    Args:
        url: rtsp://, http:// or https:// (MJPEG), a file's path or file: URL, /dev/videoN or
            v4l2:N, or demo: for the demo scene.
        camera: the camera's name, for the frames.
        clock: seconds, monotonic.
        loop: play a file again and again.
        rtsp_transport: how RTSP carries the pictures.
        target_fps: let through no more pictures a second than this; None for all.

    Raises:
        ConfigError: if the URL is of no known kind.
        SourceUnavailable: if it cannot be opened now; the message names the masked URL and why.
    """
    if url == DEMO_URL:
        demo = DemoSource(_demo_scene(), camera=camera, clock=clock)
        demo.set_target_fps(target_fps)
        return demo
    return AvSource(
        parse_address(url, rtsp_transport=rtsp_transport),
        camera=camera,
        clock=clock,
        loop=loop,
        target_fps=target_fps,
    )


def check_url(url: str) -> None:
    """Refuse a camera's URL that can never be opened.

    Raises:
        ConfigError: if it is of no known kind.
    """
    if url != DEMO_URL:
        parse_address(url)


def parse_address(url: str, *, rtsp_transport: RtspTransport = "tcp") -> Address:
    """Turn a camera's URL into FFmpeg's words.

    Raises:
        ConfigError: if the URL is of no known kind.
    """
    scheme, separator, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme in DEFAULT_PORTS and rest.startswith("//"):
        return _network_address(url, scheme, rtsp_transport)
    if device := re.fullmatch(r"(?:/dev/video|v4l2:(?:/dev/video)?)(\d+)", url):
        path = f"/dev/video{device[1]}"
        return Address(path, path, "v4l2", tuple(LIVE_OPTIONS.items()), is_live=True, host=None)
    if scheme == "file":
        return _file_address(unquote(urlsplit(url).path))
    # One letter is a drive of Windows.
    if separator and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and not Path(url).exists():
        raise ConfigError(
            f"camera URL {redact(url)} is of no known kind, expected rtsp://, http://, https://, "
            "file:, v4l2:N, demo: or the path of a file"
        )
    if not url:
        raise ConfigError("camera URL is empty")
    return _file_address(url)


def _network_address(url: str, scheme: str, rtsp_transport: RtspTransport) -> Address:
    options = {**LIVE_OPTIONS, "protocol_whitelist": NETWORK_PROTOCOLS}
    if scheme.startswith("rtsp"):
        options |= {"rtsp_transport": rtsp_transport, "allowed_media_types": "video"}
    # FFmpeg takes the last '@' of the authority for the end of the password, and so does urlsplit.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS[scheme]
    except ValueError:
        host, port = None, 0
    if not host:
        raise ConfigError(f"camera URL {redact(url)} names no host, or a port that is no number")
    return Address(url, redact(url), None, tuple(options.items()), is_live=True, host=(host, port))


def _file_address(path: str) -> Address:
    options = (("protocol_whitelist", FILE_PROTOCOLS),)
    # With its prefix FFmpeg takes the rest literally, colons and all.
    return Address(f"file:{path}", path, None, options, is_live=False, host=None)


def _demo_scene() -> Scene:
    # Imported here: only the demo needs the photos.
    from recognizer.models import default_cache, fetch_photos
    from stream.demo import DemoScene

    scene: Scene = DemoScene(fetch_photos(default_cache(), None))
    return scene


class DemoSource:
    """The demo scene as a camera: 25 pictures a second, leaving out what it is too late for."""

    def __init__(self, scene: Scene, *, camera: str, clock: Callable[[], float]) -> None:
        self.fps = DEMO_FPS
        self.size = DEMO_SIZE
        self.damaged = 0
        self._scene = scene
        self._camera = camera
        self._clock = clock
        self._started_at = clock()
        self._n_read = 0
        self._next = 0
        self._decimator = Decimator(None)
        self._closing = threading.Event()

    def read(self) -> Frame:
        """Wait for the next picture's time and draw it.

        Raises:
            SourceUnavailable: if it was closed.
        """
        captured_at = self._next_time()
        while not self._decimator.keep(captured_at):
            self._next += 1
            captured_at = self._next_time()
        image = self._scene.render(self._next / self.fps)
        frame = Frame(camera=self._camera, seq=self._n_read, captured_at=captured_at, image=image)
        self._next += 1
        self._n_read += 1
        return frame

    def _next_time(self) -> float:
        elapsed_s = self._clock() - self._started_at
        self._next = max(self._next, int(elapsed_s * self.fps))
        self._closing.wait(max(0.0, self._next / self.fps - elapsed_s))
        if self._closing.is_set():
            raise SourceUnavailable("demo: was closed")
        return self._clock()

    def set_target_fps(self, target_fps: float | None) -> None:
        """Draw no more pictures a second than this; None for 25."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Stop a waiting read."""
        self._closing.set()
