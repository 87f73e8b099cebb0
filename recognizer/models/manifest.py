"""The built-in models, each a table of `models.toml`, and those that the user added."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Any

from recognizer.cache import default_cache
from recognizer.errors import ModelFileError

USER_DIRECTORY = "user"  # of the cache: models that the user added


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: its name in the cache and where its archive keeps it."""

    name: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One table of `models.toml`."""

    name: str
    role: str
    directory: str
    title: str
    licence: str
    source: str
    package: str
    archive: str
    archive_sha256: str
    download_size: int
    files: tuple[ModelFile, ...]
    card: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the manifest and whether the cache holds it.

    Attributes:
        size: bytes of its files.
        is_cached: all files exist with the right size (hashes are checked on opening).
    """

    name: str
    role: str
    title: str
    licence: str
    source: str
    size: int
    path: Path
    is_cached: bool


def read_manifest() -> dict[str, ManifestEntry]:
    """Return every table of `models.toml` by name."""
    tables = tomllib.loads(resource_files("recognizer").joinpath("models.toml").read_text("utf-8"))
    return {
        name: ManifestEntry(
            name=name,
            role=table["role"],
            directory=table["directory"],
            title=table["title"],
            licence=table["licence"],
            source=table["source"],
            package=table["package"],
            archive=table["archive"],
            archive_sha256=table.get("archive_sha256", ""),
            download_size=table["download_size"],
            files=tuple(ModelFile(**file) for file in table["files"]),
            card=table.get("card", {}),
        )
        for name, table in tables.items()
    }


def list_models(cache: Path | None = None) -> list[ModelEntry]:
    """Return the manifest's models with their state in `cache`, then the user's own."""
    cache = cache or default_cache()
    known = [_state(entry, cache) for entry in read_manifest().values()]
    return known + [_own(name, cache) for name in user_models(cache)]


def user_models(cache: Path) -> list[str]:
    """Return the names of the models that the user added."""
    return sorted(path.stem for path in (cache / USER_DIRECTORY).glob("[!.]*.onnx"))


def user_model_path(name: str, cache: Path) -> Path:
    """Return where the user's model of that name is or would be."""
    return cache / USER_DIRECTORY / f"{name}.onnx"


def _own(name: str, cache: Path) -> ModelEntry:
    path = user_model_path(name, cache)
    return ModelEntry(
        name=name,
        role="embedding",
        title="added by the user",
        licence="the user's",
        source="",
        size=path.stat().st_size,
        path=path,
        is_cached=True,
    )


def _state(entry: ManifestEntry, cache: Path) -> ModelEntry:
    folder = cache / entry.directory
    return ModelEntry(
        name=entry.name,
        role=entry.role,
        title=entry.title,
        licence=entry.licence,
        source=entry.source,
        size=sum(file.size for file in entry.files),
        path=folder / entry.files[0].name if len(entry.files) == 1 else folder,
        is_cached=all(size_of(folder / file.name) == file.size for file in entry.files),
    )


def manifest_entry(name: str) -> ManifestEntry:
    """Return a table of `models.toml`.

    Raises:
        ModelFileError: if there is none of that name.
    """
    manifest = read_manifest()
    if name not in manifest:
        raise ModelFileError(f"unknown model {name!r} (known: {', '.join(sorted(manifest))})")
    return manifest[name]


def size_of(path: Path) -> int | None:
    """Return a file's size in bytes; None if it is missing."""
    try:
        return path.stat().st_size
    except OSError:  # missing, or in a folder that cannot be entered: `fetch` reports it
        return None
