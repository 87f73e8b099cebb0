"""Past events as they are read: the rows of the event log as values."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer import Quality
from stream.frames import EventKind

# A stay's later events are of whom its `unknown` event shows, whatever was merged or named since.
_OF_STAY = """coalesce(events.{0}, CASE WHEN events.kind IN ({1})
    AND events.name IS NULL AND events.identity_id IS NULL THEN (
        SELECT own.{0} FROM events AS own WHERE own.run = events.run
        AND own.track_number = events.track_number AND own.visitor_id IS NOT NULL
        ORDER BY own.id DESC LIMIT 1) END)"""
_VISITOR_ID = _OF_STAY.format("visitor_id", "'zone', 'exit'")
_VISIT_COUNT = _OF_STAY.format("visit_count", "'zone'")

COLUMNS = f"""
id, kind, camera, at, run || '-' || track_number, name,
CASE WHEN identity_id NOT IN (SELECT identity_id FROM detached) THEN identity_id END,
similarity, crop IS NOT NULL, was_known, previous_name, detail,
(SELECT root.visitor_id FROM visitors JOIN visitors AS root ON root.number = visitors.root
    WHERE visitors.visitor_id = {_VISITOR_ID}),
(SELECT 'Visitor ' || root FROM visitors WHERE visitors.visitor_id = {_VISITOR_ID}),
{_VISIT_COUNT}, zones
"""
"""What `logged` makes an event of. A person whom the gallery does not know has a name and no id."""

STRANGER = "unknown"
"""What the detail of a RENAMED event calls a stranger."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A stored event.

    Attributes:
        id: increases with every event, never reused.
        kind: of the event.
        camera: the camera's name.
        at: time, ISO 8601 in UTC with milliseconds.
        track_id: the track on which its person came into view, globally unique and the same for
            all events of the stay; None for camera events.
        name, identity_id, similarity: the person; None for strangers and camera events. A person
            not in the gallery has only a name, one named by hand no similarity.
        has_crop: whether `EventLog.crop_jpeg` has a thumbnail.
        previous_name: of RENAMED events: the earlier name of the track; None for a stranger and
            for an erased person.
        detail: one line for people; may be empty.
        visitor_id: of UNKNOWN events and the ZONE and EXIT events of their stay: the visitor, while
            they are kept; see `stream.visitors`.
        visitor: what that is called, such as "Visitor 12".
        visit_count: of UNKNOWN and ZONE events: its stays so far, 1 for the first.
        zones: names of the camera's zones that the person has entered in this stay so far, in that
            order; the last of a ZONE event is the one that was entered just now.
    """

    id: int
    kind: EventKind
    camera: str
    at: str
    track_id: str | None
    name: str | None
    identity_id: str | None
    similarity: float | None
    has_crop: bool
    previous_name: str | None
    detail: str
    visitor_id: str | None = None
    visitor: str | None = None
    visit_count: int | None = None
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LoggedFace:
    """The face of an event, for enrolling a person.

    Attributes:
        crop: (112, 112, 3) uint8 RGB, aligned.
        crop_sha256: of the crop before it was compressed, 64 hexadecimal digits.
        embedding: (D,) float32 of unit length; None if not stored, as by older versions.
        model_id: of the model that embedded it; empty if there is no embedding.
        quality: measured in the frame; None if not stored.
    """

    crop: NDArray[np.uint8]
    crop_sha256: str
    embedding: NDArray[np.float32] | None
    model_id: str
    quality: Quality | None


def logged(row: Sequence[Any]) -> LoggedEvent:
    """Return the event of a row of COLUMNS."""
    *fields, visitor_id, visitor, visit_count, zones = row
    event_id, kind, camera, at, *who, has_crop, was_known, previous_name, detail = fields
    if was_known is not None:
        previous = previous_name if was_known else STRANGER
        detail = f"was {previous}" if previous else ""
    track_id, name, identity_id, similarity = who
    return LoggedEvent(
        id=event_id,
        kind=EventKind(kind),
        camera=camera,
        at=_iso(at),
        track_id=track_id,
        name=name,
        identity_id=identity_id,
        similarity=similarity,
        has_crop=bool(has_crop),
        previous_name=previous_name,
        detail=detail,
        visitor_id=visitor_id,
        visitor=visitor,
        visit_count=visit_count if visitor_id is not None else None,
        zones=() if zones is None else tuple(json.loads(zones)),
    )


def stored_quality(text: str | None) -> Quality | None:
    """Return a stored quality; None if another version measured different values."""
    try:
        return None if text is None else Quality(**json.loads(text))
    except (TypeError, ValueError):
        return None


def _iso(wall_at: float) -> str:
    moment = datetime.fromtimestamp(wall_at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
