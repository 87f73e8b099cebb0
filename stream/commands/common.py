"""Options, output and progress bars that commands share.

Nothing heavy is imported before a command needs it, so that `facewire --help` is quick.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stream.config import data_dir

if TYPE_CHECKING:
    from gallery import Gallery
    from recognizer import Recognizer
    from stream.events import EventLog

EXPECTED_FAILURE = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
GalleryDirectory = Annotated[
    Path | None,
    typer.Option(
        "--gallery",
        metavar="DIR",
        file_okay=False,
        help="Where people are kept; the user's data directory unless given.",
    ),
]
ModelSpec = Annotated[
    str,
    typer.Option("--model", metavar="NAME|FILE|PREFIX,EPOCH", help="The embedding model."),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or tensorrt.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 for all cores.")]
MinFace = Annotated[
    int, typer.Option("--min-face-px", min=12, help="The smallest face to find, in pixels.")
]


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def complain(message: object) -> None:
    """Say one line on stderr, as all errors are said."""
    typer.echo(f"facewire: {message}", err=True)


def table_console() -> Console:
    """Return where tables go: a file or pipe gets whole lines, however long."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=200)


def gallery_directory(given: Path | None) -> Path:
    """Return the gallery that a command works on: what serve uses with the user's own cameras."""
    return given or data_dir() / "gallery"


@contextmanager
def people_and_events(directory: Path) -> "Iterator[tuple[Gallery, EventLog]]":
    """Open people to change them, and the log of past events, which takes the changes in."""
    from gallery import Gallery
    from stream.events import EventLog

    with Gallery.open_any(directory) as people, EventLog.open(directory) as events:
        events.follow(people)
        yield people, events
        events.settle()


class FetchBars:
    """Shows a bar on stderr for every model that is fetched; nothing, if none is."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show how far a model has come, in bytes."""
        if self._bars is None:
            self._bars = Progress(
                TextColumn("fetching {task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done)

    def close(self) -> None:
        """Leave the bars as they are; safe to call twice."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks = {}


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr, vanishing at the end; the function yielded counts one."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def recognizer_for(
    *,
    model: str = "sface",
    device: str = "auto",
    threads: int = 0,
    min_face_px: int = 40,
    attributes: bool = False,
) -> "Recognizer":
    """Open a recognizer, with bars for the models that are fetched."""
    from recognizer import open_recognizer

    with closing(FetchBars()) as progress:
        return open_recognizer(
            model=model,
            device=device,
            threads=threads,
            min_face_px=min_face_px,
            attributes=attributes,
            progress=progress,
        )
