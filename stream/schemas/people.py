"""People, their photos, and the outcome of new photos, as JSON."""

import base64
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from gallery import Identity, IdentitySummary, Photo
from stream.enrollment.crops import Enrolled, Rejected
from stream.enrollment.enrollment import EnrolReport
from stream.schemas.faces import position


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
    """A photo that was added; `photo` is its position in the request, from 0."""

    image: str
    name: str
    quality: float
    photo: int
    photo_id: int | None


class ListedFaceJson(TypedDict):
    """A face of a rejected photo, which a second request can name by its index.

    `box` is in pixels of the photo of `size`, `fault` why this face alone would be refused, and
    `crop` the aligned face, 112x112, as the address of a JPEG.
    """

    index: int
    box: list[float]
    score: float
    quality: float
    fault: str | None
    crop: str


class RejectedJson(TypedDict):
    """A photo that was not added: a reason for programs, a detail for people.

    `photo` is its position in the request, from 0; `faces` are those in it, of which `face` was
    checked; none are listed of a photo that was not looked at.
    """

    image: str
    reason: str
    detail: str
    photo: int
    faces: list[ListedFaceJson]
    size: list[int] | None
    face: int | None


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


def enrol_json(report: EnrolReport, photo_ids: Mapping[str, int]) -> EnrolJson:
    """Return the outcome of one person's photos as JSON.

    Args:
        report: of the photos.
        photo_ids: of the person's enrolled photos, by the hash of the source.
    """
    answer: EnrolJson = {
        "identity": None if report.identity is None else identity_json(report.identity),
        "enrolled": [],
        "rejected": [],
    }
    for number, each in enumerate(report.outcomes):
        if isinstance(each, Enrolled):
            answer["enrolled"].append(
                {
                    "image": each.label,
                    "name": each.identity.name,
                    "quality": round(each.quality, 3),
                    "photo": number,
                    "photo_id": photo_ids.get(each.source_sha256),
                }
            )
        else:
            answer["rejected"].append(_rejected_json(each, number))
    return answer


def _rejected_json(rejected: Rejected, number: int) -> RejectedJson:
    seen = rejected.seen
    return {
        "image": rejected.label,
        "reason": str(rejected.reason),
        "detail": rejected.detail,
        "photo": number,
        "faces": [
            {
                "index": index,
                "box": position(np.array(face.box, np.float32)),
                "score": round(face.quality.score, 4),
                "quality": round(face.quality.overall, 3),
                "fault": face.fault or None,
                "crop": _data_url(face.crop),
            }
            for index, face in enumerate(seen.faces if seen else ())
        ],
        "size": list(seen.size) if seen else None,
        "face": seen.chosen if seen else None,
    }


def _data_url(crop: NDArray[np.uint8]) -> str:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
