"""Every backbone as an MXNet checkpoint, converted without MXNet, gives what torch computes.

That the same checkpoints give the same under real MXNet is what `scripts/mxnet_oracle` shows.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the trainer is not installed")

from recognizer import convert_checkpoint  # noqa: E402
from recognizer.embed.embedder import Embedder  # noqa: E402
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from recognizer.engines.openvino_engine import OpenVinoEngine  # noqa: E402
from recognizer.models.resolve import resolve_model  # noqa: E402
from trainer.backbones import BACKBONES, build_backbone  # noqa: E402
from trainer.backbones.mxnet_params import load_mxnet  # noqa: E402
from trainer.export.mxnet import write_mxnet  # noqa: E402
from trainer.export.onnx import export_onnx  # noqa: E402

pytestmark = pytest.mark.integration

CROPS = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
# the same operators again, only more of them: minutes on two cores
LARGE = {"y2", "r34", "r50", "r100", "r100fc", "d169", "d201"} | {
    f"iresnet{depth}" for depth in (34, 50, 100, 200)
}


def trained(
    name: str, *, size: int = 0, output: str = "", act: str = "prelu", se: bool = False
) -> Any:
    """Build a backbone as training would leave it: no statistic or slope at its first value."""
    backbone = build_backbone(name, size=size, output=output, act=act, se=se)
    generator = torch.Generator().manual_seed(1)

    def between(tensor: Any, low: float, high: float) -> None:
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for layer in backbone.modules():
            if isinstance(layer, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                backbone.train()
                layer.reset_running_stats()
                layer.momentum = None  # the mean over what follows
        # statistics of noise keep hundreds of layers from dying out or overflowing
        backbone(torch.from_numpy(CROPS.transpose(0, 3, 1, 2).astype(np.float32)))
        for layer in backbone.modules():
            if isinstance(layer, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                layer.running_mean += 0.1 * layer.running_var.sqrt()
                between(layer.bias, -0.2, 0.2)
                if layer.weight.requires_grad:
                    between(layer.weight, 0.8, 1.2)
            elif type(layer).__name__.endswith("PReLU"):
                between(layer.weight, -0.1, 1.2)
    return backbone.eval()


def of_torch(backbone: Any) -> np.ndarray:
    with torch.no_grad():
        out = backbone(torch.from_numpy(CROPS.transpose(0, 3, 1, 2).astype(np.float32)))
    embeddings = out.numpy()
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - LARGE))
def test_a_converted_backbone_equals_torch(name: str, tmp_path: Path) -> None:
    backbone = trained(name)
    write_mxnet(backbone, tmp_path / name, 3)
    convert_checkpoint(f"{tmp_path / name},3", tmp_path / "x.onnx")
    expected = of_torch(backbone)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3, "the crops must differ"
    for spec in (f"{tmp_path / name},3", str(tmp_path / "x.onnx")):
        resolved = resolve_model(spec)
        for engine in (OpenVinoEngine(threads=1), OnnxRuntimeEngine("cpu", threads=1)):
            embeddings = Embedder(engine, resolved.model, resolved.card).embed(CROPS)
            np.testing.assert_allclose(embeddings, expected, atol=1e-4)


@pytest.mark.parametrize("output", ["E", "F", "FC", "G", "H", "I", "J", "Z", "GDC", "GAP"])
def test_every_head_is_converted(output: str, tmp_path: Path) -> None:
    size = 12544 if output == "Z" else 0  # Z gives the last map as it is: 256 x 7 x 7
    backbone = trained("m025", size=size, output=output, act="relu")
    write_mxnet(backbone, tmp_path / "x", 0)
    resolved = resolve_model(f"{tmp_path / 'x'},0")
    embedder = Embedder(OpenVinoEngine(threads=1), resolved.model, resolved.card)
    np.testing.assert_allclose(embedder.embed(CROPS), of_torch(backbone), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "output", "se"),
    [
        ("m025", 128, "GNAP", False),
        ("m025", 256, "GNAP", False),
        ("m025", 320, "GNAP", False),
        ("r18", 0, "", True),
    ],
)
def test_what_weighs_by_itself_is_converted_and_exported(
    name: str, size: int, output: str, se: bool, tmp_path: Path
) -> None:
    backbone = trained(name, size=size, output=output, se=se)
    write_mxnet(backbone, tmp_path / "x", 0)
    resolved = resolve_model(f"{tmp_path / 'x'},0")
    for engine in (OpenVinoEngine(threads=1), OnnxRuntimeEngine("cpu", threads=1)):
        embedder = Embedder(engine, resolved.model, resolved.card)
        np.testing.assert_allclose(embedder.embed(CROPS), of_torch(backbone), atol=1e-4)
    again = build_backbone(name, size=size, output=output, se=se, seed=9)
    load_mxnet(again, tmp_path / "x-0000.params")
    np.testing.assert_array_equal(of_torch(again.eval()), of_torch(backbone))
    assert export_onnx(backbone, resolved.card, tmp_path / "x.onnx") < 1e-4
