"""People, their photos, and the outcome of new photos, as JSON."""

from typing_extensions import TypedDict

from gallery import Identity, IdentitySummary, Photo
from stream.enrollment.enrollment import EnrolReport


class IdentityJson(TypedDict):
    """One person."""

    identity_id: str
    name: str


class PersonJson(IdentityJson):
    """One person as a list shows it; `created_at` is Unix time in seconds."""

    n_photos: int
    created_at: float
    notes: str


class PhotoJson(TypedDict):
    """One enrolled photo."""

    photo_id: int
    quality: float
    model_id: str
    created_at: float
    has_crop: bool


class WholePersonJson(IdentityJson):
    """One person with everything that is kept of them."""

    n_events: int
    photos: list[PhotoJson]


class EnrolledJson(TypedDict):
    """A photo that was added."""

    image: str
    name: str
    quality: float


class RejectedJson(TypedDict):
    """A photo that was not added: a reason for programs, a detail for people."""

    image: str
    reason: str
    detail: str


class EnrolJson(TypedDict):
    """What became of each photo; `identity` is null where none was added."""

    identity: IdentityJson | None
    enrolled: list[EnrolledJson]
    rejected: list[RejectedJson]


def identity_json(identity: Identity) -> IdentityJson:
    """Return a person as JSON."""
    return {"identity_id": identity.identity_id, "name": identity.name}


def person_json(summary: IdentitySummary) -> PersonJson:
    """Return a person of a list as JSON."""
    return {
        "identity_id": summary.identity.identity_id,
        "name": summary.identity.name,
        "n_photos": summary.n_photos,
        "created_at": round(summary.created_at, 3),
        "notes": summary.notes,
    }


def photo_json(photo: Photo) -> PhotoJson:
    """Return an enrolled photo as JSON."""
    return {
        "photo_id": photo.photo_id,
        "quality": round(photo.quality, 3),
        "model_id": photo.model_id,
        "created_at": round(photo.created_at, 3),
        "has_crop": photo.has_crop,
    }


def enrol_json(report: EnrolReport) -> EnrolJson:
    """Return the outcome of one person's photos as JSON."""
    return {
        "identity": None if report.identity is None else identity_json(report.identity),
        "enrolled": [
            {"image": each.label, "name": each.identity.name, "quality": round(each.quality, 3)}
            for each in report.enrolled
        ],
        "rejected": [
            {"image": each.label, "reason": str(each.reason), "detail": each.detail}
            for each in report.rejected
        ],
    }
