"""Searches over past sightings as JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from stream.schemas.events import EventJson, event_json
from stream.schemas.faces import position, similarity

if TYPE_CHECKING:
    from stream.enrollment.searched_face import SearchedFace
    from stream.events.search import Found


class SearchedFaceJson(TypedDict):
    """The face of a photo that was searched for, in pixels of the photo; `quality` is in [0, 1]."""

    box: list[float]
    score: float
    quality: float


class UnsearchedFaceJson(TypedDict):
    """Another face of the photo; the only reason so far is `smaller`."""

    box: list[float]
    reason: str


class SearchMatchJson(TypedDict):
    """A stay that shows the face, by the event that says who it is."""

    event: EventJson
    similarity: float
    visitor_id: str | None


class SearchJson(TypedDict):
    """Past stays that show a face, most similar first; `searched_face` is null without a photo."""

    searched_face: SearchedFaceJson | None
    unsearched_faces: list[UnsearchedFaceJson]
    matches: list[SearchMatchJson]


class PastJson(TypedDict):
    """Past stays of strangers who look like a person; `since` is the first, ISO 8601 in UTC."""

    count: int
    since: str | None
    matches: list[SearchMatchJson]


def search_json(face: "SearchedFace | None", matches: "Sequence[Found]") -> SearchJson:
    """Return the answer to a search as JSON.

    Args:
        face: of the photo; None without a photo.
        matches: most similar first.
    """
    searched: SearchedFaceJson | None = None
    others: list[UnsearchedFaceJson] = []
    if face is not None:
        largest, *smaller = face.faces
        searched = {
            "box": position(largest.box),
            "score": round(largest.score, 4),
            "quality": round(face.quality, 3),
        }
        others = [{"box": position(each.box), "reason": "smaller"} for each in smaller]
    return {
        "searched_face": searched,
        "unsearched_faces": others,
        "matches": [match_json(each) for each in matches],
    }


def match_json(found: "Found") -> SearchMatchJson:
    """Return a stay that was found as JSON."""
    return {
        "event": event_json(found.event),
        "similarity": similarity(found.similarity),
        "visitor_id": found.visitor_id,
    }
