"""ONNX files on disk: read with one clear error, written atomically."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from recognizer.errors import ModelFileError
from recognizer.files import refuse_special, write_file


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ModelFileError: if it is missing, unreadable or no ONNX file.
    """
    try:
        refuse_special(path)
        model = onnx.load(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {(error.strerror or '').lower()}") from error
    except (DecodeError, ValueError) as error:
        raise ModelFileError(f"{path} is not an ONNX file") from error
    if not model.graph.node:
        raise ModelFileError(f"{path} is not an ONNX file")
    return model


def write_onnx(model: onnx.ModelProto, path: Path, *, replace: bool = False) -> None:
    """Write an ONNX file under a temporary name and move it into place.

    Raises:
        ModelFileError: if it cannot be written, or is there already and `replace` is not set.
    """
    try:
        write_file(path, model.SerializeToString(), replace=replace)
    except OSError as error:
        raise ModelFileError(f"cannot write {path}: {(error.strerror or '').lower()}") from error
