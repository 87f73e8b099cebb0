"""Enrolls people from photos, for the command line, the scripts and the API.

Every image is accepted, or rejected with a reason. The photos of one person are checked together,
so that a wrong one among them is found in any order.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, Target, clean_name
from recognizer import Detections, ImageError, Quality, Recognizer, decode_image, read_file
from recognizer.photos.photos import MAX_BYTES
from stream.enrollment.consensus import Choice, PhotoFaces, choose_faces
from stream.enrollment.crops import (
    Enrolled,
    EnrolReport,
    FaceCrop,
    Rejected,
    SeenFace,
    SeenFaces,
    duplicate_fault,
    embedded,
    enroll_crops,
    present_target,
)
from stream.enrollment.doubts import Doubts
from stream.enrollment.naming import limits_for
from stream.enrollment.photo_checks import (
    EnrolLimits,
    Reason,
    listed_faces,
    quality_fault,
    wanted_face,
)
from stream.errors import EnrolmentError

__all__ = [
    "EnrolItem",
    "EnrolReport",
    "Enrolled",
    "Progress",
    "Rejected",
    "enroll_images",
    "photo_item",
    "upload_item",
]

Image = NDArray[np.uint8]

BATCH_IMAGES = 16  # larger batches do not make detection and embedding faster per image
BATCH_PIXELS = 16_000_000  # 48 MB of images in memory, regardless of their size
TOGETHER = 64  # photos of one person checked and stored in one step, repeated after a stop
LOADERS = 2  # threads that read and decode; decoding keeps up with inference on 2 cores


@dataclass(frozen=True, slots=True)
class EnrolItem:
    """One photo to be enrolled.

    Attributes:
        label: name of the photo in the report, such as its path.
        name: of the person.
        load: returns the file's bytes; may raise OSError.
        identity_id: of the person, if known: followed through renames and merges. None for the
            person who has the name when their first photo is read, or a new person.
        face: index of the face that is meant, among those of `SeenFaces`; None to choose it.
    """

    label: str
    name: str
    load: Callable[[], bytes]
    identity_id: str | None = None
    face: int | None = None


Progress = Callable[[Enrolled | Rejected], None]


def photo_item(path: Path, name: str) -> EnrolItem:
    """Return the item for a photo file."""
    return EnrolItem(str(path), name, partial(read_file, path, max_bytes=MAX_BYTES))


def upload_item(
    label: str,
    name: str,
    data: bytes,
    *,
    identity_id: str | None = None,
    face: int | None = None,
) -> EnrolItem:
    """Return the item for bytes at hand."""
    return EnrolItem(label, name, lambda: data, identity_id, face)


def enroll_images(
    recognizer: Recognizer,
    gallery: Gallery,
    items: Iterable[EnrolItem],
    *,
    limits: EnrolLimits | None = None,
    force: bool = False,
    keep_crops: bool = True,
    doubts: Doubts | None = None,
    progress: Progress | None = None,
    list_faces: bool = False,
) -> EnrolReport:
    """Add photos of people to a gallery.

    Of a photo with several faces that is taken which the person's other photos show, see
    `stream.enrollment.consensus`.

    Photos reported as enrolled are on the disk. Repeated items change nothing, so an interrupted
    run is resumed by running it again. Reading and decoding run in threads of this call. The
    recognizer and gallery are used only in the calling thread, except for looking up hashes.

    Args:
        recognizer: of the gallery's model.
        gallery: where they are stored.
        items: photos; those of one person should be adjacent, they are checked together.
        limits: minimum quality of a photo; None for the defaults.
        force: accept any readable photo with a face (of several, the one in the middle or the
            largest), without the checks.
        keep_crops: store the aligned crops, which another model can embed again.
        doubts: faces refused in earlier calls; None for this call only.
        progress: called with each photo's outcome as soon as it is known.
        list_faces: report the faces of rejected photos, 40 kB each.

    Raises:
        EnrolmentError: if a name is invalid.
        GalleryError: if the gallery cannot store them; those reported so far are stored.
    """
    finder = _FaceFinder(recognizer, gallery, limits or EnrolLimits(), force=force)
    doubts = doubts or Doubts()
    outcomes: list[Enrolled | Rejected] = []
    for _, found in groupby(finder.find(_with_names(items)), key=lambda found: _owner_of(found[0])):
        while some := list(islice(found, TOGETHER)):
            chosen = finder.choose(some)
            faces = [(item, face) for item, face in chosen if isinstance(face, FaceCrop)]
            decided: Iterator[Enrolled | Rejected] = iter(())
            if faces:
                decided = finder.enroll(faces, doubts, keep_crops=keep_crops)
            for (_, photo), (_, face) in zip(some, chosen, strict=True):
                outcome = face if isinstance(face, Rejected) else next(decided)
                if list_faces and isinstance(outcome, Rejected) and isinstance(photo, _Photo):
                    outcome = replace(outcome, seen=photo.seen(face))
                outcomes.append(outcome)
                if progress is not None:
                    progress(outcome)
    return EnrolReport(tuple(_without_erased(gallery, outcomes)))


def _without_erased(
    gallery: Gallery, outcomes: Sequence[Enrolled | Rejected]
) -> list[Enrolled | Rejected]:
    """Return the outcomes, with the photos of people erased meanwhile as rejected."""
    ids = {each.identity.identity_id for each in outcomes if isinstance(each, Enrolled)}
    present = gallery.people.present(sorted(ids))
    true = []
    for each in outcomes:
        if isinstance(each, Enrolled):
            identity = present.get(each.identity.identity_id)
            if identity is None:
                name = each.identity.name
                each = Rejected(
                    each.label,
                    name,
                    Reason.ERASED,
                    f"{name} was erased while photos were being added",
                )
            else:
                each = Enrolled(each.label, identity, each.quality, each.source_sha256)
        true.append(each)
    return true


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    item: EnrolItem
    source_sha256: str
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    """The faces of a photo, from left to right.

    Attributes:
        item: its item.
        source_sha256: of its file.
        size: (width, height), pixels.
        boxes: (N, 4) float32.
        crops: (N, 112, 112, 3) uint8 RGB.
        qualities: N of them.
        faults: why each cannot be enrolled by itself, None if it can.
        subject: index of the face that the photo is of, else why that is ambiguous.
        usable: (F,) indices of the faces to choose from.
        embeddings: (F, D) float32 of unit length, of those.
        mirrors: (F,) float32, similarities to their mirror images.
    """

    item: EnrolItem
    source_sha256: str
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    crops: Image
    qualities: tuple[Quality, ...]
    faults: tuple[tuple[Reason, str] | None, ...]
    subject: int | tuple[Reason, str]
    usable: tuple[int, ...]
    embeddings: NDArray[np.float32]
    mirrors: NDArray[np.float32]

    def as_faces(self) -> PhotoFaces:
        """Return the usable faces, for a consensus with other photos."""
        subject = None
        if isinstance(self.subject, int) and self.subject in self.usable:
            subject = self.usable.index(self.subject)
        return PhotoFaces(self.embeddings, subject)

    def chosen(self, choice: Choice, *, force: bool) -> "FaceCrop | Rejected":
        """Return the chosen face, by `force` else that which the photo is of, or why none."""
        index = self.as_faces().subject if force and choice.face is None else choice.face
        if index is None:
            reason, detail = Reason.SEVERAL_FACES, choice.detail
            if isinstance(self.subject, int):
                reason, detail = self.faults[self.subject] or (reason, detail)
            else:
                reason, detail = self.subject
                detail += f": {choice.detail}" if choice.detail else ""
            return _refused(self.item, reason, detail)
        face = self.usable[index]
        return FaceCrop(
            self.item.label,
            self.crops[face],
            self.embeddings[index],
            self.qualities[face],
            self.source_sha256,
            float(self.mirrors[index]),
        )

    def seen(self, chosen: "FaceCrop | Rejected") -> SeenFaces:
        """Return the faces for a report."""
        faces = [
            SeenFace(
                (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                quality,
                "" if fault is None else fault[1],
                crop,
            )
            for box, quality, fault, crop in zip(
                self.boxes, self.qualities, self.faults, self.crops, strict=True
            )
        ]
        index = self.subject if isinstance(self.subject, int) else None
        if isinstance(chosen, FaceCrop):
            index = next(i for i in self.usable if self.qualities[i] is chosen.quality)
        return SeenFaces(tuple(faces), self.size, index)


def _owner_of(item: EnrolItem) -> tuple[str, str | None]:
    return clean_name(item.name), item.identity_id


def _with_names(items: Iterable[EnrolItem]) -> Iterator[EnrolItem]:
    for item in items:
        try:
            clean_name(item.name)
        except ValueError as error:
            raise EnrolmentError(f"{item.label}: {error}") from error
        yield item


class _FaceFinder:
    """Finds the one usable face of each photo; all but `_load` runs in the calling thread."""

    def __init__(
        self, recognizer: Recognizer, gallery: Gallery, limits: EnrolLimits, *, force: bool
    ) -> None:
        self._recognizer = recognizer
        self._gallery = gallery
        self._limits = limits
        self._similarity = limits_for(recognizer, gallery)
        self._force = force
        self._targets: dict[tuple[str, str | None], Target] = {}

    def find(self, items: Iterable[EnrolItem]) -> Iterator[tuple[EnrolItem, _Photo | Rejected]]:
        """Yield each item with its faces, in order."""
        batch: list[_Loaded | Rejected] = []
        of: list[EnrolItem] = []
        pixels = 0
        for item, loaded in _in_threads(self._load, self._aimed(items)):
            of.append(item)
            batch.append(loaded)
            if isinstance(loaded, _Loaded):
                pixels += loaded.image.shape[0] * loaded.image.shape[1]
            if len(batch) >= BATCH_IMAGES or pixels >= BATCH_PIXELS:
                yield from zip(of, self._look_at(batch), strict=True)
                batch, of, pixels = [], [], 0
        yield from zip(of, self._look_at(batch), strict=True)

    def choose(
        self, photos: Sequence[tuple[EnrolItem, _Photo | Rejected]]
    ) -> list[tuple[EnrolItem, FaceCrop | Rejected]]:
        """Return the face of each photo of one person, or why there is none."""
        looked_at = [photo for _, photo in photos if isinstance(photo, _Photo)]
        held = np.empty((0, self._recognizer.embedding_size), np.float32)
        if looked_at:
            known = present_target(self._gallery, self._targets[_owner_of(photos[0][0])])
            if known is not None:
                held = self._gallery.photos.embeddings(known.identity_id)
        faces = [photo.as_faces() for photo in looked_at]
        choices = iter(choose_faces(faces, held, self._similarity))
        chosen: list[tuple[EnrolItem, FaceCrop | Rejected]] = []
        for item, photo in photos:
            if isinstance(photo, _Photo):
                chosen.append((item, photo.chosen(next(choices), force=self._force)))
            else:
                chosen.append((item, photo))
        return chosen

    def enroll(
        self, faces: Sequence[tuple[EnrolItem, FaceCrop]], doubts: Doubts, *, keep_crops: bool
    ) -> Iterator[Enrolled | Rejected]:
        """Add faces of one person; yield an outcome for each."""
        owner = _owner_of(faces[0][0])
        report = enroll_crops(
            self._gallery,
            self._targets[owner],
            [face for _, face in faces],
            similarity=self._similarity,
            limits=self._limits,
            force=self._force,
            keep_crops=keep_crops,
            doubts=doubts,
        )
        if report.identity is not None:
            # A new person has an id from here on: if erased, they are not added again by name.
            self._targets[owner] = Target(owner[0], report.identity.identity_id)
        return iter(report.outcomes)

    def _aimed(self, items: Iterable[EnrolItem]) -> Iterator[EnrolItem]:
        """Look up the person of each name once, at their first photo."""
        for item in items:
            owner = _owner_of(item)
            if owner not in self._targets:
                name, identity_id = owner
                if identity_id is None:
                    known = self._gallery.people.named(name)
                    identity_id = None if known is None else known.identity_id
                self._targets[owner] = Target(name, identity_id)
            yield item

    def _load(self, item: EnrolItem) -> _Loaded | Rejected:
        try:
            data = item.load()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return _refused(item, Reason.UNREADABLE, f"cannot read {item.label}: {why}")
        source = hashlib.sha256(data).hexdigest()
        # Checked again when it is written; here it avoids decoding photos already enrolled.
        known = present_target(self._gallery, self._targets[_owner_of(item)])
        fault = duplicate_fault(self._gallery, source, known)
        if fault is not None:
            return _refused(item, *fault)
        try:
            image = decode_image(data, name=item.label)
        except ImageError as error:
            return _refused(item, Reason.UNREADABLE, str(error))
        return _Loaded(item, source, image)

    def _look_at(self, batch: Sequence[_Loaded | Rejected]) -> Iterator[_Photo | Rejected]:
        images = [entry.image for entry in batch if isinstance(entry, _Loaded)]
        detections = iter(self._recognizer.detect(images, any_way_up=True) if images else ())
        photos = [
            entry if isinstance(entry, Rejected) else self._faces_of(entry, next(detections))
            for entry in batch
        ]
        crops = [photo.crops[list(photo.usable)] for photo in photos if isinstance(photo, _Photo)]
        together = np.concatenate(crops) if crops else np.empty((0, 112, 112, 3), np.uint8)
        size = self._recognizer.embedding_size
        embeddings, mirrors = np.empty((0, size), np.float32), np.empty(0, np.float32)
        if len(together):
            embeddings, mirrors = embedded(self._recognizer, together)
        start = 0
        for photo in photos:
            if isinstance(photo, Rejected):
                yield photo
            else:
                end = start + len(photo.usable)
                yield replace(photo, embeddings=embeddings[start:end], mirrors=mirrors[start:end])
                start = end

    def _faces_of(self, photo: _Loaded, detections: Detections) -> _Photo | Rejected:
        """Return the faces of a photo, not embedded yet."""
        limits, force, wanted = self._limits, self._force, photo.item.face
        height, width = photo.image.shape[:2]
        faces = listed_faces(detections, limits)
        subject = wanted_face(faces.boxes, faces.scores, (height, width), limits, force=force)
        if not len(faces):
            return _refused(photo.item, Reason.NO_FACE, "no face found")
        if wanted is not None:
            if wanted >= len(faces):
                detail = f"there is no face {wanted}: the photo has {len(faces)}, from 0"
                return _refused(photo.item, Reason.NO_FACE, detail)
            subject = wanted
        crops, qualities = self._recognizer.align_and_judge(photo.image, faces)
        faults = [quality_fault(quality, limits) for quality in qualities]
        usable = [i for i, fault in enumerate(faults) if fault is None or (force and i == subject)]
        if wanted is not None:
            usable = [i for i in usable if i == wanted]
        nothing = np.empty((len(usable), self._recognizer.embedding_size), np.float32)
        return _Photo(
            photo.item,
            photo.source_sha256,
            (width, height),
            faces.boxes,
            crops,
            tuple(qualities),
            tuple(faults),
            subject,
            tuple(usable),
            nothing,
            np.empty(len(usable), np.float32),
        )


def _in_threads(
    load: Callable[[EnrolItem], _Loaded | Rejected], items: Iterable[EnrolItem]
) -> Iterator[tuple[EnrolItem, _Loaded | Rejected]]:
    """Yield each item with load(item) in order, loading a few items ahead."""
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="enroll-load") as pool:
        pending: deque[tuple[EnrolItem, Future[_Loaded | Rejected]]] = deque()
        try:
            for item in items:
                pending.append((item, pool.submit(load, item)))
                while len(pending) > 2 * LOADERS or _pixels(pending) > BATCH_PIXELS:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _pixels(pending: Iterable[tuple[EnrolItem, Future[_Loaded | Rejected]]]) -> int:
    """Return the number of decoded pixels that wait for inference."""
    loaded = [future.result() for _, future in pending if future.done()]
    return sum(each.image.size // 3 for each in loaded if isinstance(each, _Loaded))


def _refused(item: EnrolItem, reason: Reason, detail: str) -> Rejected:
    return Rejected(item.label, item.name, reason, detail)
