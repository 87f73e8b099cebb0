"""Adding people from photos: the one way, for the command line, the scripts and the API.

A gallery is as good as its photos. Every image is accepted, or rejected with its reason; one
person's photos are judged together, so that a wrong one among them shows whatever their order.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, Identity, NewPhoto, clean_name
from recognizer import Detections, ImageError, Recognizer, decode_image
from stream.errors import EnrolmentError
from stream.photo_checks import (
    EnrolLimits,
    Reason,
    choose_face,
    framed_faces,
    other_similarity,
    own_similarities,
)

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
MAX_SIDE_PX = 2048  # larger photos are shrunk: a face worth enrolling is still over 40 pixels
BATCH_IMAGES = 16  # beyond it detection and embedding gain nothing more per image
BATCH_PIXELS = 16_000_000  # 48 MB of pictures in memory, whatever their size
TOGETHER = 64  # photos of one person judged and stored in one step: what a stop may cost
LOADERS = 2  # threads that read and decode; decoding keeps up with inference on 2 cores


@dataclass(frozen=True, slots=True)
class EnrolItem:
    """One photo to be enrolled.

    Attributes:
        label: what to call it in the report, such as its path.
        name: whose it is.
        load: returns the file's bytes; may raise OSError.
    """

    label: str
    name: str
    load: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A photo that was added.

    Attributes:
        label: of the item.
        identity: whose it is now.
        quality: in [0, 1].
    """

    label: str
    identity: Identity
    quality: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo that was not added.

    Attributes:
        label: of the item.
        name: whose it was to be.
        reason: for programs.
        detail: for people, one line.
    """

    label: str
    name: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class EnrolReport:
    """What became of each photo, in the order in which it was decided."""

    enrolled: tuple[Enrolled, ...]
    rejected: tuple[Rejected, ...]

    @property
    def refused(self) -> tuple[Rejected, ...]:
        """The rejected photos without those that were enrolled already."""
        return tuple(r for r in self.rejected if r.reason is not Reason.DUPLICATE)


Progress = Callable[[Enrolled | Rejected], None]


def photo_item(path: Path, name: str) -> EnrolItem:
    """Return the item for a photo file."""
    return EnrolItem(str(path), name, path.read_bytes)


def upload_item(label: str, name: str, data: bytes) -> EnrolItem:
    """Return the item for bytes at hand."""
    return EnrolItem(label, name, lambda: data)


def folder_items(directory: Path) -> list[EnrolItem]:
    """Return the photos below DIRECTORY/NAME/, by name and file name.

    Raises:
        EnrolmentError: if there are none.
    """
    if not directory.is_dir():
        raise EnrolmentError(f"{directory} is not a directory: name one with a folder per person")
    items = [
        photo_item(path, person.name)
        for person in sorted(p for p in directory.iterdir() if p.is_dir())
        for path in sorted(person.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not items:
        raise EnrolmentError(
            f"{directory} holds no photos: expected {directory}/NAME/PHOTO.jpg for each person"
        )
    return items


def enroll_images(
    recognizer: Recognizer,
    gallery: Gallery,
    items: Iterable[EnrolItem],
    *,
    limits: EnrolLimits | None = None,
    force: bool = False,
    keep_crops: bool = True,
    progress: Progress | None = None,
) -> EnrolReport:
    """Add photos of people to a gallery.

    What is reported as enrolled is on the disk. The same items again change nothing, so a run
    that was stopped is resumed by running it again. Reading and decoding run in threads of this
    call; recognizer and gallery are used in the calling thread alone, but for looking up hashes.

    Args:
        recognizer: of the gallery's model.
        gallery: where to.
        items: photos; those of one person should follow each other, they are judged together.
        limits: what a photo must be like; None for the defaults.
        force: take what is readable and has a face, the one in the middle or the largest if
            there are several, whatever it looks like.
        keep_crops: store the aligned crops, which another model can embed again.
        progress: called with each photo's outcome as soon as it is known.

    Raises:
        EnrolmentError: if a name is none.
        GalleryError: if the gallery cannot take them; those reported so far are safe.
    """
    judge = _Judge(recognizer, gallery, limits or EnrolLimits(), force=force)
    enrolled: list[Enrolled] = []
    rejected: list[Rejected] = []
    for name, looks in groupby(judge.look(_with_names(items)), key=_name_of):
        while some := list(islice(looks, TOGETHER)):
            for outcome in judge.settle(name, some, keep_crops=keep_crops):
                if isinstance(outcome, Enrolled):
                    enrolled.append(outcome)
                else:
                    rejected.append(outcome)
                if progress is not None:
                    progress(outcome)
    return EnrolReport(tuple(enrolled), tuple(rejected))


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    item: EnrolItem
    source_sha256: str
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class _Shot:
    """The one good face of a photo."""

    item: EnrolItem
    source_sha256: str
    crop: Image
    quality: float


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A shot that remains to be compared with people."""

    shot: _Shot
    embedding: Floats


def _name_of(look: _Candidate | Rejected) -> str:
    return look.name if isinstance(look, Rejected) else look.shot.item.name


def _with_names(items: Iterable[EnrolItem]) -> Iterator[EnrolItem]:
    for item in items:
        try:
            clean_name(item.name)
        except ValueError as error:
            raise EnrolmentError(f"{item.label}: {error}") from error
        yield item


class _Judge:
    """Decides photo by photo; the calling thread's, but for `_load`."""

    def __init__(
        self, recognizer: Recognizer, gallery: Gallery, limits: EnrolLimits, *, force: bool
    ) -> None:
        self._recognizer = recognizer
        self._gallery = gallery
        self._limits = limits
        self._force = force

    def look(self, items: Iterable[EnrolItem]) -> Iterator[_Candidate | Rejected]:
        """Yield what each item's picture is like, in order."""
        batch: list[_Loaded | Rejected] = []
        pixels = 0
        for loaded in _in_threads(self._load, items):
            batch.append(loaded)
            if isinstance(loaded, _Loaded):
                pixels += loaded.image.shape[0] * loaded.image.shape[1]
            if len(batch) >= BATCH_IMAGES or pixels >= BATCH_PIXELS:
                yield from self._look_at(batch)
                batch, pixels = [], 0
        yield from self._look_at(batch)

    def settle(
        self, name: str, looks: Sequence[_Candidate | Rejected], *, keep_crops: bool
    ) -> Iterator[Enrolled | Rejected]:
        """Compare one person's candidates with each other and everybody, and enrol them."""
        candidates = [look for look in looks if isinstance(look, _Candidate)]
        refused = {} if self._force else self._compare(name, candidates)
        taken = [c for position, c in enumerate(candidates) if position not in refused]
        photos = [
            NewPhoto(
                c.embedding,
                c.shot.crop if keep_crops else None,
                c.shot.source_sha256,
                c.shot.quality,
            )
            for c in taken
        ]
        outcomes: Iterator[Enrolled | Rejected] = iter(())
        if photos:
            identity, is_new = self._gallery.enroll_many(name, photos)
            outcomes = (
                Enrolled(c.shot.item.label, identity, c.shot.quality)
                if new
                else _refused(c.shot.item, Reason.DUPLICATE, "the same photo twice")
                for c, new in zip(taken, is_new, strict=True)
            )
        position = -1
        for look in looks:
            if isinstance(look, Rejected):
                yield look
                continue
            position += 1
            yield refused[position] if position in refused else next(outcomes)

    def _load(self, item: EnrolItem) -> _Loaded | Rejected:
        try:
            data = item.load()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            return _refused(item, Reason.UNREADABLE, f"cannot read {item.label}: {why}")
        source = hashlib.sha256(data).hexdigest()
        holders = [name for _, name in self._gallery.store.photos_of_source(source)]
        if clean_name(item.name) in holders:
            return _refused(item, Reason.DUPLICATE, "enrolled already")
        if holders and not self._force:
            return _refused(item, Reason.OTHER_PERSON, f"the same photo is {holders[0]}'s")
        try:
            image = decode_image(data, name=item.label)
        except ImageError as error:
            return _refused(item, Reason.UNREADABLE, str(error))
        return _Loaded(item, source, _shrunk(image))

    def _look_at(self, batch: Sequence[_Loaded | Rejected]) -> Iterator[_Candidate | Rejected]:
        images = [entry.image for entry in batch if isinstance(entry, _Loaded)]
        detections = iter(self._recognizer.detect(images) if images else ())
        shots = [
            entry if isinstance(entry, Rejected) else self._choose(entry, next(detections))
            for entry in batch
        ]
        crops = [shot.crop for shot in shots if isinstance(shot, _Shot)]
        embeddings = iter(self._recognizer.embed(np.stack(crops)) if crops else ())
        for shot in shots:
            yield shot if isinstance(shot, Rejected) else _Candidate(shot, next(embeddings))

    def _choose(self, photo: _Loaded, detections: Detections) -> _Shot | Rejected:
        qualities = self._recognizer.quality(photo.image, detections)
        height, width = photo.image.shape[:2]
        framed = framed_faces(detections.boxes, height, width, self._limits)
        chosen = choose_face(qualities, self._limits, force=self._force, framed=framed)
        if not isinstance(chosen, int):
            return _refused(photo.item, *chosen)
        crop = self._recognizer.align(photo.image, detections.landmarks[chosen : chosen + 1])[0]
        return _Shot(photo.item, photo.source_sha256, crop, qualities[chosen].overall)

    def _compare(self, name: str, candidates: Sequence[_Candidate]) -> dict[int, Rejected]:
        if not candidates:
            return {}
        embeddings = np.stack([c.embedding for c in candidates])
        held = self._gallery.embeddings(name)
        own = own_similarities(
            embeddings,
            held,
            np.array([c.shot.quality for c in candidates]),
            self._limits.min_own_similarity,
        )
        too_alike = other_similarity(self._limits, self._gallery.store.n_people())
        refused = {}
        for position, ranked in enumerate(self._gallery.best(embeddings, k=2)):
            item = candidates[position].shot.item
            others = [m for m in ranked if m.identity.name != clean_name(name)]
            if others and others[0].similarity >= too_alike:
                other = others[0]
                if not len(held) or other.similarity > own[position]:
                    refused[position] = _refused(
                        item,
                        Reason.OTHER_PERSON,
                        f"looks like {other.identity.name} (similarity {other.similarity:.2f})",
                    )
                    continue
            if own[position] < self._limits.min_own_similarity:
                refused[position] = _refused(
                    item,
                    Reason.UNLIKE_OTHERS,
                    f"unlike the other photos of {name} (similarity {own[position]:.2f})",
                )
        return refused


def _in_threads(
    load: Callable[[EnrolItem], _Loaded | Rejected], items: Iterable[EnrolItem]
) -> Iterator[_Loaded | Rejected]:
    """Yield load(item) of each item in order, a few ahead of the reader."""
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="enrol-load") as pool:
        waiting: deque[Future[_Loaded | Rejected]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > 2 * LOADERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _shrunk(image: Image) -> Image:
    scale = MAX_SIDE_PX / max(image.shape[:2])
    if scale >= 1.0:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _refused(item: EnrolItem, reason: Reason, detail: str) -> Rejected:
    return Rejected(item.label, item.name, reason, detail)
