"""Whose past events are whose after some of a person's photos have become another's."""

from collections.abc import Sequence

import cv2
import numpy as np

from gallery import Gallery
from recognizer import Recognizer
from stream.errors import EventLogError

BATCH = 64  # thumbnails decoded and embedded at once


def events_of_other(
    recognizer: Recognizer,
    gallery: Gallery,
    crops: Sequence[tuple[int, bytes]],
    *,
    identity_id: str,
    other_id: str,
) -> list[int]:
    """Return which events of a person show the other one, by their thumbnails.

    Args:
        recognizer: of the gallery's model.
        gallery: holds the photos of both, as they are now.
        crops: number and thumbnail, a JPEG of an aligned face, of each event.
        identity_id: whose events they are.
        other_id: who may be on them.
    """
    own, others = gallery.embeddings(identity_id), gallery.embeddings(other_id)
    if not len(others):
        return []
    found = []
    for start in range(0, len(crops), BATCH):
        some = crops[start : start + BATCH]
        faces = np.stack([_decoded(jpeg) for _, jpeg in some])
        embeddings = recognizer.embed(faces)
        to_own = (embeddings @ own.T).max(axis=1, initial=-1.0)
        is_other = (embeddings @ others.T).max(axis=1) > to_own
        found += [some[i][0] for i in np.flatnonzero(is_other).tolist()]
    return found


def _decoded(jpeg: bytes) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise EventLogError("a picture of a past event is damaged: its event stays as it is")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
