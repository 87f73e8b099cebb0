"""One camera: its capture thread and its state."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import cast

import cv2
import numpy as np

from stream.cameras.liveness import Stillness
from stream.cameras.pacing import ALIVE_S, Backoff
from stream.cameras.source import Source, SourceSettings, source_settings
from stream.config import CameraConfig, Rotation
from stream.errors import SourceEnded, SourceUnavailable
from stream.frames import Frame, FrameResult, Pixels
from stream.metrics.figures import Figures
from stream.metrics.windows import Percentiles, Rate, Window
from stream.redaction import safe_url
from stream.supervisor import SupervisedThread, Supervisor
from stream.video.channel import VideoChannel
from stream.video.rendition import snapshot_jpeg

logger = logging.getLogger(__name__)

PUSHED_RETRY_S = 0.1
"""Delay until frames of a silent sender are awaited again, seconds: no connection is opened."""

ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class CameraState(StrEnum):
    """State of a camera."""

    CONNECTING = "connecting"
    LIVE = "live"
    FROZEN = "frozen"
    FAILING = "failing"
    ENDED = "ended"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """Status of one camera at one moment.

    Attributes:
        config: its settings; the URL may hold a password.
        is_pushed: whether a browser or encoder sends it; it exists while that is connected.
        state: its state.
        since_s: seconds in this state.
        reason: one line on why it is not live; empty while it is.
        width: pixels of the last frame; 0 before the first.
        height: pixels of the last frame; 0 before the first.
        fps_in: frames per second captured, over the last seconds.
        fps_out: frames per second encoded, over the last seconds.
        captured: frames captured since the start.
        encoded: frames encoded since the start.
        dropped: frames replaced by newer ones before recognition, since the start.
        encoder_dropped: recognized frames replaced before encoding, since the start.
        viewer_dropped: packets dropped for slow viewers, since the start.
        damaged: packets that could not be decoded, since the start.
        encoder_waiting: recognized frames that wait for the encoder.
        viewers: number of viewers.
        reconnects: number of reconnections since the start.
        latency_ms: milliseconds from capture to encoded packet.
        suggested_rotation: degrees clockwise to set so that most faces are upright; None where
            they are, or where not enough were seen.
    """

    config: CameraConfig
    is_pushed: bool
    state: CameraState
    since_s: float
    reason: str
    width: int
    height: int
    fps_in: float
    fps_out: float
    captured: int
    encoded: int
    dropped: int
    encoder_dropped: int
    viewer_dropped: int
    damaged: int
    encoder_waiting: int
    viewers: int
    reconnects: int
    latency_ms: Percentiles
    suggested_rotation: Rotation | None = None

    @property
    def name(self) -> str:
        """The camera's name."""
        return self.config.name

    @property
    def url(self) -> str:
        """Its URL with passwords masked."""
        return safe_url(self.config.url)


class Camera:
    """Captures frames in its own thread until `stop`; its video starts and stops with it.

    `deliver` gives each frame to the inference thread, whose results go to `video`. A camera
    that fails is retried with a bounded delay, without effect on other cameras.
    A change of its URL starts a new session at once, even while the old one waits.

    Attributes:
        config: its settings.
        is_pushed: whether a browser or encoder sends it.
        video: encodes its recognized frames for the viewers.
    """

    def __init__(
        self,
        *,
        config: CameraConfig,
        open_source: Callable[[CameraConfig], Source],
        is_pushed: bool,
        video: VideoChannel,
        deliver: Callable[[Frame], None],
        on_state: Callable[["Camera", CameraState, str], None],
        figures: Figures,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        """Create a camera; `start` starts it.

        Args:
            config: its settings.
            open_source: opens it; blocks up to a timeout.
            is_pushed: whether a browser or encoder sends it.
            video: receives the recognized frames; started, renamed and stopped with the camera.
            deliver: receives each captured frame.
            on_state: called with each new state and its reason, from any thread.
            figures: metrics of its frames.
            supervisor: restarts its threads after a failure.
            clock: seconds, monotonic.
        """
        self.config = config
        self.is_pushed = is_pushed
        self.video = video
        self._open_source = open_source
        self._deliver = deliver
        self._on_state = on_state
        self._clock = clock
        self._lock = threading.Lock()
        self._source: Source | None = None
        # Set once the running session is over: its later frames are ignored.
        self._over = threading.Event()
        self._backoff = Backoff()
        self._stillness = Stillness(config.frozen_after_s)
        self._state = CameraState.CONNECTING if config.enabled else CameraState.OFF
        self._since = clock()
        self._reason = ""
        self._last_failure = ""
        self._reconnects = 0
        self._seq = 0
        self._damaged = 0
        self._rate_in = Rate()
        self._decode_ms = Window(observe=figures.stage("decode"))
        self._supervisor = supervisor
        self._captures: list[SupervisedThread] = []

    @property
    def name(self) -> str:
        """The camera's name, as configured."""
        return self.config.name

    @property
    def windows(self) -> dict[str, Window]:
        """Milliseconds per stage of a frame."""
        return {"decode": self._decode_ms, **self.video.windows}

    def start(self) -> None:
        """Start its threads; a camera that is off captures nothing until it is switched on."""
        self.video.start()
        if self.config.enabled:
            self._begin()

    def change(self, config: CameraConfig) -> None:
        """Change the settings; reconnects only where necessary."""
        was, self.config = self.config, config
        self._stillness.frozen_after_s = config.frozen_after_s
        if not config.enabled:
            self._end()
            self._enter(CameraState.OFF, "switched off")
        elif not was.enabled or _way(was) != _way(config):
            self._end()
            self._backoff = Backoff()
            self._enter(CameraState.CONNECTING, "settings changed")
            self._begin()
        elif (source := self._source) is not None:
            source.set_target_fps(config.target_fps)

    def rename(self, name: str, observe_latency: Callable[[float], None]) -> None:
        """Rename the camera, effective from the next frame; `observe_latency` takes seconds."""
        self.config = self.config.model_copy(update={"name": name})
        self.video.rename(name, observe_latency)
        for capture in self._captures:
            capture.name = f"capture-{name}"

    def stop(self) -> None:
        """Request the end of its threads; returns at once."""
        self.video.stop()
        self._end()

    def join(self, deadline: float) -> None:
        """Wait for its threads until `deadline` (seconds, monotonic clock) at the latest.

        A source that hangs ends at its own read timeout, and with it its daemon thread.
        """
        for thread in self._captures:
            thread.join(max(0.0, deadline - self._clock()))
        self.video.join(deadline)

    def _begin(self) -> None:
        """Start a session."""
        self._over = over = threading.Event()

        def failed(in_row: int) -> None:
            self._enter(CameraState.FAILING, "unexpected failure, see the log", over=over)

        thread = self._supervisor.thread(
            f"capture-{self.name}", partial(self._capture, over), on_failure=failed
        )
        self._captures = [*(each for each in self._captures if each.is_alive), thread]
        thread.start()

    def _end(self) -> None:
        """End the session; its thread ends as soon as its source returns."""
        with self._lock:
            self._over.set()
            source, self._source = self._source, None
        for capture in self._captures:
            capture.stop()
        if source is not None:
            source.close()

    @property
    def state(self) -> CameraState:
        """Its state."""
        return self._state

    @property
    def latest(self) -> FrameResult | None:
        """The last recognized frame; None before the first and while not live."""
        return self.video.latest if self._state is CameraState.LIVE else None

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        """Return the last frame, annotated, as JPEG; None where there is none."""
        result = self.latest
        return None if result is None else snapshot_jpeg(result, max_width=max_width)

    def status(self, *, dropped: int) -> CameraStatus:
        """Return the camera's status; `dropped` is the batcher's count for this camera."""
        now = self._clock()
        latest = self.video.latest
        height, width = latest.frame.size if latest else (0, 0)
        return CameraStatus(
            config=self.config,
            is_pushed=self.is_pushed,
            state=self._state,
            since_s=now - self._since,
            reason=self._reason,
            width=width,
            height=height,
            fps_in=self._rate_in.per_s(now),
            fps_out=self.video.fps_out(now),
            captured=self._seq,
            encoded=self.video.encoded,
            dropped=dropped,
            encoder_dropped=self.video.dropped,
            viewer_dropped=self.video.hub.dropped,
            damaged=self._damaged,
            encoder_waiting=self.video.n_waiting,
            viewers=self.video.hub.n_watching,
            reconnects=self._reconnects,
            latency_ms=self.video.windows["latency"].percentiles(),
            suggested_rotation=_suggested(latest, self.config.rotation),
        )

    def _enter(
        self, state: CameraState, reason: str = "", *, over: threading.Event | None = None
    ) -> None:
        """Enter a state; the state of a session is ignored after its end."""
        with self._lock:
            was = self._state
            if (state is was and reason == self._reason) or (over is not None and over.is_set()):
                return
            self._state, self._reason = state, reason
            if state is not was:
                self._since = self._clock()
        if state is not was:
            self._on_state(self, state, reason)

    def _capture(self, over: threading.Event) -> None:
        while not over.is_set():
            session = _Session()
            retry_after_s = 0.0
            try:
                self._run_session(over, session)
                return  # it is over
            except SourceEnded as error:
                self._enter(CameraState.ENDED, str(error), over=over)
                return
            except SourceUnavailable as error:
                reason, retry_after_s = str(error), error.retry_after_s
            except Exception:
                # An unexpected error of one camera must not end the others; the camera is retried.
                logger.exception("camera %s: unexpected failure", self.name)
                reason = "unexpected failure, see the log"
            if over.is_set():
                return
            delay_s = max(self._backoff.delay_s(session.alive_s), retry_after_s)
            if self.is_pushed:
                delay_s = PUSHED_RETRY_S
            # Once per reason: a camera that is off overnight must not fill the log.
            level = logging.DEBUG if reason == self._last_failure else logging.WARNING
            self._last_failure = reason
            logger.log(level, "camera %s: %s (retrying in %.1f s)", self.name, reason, delay_s)
            self._enter(CameraState.FAILING, reason, over=over)
            over.wait(delay_s)

    def _run_session(self, over: threading.Event, session: "_Session") -> None:
        """Read one opened source until it fails or the session is over."""
        source = self._open_source(self.config)
        try:
            with self._lock:
                if over.is_set():
                    return
                self._source = source
            # It may have changed while the source was opened.
            source.set_target_fps(self.config.target_fps)
            damaged = 0
            while True:
                # CPU time, since most of a read is waiting for the camera.
                started = time.thread_time()
                captured = source.read()
                self._damaged += source.damaged - damaged
                damaged = source.damaged
                if over.is_set():
                    return
                pixels, at = captured.pixels, captured.captured_at
                session.came(at)
                if session.alive_s is not None and session.alive_s >= ALIVE_S:
                    self._last_failure = ""
                if source.is_live and self._stillness.is_frozen(pixels.luma[0], at):
                    # Who is in front of it is unknown, so nothing is recognized.
                    seconds = self.config.frozen_after_s
                    self._enter(CameraState.FROZEN, f"the same frame for {seconds:g} s", over=over)
                    continue
                rotation = self.config.rotation
                if rotation:
                    image = cv2.rotate(pixels.image, ROTATIONS[rotation])
                    pixels = Pixels(np.asarray(image, np.uint8))
                # Counted over all sessions, so that no number is reused; with its current name.
                frame = Frame(self.name, self._seq, at, pixels, rotation=rotation)
                self._seq += 1
                self._decode_ms.add((time.thread_time() - started) * 1e3)
                self._rate_in.tick(at)
                if self._state is not CameraState.LIVE:
                    self._reconnects += self._state is CameraState.FAILING
                    self._enter(CameraState.LIVE, over=over)
                self._deliver(frame)
        finally:
            with self._lock:
                if self._source is source:
                    self._source = None
            source.close()


@dataclass(slots=True)
class _Session:
    """One connection to a camera, from its opening to its loss."""

    first_at: float | None = None
    last_at: float = 0.0

    def came(self, at: float) -> None:
        """Record the time of a frame, seconds."""
        if self.first_at is None:
            self.first_at = at
        self.last_at = at

    @property
    def alive_s(self) -> float | None:
        """Seconds between its first and last frame; None without frames."""
        return None if self.first_at is None else self.last_at - self.first_at


def _suggested(latest: FrameResult | None, rotation: int) -> Rotation | None:
    """Return the rotation by which the faces of the last frames would be upright, if sure."""
    if latest is None or not latest.turned_by or latest.frame.rotation != rotation:
        return None
    return cast(Rotation, (rotation - latest.turned_by) % 360)


def _way(config: CameraConfig) -> tuple[str, SourceSettings]:
    """Return the settings whose change needs another connection."""
    return config.url, replace(source_settings(config), target_fps=None)
