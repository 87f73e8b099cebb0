"""Giving the face of a past event its name: from the crop that the event log kept."""

from typing import TYPE_CHECKING

import numpy as np

from gallery import Identity, Target
from recognizer import Detections, Quality, Recognizer
from recognizer.geometry.alignment import TEMPLATE
from stream.enrollment.crops import FaceCrop, enroll_known, with_mirrors
from stream.errors import EnrolmentError
from stream.events.log import LoggedFace

if TYPE_CHECKING:
    from stream.service import Service


async def name_event(
    service: "Service", event_id: int, name: str, *, force: bool = False
) -> Identity:
    """Enroll the face of an event under a name; the event and others of its track get it too.

    Nothing but the event decides which face that is: its track may be long gone, and the service
    may have been restarted since. Asked again it changes nothing.

    Args:
        service: where the event was logged.
        event_id: of the event.
        name: whose face it is: somebody new, or known already.
        force: enroll even if the face is poor or looks like another person, such as a twin.

    Raises:
        UnknownEventError: if there is no such event.
        EnrolmentError: if the event has no crop, or it does not pass the checks.
        GalleryError: if the gallery cannot take it; nothing is changed.
        EventLogError: if the event cannot be read or changed.
    """
    face = await service.run_events(service.event_log.face, event_id)
    if face is None:
        raise EnrolmentError(f"event {event_id} has no crop of a face: name another event")
    label = f"event {event_id}"
    crop = await service.run_inference(face_crop, service.recognizer, face, label)
    identity = await service.change_people(
        enroll_known,
        service.gallery,
        Target(name),
        [crop],
        similarity=service.limits,
        force=force,
    )
    await service.run_events(service.event_log.name_event, event_id, identity)
    return identity


def face_crop(recognizer: Recognizer, face: LoggedFace, label: str) -> FaceCrop:
    """Return the face of an event as enrollment takes it.

    Args:
        recognizer: of the gallery's model: embeds the crop where another model did, or none.
        face: as the log has it.
        label: what to call it.
    """
    embedding = face.embedding if face.model_id == recognizer.model_id else None
    if embedding is None:
        embedding = recognizer.embed(face.crop[np.newaxis])[0]
    quality = face.quality or _quality_of_crop(recognizer, face)
    crop = FaceCrop(label, face.crop, embedding, quality, face.crop_sha256)
    return with_mirrors(recognizer, [crop])[0]


def _quality_of_crop(recognizer: Recognizer, face: LoggedFace) -> Quality:
    """Measure what a crop alone can tell: not the size in the frame, not the pose."""
    side = float(face.crop.shape[0])
    whole = Detections(
        np.array([[0.0, 0.0, side, side]], np.float32),
        TEMPLATE[np.newaxis],
        np.ones(1, np.float32),
    )
    return recognizer.quality(face.crop, whole)[0]
