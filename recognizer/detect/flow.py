"""Follows faces by sparse optical flow on the luma plane, and by O-Net where flow is not certain.

Every face has a template: a small patch of the frame in which a network found it last. In each
later frame the patch at the face's expected position is compared to it by pyramidal Lucas-Kanade
(Bouguet 2000) at a few points, and a similarity transform is fitted to the points that agree. It is
certain where most agree, and the pixels around them are those of the template. Flow backward as
well would cost as much again, and changed no decision on the videos of the tests. Templates are
not replaced between two confirmations, so errors do not add up.
The cost does not depend on the size of frames or faces.

Where a full search places a box depends on the window in which it found the face: on a face in
profile it is up to a tenth of the width from where O-Net, asked from there again and again, comes
to rest. So faces to which flow leads are not searched: in the frame of a search, O-Net places them
from there, averaged with flow, and new ones once more.
"""

from cmath import phase
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.detect.detector import Detector
from recognizer.detect.scan import rolls_of
from recognizer.faces import Floats, Followed, Image
from recognizer.geometry.boxes import intersections
from recognizer.geometry.pyramid import Octaves

Luma = NDArray[np.uint8]
Complex = NDArray[np.complex128]

SIDE = 64  # of a patch, pixels
SPAN = 1.6  # sides of the face's box that a patch shows
MOST = 256  # patches per run: OpenCV's images end at 32767 columns
COARSE = 1.5  # pixels of the frame per pixel of a patch that are sampled without averaging
WINDOW, LEVELS = 11, 1  # of Lucas-Kanade: 22 px wide at its coarser level, half a face
STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 0.05)
GRID_X, GRID_Y = (0.22, 0.41, 0.59, 0.78), (0.18, 0.40, 0.62, 0.84)  # shares of the box

MAX_RESIDUAL = 1.5  # pixels of a patch from the fitted transform that a point may be
MAX_BEND = 0.5  # mean residual of the agreeing points: beyond it the head has turned
MIN_AGREEING = 0.5  # share of the points that must agree
MIN_CONTRAST = 3.0  # gray levels, standard deviation: there is nothing to follow in a flatter patch
MAX_DIFFERENCE = 0.45  # mean absolute difference from the template, in its contrasts
MAX_SCALING = 1.12  # since the template; beyond it the network should place the box again
MAX_TURN = 0.15  # radians, likewise
MAX_SHIFT = 10.0  # pixels of a patch in one step: beyond it flow may have found something else

CONFIRM_S = (
    1.2  # until a moving face is confirmed again: longer than between two searches of many cameras
)
CONFIRM_STILL_S = 2.0  # the same for a face that is where it was
LEAST_WEIGHT = 0.65  # of a network's newest box of a face in the average of all
MAX_TREMBLE = 0.08  # of a side, in widths, up to which two boxes of a face are averaged
MAX_MISPLACED = 0.4  # of a side that a search found, in widths: beyond it is another face
SAME = 0.3  # intersection over union from which a search's box is of a followed face
STILL = 0.02  # shift since the template, in widths, up to which a face is still


class Picture(Protocol):
    """A frame whose RGB image is made at its first use."""

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 RGB."""

    @property
    def luma(self) -> Octaves:
        """(H, W) uint8 luma of the same pixels, in any range, its half, and so on."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceFlow:
    """What following needs of one face. Positions in patches and frames are complex, x + iy.

    Attributes:
        patch: (SIDE, SIDE) uint8 luma where the face was confirmed.
        contrast: standard deviation of its pixels, gray levels.
        center: of the box, pixels of the patch.
        half: (2,) half of the box's width and height, pixels of the patch.
        landmarks: (5,) pixels of the patch.
        turn: scale and rotation from the patch to the last frame.
        start: where the patch's origin is in the last frame.
        first_turn: `turn` when the face was confirmed.
        first_start: `start` then.
        score: detector confidence then, in [0, 1].
        confirmed_at: when a network confirmed the face, seconds.
    """

    patch: Luma
    contrast: float
    center: complex
    half: Floats
    landmarks: Complex
    turn: complex
    start: complex
    first_turn: complex
    first_start: complex
    score: float
    confirmed_at: float

    @property
    def box(self) -> Floats:
        """(4,) float32, x1 y1 x2 y2, pixels of the last frame."""
        center, half = self.turn * self.center + self.start, abs(self.turn) * self.half
        x, y = center.real, center.imag
        return np.array([x - half[0], y - half[1], x + half[0], y + half[1]], np.float32)

    @property
    def points(self) -> Floats:
        """(5, 2) float32, landmarks in pixels of the last frame."""
        points = self.turn * self.landmarks + self.start
        return points.astype(np.complex64).view(np.float32).reshape(-1, 2)

    def moved(self, turn: complex, start: complex) -> "FaceFlow":
        """Return the same face at another position."""
        return FaceFlow(
            self.patch,
            self.contrast,
            self.center,
            self.half,
            self.landmarks,
            turn,
            start,
            self.first_turn,
            self.first_start,
            self.score,
            self.confirmed_at,
        )

    def is_due(self, at: float) -> bool:
        """Return whether a network should confirm the face, by its age and motion since."""
        age_s = at - self.confirmed_at
        if age_s < CONFIRM_S:
            scale = self.turn / self.first_turn
            return not (
                1 / MAX_SCALING <= abs(scale) <= MAX_SCALING and abs(phase(scale)) <= MAX_TURN
            )
        first = self.first_turn * self.center + self.first_start
        shift = abs(self.turn * self.center + self.start - first)
        is_still = shift <= STILL * 2 * float(self.half[0]) * abs(self.first_turn)
        return age_s >= CONFIRM_STILL_S or not is_still


class Follower:
    """Follows faces from frame to frame.

    Args:
        detector: confirms them.

    Attributes:
        n_followed: faces followed since the start, one count for each frame.
        n_confirmed: how many of those O-Net confirmed or lost.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.n_followed = self.n_confirmed = 0

    def begin(
        self,
        picture: Picture,
        boxes: Floats,
        landmarks: Floats,
        scores: Floats,
        at: float,
        *,
        led: Sequence[FaceFlow | None] | None = None,
    ) -> list[FaceFlow]:
        """Take the templates of faces that a network found in a frame.

        Args:
            picture: the frame.
            boxes: (N, 4) float32.
            landmarks: (N, 5, 2) float32.
            scores: (N,) float32.
            at: when it was captured, seconds.
            led: the faces that were followed until this frame, by `lead`, if a full search found
                these: they stay near where flow leads, and O-Net places the new ones once more.
                None to take the boxes as they are.
        """
        if not len(boxes):
            return []
        plane = picture.luma[0]
        if led is None:
            return [
                _template(plane, *each, at)
                for each in zip(boxes, landmarks, scores.tolist(), strict=True)
            ]
        before = _paired(boxes, [flow for flow in led if flow is not None])
        placed = self._placed(picture, boxes, landmarks, [flow is None for flow in before])
        return [
            _template(
                plane,
                box if flow is None else _averaged(flow.box, box),
                points,
                score,
                at,
            )
            for flow, box, points, score in zip(
                before, placed, landmarks, scores.tolist(), strict=True
            )
        ]

    def _placed(
        self, picture: Picture, boxes: Floats, landmarks: Floats, is_new: Sequence[bool]
    ) -> Floats:
        """Return the (N, 4) boxes of a search, new faces' as O-Net places them once more."""
        rows = np.flatnonzero(is_new)
        if not len(rows):
            return boxes
        (again,) = self._detector.follow(
            [picture.image], [boxes[rows]], [rolls_of(landmarks[rows])]
        )
        placed = boxes.copy()
        for row, box, is_lost in zip(rows, again.boxes, again.is_lost, strict=True):
            # One that is far from there may be another face, beside it.
            if not is_lost and _distance(boxes[row], box) <= MAX_MISPLACED:
                placed[row] = box
        return placed

    def lead(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
    ) -> list[list[FaceFlow | None]]:
        """Follow known faces into the next frame of each camera by flow alone, for a search.

        Args:
            pictures: the frames.
            flows: the faces of each.
            expected: for each frame (n, 4) float32, where its faces should be.

        Returns:
            For each frame its faces, in the order of `flows`; None where flow is not certain.
        """
        planes = [picture.luma[0] for picture in pictures]
        sources = [plane for plane, group in zip(planes, flows, strict=True) for _ in group]
        after, is_sure = _flow_all(
            sources,
            [flow for group in flows for flow in group],
            [box for group in expected for box in group],
        )
        faces = iter([flow if sure else None for flow, sure in zip(after, is_sure, strict=True)])
        return [[next(faces) for _ in group] for group in flows]

    def follow(
        self,
        pictures: Sequence[Picture],
        flows: Sequence[Sequence[FaceFlow]],
        expected: Sequence[Floats],
        at: Sequence[float],
    ) -> list[tuple[Followed, list[FaceFlow]]]:
        """Follow known faces into the next frame of each camera.

        Args:
            pictures: the frames.
            flows: the faces of each.
            expected: for each frame (n, 4) float32, where its faces should be.
            at: when each frame was captured, seconds.

        Returns:
            For each frame its faces, rows in the order of `flows`, and what the next call needs.
        """
        planes = [picture.luma[0] for picture in pictures]
        owners = [number for number, group in enumerate(flows) for _ in group]
        before = [flow for group in flows for flow in group]
        places = [box for group in expected for box in group]
        self.n_followed += len(before)
        after, is_sure = _flow_all([planes[owner] for owner in owners], before, places)
        doubtful = [
            not sure or flow.is_due(at[owner])
            for flow, sure, owner in zip(after, is_sure, owners, strict=True)
        ]
        lost = self._confirm(pictures, planes, owners, places, after, doubtful, at)
        results: list[tuple[Followed, list[FaceFlow]]] = []
        start = 0
        for group in flows:
            rows = slice(start, start + len(group))
            start += len(group)
            results.append((_followed(after[rows], lost[rows]), after[rows]))
        return results

    def _confirm(
        self,
        pictures: Sequence[Picture],
        planes: Sequence[Luma],
        owners: Sequence[int],
        places: Sequence[Floats],
        flows: list[FaceFlow],
        doubtful: Sequence[bool],
        at: Sequence[float],
    ) -> list[float | None]:
        """Run O-Net on the doubtful faces, in place; return the score of those that are lost."""
        lost: list[float | None] = [None] * len(flows)
        busy = sorted(
            {owner for owner, is_doubtful in zip(owners, doubtful, strict=True) if is_doubtful}
        )
        rows = [
            [row for row, owner in enumerate(owners) if owner == camera and doubtful[row]]
            for camera in busy
        ]
        if not busy:
            return lost
        boxes = [np.stack([flows[row].box for row in group]) for group in rows]
        angles = [rolls_of(np.stack([flows[row].points for row in group])) for group in rows]
        found = self._detector.follow([pictures[camera].image for camera in busy], boxes, angles)
        for camera, group, result in zip(busy, rows, found, strict=True):
            self.n_confirmed += len(group)
            for i, row in enumerate(group):
                score = float(result.scores[i])
                if result.is_lost[i]:
                    lost[row] = score
                    continue
                box = _averaged(flows[row].box, result.boxes[i])
                flows[row] = _template(planes[camera], box, result.landmarks[i], score, at[camera])
        return lost


def _followed(flows: Sequence[FaceFlow], lost: Sequence[float | None]) -> Followed:
    turns = np.array([flow.turn for flow in flows], np.complex128)
    starts = np.array([flow.start for flow in flows], np.complex128)
    centers = turns * np.array([flow.center for flow in flows], np.complex128) + starts
    halves = np.stack([flow.half for flow in flows]) if flows else np.empty((0, 2), np.float32)
    halves = np.abs(turns)[:, None] * halves
    middles = np.stack([centers.real, centers.imag], axis=1)
    landmarks = np.array([flow.landmarks for flow in flows], np.complex128).reshape(-1, 5)
    points = turns[:, None] * landmarks + starts[:, None]
    return Followed(
        np.hstack([middles - halves, middles + halves]).astype(np.float32),
        points.astype(np.complex64).view(np.float32).reshape(-1, 5, 2),
        np.array(
            [
                flow.score if score is None else score
                for flow, score in zip(flows, lost, strict=True)
            ],
            np.float32,
        ),
        np.array([score is not None for score in lost], bool),
    )


def _averaged(expected: Floats, found: Floats) -> Floats:
    """Return a network's box, averaged with the one to which flow led if both nearly agree."""
    weight = np.float32(max(LEAST_WEIGHT, _distance(expected, found) / MAX_TREMBLE))
    return found if weight >= 1 else np.asarray(expected + weight * (found - expected), np.float32)


def _distance(expected: Floats, found: Floats) -> float:
    """Return how far the sides of two boxes of a face are apart at most, in widths."""
    return float(np.abs(found - expected).max() / max(found[2] - found[0], 1.0))


def _paired(boxes: Floats, led: Sequence[FaceFlow]) -> list[FaceFlow | None]:
    """Return which of the faces, led into a frame, each of its (N, 4) boxes shows, if any."""
    paired: list[FaceFlow | None] = [None] * len(boxes)
    if not led:
        return paired
    places = np.stack([flow.box for flow in led]).astype(np.float64)
    shared = intersections(boxes.astype(np.float64), places)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, places)]
    overlaps = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
    while overlaps.max() >= SAME:  # the nearest first
        row, column = divmod(int(overlaps.argmax()), len(led))
        if _distance(led[column].box, boxes[row]) <= MAX_MISPLACED:
            paired[row] = led[column]
        overlaps[row] = overlaps[:, column] = 0
    return paired


def _template(plane: Luma, box: Floats, landmarks: Floats, score: float, at: float) -> FaceFlow:
    """Take the template of a face."""
    x1, y1, x2, y2 = (float(value) for value in box)
    center = complex(x1 + x2, y1 + y2) / 2
    turn = complex(max(x2 - x1, y2 - y1, 4.0) * SPAN / SIDE)
    start = center - turn * complex(SIDE, SIDE) / 2
    patch = np.empty((SIDE, SIDE), np.uint8)
    _cut(plane, turn, start, patch)
    inner = patch[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4]
    points = landmarks[:, 0] + 1j * landmarks[:, 1]
    return FaceFlow(
        patch,
        float(cv2.meanStdDev(inner)[1][0, 0]),
        complex(SIDE, SIDE) / 2,
        np.array([x2 - x1, y2 - y1], np.float32) / np.float32(2 * turn.real),
        (points - start) / turn,
        turn,
        start,
        turn,
        start,
        score,
        at,
    )


def _cut(plane: Luma, turn: complex, start: complex, out: Luma) -> None:
    """Cut the patch at a position out of a frame; outside the frame its border is repeated."""
    by = 1
    if abs(turn) >= 2 * COARSE:
        # Averaged before it is sampled, for the part of the frame that the patch shows alone.
        by = 1 << int(np.log2(min(abs(turn), 64.0) / COARSE))
        middle, reach = turn * complex(SIDE, SIDE) / 2 + start, abs(turn) * SIDE * 0.75
        height, width = plane.shape
        x1, x2, y1, y2 = (
            min(max(int(place // by) * by, 0), size // by * by)
            for place, size in (
                (middle.real - reach, width),
                (middle.real + reach, width),
                (middle.imag - reach, height),
                (middle.imag + reach, height),
            )
        )
        if x2 - x1 >= by and y2 - y1 >= by:
            size = ((x2 - x1) // by, (y2 - y1) // by)
            small = cv2.resize(plane[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA)
            plane = np.asarray(small, np.uint8)
            start = (start - complex(x1, y1) + 0.5 + 0.5j) / by - 0.5 - 0.5j
            turn = turn / by
    matrix = np.array([[turn.real, -turn.imag, start.real], [turn.imag, turn.real, start.imag]])
    cv2.warpAffine(
        plane,
        matrix,
        (SIDE, SIDE),
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _flow_all(
    sources: Sequence[Luma], flows: Sequence[FaceFlow], expected: Sequence[Floats]
) -> tuple[list[FaceFlow], list[bool]]:
    """Follow any number of faces, see `_flow`."""
    after: list[FaceFlow] = []
    is_sure: list[bool] = []
    for first in range(0, len(flows), MOST):
        part = slice(first, first + MOST)
        found, sure = _flow(sources[part], flows[part], expected[part])
        after += found
        is_sure += sure
    return after, is_sure


def _flow(
    sources: Sequence[Luma], flows: Sequence[FaceFlow], expected: Sequence[Floats]
) -> tuple[list[FaceFlow], list[bool]]:
    """Follow faces by flow alone; return where they are, and whether that is certain."""
    n = len(flows)
    if not n:
        return [], []
    first = np.hstack([flow.patch for flow in flows])
    second = np.empty((SIDE, n * SIDE), np.uint8)
    shifts = []
    for row, (plane, flow, box) in enumerate(zip(sources, flows, expected, strict=True)):
        center = complex(float(box[0] + box[2]), float(box[1] + box[3])) / 2
        shifts.append(center - flow.turn * flow.center)
        _cut(plane, flow.turn, shifts[row], second[:, row * SIDE : (row + 1) * SIDE])
    halves = np.stack([flow.half for flow in flows])  # (N, 2)
    grid = np.array([complex(2 * x - 1, 2 * y - 1) for y in GRID_Y for x in GRID_X])
    centers: Complex = np.array([[flow.center] for flow in flows], np.complex128)
    spots: Complex = centers + halves[:, :1] * grid.real + 1j * halves[:, 1:] * grid.imag
    spots = np.concatenate([spots, np.stack([flow.landmarks for flow in flows])], axis=1)
    offsets = SIDE * np.arange(n)[:, None]
    there, is_good, difference = _lucas_kanade(first, second, spots + offsets)
    turn, start, is_agreeing, bend = _fit(spots, there - offsets, is_good)
    share = is_agreeing.mean(axis=1)
    contrast = np.array([flow.contrast for flow in flows])
    counts = np.maximum(is_agreeing.sum(axis=1), 1)
    unlike = (difference * is_agreeing).sum(axis=1) / counts / np.maximum(contrast, MIN_CONTRAST)
    shift = np.abs(turn * centers[:, 0] + start - centers[:, 0])
    is_sure = (
        (share >= MIN_AGREEING)
        & (contrast >= MIN_CONTRAST)
        & (unlike <= MAX_DIFFERENCE)
        & (shift <= MAX_SHIFT)
        & (bend <= MAX_BEND)
    )
    found = [
        flow.moved(
            flow.turn * complex(turn[row]),
            flow.turn * complex(start[row]) + shifts[row],
        )
        if share[row] >= MIN_AGREEING
        else flow.moved(flow.turn, shifts[row])
        for row, flow in enumerate(flows)
    ]
    return found, [bool(sure) for sure in is_sure]


def _lucas_kanade(
    first: Luma, second: Luma, spots: Complex
) -> tuple[Complex, NDArray[np.bool_], NDArray[np.float64]]:
    """Follow points from one image to another.

    Args:
        first: (H, W) uint8.
        second: likewise.
        spots: (N, P) positions in the first.

    Returns:
        (N, P) positions in the second, whether each was found, and the mean absolute
        difference of the pixels around it.
    """
    points = np.stack([spots.real, spots.imag], axis=-1).astype(np.float32).reshape(-1, 1, 2)
    window = (WINDOW, WINDOW)
    there, is_found, error = cv2.calcOpticalFlowPyrLK(
        first,
        second,
        points,
        points.copy(),
        winSize=window,
        maxLevel=LEVELS,
        criteria=STEPS,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    shape = spots.shape
    flat = there[:, 0, 0].astype(np.float64) + 1j * there[:, 0, 1]
    return (
        flat.reshape(shape),
        (is_found[:, 0] == 1).reshape(shape),
        error.reshape(shape).astype(np.float64),
    )


def _fit(
    spots: Complex, there: Complex, is_good: NDArray[np.bool_]
) -> tuple[Complex, Complex, NDArray[np.bool_], NDArray[np.float64]]:
    """Fit a similarity transform to the points of each face that agree on one.

    Args:
        spots: (N, P) positions before.
        there: (N, P) positions after.
        is_good: (N, P) which to use.

    Returns:
        (N,) scale and rotation, (N,) shift, (N, P) which points agree, and (N,) the mean
        distance of those from where the transform leads.
    """
    # The median motion is right as long as half of the points are on the face.
    motion = there - spots
    last = np.maximum(is_good.sum(axis=1, keepdims=True) - 1, 0)
    x, y = (
        np.take_along_axis(np.sort(np.where(is_good, each, np.inf), axis=1), last // 2, axis=1)
        for each in (motion.real, motion.imag)
    )
    middle = np.where(np.isfinite(x), x, 0) + 1j * np.where(np.isfinite(y), y, 0)
    agrees = is_good & (np.abs(motion - middle) <= 4 * MAX_RESIDUAL)
    turn = np.ones(len(spots), np.complex128)
    start = np.zeros(len(spots), np.complex128)
    residual = np.zeros(spots.shape)
    for limit in (2 * MAX_RESIDUAL, MAX_RESIDUAL):
        weights = agrees / np.maximum(agrees.sum(axis=1, keepdims=True), 1)
        from_mean = (weights * spots).sum(axis=1, keepdims=True)
        to_mean = (weights * there).sum(axis=1, keepdims=True)
        before, after = spots - from_mean, there - to_mean
        spread = (weights * np.abs(before) ** 2).sum(axis=1)
        turn = (weights * after * before.conj()).sum(axis=1) / np.maximum(spread, 1e-9)
        turn = np.where(agrees.sum(axis=1) >= 4, turn, 1)
        start = to_mean[:, 0] - turn * from_mean[:, 0]
        residual = np.abs(turn[:, None] * spots + start[:, None] - there)
        agrees = is_good & (residual <= limit)
    counts = np.maximum(agrees.sum(axis=1), 1)
    return turn, start, agrees, (residual * agrees).sum(axis=1) / counts
