"""backup, restore and migrate: everything that a service stores, to another place."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gallery import Place
from gallery.address import is_address, shown
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
from stream.errors import ConfigError

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
    complain(f"gallery {settings.shown_place}, {settings.origin}")
    if is_address(settings.place):
        complain("note: its people are in the database: back that up with pg_dump")
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
    if is_address(settings.place):
        raise ConfigError(
            f"people are in {settings.shown_place}: restore that with pg_restore, or name a "
            "directory by --gallery and move it there with facewire migrate"
        )
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


def migrate(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="ADDRESS|DIR",
            show_default=False,
            help="postgresql://USER@HOST/DATABASE, or a directory.",
        ),
    ],
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy people and events to a PostgreSQL database, or back to a directory.

    Stop the service first. All rows are read back and compared before the copy
    is valid; the gallery that is copied stays as it is. Events get the numbers
    that they have in the database. Visitors and cameras stay in the directory.
    The database's password may be in PGPASSWORD or in ~/.pgpass.

    Example: facewire migrate --to postgresql://facewire@db.example/facewire
    """
    from gallery.moving import copy_gallery

    settings = settings_for(config=config, gallery=gallery)
    if settings.service is not None:
        raise ConfigError(
            f"a service runs on this gallery (process {settings.service.process}): stop it first"
        )
    target: Place = to if is_address(to) else Path(to)
    complain(f"gallery {settings.shown_place}, {settings.origin}")
    with counted(f"copying to {shown(target)}") as progress:
        moved = copy_gallery(settings.place, target, progress=progress)
    n_events, tables = 0, _table_figures(moved.rows, moved.sha256)
    if is_address(settings.place) or is_address(target):
        from stream.replication.moving import copy_events  # needs the extra `cluster`

        with counted(f"copying events to {shown(target)}") as progress:
            events = copy_events(settings.place, settings.directory, target, progress=progress)
        n_events = events.rows.get("events", 0)
        tables |= _table_figures(events.rows, events.sha256)
    if as_json:
        print_json(
            {
                "from": settings.shown_place,
                "to": shown(target),
                "tables": tables,
            }
        )
        return
    n_rows = sum(int(each["rows"]) for each in tables.values())
    say(
        f"{shown(target)}: {moved.rows['identities']} people, {moved.rows['photos']} photos; "
        f"{n_events} events; all {n_rows} rows are equal"
    )
    if is_address(target):
        say("set [gallery] database, or FACEWIRE_DATABASE, for the service to use it")
    else:
        say("unset [gallery] database, and set [gallery] directory, for the service to use it")


def _table_figures(rows: dict[str, int], sha256: dict[str, str]) -> dict[str, dict[str, int | str]]:
    return {table: {"rows": n, "sha256": sha256[table]} for table, n in rows.items()}


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
