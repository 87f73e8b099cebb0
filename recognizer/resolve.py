"""From what a user writes after --model to a loaded embedding model and its card."""

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from recognizer.card import ModelCard, card_from, read_card
from recognizer.errors import ModelFileError
from recognizer.models import Progress, default_cache, ensure, read_manifest, sha256_of

EMBEDDING_ROLE = "embedding"


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedModel:
    """An embedding model, read and identified."""

    card: ModelCard
    model: onnx.ModelProto
    sha256: str

    @property
    def model_id(self) -> str:
        """The card's name and the first eight hex digits of the file's sha256."""
        return f"{self.card.name}-{self.sha256[:8]}"


def resolve_model(
    spec: str, *, cache: Path | None = None, progress: Progress | None = None
) -> ResolvedModel:
    """Load the embedding model that `spec` names.

    Args:
        spec: a model's name, or the path of an ONNX file with a model card.
        cache: folder of the models; None for `default_cache()`.
        progress: told of the bytes while a model is fetched.

    Raises:
        ModelFileError: if there is no such model or it cannot be used.
    """
    cache = cache or default_cache()
    manifest = read_manifest()
    names = [name for name, entry in manifest.items() if entry.role == EMBEDDING_ROLE]
    if spec in names:
        entry = manifest[spec]
        path = ensure(spec, cache, progress) / entry.files[0].name
        facts = {"source": entry.source, "licence": entry.licence, **entry.card}
        return ResolvedModel(card_from(facts, name=spec), read_onnx(path), entry.files[0].sha256)
    path = Path(spec)
    if path.suffix == ".onnx":
        model = read_onnx(path)
        return ResolvedModel(read_card(model, name=path.name), model, sha256_of(path))
    raise ModelFileError(
        f"unknown model {spec!r} (known: {', '.join(names)}; or give the path of an .onnx file)"
    )


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
