"""models: what the recognizer runs on."""

from contextlib import closing
from typing import Annotated

import typer
from rich.table import Table

from stream.commands.common import AsJson, FetchBars, print_json, table_console

app = typer.Typer(no_args_is_help=True, help="Look after the models.")

MIB = 2**20


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models and photos that facewire knows, and which are in the cache.

    Example: facewire models list
    """
    from recognizer import list_models as known_models

    entries = known_models()
    if as_json:
        print_json(
            [
                {
                    "name": entry.name,
                    "role": entry.role,
                    "title": entry.title,
                    "licence": entry.licence,
                    "source": entry.source,
                    "size": entry.size,
                    "path": str(entry.path),
                    "is_cached": entry.is_cached,
                }
                for entry in entries
            ]
        )
        return
    table = Table("name", "role", "MiB", "here", "licence", "what", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(
            entry.name,
            entry.role,
            f"{entry.size / MIB:.1f}",
            "yes" if entry.is_cached else "no",
            entry.licence,
            entry.title,
        )
    table_console().print(table)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", show_default=False, help="Models; all unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring models into the cache, so that everything works offline ever after.

    Example: facewire models fetch sface
    """
    from recognizer import fetch as fetch_model
    from recognizer import list_models as known_models

    fetched = []
    with closing(FetchBars()) as progress:
        for name in names or [entry.name for entry in known_models()]:
            path = fetch_model(name, progress=progress)
            fetched.append({"name": name, "path": str(path)})
    if as_json:
        print_json(fetched)
        return
    for entry in fetched:
        typer.echo(f"{entry['name']}: {entry['path']}")
