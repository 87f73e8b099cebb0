from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from recognizer.detect.mtcnn import INPUT_SIZE, POOLS, Layer, NetWeights, build_graph, read_weights
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.errors import ModelFileError

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "pnet": [(3, 3, 3, 10), (3, 3, 10, 16), (3, 3, 16, 32)],
    "rnet": [(3, 3, 3, 28), (3, 3, 28, 48), (2, 2, 48, 64), (576, 128)],
    "onet": [(3, 3, 3, 32), (3, 3, 32, 64), (3, 3, 64, 64), (2, 2, 64, 128), (1152, 256)],
}
HEADS = {"pnet": [4, 2], "rnet": [4, 2], "onet": [4, 10, 2]}


def random_arrays(name: str, seed: int = 0) -> list[np.ndarray]:
    """Arrays in the layout of the published files."""
    random = np.random.default_rng(seed)
    arrays = []
    for shape in SHAPES[name]:
        n = shape[-1]
        arrays += [random.normal(0, 0.1, shape), random.normal(0, 0.1, n), random.uniform(0, 1, n)]
    n_in = SHAPES[name][-1][-1]
    for n in HEADS[name]:
        shape = (1, 1, n_in, n) if name == "pnet" else (n_in, n)
        arrays += [random.normal(0, 0.1, shape), random.normal(0, 0.1, n)]
    return [array.astype(np.float32) for array in arrays]


def write_weights(folder: Path) -> None:
    for name in POOLS:
        joblib.dump(random_arrays(name), folder / f"{name}.lz4")


def plain_heads(net: NetWeights, pixels: np.ndarray) -> np.ndarray:
    """Run a network layer by layer on normalized pixels."""
    x = ((pixels.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2)
    for layer, pool in zip(net.layers, [*POOLS[net.name], None], strict=False):
        x = plain_layer(x, layer)
        x = np.where(x > 0, x, x * layer.slope.reshape(-1, *[1] * (x.ndim - 2)))
        if pool:
            x = plain_max_pool(x, *pool)
    return plain_layer(x, net.head)


def plain_layer(x: np.ndarray, layer: Layer) -> np.ndarray:
    if layer.weight.ndim == 2:
        return x.reshape(len(x), -1) @ layer.weight.T + layer.bias
    windows = sliding_window_view(x, layer.weight.shape[2:], axis=(2, 3))
    return np.einsum("ncyxij,ocij->noyx", windows, layer.weight) + layer.bias[:, None, None]


def plain_max_pool(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """Pool with a last window that may be cut off."""
    missing = [-(n - kernel) % stride for n in x.shape[2:]]
    padding = [(0, 0), (0, 0), *((0, n) for n in missing)]
    padded = np.pad(x, padding, constant_values=-np.inf)
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max(axis=(4, 5))


@pytest.mark.parametrize(
    "engine", [OpenVinoEngine, lambda threads: OnnxRuntimeEngine("cpu", threads=threads)]
)
@pytest.mark.parametrize("name", POOLS)
def test_pixels_give_what_the_plain_layers_do(name, engine, tmp_path: Path) -> None:
    write_weights(tmp_path)
    net = read_weights(tmp_path)[name]
    engine = engine(threads=1)
    side = INPUT_SIZE.get(name, 31)
    pixels = np.random.default_rng(1).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    (heads,) = engine.load(build_graph(net), name=name)(pixels)
    assert heads.shape[:2] == (3, 15 if name == "onet" else 5)
    np.testing.assert_allclose(heads, plain_heads(net, pixels), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("content", [[], [np.zeros(3)] * 13, "text"])
def test_other_contents_are_refused(content: Any, tmp_path: Path) -> None:
    for name in POOLS:
        joblib.dump(content, tmp_path / f"{name}.lz4")
    with pytest.raises(ModelFileError, match="does not hold MTCNN's pnet"):
        read_weights(tmp_path)


def test_files_that_end_early_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path)
    content = (tmp_path / "pnet.lz4").read_bytes()
    for length in (0, 10, len(content) // 2):
        (tmp_path / "pnet.lz4").write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="does not hold MTCNN's pnet"):
            read_weights(tmp_path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"pnet\.lz4"):
        read_weights(tmp_path)
