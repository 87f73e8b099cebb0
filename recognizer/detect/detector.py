"""MTCNN's cascade: P-Net proposes, R-Net refines, O-Net decides and finds the landmarks.

All images of a call share one P-Net run per pyramid level (of equally sized images), one R-Net run
and one O-Net run. Source of the algorithm: Zhang et al. 2016.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer.detect.mtcnn import (
    INPUT_SIZE,
    STRIDE,
    WINDOW,
    NetWeights,
    ProposalNet,
    build_graph,
)
from recognizer.detect.refinement import LandmarkRefiner
from recognizer.detect.turning import turned_about
from recognizer.engines.device_images import MAX_BATCH
from recognizer.engines.engine import Engine, Network, rows_for
from recognizer.engines.image_work import Images, ImageWork, open_image_work
from recognizer.faces import Detections, Floats, Followed, Image, checked_image
from recognizer.geometry.boxes import (
    Boxes,
    calibrate,
    intersections,
    square,
    suppress_each,
    touches,
)
from recognizer.geometry.exposure import normalized
from recognizer.geometry.pyramid import scales

# the last box, squared, is taken at this size: measured over 350 faces of a real clip, O-Net loses
# 2 % of them at 0.9, 13 % at 1.0 and 41 % at 1.2, because it was trained on tight boxes
FOLLOW_SIZE = 0.9
FOLLOW_REACH = 3  # larger sides of the image, from its corner, that a box may reach
FRAMED_PX = 48  # shorter side of the small copy in which the largest faces are searched, pixels
FRAME_SHARE = 0.35  # of it, that the copy is extended by on each side
LARGE_SHARE = 0.6  # of an image's shorter side, from which a face counts as large
LARGE_SCORE = 0.85  # of O-Net, that such a face must reach
ALONE_SCORE = 0.9  # of a face beside which no such face is searched
LARGE_SHARED = 0.3  # of another face's box, that it may not cover
SAME_FACE = 0.4  # intersection over union from which a candidate is of a face that is known
INSIDE = 0.7  # of a candidate, that lies in the box of such a face
FOLLOW_SCORE = 0.6  # O-Net's score below which a followed face is lost


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """Options of the cascade.

    Attributes:
        min_face_px: side of the smallest face to find, pixels.
        factor: scale between levels of the pyramid, in (0, 1).
        thresholds: scores that P-, R- and O-Net must exceed, in [0, 1). A stricter P-Net and a
            milder R-Net than the usual 0.6 and 0.7 find the same faces from half the candidates
            (27 instead of 60 an image). O-Net's 0.5 keeps every face that facenet-pytorch finds
            in 349 photos of the test data (362 faces), with 5 more; 0.7 loses 5.
        level_overlap: intersection over union, in [0, 1], above which P-Net's boxes of a level
            are one.
        pyramid_overlap: the same for the boxes of all levels.
        refine_overlap: the same after R-Net.
        output_overlap: intersection over the smaller box, after O-Net.
    """

    min_face_px: int = 40
    factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.85, 0.6, 0.5)
    level_overlap: float = 0.5
    pyramid_overlap: float = 0.7
    refine_overlap: float = 0.7
    output_overlap: float = 0.7

    def __post_init__(self) -> None:
        if self.min_face_px < WINDOW:
            raise ValueError(f"min_face_px must be at least {WINDOW}, got {self.min_face_px}")
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        if len(self.thresholds) != 3 or not all(score < 1 for score in self.thresholds):
            raise ValueError(f"thresholds must be three scores below 1, got {self.thresholds}")
        for name in ("level_overlap", "pyramid_overlap", "refine_overlap", "output_overlap"):
            if not 0 <= (overlap := getattr(self, name)) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {overlap}")


DEFAULT_OPTIONS = DetectorOptions()


@dataclass(slots=True, eq=False)
class Candidates:
    """Boxes between two stages of the cascade, of all images of a call.

    Attributes:
        owners: (N,) index of each box's image.
        boxes: (N, 4) float64.
        scores: (N,) float64.
        offsets: (N, 4) float64 by the last network.
    """

    owners: NDArray[np.intp]
    boxes: Boxes
    scores: Boxes
    offsets: Boxes

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Candidates":
        return Candidates(
            self.owners[rows], self.boxes[rows], self.scores[rows], self.offsets[rows]
        )

    def __len__(self) -> int:
        return len(self.owners)


class Detector:
    """Finds faces in batches of images by MTCNN.

    Attributes:
        options: of the cascade.
        device: "cpu" or "cuda".
        image_work: where scaling and cropping happen.
    """

    def __init__(
        self,
        engine: Engine,
        weights: dict[str, NetWeights],
        options: DetectorOptions = DEFAULT_OPTIONS,
        *,
        refiner: LandmarkRefiner | None = None,
        image_work: ImageWork | None = None,
    ) -> None:
        """Load the three networks.

        Args:
            engine: runs them.
            weights: of each.
            options: of the cascade.
            refiner: refines the landmarks; None to leave them as O-Net gives them.
            image_work: where scaling and cropping happen; None for where the engine runs.
        """
        self.options = options
        self.device = engine.device
        self.image_work = image_work or open_image_work(engine)
        self._refiner = refiner
        self._pnet = ProposalNet(engine, weights["pnet"])
        self._rnet, self._onet = (
            engine.load(build_graph(weights[name]), name=name, most_rows=MAX_BATCH)
            for name in INPUT_SIZE
        )

    def drafted_by(self, engine: Engine) -> "Detector":
        """Return a detector that finds the same, and whose P-Net is drafted by a faster engine.

        Args:
            engine: of the same device, less precise.
        """
        other = copy(self)
        other._pnet = self._pnet.drafted_by(engine, limit=_logit(self.options.thresholds[0]))
        return other

    @property
    def scans_in_parts(self) -> bool:
        """Whether parts of images are cheaper than all of them: a GPU scans them in one run."""
        return self.device == "cpu"

    def detect(
        self,
        images: Sequence[Image],
        *,
        min_face_px: int | None = None,
        small_px: int = 0,
        parts: Sequence[NDArray[np.intp]] | None = None,
        add_largest: bool = True,
        without: Sequence[Floats] | None = None,
    ) -> list[Detections]:
        """Find all faces.

        Args:
            images: each (H, W, 3) uint8 RGB; sizes may differ. Dark and foggy ones are searched
                with the levels of `exposure.normalized`.
            min_face_px: side of the smallest face, pixels; None for the option's.
            small_px: search for faces smaller than that in `parts` alone.
            parts: for each image (n, 4) x1 y1 x2 y2 in pixels, inside of it.
            add_largest: search for faces that hardly fit into their image too.
            without: for each image (n, 4) boxes of faces that need not be found.

        Returns:
            One `Detections` per image, in order.

        Raises:
            ValueError: if an image is of another shape or type.
        """
        images = [normalized(checked_image(image)) for image in images]
        opened = self.image_work.open(images)
        least = min_face_px or self.options.min_face_px
        found = self._propose(opened, least, window=(small_px, np.inf))
        if parts is not None and least < small_px and any(map(len, parts)):
            small = self._propose_parts(images, parts, least, below=small_px)
            found = _join([found, small])
        found = self._merge(found, overlap=self.options.pyramid_overlap)
        found = _others(found, without)
        found = self._refine(opened, found)
        results = self._decide(opened, _others(found, without))
        if add_largest:
            results = self._add_largest(images, opened, results, without)
        if self._refiner is None:
            return results
        return [self._refiner.refine(opened, i, faces) for i, faces in enumerate(results)]

    def follow(
        self,
        images: Sequence[Image],
        boxes: Sequence[Floats],
        angles: Sequence[Floats] | None = None,
    ) -> list[Followed]:
        """Track known faces from their last boxes, by O-Net alone.

        Args:
            images: each (H, W, 3) uint8 RGB.
            boxes: for each image (n, 4) float32, the last boxes of its faces.
            angles: for each image (n,) degrees by which its faces are turned clockwise; None for
                upright ones.

        Returns:
            One `Followed` per image, rows in the order of `boxes`.

        Raises:
            ValueError: if an argument is of another shape.
        """
        if len(images) != len(boxes):
            raise ValueError(f"follow needs as many boxes as images: {len(images)}, {len(boxes)}")
        opened = self.image_work.open([normalized(checked_image(image)) for image in images])
        groups = [np.asarray(group, np.float64).reshape(-1, 4) for group in boxes]
        counts = [len(group) for group in groups]
        last = np.concatenate([*groups, np.empty((0, 4))])
        owners = np.repeat(np.arange(len(images)), counts)
        sides = np.array([max(size) for size in opened.sizes], np.float64)[owners, None]
        # a box far beyond its image (or of no numbers) holds no face, and its crop costs memory
        is_near = (np.abs(last) <= FOLLOW_REACH * sides).all(axis=1)
        everything = np.where(is_near[:, None], last, 0)
        squares = square(_scaled(everything, FOLLOW_SIZE))
        rows = np.flatnonzero(self._are_visible(opened, owners, squares) & is_near)
        turns = np.zeros(len(last))
        if angles is not None:
            turns = np.concatenate([*(np.asarray(each, np.float64) for each in angles), turns[:0]])
        head = self._run(self._onet, "onet", opened, owners[rows], squares[rows], turns[rows])
        scores, found = np.zeros(len(everything)), everything.copy()
        landmarks = _landmarks(everything, np.full((len(everything), 10), 0.5))
        scores[rows] = _sigmoid(head[:, 0])
        found[rows] = calibrate(squares[rows], head[:, 1:5])
        landmarks[rows] = _landmarks(squares[rows], head[:, 5:])
        turned = rows[turns[rows] != 0]
        if len(turned):
            found[turned], landmarks[turned] = turned_about(
                found[turned], landmarks[turned], squares[turned], turns[turned]
            )
        is_lost = scores < FOLLOW_SCORE
        found[is_lost] = last[is_lost]
        results, start = [], 0
        for count in counts:
            part = slice(start, start + count)
            start += count
            results.append(
                Followed(
                    found[part].astype(np.float32),
                    landmarks[part].astype(np.float32),
                    scores[part].astype(np.float32),
                    is_lost[part],
                )
            )
        return results

    def _propose(
        self, opened: Images, min_face_px: int, *, window: tuple[float, float]
    ) -> Candidates:
        """Run P-Net over the levels of every image whose window, in pixels of it, is in a range."""
        found = [_none()]
        for members in opened.stacks():
            height, width = opened.sizes[members[0]]
            shares = [
                share
                for share in scales(
                    height, width, min_face_px=min_face_px, factor=self.options.factor
                )
                if window[0] <= round(WINDOW / share, 6) < window[1]
            ]
            found.append(self._propose_sized(opened, members, height, width, shares))
        return _join(found)

    def _propose_parts(
        self,
        images: Sequence[Image],
        parts: Sequence[NDArray[np.intp]],
        min_face_px: int,
        *,
        below: int,
    ) -> Candidates:
        """Run P-Net over the levels of small faces in parts of the images."""
        corners = np.concatenate([np.asarray(each, np.intp).reshape(-1, 4) for each in parts])
        owners = np.repeat(np.arange(len(images)), [len(each) for each in parts])
        opened = self.image_work.open(
            [
                images[owner][y1:y2, x1:x2]
                for owner, (x1, y1, x2, y2) in zip(owners.tolist(), corners.tolist(), strict=True)
            ]
        )
        found = self._propose(opened, min_face_px, window=(0, below))
        found.boxes = found.boxes + corners[found.owners][:, [0, 1, 0, 1]]
        found.owners = owners[found.owners]
        return found

    def _add_largest(
        self,
        images: Sequence[Image],
        opened: Images,
        results: list[Detections],
        without: Sequence[Floats] | None,
    ) -> list[Detections]:
        """Add the faces that hardly fit into their image, whose windows reach beyond it.

        Such a face is alone: images in which one is found or known are left as they are.
        """
        is_known = (
            [False] * len(results) if without is None else [len(each) > 0 for each in without]
        )
        rows = [
            row
            for row, (height, width) in enumerate(opened.sizes)
            if _may_be_a_face(height, width)
            and not is_known[row]
            and not (results[row].scores >= ALONE_SCORE).any()
        ]
        if not rows:
            return results
        views, scales_back = zip(*(_framed(images[row]) for row in rows), strict=True)
        least = round(LARGE_SHARE * FRAMED_PX)
        found = self._propose(self.image_work.open(views), least, window=(0, np.inf))
        if not len(found):
            return results
        pad = round(FRAME_SHARE * FRAMED_PX)
        found.boxes = (found.boxes - pad) * np.array(scales_back)[found.owners, None]
        found.owners = np.array(rows, np.intp)[found.owners]
        found = self._merge(found, overlap=self.options.pyramid_overlap)
        large = self._decide(opened, self._refine(opened, found))
        return [_with_large(*each) for each in zip(results, large, strict=True)]

    def _propose_sized(
        self,
        opened: Images,
        members: NDArray[np.intp],
        height: int,
        width: int,
        shares: Sequence[float],
    ) -> Candidates:
        """Run P-Net over levels of equally sized images, and suppress within each level."""
        found = [_none()]
        groups = [np.empty(0, np.intp)]
        sizes = [(int(np.ceil(height * share)), int(np.ceil(width * share))) for share in shares]
        limit = _logit(self.options.thresholds[0])
        levels = opened.scan(self._pnet, members, sizes, limit=limit)
        for size, (which, spots, heads) in zip(sizes, levels, strict=True):
            if len(which):
                groups.append(which + len(found) * len(members))
                found.append(_candidates(members[which], spots, heads, (height, width), size))
        cells = _join(found)
        return cells[
            suppress_each(
                cells.boxes,
                cells.scores,
                np.concatenate(groups),
                overlap=self.options.level_overlap,
            )
        ]

    def _refine(self, opened: Images, found: Candidates) -> Candidates:
        """Keep and calibrate the boxes that R-Net accepts."""
        found = found[self._are_visible(opened, found.owners, found.boxes)]
        head = self._run(self._rnet, "rnet", opened, found.owners, found.boxes)
        found.scores, found.offsets = _sigmoid(head[:, 0]), head[:, 1:5]
        found = found[found.scores > self.options.thresholds[1]]
        return self._merge(found, overlap=self.options.refine_overlap)

    def _decide(self, opened: Images, found: Candidates) -> list[Detections]:
        """Keep the boxes that O-Net accepts, with their landmarks."""
        found = found[self._are_visible(opened, found.owners, found.boxes)]
        head = self._run(self._onet, "onet", opened, found.owners, found.boxes)
        landmarks = _landmarks(found.boxes, head[:, 5:])
        boxes = calibrate(found.boxes, head[:, 1:5])
        scores = _sigmoid(head[:, 0])
        rows = np.flatnonzero(scores > self.options.thresholds[2])
        kept = rows[
            suppress_each(
                boxes[rows],
                scores[rows],
                found.owners[rows],
                overlap=self.options.output_overlap,
                by_smaller=True,
            )
        ]
        ends = np.searchsorted(found.owners[kept], np.arange(1, len(opened.sizes)))
        return [
            Detections(
                boxes[part].astype(np.float32),
                landmarks[part].astype(np.float32),
                scores[part].astype(np.float32),
            )
            for part in np.split(kept, ends)[: len(opened.sizes)]
        ]

    def _merge(self, found: Candidates, *, overlap: float) -> Candidates:
        """Calibrate, suppress and square.

        Calibrated boxes of one face lie closer together, so suppressing after the calibration
        leaves O-Net a third of the boxes (4.8 an image instead of 12.8) with the same faces.
        The reference system suppresses before.
        """
        found.boxes = calibrate(found.boxes, found.offsets)
        found = self._suppress_each(found, overlap=overlap)
        found.boxes = square(found.boxes)
        return found

    def _suppress_each(self, found: Candidates, *, overlap: float) -> Candidates:
        """Suppress within each image; results are ordered by image, then by score."""
        return found[suppress_each(found.boxes, found.scores, found.owners, overlap=overlap)]

    def _are_visible(
        self, opened: Images, owners: NDArray[np.intp], boxes: Boxes
    ) -> NDArray[np.bool_]:
        height, width = np.array(opened.sizes, np.intp).reshape(-1, 2)[owners].T
        return touches(boxes, height=height, width=width)

    def _run(
        self,
        net: Network,
        name: str,
        opened: Images,
        owners: NDArray[np.intp],
        squares: Boxes,
        angles: Boxes | None = None,
    ) -> Boxes:
        """Crop the squares and run a network over them: (N, outputs) float64."""
        heads = np.empty((len(squares), 5 if name == "rnet" else 15))
        for rows in opened.batches(owners):
            crops = opened.crop(
                owners[rows],
                squares[rows],
                side=INPUT_SIZE[name],
                rows=rows_for(len(rows), self.device),
                angles=None if angles is None else angles[rows],
            )
            (head,) = net(crops)
            heads[rows] = head[: len(rows)]
        return heads


def _others(found: Candidates, without: Sequence[Floats] | None) -> Candidates:
    """Return the candidates of other faces than those of each image."""
    if without is None:
        return found
    is_other = np.ones(len(found), np.bool_)
    for image, boxes in enumerate(without):
        rows = np.flatnonzero(found.owners == image)
        if not len(boxes) or not len(rows):
            continue
        candidates, faces = found.boxes[rows], boxes.astype(np.float64)
        shared = intersections(candidates, faces)
        areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (candidates, faces)]
        is_same = shared >= INSIDE * areas[0][:, None]
        is_same |= shared >= SAME_FACE * (areas[0][:, None] + areas[1] - shared)
        is_other[rows] = ~is_same.any(axis=1)
    return found[is_other]


def _may_be_a_face(height: int, width: int) -> bool:
    """Return whether an image may show one face alone: no strip, and not tiny."""
    return min(height, width) >= 2 * WINDOW and max(height, width) <= 8 * min(height, width)


def _framed(image: Image) -> tuple[Image, float]:
    """Return a small copy of an image in a frame that repeats its border, and the scale back."""
    height, width = image.shape[:2]
    scale = FRAMED_PX / min(height, width)
    step = max(1, int(0.25 / scale))
    # every few pixels: averaging all of a frame would take as long as what follows
    image = np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=how)
    pad = round(FRAME_SHARE * FRAMED_PX)
    framed = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    return np.asarray(framed, np.uint8), 1 / scale


def _with_large(faces: Detections, large: Detections) -> Detections:
    """Add certain faces that share little with those found before."""
    new = large.scores >= LARGE_SCORE
    if len(faces):
        shared = intersections(large.boxes.astype(np.float64), faces.boxes.astype(np.float64))
        areas = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(axis=1)
        new &= (shared < LARGE_SHARED * areas).all(axis=1)
    if not new.any():
        return faces
    scores = np.concatenate([faces.scores, large.scores[new]])
    order = np.argsort(-scores, kind="stable")
    return Detections(
        np.concatenate([faces.boxes, large.boxes[new]])[order],
        np.concatenate([faces.landmarks, large.landmarks[new]])[order],
        scores[order],
    )


def _candidates(
    owners: NDArray[np.intp],
    cells: NDArray[np.intp],
    heads: Floats,
    full: tuple[int, int],
    size: tuple[int, int],
) -> Candidates:
    """Turn the cells (K, 2) of a level, y and x, into boxes of the full image."""
    found = heads.T.astype(np.float64)
    y, x = cells.T
    corner = np.stack([x, y, x, y], axis=1) * float(STRIDE)
    # the networks were trained on one-based, inclusive boxes: 1..12 for the first window
    ratio = full[1] / size[1], full[0] / size[0]
    boxes = (corner + np.array([1, 1, WINDOW, WINDOW])) * np.array([*ratio, *ratio])
    return Candidates(owners, boxes, _sigmoid(found[0]), found[1:5].T)


def _landmarks(boxes: Boxes, shares: Boxes) -> Boxes:
    """Turn five x and five y, shares of the box, into (N, 5, 2) pixels."""
    size = boxes[:, 2:] - boxes[:, :2]
    points = shares.reshape(-1, 2, 5).transpose(0, 2, 1)
    return boxes[:, None, :2] + points * size[:, None]


def _scaled(boxes: Boxes, by: float) -> Boxes:
    margin = (boxes[:, 2:] - boxes[:, :2]) * ((by - 1) / 2)
    return np.asarray(boxes + np.concatenate([-margin, margin], axis=1), np.float64)


def _sigmoid(logits: Boxes) -> Boxes:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float64)


def _logit(share: float) -> float:
    if share <= 0:
        return -np.inf
    return float(np.log(share / (1 - share)))


def _none() -> Candidates:
    return Candidates(np.empty(0, np.intp), np.empty((0, 4)), np.empty(0), np.empty((0, 4)))


def _join(parts: list[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([part.owners for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )
