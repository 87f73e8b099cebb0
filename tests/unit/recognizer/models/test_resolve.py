from pathlib import Path

import onnx
import pytest

from recognizer.card import write_card
from recognizer.errors import ModelFileError
from recognizer.models.fetch import sha256_of
from recognizer.models.resolve import resolve_model
from tests.unit.recognizer.embed.test_embedder import card, toy_model


def test_a_file_with_a_card_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    model = toy_model()
    write_card(model, card())
    onnx.save(model, path)
    resolved = resolve_model(str(path), cache=tmp_path)
    assert resolved.card == card()
    assert resolved.model_id == f"toy-{sha256_of(path)[:8]}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", r"unknown model 'nothing' \(known: sface"),
        ("nothing.onnx", r"cannot read .*nothing\.onnx: no such file"),
        ("", "unknown model ''"),
    ],
)
def test_what_is_no_model_is_named(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        resolve_model(spec, cache=tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"\x00" * 100])
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"foreign\.onnx is not an ONNX file"):
        resolve_model(str(path), cache=tmp_path)
