"""Converts MXNet checkpoints to ONNX, without MXNet.

Every operator of MTCNN, gender-age and the published face networks (MobileFaceNet, MobileNet,
ResNet, MNasNet, DenseNet) is known; another one is named in the error.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from recognizer.errors import ModelFileError
from recognizer.mxnet_files import Params, Symbol, SymbolNode

OPSET = 13
BATCH_NORM_EPS = 1e-3  # MXNet's default, not ONNX's
EMBEDDING_NODE = "fc1"  # what the face networks call their last layer; training heads follow it


def convert(
    symbol: Symbol, params: Params, *, outputs: tuple[str, ...] = (), name: str = "mxnet"
) -> onnx.ModelProto:
    """Convert a symbol with its parameters.

    Args:
        symbol: the graph.
        params: arrays of its variables by name.
        outputs: names of the nodes wanted; empty for the symbol's own.
        name: of the graph.

    Returns:
        A model with a symbolic batch; inputs are the variables without parameters.

    Raises:
        ModelFileError: if an operator is unknown or a parameter is missing.
    """
    heads = _heads(symbol, outputs)
    return _Conversion(symbol, params, name).run(heads)


def has_node(symbol: Symbol, name: str) -> bool:
    """Say whether a symbol has a node of that name."""
    return any(node.name == name for node in symbol.nodes)


def normalises_itself(symbol: Symbol) -> bool:
    """Say whether the graph begins by shifting and scaling its pixels."""
    data = {i for i, node in enumerate(symbol.nodes) if node.op == "null" and node.name == "data"}
    through = {
        i
        for i, node in enumerate(symbol.nodes)
        if node.op in _IDENTITIES and {source for source, _ in node.inputs} & data
    }
    return any(
        node.op == "_minus_scalar" and {source for source, _ in node.inputs} & (data | through)
        for node in symbol.nodes
    )


def _heads(symbol: Symbol, outputs: tuple[str, ...]) -> list[tuple[int, int]]:
    if not outputs:
        return list(symbol.heads)
    indices = {node.name: i for i, node in enumerate(symbol.nodes)}
    if missing := [name for name in outputs if name not in indices]:
        raise ModelFileError(f"the symbol has no node {', '.join(missing)}")
    return [(indices[name], 0) for name in outputs]


class _Conversion:
    """One conversion under way."""

    def __init__(self, symbol: Symbol, params: Params, name: str) -> None:
        self._symbol, self._params, self._name = symbol, params, name
        self.nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[str] = []
        self._values: dict[tuple[int, int], str] = {}
        self._ranks: dict[str, int] = {}

    def run(self, heads: list[tuple[int, int]]) -> onnx.ModelProto:
        wanted = self._reachable(heads)
        for index in sorted(wanted):
            node = self._symbol.nodes[index]
            if node.op == "null":
                self._values[index, 0] = node.name
                continue
            if node.op not in OPERATORS:
                raise ModelFileError(f"unknown operator {node.op!r} (node {node.name!r})")
            results = OPERATORS[node.op](self, node)
            for i, result in enumerate(results):
                self._values[index, i] = result
        outputs = [self._values[head] for head in heads]
        return self._model(outputs)

    def _reachable(self, heads: list[tuple[int, int]]) -> set[int]:
        found: set[int] = set()
        waiting = [index for index, _ in heads]
        while waiting:
            index = waiting.pop()
            if index in found:
                continue
            found.add(index)
            node = self._symbol.nodes[index]
            sources = [source for source, _ in node.inputs]
            # a loss takes labels too, which inference has not
            waiting += sources[:1] if node.op in _LOSSES else sources
        return found

    def _model(self, outputs: list[str]) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, None, None])
            for name in self._inputs
        ]
        results = [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["N", *[None] * (self._ranks.get(name, 4) - 1)]
            )
            for name in outputs
        ]
        graph = helper.make_graph(
            self.nodes, self._name, inputs, results, list(self._weights.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=8,
            producer_name="facewire",
        )
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            reason = str(error).splitlines()[0]
            raise ModelFileError(f"the converted {self._name} is not valid: {reason}") from error
        return model

    def value(self, node: SymbolNode, position: int) -> str:
        """Return the name of an input that is computed or fed."""
        if position >= len(node.inputs):
            raise ModelFileError(f"{node.name!r} lacks input {position}")
        index, output = node.inputs[position]
        source = self._symbol.nodes[index]
        if source.op == "null":
            if source.name in self._params:
                return self.constant(source.name, self._params[source.name])
            if source.name not in self._inputs:
                self._inputs.append(source.name)
        return self._values[index, output]

    def param(self, node: SymbolNode, position: int, suffix: str) -> NDArray[Any]:
        """Return the array of an input that must be a parameter.

        Files of old versions do not list a node's auxiliary states; their names are known.
        """
        name = f"{node.name}_{suffix}"
        if position < len(node.inputs):
            name = self._symbol.nodes[node.inputs[position][0]].name
        if name not in self._params:
            raise ModelFileError(f"the parameters lack {name!r}")
        return self._params[name]

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Keep an array as a weight of the model."""
        values = np.ascontiguousarray(array)
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        self._weights[name] = numpy_helper.from_array(values, name)
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node of one output; its rank is its first input's."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        self._ranks[output] = self.rank(inputs[0])
        return output

    def rank(self, value: str) -> int:
        """Return a value's number of dimensions."""
        return self._ranks.get(value, 4)

    def set_rank(self, value: str, rank: int) -> None:
        """Note a value's number of dimensions."""
        self._ranks[value] = rank


Results = list[str]


def _pair(node: SymbolNode, key: str, default: int) -> list[int]:
    value = node.attributes.get(key, ())
    if isinstance(value, int):
        value = (value, value)
    return [int(v) for v in value] or [default, default]


def _flag(node: SymbolNode, key: str, *, default: bool) -> bool:
    value = node.attributes.get(key, default)
    return value in (True, 1, "true")


def _convolution(c: _Conversion, node: SymbolNode) -> Results:
    weight = c.param(node, 1, "weight")
    inputs = [c.value(node, 0), c.constant(f"{node.name}:weight", weight)]
    if not _flag(node, "no_bias", default=False):
        inputs.append(c.constant(f"{node.name}:bias", c.param(node, 2, "bias")))
    output = c.add(
        "Conv",
        inputs,
        node.name,
        kernel_shape=_pair(node, "kernel", 1),
        strides=_pair(node, "stride", 1),
        dilations=_pair(node, "dilate", 1),
        pads=_pair(node, "pad", 0) * 2,
        group=int(node.attributes.get("num_group", 1)),
    )
    return [output]


def _batch_norm(c: _Conversion, node: SymbolNode) -> Results:
    gamma, beta = c.param(node, 1, "gamma"), c.param(node, 2, "beta")
    if _flag(node, "fix_gamma", default=True):
        gamma = np.ones_like(gamma)  # whatever is stored: the classic trap of converters
    mean, variance = c.param(node, 3, "moving_mean"), c.param(node, 4, "moving_var")
    arrays = {"gamma": gamma, "beta": beta, "mean": mean, "var": variance}
    inputs = [c.constant(f"{node.name}:{key}", array) for key, array in arrays.items()]
    epsilon = float(node.attributes.get("eps", BATCH_NORM_EPS))
    data = c.value(node, 0)
    return [c.add("BatchNormalization", [data, *inputs], node.name, epsilon=epsilon)]


def _leaky_relu(c: _Conversion, node: SymbolNode) -> Results:
    data, kind = c.value(node, 0), node.attributes.get("act_type", "leaky")
    if kind == "prelu":
        slope = c.param(node, 1, "gamma")
        slope = slope.reshape(-1, *[1] * (c.rank(data) - 2))  # per channel, not per column
        return [c.add("PRelu", [data, c.constant(f"{node.name}:slope", slope)], node.name)]
    alpha = float(node.attributes.get("slope", 0.25))
    ops = {"leaky": "LeakyRelu", "elu": "Elu"}
    if kind not in ops:
        raise ModelFileError(f"unknown LeakyReLU {kind!r} (node {node.name!r})")
    return [c.add(ops[kind], [data], node.name, alpha=alpha)]


def _pooling(c: _Conversion, node: SymbolNode) -> Results:
    data, kind = c.value(node, 0), node.attributes.get("pool_type", "max")
    if kind not in ("max", "avg"):
        raise ModelFileError(f"unknown pooling {kind!r} (node {node.name!r})")
    if _flag(node, "global_pool", default=False):
        return [c.add("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", [data], node.name)]
    attributes: dict[str, Any] = {
        "kernel_shape": _pair(node, "kernel", 1),
        "strides": _pair(node, "stride", 1),
        "pads": _pair(node, "pad", 0) * 2,
        "ceil_mode": int(node.attributes.get("pooling_convention", "valid") == "full"),
    }
    if kind == "max":
        return [c.add("MaxPool", [data], node.name, **attributes)]
    attributes["count_include_pad"] = int(_flag(node, "count_include_pad", default=True))
    return [c.add("AveragePool", [data], node.name, **attributes)]


def _fully_connected(c: _Conversion, node: SymbolNode) -> Results:
    data = c.value(node, 0)
    if c.rank(data) != 2:
        data = c.add("Flatten", [data], f"{node.name}:flat", axis=1)
        c.set_rank(data, 2)
    inputs = [data, c.constant(f"{node.name}:weight", c.param(node, 1, "weight"))]
    if not _flag(node, "no_bias", default=False):
        inputs.append(c.constant(f"{node.name}:bias", c.param(node, 2, "bias")))
    return [c.add("Gemm", inputs, node.name, transB=1)]


def _activation(c: _Conversion, node: SymbolNode) -> Results:
    ops = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus"}
    kind = node.attributes.get("act_type")
    if kind not in ops:
        raise ModelFileError(f"unknown activation {kind!r} (node {node.name!r})")
    return [c.add(ops[kind], [c.value(node, 0)], node.name)]


def _softmax(c: _Conversion, node: SymbolNode) -> Results:
    axis = int(node.attributes.get("axis", -1)) if node.op == "softmax" else 1
    return [c.add("Softmax", [c.value(node, 0)], node.name, axis=axis)]


def _slice_channel(c: _Conversion, node: SymbolNode) -> Results:
    n, axis = int(node.attributes["num_outputs"]), int(node.attributes.get("axis", 1))
    if _flag(node, "squeeze_axis", default=False):
        raise ModelFileError(f"squeeze_axis is not supported (node {node.name!r})")
    data = c.value(node, 0)
    outputs = [f"{node.name}:{i}" for i in range(n)]
    c.nodes.append(helper.make_node("Split", [data], outputs, name=node.name, axis=axis))
    for output in outputs:
        c.set_rank(output, c.rank(data))
    return outputs


def _concat(c: _Conversion, node: SymbolNode) -> Results:
    inputs = [c.value(node, i) for i in range(len(node.inputs))]
    return [c.add("Concat", inputs, node.name, axis=int(node.attributes.get("dim", 1)))]


def _flatten(c: _Conversion, node: SymbolNode) -> Results:
    output = c.add("Flatten", [c.value(node, 0)], node.name, axis=1)
    c.set_rank(output, 2)
    return [output]


def _reshape(c: _Conversion, node: SymbolNode) -> Results:
    shape = [int(v) for v in node.attributes.get("shape", ())]
    if not shape or min(shape) < -1:
        raise ModelFileError(f"reshape to {shape} is not supported (node {node.name!r})")
    target = c.constant(f"{node.name}:shape", np.array(shape, np.int64))
    output = c.add("Reshape", [c.value(node, 0), target], node.name)
    c.set_rank(output, len(shape))
    return [output]


def _clip(c: _Conversion, node: SymbolNode) -> Results:
    limits = [
        c.constant(f"{node.name}:{key}", np.array(node.attributes[key], np.float32))
        for key in ("a_min", "a_max")
    ]
    return [c.add("Clip", [c.value(node, 0), *limits], node.name)]


def _l2_normalization(c: _Conversion, node: SymbolNode) -> Results:
    data = c.value(node, 0)
    if node.attributes.get("mode", "instance") != "instance" or c.rank(data) != 2:
        raise ModelFileError(f"only L2 normalisation of rows is supported (node {node.name!r})")
    squares = c.add("ReduceSumSquare", [data], f"{node.name}:squares", axes=[1], keepdims=1)
    eps = c.constant(f"{node.name}:eps", np.float32(node.attributes.get("eps", 1e-10)).reshape(1))
    length = c.add("Sqrt", [c.add("Add", [squares, eps], f"{node.name}:sum")], f"{node.name}:norm")
    return [c.add("Div", [data, length], node.name)]


def _identity(c: _Conversion, node: SymbolNode) -> Results:
    return [c.add("Identity", [c.value(node, 0)], node.name)]


def _elementwise(op: str) -> Callable[[_Conversion, SymbolNode], Results]:
    def handler(c: _Conversion, node: SymbolNode) -> Results:
        inputs = [c.value(node, i) for i in range(len(node.inputs))]
        return [c.add(op, inputs, node.name)]

    return handler


def _with_scalar(op: str) -> Callable[[_Conversion, SymbolNode], Results]:
    def handler(c: _Conversion, node: SymbolNode) -> Results:
        number = np.array(node.attributes["scalar"], np.float32)
        scalar = c.constant(f"{node.name}:scalar", number)
        return [c.add(op, [c.value(node, 0), scalar], node.name)]

    return handler


_IDENTITIES = ("_copy", "identity", "BlockGrad", "stop_gradient", "Dropout", "Cast")
_LOSSES = ("SoftmaxOutput", "Softmax", "LinearRegressionOutput")

OPERATORS: dict[str, Callable[[_Conversion, SymbolNode], Results]] = {
    "Convolution": _convolution,
    "Convolution_v1": _convolution,
    "BatchNorm": _batch_norm,
    "BatchNorm_v1": _batch_norm,
    "CuDNNBatchNorm": _batch_norm,
    "LeakyReLU": _leaky_relu,
    "Pooling": _pooling,
    "Pooling_v1": _pooling,
    "FullyConnected": _fully_connected,
    "Activation": _activation,
    "relu": _elementwise("Relu"),
    "sigmoid": _elementwise("Sigmoid"),
    "softmax": _softmax,
    "Softmax": _softmax,
    "SoftmaxActivation": _softmax,
    "SoftmaxOutput": _softmax,
    "LinearRegressionOutput": _identity,
    "SliceChannel": _slice_channel,
    "split": _slice_channel,
    "Concat": _concat,
    "concat": _concat,
    "Flatten": _flatten,
    "flatten": _flatten,
    "Reshape": _reshape,
    "reshape": _reshape,
    "clip": _clip,
    "L2Normalization": _l2_normalization,
    "elemwise_add": _elementwise("Add"),
    "_Plus": _elementwise("Add"),
    "_plus": _elementwise("Add"),
    "broadcast_add": _elementwise("Add"),
    "broadcast_plus": _elementwise("Add"),
    "elemwise_mul": _elementwise("Mul"),
    "_Mul": _elementwise("Mul"),
    "_mul": _elementwise("Mul"),
    "broadcast_mul": _elementwise("Mul"),
    "elemwise_sub": _elementwise("Sub"),
    "_Minus": _elementwise("Sub"),
    "_minus": _elementwise("Sub"),
    "ElementWiseSum": _elementwise("Sum"),
    "add_n": _elementwise("Sum"),
    "_plus_scalar": _with_scalar("Add"),
    "_PlusScalar": _with_scalar("Add"),
    "_minus_scalar": _with_scalar("Sub"),
    "_MinusScalar": _with_scalar("Sub"),
    "_mul_scalar": _with_scalar("Mul"),
    "_MulScalar": _with_scalar("Mul"),
    "_div_scalar": _with_scalar("Div"),
    "_DivScalar": _with_scalar("Div"),
    **dict.fromkeys(_IDENTITIES, _identity),
}
