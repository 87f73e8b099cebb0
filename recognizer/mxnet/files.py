"""Reads MXNet checkpoints without MXNet: PREFIX-symbol.json and PREFIX-NNNN.params.

Files are untrusted: every length is checked against what is left before anything is allocated.
"""

import ast
import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.errors import ModelFileError
from recognizer.files import refuse_special

LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC, V3_MAGIC = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MAX_DIMS = 32
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?"}

Params = dict[str, NDArray[Any]]
_BEYOND = (OverflowError, RecursionError)  # numbers or nesting that only a forged file has


@dataclass(frozen=True, slots=True)
class SymbolNode:
    """One node of a symbol's graph.

    Attributes:
        op: operator; "null" for a variable.
        name: unique.
        inputs: (index of the node, index of its output).
        attributes: values parsed as Python literals where possible, else text.
    """

    op: str
    name: str
    inputs: tuple[tuple[int, int], ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A graph: nodes in order of evaluation, and the outputs among them."""

    nodes: tuple[SymbolNode, ...]
    heads: tuple[tuple[int, int], ...]


def checkpoint_paths(spec: str) -> tuple[Path, Path]:
    """Split PREFIX,EPOCH into the paths of the symbol and of the parameters.

    Raises:
        ModelFileError: if the spec is of another form or a file is missing.
    """
    prefix, comma, epoch = spec.rpartition(",")
    if not comma or not prefix or not re.fullmatch("[0-9]{1,9}", epoch):
        raise ModelFileError(f"{spec!r} is not PREFIX,EPOCH, as in models/y1/model,0")
    paths = Path(f"{prefix}-symbol.json"), Path(f"{prefix}-{int(epoch):04d}.params")
    for path in paths:
        try:
            refuse_special(path)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ModelFileError(f"cannot read {path}: {why} (from {spec!r})") from error
    return paths


def read_params(path: Path) -> Params:
    """Read the arrays of a .params file, of any generation.

    Returns:
        Arrays by name without the prefixes "arg:" and "aux:".

    Raises:
        ModelFileError: if it cannot be read, is cut off, or is something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    try:
        return _parse_params(_Reader(data))
    except _FormatError as error:
        raise ModelFileError(f"{path} is not an MXNet parameter file: {error}") from error


class _FormatError(Exception):
    """The bytes do not follow the format."""


class _Reader:
    """Reads values from a buffer, never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, n: int) -> bytes:
        if n > self.left:
            raise _FormatError(f"cut off at byte {len(self._data)}")
        start, self._position = self._position, self._position + n
        return self._data[start : self._position]

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def number(self, layout: str) -> int:
        return self.numbers(layout)[0]


def _parse_params(reader: _Reader) -> Params:
    if reader.left < 24 or reader.number("Q") != LIST_MAGIC:
        raise _FormatError("wrong magic number")
    reader.number("Q")  # reserved
    n_arrays = reader.number("Q")
    if n_arrays * 4 > reader.left:
        raise _FormatError(f"{n_arrays} arrays cannot be in {reader.left} bytes")
    arrays = [_parse_array(reader) for _ in range(n_arrays)]
    n_names = reader.number("Q")
    if n_names != n_arrays:
        raise _FormatError(f"{n_names} names for {n_arrays} arrays")
    params = {}
    for array in arrays:
        try:
            name = reader.take(reader.number("Q")).decode()
        except UnicodeDecodeError as error:
            raise _FormatError("a name is not text") from error
        params[name.partition(":")[2] if name.startswith(("arg:", "aux:")) else name] = array
    if reader.left:
        raise _FormatError(f"{reader.left} bytes after the end")
    return params


def _parse_array(reader: _Reader) -> NDArray[Any]:
    magic = reader.number("I")
    if magic in (V2_MAGIC, V3_MAGIC):
        if reader.number("i") != 0:
            raise _FormatError("sparse arrays are not supported")
        dims_layout, n_dims = "q", reader.number("i")
    elif magic == V1_MAGIC:
        dims_layout, n_dims = "q", reader.number("I")
    else:  # files without a version begin with the number of dimensions
        dims_layout, n_dims = "I", magic
    if n_dims == 0 and magic != V3_MAGIC:
        return np.empty(0, np.float32)
    if not 0 <= n_dims <= MAX_DIMS:
        raise _FormatError(f"an array of {n_dims} dimensions")
    shape = reader.numbers(dims_layout * n_dims)
    reader.numbers("ii")  # the device it was on
    kind = reader.number("i")
    if kind not in DTYPES:
        raise _FormatError(f"unknown data type {kind}")
    dtype = np.dtype(DTYPES[kind])
    if min(shape, default=0) < 0:
        raise _FormatError(f"an array of shape {shape}")
    raw = reader.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape)


def read_symbol(path: Path) -> Symbol:
    """Read a symbol's JSON, of any version.

    Raises:
        ModelFileError: if it cannot be read or is something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        nodes = tuple(_parse_node(node, i) for i, node in enumerate(content["nodes"]))
        heads = tuple((int(head[0]), int(head[1])) for head in content["heads"])
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    except (LookupError, ValueError, TypeError, AttributeError, *_BEYOND) as error:
        raise ModelFileError(f"{path} is not an MXNet symbol") from error
    if not heads or any(not 0 <= index < len(nodes) for index, _ in heads):
        raise ModelFileError(f"{path} is not an MXNet symbol: it has no output")
    return Symbol(nodes, heads)


def _parse_node(node: dict[str, Any], index: int) -> SymbolNode:
    inputs = tuple((int(entry[0]), int(entry[1])) for entry in node["inputs"])
    if any(not 0 <= source < index for source, _ in inputs):
        raise ValueError("nodes are not in order of evaluation")
    # oldest files keep the operator's own under "param" and the user's under "attr"
    attributes = {k: v for key in ("attr", "attrs", "param") for k, v in node.get(key, {}).items()}
    return SymbolNode(
        str(node["op"]),
        str(node["name"]),
        inputs,
        {str(key): _literal(str(value)) for key, value in attributes.items()},
    )


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, *_BEYOND):
        return text
