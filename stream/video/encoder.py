"""Encodes images into packets that WebRTC sends unchanged: once per camera, not per viewer."""

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

from recognizer import usable_cpus
from stream.frames import Matrix, Planes

# RTP's clock for video, RFC 6184 section 8.2.1.
CLOCK_HZ = 90_000
TIME_BASE = Fraction(1, CLOCK_HZ)

# Packets from an encoder belong to no stream of a file; the type only requires a parameter.
VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

# A keyframe this often even without a request: bounds how long unnoticed damage stays on screen.
KEYFRAME_INTERVAL_S = 2.0

# Seconds of bitrate that one frame may use at once. Half a second lets a 720p keyframe have about
# 50 kB at 3 Mb/s (measured, 50 dB), so it does not flood the viewer's link; a quarter halves that.
VBV_S = 0.5

# Judged by eye: 3 Mb/s at 720p25 and 5 Mb/s at 1080p30; the power law through both elsewhere.
REFERENCE_BITRATE, REFERENCE_PIXELS, BITRATE_POWER = 3_000_000, 1280 * 720, 0.63

# Below this x264 spends all bits on headers, and small frames turn gray.
MIN_BITRATE = 100_000

# Smaller changes of the bitrate are ignored, as by aiortc's encoder.
BITRATE_STEP = 0.1

# x264's buffer has the size for the rate it was opened with: it never exceeds that rate, and at a
# third of it one frame may take the bits of a second. Outside this range it is reopened.
REOPEN_BELOW, REOPEN_ABOVE = 0.75, 1 + BITRATE_STEP

# One thread takes 4.3 ms of wall time for 720p and leaves the other cores to the cameras.
SINGLE_THREAD_PIXELS = 1920 * 1080

# Signaled in the stream, since players assume BT.709 for 720p. cv2 converts by BT.601.
RANGE_STUDIO, BT709 = 1, 1


class Codec(StrEnum):
    """Codec of the video for viewers; the value is aiortc's name for it."""

    H264 = "video/H264"
    VP8 = "video/VP8"


MATRICES: Mapping[Codec, frozenset[Matrix]] = {
    Codec.H264: frozenset(Matrix),
    # RFC 6386, section 9.2: the only color space.
    Codec.VP8: frozenset({Matrix.BT601}),
}
"""Matrix coefficients that a codec's streams can declare."""


def bitrate_for(width: int, height: int) -> int:
    """Return the bits per second for a frame size at 25 to 30 fps."""
    scale: float = (width * height / REFERENCE_PIXELS) ** BITRATE_POWER
    return max(MIN_BITRATE, round(REFERENCE_BITRATE * scale))


class Encoder:
    """Encodes the frames of one camera, each into one packet, without delay.

    Attributes:
        width: pixels, even: an odd last column is dropped.
        height: pixels, even likewise.
        last_pts: of the last frame, 1/90000 s; an encoder that replaces another continues from it.

    Args:
        width: pixels of the images.
        height: pixels of the images.
        fps: nominal frames per second.
        bitrate: bits per second; 0 to choose by the size.
        codec: the codec.
        matrix: matrix coefficients of its planes, one of the codec's `MATRICES`.
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

    def fits(self, size: tuple[int, int], matrix: Matrix = Matrix.BT601) -> bool:
        """Whether images of a size, (height, width), and colors are those of this encoder."""
        return size == self._size and matrix is self._matrix

    def set_bitrate(self, bitrate: int) -> bool:
        """Change the bitrate, effective from the next frame, if it differs noticeably.

        Returns:
            False if that requires a new encoder: FFmpeg changes the rate only of x264, and not its
            buffer size.
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
        """Encode one image.

        Args:
            image: (height, width, 3) uint8 RGB; or planes with the encoder's matrix.
            at: when it was captured, seconds, monotonic clock.
            keyframe: encode it as a keyframe.

        Returns:
            Its packets, in practice one, with pts in 1/90000 s of the monotonic clock; strictly
            increasing even if `at` does not increase.

        Raises:
            ValueError: if the image has another size or other colors.
        """
        frame = self._planes_of(image).picture
        pts = round(at * CLOCK_HZ)
        if self.last_pts is not None:
            # At least a millisecond apart: browsers merge frames of the same time.
            pts = max(pts, self.last_pts + CLOCK_HZ // 1000)
        self.last_pts = pts
        frame.pts, frame.time_base = pts, TIME_BASE
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        return self._context.encode(frame)

    def _planes_of(self, image: NDArray[np.uint8] | Planes) -> Planes:
        """Return the planes to encode; see `encode` for errors."""
        if isinstance(image, Planes):
            size, matrix = (image.picture.height, image.picture.width), image.matrix
        else:
            size, matrix = image.shape[:2], Matrix.BT601
        if size != self._size or matrix is not self._matrix:
            raise ValueError(
                f"expected an image of {self._size} in {self._matrix.name}, "
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
        # Constrained baseline, which every browser decodes, without B-frames, which add delay.
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
    context.thread_count = 1 if width * height <= SINGLE_THREAD_PIXELS else usable_cpus()
    context.color_range = RANGE_STUDIO
    context.color_primaries = context.color_trc = BT709
    return context


OPENERS: Mapping[Codec, Callable[[int, int, float, int], VideoCodecContext]] = {
    Codec.H264: _open_h264,
    Codec.VP8: _open_vp8,
}
