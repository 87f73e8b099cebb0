"""Loads the embedding model that the value of --model names, with its card."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from recognizer.cache import default_cache
from recognizer.card import ModelCard, card_from, embedding_card, read_card
from recognizer.errors import ModelFileError
from recognizer.models.fetch import Progress, ensure, sha256_of
from recognizer.models.library import load_with_card
from recognizer.models.manifest import read_manifest, user_model_path, user_models
from recognizer.models.onnx_files import read_onnx
from recognizer.mxnet.files import checkpoint_paths

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
        spec: a model's name, the path of an ONNX file with a model card, or PREFIX,EPOCH of an
            MXNet checkpoint.
        cache: folder of the models; None for `default_cache()`.
        progress: called with the bytes while a model is fetched.

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
    if spec in user_models(cache):
        return _from_file(user_model_path(spec, cache), spec)
    if spec.endswith(".onnx"):
        return _from_file(Path(spec), Path(spec).name)
    if "," in spec:
        _, params = checkpoint_paths(spec)
        model, card = load_with_card(spec, name=Path(spec.rpartition(",")[0]).name.lower())
        return ResolvedModel(embedding_card(card), model, sha256_of(params))
    known = ", ".join([*names, *user_models(cache)])
    raise ModelFileError(
        f"unknown model {spec!r} (known: {known}; or give an .onnx file or PREFIX,EPOCH)"
    )


def model_id_of(spec: str, *, cache: Path | None = None) -> str:
    """Return the id of the model that `spec` names; a shipped model is not fetched for it.

    Raises:
        ModelFileError: if there is no such model or it cannot be used.
    """
    entry = read_manifest().get(spec)
    if entry is not None and entry.role == EMBEDDING_ROLE:
        return f"{spec}-{entry.files[0].sha256[:8]}"
    return resolve_model(spec, cache=cache).model_id


def _from_file(path: Path, name: str) -> ResolvedModel:
    model = read_onnx(path)
    return ResolvedModel(embedding_card(read_card(model, name=name)), model, sha256_of(path))
