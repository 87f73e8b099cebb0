"""Per-camera state between ticks: tracks, their history, and the people present."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, FaceFlow, Floats, Followed, LiveScan
from stream.frames import Event, EventKind, Frame, Sighting, Track, TrackState
from stream.recognition.face_filter import Limits
from stream.recognition.gathering import Gathered
from stream.recognition.motion import Motion
from stream.recognition.mounting import Mounting
from stream.recognition.presence import Presence, Seen
from stream.recognition.track_memory import Memory, Shot
from stream.recognition.tracker import Appearance, Tracked, Tracker
from stream.visitors.assignment import MIN_SHOTS
from stream.zones import zones_at

RESCAN_AFTER_S = 0.08
"""Soonest scan after another, when a face is lost: two frames."""

GAP_S = 1.0
"""Time without a frame after which tracks end, since people have moved."""

SAME_SCENE = 0.35
"""Correlation of two frames below which they show different scenes. Measured frame to frame: 0.21
at most for cuts between dark scenes, 0.52 at least for large gestures filling the picture, 0.95
for people walking in front of a panning camera."""

NOISE = 4.0
"""Variance, gray levels squared, below which an image is flat and no two count as different."""

CUT_SAMPLES = 32
"""Points a side at which two frames are compared."""

SHOWN_LOST_S = 0.12
"""How long the box of a lost face stays: three frames, against flicker until the next scan."""

MAX_DEPARTED = 64
"""Number of ended tracks that can still be named."""


@dataclass(slots=True, eq=False)
class Watch:
    """State of one camera between ticks.

    Attributes:
        tracker: its faces.
        presence: its people.
        mounting: how they are turned.
        new_memory: creates the history of a new track.
        limits: which faces count.
        memories: histories of the present tracks, by track id.
        departed: histories of former tracks, oldest first.
        gathered: embeddings of the present tracks, by track id.
        at: seconds, its last frame.
        scanned_at: seconds, its last full scan.
        is_lost: a face was lost since then, or the scene changed.
        samples: the last frame's points less their mean, to notice a cut.
        size: the last frame's (height, width).
        motion: whether anything moved since the last full scan.
        live_scan: what was searched of its frames.
    """

    tracker: Tracker
    presence: Presence
    mounting: Mounting
    new_memory: Callable[[], Memory]
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    memories: dict[str, Memory] = field(default_factory=dict)
    departed: dict[str, Memory] = field(default_factory=dict)
    gathered: dict[str, Gathered] = field(default_factory=dict)
    at: float = float("-inf")
    scanned_at: float = float("-inf")
    is_lost: bool = False
    samples: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    size: tuple[int, int] = (0, 0)
    motion: Motion = field(default_factory=Motion)
    live_scan: LiveScan = field(default_factory=LiveScan)

    def prepare(self, frame: Frame) -> None:
        """Detect a cut, a gap or a changed frame size before faces are followed."""
        self.mounting.rotated(frame.rotation)
        size, samples = frame.size, samples_of(frame.luma[0])
        is_cut = (
            size != self.size
            or frame.captured_at - self.at > GAP_S
            or correlation(samples, self.samples) < SAME_SCENE
        )
        if is_cut:
            self.tracker.cut()
            self.is_lost = True
        self.samples, self.size, self.at = samples, size, frame.captured_at

    def is_due(self, frame: Frame, interval_s: float, still_interval_s: float) -> bool:
        """Return whether a scan is due: by the clock, or because a face was lost.

        Args:
            frame: the newest.
            interval_s: between two scans while something moves.
            still_interval_s: between two scans while nothing does.
        """
        since_s = frame.captured_at - self.scanned_at
        if self.is_lost:
            return since_s >= min(RESCAN_AFTER_S, interval_s)
        if since_s < interval_s:
            return False
        if self.live_scan.has_more:
            return True
        return since_s >= still_interval_s or not self.motion.is_still(frame.luma)

    def follow(
        self, found: Followed, at: float, flows: Sequence[FaceFlow | None] | None = None
    ) -> None:
        """Update the tracks with the followed faces; see `Tracker.follow`."""
        before = len(self.tracker.followed)
        outside = ~self.limits.holds(found.boxes, self.size)
        if outside.any():
            found = replace(found, is_lost=found.is_lost | outside)
        self.tracker.follow(found, at, flows)
        self.is_lost |= len(self.tracker.followed) < before

    def scanned(
        self, found: Detections, frame: Frame, appearance: Appearance
    ) -> list[tuple[Tracked, int]]:
        """Update the tracks with a full scan; see `Tracker.scan`."""
        at = frame.captured_at
        self.scanned_at, self.is_lost = at, False
        self.motion.scanned(frame.luma)
        pairs = self.tracker.scan(found, at, appearance)
        self.mounting.scanned([track for track, _ in pairs], at)
        return pairs

    def detach(self) -> None:
        """Give up the pipeline's functions, so that another process can take the state."""
        self.new_memory = _without_pipeline
        self.tracker.number_by(_without_pipeline)

    def attach(self, new_memory: Callable[[], Memory], new_id: Callable[[], str]) -> None:
        """Belong to a pipeline.

        Args:
            new_memory: creates the history of a new track.
            new_id: returns the id of a new track.
        """
        self.new_memory = new_memory
        self.tracker.number_by(new_id)

    @property
    def is_behind(self) -> bool:
        """Whether a face in view is waiting while others are embedded."""
        return any(
            not track.is_lost and self.remember(track).waits_since is not None
            for track in self.tracker.tracks
        )

    def memory(self, track_id: str) -> Memory | None:
        """Return the history of a track, present or departed."""
        return self.memories.get(track_id) or self.departed.get(track_id)

    def conclude(
        self, frame: Frame
    ) -> tuple[tuple[Track, ...], tuple[Event, ...], tuple[Sighting, ...]]:
        """Return the tracks, events and sightings of the frame, and store departed tracks."""
        at = frame.captured_at
        tracks = self.tracker.tracks
        self._place(tracks, at)
        ended = self._end_tracks({track.track_id for track in tracks}, frame.camera, at)
        shown = tuple(self._shown(track, at) for track in tracks if _is_shown(track, at))
        confirmed = [track for track in tracks if track.n_seen > 1]
        events = self.presence.update([self._seen(track) for track in confirmed], at)
        self._gather(confirmed)
        events = [self._with_sighting(event) for event in events]
        return shown, tuple(events), (*ended, *self._grown(frame))

    def _place(self, tracks: Sequence[Tracked], at: float) -> None:
        """Note the zones of the faces that this frame shows."""
        for track in tracks:
            if track.last_seen == at and not track.is_lost:
                zones = zones_at(self.limits.zones, track.box, self.size)
                self.remember(track).zones.update(zones, at)

    def end(self, camera: str, at: float) -> tuple[list[Event], list[Sighting]]:
        """Return the exits of everybody present, and the last sightings of all tracks.

        Args:
            camera: its name.
            at: seconds.
        """
        return self.presence.end(at), self._end_tracks(set(), camera, at)

    def _end_tracks(self, present: set[str], camera: str, at: float) -> list[Sighting]:
        """Store the histories of tracks that are not present; return their sightings.

        Those of nobody who was announced are left out, but for undecided ones: who came before may
        be recognized with fewer shots.
        """
        ended = []
        for track_id in self.memories.keys() - present:
            memory = self.departed[track_id] = self.memories.pop(track_id)
            gathered = self.gathered.pop(track_id, None)
            if gathered is None:
                continue
            is_open = memory.voter.state is TrackState.UNDECIDED and gathered.n_shots >= MIN_SHOTS
            if gathered.stay or is_open:
                ended.append(gathered.report(memory, camera=camera, at=at, is_over=True))
        while len(self.departed) > MAX_DEPARTED:
            del self.departed[next(iter(self.departed))]
        return [
            sighting
            for sighting in ended
            if sighting is not None
            and (sighting.is_announced or self.presence.is_long(sighting.began, sighting.ended))
        ]

    def look(self, track: Tracked, shot: Shot, at: float, *, value: float) -> None:
        """Add an embedded crop to a track.

        Args:
            track: as seen in the frame of the crop.
            shot: of its face.
            at: seconds, when the frame was captured.
            value: of the crop, see `shot_value`.
        """
        is_other = self.remember(track).look(shot, value, at)
        self.gather(track).add(shot, at, is_other=is_other)

    def gather(self, track: Tracked) -> Gathered:
        """Return what is gathered of a present track, created on first use."""
        gathered = self.gathered.get(track.track_id)
        if gathered is None:
            gathered = self.gathered[track.track_id] = Gathered(track)
        return gathered

    def _gather(self, tracks: Sequence[Tracked]) -> None:
        """Note the stays of the tracks, and which of them are in view together."""
        in_view = {track.track_id for track in tracks if not track.is_lost}
        for track_id, gathered in self.gathered.items():
            gathered.stay = self.presence.stay(track_id) or gathered.stay
            if len(in_view) > 1 and track_id in in_view:
                gathered.see_beside(in_view - {track_id})

    def _with_sighting(self, event: Event) -> Event:
        """Add the track to the event that announces it."""
        if event.kind in (EventKind.EXIT, EventKind.ZONE):
            return event
        for track_id, gathered in self.gathered.items():
            if gathered.stay == event.track_id and event.crop is self._best_crop(track_id):
                sighting = gathered.report(
                    self.memories[track_id], camera=event.camera, at=event.at, is_over=False
                )
                return replace(event, sighting=sighting)
        return event

    def _best_crop(self, track_id: str) -> NDArray[np.uint8] | None:
        memory = self.memories.get(track_id)
        return memory.shots[0].crop if memory is not None and memory.shots else None

    def _grown(self, frame: Frame) -> list[Sighting]:
        """Return the announced tracks that gathered more."""
        at = frame.captured_at
        grown = [
            gathered.report(self.memories[track_id], camera=frame.camera, at=at, is_over=False)
            for track_id, gathered in self.gathered.items()
            if gathered.stay and gathered.is_due(at)
        ]
        return [sighting for sighting in grown if sighting is not None]

    def _shown(self, track: Tracked, at: float) -> Track:
        memory = self.remember(track)
        voter = memory.voter
        gathered = self.gathered.get(track.track_id)
        return Track(
            track_id=track.track_id,
            box=track.steady_box_at(at),
            score=track.score,
            first_seen=track.first_seen,
            last_seen=track.last_seen,
            state=voter.state,
            match=voter.match,
            stay="" if gathered is None else gathered.stay,
            zones=memory.zones.current,
        )

    def _seen(self, track: Tracked) -> Seen:
        memory = self.remember(track)
        best = memory.shots[0] if memory.shots else None
        return Seen(
            track_id=track.track_id,
            first_seen=track.first_seen,
            last_seen=track.last_seen,
            state=memory.voter.state,
            match=memory.voter.match,
            template=track.template,
            crop=None if best is None else best.crop,
            embedding=None if best is None else best.embedding,
            quality=None if best is None else best.quality,
            zones=memory.zones.entered,
        )

    def remember(self, track: Tracked) -> Memory:
        """Return the history of a present track, created on first use."""
        memory = self.memories.get(track.track_id)
        if memory is None:
            memory = self.memories[track.track_id] = self.new_memory()
        return memory


def _without_pipeline() -> Any:
    raise RuntimeError("a camera's state is used between two pipelines")


def samples_of(luma: NDArray[np.uint8]) -> Floats:
    """Return the points of an (H, W) uint8 frame by which a cut is noticed, less their mean."""
    step_y, step_x = (max(1, side // CUT_SAMPLES) for side in luma.shape)
    samples = luma[::step_y, ::step_x].astype(np.float32)
    return np.asarray(samples - samples.mean(), np.float32)


def correlation(first: Floats, second: Floats) -> float:
    """Return the correlation of two equally large images, in [-1, 1]; 1 for two flat ones.

    Args:
        first: gray levels less their mean.
        second: likewise.
    """
    first, second = first.ravel(), second.ravel()
    noise = NOISE * len(first)
    spread = float(first @ first) * float(second @ second)
    return (float(first @ second) + noise) / (math.sqrt(spread) + noise)


def _is_shown(track: Tracked, at: float) -> bool:
    """Return whether a track's box is drawn: not before a second frame confirmed the face."""
    if track.n_seen < 2:
        return False
    # The place of a doubtful track is not known, and a name must not stay on another face.
    return not track.is_lost or (not track.is_doubtful and at - track.last_seen <= SHOWN_LOST_S)
