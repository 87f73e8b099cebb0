"""Data types of `stream`: frames, tracks, events and results."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import av
import numpy as np
from numpy.typing import NDArray

from gallery import Identity, Match
from recognizer import Quality


class Matrix(IntEnum):
    """YUV matrix coefficients, with the values of ISO/IEC 23091-2, section 8.3."""

    BT709 = 1
    BT601 = 6


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """The YUV planes that an image was converted from, pixel for pixel.

    Attributes:
        picture: yuv420p, limited range, even sides. Only its time and type may be changed.
        matrix: its matrix coefficients.
    """

    picture: av.VideoFrame
    matrix: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded image and when it was captured.

    Attributes:
        camera: the name of the camera it comes from.
        seq: counts from 0 per camera; gaps are dropped frames.
        captured_at: seconds, monotonic clock.
        image: (H, W, 3) uint8 RGB, read-only.
        planes: what the image was converted from; None if it was changed since, has another
            format, or raw video has no viewer.
    """

    camera: str
    seq: int
    captured_at: float
    image: NDArray[np.uint8]
    planes: Planes | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}"
            )
        self.image.setflags(write=False)


class TrackState(StrEnum):
    """Whether the person of a track is known."""

    UNDECIDED = "undecided"
    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One face followed through time, as of one frame.

    Attributes:
        track_id: unique over all runs: the id of the run, a dash, and a number within the run.
        box: (4,) float32, x1 y1 x2 y2 in pixels of the frame.
        score: detector confidence in [0, 1].
        first_seen: seconds, monotonic clock.
        last_seen: seconds, monotonic clock.
        state: undecided, known or unknown.
        match: the identity; not None exactly when state is known.
    """

    track_id: str
    box: NDArray[np.float32]
    score: float
    first_seen: float
    last_seen: float
    state: TrackState
    match: Match | None


class EventKind(StrEnum):
    """Kinds of events at a camera."""

    ENTER = "enter"
    EXIT = "exit"
    UNKNOWN = "unknown"
    RENAMED = "renamed"
    CAMERA_UP = "camera_up"
    CAMERA_DOWN = "camera_down"


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """An event at a camera, before it is logged.

    Attributes:
        kind: the kind of event.
        camera: the camera's name.
        at: seconds, monotonic clock, of the frame that caused it.
        track_id: the track with which the person came into view, the same for all events of the
            stay; None for camera events.
        match: the identity; None for strangers and camera events.
        first_seen: seconds, monotonic clock: the first frame of the track, or `at`.
        crop: (112, 112, 3) uint8 RGB, the track's best crop; None for camera events.
        detail: one line for people, such as why a camera is down; may be empty.
        previous: of RENAMED events: the former identity of the track; None for a stranger.
        embedding: (D,) float32 of unit length, of the crop; None where there is none.
        quality: of the crop, measured in its frame; None where there is none.
    """

    kind: EventKind
    camera: str
    at: float
    track_id: str | None
    match: Match | None
    first_seen: float
    crop: NDArray[np.uint8] | None
    detail: str = ""
    previous: Identity | None = None
    embedding: NDArray[np.float32] | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """One frame after recognition.

    Attributes:
        frame: the frame as captured.
        tracks: the faces in it.
        events: those that this frame caused.
        timings_ms: milliseconds of the whole tick by stage: detect, follow, align, embed,
            search, track.
    """

    frame: Frame
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]
    timings_ms: Mapping[str, float]
