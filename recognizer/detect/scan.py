"""Searches the frames of a live camera: small faces part by part, turned ones in turn.

Half of the pixels that P-Net reads belong to the levels for faces below `SMALL_PX`, and a turned
face needs another search for every angle. In a film neither must be found in every frame: small
faces are searched where something moved, and elsewhere one tile after another; turned faces by one
angle at a time, small ones only where something moved. Faces found before are confirmed by O-Net
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognizer.detect.detector import Detector
from recognizer.detect.turning import Turn, turned_back
from recognizer.detect.upright import LEAD_LOGIT, MAX_MISFIT_PX, logits_of, misfits
from recognizer.engines.devices import open_engine
from recognizer.errors import DeviceError
from recognizer.faces import Detections, Floats, Followed, Image
from recognizer.geometry.boxes import intersections, suppress
from recognizer.geometry.quality import head_poses

SMALL_PX = 40  # faces below are searched in tiles
TILE = (180, 320)  # height and width of a tile, pixels, about
MARGIN = 36  # of a tile, pixels: P-Net's window for faces of `SMALL_PX`
ROUND = 4  # scans in which each tile that moves is searched once
SAMPLE = 8  # pixels between two samples of a frame, for motion
MOVED = 12.0  # gray levels by which a sample must change, at least
NOISES = 5.0  # and in standard deviations of the frame's noise
MAX_NOISE = 9.0  # gray levels; a larger median change is motion of most of the frame
MOVED_SAMPLES = 3  # of a tile that must have changed: a face of 24 px has nine

TURNS = (90, 270, 180, 45, 315, 135, 225)  # degrees counterclockwise that are tried in turn
TURNED_PX = 80  # smallest turned face that is searched in the whole frame
SMALL_TURNED_PX = 40  # and where something moved, by one angle at one place at a time
PLACE_EVERY = 4  # scans from one such place to the next
PLACE_OFTEN = 2  # the same where nobody is upright
PLACE_STEP = 128  # pixels to which its sides are rounded up: OpenVINO takes 2 ms for a new shape
REACH = 40  # pixels around what moved in a tile, that are searched by turns
TURN_EVERY = 8  # scans from one turned search to the next
TURN_OFTEN = 2  # the same until all are tried after a motion, where nobody is upright
TURNED_DEG = 30.0  # roll from which a face is followed as a turned one
UPRIGHT_SCORE = 0.99  # from which an upright face is certain
TURNED_SCORE = 0.9  # of O-Net, that a turned face must reach to be found
SEEN_SCORE = 0.6  # of O-Net, that keeps a face that the scan did not search for
SAME = 0.3  # intersection over union from which two boxes are one face


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Faces of a camera that are followed already.

    Attributes:
        boxes: (N, 4) float32, where they should be in this frame.
        landmarks: (N, 5, 2) float32, where they were last seen.
        is_led: (N,) bool, which are certainly there, by optical flow: those are not searched,
            O-Net places them. None for none.
    """

    boxes: Floats
    landmarks: Floats
    is_led: NDArray[np.bool_] | None = None

    @property
    def led(self) -> NDArray[np.bool_]:
        """(N,) bool, `is_led`."""
        return np.zeros(len(self.boxes), np.bool_) if self.is_led is None else self.is_led


NOBODY = Known(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32))


@dataclass(slots=True, eq=False)
class _Moved:
    """What moved in a tile, to be searched for turned faces.

    Attributes:
        box: (4,) x1 y1 x2 y2, pixels.
        left: angles to try.
        n_searched: angles tried since it was noted first.
        searched: scan of the last of them.
    """

    box: NDArray[np.intp]
    left: int = len(TURNS)
    n_searched: int = 0
    searched: int = 0


class LiveScan:
    """What has been searched of one camera's frames, and what is next."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._seen: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._tiles: NDArray[np.intp] = np.empty((0, 4), np.intp)
        self._samples: list[tuple[slice, slice]] = []
        self._searched: NDArray[np.intp] = np.empty(0, np.intp)
        self._n_scans = 0
        self._n_turns = 0
        self._is_anybody_upright = True
        self._turns_left = 0
        self._n_waiting = 0
        self._moved: dict[int, _Moved] = {}  # by tile, until all angles are tried there

    def tiles(self, image: Image) -> NDArray[np.intp]:
        """Return the tiles of a frame to search for small faces, and count them as searched.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (n, 4) x1 y1 x2 y2 in pixels: those that changed since they were searched, the longest
            waiting first, and the one that was searched longest ago.
        """
        self._n_scans += 1
        samples = image[::SAMPLE, ::SAMPLE, 1].astype(np.float32)  # green as lightness
        if image.shape[:2] != self._size:
            self._divide(image.shape[0], image.shape[1])
            self._seen = np.full_like(samples, np.inf)
        change = np.abs(samples - self._seen)
        known = change[np.isfinite(change)]
        noise = min(float(np.median(known)) / 0.67, MAX_NOISE) if known.size else 0.0
        is_changed = change > max(MOVED, NOISES * noise)
        counts = np.array([int(is_changed[part].sum()) for part in self._samples])
        by_age = np.argsort(self._searched, kind="stable")
        moved = by_age[counts[by_age] >= MOVED_SAMPLES]
        if len(moved):
            self._turns_left = len(TURNS)
        for tile in moved.tolist():
            self._note_motion(tile, is_changed)
        n = -(-len(self._tiles) // ROUND)
        # the oldest of all comes first, so that no tile waits for ever
        chosen = list(dict.fromkeys([int(by_age[0]), *moved.tolist()]))[:n]
        for tile in chosen:
            self._searched[tile] = self._n_scans
            self._seen[self._samples[tile]] = samples[self._samples[tile]]
        self._n_waiting = len(set(moved.tolist()) - set(chosen))
        return self._tiles[chosen]

    def turn(self) -> int:
        """Return the angle to search next, degrees counterclockwise; 0 for none in this scan."""
        if self._n_scans % (TURN_OFTEN if self._is_turning else TURN_EVERY):
            return 0
        self._n_turns += 1
        self._turns_left = max(0, self._turns_left - 1)
        return TURNS[(self._n_turns - 1) % len(TURNS)]

    def turned_place(self) -> tuple[NDArray[np.intp], int] | None:
        """Return where to search for small turned faces in this scan, and by which angle.

        Returns:
            (4,) x1 y1 x2 y2 in pixels around something that moved, the longest waiting first, and
            degrees counterclockwise; None for none in this scan.
        """
        every = PLACE_EVERY if self._is_anybody_upright else PLACE_OFTEN
        if not self._moved or self._n_scans % every != 1:
            return None
        tile = min(self._moved, key=lambda each: self._moved[each].searched)
        place = self._moved[tile]
        angle = TURNS[place.n_searched % len(TURNS)]
        place.n_searched += 1
        place.left -= 1
        place.searched = self._n_scans
        if not place.left:
            del self._moved[tile]
        return place.box, angle

    def _note_motion(self, tile: int, is_changed: NDArray[np.bool_]) -> None:
        part = self._samples[tile]
        y, x = np.nonzero(is_changed[part])
        first = np.array([part[1].start + x.min(), part[0].start + y.min()]) * SAMPLE - REACH
        last = np.array([part[1].start + x.max(), part[0].start + y.max()]) * SAMPLE + REACH
        height, width = self._size
        before = self._moved.get(tile)
        if before is None:
            before = self._moved[tile] = _Moved(np.concatenate([first, last]))
        else:
            # what moved since the first of the angles, so that a whole round sees each place
            before.box = np.concatenate(
                [np.minimum(before.box[:2], first), np.maximum(before.box[2:], last)]
            )
        before.left = len(TURNS)
        before.box = before.box.clip(0, [width, height, width, height]).astype(np.intp)

    @property
    def has_more(self) -> bool:
        """Whether something that moved is not searched yet for small or turned faces."""
        return self._n_waiting > 0 or self._is_turning

    @property
    def _is_turning(self) -> bool:
        """Whether all angles are to be tried soon."""
        return self._turns_left > 0 and not self._is_anybody_upright

    def found(self, *, is_anybody_upright: bool) -> None:
        """Note whether the scan found an upright face."""
        self._is_anybody_upright = is_anybody_upright

    def _divide(self, height: int, width: int) -> None:
        """Divide frames of a size into overlapping tiles of one size."""
        self._size = height, width
        rows, own_rows = _spans(height, TILE[0])
        columns, own_columns = _spans(width, TILE[1])
        self._tiles = np.array(
            [(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns], np.intp
        ).reshape(-1, 4)
        self._samples = [(y, x) for y in own_rows for x in own_columns]
        self._searched = np.zeros(len(self._tiles), np.intp)
        self._moved.clear()


def scanner_of(detector: Detector, *, threads: int) -> Detector:
    """Return a detector for live frames that finds the same, on a CPU with bf16 in less time.

    Args:
        detector: as precise as its engine.
        threads: as in `open_engine`.
    """
    if detector.device != "cpu":
        return detector
    try:
        return detector.drafted_by(open_engine("cpu", threads=threads, precision="bf16"))
    except DeviceError:
        return detector


def scan_frames(
    detector: Detector,
    images: Sequence[Image],
    scans: Sequence[LiveScan],
    known: Sequence[Known],
) -> list[Detections]:
    """Find the faces of one frame of each of several cameras.

    Args:
        detector: finds and follows.
        images: each (H, W, 3) uint8 RGB; sizes may differ.
        scans: of each camera.
        known: the faces that are followed in each.

    Returns:
        One `Detections` per image. Landmarks of a turned face are the person's: the left eye is
        the one that is left in the upright face.
    """
    parts = [scan.tiles(image) for scan, image in zip(scans, images, strict=True)]
    without = [before.boxes[before.led] for before in known]
    if detector.scans_in_parts:
        found = detector.detect(images, small_px=SMALL_PX, parts=parts, without=without)
    else:
        found = detector.detect(images, without=without)
    turned = _search_turned(detector, images, scans)
    boxes, angles, limits, n_led = [], [], [], []
    for faces, more, before, tiles in zip(found, turned, known, parts, strict=True):
        rolls = rolls_of(before.landmarks)
        sides = (before.boxes[:, 2:] - before.boxes[:, :2]).max(axis=1, initial=0)
        is_small = (sides < SMALL_PX) & ~_are_inside(before.boxes, tiles)
        led = before.led
        kept = ~led & ((rolls != 0) | (is_small & _are_new(before.boxes, faces.boxes)))
        boxes.append(np.concatenate([before.boxes[led], before.boxes[kept], more.boxes]))
        angles.append(np.concatenate([rolls[led], rolls[kept], rolls_of(more.landmarks)]))
        n_led.append(int(led.sum()))
        limits.append(
            np.repeat([SEEN_SCORE, TURNED_SCORE], [n_led[-1] + int(kept.sum()), len(more)]).astype(
                np.float32
            )
        )
    confirmed = detector.follow(images, boxes, angles) if any(map(len, boxes)) else []
    results = []
    for position, (faces, scan) in enumerate(zip(found, scans, strict=True)):
        result = faces
        if confirmed and len(boxes[position]):
            seen, n = confirmed[position], n_led[position]
            good = ~seen.is_lost & (seen.scores >= limits[position])
            good[n:] &= misfits(seen.landmarks[n:]) <= MAX_MISFIT_PX
            placed, others = np.flatnonzero(good[:n]), n + np.flatnonzero(good[n:])
            result = _with_led(detector, faces, _rows(seen, placed))
            result = _joined(result, _rows(seen, others))
        scan.found(is_anybody_upright=_is_anybody_upright(result))
        results.append(result)
    return results


def _is_anybody_upright(faces: Detections) -> bool:
    return bool(((faces.scores >= UPRIGHT_SCORE) & (rolls_of(faces.landmarks) == 0)).any())


def _rows(seen: Followed, rows: NDArray[np.intp]) -> Detections:
    return Detections(seen.boxes[rows], seen.landmarks[rows], seen.scores[rows])


def _with_led(detector: Detector, faces: Detections, led: Detections) -> Detections:
    """Add the faces that were not searched, and keep the best of those that are one."""
    if not len(led):
        return faces
    boxes = np.concatenate([faces.boxes, led.boxes])
    scores = np.concatenate([faces.scores, led.scores])
    rows = suppress(
        boxes.astype(np.float64),
        scores.astype(np.float64),
        overlap=detector.options.output_overlap,
        by_smaller=True,
    )
    landmarks = np.concatenate([faces.landmarks, led.landmarks])
    return Detections(boxes[rows], landmarks[rows], scores[rows])


def rolls_of(landmarks: Floats) -> Floats:
    """Return how far (N, 5, 2) landmarks are turned clockwise: (N,) degrees, 0 below `TURNED_DEG`.

    The detector finds faces that are turned less as well as upright ones.
    """
    rolls = head_poses(landmarks)[:, 2]
    return np.where(np.abs(rolls) >= TURNED_DEG, rolls, 0).astype(np.float32)


def _search_turned(
    detector: Detector, images: Sequence[Image], scans: Sequence[LiveScan]
) -> list[Detections]:
    """Search each frame at half its size by the next angle, and one place for small faces."""
    results = [[_no_faces()] for _ in images]
    smallest = detector.options.min_face_px
    wholes, places = [], []
    for position, (image, scan) in enumerate(zip(images, scans, strict=True)):
        height, width = image.shape[:2]
        if angle := scan.turn():
            whole = np.array([0, 0, width, height])
            wholes.append((position, whole, Turn(angle, height, width, scale=0.5)))
        if place := scan.turned_place():
            box = _rounded_up(place[0], height, width)
            x1, y1, x2, y2 = box.tolist()
            places.append((position, box, Turn(place[1], y2 - y1, x2 - x1)))
    for wanted, least, is_whole in (
        (wholes, max(TURNED_PX, smallest) // 2, True),
        (places, max(SMALL_TURNED_PX, smallest), False),
    ):
        if not wanted:
            continue
        views = [
            turn.image_of(np.ascontiguousarray(images[position][y1:y2, x1:x2]))
            for position, (x1, y1, x2, y2), turn in wanted
        ]
        found = detector.detect(views, min_face_px=least, add_largest=is_whole)
        for (position, box, turn), faces in zip(wanted, found, strict=True):
            results[position].append(_turned_faces(faces, turn, box[:2]))
    return [
        Detections(
            np.concatenate([faces.boxes for faces in groups]),
            np.concatenate([faces.landmarks for faces in groups]),
            np.concatenate([faces.scores for faces in groups]),
        )
        for groups in results
    ]


def _rounded_up(box: NDArray[np.intp], height: int, width: int) -> NDArray[np.intp]:
    """Enlarge a box (4,) within a frame, so that its sides have one of a few lengths."""
    limits = np.array([width, height])
    sides = np.minimum(-(-(box[2:] - box[:2]) // PLACE_STEP) * PLACE_STEP, limits)
    first = ((box[:2] + box[2:] - sides) // 2).clip(0, limits - sides)
    return np.concatenate([first, first + sides])


def _turned_faces(faces: Detections, turn: Turn, corner: NDArray[np.intp]) -> Detections:
    """Return those that are upright in a turned part of a frame, in pixels of the frame."""
    # what is not upright in the turned frame is found better by another angle
    good = (np.abs(head_poses(faces.landmarks)[:, 2]) <= 35) & (
        misfits(faces.landmarks) <= MAX_MISFIT_PX
    )
    good_faces = Detections(faces.boxes[good], faces.landmarks[good], faces.scores[good])
    back = turned_back(good_faces, turn)
    is_turned = rolls_of(back.landmarks) != 0
    shift = corner.astype(np.float32)
    return Detections(
        back.boxes[is_turned] + np.tile(shift, 2),
        back.landmarks[is_turned] + shift,
        back.scores[is_turned],
    )


def _joined(faces: Detections, more: Detections) -> Detections:
    """Add faces that overlap none, and turned ones in place of those that are less certain.

    On every other turned face the cascade finds an upright one, of a lower score.
    """
    logits, others = logits_of(faces.scores), logits_of(more.scores)
    is_turned = rolls_of(more.landmarks) != 0
    rivals = ~_are_new_each(more.boxes, faces.boxes)
    is_kept = np.ones(len(faces), bool)
    added: list[int] = []
    for row in np.argsort(-more.scores, kind="stable"):
        if not _are_new(more.boxes[row : row + 1], more.boxes[added])[0]:
            continue
        rival = rivals[row] & is_kept
        if not rival.any() or (is_turned[row] and others[row] >= logits[rival].max() + LEAD_LOGIT):
            is_kept &= ~rival
            added.append(row)
    if not added:
        return faces
    scores = np.concatenate([faces.scores[is_kept], more.scores[added]])
    order = np.argsort(-scores, kind="stable")
    return Detections(
        np.concatenate([faces.boxes[is_kept], more.boxes[added]])[order],
        np.concatenate([faces.landmarks[is_kept], more.landmarks[added]])[order],
        scores[order],
    )


def _are_new(boxes: Floats, found: Floats) -> NDArray[np.bool_]:
    """Return (N,): which boxes (N, 4) overlap none of the found (M, 4)."""
    return np.asarray(_are_new_each(boxes, found).all(axis=1), np.bool_)


def _are_new_each(boxes: Floats, found: Floats) -> NDArray[np.bool_]:
    """Return (N, M): whether each of (N, 4) boxes and each of (M, 4) are two faces."""
    shared = intersections(boxes.astype(np.float64), found.astype(np.float64))
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1).astype(np.float64) for each in (boxes, found)]
    unions = areas[0][:, None] + areas[1] - shared
    return np.asarray(shared < SAME * unions, np.bool_)


def _are_inside(boxes: Floats, tiles: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return (N,): which boxes (N, 4) have their center in a tile."""
    centers = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    inside = np.all((centers >= tiles[:, :2]) & (centers < tiles[:, 2:]), axis=2)
    return np.asarray(np.any(inside, axis=1), np.bool_)


def _spans(length: int, wanted: int) -> tuple[list[tuple[int, int]], list[slice]]:
    """Divide a side: (start, stop) of each tile with its margin, and its own samples."""
    n = max(1, round(length / wanted))
    own = -(-length // n)
    side = min(own + MARGIN, length)
    spans, samples = [], []
    for i in range(n):
        start = min(i * own, length - side)
        spans.append((start, start + side))
        samples.append(slice(-(-i * own // SAMPLE), -(-min((i + 1) * own, length) // SAMPLE)))
    return spans, samples


def _no_faces() -> Detections:
    return Detections(
        np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
    )
