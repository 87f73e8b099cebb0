"""People in front of a camera: tracks in, debounced events out.

A person enters once, regardless of the number of their tracks: known people are matched by
identity, strangers by embedding. Pure: time is an argument, in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery import Identity, Match
from recognizer import Floats, Quality
from stream.frames import Event, EventKind, TrackState

GAP_S = 1.0
"""Longest time between two frames that counts as absence, seconds: slower cameras need more frames,
not more time, to report an exit."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One track in its present state.

    Attributes:
        track_id, first_seen, last_seen: of the track.
        state, match: its identity.
        template: (D,) float32 of unit length; None before it was embedded.
        crop: (112, 112, 3) uint8 RGB, its best one; None before it was embedded.
        embedding: (D,) float32 of unit length, of that crop; None where there is none.
        quality: of that crop, measured in its frame; None where there is none.
        stay: id of the track with which the person came into view, used in all events of the
            stay, which may have many tracks. Empty before it is known.
        zones: names of the zones that the track has entered, in that order; of a present person,
            those of the stay.
    """

    track_id: str
    first_seen: float
    last_seen: float
    state: TrackState
    match: Match | None
    template: Floats | None
    crop: NDArray[np.uint8] | None
    embedding: Floats | None = None
    quality: Quality | None = None
    stay: str = ""
    zones: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class _Person:
    """A person who is present, or was a moment ago."""

    seen: Seen
    is_announced: bool
    quiet_until: float
    has_left: bool = False

    def __post_init__(self) -> None:
        self.seen = replace(self.seen, stay=self.seen.stay or self.seen.track_id)

    def see(self, seen: Seen) -> None:
        """Update the person from a track; the stay and its zones remain."""
        self.seen = replace(seen, stay=self.seen.stay, zones=self.seen.zones)

    def depart(self) -> None:
        """End the stay: the zones from here on are of the next one."""
        self.is_announced, self.has_left = False, True
        self.seen = replace(self.seen, zones=())

    @property
    def identity_id(self) -> str | None:
        return None if self.seen.match is None else self.seen.match.identity.identity_id


class Presence:
    """The people in front of one camera.

    Args:
        camera: its name.
        confirm_s: how long a face is seen before it can enter.
        absence_s: how long it is not seen before it has left.
        camera_away_s: how long there are no frames before everybody has left; a shorter gap does
            not count as absence.
        cooldown_s: how long after leaving the same person does not enter again.
        same_face: similarity from which a stranger is the same as a moment ago.
    """

    def __init__(
        self,
        camera: str,
        *,
        confirm_s: float,
        absence_s: float,
        camera_away_s: float,
        cooldown_s: float,
        same_face: float,
    ) -> None:
        self._camera = camera
        self._confirm_s = confirm_s
        self._absence_s = absence_s
        self._camera_away_s = camera_away_s
        self._cooldown_s = cooldown_s
        self._same_face = same_face
        self._people: list[_Person] = []
        self._frame_at: float | None = None

    def update(self, tracks: Sequence[Seen], at: float) -> list[Event]:
        """Update from the tracks of a frame; return the events, in the order of the tracks."""
        self._skip_gap(at)
        events: list[Event] = []
        for seen in tracks:
            if seen.state is not TrackState.UNDECIDED:
                events += self._update_track(seen, at)
            elif (holder := self._holder(seen.track_id)) is not None:
                # Still present, though not identified yet.
                holder.seen = replace(holder.seen, last_seen=seen.last_seen)
                events += self._enter_zones(holder, seen.zones, at)
        return events + self._leave(at)

    def leave(self, at: float) -> list[Event]:
        """Return the exits at a camera without frames: of everybody, once the gap is too long.

        Before that there are no exits, since it is unknown who is present.
        """
        if self._frame_at is None or at - self._frame_at < self._camera_away_s:
            return []
        events = []
        for person in self._people:
            if person.is_announced:
                events.append(self._event(EventKind.EXIT, person.seen, at))
                person.depart()
                # They did not leave: those present when the camera returns enter at once.
                person.quiet_until = at
        return events

    def _skip_gap(self, at: float) -> None:
        """Do not count a time without frames as absence, since no person could be seen."""
        if self._frame_at is not None and (skipped_s := at - self._frame_at - GAP_S) > 0:
            for person in self._people:
                last_seen = person.seen.last_seen + skipped_s
                person.seen = replace(person.seen, last_seen=last_seen)
        self._frame_at = at

    def _leave(self, at: float) -> list[Event]:
        """Return the exits of those not seen for long enough."""
        events = []
        for person in list(self._people):
            away_s = at - person.seen.last_seen
            if person.is_announced and away_s >= self._absence_s:
                events.append(self._event(EventKind.EXIT, person.seen, at))
                person.depart()
                person.quiet_until = at + self._cooldown_s
            elif not person.is_announced and away_s >= self._absence_s and at >= person.quiet_until:
                self._people.remove(person)
        return events

    def stay(self, track_id: str) -> str:
        """Return the stay of a track whose person was announced; empty if not, or unknown."""
        holder = self._holder(track_id)
        is_known = holder is not None and (holder.is_announced or holder.has_left)
        return holder.seen.stay if holder is not None and is_known else ""

    def is_long(self, first_seen: float, last_seen: float) -> bool:
        """Return whether a face is in view for long enough to be announced."""
        return last_seen - first_seen >= self._confirm_s

    def rename_camera(self, camera: str) -> None:
        """Rename the camera, effective from the next event."""
        self._camera = camera

    def exits(self, at: float) -> list[Event]:
        """Return what the exits of everybody present would be now."""
        return [
            self._event(EventKind.EXIT, person.seen, at)
            for person in self._people
            if person.is_announced
        ]

    def end(self, at: float) -> list[Event]:
        """Return the exits of everybody present: the camera is removed, or the service stops."""
        events = self.exits(at)
        self._people.clear()
        return events

    def _update_track(self, seen: Seen, at: float) -> list[Event]:
        if at - seen.last_seen >= self._absence_s:
            return []  # a track that is about to be dropped: nobody is there
        holder = self._holder(seen.track_id)
        person = self._find(seen)
        if holder is not None and person is not holder and _is_other(holder.seen, seen):
            return self._rename(holder, person, seen, at)
        if person is None:
            person = _Person(seen, is_announced=False, quiet_until=seen.first_seen)
            self._people.append(person)
        elif seen.track_id != person.seen.track_id and seen.last_seen < person.seen.last_seen:
            return []  # another track of the same person that is not seen now
        if not person.is_announced and at - person.seen.last_seen >= self._absence_s:
            person.seen = replace(person.seen, zones=())  # of a return that was too brief to count
        person.see(seen)
        entered = self._enter_zones(person, seen.zones, at)
        if person.has_left and not person.is_announced and at < person.quiet_until:
            return []
        if person.is_announced or not self.is_long(seen.first_seen, seen.last_seen):
            return entered
        if person.has_left:  # another stay begins
            person.seen = replace(person.seen, stay=seen.track_id)
        person.is_announced, person.has_left = True, False
        kind = EventKind.ENTER if seen.match is not None else EventKind.UNKNOWN
        # A return within the cooldown is an entry when the cooldown ends.
        since = replace(person.seen, first_seen=max(seen.first_seen, person.quiet_until))
        return [self._event(kind, since, at)]

    def _enter_zones(self, person: _Person, zones: Sequence[str], at: float) -> list[Event]:
        """Add zones to a person's stay; an event for each new one if the stay was announced."""
        events = []
        for zone in zones:
            if zone not in person.seen.zones:
                person.seen = replace(person.seen, zones=(*person.seen.zones, zone))
                if person.is_announced:
                    events.append(self._event(EventKind.ZONE, person.seen, at))
        return events

    def _rename(
        self, holder: _Person, person: _Person | None, seen: Seen, at: float
    ) -> list[Event]:
        """Change the identity of a track; an event if the track had been announced."""
        previous = None if holder.seen.match is None else holder.seen.match.identity
        is_announced = holder.is_announced
        self._people.remove(holder)
        zones = tuple(dict.fromkeys((*holder.seen.zones, *seen.zones)))
        seen = replace(seen, stay=holder.seen.stay, zones=zones)
        if person is None:
            person = _Person(seen, is_announced=is_announced, quiet_until=seen.first_seen)
            self._people.append(person)
        person.see(seen)
        entered = self._enter_zones(person, zones, at)
        person.is_announced |= is_announced
        return [self._event(EventKind.RENAMED, seen, at, previous)] if is_announced else entered

    def _holder(self, track_id: str) -> _Person | None:
        """Return the person to whom the track belonged so far."""
        return next((p for p in self._people if p.seen.track_id == track_id), None)

    def _find(self, seen: Seen) -> _Person | None:
        """Return the person of the track, among those who are or were present."""
        if seen.match is not None:
            identity_id = seen.match.identity.identity_id
            return next((p for p in self._people if p.identity_id == identity_id), None)
        strangers = [p for p in self._people if p.seen.match is None]
        for person in strangers:
            if person.seen.track_id == seen.track_id:
                return person
        for person in strangers:
            if _similarity(person.seen.template, seen.template) >= self._same_face:
                return person
        return None

    def _event(
        self, kind: EventKind, seen: Seen, at: float, previous: Identity | None = None
    ) -> Event:
        return Event(
            kind=kind,
            camera=self._camera,
            at=at,
            track_id=seen.stay,
            match=seen.match,
            first_seen=seen.first_seen,
            crop=seen.crop,
            previous=previous,
            embedding=seen.embedding,
            quality=seen.quality,
            zones=seen.zones,
        )


def _is_other(before: Seen, now: Seen) -> bool:
    """Return whether a track's name changed; a person renamed in the gallery stays the same."""
    if before.match is None or now.match is None:
        return before.match is not now.match
    return before.match.identity.identity_id != now.match.identity.identity_id


def _similarity(first: Floats | None, second: Floats | None) -> float:
    return -1.0 if first is None or second is None else float(first @ second)
