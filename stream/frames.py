"""Data types of `stream`: frames, tracks, events and results."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from gallery import Identity, Match
from recognizer import Octaves, Quality


class Matrix(IntEnum):
    """YUV matrix coefficients, with the values of ISO/IEC 23091-2, section 8.3."""

    BT709 = 1
    BT601 = 6


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """The YUV planes of a frame.

    Attributes:
        picture: yuv420p, limited range, even sides. Only its time and type may be changed.
        matrix: its matrix coefficients.
    """

    picture: av.VideoFrame
    matrix: Matrix

    @property
    def luma(self) -> NDArray[np.uint8]:
        """(H, W) uint8 luma, 16 to 235; a view of the picture."""
        return _rows(self.picture.planes[0])[: self.picture.height, : self.picture.width]

    @property
    def layers(self) -> list[NDArray[np.uint8]]:
        """Luma as above, and Cb and Cr, each (H / 2, W / 2) uint8, 16 to 240; views."""
        height, width = self.picture.height, self.picture.width
        chroma = [_rows(plane)[: height // 2, : width // 2] for plane in self.picture.planes[1:3]]
        return [self.luma, *chroma]

    def to_rgb(self) -> NDArray[np.uint8]:
        """Return a new (H, W, 3) uint8 RGB image."""
        is_hd = self.matrix is Matrix.BT709
        picture = self.picture.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if is_hd else Colorspace.ITU601,
            threads=1,  # more of them wait for one another where other cameras take the cores
        )
        height, width = picture.height, picture.width
        # Without a copy where FFmpeg's rows end with their last pixel.
        image = _rows(picture.planes[0])[:height, : 3 * width]
        return np.ascontiguousarray(image).reshape(height, width, 3)


def new_planes(height: int, width: int, matrix: Matrix) -> Planes:
    """Return planes of an even size in pixels, not filled."""
    return Planes(av.VideoFrame(width, height, "yuv420p"), matrix)


def _rows(plane: VideoPlane) -> NDArray[np.uint8]:
    """Return a plane's rows with their padding, (H, line size) uint8; a view."""
    flat: NDArray[np.uint8] = np.asarray(memoryview(plane), np.uint8)
    return flat.reshape(-1, plane.line_size)


class Pixels:
    """The pixels of a frame, as RGB and as luma, each made at its first use. Thread-safe.

    Most frames need only luma, which decoded video has; RGB of 720p takes 2.8 MB and half a
    millisecond.

    Args:
        image: (H, W, 3) uint8 RGB; made from the planes if None.
        planes: of the same pixels; None if they have another format.

    Attributes:
        planes: as given.
        size: (height, width).
    """

    __slots__ = ("_image", "_lock", "_luma", "planes", "size")

    def __init__(self, image: NDArray[np.uint8] | None, planes: Planes | None = None) -> None:
        if image is not None:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
            image.setflags(write=False)
            self.size = (image.shape[0], image.shape[1])
        elif planes is not None:
            self.size = (planes.picture.height, planes.picture.width)
        else:
            raise ValueError("pixels need an image or planes")
        self.planes = planes
        self._image = image
        self._luma: Octaves | None = None
        self._lock = threading.Lock()

    @property
    def has_image(self) -> bool:
        """Whether the RGB image was made."""
        return self._image is not None

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only; the same array at every use."""
        with self._lock:
            if self._image is None:
                assert self.planes is not None
                self._image = self.planes.to_rgb()
                self._image.setflags(write=False)
            return self._image

    @property
    def luma(self) -> Octaves:
        """(H, W) uint8 luma, its half, its quarter, and so on."""
        if self._luma is None:
            if self.planes is not None:
                self._luma = Octaves(self.planes.luma)
            else:
                gray = cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)
                self._luma = Octaves(np.asarray(gray, np.uint8))
        return self._luma


class Outline(Pixels):
    """The size of a frame whose pixels another process has.

    Args:
        size: (height, width).
    """

    __slots__ = ()

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    @property
    def image(self) -> NDArray[np.uint8]:
        """Not there.

        Raises:
            ValueError: always.
        """
        raise ValueError("the pixels of this frame are in another process")

    def __reduce__(self) -> tuple[type["Outline"], tuple[tuple[int, int]]]:
        return Outline, (self.size,)


class Frame:
    """One decoded image and when it was captured.

    Args:
        camera: the name of the camera it comes from.
        seq: counts from 0 per camera; gaps are dropped frames.
        captured_at: seconds, monotonic clock.
        pixels: its pixels; or (H, W, 3) uint8 RGB, which becomes read-only.
        rotation: degrees clockwise by which its camera's setting has rotated it.

    Attributes: as the arguments.
    """

    __slots__ = ("camera", "captured_at", "pixels", "rotation", "seq")

    def __init__(
        self,
        camera: str,
        seq: int,
        captured_at: float,
        pixels: Pixels | NDArray[np.uint8],
        *,
        rotation: int = 0,
    ) -> None:
        self.camera = camera
        self.seq = seq
        self.captured_at = captured_at
        self.pixels = pixels if isinstance(pixels, Pixels) else Pixels(pixels)
        self.rotation = rotation

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.size

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, read-only; made at its first use."""
        return self.pixels.image

    @property
    def luma(self) -> Octaves:
        """(H, W) uint8 luma, its half, its quarter, and so on."""
        return self.pixels.luma

    @property
    def planes(self) -> Planes | None:
        """The YUV planes of the same pixels; None if they have another format."""
        return self.pixels.planes


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
        stay: id of the track in the events of the person's stay; empty until that was announced.
        zones: names of the camera's zones that the face is in.
    """

    track_id: str
    box: NDArray[np.float32]
    score: float
    first_seen: float
    last_seen: float
    state: TrackState
    match: Match | None
    stay: str = ""
    zones: tuple[str, ...] = ()


class EventKind(StrEnum):
    """Kinds of events at a camera."""

    ENTER = "enter"
    EXIT = "exit"
    UNKNOWN = "unknown"
    RENAMED = "renamed"
    ZONE = "zone"
    CAMERA_UP = "camera_up"
    CAMERA_DOWN = "camera_down"


CORE_SHOTS, CORE_S = 8, 2.0
"""Good shots, and the seconds between the first and the last, from which a track is enough evidence
of a person by itself."""

MIN_GOOD = 3
"""Good shots of a track that is not poor, whatever its best one is."""

CLEAR_QUALITY = 0.08
"""Quality from which a crop is evidence of a face, though no good one. Faces in profile or in the
dark have 0.002 to 0.01, the best ones of small, blurred and turned tracks more than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """What is kept of one track's face, while it is in view and after it has ended.

    Attributes:
        camera: the camera's name.
        track_id: the track.
        stay: id of the track in the events of the person's stay, which may have several tracks.
        began, ended: seconds, monotonic clock: the first and the last frame so far.
        is_over: the track has ended.
        template: (D,) float32 of unit length: the mean of the good embeddings, else of all,
            weighted by quality.
        exemplars: (E, D) float32 of unit length, 1 to 3 embeddings that differ most.
        n_good: number of embeddings of good quality.
        good_s: seconds from the first to the last of them.
        n_shots: number of embeddings of any quality, without doubtful ones.
        face_px: shorter side of the largest face that was embedded, pixels.
        crop: (112, 112, 3) uint8 RGB, the best one.
        quality: of the crop, measured in its frame.
        beside: ids of tracks that were in view of the camera at the same time.
        is_announced: whether the stay has an event; not of a track that ended undecided.
        zones: names of the zones that the track has entered so far, in that order.
    """

    camera: str
    track_id: str
    stay: str
    began: float
    ended: float
    is_over: bool
    template: NDArray[np.float32]
    exemplars: NDArray[np.float32]
    n_good: int
    good_s: float
    n_shots: int
    face_px: float
    crop: NDArray[np.uint8]
    quality: Quality
    beside: frozenset[str] = frozenset()
    is_announced: bool = True
    zones: tuple[str, ...] = ()

    @property
    def is_poor(self) -> bool:
        """Whether no shot is clear: of a face in profile or in the dark."""
        return self.n_good < MIN_GOOD and self.quality.overall < CLEAR_QUALITY


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
        sighting: of ENTER, UNKNOWN and RENAMED events: the track, as seen so far.
        zones: names of the zones entered so far in the stay, in that order; the last of a ZONE
            event is the one that was entered just now.
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
    sighting: Sighting | None = None
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """One frame after recognition.

    Attributes:
        frame: the frame as captured.
        tracks: the faces in it.
        events: those that this frame caused.
        timings_ms: milliseconds of the whole tick by stage: detect, follow, align, embed,
            search, track.
        turned_by: degrees clockwise by which most faces of the last minutes are turned in the
            frame, a multiple of 90; 0 where most are upright or not enough were seen.
        sightings: tracks of people who were announced, that have grown or ended; and tracks that
            ended undecided.
    """

    frame: Frame
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]
    timings_ms: Mapping[str, float]
    turned_by: int = 0
    sightings: tuple[Sighting, ...] = ()
