from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from recognizer.detect.mtcnn import POOLS, ProposalNet, build_graph, read_weights
from recognizer.engines import device_graphs
from recognizer.engines.engine import Engine
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.onnx_graph import FLOAT, IR_VERSION, OPSET, UINT8, OnnxGraph
from tests.unit.recognizer.detect.test_mtcnn import write_weights


def halves() -> OnnxGraph:
    graph = OnnxGraph("halves")
    x = graph.input("x", FLOAT, ["N", 4])
    axis = graph.add_node("Split", [x], ["left", "right"], "parts", axis=1)
    half = graph.constant("half", 3, np.float32)
    graph.constant("half", 0.5, np.float32)  # replaces it
    graph.output(graph.add("Mul", [axis[1], half], "y"), FLOAT, ["N", 2])
    return graph


@pytest.fixture(
    params=[partial(OnnxRuntimeEngine, "cpu", threads=1), partial(OpenVinoEngine, threads=1)],
    ids=["onnxruntime", "openvino"],
)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param()


def test_a_graph_runs(engine: Engine) -> None:
    (y,) = engine.load(halves().serialized(), name="halves")(np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(y, np.full((3, 2), 0.5, np.float32))


def test_a_model_states_its_versions() -> None:
    model = halves().model()
    assert model.ir_version == IR_VERSION
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert len(model.graph.initializer) == 1


def test_a_node_without_its_input_is_refused() -> None:
    graph = OnnxGraph("wrong")
    graph.output(graph.add("Relu", ["nowhere"], "y"), FLOAT, ["N"])
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        graph.model()


def test_a_graph_before_a_model_gives_the_model_its_input(engine: Engine) -> None:
    model = halves().model()
    model.graph.node[0].name = "x"  # as the front's last node
    front = OnnxGraph("front")
    pixels = front.input("pixels", UINT8, ["N", 4])
    floats = front.add("Cast", [pixels], "floats", to=FLOAT)
    front.add("Add", [floats, front.constant("one", 1, np.float32)], "x")
    front.put_before(model)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["pixels"]
    network = engine.load(model.SerializeToString(), name="both")
    (y,) = network(np.full((1, 4), 5, np.uint8))
    np.testing.assert_array_equal(y, [[3, 3]])


@pytest.mark.parametrize(
    "build",
    [
        partial(device_graphs.join_graph, 3),
        partial(device_graphs.sheet_graph, 4),
        partial(device_graphs.sample_graph, 48),
    ],
)
def test_shapes_of_the_device_graphs_follow(build: Callable[[], bytes]) -> None:
    onnx.checker.check_model(build(), full_check=True)


def test_shapes_of_the_scan_follow(tmp_path: Path) -> None:
    write_weights(tmp_path)
    net = ProposalNet(OnnxRuntimeEngine("cpu", threads=1), read_weights(tmp_path)["pnet"])
    sizes = [(60, 81), (43, 58), (31, 41), (22, 29), (15, 21)]
    model = onnx.load_from_string(device_graphs.scan_graph(net, 203, 271, sizes))
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim[2:]]
        for value in inferred.graph.value_info
    }
    for i, size in enumerate(sizes):
        assert shapes[f"level_{i}"] == list(size)
        assert shapes[f"faces_{i}"] == list(net.head_size(*size))


@pytest.mark.parametrize("name", POOLS)
def test_shapes_of_the_detector_follow(name: str, tmp_path: Path) -> None:
    write_weights(tmp_path)
    onnx.checker.check_model(build_graph(read_weights(tmp_path)[name]), full_check=True)
