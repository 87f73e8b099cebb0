"""Faces as JSON: in view of a camera, in an uploaded photo, and in the files of a command.

Positions are in pixels with two decimals, scores have four, ages in years one, and similarities
(cosine, -1 to 1) six, about the precision of float32.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired

from typing_extensions import TypedDict  # pydantic accepts the standard one from Python 3.12 on

if TYPE_CHECKING:  # `facewire detect` needs neither a gallery nor a camera
    import numpy as np
    from numpy.typing import NDArray

    from gallery import Match
    from recognizer import Face
    from stream.frames import FrameResult, Track


class MatchJson(TypedDict):
    """Who a face is."""

    name: str
    similarity: float
    identity_id: str


class FaceJson(TypedDict):
    """One face of an image, in its pixels; `gender` and `age` are null without their model."""

    box: list[float]
    score: float
    landmarks: list[list[float]]
    gender: str | None
    age: float | None


class IdentifiedFaceJson(FaceJson):
    """A face and who it is; `match` is null for a stranger.

    `candidates` are the most similar people, best first, as many as were asked for; they are not
    matches.
    """

    match: MatchJson | None
    candidates: list[MatchJson]


class IdentifiedJson(TypedDict):
    """The faces of an uploaded photo.

    `error`, of one among several, says why it is unreadable; `incomplete` why a part of the people
    was not searched: shards of a cluster that do not answer.
    """

    image: str
    faces: list[IdentifiedFaceJson]
    error: NotRequired[str]
    incomplete: NotRequired[str]


class TrackJson(TypedDict):
    """One face in view; `name` is null while nobody is recognized.

    `zones` are those of the camera's zones that it is in now.
    """

    track_id: str
    box: list[float]
    state: str
    name: str | None
    identity_id: str | None
    similarity: float | None
    age_s: float
    zones: list[str]


class TracksJson(TypedDict):
    """The faces in a camera's last frame, in its pixels."""

    camera: str
    seq: int
    width: int
    height: int
    tracks: list[TrackJson]


def tracks_json(camera: str, result: "FrameResult | None") -> TracksJson:
    """Return the faces of a camera's last frame as JSON; empty before its first."""
    if result is None:
        return {"camera": camera, "seq": -1, "width": 0, "height": 0, "tracks": []}
    height, width = result.frame.size
    return {
        "camera": camera,
        "seq": result.frame.seq,
        "width": width,
        "height": height,
        "tracks": [track_json(track) for track in result.tracks],
    }


def track_json(track: "Track") -> TrackJson:
    """Return a face in view as JSON."""
    who = None if track.match is None else match_json(track.match)
    return {
        "track_id": track.track_id,
        "box": position(track.box),
        "state": str(track.state),
        "name": who and who["name"],
        "identity_id": who and who["identity_id"],
        "similarity": who and who["similarity"],
        "age_s": round(track.last_seen - track.first_seen, 2),
        "zones": list(track.zones),
    }


def face_json(face: "Face") -> FaceJson:
    """Return a face of an image as JSON."""
    return {
        "box": position(face.box),
        "score": round(face.score, 4),
        "landmarks": [position(point) for point in face.landmarks],
        "gender": face.gender,
        "age": None if face.age is None else round(face.age, 1),
    }


def match_json(match: "Match") -> MatchJson:
    """Return a match or candidate as JSON."""
    return {
        "name": match.identity.name,
        "similarity": similarity(match.similarity),
        "identity_id": match.identity.identity_id,
    }


def identified_json(
    image: str,
    faces: "Sequence[Face]",
    matches: "Sequence[Match | None]",
    candidates: "Sequence[Sequence[Match]]",
    incomplete: str = "",
) -> IdentifiedJson:
    """Return the faces of an image and their identities as JSON.

    Args:
        image: its name in the answer.
        faces: its faces.
        matches: per face, None for a stranger.
        candidates: per face, the most similar people, best first.
        incomplete: why a part of the people was not searched; empty if all were.
    """
    document: IdentifiedJson = {
        "image": image,
        "faces": [
            {
                **face_json(face),
                "match": None if match is None else match_json(match),
                "candidates": [match_json(each) for each in ranked],
            }
            for face, match, ranked in zip(faces, matches, candidates, strict=True)
        ],
    }
    if incomplete:
        document["incomplete"] = incomplete
    return document


def similarity(cosine: float) -> float:
    """Return a cosine, rounded for JSON."""
    return round(cosine, 6)


def position(values: "NDArray[np.float32]") -> list[float]:
    """Return coordinates in pixels, rounded for JSON."""
    return [round(float(value), 2) for value in values]
