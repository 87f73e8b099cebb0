"""models: the models of the recognizer."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stream.cli.common import (
    AsJson,
    FetchBars,
    Replace,
    complain,
    counted,
    finite,
    print_json,
    say,
    table_console,
)

app = typer.Typer(no_args_is_help=True, help="List, fetch, add and convert models.")

MIB = 2**20


class ColorOrder(StrEnum):
    """Order of a model's three input channels."""

    RGB = "rgb"
    BGR = "bgr"


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
    table = Table("name", "role", "MiB", "here", "license", "what", box=None, pad_edge=False)
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
    """Fetch models into the cache, for work without a network.

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
        say(f"{entry['name']}: {entry['path']}")


@app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|PREFIX,EPOCH", show_default=False, help="ONNX or an MXNet checkpoint."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(show_default=False, help="For --model; the file's name unless given."),
    ] = None,
    colour_order: Annotated[
        ColorOrder | None, typer.Option(show_default=False, help="If the file does not say it.")
    ] = None,
    mean: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            show_default=False, callback=finite, help="Subtracted from 0..255, by channel."
        ),
    ] = None,
    std: Annotated[
        tuple[float, float, float] | None,
        typer.Option(show_default=False, callback=finite, help="Divided by, by channel."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            show_default=False,
            callback=finite,
            help="Similarity of the same person; measured by --images unless given.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            show_default=False,
            help="Photos, DIR/NAME/PHOTO, to measure its similarities.",
        ),
    ] = None,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Check an embedding model of your own, run it once, and keep it for --model NAME.

    Example: facewire models add mine.onnx --name mine --colour-order rgb
             --mean 127.5 127.5 127.5 --std 127.5 127.5 127.5 --images lfw/
    """
    from recognizer.models.library import add_model
    from stream.enrollment.naming import unmeasured

    with closing(FetchBars()) as progress, measuring() as on_photo:
        card = add_model(
            source,
            name=name or Path(source.partition(",")[0]).stem.lower(),
            colour_order=colour_order,
            mean=mean,
            std=std,
            threshold=threshold,
            replace=replace,
            images=images,
            on_photo=on_photo,
            progress=progress,
        )
    found = card.similarities
    if not card.limits.is_measured:
        complain(unmeasured(card.name))
    if as_json:
        print_json(
            {
                "name": card.name,
                "embedding_size": card.embedding_size,
                "input_size": list(card.input_size),
                "colour_order": card.colour_order,
                "mean": list(card.mean),
                "std": list(card.std),
                "threshold": card.threshold,
                "far": card.far,
                "similarities": None if found is None else asdict(found),
            }
        )
        return
    say(f"added {card.name}: {card.embedding_size} numbers, use --model {card.name}")
    if found is not None:
        say(
            f"different people are {card.threshold:.3f} similar or more in {card.far:.2g} of pairs "
            f"({found.impostors} pairs of different people, {found.genuine} of one person)"
        )


@contextmanager
def measuring() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on stderr while photos are measured, and a line for each unusable one."""
    with counted("photos") as progress:

        def on_photo(done: int, total: int, fault: str) -> None:
            progress(done, total)
            if fault:
                complain(fault)

        yield on_photo


@app.command()
def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="PREFIX,EPOCH",
            show_default=False,
            help="PREFIX-symbol.json and PREFIX-EPOCH.params.",
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="The ONNX file to write.")
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(show_default=False, help="An output node; the symbol's own if none."),
    ] = None,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Convert an MXNet checkpoint to ONNX, without MXNet.

    Example: facewire models convert models/y1/model,1 y1.onnx
    """
    from recognizer.models.library import convert_checkpoint

    outputs = convert_checkpoint(checkpoint, out, outputs=tuple(output or ()), replace=replace)
    if as_json:
        print_json({"path": str(out), "outputs": outputs})
    else:
        say(f"{out}: {', '.join(outputs)}")
