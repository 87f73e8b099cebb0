"""A backbone as a list of plain operations, from which ONNX files and MXNet symbols are written."""

import operator
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from trainer.errors import ExportError


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a network.

    Attributes:
        kind: conv, norm, prelu, relu, sigmoid, linear, maxpool, avgpool, globalpool, flatten,
            dropout, concat, sum (over channels), root; add, times, divide (of two inputs);
            subtract, multiply, plus (by a number).
        name: of its layer as an MXNet checkpoint has it; unique.
        inputs: names of operations, or "data".
        layer: the torch layer, where it is one.
        value: of subtract, multiply and plus.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    layer: nn.Module | None = None
    value: float = 0.0


@dataclass(slots=True)
class _Names:
    of_node: dict[fx.Node, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def fresh(self, stem: str) -> str:
        number = self.counts.get(stem, 0)
        self.counts[stem] = number + 1
        return f"{stem}{number}"


_LAYERS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Conv2d, "conv"),
    (nn.BatchNorm2d, "norm"),
    (nn.BatchNorm1d, "norm"),
    (nn.PReLU, "prelu"),
    (nn.ReLU, "relu"),
    (nn.Sigmoid, "sigmoid"),
    (nn.Linear, "linear"),
    (nn.MaxPool2d, "maxpool"),
    (nn.AvgPool2d, "avgpool"),
    (nn.AdaptiveAvgPool2d, "globalpool"),
    (nn.Flatten, "flatten"),
    (nn.Dropout, "dropout"),
)
# MXNet's own names for nameless operations
_FUNCTIONS = {
    operator.sub: ("subtract", "_minusscalar"),
    operator.mul: ("multiply", "_mulscalar"),
    operator.add: ("plus", "_plusscalar"),
    operator.truediv: ("divide", "broadcast_div"),
    torch.cat: ("concat", "concat"),
    torch.sum: ("sum", "sum"),
    torch.sqrt: ("root", "sqrt"),
}
# the same of two inputs
_OF_TWO = {"multiply": ("times", "broadcast_mul"), "plus": ("add", "_plus")}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(kind for kind, _ in _LAYERS))


def operations(backbone: nn.Module) -> list[Operation]:
    """Return a backbone's operations in the order they run; the last gives the embedding.

    Raises:
        ExportError: if it has an operation that is not in this list.
    """
    graph = _Tracer().trace(backbone)
    names = _Names()
    found: list[Operation] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            names.of_node[node] = "data"
            continue
        if node.op == "output":
            continue
        operation = _operation(backbone, node, names)
        names.of_node[node] = operation.name
        found.append(operation)
    return found


def _operation(backbone: nn.Module, node: fx.Node, names: _Names) -> Operation:
    inputs = tuple(names.of_node[source] for source in node.all_input_nodes)
    if node.op == "call_module":
        layer = backbone.get_submodule(str(node.target))
        kind = next(kind for layer_type, kind in _LAYERS if isinstance(layer, layer_type))
        return Operation(kind, str(node.target).replace(".", "_"), inputs, layer)
    if node.op == "call_function" and node.target in _FUNCTIONS:
        kind, stem = _FUNCTIONS[node.target]
        number = node.args[1] if len(node.args) > 1 else 0
        if isinstance(number, fx.Node):
            kind, stem = _OF_TWO.get(kind, (kind, stem))
            # in their order, and both of x * x
            inputs = tuple(names.of_node[arg] for arg in node.args if isinstance(arg, fx.Node))
        value = float(number) if isinstance(number, int | float) else 0.0
        return Operation(kind, names.fresh(stem), inputs, None, value)
    raise ExportError(f"cannot export {node.op} {node.target}: no such operation in a file")
