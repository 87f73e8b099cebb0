"""Reassigning past events after some of a person's photos were moved to another person."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery
from recognizer import Recognizer
from stream.errors import EventLogError
from stream.events.thumbnails import decode_jpeg

logger = logging.getLogger(__name__)

BATCH = 64  # thumbnails decoded and embedded per batch


def events_of_other(
    recognizer: Recognizer,
    gallery: Gallery,
    crops: Sequence[tuple[int, bytes]],
    *,
    identity_id: str,
    other_id: str,
) -> list[int]:
    """Return the events of a person that show the other person, by their thumbnails.

    Args:
        recognizer: of the gallery's model.
        gallery: holds the current photos of both.
        crops: number and thumbnail, a JPEG of an aligned face, of each event.
        identity_id: the person of the events.
        other_id: the other person.
    """
    own, others = gallery.photos.embeddings(identity_id), gallery.photos.embeddings(other_id)
    if not len(others):
        return []
    found = []
    for start in range(0, len(crops), BATCH):
        some = list(_decoded(crops[start : start + BATCH]))
        if not some:
            continue
        faces = np.stack([crop for _, crop in some])
        embeddings = recognizer.embed(faces)
        to_own = (embeddings @ own.T).max(axis=1, initial=-1.0)
        is_other = (embeddings @ others.T).max(axis=1) > to_own
        found += [some[i][0] for i in np.flatnonzero(is_other).tolist()]
    return found


def _decoded(crops: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for number, jpeg in crops:
        try:
            yield number, decode_jpeg(jpeg)
        except EventLogError as error:
            logger.warning("event %d stays as it is: %s", number, error)
