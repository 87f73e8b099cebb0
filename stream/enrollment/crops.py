"""Adding people from aligned faces: the one checked way into a gallery.

Photos, uploads, live tracks and past events all come here once their face is a crop with an
embedding. The faces of one call are judged together, against what the gallery holds at the moment
of writing, and stored in the same transaction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery import ErasedIdentityError, Gallery, Identity, NewPhoto, Target, clean_name
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
        label: what to call it in the report, such as a photo's path.
        crop: (112, 112, 3) uint8 RGB, aligned.
        embedding: (D,) float32 of unit length, of the gallery's model.
        quality: measured where the face was found.
        source_sha256: of the file that it came from, 64 hexadecimal digits; of the crop itself
            where there is no file. The same source is enrolled once for a person.
    """

    label: str
    crop: Image
    embedding: Floats
    quality: Quality
    source_sha256: str = ""
    mirror_similarity: float = 1.0

    def as_photo(self, *, keep_crop: bool) -> NewPhoto:
        """Return it as the gallery takes it."""
        return NewPhoto(
            self.embedding,
            self.crop if keep_crop else None,
            self.source,
            self.quality.overall,
        )

    @property
    def source(self) -> str:
        """The hash by which the same photo is recognized."""
        return self.source_sha256 or hashlib.sha256(self.crop.tobytes()).hexdigest()


def embedded(
    recognizer: Recognizer, crops: Image
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the embeddings of crops, and how similar each is to that of its mirror image.

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
    """Return faces with how similar each is to its mirror image."""
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
        """The rejected photos without those that were enrolled already."""
        return tuple(r for r in self.rejected if r.reason is not Reason.DUPLICATE)

    @property
    def identity(self) -> Identity | None:
        """Whose the photos are, by the last one that was added; None where none was."""
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
    """Add faces to one person: those that are good enough, the person's, and new.

    Checks and writing are one transaction: whoever changes the gallery meanwhile, in whatever
    process, does so before or after. Blocks while another process writes, up to the gallery's
    limit: never call it in the recognition thread.

    Args:
        gallery: where to.
        target: whose they are: by id a person who exists, who is followed through renames and
            merges; by name a person who may be new.
        faces: judged together; those of one person from one occasion.
        similarity: of the gallery's model, see `stream.enrollment.naming.limits_for`.
        limits: what a photo must be like; None for the defaults.
        force: add it even if it is poor or looks like another person, such as a twin.
        keep_crops: store the crops, which another model can embed again.
        doubts: remembers who was refused before; None for the faces of this call alone.

    Returns:
        An outcome for each face. Where the person was erased meanwhile all are rejected.

    Raises:
        ValueError: if the target's name is none.
        GalleryBusyError: if another process holds the gallery; nothing is added.
        GalleryError: if the gallery cannot take them; nothing is added.
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
            outcomes.append(Enrolled(face.label, identity, face.quality.overall))
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
    """Add faces as `enroll_crops`, and return whose they are now.

    For who names a face that a camera saw: at least one crop is needed, and one that the person
    has already is as good.

    Raises:
        EnrolmentError: if no face passes the checks; says why of the first.
        GalleryBusyError, GalleryError: as `enroll_crops`.
    """
    report = enroll_crops(gallery, target, faces, similarity=similarity, force=force)
    if report.identity is not None:
        return report.identity
    if not report.refused and (known := present_target(gallery, target)) is not None:
        return known  # none but duplicates
    reasons = report.refused or report.rejected
    detail = reasons[0].detail if reasons else "there is no crop of that face"
    raise EnrolmentError(f"cannot enroll {target.name}: {detail}")


def present_target(gallery: Gallery, target: Target) -> Identity | None:
    """Return whom a target means now; None where that is nobody, or nobody any more."""
    if target.identity_id is None:
        return gallery.people.named(target.name)
    return gallery.people.present([target.identity_id]).get(target.identity_id)


def holder_fault(
    gallery: Gallery, source_sha256: str, identity: Identity | None, *, force: bool
) -> tuple[Reason, str] | None:
    """Return why a photo cannot be added because somebody has it already, None where it can.

    Args:
        gallery: who has it.
        source_sha256: of the photo.
        identity: whose it is to be, None for somebody new.
        force: take a photo that is another person's, too.
    """
    holders = gallery.photos.of_source(source_sha256)
    if identity is not None and any(p.identity_id == identity.identity_id for p, _ in holders):
        return Reason.DUPLICATE, "enrolled already"
    if holders and not force:
        return Reason.OTHER_PERSON, f"the same photo is {holders[0][1]}'s"
    return None


class _Judge:
    """Decides which faces of one call are added; `choose` runs in the gallery's transaction."""

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
            fault = fault or holder_fault(self._gallery, face.source, identity, force=self._force)
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
        """Refuse who looks like another person, or unlike the rest of their own photos."""
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
        for i, ranked in enumerate(self._gallery.best(embeddings, k=2)):
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
