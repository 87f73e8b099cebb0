"""Events as JSON."""

from typing_extensions import TypedDict

from stream.events.log import LoggedEvent
from stream.redaction import redact
from stream.schemas.faces import similarity


class EventJson(TypedDict):
    """Something that happened; `at` is ISO 8601 in UTC.

    `track_id` is the track by which its person came into view: the same for all events of their
    stay, and never another face's, in no run of the service. A person whom the gallery does not
    know has a `name` and no `identity_id`. `previous_name` is who a renamed track was taken for,
    null for a stranger. Where visitors are kept, a stranger has a
    `visitor_id`, is called `visitor`, such as "Visitor 12", and has come `visit_count` times, 1 for
    the first, which an `exit` does not say. `zones` are those that the person has entered in this
    stay so far, in that order; the last of an event of the kind zone is the one that was entered
    just now.
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
    visitor_id: str | None
    visitor: str | None
    visit_count: int | None
    zones: list[str]


class EventsJson(TypedDict):
    """Events, newest first; `cursor` asks for the older ones, null at the end."""

    events: list[EventJson]
    cursor: int | None


def event_json(event: LoggedEvent) -> EventJson:
    """Return a logged event as JSON."""
    return {
        "id": event.id,
        "kind": str(event.kind),
        "camera": event.camera,
        "at": event.at,
        "track_id": event.track_id,
        "identity_id": event.identity_id,
        "name": event.name,
        "similarity": None if event.similarity is None else similarity(event.similarity),
        "previous_name": event.previous_name,
        "detail": redact(event.detail),  # logs of former versions contain URLs
        "has_crop": event.has_crop,
        "visitor_id": event.visitor_id,
        "visitor": event.visitor,
        "visit_count": event.visit_count,
        "zones": list(event.zones),
    }
