"""`facewire bench follow`: cost and error of following faces between two full searches.

The reference is O-Net on every frame. Where it places a face depends on the box from which it is
asked: boxes a few percent aside move its answer by 1 to 2 % of the width (p95 2 to 4 %), which no
other way to follow can predict. So it is asked from `PLACES` around its own answer, and the mean of
these answers is the reference. A single answer, from the box that it found before, is listed too,
as a reference (`single_error_p95`) and by its own error (`network_error_p95`).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import (
    NOBODY,
    Detections,
    FaceFlow,
    Floats,
    Image,
    Known,
    LiveScan,
    Progress,
    Recognizer,
    default_cache,
    fetch_photos,
    open_recognizer,
    read_image,
    refuse_special,
)
from stream.cameras.conversion import Converter
from stream.demo.scene import DemoScene
from stream.errors import StreamError
from stream.frames import Pixels
from stream.recognition.camera_state import RESCAN_AFTER_S, SAME_SCENE, correlation, samples_of
from stream.recognition.pipeline import SCAN_EVERY_S

FACES = 5
"""Faces of the timed calls: the target is 0.25 ms for each of five in 720p."""

FPS = 25.0
PLACES = (
    (0, 0, 0),
    (-0.06, 0, 0),
    (0.06, 0, 0),
    (0, -0.06, 0),
    (0, 0.06, 0),
    (0, 0, -0.08),
    (0, 0, 0.08),
    (0.04, 0.04, 0.04),
    (-0.04, 0.04, -0.04),
)
"""Shift, in widths, and growth of the boxes from which O-Net is asked for the reference."""

PHOTO_S = 2.0
"""How long each photo moves."""

CANVAS = (720, 1280)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class FollowBench:
    """Cost and error of following.

    Attributes:
        engine: inference engine and device.
        source: what was followed.
        frames: its frames.
        followed: faces followed, one count a frame.
        faces: of a timed call.
        flow_ms: a face and frame by optical flow alone, `faces` in a call, median of CPU time.
        network_ms: the same by O-Net alone.
        begin_ms: what following adds to a search for each face, mean of CPU time.
        confirmed: share of the followed faces that O-Net confirmed.
        ms: a face and frame with its share of the confirmations and of the searches.
        error_p50: mean distance of a box's four sides from O-Net's, in widths, median.
        error_p95: the same, 95th percentile.
        center_p95: distance of the centers, in widths, 95th percentile.
        network_error_p95: `error_p95` of O-Net from another box of the face.
        mean_error_p50: `error_p50` from the mean of O-Net's boxes, asked from `PLACES`.
        mean_error_p95: the same, 95th percentile.
        network_mean_error_p95: the same of a single box of O-Net's on every frame.
        lost: faces lost.
        network_lost: faces that O-Net lost.
        kept_longer: faces that O-Net lost in a frame and following did not.
        rgb: share of the frames whose RGB image was made.
        bytes_per_frame: read and written to prepare a frame.
        bytes_per_frame_rgb: the same with RGB of every frame, copied once.
    """

    engine: str
    source: str
    frames: int
    followed: int
    faces: int
    flow_ms: float
    network_ms: float
    begin_ms: float
    confirmed: float
    ms: float
    error_p50: float
    error_p95: float
    center_p95: float
    network_error_p95: float
    mean_error_p50: float
    mean_error_p95: float
    network_mean_error_p95: float
    lost: int
    network_lost: int
    kept_longer: int
    rgb: float
    bytes_per_frame: float
    bytes_per_frame_rgb: float


@dataclass(slots=True)
class _Figures:
    frames: int = 0
    rgb: int = 0
    pixels: int = 0
    followed: int = 0
    begun: int = 0
    confirmed: int = 0
    lost: int = 0
    network_lost: int = 0
    kept_longer: int = 0
    flow_ms: list[float] = field(default_factory=list)
    network_ms: list[float] = field(default_factory=list)
    begin_ms: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    centers: list[float] = field(default_factory=list)
    network_errors: list[float] = field(default_factory=list)
    mean_errors: list[float] = field(default_factory=list)
    network_mean_errors: list[float] = field(default_factory=list)


def bench_follow(
    source: Path | None = None,
    *,
    seconds: float,
    scan_every_s: float = SCAN_EVERY_S,
    device: str = "auto",
    threads: int = 1,
    min_face_px: int = 40,
    progress: Progress | None = None,
) -> FollowBench:
    """Follow the faces of a video, by optical flow and by O-Net on every frame.

    Args:
        source: a video, or a directory of photos, which are moved; None for the demo scene.
        seconds: of it at most.
        scan_every_s: seconds between two full searches.
        device: as in `open_recognizer`.
        threads: as in `open_recognizer`; OpenCV uses as many.
        min_face_px: side of the smallest face to find, pixels.
        progress: called with the bytes while a model is fetched.

    Raises:
        StreamError: if the source cannot be read, or no face was followed in it.
        RecognizerError: if a model or photo cannot be read, or the device cannot be used.
    """
    recognizer = open_recognizer(
        device=device, threads=threads, min_face_px=min_face_px, progress=progress
    )
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        found = _measure(recognizer, _scenes(source, seconds, progress), scan_every_s)
    finally:
        cv2.setNumThreads(before)
    if not found.errors or not found.flow_ms:
        raise StreamError(f"no face to follow in {source or 'the demo scene'}: give another video")
    flow_ms, network_ms = float(np.median(found.flow_ms)), float(np.median(found.network_ms))
    # the mean, since a few beginnings run O-Net and the others do not
    begin_ms = float(np.mean(found.begin_ms))
    confirmed, rgb = found.confirmed / found.followed, found.rgb / found.frames
    searched = found.begun / (found.followed + found.begun)
    pixels = found.pixels / found.frames
    return FollowBench(
        engine=f"{recognizer.engine} on {recognizer.device}",
        source=str(source or "demo:"),
        frames=found.frames,
        followed=found.followed,
        faces=FACES,
        flow_ms=flow_ms,
        network_ms=network_ms,
        begin_ms=begin_ms,
        confirmed=confirmed,
        ms=(1 - searched) * (flow_ms + confirmed * network_ms) + searched * begin_ms,
        error_p50=float(np.percentile(found.errors, 50)),
        error_p95=float(np.percentile(found.errors, 95)),
        center_p95=float(np.percentile(found.centers, 95)),
        network_error_p95=float(np.percentile(found.network_errors, 95)),
        mean_error_p50=float(np.percentile(found.mean_errors, 50)),
        mean_error_p95=float(np.percentile(found.mean_errors, 95)),
        network_mean_error_p95=float(np.percentile(found.network_mean_errors, 95)),
        lost=found.lost,
        network_lost=found.network_lost,
        kept_longer=found.kept_longer,
        rgb=rgb,
        # YUV is read, 1.5 bytes a pixel, and RGB written, 3; once more to copy it.
        bytes_per_frame=rgb * 4.5 * pixels,
        bytes_per_frame_rgb=10.5 * pixels,
    )


def _scenes(
    source: Path | None, seconds: float, progress: Progress | None
) -> Iterator[Iterator[Pixels]]:
    """Yield the frames of each scene, at `FPS`; nothing is followed from one to another."""
    n_frames = round(seconds * FPS)
    if source is None:
        scene = DemoScene(fetch_photos(default_cache(), progress))
        yield (Pixels(scene.render(number / FPS)) for number in range(n_frames))
    elif source.is_dir():
        photos = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
        for photo in photos[: max(1, round(seconds / PHOTO_S))]:
            yield _moved(read_image(photo))
    else:
        yield _played(source, n_frames)


def _played(video: Path, n_frames: int) -> Iterator[Pixels]:
    converter = Converter(None, "off")
    try:
        refuse_special(video)
        with av.open(str(video)) as container:
            for _, decoded in zip(range(n_frames), container.decode(video=0), strict=False):
                yield converter.convert(decoded, None, 0.0).pixels
    except (OSError, IndexError, av.FFmpegError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a video"
        raise StreamError(f"cannot play {video}: {reason}") from None


def _moved(photo: Image) -> Iterator[Pixels]:
    """Yield a photo that wanders, turns and grows over a gray canvas."""
    height, width = photo.shape[:2]
    center = np.array([width, height]) / 2
    fit = 0.6 * CANVAS[0] / height
    for number in range(round(PHOTO_S * FPS)):
        phase = 2 * np.pi * number / (PHOTO_S * FPS)
        zoom = fit * (1 + 0.15 * np.sin(phase))
        turned = cv2.getRotationMatrix2D(center.tolist(), 8 * float(np.sin(2 * phase)), zoom)
        matrix = np.asarray(turned, np.float64)
        target = np.array([CANVAS[1] * (0.5 + 0.25 * np.sin(phase)), CANVAS[0] * 0.5])
        matrix[:, 2] += target - center
        size = (CANVAS[1], CANVAS[0])
        gray = (110, 110, 110)
        yield Pixels(np.asarray(cv2.warpAffine(photo, matrix, size, borderValue=gray), np.uint8))


def _measure(
    recognizer: Recognizer, scenes: Iterator[Iterator[Pixels]], scan_every_s: float
) -> _Figures:
    figures = _Figures()
    for frames in scenes:
        flows: list[FaceFlow] = []
        boxes = velocity = boxes_velocity = np.empty((0, 4), np.float32)
        scanned_at, is_cut, live_scan = float("-inf"), False, LiveScan()
        last_samples = np.empty((0, 0), np.float32)
        for number, pixels in enumerate(frames):
            at = number / FPS
            figures.frames += 1
            figures.pixels += pixels.size[0] * pixels.size[1]
            samples = samples_of(pixels.luma[0])
            if len(last_samples) and correlation(samples, last_samples) < SAME_SCENE:
                # As the service does: nobody is followed across a cut, and a search comes soon.
                flows, is_cut = [], True
            last_samples = samples
            if at - scanned_at >= (RESCAN_AFTER_S if is_cut else scan_every_s) - 1e-6:
                scanned_at, is_cut = at, False
                figures.rgb += 1
                known, led = _led(recognizer, pixels, flows)
                (found,) = recognizer.scan([pixels.image], [live_scan], [known])
                before, flows = flows, recognizer.begin_flow(pixels, found, at, led=led)
                figures.begun += len(flows)
                _time_search(recognizer, pixels, found, before, at, figures)
                boxes = found.boxes
                velocity = boxes_velocity = np.zeros_like(boxes)
                continue
            if not flows:
                continue
            last = np.stack([flow.box for flow in flows])
            ((followed, moved),) = recognizer.follow_flow(
                [pixels], [flows], [last + velocity], [at]
            )
            is_new = np.array([flow.confirmed_at == at for flow in moved])
            is_confirmed = is_new | followed.is_lost
            figures.followed += len(flows)
            figures.confirmed += int(is_confirmed.sum())
            figures.rgb += bool(is_confirmed.any())
            _time(recognizer, pixels, flows, last + velocity, figures)
            (reference,) = recognizer.follow([pixels.image], [boxes + boxes_velocity])
            (again,) = recognizer.follow([pixels.image], [followed.boxes])
            figures.lost += int(followed.is_lost.sum())
            figures.network_lost += int(reference.is_lost.sum())
            figures.kept_longer += int((reference.is_lost & ~followed.is_lost).sum())
            is_both = ~reference.is_lost & ~followed.is_lost
            _compare(reference.boxes[is_both], followed.boxes[is_both], figures)
            seen = is_both & ~again.is_lost
            figures.network_errors += _sides(reference.boxes[seen], again.boxes[seen]).tolist()
            means, is_placed = _mean_boxes(recognizer, pixels, reference.boxes)
            is_placed &= is_both
            figures.mean_errors += _sides(means[is_placed], followed.boxes[is_placed]).tolist()
            figures.network_mean_errors += _sides(
                means[is_placed], reference.boxes[is_placed]
            ).tolist()
            velocity = _smoothed(velocity, last, followed.boxes)[is_both]
            boxes_velocity = _smoothed(boxes_velocity, boxes, reference.boxes)[is_both]
            flows = [flow for flow, kept in zip(moved, is_both, strict=True) if kept]
            boxes = reference.boxes[is_both]
    return figures


def _time(
    recognizer: Recognizer,
    pixels: Pixels,
    flows: Sequence[FaceFlow],
    expected: Floats,
    figures: _Figures,
) -> None:
    """Time a call of either kind with `FACES` faces, those of the frame again and again."""
    rows = [row % len(flows) for row in range(FACES)]
    many = [flows[row] for row in rows]
    # At the time of their confirmation none is due; those that flow is unsure of are left out.
    at = max(flow.confirmed_at for flow in many)
    started = time.process_time()
    ((found, moved),) = recognizer.follow_flow([pixels], [many], [expected[rows]], [at])
    took_s = time.process_time() - started
    is_alone = all(new.patch is old.patch for new, old in zip(moved, many, strict=True))
    if is_alone and not found.is_lost.any():
        figures.flow_ms.append(1e3 * took_s / FACES)
    image, boxes = pixels.image, expected[rows]
    started = time.process_time()
    recognizer.follow([image], [boxes])
    figures.network_ms.append(1e3 * (time.process_time() - started) / FACES)


def _led(
    recognizer: Recognizer, pixels: Pixels, flows: Sequence[FaceFlow]
) -> tuple[Known, list[FaceFlow | None]]:
    """Lead faces into a frame by flow, for a search of it."""
    if not flows:
        return NOBODY, []
    boxes = np.stack([flow.box for flow in flows])
    (led,) = recognizer.lead_flow([pixels], [flows], [boxes])
    landmarks = np.stack([flow.points for flow in flows])
    places = [box if flow is None else flow.box for box, flow in zip(boxes, led, strict=True)]
    return Known(np.stack(places), landmarks, np.array([flow is not None for flow in led])), led


def _time_search(
    recognizer: Recognizer,
    pixels: Pixels,
    found: Detections,
    known: Sequence[FaceFlow],
    at: float,
    figures: _Figures,
) -> None:
    """Time what following adds to a search with `FACES` faces, those of the frame again and again.

    O-Net's run on them is not added: without it, R-Net and O-Net would run on their candidates.
    """
    if not len(found):
        return
    rows = np.arange(FACES) % len(found)
    many = Detections(found.boxes[rows], found.landmarks[rows], found.scores[rows])
    followed = [known[row % len(known)] for row in range(FACES)] if known else []
    started = time.process_time()
    _, led = _led(recognizer, pixels, followed)
    recognizer.begin_flow(pixels, many, at, led=led)
    figures.begin_ms.append(1e3 * (time.process_time() - started) / FACES)


def _mean_boxes(
    recognizer: Recognizer, pixels: Pixels, boxes: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (N, 4) means of O-Net's boxes from `PLACES`, and whether it found each face there."""
    places = np.array(PLACES, np.float32)
    width = (boxes[:, 2] - boxes[:, 0])[:, None, None]
    half = (boxes[:, 2:] - boxes[:, :2])[:, None] * places[:, 2:] / 2
    shift = width * places[:, :2]
    asked = boxes[:, None] + np.concatenate([shift - half, shift + half], axis=2)
    (found,) = recognizer.follow([pixels.image], [asked.reshape(-1, 4)])
    answers = found.boxes.reshape(-1, len(places), 4)
    is_found = ~found.is_lost.reshape(-1, len(places)).any(axis=1)
    return np.asarray(answers.mean(axis=1), np.float32), np.asarray(is_found, np.bool_)


def _smoothed(velocity: Floats, before: Floats, after: Floats) -> Floats:
    """Return the motion of (N, 4) boxes in pixels a frame, to expect them in the next."""
    shift = (after - before).reshape(-1, 2, 2).mean(axis=1)
    return np.asarray((velocity + np.tile(shift, 2)) / 2, np.float32)


def _compare(reference: Floats, found: Floats, figures: _Figures) -> None:
    figures.errors += _sides(reference, found).tolist()
    shift = (reference - found).reshape(-1, 2, 2).mean(axis=1)
    width = reference[:, 2] - reference[:, 0]
    figures.centers += (np.hypot(shift[:, 0], shift[:, 1]) / width).tolist()


def _sides(reference: Floats, found: Floats) -> NDArray[np.float64]:
    """Return the mean distance of the sides of (N, 4) boxes, in widths of the reference."""
    width = reference[:, 2] - reference[:, 0]
    return np.asarray(np.abs(reference - found).mean(axis=1) / width, np.float64)
