"""The reference system's face detector in plain loops, with this project's networks.

Its arithmetic is exact to the pixel: integer boxes that include both border pixels, and levels and
crops scaled bilinearly by OpenCV from the whole image, black outside of it.

Source: mtcnn_detector.py and helper.py of insightface, 2018.
"""

import math

import cv2
import numpy as np

from recognizer.detect.mtcnn import NetWeights, build_graph
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.faces import Detections, Image

MIN_FACE_PX, FACTOR = 20, 0.709
THRESHOLDS = 0.6, 0.7, 0.8


def plain_suppress(
    boxes: np.ndarray,
    scores: np.ndarray,
    overlap: float,
    *,
    by_smaller: bool = False,
    border: int = 0,
) -> list[int]:
    """Plain non-maximum suppression; `border` is 1 for boxes that include both border pixels."""
    remaining = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept = []
    while remaining:
        best, *remaining = remaining
        kept.append(best)
        x1, y1, x2, y2 = boxes[best]
        area = (x2 - x1 + border) * (y2 - y1 + border)
        survivors = []
        for i in remaining:
            a1, b1, a2, b2 = boxes[i]
            other = (a2 - a1 + border) * (b2 - b1 + border)
            width = max(min(x2, a2) - max(x1, a1) + border, 0)
            height = max(min(y2, b2) - max(y1, b1) + border, 0)
            shared = width * height
            whole = min(area, other) if by_smaller else area + other - shared
            if shared <= overlap * whole:
                survivors.append(i)
        remaining = survivors
    return kept


class Oracle:
    """P-, R- and O-Net, one image and one crop at a time."""

    def __init__(self, weights: dict[str, NetWeights]) -> None:
        engine = OpenVinoEngine(threads=1)
        self._nets = {
            name: engine.load(build_graph(net), name=name) for name, net in weights.items()
        }

    def detect(self, image: Image) -> Detections:
        """Return the faces of an image."""
        boxes = self._propose(image)
        boxes, heads = self._kept(image, boxes, "rnet", 24, THRESHOLDS[1])
        rows = plain_suppress(boxes, heads[:, 0], 0.7, border=1)
        boxes = _squared(_calibrated(boxes[rows], heads[rows, 1:5]))
        boxes, heads = self._kept(image, boxes, "onet", 48, THRESHOLDS[2])
        size = boxes[:, 2:] - boxes[:, :2] + 1
        shares = heads[:, 5:].reshape(-1, 2, 5).transpose(0, 2, 1)
        landmarks = boxes[:, None, :2] + shares * size[:, None]
        boxes, scores = _calibrated(boxes, heads[:, 1:5]), heads[:, 0]
        rows = plain_suppress(boxes, scores, 0.7, by_smaller=True, border=1)
        return Detections(
            boxes[rows].astype(np.float32),
            landmarks[rows].astype(np.float32),
            scores[rows].astype(np.float32),
        )

    def _propose(self, image: Image) -> np.ndarray:
        height, width, _ = image.shape
        scale = 12 / MIN_FACE_PX
        found = [np.empty((0, 9))]  # box, score, four offsets
        while min(height, width) * scale > 12:
            size = math.ceil(width * scale), math.ceil(height * scale)
            (head,) = self._nets["pnet"](cv2.resize(image, size)[None])
            level = []
            for y, x in np.argwhere(_sigmoid(head[0, 0]) > THRESHOLDS[0]):
                corner = [2 * x + 1, 2 * y + 1, 2 * x + 13, 2 * y + 13]
                logit, *offsets = head[0, :, y, x]
                level.append([*np.round(np.array(corner) / scale), _sigmoid(logit), *offsets])
            rows = np.array(level).reshape(-1, 9)
            found.append(rows[plain_suppress(rows[:, :4], rows[:, 4], 0.5, border=1)])
            scale *= FACTOR
        every = np.concatenate(found)
        every = every[plain_suppress(every[:, :4], every[:, 4], 0.7, border=1)]
        return _squared(_calibrated(every[:, :4], every[:, 5:]))

    def _kept(
        self, image: Image, boxes: np.ndarray, name: str, side: int, threshold: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clipped boxes above a threshold of a network, and its outputs."""
        height, width, _ = image.shape
        kept, heads = [np.empty((0, 4))], [np.empty((0, 15 if name == "onet" else 5))]
        for box in boxes:
            x1, y1, x2, y2 = clipped = np.maximum(box, 0)
            clipped[2:] = np.minimum([x2, y2], [width - 1, height - 1])
            x1, y1, x2, y2 = clipped.astype(int)
            if x1 >= x2 or y1 >= y2:
                continue
            left, top = (np.array([x1, y1]) - box[:2]).astype(int)
            across, down = (box[2:] - box[:2] + 1).astype(int)
            canvas = np.zeros((down, across, 3), np.uint8)
            canvas[top : top + y2 - y1 + 1, left : left + x2 - x1 + 1] = image[
                y1 : y2 + 1, x1 : x2 + 1
            ]
            (head,) = self._nets[name](cv2.resize(canvas, (side, side))[None])
            head = head.astype(np.float64)
            head[:, 0] = _sigmoid(head[:, 0])
            if head[0, 0] > threshold:
                kept.append(clipped[None])
                heads.append(head)
        return np.concatenate(kept), np.concatenate(heads)


def _calibrated(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _squared(boxes: np.ndarray) -> np.ndarray:
    size = boxes[:, 2:] - boxes[:, :2] + 1
    side = size.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + 0.5 * size - 0.5 * side
    return np.round(np.concatenate([corner, corner + side - 1], axis=1))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))
