"""Pictures into packets that WebRTC carries as they are: one encoder per camera, not per viewer."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from numpy.typing import NDArray

from stream.frames import Matrix, Planes

# RTP's clock for video, RFC 6184 section 8.2.1.
CLOCK_HZ = 90_000
TIME_BASE = Fraction(1, CLOCK_HZ)

# Packets from an encoder belong to no stream of a file; the type only wants some parameter.
VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

# A keyframe this often even when nobody asks: bounds how long unnoticed damage stays on screen.
KEYFRAME_INTERVAL_S = 2.0

# Seconds of bitrate that one picture may borrow. Half a second lets a 720p keyframe have about
# 50 kB at 3 Mb/s (measured, 50 dB), so it does not flood the viewer's link; a quarter halves that.
VBV_S = 0.5

# Measured against the eye at 720p25: 3 Mb/s; and 1080p30: 5 Mb/s; in between and beyond by the
# power law through both.
REFERENCE_BITRATE, REFERENCE_PIXELS, BITRATE_POWER = 3_000_000, 1280 * 720, 0.63

# Below it x264 spends all on headers and small pictures turn grey.
MIN_BITRATE = 100_000

# Smaller changes of the bitrate are not worth their unrest; aiortc's encoder has the same.
BITRATE_STEP = 0.1

# x264's buffer is that of the rate it was opened with: it sends no more than that rate, and at a
# third of it one picture may take a second's bits. Beyond these parts of it, it is opened anew.
REOPEN_BELOW, REOPEN_ABOVE = 0.75, 1 + BITRATE_STEP

# One thread takes 4.3 ms of wall time for 720p and leaves the other cores to the cameras.
SINGLE_THREAD_PIXELS = 1920 * 1080

# Said in the stream, for players take 720p for BT.709. cv2 converts by BT.601.
RANGE_STUDIO, BT709 = 1, 1


class Codec(StrEnum):
    """How the video for viewers is compressed; the value is aiortc's name of it."""

    H264 = "video/H264"
    VP8 = "video/VP8"


MATRICES: Mapping[Codec, frozenset[Matrix]] = {
    Codec.H264: frozenset(Matrix),
    # RFC 6386, section 9.2: its streams name no other.
    Codec.VP8: frozenset({Matrix.BT601}),
}
"""How the colors of a codec's planes can be read."""


def bitrate_for(width: int, height: int) -> int:
    """Bits per second that suit a picture size at 25 to 30 pictures a second."""
    scale: float = (width * height / REFERENCE_PIXELS) ** BITRATE_POWER
    return max(MIN_BITRATE, round(REFERENCE_BITRATE * scale))


class Encoder:
    """Compresses the pictures of one camera, each into one packet, without delay.

    Attributes:
        width: pixels, even: a picture's odd last column is left out.
        height: pixels, even likewise.
        last_pts: of the last picture, 1/90000 s; what an encoder in place of another goes on from.

    Args:
        width: pixels of the pictures to come.
        height: pixels of the pictures to come.
        fps: about how many pictures a second will come.
        bitrate: bits per second; 0 for what suits the size.
        codec: how to compress.
        matrix: how the colors of its planes are to be read, one of the codec's `MATRICES`.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: float,
        bitrate: int = 0,
        *,
        codec: Codec = Codec.H264,
        matrix: Matrix = Matrix.BT601,
    ) -> None:
        if width < 2 or height < 2:
            raise ValueError(f"expected at least 2x2 pixels, got {width}x{height}")
        self.width, self.height = width - width % 2, height - height % 2
        self._size = (height, width)
        self._codec = codec
        self._matrix = matrix
        self._bitrate = self._opened_bitrate = bitrate or bitrate_for(width, height)
        self.last_pts: int | None = None
        self._context = OPENERS[codec](self.width, self.height, max(fps, 1.0), self._bitrate)
        self._context.colorspace = matrix

    def fits(self, image: NDArray[np.uint8], matrix: Matrix = Matrix.BT601) -> bool:
        """Whether a picture has the size and the colors that this encoder was made for."""
        return image.shape[:2] == self._size and matrix is self._matrix

    def set_bitrate(self, bitrate: int) -> bool:
        """Change the bits per second from the next picture on, where they differ noticeably.

        Returns:
            False where that takes another encoder: FFmpeg gives only x264 a new rate, and not the
            buffer that goes with it.
        """
        if abs(bitrate - self._bitrate) <= BITRATE_STEP * self._bitrate:
            return True
        part = bitrate / self._opened_bitrate
        if self._codec is not Codec.H264 or not REOPEN_BELOW <= part <= REOPEN_ABOVE:
            return False
        self._bitrate = self._context.bit_rate = bitrate
        return True

    def encode(
        self, image: NDArray[np.uint8] | Planes, at: float, *, keyframe: bool
    ) -> list[VideoPacket]:
        """Compress one picture.

        Args:
            image: (height, width, 3) uint8 RGB; or planes, of the encoder's matrix.
            at: when it was captured, seconds, monotonic clock.
            keyframe: make it decodable by itself.

        Returns:
            Its packets, in practice one, with pts in 1/90000 s of the monotonic clock; strictly
            rising even where `at` does not.

        Raises:
            ValueError: if the picture has another size or other colors.
        """
        frame = self._planes_of(image).picture
        pts = round(at * CLOCK_HZ)
        if self.last_pts is not None:
            # A millisecond apart at least: browsers show two pictures of one time as one.
            pts = max(pts, self.last_pts + CLOCK_HZ // 1000)
        self.last_pts = pts
        frame.pts, frame.time_base = pts, TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        return self._context.encode(frame)

    def _planes_of(self, image: NDArray[np.uint8] | Planes) -> Planes:
        """Return what the codec takes; see `encode` for errors."""
        if isinstance(image, Planes):
            size, matrix = (image.picture.height, image.picture.width), image.matrix
        else:
            size, matrix = image.shape[:2], Matrix.BT601
        if size != self._size or matrix is not self._matrix:
            raise ValueError(
                f"expected a picture of {self._size} in {self._matrix.name}, "
                f"got {size} in {matrix.name}"
            )
        if isinstance(image, Planes):
            return image
        even = image[: self.height, : self.width]
        planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
        return Planes(av.VideoFrame.from_ndarray(planes, format="yuv420p"), matrix)


def _open_h264(width: int, height: int, fps: float, bitrate: int) -> VideoCodecContext:
    context = _context("libx264", width, height, fps, bitrate)
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        # Constrained baseline, which every browser decodes, and no B-frames to wait for.
        "profile": "baseline",
        "forced-idr": "1",
        "maxrate": str(bitrate),
        "bufsize": str(round(bitrate * VBV_S)),
    }
    return context


def _open_vp8(width: int, height: int, fps: float, bitrate: int) -> VideoCodecContext:
    context = _context("libvpx", width, height, fps, bitrate)
    # The settings of libwebrtc and aiortc for live video.
    context.qmin, context.qmax = 2, 56
    context.options = {
        "deadline": "realtime",
        "cpu-used": "-8",
        "lag-in-frames": "0",
        "error-resilient": "default",
        "minrate": str(bitrate),
        "maxrate": str(bitrate),
        "bufsize": str(round(bitrate * VBV_S)),
        "static-thresh": "1",
    }
    return context


def _context(name: str, width: int, height: int, fps: float, bitrate: int) -> VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.bit_rate = bitrate
    context.time_base = TIME_BASE
    context.framerate = Fraction(fps).limit_denominator(1001)
    context.gop_size = round(fps * KEYFRAME_INTERVAL_S)
    context.thread_count = 1 if width * height <= SINGLE_THREAD_PIXELS else 0
    context.color_range = RANGE_STUDIO
    context.color_primaries = context.color_trc = BT709
    return context


OPENERS: Mapping[Codec, Callable[[int, int, float, int], VideoCodecContext]] = {
    Codec.H264: _open_h264,
    Codec.VP8: _open_vp8,
}
