"""The forms in which a camera's pictures go out: codec, full or small, annotated or raw."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.annotate import annotate
from stream.encoder import Codec
from stream.frames import FrameResult

# Half the width and height of the full picture, for a quarter of the bits.
SMALL_SCALE = 0.5

# Pixels. Below that faces are not recognised by eye, so smaller pictures are sent as they are.
SMALL_MIN_HEIGHT = 180


@dataclass(frozen=True, slots=True)
class Feed:
    """One form of a camera's video; made once for all who watch it.

    Attributes:
        codec: how it is compressed.
        small: half as wide and high, for links that lose the full one.
        raw: without boxes and names; the page draws them itself.
    """

    codec: Codec = Codec.H264
    small: bool = False
    raw: bool = False


def render(result: FrameResult, *, small: bool, raw: bool) -> NDArray[np.uint8]:
    """Make the picture of a feed.

    Labels are drawn after shrinking: at half the size they could not be read.

    Returns:
        (H, W, 3) uint8 RGB; must not be written to.
    """
    image, tracks, scale = result.frame.image, result.tracks, 1.0
    if small and image.shape[0] * SMALL_SCALE >= SMALL_MIN_HEIGHT:
        scale = SMALL_SCALE
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = np.asarray(shrunk, np.uint8)
    if raw:
        return image
    if image is result.frame.image:
        image = image.copy()
    tracks = tuple(replace(track, box=track.box * np.float32(scale)) for track in tracks)
    annotate(image, tracks, now=result.frame.captured_at)
    return image
