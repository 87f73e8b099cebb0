"""Options, output and progress bars that commands share.

Heavy modules are imported only when a command needs them, so that `facewire --help` is fast.
"""

import importlib
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
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

from gallery import escaped, is_text
from stream.errors import ClusterError, StreamError

if TYPE_CHECKING:
    from gallery import Gallery, Place
    from gallery.people_copy import PeopleCopy
    from stream.events.log import EventLog

EXPECTED_FAILURE = 1
MAX_THREADS = 1024
MAX_FACE_PX = 100_000

Replace = Annotated[
    bool, typer.Option("--replace", help="Replace an existing file or entry of that name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
GalleryDirectory = Annotated[
    Path | None,
    typer.Option(
        "--gallery",
        metavar="DIR",
        file_okay=False,
        help="Gallery; else that of --config, of a running service, or the default.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration; else FACEWIRE_CONFIG, or that of a running service.",
        show_default=False,
    ),
]
ConfigFileAlone = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration, such as facewire.toml; else FACEWIRE_CONFIG.",
        show_default=False,
    ),
]
GenderAgeModel = Annotated[
    str | None,
    typer.Option(
        "--ga-model",
        metavar="FILE|PREFIX,EPOCH",
        help="Gender and age model: an .onnx file of facewire-train, or a checkpoint of MXNet "
        "insightface; else that of the configuration, or the shipped one.",
        show_default=False,
    ),
]
ModelSpec = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE|PREFIX,EPOCH",
        help="Embedding model; else that of the configuration, or sface.",
        show_default=False,
    ),
]
DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda or tensorrt; else as configured, or auto.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=0,
        max=MAX_THREADS,
        help="CPU threads, 0 for all cores; else as configured, or 0.",
        show_default=False,
    ),
]
MinFace = Annotated[
    int | None,
    typer.Option(
        "--min-face-px",
        min=12,
        max=MAX_FACE_PX,
        help="Smallest face to detect, pixels; else as configured, or 40.",
        show_default=False,
    ),
]


def json_text(document: Any, *, indent: int | None = None) -> str:
    """Return a document as valid JSON, even if file names in it are not UTF-8."""
    is_unicode = str(getattr(sys.stdout, "encoding", "")).lower().startswith("utf")
    return json.dumps(_plain(document), indent=indent, ensure_ascii=not is_unicode)


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    typer.echo(json_text(document, indent=2))


def say(line: object) -> None:
    """Print one line of a result on stdout."""
    typer.echo(escaped(str(line)))


def complain(message: object) -> None:
    """Print one line on stderr, in the format of all errors."""
    typer.echo(f"facewire: {escaped(str(message))}", err=True)


def write_output(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write an output file atomically, without overwriting another.

    Raises:
        StreamError: if it cannot be written, or exists and `replace` is not set.
    """
    from recognizer import write_file

    try:
        write_file(path, data, replace=replace)
    except FileExistsError as error:
        raise StreamError(f"{path} already exists: name another file, or use --replace") from error
    except OSError as error:
        raise StreamError(f"cannot write {path}: {(error.strerror or '').lower()}") from error


def _plain(value: Any) -> Any:
    """Return a value with file names that are not UTF-8 replaced by `escaped`."""
    match value:
        case str():
            return value if is_text(value) else escaped(value)
        case dict():
            return {_plain(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value


def finite(number: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
    """Refuse NaN and infinity, which the range check of an option accepts."""
    numbers = number if isinstance(number, tuple) else (number,)
    if any(each is not None and not math.isfinite(each) for each in numbers):
        raise typer.BadParameter("must be a finite number")
    return number


def table_console() -> Console:
    """Return the console for tables; lines of a file or pipe are not wrapped."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=200)


@contextmanager
def people_and_events(directory: Path, place: "Place") -> "Iterator[tuple[Gallery, EventLog]]":
    """Open a gallery for changes, and the event log, to which they are applied.

    The copy of a database's people is updated at the end, however the work ended: if that fails,
    it is only reported, because the people are changed.

    Args:
        directory: of the event log.
        place: of the gallery: the directory, or the address of a database.
    """
    from gallery import Gallery
    from gallery.address import is_address
    from gallery.errors import GalleryUnreachableError
    from gallery.people_copy import PeopleCopy
    from stream.events.log import EventLog

    with (
        Gallery.open_any(place) as people,
        EventLog.open(directory) as events,
        closing(PeopleCopy(directory)) as copy,
    ):
        has_copy = is_address(place) and copy.exists  # else the service makes one, if it runs
        events.follow(people)
        try:
            yield people, events
            events.reconcile()
        except GalleryUnreachableError:
            has_copy = False  # and cannot be updated; one message is enough
            raise
        finally:
            if has_copy:
                _bring_up(copy, people)


def _bring_up(copy: "PeopleCopy", people: "Gallery") -> None:
    from gallery import GalleryError

    try:
        copy.update(people.store)
    except GalleryError as error:
        complain(
            f"the copy of the people on this machine is not up to date: {error}; the next "
            "change tries again, and so does a running service"
        )


class FetchBars:
    """Progress bars on stderr, one for each model that is fetched."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Update the bar of a model, in bytes."""
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
        """Stop updating the bars; safe to call twice."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        self._tasks = {}


@contextmanager
def counted(what: str, *, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr; the yielded function takes the done and total counts.

    The bar appears with the first call, so that a line printed before it stays readable.
    """
    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn(what), BarColumn(), amount, TimeRemainingColumn())
    console = Console(stderr=True)
    with ExitStack() as stack:
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        task: TaskID | None = None

        def progress(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                stack.enter_context(bar)
                task = bar.add_task(what, total=total)
            bar.update(task, completed=done)

        yield progress


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr; each call of the yielded function adds one."""
    with counted(what) as progress:
        progress(0, total)
        done = itertools.count(1)
        yield lambda: progress(next(done), total)


def need_ray() -> None:
    """Check that Ray is installed; it sends no reports to its makers.

    Raises:
        ClusterError: if it is not.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError("machines of a cluster need Ray: pip install '.[cluster]'") from error
