"""Pictures out of a camera or file through PyAV, each with the time it came."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.codec.context import Flags

from stream.errors import SourceEnded, SourceUnavailable
from stream.frames import Frame
from stream.pacing import REFUSED_RETRY_S, Decimator, Pacer

# Seconds. A camera that cannot be opened in 5 s or is silent for 3 s is down.
OPEN_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 3.0
SILENT = f"timed out, silent for over {READ_TIMEOUT_S:.0f} s"

# Pictures a second of a source that does not say.
DEFAULT_FPS = 25.0

# Damaged packets in a row: about four seconds, two keyframe intervals of most cameras.
MAX_DAMAGED_PACKETS = 100


@dataclass(frozen=True, slots=True)
class Address:
    """Where pictures come from, in FFmpeg's words.

    Attributes:
        file: what FFmpeg opens; may hold a password.
        label: what people see: the same with the password masked.
        format: FFmpeg's input format; None to find out.
        options: FFmpeg's options, names and values.
        is_live: its pictures come in real time and its end is a fault; unless it turns out to be a
            film on a web server.
        host: the machine asked, and its port; None for files and devices.
    """

    file: str
    label: str
    format: str | None
    options: tuple[tuple[str, str], ...]
    is_live: bool
    host: tuple[str, int] | None


class AvSource:
    """One opened camera or file.

    Attributes:
        fps: pictures a second as the source says; 25 where it does not.
        size: (height, width) of the last picture, pixels.
        damaged: packets that could not be decoded.

    Args:
        address: where from.
        camera: the camera's name, for the frames.
        clock: seconds, monotonic.
        loop: play a file again and again; no effect on live sources.
        target_fps: let through no more pictures a second than this; None for all.

    Raises:
        SourceUnavailable: if it cannot be opened.
    """

    def __init__(
        self,
        address: Address,
        *,
        camera: str,
        clock: Callable[[], float],
        loop: bool,
        target_fps: float | None,
    ) -> None:
        self._address = address
        self._camera = camera
        self._clock = clock
        self._loop = loop
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._seq = 0
        self._n_since_start = 0
        self._n_damaged_in_a_row = 0
        self.damaged = 0
        self._open()
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or DEFAULT_FPS)
        self.size = (self._stream.codec_context.height, self._stream.codec_context.width)
        self._pacer = Pacer(1.0 / self.fps)
        self._decimator = Decimator(target_fps)

    def read(self) -> Frame:
        """Wait for the next picture.

        Returns:
            The frame; `captured_at` is when it was decoded, for files when it was due.

        Raises:
            SourceUnavailable: if a live source stopped, or fell silent for some seconds.
            SourceEnded: if a file that is not looped has been played.
        """
        with self._reading:
            try:
                frame = self._read()
            except SourceUnavailable:
                self._container.close()
                raise
        if self._closing.is_set():
            self._release()
        return frame

    def set_target_fps(self, target_fps: float | None) -> None:
        """Let through no more pictures a second than this, from the next on; None for all."""
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Stop; may be called from any thread and more than once.

        A `read` that waits for a silent camera ends by its own timeout and closes then.
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
        address = self._address
        started_at = self._clock()
        try:
            self._container = av.open(
                address.file,
                format=address.format,
                options=dict(address.options),
                timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S),
            )
        except (OSError, av.FFmpegError) as error:
            reason = explain(error, address)
            if address.is_live and self._clock() - started_at >= OPEN_TIMEOUT_S:
                # FFmpeg may call it anything, even damaged data.
                reason = f"timed out, no answer in {OPEN_TIMEOUT_S:.0f} s"
            refused = isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError)
            # Not chained: FFmpeg's text holds the URL with its password.
            raise SourceUnavailable(
                f"cannot open {address.label}: {reason}",
                retry_after_s=REFUSED_RETRY_S if refused else 0.0,
            ) from None
        # FFmpeg shows any text file as a picture of a terminal.
        if not self._container.streams.video or self._container.format.name == "tty":
            self._container.close()
            raise SourceUnavailable(f"cannot open {address.label}: not a video")
        self._stream = self._container.streams.video[0]
        format_name = self._container.format.name
        # A web server's film comes as fast as it can; RTSP gives films, too, in real time.
        is_film = self._container.duration is not None and not format_name.startswith("rtsp")
        self._is_live = address.is_live and not is_film
        # HLS is live, but comes by the handful.
        self._is_paced = not self._is_live or format_name == "hls"
        if self._is_live:
            self._stream.codec_context.flags |= Flags.low_delay
        self._pictures = self._decode()
        self._n_since_start = 0

    def _read(self) -> Frame:
        while not self._closing.is_set():
            picture = self._next_picture()
            if picture is None:
                self._rewind()
                continue
            if self._is_paced:
                pts_s = None if picture.time is None else float(picture.time)
                self._closing.wait(self._pacer.wait_s(pts_s, self._clock()))
            now = self._clock()
            if self._decimator.keep(now):
                return self._to_frame(picture, now)
        raise SourceUnavailable(f"{self._address.label} was closed")

    def _next_picture(self) -> av.VideoFrame | None:
        try:
            return next(self._pictures, None)
        except (OSError, av.FFmpegError) as error:
            raise SourceUnavailable(
                f"lost {self._address.label}: {explain(error, self._address)}"
            ) from None

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            asked_at = self._clock()
            packet = next(packets, None)
            if packet is None:
                return
            if self._is_live and self._clock() - asked_at >= READ_TIMEOUT_S:
                # The rest of a picture, given out when the wait was over; FFmpeg would go on to
                # wait as long again before it says so.
                raise SourceUnavailable(f"lost {self._address.label}: {SILENT}")
            try:
                pictures = packet.decode()
            except av.InvalidDataError:
                self._count_damaged()
                continue
            for picture in pictures:
                self._n_damaged_in_a_row = 0
                self._n_since_start += 1
                yield picture

    def _count_damaged(self) -> None:
        self.damaged += 1
        self._n_damaged_in_a_row += 1
        if self._n_damaged_in_a_row > MAX_DAMAGED_PACKETS:
            raise SourceUnavailable(f"lost {self._address.label}: its video cannot be decoded")

    def _rewind(self) -> None:
        if self._is_live:
            raise SourceUnavailable(f"lost {self._address.label}: the camera ended the stream")
        if not self._n_since_start:
            raise SourceUnavailable(f"cannot play {self._address.label}: no picture in it")
        if not self._loop:
            raise SourceEnded(f"{self._address.label} has been played to its end")
        # Opened anew instead of sought: not every format can seek.
        self._container.close()
        self._open()

    def _to_frame(self, picture: av.VideoFrame, now: float) -> Frame:
        image: np.ndarray = picture.to_ndarray(format="rgb24")
        if picture.rotation:
            # A phone's film is stored lying; the angle is counter-clockwise.
            image = np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))
        self.size = (image.shape[0], image.shape[1])
        frame = Frame(camera=self._camera, seq=self._seq, captured_at=now, image=image)
        self._seq += 1
        return frame


def explain(error: Exception, address: Address) -> str:
    """Say in a few words, without the URL, why FFmpeg failed."""
    if isinstance(error, av.HTTPUnauthorizedError) and "@" not in address.label:
        return "it asks for a user name and password"
    for kind, words in REASONS.items():
        if isinstance(error, kind):
            return words
    if address.host and not _is_known(address.host[0]):
        return f"unknown host {address.host[0]}"
    if getattr(error, "errno", None) == errno.EIO:
        return "input/output error, perhaps not a video"
    words = getattr(error, "strerror", None) or type(error).__name__
    return words[:1].lower() + words[1:]


REASONS: dict[type[Exception], str] = {
    av.HTTPUnauthorizedError: "wrong user name or password",
    av.HTTPForbiddenError: "this user may not watch (403)",
    av.HTTPNotFoundError: "no such path there (404)",
    av.HTTPClientError: "the camera refuses the request",
    av.HTTPServerError: "the camera reports an error of its own",
    ConnectionRefusedError: "connection refused, nothing listens on that port",
    ConnectionResetError: "the camera broke the connection",
    BrokenPipeError: "the camera broke the connection",
    av.ExitError: SILENT,
    TimeoutError: "timed out",
    PermissionError: "permission denied",
    FileNotFoundError: "no such file or device",
    IsADirectoryError: "it is a directory",
    av.ProtocolNotFoundError: "FFmpeg does not speak this protocol",
    av.InvalidDataError: "not a video",
}


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror:
        return False
    return True
