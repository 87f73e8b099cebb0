"""Enrolling people from aligned face crops: the single checked path into a gallery.

Photos, uploads, live tracks and past events are enrolled here, each face as a crop with an
embedding. The faces of one call are checked together, against the gallery at the time of writing,
and stored in the same transaction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery import ErasedIdentityError, Gallery, Identity, NewPhoto, Target, clean_name
from gallery.errors import GalleryUnreachableError
from recognizer import Quality, Recognizer, SimilarityLimits
from stream.enrollment.doubts import Doubts, hint
from stream.enrollment.photo_checks import (
    EnrolLimits,
    Reason,
    own_similarities,
    quality_fault,
)
from stream.errors import EnrolmentError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One face to be enrolled.

    Attributes:
        label: its name in the report, such as a photo's path.
        crop: (112, 112, 3) uint8 RGB, aligned.
        embedding: (D,) float32 of unit length, of the gallery's model.
        quality: measured in the source image.
        source_sha256: of the source file, 64 hexadecimal digits; of the crop itself if there is
            no file. The same source is enrolled once for a person.
    """

    label: str
    crop: Image
    embedding: Floats
    quality: Quality
    source_sha256: str = ""
    mirror_similarity: float = 1.0

    def as_photo(self, *, keep_crop: bool) -> NewPhoto:
        """Return the crop as the gallery's `NewPhoto`."""
        return NewPhoto(
            self.embedding,
            self.crop if keep_crop else None,
            self.source,
            self.quality.overall,
        )

    @property
    def source(self) -> str:
        """The hash that identifies the same photo."""
        return self.source_sha256 or hashlib.sha256(self.crop.tobytes()).hexdigest()


def embedded(
    recognizer: Recognizer, crops: Image
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the embeddings of crops, and the similarity of each to that of its mirror image.

    Args:
        recognizer: of the gallery's model.
        crops: (N, 112, 112, 3) uint8 RGB, aligned; N at least 1.

    Returns:
        (N, D) float32 of unit length, and (N,) float32 cosines.
    """
    both = recognizer.embed(np.concatenate([crops, crops[:, :, ::-1]]))
    plain, mirrored = both[: len(crops)], both[len(crops) :]
    return plain, (plain * mirrored).sum(axis=1)


def with_mirrors(recognizer: Recognizer, faces: Sequence[FaceCrop]) -> list[FaceCrop]:
    """Return faces with the similarity of each to its mirror image."""
    if not faces:
        return []
    _, mirrors = embedded(recognizer, np.stack([face.crop for face in faces]))
    return [
        replace(face, mirror_similarity=float(mirror))
        for face, mirror in zip(faces, mirrors, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A photo that was added.

    Attributes:
        label: of the item.
        identity: the person it belongs to.
        quality: in [0, 1].
        source_sha256: of the stored photo.
    """

    label: str
    identity: Identity
    quality: float
    source_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """A face of a photo, to choose from.

    Attributes:
        box: x1, y1, x2, y2, pixels of the photo.
        quality: of it.
        fault: why it alone would be refused; empty if it would not.
        crop: (112, 112, 3) uint8 RGB, aligned.
    """

    box: tuple[float, float, float, float]
    quality: Quality
    fault: str
    crop: Image


@dataclass(frozen=True, slots=True, eq=False)
class SeenFaces:
    """The faces of a photo, as its report lists them.

    Attributes:
        faces: by index, from left to right.
        size: (width, height) of the photo, pixels.
        chosen: index of the face that was checked; None if none was.
    """

    faces: tuple[SeenFace, ...]
    size: tuple[int, int]
    chosen: int | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo that was not added.

    Attributes:
        label: of the item.
        name: the person it was meant for.
        reason: machine-readable.
        detail: human-readable, one line.
        seen: the faces in it; None if it was not looked at, or they were not asked for.
    """

    label: str
    name: str
    reason: Reason
    detail: str
    seen: SeenFaces | None = None


@dataclass(frozen=True, slots=True)
class EnrolReport:
    """The outcome of each photo, in the order of the checks."""

    outcomes: tuple[Enrolled | Rejected, ...]

    @property
    def enrolled(self) -> tuple[Enrolled, ...]:
        """The photos that were added."""
        return tuple(each for each in self.outcomes if isinstance(each, Enrolled))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The photos that were not added."""
        return tuple(each for each in self.outcomes if isinstance(each, Rejected))

    @property
    def refused(self) -> tuple[Rejected, ...]:
        """The rejected photos, except those already enrolled."""
        return tuple(r for r in self.rejected if r.reason is not Reason.DUPLICATE)

    @property
    def identity(self) -> Identity | None:
        """The person of the last photo that was added; None where none was."""
        return self.enrolled[-1].identity if self.enrolled else None


def enroll_crops(
    gallery: Gallery,
    target: Target,
    faces: Sequence[FaceCrop],
    *,
    similarity: SimilarityLimits,
    limits: EnrolLimits | None = None,
    force: bool = False,
    keep_crops: bool = True,
    doubts: Doubts | None = None,
) -> EnrolReport:
    """Enroll faces of one person: those of sufficient quality, of that person, and new.

    Checks and writing are one transaction: changes to the gallery by other threads or processes
    happen before or after it. Blocks while another process writes, up to the gallery's limit:
    never call it in the recognition thread.

    Args:
        gallery: to add to.
        target: the person: by id an existing person, found after renames and merges too; by name
            a person who may be new.
        faces: checked together; of one person from one occasion.
        similarity: of the gallery's model, see `stream.enrollment.naming.limits_for`.
        limits: requirements of a photo; None for the defaults.
        force: add it even if it is poor or similar to another person, such as a twin.
        keep_crops: store the crops, so that another model can embed them.
        doubts: earlier refusals; None for only the faces of this call.

    Returns:
        An outcome for each face. If the person was erased meanwhile, all are rejected.

    Raises:
        ValueError: if the target's name is invalid.
        GalleryBusyError: if another process holds the gallery; nothing is added.
        GalleryError: if the gallery cannot store them; nothing is added.
    """
    clean_name(target.name)
    judge = _Judge(gallery, target, faces, (similarity, limits or EnrolLimits()), force=force)
    judge.doubts = doubts or judge.doubts
    photos = [face.as_photo(keep_crop=keep_crops) for face in faces]
    try:
        identity, is_added = gallery.photos.add_checked(target, photos, judge.choose)
    except ErasedIdentityError as error:
        return EnrolReport(tuple(judge.rejected(face, Reason.ERASED, str(error)) for face in faces))
    if identity is not None and any(is_added):
        judge.doubts.forget(identity.identity_id)
    outcomes: list[Enrolled | Rejected] = []
    for position, (face, added) in enumerate(zip(faces, is_added, strict=True)):
        if position in judge.refused:
            outcomes.append(judge.refused[position])
        elif added and identity is not None:
            outcomes.append(Enrolled(face.label, identity, face.quality.overall, face.source))
        else:
            outcomes.append(judge.rejected(face, Reason.DUPLICATE, "the same photo twice"))
    return EnrolReport(tuple(outcomes))


def enroll_known(
    gallery: Gallery,
    target: Target,
    faces: Sequence[FaceCrop],
    *,
    similarity: SimilarityLimits,
    force: bool = False,
) -> Identity:
    """Enroll faces as `enroll_crops` does, and return the person they belong to.

    For naming a face from a camera: at least one crop must pass, or be enrolled already for that
    person.

    Raises:
        EnrolmentError: if no face passes the checks, with the reason of the first.
        GalleryBusyError, GalleryError: as `enroll_crops`.
    """
    report = enroll_crops(gallery, target, faces, similarity=similarity, force=force)
    if report.identity is not None:
        return report.identity
    if not report.refused and (known := present_target(gallery, target)) is not None:
        return known  # only duplicates
    reasons = report.refused or report.rejected
    detail = reasons[0].detail if reasons else "there is no crop of that face"
    raise EnrolmentError(f"cannot enroll {target.name}: {detail}")


def present_target(gallery: Gallery, target: Target) -> Identity | None:
    """Return the person that a target currently refers to; None if there is none, or erased."""
    if target.identity_id is None:
        return gallery.people.named(target.name)
    return gallery.people.present([target.identity_id]).get(target.identity_id)


def duplicate_fault(
    gallery: Gallery, source_sha256: str, identity: Identity | None
) -> tuple[Reason, str] | None:
    """Return why a photo that the person has already cannot be added, None if it can.

    Another person may have the same photo, of a group: their faces are compared.

    Args:
        gallery: to search.
        source_sha256: of the photo.
        identity: the person it is meant for, None for a new one.
    """
    if identity is not None:
        held = gallery.photos.of_source(source_sha256)
        if any(photo.identity_id == identity.identity_id for photo, _ in held):
            return Reason.DUPLICATE, "enrolled already"
    return None


class _Judge:
    """Selects the faces of one call to add; `choose` runs in the gallery's transaction."""

    def __init__(
        self,
        gallery: Gallery,
        target: Target,
        faces: Sequence[FaceCrop],
        limits: tuple[SimilarityLimits, EnrolLimits],
        *,
        force: bool,
    ) -> None:
        self.refused: dict[int, Rejected] = {}
        self._gallery = gallery
        self._faces = faces
        self._similarity, self._limits = limits
        self._force = force
        self._name = target.name
        self.doubts = Doubts()

    def choose(self, identity: Identity | None) -> list[int]:
        self.refused = {}
        if identity is not None:
            self._name = identity.name
        open_ones = []
        for position, face in enumerate(self._faces):
            fault = None if self._force else self._fault(face)
            fault = fault or duplicate_fault(self._gallery, face.source, identity)
            if fault is None:
                open_ones.append(position)
            else:
                self.refused[position] = self.rejected(face, *fault)
        if not self._force:
            self._compare(identity, open_ones)
        return [position for position in open_ones if position not in self.refused]

    def _fault(self, face: FaceCrop) -> tuple[Reason, str] | None:
        if fault := quality_fault(face.quality, self._limits):
            return fault
        if face.mirror_similarity < self._similarity.min_mirror:
            return (
                Reason.UNCLEAR,
                "the face is too noisy or damaged to be recognized by: take a clearer photo",
            )
        return None

    def rejected(self, face: FaceCrop, reason: Reason, detail: str) -> Rejected:
        return Rejected(face.label, self._name, reason, detail)

    def _compare(self, identity: Identity | None, positions: Sequence[int]) -> None:
        """Reject faces similar to another person, or not similar to the person's other photos."""
        if not positions:
            return
        faces = [self._faces[position] for position in positions]
        embeddings = np.stack([face.embedding for face in faces])
        least = self._similarity.min_own
        held = np.empty((0, embeddings.shape[1]), np.float32)
        if identity is not None:
            held = self._gallery.photos.embeddings(identity.identity_id)
        own = own_similarities(
            embeddings, held, np.array([face.quality.overall for face in faces]), least
        )
        too_alike = self._similarity.other_among(self._gallery.people.count())
        own_id = None if identity is None else identity.identity_id
        unlike = []
        found = self._gallery.ranked(embeddings, k=2)
        if not found.is_whole:
            raise GalleryUnreachableError(
                f"nobody is enrolled now, since they may be somebody already: "
                f"{self._gallery.unsearched() or 'a part of the people was not searched'}"
            )
        for i, ranked in enumerate(found.matches):
            others = [m for m in ranked if m.identity.identity_id != own_id]
            if (
                others
                and others[0].similarity >= too_alike
                and (not len(held) or others[0].similarity > own[i])
            ):
                self.refused[positions[i]] = self.rejected(
                    faces[i],
                    Reason.OTHER_PERSON,
                    f"looks like {others[0].identity.name} (similarity {others[0].similarity:.2f})",
                )
            elif own[i] < least:
                unlike.append(i)
        if not unlike:
            return
        in_doubt = ""
        if own_id is not None and len(held):
            n_alike = self.doubts.refuse(own_id, [embeddings[i] for i in unlike], least=least)
            in_doubt = hint(n_alike, len(held), self._name)
        for i in unlike:
            self.refused[positions[i]] = self.rejected(
                faces[i],
                Reason.UNLIKE_OTHERS,
                f"unlike the other photos of {self._name} (similarity {own[i]:.2f}){in_doubt}",
            )
