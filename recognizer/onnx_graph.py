"""Builds ONNX graphs node by node: the one place of their versions, types and checks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

OPSET = 17  # of every graph; every runtime since 2022 reads it, and GridSample came with 16
IR_VERSION = 8  # the one of that opset
FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64

Dims = Sequence[int | str | None]
"""A shape: a size, the name of one that may change, or None for an unknown one."""


def value_info(name: str, kind: int, dims: Dims) -> onnx.ValueInfoProto:
    """Return the declaration of a value: its type (FLOAT, UINT8 or INT64) and shape."""
    return helper.make_tensor_value_info(name, kind, dims)


class OnnxGraph:
    """A graph under construction; nodes are added in order of evaluation.

    Attributes:
        name: of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: int, dims: Dims) -> str:
        """Declare an input of the graph. Returns its name."""
        self._inputs.append(value_info(name, kind, dims))
        return name

    def output(self, name: str, kind: int, dims: Dims) -> None:
        """Declare a value to be an output of the graph."""
        self._outputs.append(value_info(name, kind, dims))

    def constant(self, name: str, values: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Keep an array in the graph, in place of an older one of that name. Returns the name."""
        array = np.asarray(values, dtype, order="C")
        self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node of one output, named as the output. Returns that name."""
        return self.add_node(op, inputs, [output], output, **attributes)[0]

    def add_node(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any
    ) -> list[str]:
        """Append a node of several outputs. Returns their names."""
        self._nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return list(outputs)

    def model(self) -> onnx.ModelProto:
        """Return the graph as a model.

        Raises:
            onnx.checker.ValidationError: if it breaks the rules of ONNX.
        """
        tensors = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, tensors)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="facewire",
        )
        onnx.checker.check_model(model)
        return model

    def serialized(self) -> bytes:
        """Return the bytes of `model`."""
        data: bytes = self.model().SerializeToString()
        return data

    def put_before(self, model: onnx.ModelProto) -> None:
        """Let a model take this graph's inputs: its nodes come first and compute the model's own.

        The last node's output must be called as the model's input is. Names of the nodes are left
        out, as the model may have the same.
        """
        body = list(model.graph.node)
        del model.graph.node[:]
        for node in self._nodes:
            model.graph.node.append(node)
            model.graph.node[-1].ClearField("name")
        model.graph.node.extend(body)
        model.graph.initializer.extend(self._constants.values())
        del model.graph.input[:]
        model.graph.input.extend(self._inputs)
