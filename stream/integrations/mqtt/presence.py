"""Who is in view of a camera, from its tracks, steady enough to be published."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from stream.frames import Track, TrackState
from stream.integrations.mqtt.payloads import PersonInView
from stream.schemas.faces import similarity


def iso(wall_at: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(wall_at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class InView:
    """Who is in view; `at` is when that last changed, ISO 8601 in UTC."""

    people: tuple[PersonInView, ...]
    n_unknown: int
    count: int
    at: str


class CameraPresence:
    """The faces in view of one camera: those of its last frames, so that a missed one is nothing.

    Args:
        absence_s: seconds without a face until it counts as gone.
        is_ignored: whether a stay is of an ignored visitor, who does not count.
        wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        *,
        absence_s: float,
        is_ignored: Callable[[str], bool],
        wall_clock: Callable[[], float],
    ) -> None:
        self._absence_s = absence_s
        self._is_ignored = is_ignored
        self._wall_clock = wall_clock
        self._tracks: dict[str, tuple[Track, float]] = {}
        self._zones: dict[str, float] = {}
        self._shown = InView((), 0, 0, iso(wall_clock()))

    @property
    def tracks(self) -> list[Track]:
        """The faces in view."""
        return [track for track, _ in self._tracks.values()]

    @property
    def zones(self) -> Set[str]:
        """Names of the zones with a face in view; steady at their outlines, as at absences."""
        return self._zones.keys()

    def update(self, tracks: Sequence[Track] | None, now: float) -> InView:
        """Add the faces of the last frame.

        Args:
            tracks: of the frame; None while the camera has none, so that nobody is in view.
            now: seconds, monotonic clock of the tracks.

        Returns:
            Who is in view: the same object until that changes.
        """
        if tracks is None:
            self._tracks.clear()
            self._zones.clear()
        for track in tracks or ():
            self._tracks[track.track_id] = (track, now)
            if not self._is_left_out(track):
                self._zones.update(dict.fromkeys(track.zones, now))
        self._zones = {
            zone: seen for zone, seen in self._zones.items() if now - seen < self._absence_s
        }
        self._tracks = {
            key: (track, seen)
            for key, (track, seen) in self._tracks.items()
            if now - seen < self._absence_s
        }
        known: dict[str, PersonInView] = {}
        before = {person.identity_id: person for person in self._shown.people}
        n_unknown = count = 0
        for track in sorted(self.tracks, key=lambda track: track.first_seen):
            if track.match is None:
                if self._is_left_out(track):
                    continue
                n_unknown += track.state is TrackState.UNKNOWN
            else:
                identity = track.match.identity
                was = before.get(identity.identity_id)
                person = PersonInView(
                    identity_id=identity.identity_id,
                    name=identity.name,
                    similarity=similarity(track.match.similarity),
                    since=iso(self._wall_clock() - (now - track.first_seen)),
                    track_id=track.track_id,
                )
                # What changes at every frame is published as it was when the person came.
                known.setdefault(
                    identity.identity_id, person if was is None else replace(was, name=person.name)
                )
            count += 1
        people = tuple(sorted(known.values(), key=lambda person: (person.name, person.identity_id)))
        if (people, n_unknown, count) != (
            self._shown.people,
            self._shown.n_unknown,
            self._shown.count,
        ):
            self._shown = InView(people, n_unknown, count, iso(self._wall_clock()))
        return self._shown

    def _is_left_out(self, track: Track) -> bool:
        return track.match is None and self._is_ignored(track.stay)
