"""Decoded video to RGB images: deinterlaced, upright, with square pixels and the right colors."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from stream.cameras.address import Deinterlace
from stream.frames import Matrix, Pixels, Planes

MAX_PIXELS = 8192 * 8192
"""Largest frame that is decoded: beyond 8K video and phones' 50 megapixels; it takes 200 MB."""

MAX_SIDE = 4096
"""Longer side of the images, pixels: 4K as it is, 8K in half, whose images would take 100 MB each.
Seven or so exist of a camera at a time."""

HD_LINES = 720
"""Height from which video that does not say so has the colors of HD television, ITU-R BT.709: what
players and encoders agree on; smaller video has those of BT.601."""

UNSPECIFIED = 2
"""Matrix coefficients that are not known, ISO/IEC 23091-2 section 8.3."""

MATRICES = {1: Matrix.BT709, 5: Matrix.BT601, 6: Matrix.BT601}
"""By matrix coefficients, ISO/IEC 23091-2 section 8.3: 5 and 6 are the same."""

NEARLY_SQUARE = 0.02
"""How far from 1 a pixel's aspect may be and not matter to a face."""

ODDEST_ASPECT = Fraction(4)
"""Beyond it, or below its inverse, what a video says of its pixels is an error."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One image from a source; its camera builds a `Frame` from it.

    Attributes:
        captured_at: seconds, monotonic clock.
        pixels: its pixels.
    """

    captured_at: float
    pixels: Pixels

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.size

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only; made at its first use."""
        return self.pixels.image

    @property
    def planes(self) -> Planes | None:
        """The YUV planes of the same pixels; None if they have another format."""
        return self.pixels.planes


class Converter:
    """Turns a stream's decoded frames into RGB.

    Args:
        pixel_aspect: width:height of a pixel; None to use that of the video.
        deinterlace: auto for frames that are marked as interlaced, on for all, or off.
    """

    def __init__(self, pixel_aspect: Fraction | None, deinterlace: Deinterlace) -> None:
        self._pixel_aspect = pixel_aspect
        self._deinterlace = deinterlace
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str] | None = None

    def deinterlace(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Return the progressive frames that are due after one more decoded frame.

        Interlaced video is delayed by one frame, since the lines of the next one are used.
        """
        if self._graph is None and not self._is_interlaced(frame):
            yield frame
            return
        layout = (frame.width, frame.height, frame.format.name)
        if self._graph is None or layout != self._layout:
            self._graph, self._layout = self._deinterlacer(frame), layout
        tags = frame.colorspace, frame.color_range
        self._graph.vpush(frame)
        while True:
            try:
                made = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            made.colorspace, made.color_range = tags
            yield made

    def convert(
        self, frame: av.VideoFrame, said_aspect: Fraction | None, captured_at: float
    ) -> Captured:
        """Return a decoded frame; RGB is made later, where its planes show the same pixels.

        Args:
            frame: any pixel format.
            said_aspect: width:height of a pixel as the video says; None or 0 if it does not.
            captured_at: seconds, monotonic clock.
        """
        planes = _planes(frame, self._size(frame, said_aspect))
        image = self.to_rgb(frame, said_aspect) if planes is None else None
        return Captured(captured_at, Pixels(image, planes))

    def to_rgb(self, frame: av.VideoFrame, said_aspect: Fraction | None) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 RGB with square pixels.

        Args:
            frame: any pixel format.
            said_aspect: width:height of a pixel as the video says; None or 0 if it does not.
        """
        width, height = self._size(frame, said_aspect)
        full = ColorRange.JPEG if frame.color_range == ColorRange.JPEG else None
        is_smaller = width * height < frame.width * frame.height
        image: NDArray[np.uint8] = frame.to_ndarray(  # type: ignore[assignment]
            format="rgb24",
            width=width,
            height=height,
            interpolation=Interpolation.AREA if is_smaller else Interpolation.BILINEAR,
            src_colorspace=Colorspace.ITU709 if _is_untagged_hd(frame) else None,
            src_color_range=full,
            dst_color_range=full,
        )
        if frame.rotation:
            # A phone's video is stored rotated; the angle is counter-clockwise.
            image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
        return image

    def _size(self, frame: av.VideoFrame, said_aspect: Fraction | None) -> tuple[int, int]:
        """Return the output width and height of a frame, pixels."""
        width, height = float(frame.width), float(frame.height)
        aspect = self._pixel_aspect or said_aspect or Fraction(1)
        is_usable = 1 / ODDEST_ASPECT <= aspect <= ODDEST_ASPECT
        if is_usable and abs(aspect - 1) > NEARLY_SQUARE:
            # Enlarged, not reduced: small faces keep all of their pixels.
            width, height = (width * aspect, height) if aspect > 1 else (width, height / aspect)
        scale = min(1.0, MAX_SIDE / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _is_interlaced(self, frame: av.VideoFrame) -> bool:
        if self._deinterlace == "auto":
            return bool(frame.interlaced_frame)
        return self._deinterlace == "on"

    def _deinterlacer(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 90000),
        )
        which = "interlaced" if self._deinterlace == "auto" else "all"
        # One frame per frame: the rate does not change.
        chosen = graph.add("bwdif", f"mode=send_frame:deint={which}")
        sink = graph.add("buffersink")
        source.link_to(chosen)
        chosen.link_to(sink)
        graph.configure()
        return graph


def _is_untagged_hd(frame: av.VideoFrame) -> bool:
    return frame.colorspace == UNSPECIFIED and frame.height >= HD_LINES


def _planes(frame: av.VideoFrame, size: tuple[int, int]) -> Planes | None:
    """Return a frame's planes; None where its image differs or encoders do not take the format.

    Args:
        frame: any pixel format.
        size: (width, height) of its image, before it is rotated.
    """
    width, height = size
    if (
        (frame.width, frame.height) != (width, height)
        or width % 2
        or height % 2
        or frame.rotation
        or frame.interlaced_frame
        or frame.format.name != "yuv420p"
        or frame.color_range == ColorRange.JPEG
    ):
        return None
    matrix = MATRICES.get(frame.colorspace)
    if frame.colorspace == UNSPECIFIED:
        matrix = Matrix.BT709 if _is_untagged_hd(frame) else Matrix.BT601
    return None if matrix is None else Planes(frame, matrix)
