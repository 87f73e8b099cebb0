"""Faces as JSON: in view of a camera, in an uploaded photo, and in the files of a command."""

from collections.abc import Sequence
from typing import NotRequired  # pydantic reads the standard one from Python 3.12 on only

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from gallery import Match
from recognizer import Face
from stream.frames import FrameResult, Track


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
