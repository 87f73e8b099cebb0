"""The forms of a camera's video: codec, full or small, annotated or raw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.frames import FrameResult, Planes, Track, new_planes
from stream.video.annotate import annotate, annotate_planes
from stream.video.encoder import MATRICES, Codec

# Half the width and height of the full rendition, for a quarter of the bits.
SMALL_SCALE = 0.5

# Pixels. Below this faces are not recognizable by eye, so smaller frames are sent unchanged.
SMALL_MIN_HEIGHT = 180


# Pixels per side. One macroblock, which every decoder accepts; and a maximum below the limits of
# VP8 (14 bits) and x264, which no camera exceeds.
MIN_SIDE, MAX_SIDE = 16, 8192

SNAPSHOT_QUALITY = 85
"""JPEG quality of snapshots: no visible blocks around the labels."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One form of a camera's video; encoded once for all its viewers.

    Attributes:
        codec: its codec.
        small: half the width and height, for links too slow for the full one.
        raw: without boxes and names; the page draws them itself.
    """

    codec: Codec = Codec.H264
    small: bool = False
    raw: bool = False


def render(result: FrameResult, *, small: bool, raw: bool) -> NDArray[np.uint8]:
    """Render the image of a feed.

    Labels are drawn after shrinking: at half the size they would be unreadable. An image too
    small for an encoder is padded at its right and lower edge; one too large is shrunk.

    Returns:
        (H, W, 3) uint8 RGB; must not be written to.
    """
    image, tracks, scale = result.frame.image, result.tracks, 1.0
    longest = max(image.shape[:2])
    if longest > MAX_SIDE:
        scale = MAX_SIDE / longest
        image = _resize(image, scale)
    if small and image.shape[0] * SMALL_SCALE >= SMALL_MIN_HEIGHT:
        scale *= SMALL_SCALE
        image = _resize(image, SMALL_SCALE)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        right, below = max(0, MIN_SIDE - width), max(0, MIN_SIDE - height)
        padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        image = np.asarray(padded, np.uint8)
    if raw:
        return image
    if image is result.frame.image:
        image = image.copy()
    annotate(image, _scaled(tracks, scale), now=result.frame.captured_at)
    return image


def render_planes(result: FrameResult, feed: Feed) -> Planes | None:
    """Render a feed from the camera's own YUV planes, which are neither enlarged nor converted.

    Returns:
        Must not be written to, and may be those of the frame; None where the feed needs another
        form than the planes have.
    """
    planes = result.frame.planes
    if planes is None or planes.matrix not in MATRICES[feed.codec]:
        return None
    height, width = planes.picture.height, planes.picture.width
    is_small = feed.small and height * SMALL_SCALE >= SMALL_MIN_HEIGHT
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        return None
    if is_small and (height % 4 or width % 4):
        return None  # half of the chroma's size is no whole number
    tracks = () if feed.raw else result.tracks
    if not is_small and not tracks:
        return planes
    scale = SMALL_SCALE if is_small else 1.0
    made = new_planes(round(height * scale), round(width * scale), planes.matrix)
    for layer, source in zip(made.layers, planes.layers, strict=True):
        if is_small:
            cv2.resize(source, layer.shape[::-1], dst=layer, interpolation=cv2.INTER_AREA)
        else:
            np.copyto(layer, source)
    annotate_planes(made, _scaled(tracks, scale), now=result.frame.captured_at)
    return made


def snapshot_jpeg(result: FrameResult, *, max_width: int | None = None) -> bytes:
    """Return a recognized frame, annotated, as JPEG.

    Args:
        result: the frame.
        max_width: pixels; a wider one is shrunk.
    """
    image = result.frame.image.copy()
    annotate(image, result.tracks, now=result.frame.captured_at)
    if max_width is not None and image.shape[1] > max_width:
        height = max(1, round(image.shape[0] * max_width / image.shape[1]))
        small = cv2.resize(image, (max_width, height), interpolation=cv2.INTER_AREA)
        image = np.asarray(small, np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, SNAPSHOT_QUALITY])
    return jpeg.tobytes()


def _scaled(tracks: Sequence[Track], scale: float) -> tuple[Track, ...]:
    return tuple(replace(track, box=track.box * np.float32(scale)) for track in tracks)


def _resize(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
