"""MXNet's operators in ONNX, each with MXNet's own defaults."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recognizer.errors import ModelFileError
from recognizer.mxnet.files import SymbolNode

if TYPE_CHECKING:
    from recognizer.mxnet.convert import Conversion

BATCH_NORM_EPS = 1e-3  # MXNet's default, not ONNX's
MAX_PARTS = 4096  # of one split: more channels than any network has

Results = list[str]
Handler = Callable[["Conversion", SymbolNode], Results]


def _pair(node: SymbolNode, key: str, default: int) -> list[int]:
    value = node.attributes.get(key, ())
    if isinstance(value, int):
        value = (value, value)
    return [int(v) for v in value] or [default, default]


def _flag(node: SymbolNode, key: str, *, default: bool) -> bool:
    value = node.attributes.get(key, default)
    return value in (True, 1, "true")


def _convolution(c: "Conversion", node: SymbolNode) -> Results:
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


def _batch_norm(c: "Conversion", node: SymbolNode) -> Results:
    gamma, beta = c.param(node, 1, "gamma"), c.param(node, 2, "beta")
    if _flag(node, "fix_gamma", default=True):
        gamma = np.ones_like(gamma)  # the stored one is ignored, which many converters miss
    mean, variance = c.param(node, 3, "moving_mean"), c.param(node, 4, "moving_var")
    arrays = {"gamma": gamma, "beta": beta, "mean": mean, "var": variance}
    inputs = [c.constant(f"{node.name}:{key}", array) for key, array in arrays.items()]
    epsilon = float(node.attributes.get("eps", BATCH_NORM_EPS))
    data = c.value(node, 0)
    return [c.add("BatchNormalization", [data, *inputs], node.name, epsilon=epsilon)]


def _leaky_relu(c: "Conversion", node: SymbolNode) -> Results:
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


def _pooling(c: "Conversion", node: SymbolNode) -> Results:
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


def _fully_connected(c: "Conversion", node: SymbolNode) -> Results:
    data = c.value(node, 0)
    if c.rank(data) != 2:
        data = c.add("Flatten", [data], f"{node.name}:flat", axis=1)
        c.set_rank(data, 2)
    inputs = [data, c.constant(f"{node.name}:weight", c.param(node, 1, "weight"))]
    if not _flag(node, "no_bias", default=False):
        inputs.append(c.constant(f"{node.name}:bias", c.param(node, 2, "bias")))
    return [c.add("Gemm", inputs, node.name, transB=1)]


def _activation(c: "Conversion", node: SymbolNode) -> Results:
    ops = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus"}
    kind = node.attributes.get("act_type")
    if kind not in ops:
        raise ModelFileError(f"unknown activation {kind!r} (node {node.name!r})")
    return [c.add(ops[kind], [c.value(node, 0)], node.name)]


def _softmax(c: "Conversion", node: SymbolNode) -> Results:
    axis = int(node.attributes.get("axis", -1)) if node.op == "softmax" else 1
    return [c.add("Softmax", [c.value(node, 0)], node.name, axis=axis)]


def _slice_channel(c: "Conversion", node: SymbolNode) -> Results:
    n, axis = int(node.attributes["num_outputs"]), int(node.attributes.get("axis", 1))
    if not 0 < n <= MAX_PARTS:
        raise ModelFileError(f"{n} parts are not supported (node {node.name!r})")
    if _flag(node, "squeeze_axis", default=False):
        raise ModelFileError(f"squeeze_axis is not supported (node {node.name!r})")
    outputs = [f"{node.name}:{i}" for i in range(n)]
    return c.split(c.value(node, 0), outputs, node.name, axis=axis)


def _concat(c: "Conversion", node: SymbolNode) -> Results:
    inputs = [c.value(node, i) for i in range(len(node.inputs))]
    return [c.add("Concat", inputs, node.name, axis=int(node.attributes.get("dim", 1)))]


def _flatten(c: "Conversion", node: SymbolNode) -> Results:
    output = c.add("Flatten", [c.value(node, 0)], node.name, axis=1)
    c.set_rank(output, 2)
    return [output]


def _reshape(c: "Conversion", node: SymbolNode) -> Results:
    shape = [int(v) for v in node.attributes.get("shape", ())]
    if not shape or min(shape) < -1:
        raise ModelFileError(f"reshape to {shape} is not supported (node {node.name!r})")
    target = c.constant(f"{node.name}:shape", np.array(shape, np.int64))
    output = c.add("Reshape", [c.value(node, 0), target], node.name)
    c.set_rank(output, len(shape))
    return [output]


def _clip(c: "Conversion", node: SymbolNode) -> Results:
    limits = [
        c.constant(f"{node.name}:{key}", np.array(node.attributes[key], np.float32))
        for key in ("a_min", "a_max")
    ]
    return [c.add("Clip", [c.value(node, 0), *limits], node.name)]


def _l2_normalization(c: "Conversion", node: SymbolNode) -> Results:
    data = c.value(node, 0)
    if node.attributes.get("mode", "instance") != "instance" or c.rank(data) != 2:
        raise ModelFileError(f"only L2 normalization of rows is supported (node {node.name!r})")
    squares = c.add("ReduceSumSquare", [data], f"{node.name}:squares", axes=[1], keepdims=1)
    eps = c.constant(f"{node.name}:eps", np.float32(node.attributes.get("eps", 1e-10)).reshape(1))
    length = c.add("Sqrt", [c.add("Add", [squares, eps], f"{node.name}:sum")], f"{node.name}:norm")
    return [c.add("Div", [data, length], node.name)]


def _reduce(op: str) -> Handler:
    def handler(c: "Conversion", node: SymbolNode) -> Results:
        data, axis = c.value(node, 0), node.attributes.get("axis", ())
        axes = [axis] if isinstance(axis, int) else [int(v) for v in axis]
        # over everything: that is over the batch too, which would let the images of one batch
        # change each other. Within an image it is the same for a batch of one.
        axes, keep = (axes, _flag(node, "keepdims", default=False)) if axes else ([1, 2, 3], True)
        if not keep or not all(0 < axis < c.rank(data) for axis in axes):
            raise ModelFileError(f"{node.op} over {axis} is not supported (node {node.name!r})")
        if op == "ReduceMean":
            return [c.add(op, [data], node.name, axes=axes, keepdims=1)]
        over = c.constant(f"{node.name}:axes", np.array(axes, np.int64))
        return [c.add(op, [data, over], node.name, keepdims=1)]

    return handler


def _tile(c: "Conversion", node: SymbolNode) -> Results:
    times = [int(v) for v in node.attributes.get("reps", ())]
    if len(times) != c.rank(c.value(node, 0)):
        raise ModelFileError(f"tile by {times} is not supported (node {node.name!r})")
    repeats = c.constant(f"{node.name}:reps", np.array(times, np.int64))
    return [c.add("Tile", [c.value(node, 0), repeats], node.name)]


def _identity(c: "Conversion", node: SymbolNode) -> Results:
    return [c.add("Identity", [c.value(node, 0)], node.name)]


def _elementwise(op: str) -> Handler:
    def handler(c: "Conversion", node: SymbolNode) -> Results:
        inputs = [c.value(node, i) for i in range(len(node.inputs))]
        return [c.add(op, inputs, node.name)]

    return handler


def _with_scalar(op: str) -> Handler:
    def handler(c: "Conversion", node: SymbolNode) -> Results:
        number = np.array(node.attributes["scalar"], np.float32)
        scalar = c.constant(f"{node.name}:scalar", number)
        return [c.add(op, [c.value(node, 0), scalar], node.name)]

    return handler


# at inference these return their first input
IDENTITIES = ("_copy", "identity", "BlockGrad", "stop_gradient", "Dropout", "Cast")
# these take labels as their second input, which inference does not have
LOSSES = ("SoftmaxOutput", "Softmax", "LinearRegressionOutput")

OPERATORS: dict[str, Handler] = {
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
    "elemwise_div": _elementwise("Div"),
    "_div": _elementwise("Div"),
    "broadcast_div": _elementwise("Div"),
    "sqrt": _elementwise("Sqrt"),
    "sum": _reduce("ReduceSum"),
    "mean": _reduce("ReduceMean"),
    "tile": _tile,
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
    **dict.fromkeys(IDENTITIES, _identity),
}
