import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper

from recognizer import ModelCard
from recognizer.onnx_graph import FLOAT, OnnxGraph
from trainer.backbones import build_backbone
from trainer.backbones.onnx_network import OnnxNetwork
from trainer.errors import CheckpointError
from trainer.export.onnx import onnx_of

SIZE = 16
PIXELS = torch.rand((2, 3, 112, 112), generator=torch.Generator().manual_seed(0)) * 255


def card(**facts) -> ModelCard:
    plain = {"colour_order": "rgb", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return ModelCard(
        name="net",
        input_size=(112, 112),
        embedding_size=SIZE,
        threshold=0.3,
        far=0.0,
        source="",
        licence="",
        trained_on="",
        **{**plain, **facts},
    )


def backbone(name: str, **facts):
    """A network with statistics that are not those of its first moment."""
    network = build_backbone(name, size=SIZE, **facts).eval()
    for number, layer in enumerate(network.modules()):
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            generator = torch.Generator().manual_seed(number)
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return network


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("m025", {}),
        ("y1", {}),
        ("mbf", {}),
        ("mnas025", {}),
        ("r18", {"se": True}),
        ("iresnet18", {}),
        *(("m025", {"output": output, "act": "relu"}) for output in ("F", "G", "H", "I", "J")),
    ],
)
@torch.no_grad()
def test_a_twin_gives_the_embeddings_of_its_network(name, facts):
    network = backbone(name, **facts)
    twin = OnnxNetwork(onnx_of(network, SIZE), card()).eval()
    cosine = torch.cosine_similarity(network(PIXELS), twin(PIXELS))
    assert cosine.min() > 0.99999


@torch.no_grad()
def test_color_order_and_normalization_are_those_of_the_card():
    network = backbone("m025")
    model = onnx_of(network, SIZE)
    facts = {"colour_order": "bgr", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)}
    twin = OnnxNetwork(model, card(**facts)).eval()
    mean, std = (torch.tensor(facts[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = network((PIXELS.flip(1) - mean) / std)
    torch.testing.assert_close(twin(PIXELS), expected, rtol=1e-3, atol=1e-4)


def test_learning_moves_weights_and_no_statistics_and_is_written_back():
    model = onnx_of(backbone("m025"), SIZE)
    twin = OnnxNetwork(model, card())
    twin.train()  # statistics are fixed nevertheless
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    first = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    twin(PIXELS).square().mean().backward()
    optimizer.step()
    written = twin.write_to(model)
    now = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    changed = {name for name in first if (first[name] != now[name]).any()}
    assert changed <= twin.kinds.keys()
    assert len(changed) > 0.9 * len(twin.kinds)
    assert not any(name.endswith(("moving_mean", "moving_var")) for name in changed)
    onnx.checker.check_model(written)
    again = OnnxNetwork(written, card())
    with torch.no_grad():
        torch.testing.assert_close(again(PIXELS), twin(PIXELS))
    kept = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert all((kept[name] == first[name]).all() for name in first)


def test_kinds_say_what_a_parameter_is():
    twin = OnnxNetwork(onnx_of(backbone("m025"), SIZE), card())
    weights = twin.weights()
    for name, kind in twin.kinds.items():
        assert weights[name].ndim == {"scale": 1, "filter": 4, "dense": 2}[kind] or (
            kind == "scale" and name.endswith("_gamma")
        )


def test_an_operation_that_is_not_known_is_named():
    graph = OnnxGraph("odd")
    graph.input("x", FLOAT, ["N", 3, 112, 112])
    graph.add("Softsign", ["x"], "soft")
    graph.output("soft", FLOAT, ["N", 3, 112, 112])
    with pytest.raises(CheckpointError, match=r"net cannot be adapted: the operation Softsign"):
        OnnxNetwork(graph.model(), card())


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Conv", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("ReduceMean", {"axes": [2, 3], "keepdims": 1}),
        ("Clip", {}),
    ],
)
@torch.no_grad()
def test_operations_of_other_exporters_agree_with_onnx_runtime(op, attributes):
    import onnxruntime

    rng = np.random.default_rng(0)
    weights = {"Conv": [rng.normal(size=(4, 3, 3, 3))], "Clip": [np.array(0.0), np.array(6.0)]}
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), f"w{number}")
        for number, value in enumerate(weights.get(op, []))
    ]
    inputs = ["x", *(constant.name for constant in constants)]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": PIXELS.numpy()})
    np.testing.assert_allclose(OnnxNetwork(model, card())(PIXELS), expected, rtol=1e-4, atol=1e-3)
