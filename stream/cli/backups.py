"""backup and restore: everything that a service stores, in one file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.common import (
    AsJson,
    ConfigFile,
    GalleryDirectory,
    ModelSpec,
    Replace,
    complain,
    counted,
    print_json,
    say,
)
from stream.cli.settings import settings_for

BackupFile = Annotated[
    Path, typer.Argument(metavar="FILE", show_default=False, help="The backup, a zip file.")
]


def backup(
    file: BackupFile,
    replace: Replace = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Back up everything a service stores to FILE; the service may run meanwhile.

    People, photos, events and the page's cameras are in it; facewire.toml is not.

    It holds faces and the passwords of cameras: keep it and its copies private.

    Example: facewire backup facewire-2026-11-27.zip
    """
    from stream.backup.saving import save

    settings = settings_for(config=config, gallery=gallery)
    complain(f"gallery {settings.directory.absolute()}, {settings.origin}")
    with _steps() as progress:
        manifest = save(settings.directory, file, replace=replace, progress=progress)
    if as_json:
        print_json({"file": str(file), **manifest.model_dump(mode="json", by_alias=True)})
    else:
        say(f"{file}: {_summary(manifest.counts)}; it holds faces and passwords, keep it private")


def restore(
    file: BackupFile,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace data that is there; it is kept beside the new."),
    ] = False,
    model: ModelSpec = None,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup; stop the service first.

    FILE is verified before anything is changed. With --force, what was there is
    kept as *.before-restore-TIME: erase it once all is well, it holds faces too.

    Example: facewire restore facewire-2026-11-27.zip
    """
    from recognizer.models.resolve import model_id_of
    from stream.backup.restoring import restore as put_back

    settings = settings_for(config=config, gallery=gallery, model=model)
    directory = settings.to_write()
    model_id = model_id_of(str(settings.recognizer.get("model", "sface")))
    with _steps() as progress:
        restored = put_back(directory, file, model_id=model_id, force=force, progress=progress)
    if as_json:
        print_json(
            {
                "file": str(file),
                "directory": str(directory),
                **restored.manifest.model_dump(mode="json", by_alias=True),
                "kept": list(restored.kept),
            }
        )
        return
    created = restored.manifest.created_at
    say(f"{directory}: {_summary(restored.manifest.counts)}, as of {created}")
    for name in restored.kept:
        say(f"kept {directory / name}")


def _summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "empty"


@contextmanager
def _steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each step in turn."""
    with ExitStack() as stack:
        bars: dict[str, Callable[[int, int], None]] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in bars:
                stack.close()
                bars[what] = stack.enter_context(counted(what, in_bytes=True))
            bars[what](done, total)

        yield progress
