"""Each operator against numpy, with MXNet's own defaults."""

from typing import Any

import numpy as np
import pytest

from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.errors import ModelFileError
from recognizer.mxnet.convert import convert, normalizes_itself
from recognizer.mxnet.files import Symbol, SymbolNode
from recognizer.mxnet.operators import OPERATORS

RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(2, 4, 7, 9)).astype(np.float32)
ROWS = RANDOM.normal(size=(3, 4)).astype(np.float32)


def graph(op: str, attributes: dict[str, Any], *params: str) -> Symbol:
    names = ["data", *params]
    nodes = [SymbolNode("null", name, (), {}) for name in names]
    inputs = tuple((i, 0) for i in range(len(names)))
    return Symbol((*nodes, SymbolNode(op, "out", inputs, attributes)), ((len(names), 0),))


def run(symbol: Symbol, params: dict[str, np.ndarray], data: np.ndarray) -> list[np.ndarray]:
    model = convert(symbol, params)
    return OnnxRuntimeEngine("cpu", threads=1).load(model.SerializeToString(), name="x")(data)


def through(op: str, attributes: dict[str, Any], **params: np.ndarray) -> np.ndarray:
    return run(graph(op, attributes, *params), params, DATA)[0]


def plain_pool(kind: str, kernel: int, stride: int, *, full: bool) -> np.ndarray:
    round_ = np.ceil if full else np.floor
    height, width = (int(round_((s - kernel) / stride)) + 1 for s in DATA.shape[2:])
    reduce = np.max if kind == "max" else np.mean
    out = np.empty((*DATA.shape[:2], height, width), np.float32)
    for y in range(height):
        for x in range(width):
            window = DATA[:, :, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            out[:, :, y, x] = reduce(window, axis=(2, 3))
    return out


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_max_pooling(kernel: int, stride: int, full: bool) -> None:
    convention = "full" if full else "valid"
    attributes = {"kernel": (kernel, kernel), "stride": (stride, stride)}
    pooled = through("Pooling", {**attributes, "pooling_convention": convention})
    np.testing.assert_array_equal(pooled, plain_pool("max", kernel, stride, full=full))


def test_average_pooling() -> None:
    attributes = {"kernel": (3, 3), "stride": (2, 2), "pool_type": "avg"}
    expected = plain_pool("avg", 3, 2, full=False)
    np.testing.assert_allclose(through("Pooling", attributes), expected, atol=1e-6)
    pooled = through("Pooling", {"global_pool": True, "pool_type": "avg", "kernel": (1, 1)})
    np.testing.assert_allclose(pooled, DATA.mean(axis=(2, 3), keepdims=True), atol=1e-6)


NORM = {
    "out_gamma": np.array([2, 3, 4, 5], np.float32),
    "out_beta": np.array([1, 0, -1, 2], np.float32),
    "out_moving_mean": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "out_moving_var": np.array([1, 2, 0.001, 4], np.float32),
}


@pytest.mark.parametrize(
    ("attributes", "gamma", "eps"),
    [
        ({}, 1, 1e-3),
        ({"fix_gamma": True}, 1, 1e-3),
        ({"fix_gamma": False, "eps": 2e-5}, NORM["out_gamma"], 2e-5),
    ],
)
def test_batch_norm_has_mxnets_defaults(attributes: dict, gamma: Any, eps: float) -> None:
    beta, mean, var = (
        NORM[f"out_{key}"][:, None, None] for key in ("beta", "moving_mean", "moving_var")
    )
    scale = np.broadcast_to(gamma, 4)[:, None, None]
    expected = (DATA - mean) / np.sqrt(var + eps) * scale + beta
    np.testing.assert_allclose(through("BatchNorm", attributes, **NORM), expected, rtol=1e-4)


def test_batch_norm_of_old_files_finds_its_states_by_name() -> None:
    symbol = graph("BatchNorm", {}, "out_gamma", "out_beta")
    expected = through("BatchNorm", {}, **NORM)
    np.testing.assert_array_equal(run(symbol, NORM, DATA)[0], expected)


def test_prelu_is_per_channel() -> None:
    gamma = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    expected = np.where(DATA > 0, DATA, DATA * gamma[:, None, None])
    out = through("LeakyReLU", {"act_type": "prelu"}, out_gamma=gamma)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_leaky_relu_has_mxnets_slope() -> None:
    expected = np.where(DATA > 0, DATA, DATA * 0.25)
    np.testing.assert_allclose(through("LeakyReLU", {"act_type": "leaky"}), expected, atol=1e-6)


def test_grouped_convolution() -> None:
    weight = RANDOM.normal(size=(4, 1, 1, 1)).astype(np.float32)
    attributes = {"kernel": (1, 1), "num_group": 4, "no_bias": True, "num_filter": 4}
    out = through("Convolution", attributes, weight=weight)
    np.testing.assert_allclose(out, DATA * weight[:, 0, 0, 0][:, None, None], atol=1e-6)


def test_strided_padded_convolution() -> None:
    weight, bias = np.ones((1, 4, 3, 3), np.float32), np.array([0.5], np.float32)
    attributes = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "num_filter": 1}
    out = through("Convolution", attributes, weight=weight, bias=bias)
    padded = np.pad(DATA, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = padded[:, :, 2:5, 2:5].sum((1, 2, 3)) + 0.5
    np.testing.assert_allclose(out[:, 0, 1, 1], expected, rtol=1e-4)


def test_fully_connected_flattens_planes() -> None:
    weight = RANDOM.normal(size=(5, 4 * 7 * 9)).astype(np.float32)
    bias = np.arange(5, dtype=np.float32)
    out = through("FullyConnected", {"num_hidden": 5}, weight=weight, bias=bias)
    np.testing.assert_allclose(out, DATA.reshape(2, -1) @ weight.T + bias, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "attributes", "expected"),
    [
        ("_plus_scalar", {"scalar": 2}, DATA + 2),
        ("_minus_scalar", {"scalar": 127.5}, DATA - 127.5),
        ("_mul_scalar", {"scalar": 0.5}, DATA * 0.5),
        ("_div_scalar", {"scalar": 4}, DATA / 4),
        ("Activation", {"act_type": "relu"}, np.maximum(DATA, 0)),
        ("Activation", {"act_type": "sigmoid"}, 1 / (1 + np.exp(-DATA))),
        ("Activation", {"act_type": "tanh"}, np.tanh(DATA)),
        ("clip", {"a_min": 0, "a_max": 0.5}, DATA.clip(0, 0.5)),
        ("Dropout", {"p": 0.4}, DATA),
        ("_copy", {}, DATA),
        ("BlockGrad", {}, DATA),
        ("Flatten", {}, DATA.reshape(2, -1)),
        ("Reshape", {"shape": (0, -1)}, DATA.reshape(2, -1)),
        (
            "SoftmaxActivation",
            {"mode": "channel"},
            np.exp(DATA) / np.exp(DATA).sum(axis=1, keepdims=True),
        ),
    ],
)
def test_simple_operators(op: str, attributes: dict, expected: np.ndarray) -> None:
    np.testing.assert_allclose(through(op, attributes), expected, rtol=1e-5, atol=1e-6)


def test_slices_are_joined_again() -> None:
    nodes = (
        SymbolNode("null", "data", (), {}),
        SymbolNode("SliceChannel", "parts", ((0, 0),), {"num_outputs": 4}),
        SymbolNode("Concat", "out", tuple((1, i) for i in (3, 2, 1, 0)), {"dim": 1}),
    )
    np.testing.assert_array_equal(run(Symbol(nodes, ((2, 0),)), {}, DATA)[0], DATA[:, ::-1])


@pytest.mark.parametrize(
    ("op", "expected"),
    [("elemwise_add", 2 * DATA), ("_Plus", 2 * DATA), ("broadcast_mul", DATA**2)],
)
def test_two_inputs(op: str, expected: np.ndarray) -> None:
    nodes = (SymbolNode("null", "data", (), {}), SymbolNode(op, "out", ((0, 0), (0, 0)), {}))
    np.testing.assert_allclose(run(Symbol(nodes, ((1, 0),)), {}, DATA)[0], expected, rtol=1e-6)


def test_rows_are_normalised() -> None:
    nodes = (
        SymbolNode("null", "data", (), {}),
        SymbolNode("Flatten", "flat", ((0, 0),), {}),
        SymbolNode("L2Normalization", "out", ((1, 0),), {}),
    )
    (out,) = run(Symbol(nodes, ((2, 0),)), {}, ROWS.reshape(3, 4, 1, 1))
    np.testing.assert_allclose(out, ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True), rtol=1e-5)


def test_a_loss_needs_no_label() -> None:
    nodes = (
        SymbolNode("null", "data", (), {}),
        SymbolNode("null", "label", (), {}),
        SymbolNode("Flatten", "flat", ((0, 0),), {}),
        SymbolNode("SoftmaxOutput", "out", ((2, 0), (1, 0)), {}),
    )
    model = convert(Symbol(nodes, ((3, 0),)), {})
    assert [value.name for value in model.graph.input] == ["data"]


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("FancyOp", {}, "unknown operator 'FancyOp'"),
        ("Activation", {"act_type": "swish"}, "unknown activation 'swish'"),
        ("Pooling", {"pool_type": "lp"}, "unknown pooling 'lp'"),
        ("LeakyReLU", {"act_type": "rrelu"}, "unknown LeakyReLU 'rrelu'"),
        ("Convolution", {"kernel": (3, 3)}, "parameters lack 'out_weight'"),
        ("Pooling", {"kernel": {}, "stride": [[]]}, "cannot convert Pooling 'out'"),
        ("Pooling", {"kernel": float("inf")}, "cannot convert Pooling 'out'"),
        ("Pooling", {"kernel": 10**30}, "cannot convert Pooling 'out'"),
        ("clip", {"a_min": 0}, "cannot convert clip 'out': 'a_max'"),
        ("SliceChannel", {"num_outputs": 10**9}, "1000000000 parts are not supported"),
    ],
)
def test_what_is_not_known_is_named(op: str, attributes: dict, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        through(op, attributes)


def test_a_missing_output_is_named() -> None:
    with pytest.raises(ModelFileError, match="no node fc7"):
        convert(graph("_copy", {}), {}, outputs=("fc7",))


def test_an_output_that_a_node_has_not_is_named() -> None:
    nodes = (SymbolNode("null", "data", (), {}), SymbolNode("Flatten", "flat", ((0, 0),), {}))
    taker = SymbolNode("Flatten", "out", ((1, 3),), {})
    for symbol in (Symbol(nodes, ((1, 3),)), Symbol((*nodes, taker), ((2, 0),))):
        with pytest.raises(ModelFileError, match="node 'flat' has no output 3"):
            convert(symbol, {})


def test_normalisation_in_the_graph_is_seen() -> None:
    assert normalizes_itself(graph("_minus_scalar", {"scalar": 127.5}))
    assert not normalizes_itself(graph("Flatten", {}))


def test_the_networks_operators_are_all_known() -> None:
    needed = "Convolution BatchNorm LeakyReLU Activation Pooling FullyConnected Flatten Concat"
    assert set(needed.split()) <= set(OPERATORS)
