"""Thumbnails of events and sightings: aligned crops as JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import EventLogError

JPEG_QUALITY = 90


def to_jpeg(crop: NDArray[np.uint8]) -> bytes:
    """Return a crop, (112, 112, 3) uint8 RGB, as JPEG."""
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


def decode_jpeg(jpeg: bytes) -> NDArray[np.uint8]:
    """Return a stored thumbnail, (112, 112, 3) uint8 RGB.

    Raises:
        EventLogError: if it is damaged.
    """
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise EventLogError("the crop of a past event is damaged")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
