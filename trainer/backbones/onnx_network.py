"""A trainable twin of an ONNX network: the same operations on the same weights, in torch.

Batch normalization always uses the stored statistics: a few hundred photos are too few to estimate
better ones, and one person's photos would shift everybody's embeddings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from recognizer import ModelCard
from trainer.errors import CheckpointError

Attributes = dict[str, Any]
Operator = Callable[[list[Tensor], Attributes], Tensor]

# which inputs of an operator are learned, and of what kind they are; running mean and variance are
# not: they are estimated, not learned
SCALE, FILTER, DENSE = "scale", "filter", "dense"
LEARNED = {
    "Conv": {1: FILTER, 2: SCALE},
    "Gemm": {1: DENSE, 2: SCALE},
    "MatMul": {1: DENSE},
    "PRelu": {1: SCALE},
    "BatchNormalization": {1: SCALE, 2: SCALE},
}


class OnnxNetwork(nn.Module):
    """An ONNX network of convolutions as a torch module, with the file's weights.

    It takes (N, 3, H, W) float RGB of 0..255, as trainer's backbones do; color order and
    normalization of the card are applied. It gives (N, D) raw embeddings.

    Attributes:
        kinds: of every parameter, by its name in the file, in the order of evaluation: "scale" (of
            normalization and activations, and biases), "filter" (of convolutions) or "dense".
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, model: onnx.ModelProto, card: ModelCard) -> None:
        """Build the twin.

        Raises:
            CheckpointError: if the network has an operation that cannot be trained here.
        """
        super().__init__()
        self._is_bgr = card.colour_order == "bgr"
        self.register_buffer("_mean", torch.tensor(card.mean).view(1, 3, 1, 1))
        self.register_buffer("_std", torch.tensor(card.std).view(1, 3, 1, 1))
        graph = model.graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        nodes = []
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                arrays[node.output[0]] = numpy_helper.to_array(attributes["value"])
                continue
            if node.op_type not in OPERATORS or len(node.output) != 1 or node.domain:
                raise CheckpointError(
                    f"{card.name} cannot be adapted: the operation {node.op_type} of its graph "
                    f"({node.name or node.output[0]}) has no trainable form here"
                )
            nodes.append(node)
        self.kinds = {
            node.input[place]: kind
            for node in nodes
            for place, kind in LEARNED.get(node.op_type, {}).items()
            if place < len(node.input) and node.input[place] in arrays
        }
        self._weights = nn.ParameterList(
            nn.Parameter(torch.from_numpy(np.array(arrays[name], np.float32)))
            for name in self.kinds
        )
        constants = sorted(arrays.keys() - self.kinds.keys())
        for number, name in enumerate(constants):
            self.register_buffer(f"_constant{number}", torch.from_numpy(np.array(arrays[name])))
        self._constants = {name: f"_constant{number}" for number, name in enumerate(constants)}
        self._places = {name: number for number, name in enumerate(self.kinds)}
        self._steps = [
            (
                OPERATORS[node.op_type],
                list(node.input),
                node.output[0],
                {a.name: helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in nodes
        ]
        (self._input,) = (v.name for v in graph.input if v.name not in arrays)
        self._output = graph.output[0].name
        self._last_use = {
            name: i for i, (_, names, _, _) in enumerate(self._steps) for name in names
        }

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed.

        Args:
            pixels: (N, 3, H, W) float RGB of 0..255.

        Returns:
            (N, D) raw embeddings.
        """
        if self._is_bgr:
            pixels = pixels.flip(1)
        values = {self._input: (pixels - self._mean) / self._std}
        for number, (operator, names, output, attributes) in enumerate(self._steps):
            inputs = [self._value(name, values) for name in names if name]
            values[output] = operator(inputs, attributes)
            for name in names:
                if self._last_use[name] == number:
                    values.pop(name, None)
        return values[self._output]

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor:
        if name in values:
            return values[name]
        if name in self._places:
            return self._weights[self._places[name]]
        constant: Tensor = getattr(self, self._constants[name])
        return constant

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters by their names in the file, in the order of evaluation."""
        return dict(zip(self.kinds, self._weights, strict=True))

    def write_to(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return a copy of the file's model with this network's weights.

        Weights are no longer listed as inputs.
        """
        written = onnx.ModelProto()
        written.CopyFrom(model)
        weights = self.weights()
        for tensor in written.graph.initializer:
            if tensor.name in weights:
                array = weights[tensor.name].detach().float().cpu().numpy()
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        names = {tensor.name for tensor in written.graph.initializer}
        fed = [value for value in written.graph.input if value.name not in names]
        del written.graph.input[:]
        written.graph.input.extend(fed)
        return written


def _padded(x: Tensor, attributes: Attributes, value: float = 0.0) -> Tensor:
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise CheckpointError("a network with auto_pad cannot be adapted: export it with pads")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if not (top or left or bottom or right):
        return x
    return functional.pad(x, (left, right, top, bottom), value=value)


def _conv(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    pads = attributes.get("pads", [0, 0, 0, 0])
    is_even = pads[:2] == pads[2:]  # then torch pads by itself, without a copy
    return functional.conv2d(
        x if is_even else _padded(x, attributes),
        weight,
        bias[0] if bias else None,
        stride=attributes.get("strides", [1, 1]),
        padding=pads[:2] if is_even else 0,
        dilation=attributes.get("dilations", [1, 1]),
        groups=attributes.get("group", 1),
    )


def _norm(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, gamma, beta, mean, variance = inputs
    return functional.batch_norm(
        x, mean, variance, gamma, beta, training=False, eps=attributes.get("epsilon", 1e-5)
    )


def _prelu(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, slope = inputs
    return functional.prelu(x, slope.reshape(-1))


def _gemm(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    a, b, *c = inputs
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = a @ b * attributes.get("alpha", 1.0)
    return product + attributes.get("beta", 1.0) * c[0] if c else product


def _flatten(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    axis = attributes.get("axis", 1)
    return inputs[0].reshape(*inputs[0].shape[:axis], -1)


def _reshape(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, shape = inputs
    sizes = [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape.tolist())]
    # a fixed batch of 1 is any batch; what is left is spread over the other axes
    return x.reshape(x.shape[0], *sizes[1:])


def _average(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    (x,) = inputs
    pads = attributes.get("pads", [0, 0, 0, 0])
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    if any(pads) and not attributes.get("count_include_pad", 0):
        ones = _padded(torch.ones_like(x[:1, :1]), attributes)
        share = functional.avg_pool2d(ones, kernel, strides)
        return functional.avg_pool2d(_padded(x, attributes), kernel, strides) / share
    return functional.avg_pool2d(_padded(x, attributes), kernel, strides)


def _maximum(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    return functional.max_pool2d(_padded(inputs[0], attributes, -torch.inf), kernel, strides)


def _axes(inputs: list[Tensor], attributes: Attributes) -> list[int]:
    axes: Sequence[int] = inputs[1].tolist() if len(inputs) > 1 else attributes["axes"]
    return [int(axis) for axis in axes]


def _sum(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    return inputs[0].sum(_axes(inputs, attributes), keepdim=bool(attributes.get("keepdims", 1)))


def _mean(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    return inputs[0].mean(_axes(inputs, attributes), keepdim=bool(attributes.get("keepdims", 1)))


def _clip(inputs: list[Tensor], attributes: Attributes) -> Tensor:
    x, *bounds = inputs
    low = bounds[0] if bounds else attributes.get("min")
    high = bounds[1] if len(bounds) > 1 else attributes.get("max")
    return torch.clamp(x, low, high)


OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "BatchNormalization": _norm,
    "PRelu": _prelu,
    "Relu": lambda x, _: functional.relu(x[0]),
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "Gemm": _gemm,
    "MatMul": lambda x, _: x[0] @ x[1],
    "Add": lambda x, _: x[0] + x[1],
    "Sub": lambda x, _: x[0] - x[1],
    "Mul": lambda x, _: x[0] * x[1],
    "Div": lambda x, _: x[0] / x[1],
    "Sqrt": lambda x, _: torch.sqrt(x[0]),
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": lambda x, _: x[0],  # of serving: nothing is dropped
    "Identity": lambda x, _: x[0],
    "GlobalAveragePool": lambda x, _: x[0].mean((2, 3), keepdim=True),
    "AveragePool": _average,
    "MaxPool": _maximum,
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "Clip": _clip,
}
