"""Enrolls a face under a name: one in view of a camera, or one of a past event."""

from contextlib import suppress

import numpy as np

from gallery import Gallery, Identity, Target
from recognizer import Detections, Quality, Recognizer
from recognizer.geometry.alignment import TEMPLATE
from stream.cameras.registry import Cameras
from stream.enrollment.crops import FaceCrop, enroll_known, with_mirrors
from stream.enrollment.gallery_worker import GalleryWorker
from stream.enrollment.naming import Matching
from stream.errors import EnrolmentError, UnknownCameraError, UnknownTrackError
from stream.events.log import EventLog, LoggedFace
from stream.events.recorder import Journal
from stream.recognition.worker import Inference
from stream.visitors.book import VisitorBook
from stream.visitors.changes import VisitorChanges


class FaceNaming:
    """Enrolls the faces of tracks and events.

    Args:
        cameras: where faces are in view.
        inference: runs calls that use the recognizer.
        recognizer: of the inference thread.
        gallery: where faces are enrolled.
        gallery_worker: writes the gallery.
        matching: limits by which another person's face is refused.
        event_log: has the crops of past events.
        journal: runs calls that use the log.
        visitors: has the crops of unknown people.
        visitor_changes: gives their events to a person.
    """

    def __init__(
        self,
        *,
        cameras: Cameras,
        inference: Inference,
        recognizer: Recognizer,
        gallery: Gallery,
        gallery_worker: GalleryWorker,
        matching: Matching,
        event_log: EventLog,
        journal: Journal,
        visitors: VisitorBook | None = None,
        visitor_changes: VisitorChanges | None = None,
    ) -> None:
        self._cameras = cameras
        self._inference = inference
        self._recognizer = recognizer
        self._gallery = gallery
        self._gallery_worker = gallery_worker
        self._matching = matching
        self._event_log = event_log
        self._journal = journal
        self._visitors = visitors
        self._visitor_changes = visitor_changes

    async def name_track(
        self, camera: str, track_id: str, name: str, *, force: bool = False
    ) -> Identity:
        """Enroll the best crops of a track under a name, effective from the next frame.

        Args:
            camera: where it is.
            track_id: of the track.
            name: whose face it is: somebody new, or known already.
            force: enroll even if the face is poor or looks like another person, such as a twin.

        Raises:
            UnknownCameraError: if there is no such camera.
            UnknownTrackError: if the track has left.
            EnrolmentError: if no crop of the face passes the checks.
            GalleryError: if the gallery cannot take it.
        """
        faces = await self._cameras.faces_of(camera, track_id)
        # A few embeddings, with the live recognizer: another one takes seconds to open, and the
        # user is waiting.
        faces = await self._inference.run(with_mirrors, self._recognizer, faces)
        identity = await self._enroll(name, faces, force=force)
        with suppress(UnknownTrackError):  # gone by now: the next one is recognized
            await self._cameras.assign(camera, track_id, identity)
        return identity

    async def name_event(self, event_id: int, name: str, *, force: bool = False) -> Identity:
        """Enroll the face of an event under a name, and rename the events of its track.

        Only the event is needed: its track may be gone, and the service may have been restarted.
        A second call with the same arguments changes nothing.

        Args:
            event_id: of the event.
            name: whose face it is: somebody new, or known already.
            force: enroll even if the face is poor or looks like another person, such as a twin.

        Raises:
            UnknownEventError: if there is no such event.
            EnrolmentError: if the event has no crop, or it does not pass the checks.
            GalleryError: if the gallery cannot store it; nothing is changed.
            EventLogError: if the event cannot be read or changed.
        """
        face = await self._journal.run(self._event_log.face, event_id)
        if face is None:
            raise EnrolmentError(f"event {event_id} has no crop of a face: name another event")
        label = f"event {event_id}"
        crop = await self._inference.run(face_crop, self._recognizer, face, label)
        identity = await self._enroll(name, [crop], force=force)
        await self._journal.run(self._event_log.name_events, [event_id], identity)
        return identity

    async def name_visitor(self, visitor_id: str, name: str, *, force: bool = False) -> Identity:
        """Enroll a visitor's best crops under a name, and rename its past events and live tracks.

        Args:
            visitor_id: of the visitor, who is none afterwards.
            name: who it is: somebody new, or known already.
            force: enroll even if the face is poor or looks like another person, such as a twin.

        Raises:
            UnknownVisitorError: if there is no such visitor.
            EnrolmentError: if no crop passes the checks.
            GalleryError: if the gallery cannot store it; nothing is changed.
            EventLogError: if its events cannot be read or changed.
            MachineError: if another machine assigns visitors, and does not answer.
        """
        assert self._visitors is not None
        assert self._visitor_changes is not None
        # The live track may be recognized, and the visitor gone, once the person is enrolled.
        stays = await self._journal.run(self._visitors.stays, visitor_id)
        faces = await self._journal.run(self._visitors.faces, visitor_id)
        crops = [
            await self._inference.run(face_crop, self._recognizer, face, f"sighting {number}")
            for number, face in enumerate(faces, 1)
        ]
        if not crops:
            raise EnrolmentError("nothing is kept of this visitor: name it when it comes again")
        identity = await self._enroll(name, crops, force=force)
        live = await self._visitor_changes.name(visitor_id, stays, identity)
        for camera, track_id in live:
            with suppress(UnknownTrackError, UnknownCameraError):  # gone, or another machine's
                await self._cameras.assign(camera, track_id, identity)
        return identity

    async def _enroll(self, name: str, faces: list[FaceCrop], *, force: bool) -> Identity:
        return await self._gallery_worker.write(
            enroll_known,
            self._gallery,
            Target(name),
            faces,
            similarity=self._matching.limits,
            force=force,
        )


def face_crop(recognizer: Recognizer, face: LoggedFace, label: str) -> FaceCrop:
    """Return the face of an event, ready to enroll.

    Args:
        recognizer: of the gallery's model: embeds the crop if another model or none did.
        face: as stored in the log.
        label: name of the face in messages.
    """
    embedding = face.embedding if face.model_id == recognizer.model_id else None
    if embedding is None:
        embedding = recognizer.embed(face.crop[np.newaxis])[0]
    quality = face.quality or _quality_of_crop(recognizer, face)
    crop = FaceCrop(label, face.crop, embedding, quality, face.crop_sha256)
    return with_mirrors(recognizer, [crop])[0]


def _quality_of_crop(recognizer: Recognizer, face: LoggedFace) -> Quality:
    """Return the quality of a crop, without the size in the frame and the pose."""
    side = float(face.crop.shape[0])
    whole = Detections(
        np.array([[0.0, 0.0, side, side]], np.float32),
        TEMPLATE[np.newaxis],
        np.ones(1, np.float32),
    )
    return recognizer.quality(face.crop, whole)[0]
