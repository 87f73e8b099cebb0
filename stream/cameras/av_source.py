"""Source of frames from a camera or file, read with PyAV, with capture times."""

import errno
import stat
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.stream import Discard, Disposition

from stream.cameras.address import Address, SourceSettings
from stream.cameras.conversion import MAX_PIXELS, Captured, Converter
from stream.cameras.host_lookup import look_up
from stream.cameras.pacing import REFUSED_RETRY_S, Decimator, Pacer
from stream.cameras.rtsp_challenge import unknown_digest
from stream.cameras.tls import certificate_trouble
from stream.errors import SourceEnded, SourceUnavailable

# Frames per second of a source without a declared rate.
DEFAULT_FPS = 25.0

# A stream joined between two keyframes cannot be decoded until the next: cameras with an economical
# encoder send one every 10 to 30 s. One undecodable keyframe may be damaged; three in a row over
# some seconds mean another codec, or no video.
MAX_UNDECODED_S = 60.0
MAX_DAMAGED_KEYFRAMES, MIN_DAMAGED_S = 3, 4.0

# Bytes. A keyframe of 8K video has about 5 MB; a source that sends more is not a camera.
MAX_PACKET = 64 * 1024 * 1024

# Pixels. Smaller frames are decoded in one thread, in 1 ms at 720p: several share the slices of a
# frame and take 5 % more processor time to wait for one another.
SINGLE_THREAD_PIXELS = 1920 * 1080

# Formats that replay past video at each connection, repeatedly where the camera has stopped, and
# the number of frames kept to detect that: a minute at 30 per second.
SEGMENTED = ("hls", "dash")
REMEMBERED = 1800


class History:
    """Recent frames of a segmented stream over its sessions, to detect a replay of old video.

    A stalled playlist replays its last segments at every connection. A frame with the same time
    and bytes as an earlier one is not new.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._order: deque[tuple[int, int]] = deque()

    def is_new(self, pts: int | None, frame: av.VideoFrame) -> bool:
        """Return whether a frame was not seen before, and store it."""
        if pts is None:
            return True
        plane = frame.planes[0]
        key = (pts, zlib.crc32(memoryview(plane)[:: max(1, plane.buffer_size // 65536)]))
        if key in self._seen:
            return False
        self._seen.add(key)
        self._order.append(key)
        if len(self._order) > REMEMBERED:
            self._seen.discard(self._order.popleft())
        return True


class AvSource:
    """One opened camera or file.

    Attributes:
        fps: frames per second that the source declares; 25 without one.
        size: (height, width) of the last frame, pixels.
        damaged: packets that could not be decoded.
        is_live: whether frames arrive in real time; false for a video file on a web server.

    Args:
        address: the camera or file.
        clock: seconds, monotonic.
        settings: of reading.
        history: frames of earlier sessions.

    Raises:
        SourceUnavailable: if it cannot be opened.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Callable[[], float],
        settings: SourceSettings,
        history: History,
    ) -> None:
        self._address = address
        self._clock = clock
        self._settings = settings
        self._history = history
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._converter = Converter(settings.pixel_aspect, settings.deinterlace)
        self._n_since_start = 0
        self._is_replay = False
        self.damaged = 0
        self._open()
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FPS)
        self.size = (self._stream.codec_context.height, self._stream.codec_context.width)
        self._pacer = Pacer(1.0 / self.fps)
        self._decimator = Decimator(settings.target_fps)

    def read(self) -> Captured:
        """Return the next image; blocks until there is one.

        Returns:
            The image; `captured_at` is the time of decoding, for files the time it was due.

        Raises:
            SourceUnavailable: if a live source stopped, or sent nothing for some seconds.
            SourceEnded: if a file that is not looped has been played.
        """
        with self._reading:
            try:
                captured = self._read()
            except SourceUnavailable:
                self._container.close()
                raise
        if self._closing.is_set():
            self._release()
        return captured

    def set_target_fps(self, target_fps: float | None) -> None:
        """Set the maximum of frames per second, effective from the next frame; None for all."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Stop; may be called from any thread and more than once.

        A `read` that waits for a camera ends at its own timeout and closes the source.
        """
        self._closing.set()
        self._release()

    def _release(self) -> None:
        # FFmpeg's context must not be closed under a running read.
        if self._reading.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._reading.release()

    def _open(self) -> None:
        address, settings = self._address, self._settings
        started_at = self._clock()
        try:
            if address.host is not None:
                look_up(*address.host, timeout_s=settings.open_timeout_s)
            elif _is_pipe(address):
                raise SourceUnavailable("it is a pipe, not a file")
            self._container = av.open(
                address.file,
                format=address.format,
                options=dict(address.options),
                timeout=(settings.open_timeout_s, settings.read_timeout_s),
            )
        except SourceUnavailable as error:
            raise SourceUnavailable(f"cannot open {address.label}: {error}") from None
        except (OSError, av.FFmpegError) as error:
            reason = explain(error, address)
            if address.is_live and self._clock() - started_at >= settings.open_timeout_s:
                # FFmpeg may report any error for it, such as damaged data.
                reason = f"timed out, no answer in {settings.open_timeout_s:g} s"
            if isinstance(error, av.HTTPUnauthorizedError) and address.has_login:
                asked = unknown_digest(address, timeout_s=settings.open_timeout_s)
                reason = UNKNOWN_DIGEST.format(asked) if asked else reason
            if settings.verify_tls and address.host and address.file.lower().startswith("rtsps"):
                timeout_s = settings.open_timeout_s
                reason = certificate_trouble(*address.host, timeout_s=timeout_s) or reason
            refused = isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError)
            # Not chained: FFmpeg's message holds the URL with its password.
            raise SourceUnavailable(
                f"cannot open {address.label}: {reason}",
                retry_after_s=REFUSED_RETRY_S if refused else 0.0,
            ) from None
        try:
            self._stream = best_stream(self._container)
        except SourceUnavailable as error:
            self._container.close()
            raise SourceUnavailable(f"cannot open {address.label}: {error}") from None
        codec = self._stream.codec_context
        if codec.width * codec.height <= SINGLE_THREAD_PIXELS:
            codec.thread_count = 1
        format_name = self._container.format.name
        # A web server sends a video file at full speed; RTSP sends recordings in real time, too.
        is_film = self._container.duration is not None and not format_name.startswith("rtsp")
        self.is_live = address.is_live and not is_film
        # HLS is live, but arrives in batches of frames.
        self._is_segmented = self.is_live and format_name.startswith(SEGMENTED)
        self._is_paced = not self.is_live or self._is_segmented
        if self.is_live:
            self._stream.codec_context.flags |= Flags.low_delay
        # The decoder is checked too: the size may change in the middle of the stream.
        self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self._frames = self._decode()
        self._n_since_start = 0

    def _read(self) -> Captured:
        while not self._closing.is_set():
            picture = self._next_picture()
            if picture is None:
                self._rewind()
                continue
            if self._is_segmented:
                self._is_replay = not self._history.is_new(picture.pts, picture)
            if self._is_paced:
                pts_s = None if picture.time is None else float(picture.time)
                self._closing.wait(self._pacer.wait_s(pts_s, self._clock()))
            # A replay is read at its own rate, so that newer frames are available after it.
            now = self._clock()
            if not self._is_replay and self._decimator.keep(now):
                return self._convert(picture, now)
        raise SourceUnavailable(f"{self._address.label} was closed")

    def _next_picture(self) -> av.VideoFrame | None:
        try:
            return next(self._frames, None)
        except (OSError, av.FFmpegError) as error:
            raise SourceUnavailable(f"lost {self._address.label}: {self._why(error)}") from None

    def _why(self, error: Exception) -> str:
        if isinstance(error, av.ExitError):
            return self._silent
        codec = self._stream.codec_context
        if codec.width * codec.height > MAX_PIXELS:
            return too_large(codec.width, codec.height)
        return explain(error, self._address)

    @property
    def _silent(self) -> str:
        if self._is_replay:
            return STALLED
        return f"timed out, no data for over {self._settings.read_timeout_s:g} s"

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        decoded_at = self._clock()
        n_undecoded = n_damaged_keyframes = 0
        while True:
            asked_at = self._clock()
            packet = next(packets, None)
            if packet is None:
                return
            if self.is_live and self._clock() - asked_at >= self._settings.read_timeout_s:
                # The rest of a frame, returned at the timeout; FFmpeg would wait as long again
                # before it reports the timeout.
                raise SourceUnavailable(f"lost {self._address.label}: {self._silent}")
            if packet.size > MAX_PACKET:
                raise SourceUnavailable(
                    f"lost {self._address.label}: it sent {packet.size >> 20} MiB at once",
                    retry_after_s=REFUSED_RETRY_S,
                )
            frames: list[av.VideoFrame] = []
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                self.damaged += 1
                n_damaged_keyframes += packet.is_keyframe
            if frames:
                n_undecoded = n_damaged_keyframes = 0
            else:
                n_undecoded += packet.size > 0
                # A file is read faster than it plays.
                undecoded_s = self._clock() - decoded_at if self.is_live else n_undecoded / self.fps
                is_hopeless = (
                    n_damaged_keyframes >= MAX_DAMAGED_KEYFRAMES and undecoded_s >= MIN_DAMAGED_S
                )
                if is_hopeless or undecoded_s >= MAX_UNDECODED_S:
                    raise SourceUnavailable(
                        f"lost {self._address.label}: its video cannot be decoded"
                    )
            for frame in frames:
                self._n_since_start += 1
                yield from self._converter.deinterlace(frame)
                decoded_at = self._clock()

    def _rewind(self) -> None:
        if self.is_live:
            reason = STALLED if self._is_replay else "the camera ended the stream"
            raise SourceUnavailable(f"lost {self._address.label}: {reason}")
        if not self._n_since_start:
            raise SourceUnavailable(f"cannot play {self._address.label}: no frame in it")
        if not self._settings.loop:
            raise SourceEnded(f"{self._address.label} has been played to its end")
        # Reopened instead of seeking: not every format can seek.
        self._container.close()
        self._open()

    def _convert(self, picture: av.VideoFrame, now: float) -> Captured:
        captured = self._converter.convert(picture, self._aspect(), now)
        self.size = captured.size
        return captured

    def _aspect(self) -> Fraction | None:
        """Return the width:height of a pixel, from the container or else from the video."""
        stream = self._stream
        return stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio


def best_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the largest video stream of a container; among equals the one marked as default.

    Raises:
        SourceUnavailable: if there is none, or only larger ones than can be decoded; the message
            is the reason.
    """
    # FFmpeg decodes any text file as an image of a terminal, and an album cover as a video.
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    if not streams or container.format.name == "tty":
        raise SourceUnavailable("not a video")

    def size(stream: av.VideoStream) -> int:
        return stream.codec_context.width * stream.codec_context.height

    usable = [stream for stream in streams if size(stream) <= MAX_PIXELS]
    if not usable:
        codec = min(streams, key=size).codec_context
        raise SourceUnavailable(too_large(codec.width, codec.height))
    best = max(
        usable,
        key=lambda stream: (size(stream), bool(stream.disposition & Disposition.default)),
    )
    for stream in container.streams:
        if stream is not best:
            stream.discard = Discard.all
    return best


def too_large(width: int, height: int) -> str:
    """Return the error message for frames larger than can be decoded."""
    return f"its frames of {width}x{height} are larger than {MAX_PIXELS // 10**6} megapixels"


def explain(error: Exception, address: Address) -> str:
    """Return a short reason, without the URL, why FFmpeg failed."""
    if isinstance(error, av.HTTPUnauthorizedError) and not address.has_login:
        return "it requires a user name and password"
    for kind, words in REASONS.items():
        if isinstance(error, kind):
            return words
    if getattr(error, "errno", None) == errno.EIO:
        return "input/output error, perhaps not a video"
    words = getattr(error, "strerror", None) or type(error).__name__
    return words[:1].lower() + words[1:]


UNKNOWN_DIGEST = (
    "it requires {} digest authentication, which is not supported for RTSP: allow MD5 or basic "
    "authentication in the camera, or use its MJPEG address"
)

STALLED = "the camera repeats old video, its playlist is not updated"

REASONS: dict[type[Exception], str] = {
    av.HTTPUnauthorizedError: "wrong user name or password",
    av.HTTPForbiddenError: "access denied (403)",
    av.HTTPNotFoundError: "path not found (404)",
    av.HTTPClientError: "the camera refuses the request",
    av.HTTPServerError: "the camera reports an internal error",
    ConnectionRefusedError: "connection refused, nothing listens on that port",
    ConnectionResetError: "the camera closed the connection",
    BrokenPipeError: "the camera closed the connection",
    av.ExitError: "timed out",
    TimeoutError: "timed out",
    PermissionError: "permission denied",
    FileNotFoundError: "no such file or device",
    IsADirectoryError: "it is a directory",
    av.ProtocolNotFoundError: "FFmpeg does not support this protocol",
    av.InvalidDataError: "not a video",
}


def _is_pipe(address: Address) -> bool:
    """Return whether opening it would block forever, waiting for another program."""
    try:
        mode = Path(address.file.removeprefix("file:")).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
