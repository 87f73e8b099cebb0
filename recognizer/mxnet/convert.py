"""Converts MXNet checkpoints to ONNX, without MXNet.

Every operator of MTCNN, gender-age and the published face networks (MobileFaceNet, MobileNet,
ResNet, MNasNet, DenseNet) is supported; any other is named in the error.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from recognizer.errors import ModelFileError
from recognizer.mxnet.files import Params, Symbol, SymbolNode
from recognizer.mxnet.operators import IDENTITIES, LOSSES, OPERATORS
from recognizer.onnx_graph import FLOAT, OnnxGraph

EMBEDDING_NODE = "fc1"  # name of the last layer of the face networks; training heads follow it


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
    return Conversion(symbol, params, name).run(heads)


def has_node(symbol: Symbol, name: str) -> bool:
    """Return whether a symbol has a node of that name."""
    return any(node.name == name for node in symbol.nodes)


def normalizes_itself(symbol: Symbol) -> bool:
    """Return whether the graph begins by shifting and scaling its pixels."""
    data = {i for i, node in enumerate(symbol.nodes) if node.op == "null" and node.name == "data"}
    through = {
        i
        for i, node in enumerate(symbol.nodes)
        if node.op in IDENTITIES and {source for source, _ in node.inputs} & data
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


class Conversion:
    """State of one conversion."""

    def __init__(self, symbol: Symbol, params: Params, name: str) -> None:
        self._symbol, self._params, self._name = symbol, params, name
        self._graph = OnnxGraph(name)
        self._inputs: list[str] = []
        self._values: dict[tuple[int, int], str] = {}
        self._ranks: dict[str, int] = {}

    def run(self, heads: list[tuple[int, int]]) -> onnx.ModelProto:
        """Convert what the heads need."""
        wanted = self._reachable(heads)
        for index in sorted(wanted):
            node = self._symbol.nodes[index]
            if node.op == "null":
                self._values[index, 0] = node.name
                continue
            if node.op not in OPERATORS:
                raise ModelFileError(f"unknown operator {node.op!r} (node {node.name!r})")
            try:
                results = OPERATORS[node.op](self, node)
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                raise ModelFileError(f"cannot convert {node.op} {node.name!r}: {error}") from error
            for i, result in enumerate(results):
                self._values[index, i] = result
        return self._model([self._value(*head) for head in heads])

    def _value(self, index: int, output: int) -> str:
        if (index, output) not in self._values:
            name = self._symbol.nodes[index].name
            raise ModelFileError(f"node {name!r} has no output {output}")
        return self._values[index, output]

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
            # a loss takes labels too, which inference does not have
            waiting += sources[:1] if node.op in LOSSES else sources
        return found

    def _model(self, outputs: list[str]) -> onnx.ModelProto:
        for name in self._inputs:
            self._graph.input(name, FLOAT, ["N", None, None, None])
        for name in outputs:
            self._graph.output(name, FLOAT, ["N", *[None] * (self.rank(name) - 1)])
        try:
            return self._graph.model()
        except onnx.checker.ValidationError as error:
            reason = str(error).splitlines()[0]
            raise ModelFileError(f"the converted {self._name} is not valid: {reason}") from error

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
        return self._value(index, output)

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
        return self._graph.constant(name, array, np.float32 if array.dtype.kind == "f" else None)

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node of one output; its rank is its first input's."""
        self._graph.add(op, inputs, output, **attributes)
        self._ranks[output] = self.rank(inputs[0])
        return output

    def split(self, data: str, outputs: list[str], name: str, *, axis: int) -> list[str]:
        """Append a node that divides a value into equal parts of its rank."""
        self._graph.add_node("Split", [data], outputs, name, axis=axis)
        self._ranks |= dict.fromkeys(outputs, self.rank(data))
        return outputs

    def rank(self, value: str) -> int:
        """Return a value's number of dimensions."""
        return self._ranks.get(value, 4)

    def set_rank(self, value: str, rank: int) -> None:
        """Note a value's number of dimensions."""
        self._ranks[value] = rank
