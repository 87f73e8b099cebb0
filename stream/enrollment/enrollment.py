"""Enrolls people from photos, for the command line, the scripts and the API.

Every image is accepted, or rejected with a reason. The photos of one person are checked together,
so that a wrong one among them is found in any order.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, Target, clean_name
from recognizer import Detections, ImageError, Quality, Recognizer, decode_image, read_file
from recognizer.photos.photos import MAX_BYTES
from stream.enrollment.crops import (
    Enrolled,
    EnrolReport,
    FaceCrop,
    Rejected,
    embedded,
    enroll_crops,
    holder_fault,
    present_target,
)
from stream.enrollment.doubts import Doubts
from stream.enrollment.naming import limits_for
from stream.enrollment.photo_checks import EnrolLimits, Reason, choose_face
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
    """

    label: str
    name: str
    load: Callable[[], bytes]
    identity_id: str | None = None


Progress = Callable[[Enrolled | Rejected], None]


def photo_item(path: Path, name: str) -> EnrolItem:
    """Return the item for a photo file."""
    return EnrolItem(str(path), name, partial(read_file, path, max_bytes=MAX_BYTES))


def upload_item(label: str, name: str, data: bytes, *, identity_id: str | None = None) -> EnrolItem:
    """Return the item for bytes at hand."""
    return EnrolItem(label, name, lambda: data, identity_id)


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
) -> EnrolReport:
    """Add photos of people to a gallery.

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

    Raises:
        EnrolmentError: if a name is invalid.
        GalleryError: if the gallery cannot store them; those reported so far are stored.
    """
    finder = _FaceFinder(recognizer, gallery, limits or EnrolLimits(), force=force)
    doubts = doubts or Doubts()
    outcomes: list[Enrolled | Rejected] = []
    for _, found in groupby(finder.find(_with_names(items)), key=lambda found: _owner_of(found[0])):
        while some := list(islice(found, TOGETHER)):
            faces = [(item, face) for item, face in some if isinstance(face, FaceCrop)]
            decided: Iterator[Enrolled | Rejected] = iter(())
            if faces:
                decided = finder.enroll(faces, doubts, keep_crops=keep_crops)
            for _, face in some:
                outcome = face if isinstance(face, Rejected) else next(decided)
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
                each = Enrolled(each.label, identity, each.quality)
        true.append(each)
    return true


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    item: EnrolItem
    source_sha256: str
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Shot:
    """The one usable face of a photo, not embedded yet."""

    item: EnrolItem
    source_sha256: str
    crop: Image
    quality: Quality


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

    def find(self, items: Iterable[EnrolItem]) -> Iterator[tuple[EnrolItem, FaceCrop | Rejected]]:
        """Yield each item with its face, in order."""
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
        fault = holder_fault(self._gallery, source, known, force=self._force)
        if fault is not None:
            return _refused(item, *fault)
        try:
            image = decode_image(data, name=item.label)
        except ImageError as error:
            return _refused(item, Reason.UNREADABLE, str(error))
        return _Loaded(item, source, image)

    def _look_at(self, batch: Sequence[_Loaded | Rejected]) -> Iterator[FaceCrop | Rejected]:
        images = [entry.image for entry in batch if isinstance(entry, _Loaded)]
        detections = iter(self._recognizer.detect(images, any_way_up=True) if images else ())
        shots = [
            entry if isinstance(entry, Rejected) else self._choose(entry, next(detections))
            for entry in batch
        ]
        crops = [shot.crop for shot in shots if isinstance(shot, _Shot)]
        looks = iter(
            zip(*embedded(self._recognizer, np.stack(crops)), strict=True) if crops else ()
        )
        for shot in shots:
            if isinstance(shot, Rejected):
                yield shot
            else:
                label, source = shot.item.label, shot.source_sha256
                embedding, mirror = next(looks)
                yield FaceCrop(label, shot.crop, embedding, shot.quality, source, float(mirror))

    def _choose(self, photo: _Loaded, detections: Detections) -> _Shot | Rejected:
        crops, qualities = self._recognizer.align_and_judge(photo.image, detections)
        height, width = photo.image.shape[:2]
        chosen = choose_face(
            detections, qualities, (height, width), self._limits, force=self._force
        )
        if not isinstance(chosen, int):
            return _refused(photo.item, *chosen)
        return _Shot(photo.item, photo.source_sha256, crops[chosen], qualities[chosen])


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
