import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from recognizer.engines import devices, onnxruntime_engine
from recognizer.engines.devices import open_engine
from recognizer.engines.engine import Engine, rows_for, to_host
from recognizer.engines.onnxruntime_engine import (
    OnnxRuntimeEngine,
    ShapedNetwork,
    has_convolutions,
    missing_for_cuda,
)
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.errors import DeviceError, ModelFileError

ENGINES: dict[str, Callable[[], Engine]] = {
    "openvino": lambda: OpenVinoEngine(threads=1),
    "onnxruntime": lambda: OnnxRuntimeEngine("cpu", threads=1),
}


def doubling_model() -> bytes:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy"]
    graph = helper.make_graph([node], "double", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


def test_any_batch_size_runs(engine: Engine) -> None:
    network = engine.load(doubling_model(), name="double")
    for n in (1, 4, 2, 1, 7):
        batch = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
        (doubled,) = network(batch)
        np.testing.assert_array_equal(doubled, 2 * batch)


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.device == "cpu"
    assert engine.name.split()[0] in ENGINES


@pytest.mark.parametrize(
    "content", [b"", b"not a model", doubling_model().replace(b"Add", b"A\xd4d")]
)
def test_a_foreign_model_is_refused_in_one_line(engine: Engine, content: bytes) -> None:
    with pytest.raises(ModelFileError, match="cannot load thing") as caught:
        engine.load(content, name="thing")
    assert "\n" not in str(caught.value)


def test_the_cpu_gets_openvino() -> None:
    assert open_engine("cpu", threads=1).name.startswith("openvino")


def test_without_openvino_the_cpu_gets_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*, threads: int) -> Engine:
        raise ImportError("openvino")

    monkeypatch.setattr(devices, "OpenVinoEngine", fail)
    assert open_engine("cpu", threads=1).name.startswith("onnxruntime")


def test_an_unknown_device_is_named() -> None:
    choices = r"\(choose auto, cpu, cuda, tensorrt\)"
    with pytest.raises(DeviceError, match=f"unknown device 'tpu' {choices}"):
        open_engine("tpu")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_cuda_without_cuda_says_what_is_missing(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    wanted = rf"cannot run on {device}: onnxruntime .*onnxruntime-gpu"
    with pytest.raises(DeviceError, match=wanted):
        open_engine(device)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == ("0" if device == "tensorrt" else "1")
    assert open_engine("auto", threads=1).device == "cpu"


def test_a_cuda_session_that_fell_back_is_refused() -> None:
    if not missing_for_cuda():
        pytest.skip("this machine has CUDA")
    engine = OnnxRuntimeEngine("cpu", threads=1)
    engine._providers = ["CUDAExecutionProvider"]
    with (
        pytest.warns(UserWarning, match="CUDA"),
        pytest.raises(DeviceError, match="could not start its CUDA"),
    ):
        engine.load(doubling_model(), name="double")


def test_what_cuda_lacks_is_in_the_error_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not missing_for_cuda():
        pytest.skip("this machine has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda directory: sys.stdout.write("no libcublas\n")
    )
    with pytest.warns(UserWarning, match="CUDA"):
        assert missing_for_cuda().endswith("libraries are installed): no libcublas")
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="this machine has TensorRT")
def test_tensorrt_without_its_libraries_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"cannot run on tensorrt: .*pip install 'tensorrt-cu13<"):
        OnnxRuntimeEngine("cpu", threads=1, tensorrt=tmp_path)


def row_model(row: int) -> bytes:
    """Take (N, 2, 2, 3) pixels and give one row, which a smaller N has not."""
    node = helper.make_node("Gather", ["pixels", "row"], ["y"], axis=0)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 2, 2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 2, 2, 3])
    tensors = [helper.make_tensor("row", TensorProto.INT64, [1], [row])]
    graph = helper.make_graph([node], "row", [pixels], [y], tensors)
    opsets = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.fixture
def tensorrt_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OnnxRuntimeEngine:
    monkeypatch.setattr(onnxruntime_engine, "_tensorrt_version", lambda: "10.16")
    return OnnxRuntimeEngine("cpu", threads=1, tensorrt=tmp_path)


def test_a_tensorrt_session_that_fell_back_is_refused(tensorrt_engine: OnnxRuntimeEngine) -> None:
    if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has TensorRT")
    assert tensorrt_engine.name.endswith("with tensorrt")
    assert tensorrt_engine.load(row_model(0), name="row")  # more may change: not TensorRT's
    with (
        pytest.warns(UserWarning, match="Tensorrt"),
        pytest.raises(DeviceError, match="row on tensorrt: onnxruntime could not start"),
    ):
        tensorrt_engine.load(row_model(0), name="row", most_rows=4)


def test_tensorrt_builds_for_the_least_and_the_most_rows_of_each_model(
    tensorrt_engine: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the CPU stands in for TensorRT; it runs what TensorRT would build
    monkeypatch.setattr(onnxruntime_engine, "TENSORRT", "CPUExecutionProvider")
    open_session, asked = tensorrt_engine._open, []

    def open_on_cpu(model: bytes, providers: list[str], options: list[dict[str, str]]) -> Any:
        asked.append(options[0])
        return open_session(model, providers[-1:], options[-1:])

    monkeypatch.setattr(tensorrt_engine, "_open", open_on_cpu)
    tensorrt_engine.load(row_model(0), name="row", most_rows=4)
    for row in (4, 3):  # beyond the most, and beyond the least
        with pytest.raises(DeviceError, match=r"cannot run row on tensorrt: .*Gather"):
            tensorrt_engine.load(row_model(row), name="row", most_rows=4)
    folders = [Path(o["trt_engine_cache_path"]) for o in asked if "trt_engine_cache_path" in o]
    assert len(set(folders)) == 3
    assert sorted(tmp_path.iterdir()) == sorted(folders)
    assert not any("profile" in key or "fp16" in key for options in asked for key in options)


def test_what_is_kept_feeds_the_next_run(engine: Engine) -> None:
    network = engine.load(doubling_model(), name="double")
    uploaded = engine.upload(np.ones((2, 3), np.float32))
    (kept,) = network.keep(uploaded)
    assert kept.shape == (2, 3)
    (again,) = network.keep(kept)
    (last,) = network(again)
    np.testing.assert_array_equal(last, np.full((2, 3), 8, np.float32))
    # later runs have not written over it
    np.testing.assert_array_equal(to_host(kept), np.full((2, 3), 2, np.float32))


def test_a_build_with_cuda_but_no_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: bytes, **options: Any) -> None:
        raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(DeviceError, match=r"run on cuda: .*nvidia-smi.*no CUDA-capable device"):
        open_engine("cuda")
    assert open_engine("auto", threads=1).device == "cpu"


def has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cpu", "f16", r"unknown precision 'f16' \(choose f32, bf16, tf32\)"),
        ("cuda", "bf16", "bf16 is for the CPU"),
        ("cpu", "tf32", "tf32 is for NVIDIA GPUs"),
    ],
)
def test_a_precision_that_cannot_be_had_is_refused(
    device: str, precision: str, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        open_engine(device, threads=1, precision=precision)


def test_bf16_is_said_or_refused() -> None:
    if has_bf16():
        assert open_engine("cpu", threads=1, precision="bf16").name.endswith("in bf16")
    else:
        with pytest.raises(DeviceError, match="this CPU cannot calculate in bf16"):
            open_engine("cpu", threads=1, precision="bf16")


def test_few_batch_sizes_reach_an_engine() -> None:
    assert [rows_for(n, "cuda") for n in (0, 1, 2, 3, 5, 64, 65)] == [0, 1, 2, 4, 8, 64, 128]
    assert [rows_for(n, "cpu") for n in (0, 1, 2, 9, 17, 33, 65)] == [0, 1, 2, 10, 20, 40, 80]
    assert len({rows_for(n, "cuda") for n in range(513)}) == 11


def test_each_shape_has_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_engine, "MAX_SESSIONS", 2)
    opened = []

    def reopen() -> onnxruntime.InferenceSession:
        opened.append(onnxruntime.InferenceSession(doubling_model()))
        return opened[-1]

    network = ShapedNetwork(reopen(), reopen, "cpu")
    sizes = {n: np.full((n, 3), n, np.float32) for n in (1, 2, 3)}

    def run(n: int) -> int:
        np.testing.assert_array_equal(network(sizes[n])[0], 2 * sizes[n])
        return len(opened)

    assert [run(1), run(1), run(2), run(1)] == [1, 1, 2, 2]
    assert run(3) == 3  # 2 was used longest ago and is closed
    assert [run(1), run(2)] == [3, 4]
    np.testing.assert_array_equal(to_host(network.keep(sizes[3])[0]), 2 * sizes[3])


def test_only_graphs_with_convolutions_are_planned_for_a_shape() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 8, 8]) for n in "xy"]
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph([node], "conv", values[:1], values[1:], [weight])
    assert has_convolutions(helper.make_model(graph).SerializeToString())
    assert not has_convolutions(doubling_model())
