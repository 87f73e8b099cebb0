"""ONNX files on disk: read with one clear error, written at once or not at all."""

import os
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from recognizer.errors import ModelFileError


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ModelFileError: if it is missing, unreadable or no ONNX file.
    """
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    except (DecodeError, ValueError) as error:
        raise ModelFileError(f"{path} is not an ONNX file") from error
    if not model.graph.node:
        raise ModelFileError(f"{path} is not an ONNX file")
    return model


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write an ONNX file under a temporary name and move it into place.

    Raises:
        ModelFileError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(model.SerializeToString())
            Path(scratch).chmod(0o644)
            Path(scratch).replace(path)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
