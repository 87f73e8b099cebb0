"""Frames in, named tracks and events out: pure and synchronous, for all cameras of a tick.

Every tick scans a few frames in full and follows the known faces in the others; all faces of all
cameras share one detection, one follow, one embedding call and one search. Scans and embeddings are
spread over the ticks by their measured cost, so that no camera drops frames.
"""

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from gallery import Gallery, Identity, Match
from recognizer import (
    NOBODY,
    Detections,
    FaceFlow,
    Floats,
    Known,
    Recognizer,
    SimilarityLimits,
)
from stream.enrollment.crops import FaceCrop
from stream.errors import EnrolmentError, UnknownTrackError
from stream.frames import Event, Frame, FrameResult, Sighting
from stream.recognition.camera_state import GAP_S, Watch
from stream.recognition.face_filter import Limits
from stream.recognition.mounting import Mounting
from stream.recognition.presence import Presence
from stream.recognition.track_memory import OPEN, Memory, Shot, shot_value
from stream.recognition.tracker import Appearance, Tracked, Tracker
from stream.recognition.voting import GOOD_WEIGHT, Voter

SCAN_EVERY_S = 0.2
"""Between two full scans of a camera: a new face waits a tenth of a second on average."""

SCANS_A_SECOND, RARE_SCAN_S = 15, 0.5
"""Scans of all cameras in a second, as long as no camera waits for longer than half a second: known
faces are followed without them."""

SCAN_LOAD = 0.13
"""Part of the time that all cameras' scans may take; beyond it they become rarer."""

SCANS_S = 0.028
"""What the scans of one tick may take: one on two CPU cores, where it takes 23 ms at 720p."""

BEHIND = 1.5
"""How much rarer scans are while faces wait to be embedded for lack of time. The scans of
twelve cameras at 5 fps left one embedding a tick, and every wait lasts a frame, 0.2 s. Counted from
when a face comes into view, twice as rare named a crowd 0.4 s later than this."""

MAX_EMBEDDINGS = 8
"""Faces embedded in a tick at most; more wait for the next, so that frames do not."""

STILL_SCAN_S = 2.0
"""Between two full scans of a camera in whose view nothing moves."""

TICK_S = 0.038
"""What a tick should take: just less than a frame at 25 fps, so that no camera loses one. Two
embeddings fit on two CPU cores, 14 ms each, and beside the scan of a lone camera one."""

STAGES = ("detect", "follow", "align", "embed", "search", "track")


@dataclass(slots=True, eq=False)
class _Want:
    """A face to embed."""

    job: "_Job"
    track: Tracked
    memory: Memory
    urgency: int
    value: float


@dataclass(slots=True, eq=False)
class _Job:
    """One frame of a tick, with the state of its camera."""

    frame: Frame
    camera: Watch
    same_face: float
    gathers: bool = False
    looked: dict[int, Shot] = field(default_factory=dict)
    n_embedded: int = 0

    def known(self, led: Sequence[FaceFlow | None]) -> Known:
        """Return where the followed faces should be in this frame.

        Args:
            led: of each, where flow leads it; None where that is not certain.
        """
        tracks = self.camera.tracker.followed
        if not tracks:
            return NOBODY
        # A doubtful one may be another face: it is searched like one that is not known.
        is_led = [
            flow is not None and not track.is_doubtful
            for track, flow in zip(tracks, led, strict=True)
        ]
        boxes = [
            expected if flow is None else flow.box
            for expected, flow in zip(self.expected(), led, strict=True)
        ]
        landmarks = [track.landmarks for track in tracks]
        return Known(np.stack(boxes), np.stack(landmarks), np.array(is_led, np.bool_))

    def expected(self) -> Floats:
        """Return where the followed faces should be in this frame, (N, 4) float32."""
        at = self.frame.captured_at
        tracks = self.camera.tracker.followed
        return np.array([track.box_at(at) for track in tracks], np.float32).reshape(-1, 4)

    def scan(self, found: Detections, flows: Sequence[FaceFlow], appearance: Appearance) -> None:
        """Update the tracks with a full scan, and add the embeddings made for it."""
        pairs = self.camera.scanned(found, self.frame, appearance)
        for track, row in pairs:
            track.flow = flows[row]
            if (shot := self.looked.get(row)) is not None:
                self.look(track, shot)

    def look(self, track: Tracked, shot: Shot) -> None:
        """Add an embedded crop to a track."""
        self.n_embedded += 1
        if track.template is not None and shot.quality.overall >= GOOD_WEIGHT:
            # Maybe another face than so far: the next embeddings decide.
            track.is_doubtful = float(shot.embedding @ track.template) < self.same_face
        self.camera.look(track, shot, self.frame.captured_at, value=self._value(track))
        track.template = self.camera.remember(track).voter.template

    def wanted(self, *, only_open: bool) -> list[_Want]:
        """Return the faces of this frame to embed.

        Args:
            only_open: leave out tracks with a decided name.
        """
        at = self.frame.captured_at
        wanted = []
        for track in self.camera.tracker.tracks:
            if track.last_seen != at:
                continue
            value = self._value(track)
            memory = self.camera.remember(track)
            gathers = self.gathers and not self.camera.gather(track).is_core
            urgency = memory.urgency(track, value, at, gathers=gathers)
            if urgency is None or urgency > OPEN:
                memory.waits_since = None
            if urgency is not None and not (only_open and urgency > OPEN):
                wanted.append(_Want(self, track, memory, urgency, value))
        return wanted

    def _value(self, track: Tracked) -> float:
        return shot_value(track.box, track.landmarks, self.camera.size)


class Pipeline:
    """Recognizes faces over time.

    Args:
        recognizer: finds and embeds.
        gallery: the identities to match.
        threshold: similarity from which an embedding is a match.
        margin: how much more similar than the second identity the best must be.
        limits: of the model's similarities; None for those of the recognizer's card.
        confirm_s: seconds a face is seen before it can enter.
        absence_s: seconds without the face until it has left.
        camera_away_s: seconds without frames from a camera until those in front of it have left.
        cooldown_s: seconds in which the same person does not enter again.
        still_scan_s: seconds between two full scans of a camera without motion.
        clock: measures the stages, seconds.
        run: prefix of this pipeline's track ids; random unless given, so that an id stored by a
            page or the event log never refers to another face after a restart.
        first_track: number of the first track; other pipelines of the run have other numbers.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        gallery: Gallery,
        *,
        threshold: float,
        margin: float,
        limits: SimilarityLimits | None = None,
        confirm_s: float,
        absence_s: float,
        camera_away_s: float,
        cooldown_s: float,
        still_scan_s: float = STILL_SCAN_S,
        clock: Callable[[], float] = time.perf_counter,
        run: str | None = None,
        first_track: int = 1,
    ) -> None:
        self._recognizer = recognizer
        self._gallery = gallery
        self._threshold = threshold
        self._margin = margin
        self._similarity = limits or recognizer.limits
        self._debounce_s = (confirm_s, absence_s, camera_away_s, cooldown_s)
        self._still_scan_s = still_scan_s
        self._clock = clock
        self._run = secrets.token_hex(8) if run is None else run
        self._numbers = itertools.count(first_track)
        self._cameras: dict[str, Watch] = {}
        self._limits: dict[str, Limits] = {}
        self._gathers: Callable[[], bool] = bool  # never
        self._scan_s = 0.0
        self._embed_s = 0.0
        self._timings: dict[str, float] = {}
        self._spent_s: dict[str, float] = {}

    @property
    def run_id(self) -> str:
        """The id of this run of the service, with which the ids of its tracks begin."""
        return self._run

    def process(self, frames: Sequence[Frame], now: float) -> list[FrameResult]:
        """Recognize one frame of each camera that has one.

        Args:
            frames: at most one of each camera; sizes may differ.
            now: seconds, monotonic clock.

        Returns:
            A result for each frame, in order; their timings are those of the whole tick.
        """
        started = self._clock()
        self._timings = dict.fromkeys(STAGES, 0.0)
        same_face = self._similarity.same_face
        gathers = self._gathers()
        jobs = [_Job(frame, self._camera(frame), same_face, gathers) for frame in frames]
        with self._stage("track"):
            for job in jobs:
                job.camera.prepare(job.frame)
            scans = self._due(jobs, now)
        self._follow([job for job in jobs if job not in scans])
        self._scan(scans)
        self._embed(jobs, is_scan=bool(scans), deadline=started + TICK_S)
        self._decide()
        with self._stage("track"):
            found = [job.camera.conclude(job.frame) for job in jobs]
        timings = dict(self._timings)
        self._charge(jobs, scans, self._clock() - started)
        return [
            FrameResult(
                job.frame, tracks, events, timings, job.camera.mounting.turned_by, sightings
            )
            for job, (tracks, events, sightings) in zip(jobs, found, strict=True)
        ]

    def faces_of(self, camera: str, track_id: str) -> list[FaceCrop]:
        """Return a track's best crops, to enroll its person from; best first.

        Raises:
            UnknownTrackError: if the track is not kept any more.
            EnrolmentError: if no crop of the face was good enough to enroll.
        """
        memory = self._memory(camera, track_id)
        if not memory.shots:
            raise EnrolmentError(
                "the face was too small or turned away so far: let it look at the camera"
            )
        return [
            FaceCrop(f"crop {number}", shot.crop, shot.embedding, shot.quality)
            for number, shot in enumerate(memory.shots, 1)
        ]

    def assign(self, camera: str, track_id: str, identity: Identity) -> None:
        """Assign the identity that a user chose to a track, effective from the next frame.

        Tracks of other cameras are searched again too.

        Raises:
            UnknownTrackError: if the track is not kept any more.
        """
        self._memory(camera, track_id).voter.assign(Match(identity, 1.0))
        self.regallery()

    def _memory(self, camera: str, track_id: str) -> Memory:
        state = self._cameras.get(camera)
        memory = None if state is None else state.memory(track_id)
        if memory is None:
            raise UnknownTrackError(track_id)
        return memory

    def set_threshold(self, threshold: float) -> None:
        """Change the match threshold; `regallery` applies it to present tracks."""
        self._threshold = threshold
        for camera in self._cameras.values():
            for memory in camera.memories.values():
                memory.voter.threshold = threshold

    def gather_strangers(self, is_wanted: Callable[[], bool]) -> None:
        """Embed strangers more often in their first seconds, to recognize them when they return.

        Known people and faces without a name yet go first.

        Args:
            is_wanted: whether to do so at present; called once a tick.
        """
        self._gathers = is_wanted

    def regallery(self) -> None:
        """Decide every track again with the next frame; call it after a gallery change."""
        for camera in self._cameras.values():
            for memory in camera.memories.values():
                memory.gallery_changed()

    def set_limits(self, camera: str, limits: Limits) -> None:
        """Set which faces of a camera count, effective from the next frame."""
        self._limits[camera] = limits
        if (state := self._cameras.get(camera)) is not None:
            state.limits, state.is_lost = limits, True

    def leave(self, now: float) -> list[Event]:
        """Return the exits at cameras without frames; `now` in seconds, monotonic clock."""
        return [event for camera in self._cameras.values() for event in camera.presence.leave(now)]

    def end(self, now: float) -> tuple[list[Event], list[Sighting]]:
        """End all cameras, as the service stops.

        Returns:
            The exits of everybody present, at `now` in seconds, monotonic clock; the last
            sightings of their tracks.
        """
        events, sightings = list[Event](), list[Sighting]()
        for name in list(self._cameras):
            left, ended = self.drop_camera(name, now)
            events += left
            sightings += ended
        return events, sightings

    def drop_camera(self, name: str, now: float) -> tuple[list[Event], list[Sighting]]:
        """Drop a camera, its tracks and its limits; track ids are not reused.

        Returns:
            The exits of the people present, at `now` in seconds, monotonic clock; the last
            sightings of their tracks.
        """
        self._limits.pop(name, None)
        self._spent_s.pop(name, None)
        camera = self._cameras.pop(name, None)
        return ([], []) if camera is None else camera.end(name, now)

    def spent_s(self) -> dict[str, float]:
        """Return the seconds spent on each camera's frames so far; from any thread."""
        return dict(self._spent_s)

    def release_camera(self, name: str) -> Watch | None:
        """Forget a camera without the end of its tracks, which another pipeline continues.

        Returns:
            Its state, for `adopt_camera`; None if it had no frame.
        """
        self._limits.pop(name, None)
        self._spent_s.pop(name, None)
        watch = self._cameras.pop(name, None)
        if watch is not None:
            watch.detach()
        return watch

    def adopt_camera(self, name: str, watch: Watch) -> None:
        """Continue the tracks of a camera of another pipeline of the same run and gallery."""
        watch.attach(self._new_memory, self._new_track_id)
        for memory in watch.memories.values():
            memory.voter.threshold = self._threshold
            memory.gallery_changed()  # it may have changed on the way
        self._cameras[name] = watch

    def rename_camera(self, name: str, new_name: str) -> None:
        """Rename a camera; its tracks and people stay."""
        if name in self._spent_s:
            self._spent_s[new_name] = self._spent_s.pop(name)
        if name in self._limits:
            self._limits[new_name] = self._limits.pop(name)
        if name in self._cameras:
            camera = self._cameras[new_name] = self._cameras.pop(name)
            camera.presence.rename_camera(new_name)

    # Steps of a tick

    def _due(self, jobs: list[_Job], now: float) -> list[_Job]:
        """Return which frames to scan, the most overdue first."""
        n_live = sum(abs(now - camera.at) < GAP_S for camera in self._cameras.values())
        interval_s = max(
            SCAN_EVERY_S,
            min(n_live / SCANS_A_SECOND, RARE_SCAN_S),
            n_live * self._scan_s / SCAN_LOAD,
        )
        if any(camera.is_behind for camera in self._cameras.values()):
            # A scan takes as long as two embeddings: known faces are named first.
            interval_s *= BEHIND
        due = [job for job in jobs if job.camera.is_due(job.frame, interval_s, self._still_scan_s)]
        due.sort(key=lambda job: job.camera.scanned_at)
        return due[: max(1, int(SCANS_S / self._scan_s)) if self._scan_s else 1]

    def _charge(self, jobs: list[_Job], scans: list[_Job], took_s: float) -> None:
        """Divide the time of a tick among its cameras.

        Scans and embeddings count with what one takes of late, the rest by the faces in view.
        """
        own_s = [(job in scans) * self._scan_s + job.n_embedded * self._embed_s for job in jobs]
        parts = [1 + len(job.camera.tracker.followed) for job in jobs]
        known_s = sum(own_s)
        scale = min(1.0, took_s / known_s) if known_s else 0.0
        rest_s = max(0.0, took_s - known_s) / max(1, sum(parts))
        for job, own, part in zip(jobs, own_s, parts, strict=True):
            name = job.frame.camera
            self._spent_s[name] = self._spent_s.get(name, 0.0) + scale * own + part * rest_s

    def _scan(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        with self._stage("detect"):
            started = self._clock()
            led = self._recognizer.lead_flow(
                [job.frame for job in jobs],
                [_flows(job.camera.tracker.followed) for job in jobs],
                [job.expected() for job in jobs],
            )
            found = self._recognizer.scan(
                [job.frame.image for job in jobs],
                [job.camera.live_scan for job in jobs],
                [job.known(flows) for job, flows in zip(jobs, led, strict=True)],
            )
            took_s = (self._clock() - started) / len(jobs)
        # Smoothed over some scans: a single slow scan does not mean high load.
        self._scan_s += 0.2 * (took_s - self._scan_s)
        for job, detections, before in zip(jobs, found, led, strict=True):
            with self._stage("track"):
                kept = job.camera.limits.keep(detections, job.camera.size)
                flows = self._recognizer.begin_flow(
                    job.frame, kept, job.frame.captured_at, led=before
                )
                if flows:  # whose boxes are better than those of the search
                    kept = replace(kept, boxes=np.stack([flow.box for flow in flows]))
                job.scan(kept, flows, partial(self._looks, job, kept))

    def _follow(self, jobs: list[_Job]) -> None:
        busy = [job for job in jobs if job.camera.tracker.followed]
        if not busy:
            return
        with self._stage("follow"):
            found = self._recognizer.follow_flow(
                [job.frame for job in busy],
                [_flows(job.camera.tracker.followed) for job in busy],
                [job.expected() for job in busy],
                [job.frame.captured_at for job in busy],
            )
        with self._stage("track"):
            for job, (followed, flows) in zip(busy, found, strict=True):
                job.camera.follow(followed, job.frame.captured_at, flows)

    def _confirm(self, wants: list[_Want]) -> list[_Want]:
        """Place the faces to embed by a network, since optical flow did; drop those it loses.

        Args:
            wants: faces to embed, those of one frame one after the other.
        """
        open_wants = [want for want in wants if _is_by_flow(want.track)]
        groups = [(job, list(group)) for job, group in itertools.groupby(open_wants, key=_job_of)]
        if not groups:
            return wants
        with self._stage("follow"):
            found = self._recognizer.follow(
                [job.frame.image for job, _ in groups],
                [np.stack([want.track.box for want in group]) for _, group in groups],
                [np.stack([want.track.landmarks for want in group]) for _, group in groups],
            )
            lost: set[str] = set()
            for (job, group), followed in zip(groups, found, strict=True):
                at = job.frame.captured_at
                placed = Detections(followed.boxes, followed.landmarks, followed.scores)
                flows = self._recognizer.begin_flow(job.frame, placed, at)
                for row, want in enumerate(group):
                    if followed.is_lost[row]:
                        want.track.is_lost = job.camera.is_lost = True
                        lost.add(want.track.track_id)
                    else:
                        want.track.confirm(
                            placed.boxes[row],
                            placed.landmarks[row],
                            float(placed.scores[row]),
                            flows[row],
                        )
        return [want for want in wants if want.track.track_id not in lost]

    def _looks(self, job: _Job, found: Detections, rows: list[int]) -> Floats:
        """Embed rows of a scan at once, to distinguish faces that overlap cannot."""
        started = self._clock()
        part = Detections(found.boxes[rows], found.landmarks[rows], found.scores[rows])
        shots = self._shoot([(job, part)])
        job.looked = dict(zip(rows, shots, strict=True))
        self._timings["track"] -= (self._clock() - started) * 1e3
        return np.stack([shot.embedding for shot in shots])

    def _embed(self, jobs: list[_Job], *, is_scan: bool, deadline: float) -> None:
        """Embed the most urgent faces.

        A tick that scanned and has no time left embeds none, unless one has waited; then a tick
        without a scan embeds two.
        """
        with self._stage("track"):
            wanted = [want for job in jobs for want in job.wanted(only_open=is_scan)]
            wanted.sort(key=_rank)
            room = int((deadline - self._clock()) / self._embed_s) if self._embed_s else 1
            is_late = any(want.memory.waits_since is not None for want in wanted)
            # At least one; a second of the waiting ones in the time that a scan would have taken.
            may_second = is_late and 0 < self._embed_s <= self._scan_s
            least = int(is_late) if is_scan else 1 + may_second
            budget = min(max(room, least), MAX_EMBEDDINGS)
            budget = max(0, budget - sum(len(job.looked) for job in jobs))
            chosen = wanted[:budget]
            for want in wanted[budget:]:
                if want.urgency <= OPEN and want.memory.waits_since is None:
                    want.memory.waits_since = want.job.frame.captured_at
        if not chosen:
            return
        chosen.sort(key=lambda want: jobs.index(want.job))
        chosen = self._confirm(chosen)
        if not chosen:
            return
        groups = [
            (job, _as_detections([want.track for want in group]))
            for job, group in itertools.groupby(chosen, key=lambda want: want.job)
        ]
        for want, shot in zip(chosen, self._shoot(groups), strict=True):
            want.job.look(want.track, shot)

    def _shoot(self, parts: list[tuple[_Job, Detections]]) -> list[Shot]:
        """Align and embed faces of several frames in one call."""
        with self._stage("align"):
            judged = [
                self._recognizer.align_and_judge(job.frame.image, part) for job, part in parts
            ]
            crops = np.concatenate([some for some, _ in judged])
            qualities = [quality for _, some in judged for quality in some]
        before_ms = self._timings["embed"]
        with self._stage("embed"):
            embeddings = self._recognizer.embed(crops)
        took_s = (self._timings["embed"] - before_ms) / 1e3 / len(crops)
        self._embed_s += 0.2 * (took_s - self._embed_s) if self._embed_s else took_s
        return [
            Shot(crop, embedding, quality)
            for crop, embedding, quality in zip(crops, embeddings, qualities, strict=True)
        ]

    def _decide(self) -> None:
        """Search everything that changed, of all cameras, in one call, and count the votes."""
        memories = [
            memory
            for camera in self._cameras.values()
            for memory in camera.memories.values()
            if memory.is_open
        ]
        if not memories:
            return
        with self._stage("search"):
            probes = [memory.voter.probes() for memory in memories]
            found = self._gallery.ranked(np.concatenate(probes), k=2)
        start = 0
        for memory, part in zip(memories, probes, strict=True):
            ranked = found.matches[start : start + len(part)]
            memory.voter.decide(ranked, is_whole=found.is_whole)
            memory.is_open = not found.is_whole
            start += len(part)

    def _camera(self, frame: Frame) -> Watch:
        camera = self._cameras.get(frame.camera)
        if camera is None:
            confirm_s, absence_s, camera_away_s, cooldown_s = self._debounce_s
            presence = Presence(
                frame.camera,
                confirm_s=confirm_s,
                absence_s=absence_s,
                camera_away_s=camera_away_s,
                cooldown_s=cooldown_s,
                same_face=self._threshold,
            )
            limits = self._limits.get(frame.camera, Limits())
            same_face = self._similarity.same_face
            tracker = Tracker(self._new_track_id, same_face=same_face)
            mounting = Mounting(same_face=same_face)
            camera = Watch(tracker, presence, mounting, self._new_memory, limits)
            self._cameras[frame.camera] = camera
        return camera

    def _new_track_id(self) -> str:
        return f"{self._run}-{next(self._numbers)}"

    def _new_memory(self) -> Memory:
        return Memory(
            Voter(threshold=self._threshold, margin=self._margin, limits=self._similarity)
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started = self._clock()
        yield
        self._timings[name] += (self._clock() - started) * 1e3


def _rank(want: _Want) -> tuple[int, float, float]:
    """Return the sort key of the faces of a tick: longest wait first, then best crop.

    By the best crop alone, a small face would wait behind every larger one that comes later.
    """
    since = want.memory.waits_since
    return want.urgency, float("inf") if since is None else since, -want.value


def _flows(tracks: Sequence[Tracked]) -> list[FaceFlow]:
    flows = [track.flow for track in tracks if track.flow is not None]
    assert len(flows) == len(tracks), "a scan prepares every face that it finds"
    return flows


def _is_by_flow(track: Tracked) -> bool:
    """Return whether optical flow alone placed the face in the last frame."""
    return track.flow is not None and track.flow.confirmed_at < track.last_seen


def _job_of(want: _Want) -> _Job:
    return want.job


def _as_detections(tracks: Sequence[Tracked]) -> Detections:
    return Detections(
        np.stack([track.box for track in tracks]),
        np.stack([track.landmarks for track in tracks]),
        np.array([track.score for track in tracks], np.float32),
    )
