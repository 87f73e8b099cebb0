"""What the commands of `facewire-train` share: the application, options, progress and output."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recognizer import Recognizer, open_recognizer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 for all.")]
ColourOrder = Annotated[
    str | None,
    typer.Option(help="Of an .onnx file: rgb or bgr; else its model card's, or rgb."),
]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        help="Of an .onnx file: subtracted from 0..255. Default: its model card's, else as "
        "insightface's files, 127.5 or in the graph."
    ),
]
Std = Annotated[
    tuple[float, float, float] | None,
    typer.Option(help="Of an .onnx file: divided by after that. Default: as --mean."),
]


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr; yields a function of done and total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def emit(value: Any, lines: list[str], *, as_json: bool) -> None:
    """Print a result: the JSON document, or the lines."""
    typer.echo(json.dumps(value, indent=1) if as_json else "\n".join(lines))


def opener(device: str, threads: int) -> Callable[[], Recognizer]:
    """Return a function that opens a recognizer; it is picklable: worker processes call it too."""
    return partial(open_recognizer, device=device, threads=threads)


def lines_of_facts(facts: dict[str, Any]) -> list[str]:
    """Return one line `key: value` for each fact."""
    return [f"{k}: {v:.6g}" if isinstance(v, float) else f"{k}: {v}" for k, v in facts.items()]
