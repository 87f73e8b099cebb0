"""What the HTTP API and the WebSocket say, as JSON: the one place where results become dicts."""

from collections.abc import Sequence
from typing import NotRequired  # pydantic reads the standard one from Python 3.12 on only

import numpy as np
from numpy.typing import NDArray
from typing_extensions import (
    TypedDict,
)

from gallery import Identity, IdentitySummary, Match, Photo
from recognizer import Face
from stream.cameras.camera import CameraStatus
from stream.enrollment.enrollment import EnrolReport
from stream.events.log import LoggedEvent
from stream.frames import FrameResult, Track
from stream.redaction import redact


class CameraSettingsJson(TypedDict):
    """A camera's settings as PATCH /api/cameras/{camera} takes them; null for the default."""

    url: str
    rtsp_transport: str
    loop: bool
    target_fps: float | None
    min_face_px: int | None
    rotation: int
    region: tuple[float, float, float, float] | None
    open_timeout_s: float
    read_timeout_s: float
    frozen_after_s: float
    pixel_aspect: str
    deinterlace: str
    verify_tls: bool
    enabled: bool


class CameraJson(TypedDict):
    """One camera at one moment; `url` shows no secret of it, and to viewers nothing at all.

    `state` is connecting, live, frozen, failing, ended or off; `is_pushed` tells that a browser or
    encoder sends it.
    """

    name: str
    url: str
    state: str
    since_s: float
    reason: str
    width: int
    height: int
    fps_in: float
    fps_out: float
    dropped: int
    encoder_dropped: int
    viewers: int
    reconnects: int
    latency_p95_ms: float
    is_pushed: bool
    settings: CameraSettingsJson


class TrackJson(TypedDict):
    """One face in the picture; `name` is null while nobody is recognised."""

    track_id: str
    box: list[float]
    state: str
    name: str | None
    identity_id: str | None
    similarity: float | None
    age_s: float


class TracksJson(TypedDict):
    """The faces in a camera's last picture, in its pixels."""

    camera: str
    seq: int
    width: int
    height: int
    tracks: list[TrackJson]


class EventJson(TypedDict):
    """Something that happened; `at` is ISO 8601 in UTC.

    `track_id` is the track by which its person came into view: the same for all events of their
    stay, and never another face's, in no run of the service. A person whom the gallery does not
    know has a `name` and no `identity_id`. `previous_name` is who a renamed track was taken for,
    null for a stranger.
    """

    id: int
    kind: str
    camera: str
    at: str
    track_id: str | None
    identity_id: str | None
    name: str | None
    similarity: float | None
    previous_name: str | None
    detail: str
    has_crop: bool


class EventsJson(TypedDict):
    """Events, newest first; `cursor` asks for the older ones, null at the end."""

    events: list[EventJson]
    cursor: int | None


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


class MatchJson(TypedDict):
    """Who a face is."""

    name: str
    similarity: float
    identity_id: str


class IdentifiedFaceJson(TypedDict):
    """One face of an uploaded photo, in its pixels; `match` is null for a stranger.

    `candidates` are the most similar people, best first, as many as were asked for; they are not
    matches.
    """

    box: list[float]
    score: float
    landmarks: list[list[float]]
    gender: str | None
    age: float | None
    match: MatchJson | None
    candidates: list[MatchJson]


class IdentifiedJson(TypedDict):
    """The faces of an uploaded photo; `error`, of one among several, says why it is unreadable."""

    image: str
    faces: list[IdentifiedFaceJson]
    error: NotRequired[str]


def camera_json(status: CameraStatus, *, is_admin: bool) -> CameraJson:
    """Describe a camera; its URL, masked, is for administrators alone."""
    url = status.url if is_admin else ""
    return {
        "name": status.name,
        "url": url,
        "state": str(status.state),
        "since_s": round(status.since_s, 1),
        "reason": redact(status.reason),
        "width": status.width,
        "height": status.height,
        "fps_in": round(status.fps_in, 1),
        "fps_out": round(status.fps_out, 1),
        "dropped": status.dropped,
        "encoder_dropped": status.encoder_dropped,
        "viewers": status.viewers,
        "reconnects": status.reconnects,
        "latency_p95_ms": round(status.latency_ms.p95, 1),
        "is_pushed": status.is_pushed,
        "settings": {
            "url": url,
            "rtsp_transport": status.config.rtsp_transport,
            "loop": status.config.loop,
            "target_fps": status.config.target_fps,
            "min_face_px": status.config.min_face_px,
            "rotation": status.config.rotation,
            "region": status.config.region,
            "open_timeout_s": status.config.open_timeout_s,
            "read_timeout_s": status.config.read_timeout_s,
            "frozen_after_s": status.config.frozen_after_s,
            "pixel_aspect": status.config.pixel_aspect,
            "deinterlace": status.config.deinterlace,
            "verify_tls": status.config.verify_tls,
            "enabled": status.config.enabled,
        },
    }


def tracks_json(camera: str, result: FrameResult | None) -> TracksJson:
    """Describe the faces of a camera's last picture; none before its first."""
    if result is None:
        return {"camera": camera, "seq": -1, "width": 0, "height": 0, "tracks": []}
    height, width = result.frame.image.shape[:2]
    return {
        "camera": camera,
        "seq": result.frame.seq,
        "width": width,
        "height": height,
        "tracks": [_track_json(track) for track in result.tracks],
    }


def _track_json(track: Track) -> TrackJson:
    match = track.match
    return {
        "track_id": track.track_id,
        "box": _numbers(track.box, 1),
        "state": str(track.state),
        "name": match.identity.name if match else None,
        "identity_id": match.identity.identity_id if match else None,
        "similarity": round(match.similarity, 3) if match else None,
        "age_s": round(track.last_seen - track.first_seen, 2),
    }


def event_json(event: LoggedEvent) -> EventJson:
    """Describe a logged event."""
    return {
        "id": event.id,
        "kind": str(event.kind),
        "camera": event.camera,
        "at": event.at,
        "track_id": event.track_id,
        "identity_id": event.identity_id,
        "name": event.name,
        "similarity": None if event.similarity is None else round(event.similarity, 3),
        "previous_name": event.previous_name,
        "detail": redact(event.detail),  # logs of former versions hold URLs
        "has_crop": event.has_crop,
    }


def identity_json(identity: Identity) -> IdentityJson:
    """Describe a person."""
    return {"identity_id": identity.identity_id, "name": identity.name}


def person_json(summary: IdentitySummary) -> PersonJson:
    """Describe a person as a list shows it."""
    return {
        "identity_id": summary.identity.identity_id,
        "name": summary.identity.name,
        "n_photos": summary.n_photos,
        "created_at": round(summary.created_at, 3),
        "notes": summary.notes,
    }


def photo_json(photo: Photo) -> PhotoJson:
    """Describe an enrolled photo."""
    return {
        "photo_id": photo.photo_id,
        "quality": round(photo.quality, 3),
        "model_id": photo.model_id,
        "created_at": round(photo.created_at, 3),
        "has_crop": photo.has_crop,
    }


def enrol_json(report: EnrolReport) -> EnrolJson:
    """Describe what became of one person's photos."""
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


def identified_json(
    image: str,
    faces: Sequence[Face],
    matches: Sequence[Match | None],
    candidates: Sequence[Sequence[Match]],
) -> IdentifiedJson:
    """Describe the faces of a photo and who they are."""
    return {
        "image": image,
        "faces": [
            {
                "box": _numbers(face.box, 1),
                "score": round(face.score, 4),
                "landmarks": [_numbers(point, 1) for point in face.landmarks],
                "gender": face.gender,
                "age": None if face.age is None else round(face.age, 1),
                "match": _match_json(match) if match else None,
                "candidates": [_match_json(nearest) for nearest in ranked],
            }
            for face, match, ranked in zip(faces, matches, candidates, strict=True)
        ],
    }


def _match_json(match: Match) -> MatchJson:
    return {
        "name": match.identity.name,
        "similarity": round(match.similarity, 4),
        "identity_id": match.identity.identity_id,
    }


def _numbers(values: NDArray[np.float32], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
