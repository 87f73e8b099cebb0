"""L-Net: refines each landmark from a patch around it.

The reference system's optional fourth network. Its weights come only with a user's own MXNet
checkpoint (det4), with inputs in BGR order.
"""

import numpy as np
import onnx

from recognizer.detect.mtcnn import MEAN, SCALE
from recognizer.engines.engine import Engine, to_host
from recognizer.engines.image_work import Images
from recognizer.errors import ModelFileError
from recognizer.faces import Detections
from recognizer.geometry.boxes import Boxes
from recognizer.mxnet.convert import convert
from recognizer.mxnet.files import checkpoint_paths, read_params, read_symbol

PATCH_SHARE = 0.25  # side of a landmark's patch as a share of the face's longer side
PATCH_SIDE = 24  # pixels of the network's input
MAX_SHIFT = 0.35  # of the patch: a landmark that would move farther stays


class LandmarkRefiner:
    """Refines the five landmarks of detected faces."""

    def __init__(self, engine: Engine, checkpoint: str) -> None:
        """Load L-Net.

        Args:
            engine: runs it.
            checkpoint: PREFIX,EPOCH of the MXNet checkpoint.

        Raises:
            ModelFileError: if it cannot be read or is another network.
        """
        symbol, params = checkpoint_paths(checkpoint)
        model = convert(read_symbol(symbol), read_params(params), name="lnet")
        if not _is_lnet(model):
            raise ModelFileError(f"{checkpoint} is another network than L-Net (det4)")
        self._network = engine.load(model.SerializeToString(), name="lnet")

    def refine(self, images: Images, index: int, faces: Detections) -> Detections:
        """Return the same faces of one of the images with refined landmarks."""
        n = len(faces)
        if n == 0:
            return faces
        sizes = (faces.boxes[:, 2:] - faces.boxes[:, :2] + 1).max(axis=1).astype(np.float64)
        sides = np.round(sizes * PATCH_SHARE)
        sides += sides % 2
        points = faces.landmarks.astype(np.float64)
        corners = np.round(points - sides[:, None, None] / 2)
        squares: Boxes = np.concatenate([corners, corners + sides[:, None, None]], axis=2)
        patches = to_host(
            images.crop(np.full(5 * n, index), squares.reshape(-1, 4), side=PATCH_SIDE, rows=5 * n)
        )
        planes = (patches[..., ::-1].astype(np.float32) - MEAN) * np.float32(SCALE)
        batch = planes.reshape(n, 5, PATCH_SIDE, PATCH_SIDE, 3).transpose(0, 1, 4, 2, 3)
        outputs = self._network(
            np.ascontiguousarray(batch.reshape(n, 15, PATCH_SIDE, PATCH_SIDE), np.float32)
        )
        shares = np.stack([output.astype(np.float64) for output in outputs], axis=1)
        strays = (np.abs(shares - 0.5) > MAX_SHIFT).any(axis=2)
        shares[strays] = 0.5
        moved = corners + shares * sides[:, None, None]
        return Detections(faces.boxes, moved.astype(np.float32), faces.scores)


def _is_lnet(model: onnx.ModelProto) -> bool:
    """Return whether a model turns five stacked patches into five points."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:
        shape = (1, 3 * len(sized.graph.output), PATCH_SIDE, PATCH_SIDE)
        for dim, n in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = n
    try:
        outputs = onnx.shape_inference.infer_shapes(sized, strict_mode=True).graph.output
    except onnx.shape_inference.InferenceError:
        return False
    shapes = [[dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in outputs]
    return shapes == [[1, 2]] * 5
