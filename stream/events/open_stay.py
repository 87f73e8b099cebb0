"""A stay whose machine ended before it could write the exit."""

from dataclasses import dataclass

from gallery import Identity, Match
from stream.frames import Event, EventKind


@dataclass(frozen=True, slots=True)
class OpenStay:
    """Somebody who has entered and not left.

    Attributes:
        camera: its name.
        run, track_number: of the stay.
        seen_at: its last event, seconds since 1970.
        identity_id, name, similarity: who it was; None for a stranger.
    """

    camera: str
    run: str
    track_number: int
    seen_at: float
    identity_id: str | None
    name: str | None
    similarity: float | None

    def exit_at(self, at: float) -> Event:
        """Return the exit; `at` in seconds, monotonic clock."""
        match = None
        if self.identity_id is not None:
            match = Match(Identity(self.identity_id, self.name or ""), self.similarity or 0.0)
        track = f"{self.run}-{self.track_number}"
        return Event(EventKind.EXIT, self.camera, at, track, match, at, None)
