"""One camera: its capture thread, its encoder thread, and how it is doing."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from stream.annotate import annotate
from stream.errors import SourceEnded, SourceUnavailable
from stream.frames import Frame, FrameResult
from stream.hub import PacketHub
from stream.mailbox import LatestMailbox, MailboxClosed
from stream.pacing import reconnect_delay
from stream.sources import Source
from stream.stats import Percentiles, Rate, Window
from stream.video_out import VideoOut

logger = logging.getLogger(__name__)

IDLE_S = 0.5
"""How often the encoder's thread looks up while there is nothing to do."""

ENCODER_QUEUE = 3
"""Recognised frames that wait for the encoder: 120 ms at 25 fps, which outlasts every hiccup
measured on two busy cores; one alone lost a frame a minute."""

NOMINAL_FPS = 25.0
"""What the encoder's rate control reckons with; timestamps carry the real rate."""

SNAPSHOT_QUALITY = 85
"""JPEG quality of snapshots: no visible blocks around the labels."""


class CameraState(StrEnum):
    """How a camera is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    FAILING = "failing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera at one moment.

    Attributes:
        name: as configured.
        url: where it comes from, passwords masked.
        state: how it is doing.
        since_s: seconds in this state.
        reason: one line on why it is not live; empty while it is.
        width: pixels of the last picture; 0 before the first.
        height: pixels of the last picture; 0 before the first.
        fps_in: pictures a second captured, over the last seconds.
        fps_out: annotated pictures a second encoded, over the last seconds.
        captured: pictures captured since the start.
        encoded: annotated pictures encoded since the start.
        dropped: pictures replaced by newer ones before recognition, since the start.
        encoder_dropped: annotated pictures replaced before encoding, since the start.
        viewers: how many watch.
        reconnects: how often it came back since the start.
        latency_ms: milliseconds from capture to encoded packet.
    """

    name: str
    url: str
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
    viewers: int
    reconnects: int
    latency_ms: Percentiles


class Camera:
    """Captures in one thread, encodes in another, and runs until `stop`.

    `deliver` gives each frame to the inference thread, which answers by `show`. A camera
    that fails is tried again with a bounded delay; nothing it does reaches another camera.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        open_source: Callable[[], Source],
        hub: PacketHub,
        bitrate_kbps: int,
        deliver: Callable[[Frame], None],
        on_state: Callable[["Camera", CameraState, str], None],
        clock: Callable[[], float],
    ) -> None:
        """Make a camera; `start` starts it.

        Args:
            name: as configured.
            url: where it comes from, passwords masked.
            open_source: opens it; blocks with a timeout.
            hub: takes the packets.
            bitrate_kbps: kbit/s of the video; 0 for what suits the picture's size.
            deliver: takes each captured frame.
            on_state: hears of live, failing and ended, with the reason.
            clock: seconds, monotonic.
        """
        self.name = name
        self.url = url
        self.hub = hub
        self.windows: dict[str, Window] = {
            key: Window() for key in ("decode", "annotate", "encode", "latency")
        }
        self._open_source = open_source
        self._bitrate_kbps = bitrate_kbps
        self._deliver = deliver
        self._on_state = on_state
        self._clock = clock
        self._stopping = threading.Event()
        self._results: LatestMailbox[FrameResult] = LatestMailbox(ENCODER_QUEUE)
        self._latest: FrameResult | None = None
        self._source: Source | None = None
        self._state = CameraState.CONNECTING
        self._since = clock()
        self._reason = ""
        self._reconnects = 0
        self._seq = 0
        self._encoded = 0
        self._rate_in = Rate()
        self._rate_out = Rate()
        self._threads = [
            threading.Thread(target=self._capture, name=f"capture-{name}", daemon=True),
            threading.Thread(target=self._encode, name=f"encode-{name}", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask both threads to end; returns at once."""
        self._stopping.set()
        self._results.close()
        if (source := self._source) is not None:
            source.close()

    def join(self, deadline: float) -> None:
        """Wait for both threads until `deadline` (seconds, monotonic clock) at the latest.

        A source that hangs ends by its own read timeout, and its daemon thread with it.
        """
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock()))

    @property
    def latest(self) -> FrameResult | None:
        """The last frame that was recognised; None before the first and while not live."""
        return self._latest if self._state is CameraState.LIVE else None

    def show(self, result: FrameResult) -> None:
        """Take a recognised frame for whoever watches."""
        self._latest = result
        self._results.put(result)

    def snapshot(self, *, max_width: int | None = None) -> bytes | None:
        """Return the last frame, annotated, as JPEG; None where there is none."""
        if (result := self.latest) is None:
            return None
        image = result.frame.image.copy()
        annotate(image, result.tracks, now=result.frame.captured_at)
        if max_width is not None and image.shape[1] > max_width:
            height = max(1, round(image.shape[0] * max_width / image.shape[1]))
            small = cv2.resize(image, (max_width, height), interpolation=cv2.INTER_AREA)
            image = np.asarray(small, np.uint8)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, SNAPSHOT_QUALITY])
        return jpeg.tobytes()

    def status(self, *, dropped: int) -> CameraStatus:
        """Say how it is doing; `dropped` is the batcher's count for this camera."""
        now = self._clock()
        height, width = self._latest.frame.image.shape[:2] if self._latest else (0, 0)
        return CameraStatus(
            name=self.name,
            url=self.url,
            state=self._state,
            since_s=now - self._since,
            reason=self._reason,
            width=width,
            height=height,
            fps_in=self._rate_in.per_s(now),
            fps_out=self._rate_out.per_s(now),
            captured=self._seq,
            encoded=self._encoded,
            dropped=dropped,
            encoder_dropped=self._results.dropped,
            viewers=self.hub.n_viewers,
            reconnects=self._reconnects,
            latency_ms=self.windows["latency"].percentiles(),
        )

    def _enter(self, state: CameraState, reason: str = "") -> None:
        if state is self._state and reason == self._reason:
            return
        was = self._state
        self._state, self._reason = state, reason
        if state is not was:
            self._since = self._clock()
            self._on_state(self, state, reason)

    def _capture(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            seq_before = self._seq
            retry_after_s = 0.0
            try:
                self._run_session()
                return  # stopped
            except SourceEnded as error:
                self._enter(CameraState.ENDED, str(error))
                return
            except SourceUnavailable as error:
                if self._stopping.is_set():
                    return
                reason, retry_after_s = str(error), error.retry_after_s
            except Exception:
                # One camera's surprise must not end the others; it is tried again.
                logger.exception("camera %s: unexpected failure", self.name)
                reason = "unexpected failure, see the log"
            attempt = 0 if self._seq > seq_before else attempt + 1
            delay_s = max(reconnect_delay(attempt), retry_after_s)
            # Once per reason: a camera that is off for a night must not fill the log.
            level = logging.DEBUG if reason == self._reason else logging.WARNING
            logger.log(level, "camera %s: %s (retrying in %.1f s)", self.name, reason, delay_s)
            self._enter(CameraState.FAILING, reason)
            self._stopping.wait(delay_s)

    def _run_session(self) -> None:
        """Read one opened source until it fails or the camera is stopped."""
        source = self._open_source()
        self._source = source
        try:
            while not self._stopping.is_set():
                # Processor time, since most of a read is waiting for the camera.
                started = time.thread_time()
                frame = source.read()
                # Counted over sessions, so that a number never comes twice.
                frame = Frame(frame.camera, self._seq, frame.captured_at, frame.image)
                self._seq += 1
                self.windows["decode"].add((time.thread_time() - started) * 1e3)
                self._rate_in.tick(frame.captured_at)
                if self._state is not CameraState.LIVE:
                    self._reconnects += self._state is CameraState.FAILING
                    self._enter(CameraState.LIVE)
                self._deliver(frame)
        finally:
            self._source = None
            source.close()

    def _encode(self) -> None:
        video = VideoOut(self.hub, fps=NOMINAL_FPS, bitrate=self._bitrate_kbps * 1000)
        while True:
            try:
                result = self._results.get(IDLE_S)
            except MailboxClosed:
                return
            if result is not None and self.hub.n_viewers:
                self._send(video, result)

    def _send(self, video: VideoOut, result: FrameResult) -> None:
        started = self._clock()
        image = result.frame.image.copy()
        annotate(image, result.tracks, now=result.frame.captured_at)
        annotated = self._clock()
        video.send(image, result.frame.captured_at)
        done = self._clock()
        self._encoded += 1
        self._rate_out.tick(done)
        self.windows["annotate"].add((annotated - started) * 1e3)
        self.windows["encode"].add((done - annotated) * 1e3)
        self.windows["latency"].add((done - result.frame.captured_at) * 1e3)
