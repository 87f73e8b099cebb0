"""Visitors as JSON."""

from typing_extensions import TypedDict

from stream.visitors.tables import Seen, Visitor


class MergedJson(TypedDict):
    """A visitor that was merged into another one: when, null by an earlier version, and how.

    `similarity` is the average cosine by which they were merged without a person; null where a
    person merged them.
    """

    visitor_id: str
    name: str
    at: str | None
    similarity: float | None


class VisitorJson(TypedDict):
    """An unknown person who may come again; times are ISO 8601 in UTC.

    `visit_count` is the number of stays, `sightings` that of the kept tracks. A provisional visitor
    was seen too briefly to be sure that it is a person of its own. `crop_id` is the sighting with
    the best crop. `merged` are the ids that were merged into it, the latest last, and `merges` says
    when and how.
    """

    visitor_id: str
    number: int
    name: str
    visit_count: int
    sightings: int
    cameras: list[str]
    first_seen: str
    last_seen: str
    is_ignored: bool
    is_provisional: bool
    crop_id: int | None
    merged: list[str]
    merges: list[MergedJson]


class SeenJson(TypedDict):
    """One sighting of a visitor."""

    sighting_id: int
    event_id: int
    camera: str
    began: str
    ended: str
    has_crop: bool


class WholeVisitorJson(VisitorJson):
    """A visitor with its newest sightings."""

    seen: list[SeenJson]


class VisitorsJson(TypedDict):
    """Visitors, the last seen first; `cursor` asks for the rest, null at the end."""

    visitors: list[VisitorJson]
    cursor: int | None
    total: int
    enabled: bool


class ManyVisitorsJson(TypedDict):
    """Some visitors."""

    visitors: list[VisitorJson]


class ErasedVisitorsJson(TypedDict):
    """How many visitors were erased."""

    erased: int


class ProposalJson(TypedDict):
    """Two visitors that may be one person, with the cosine by which they are similar."""

    proposal_id: int
    similarity: float
    visitors: list[VisitorJson]


class ProposalsJson(TypedDict):
    """Proposals, the likeliest first."""

    proposals: list[ProposalJson]


class AnsweredJson(TypedDict):
    """The merged visitor; null where they are two people."""

    visitor: VisitorJson | None


class VisitorSettingsJson(TypedDict):
    """Whether visitors are kept, and for how many days after they were last seen."""

    enabled: bool
    keep_days: float


def visitor_json(visitor: Visitor) -> VisitorJson:
    """Return a visitor as JSON."""
    return {
        "visitor_id": visitor.visitor_id,
        "number": visitor.number,
        "name": visitor.name,
        "visit_count": visitor.visit_count,
        "sightings": visitor.sightings,
        "cameras": list(visitor.cameras),
        "first_seen": visitor.first_seen,
        "last_seen": visitor.last_seen,
        "is_ignored": visitor.is_ignored,
        "is_provisional": visitor.is_provisional,
        "crop_id": visitor.crop_id,
        "merged": [each.visitor_id for each in visitor.merged],
        "merges": [
            {
                "visitor_id": each.visitor_id,
                "name": f"Visitor {each.number}",
                "at": each.at,
                "similarity": None if each.similarity is None else round(each.similarity, 3),
            }
            for each in visitor.merged
        ],
    }


def whole_visitor_json(visitor: Visitor, seen: list[Seen]) -> WholeVisitorJson:
    """Return a visitor with its sightings as JSON."""
    return {
        **visitor_json(visitor),
        "seen": [
            {
                "sighting_id": each.sighting_id,
                "event_id": each.event_id,
                "camera": each.camera,
                "began": each.began,
                "ended": each.ended,
                "has_crop": True,
            }
            for each in seen
        ],
    }
