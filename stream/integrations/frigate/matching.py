"""Which of our tracks is which person of Frigate. Pure: time is an argument.

A face belongs to the person whose box holds it, at about the same time. Where boxes overlap, it
belongs to the one above whose middle it is, as heads are. A track that was matched once keeps its
person, so that it may get its name later.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.integrations.frigate.messages import PersonEvent

Box = tuple[float, float, float, float]

HEAD = 0.12
"""Where the middle of a face is below the top of a person's box, of its height: standing people's
heads are an eighth of their height."""

INSIDE = 0.5
"""Part of a face's area inside of the person's box."""

MAX_SAMPLES = 256
"""Frames with faces kept of a camera: Frigate's messages come later than its frames."""

MAX_EVENTS = 200
"""People followed at one time; the oldest is forgotten first."""

ENDED_S = 30.0
"""How long a name may come after the person has left, seconds."""

SILENT_S = 600.0
"""How long without a message until an event counts as ended, whose last message was lost."""

MAX_TRACKS = 32
"""Tracks of one person."""

MAX_FACES = 4096
"""Tracks whose names are kept."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in one of our frames.

    Attributes:
        track_id: of its track.
        box: x1, y1, x2, y2, each of 0 to 1 of the frame.
        name: of the person; empty if not known.
        similarity: of the match, cosine; 0 if not known.
    """

    track_id: str
    box: Box
    name: str = ""
    similarity: float = 0.0


@dataclass(frozen=True, slots=True)
class Named:
    """The name that an event should have.

    Attributes:
        event_id: of Frigate.
        camera: Frigate's name of it.
        name: of the person.
        similarity: of the match, cosine.
    """

    event_id: str
    camera: str
    name: str
    similarity: float


@dataclass(slots=True)
class _Sample:
    at: float
    faces: Sequence[Face]


@dataclass(slots=True)
class _Event:
    """A person whom Frigate follows.

    Attributes:
        seen: the newest message.
        camera: our name of its camera.
        box: of the person, in parts of our frame.
        heard_at: when that came, seconds since 1970.
        tracks: how often each of our tracks was in its box.
        name, similarity, track_id: as last returned.
    """

    seen: PersonEvent
    camera: str
    box: Box
    heard_at: float
    tracks: Counter[str] = field(default_factory=Counter)
    name: str = ""
    similarity: float = 0.0
    track_id: str = ""


class Matcher:
    """Matches tracks of all cameras to Frigate's events.

    Args:
        within_s: longest time between our frame and Frigate's.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._samples: dict[str, deque[_Sample]] = {}
        self._events: dict[str, _Event] = {}
        self._faces: dict[str, Face] = {}

    @property
    def n_events(self) -> int:
        """Number of people who are followed."""
        return len(self._events)

    def receive(self, seen: PersonEvent, camera: str, box: Box, now: float) -> None:
        """Take a message of Frigate.

        Args:
            seen: the message.
            camera: our name of its camera.
            box: of the person, in parts of our frame.
            now: seconds since 1970.
        """
        event = self._events.pop(seen.event_id, None)
        if event is None:
            event = _Event(seen, camera, box, now)
        elif seen.at >= event.seen.at or seen.is_over:
            event.seen, event.camera, event.box, event.heard_at = seen, camera, box, now
        self._events[seen.event_id] = event
        while len(self._events) > MAX_EVENTS:
            del self._events[next(iter(self._events))]
        for sample in self._samples.get(camera, ()):
            self._match(camera, sample, only=event)

    def see(self, camera: str, at: float, faces: Sequence[Face]) -> None:
        """Take one of our frames.

        Args:
            camera: our name of it.
            at: seconds since 1970, of the frame.
            faces: in it.
        """
        if not faces:
            return
        for face in faces:
            self._faces.pop(face.track_id, None)
            self._faces[face.track_id] = face
        while len(self._faces) > MAX_FACES:
            del self._faces[next(iter(self._faces))]
        sample = _Sample(at, faces)
        self._samples.setdefault(camera, deque(maxlen=MAX_SAMPLES)).append(sample)
        self._match(camera, sample)

    def names(self, now: float) -> list[Named]:
        """Return the names that are new or better, and forget events that ended.

        A name is better if its track decided anew, or if another track's similarity is higher.
        """
        self._forget(now)
        owners = self._owners()
        found = []
        for event in self._events.values():
            own = [
                face
                for track in event.tracks
                if owners[track] is event and (face := self._faces.get(track)) and face.name
            ]
            best = max(own, key=lambda face: face.similarity, default=None)
            same = next((face for face in own if face.track_id == event.track_id), None)
            if same is not None and same.name != event.name:
                best = same  # its track decided anew, so that the former name is wrong
            elif best is None or best.name == event.name or best.similarity <= event.similarity:
                continue
            event.name, event.similarity, event.track_id = (
                best.name,
                best.similarity,
                best.track_id,
            )
            found.append(Named(event.seen.event_id, event.seen.camera, best.name, best.similarity))
        return found

    def _owners(self) -> dict[str, _Event]:
        """Return the event in whose box each track was most often."""
        owners: dict[str, _Event] = {}
        for event in self._events.values():
            for track, n in event.tracks.items():
                if track not in owners or n > owners[track].tracks[track]:
                    owners[track] = event
        return owners

    def _match(self, camera: str, sample: _Sample, *, only: _Event | None = None) -> None:
        """Match the faces of a frame to the people who were there then."""
        events = [
            event
            for event in self._events.values()
            if event.camera == camera and self._is_of(event, sample.at)
        ]
        pairs = sorted(
            (cost, index, face.track_id)
            for index, event in enumerate(events)
            for face in sample.faces
            if (cost := _distance(face.box, event.box)) is not None
        )
        taken: set[int] = set()
        matched: set[str] = set()
        for _, index, track in pairs:
            event = events[index]
            if index in taken or track in matched:
                continue
            taken.add(index)
            matched.add(track)
            has_room = track in event.tracks or len(event.tracks) < MAX_TRACKS
            if has_room and (only is None or event is only):
                event.tracks[track] += 1

    def _is_of(self, event: _Event, at: float) -> bool:
        """Return whether a frame shows the person where the newest message says."""
        since_s = at - event.seen.at
        if event.seen.is_stationary and not event.seen.is_over:
            return since_s >= -self._within_s
        return abs(since_s) <= self._within_s

    def _forget(self, now: float) -> None:
        for event_id, event in list(self._events.items()):
            longest_s = ENDED_S if event.seen.is_over else SILENT_S
            if now - event.heard_at > longest_s:
                del self._events[event_id]


def _distance(face: Box, person: Box) -> float | None:
    """Return how far a face is from where the person's head should be; None if outside.

    In widths of the person's box.
    """
    width, height = person[2] - person[0], person[3] - person[1]
    left, top = max(face[0], person[0]), max(face[1], person[1])
    right, bottom = min(face[2], person[2]), min(face[3], person[3])
    area = (face[2] - face[0]) * (face[3] - face[1])
    if right <= left or bottom <= top or (right - left) * (bottom - top) < INSIDE * area:
        return None
    off_x = (face[0] + face[2] - person[0] - person[2]) / 2
    off_y = (face[1] + face[3]) / 2 - (person[1] + HEAD * height)
    return math.hypot(off_x, off_y) / width


def rotated(box: Box, degrees: int) -> Box:
    """Return a box in parts of a frame that is rotated clockwise.

    Args:
        box: x1, y1, x2, y2, each of 0 to 1 of the frame before.
        degrees: 0, 90, 180 or 270.
    """
    x1, y1, x2, y2 = box
    for _ in range(degrees // 90):
        x1, y1, x2, y2 = 1 - y2, x1, 1 - y1, x2
    return x1, y1, x2, y2
