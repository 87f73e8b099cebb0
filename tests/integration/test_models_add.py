"""`models add` looks at inputs and outputs, runs the model once, and asks for what is missing."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from recognizer import ModelCardError, ModelFileError
from recognizer.models import CACHE_VARIABLE
from stream.commands.models import app

pytestmark = pytest.mark.integration

NORMALISATION = ["--mean", "127.5", "127.5", "127.5", "--std", "128", "128", "128"]
FACTS = ["--colour-order", "rgb", *NORMALISATION]
WEIGHT = np.random.default_rng(0).normal(scale=0.01, size=(3 * 112 * 112, 16))


def write(path: Path, *, size: tuple[int, ...] = (3, 112, 112), factor: float = 1.0) -> Path:
    """Write an embedding model of one layer that was exported for one crop."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "one layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array((factor * WEIGHT).astype(np.float32), "weight")],
    )
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def add(path: Path, *options: str) -> str:
    arguments = ["add", str(path), "--name", "mine", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout


def test_a_model_for_one_crop_is_kept(tmp_path: Path, cache: Path) -> None:
    said = add(write(tmp_path / "x.onnx"), *FACTS)
    assert said == "added mine: 16 numbers, use --model mine\n"
    assert (cache / "user" / "mine.onnx").is_file()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ([], "colour_order, mean, std: give --colour-order, --mean, --std"),
        (["--colour-order", "bgr"], "mean, std: give --mean, --std"),
        (NORMALISATION, "colour_order: give --colour-order"),
    ],
)
def test_it_asks_for_what_the_file_does_not_say(given, missing, tmp_path: Path) -> None:
    with pytest.raises(
        ModelCardError, match=f"x.onnx does not say {missing} to `facewire models add`"
    ):
        add(write(tmp_path / "x.onnx"), *given)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": (112, 112, 3)}, r"must take \(N, 3, H, W\), it takes \[1, 112, 112, 3\]"),
        ({"size": (3, 96, 112)}, "onnxruntime cannot load .*x.onnx: .*Incompatible dimensions"),
        ({"factor": 0.0}, "two different crops became equal or not finite"),
        ({"factor": np.nan}, "two different crops became equal or not finite"),
    ],
)
def test_what_is_no_embedding_model_is_refused(options, reason, tmp_path, cache) -> None:
    path = write(tmp_path / "x.onnx", **options)
    with pytest.raises(ModelFileError, match=reason):
        add(path, *FACTS)
    assert not list(cache.rglob("*.onnx"))


@pytest.mark.parametrize(
    ("padding", "row", "reason"),
    [
        (100_000, 0, r"would fill the memory: planes is \[1, 16, 200112, 200112\]"),
        (0, 9, "x.onnx cannot be run: .*Gather"),
    ],
)
def test_a_forged_model_is_refused(padding, row, reason, tmp_path, cache, capfd) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["planes"], pads=[padding] * 4),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Gather", ["means", "row"], ["some"], axis=2),
        helper.make_node("Flatten", ["some"], ["y"], axis=1),
    ]
    arrays = {"weight": np.ones((16, 3, 1, 1), np.float32), "row": np.array([row])}
    graph = helper.make_graph(
        nodes,
        "forged",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    path = tmp_path / "x.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(ModelFileError, match=reason):
        add(path, *FACTS)
    assert not list(cache.rglob("*.onnx"))
    assert capfd.readouterr() == ("", "")  # onnxruntime logged it as well


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"neither an \.onnx file nor PREFIX,EPOCH"):
        add(tmp_path / "model.pt", *FACTS)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelFileError, match="is not an ONNX file"):
        add(path, *FACTS)
