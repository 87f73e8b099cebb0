"""load: many viewers of one camera at once."""

import dataclasses
import os
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from stream.cli.common import AsJson, finite, print_json, table_console
from stream.config import TOKEN_VARIABLE

MAX_VIEWERS = 10_000
MAX_PID = 1 << 22  # of Linux


def load(
    url: Annotated[
        str, typer.Argument(help="The service, or a WHEP address, which ends with /whep.")
    ] = "http://127.0.0.1:8080",
    camera: Annotated[
        str | None,
        typer.Option(help="Name of the camera; the first by default.", show_default=False),
    ] = None,
    viewers: Annotated[
        int, typer.Option(min=1, max=MAX_VIEWERS, help="Viewers at the same time.")
    ] = 20,
    seconds: Annotated[
        float,
        typer.Option(
            min=1, max=86_400, callback=finite, help="How long to measure, once all have joined."
        ),
    ] = 10.0,
    per_second: Annotated[
        float,
        typer.Option(min=0.1, max=1000, callback=finite, help="Viewers that join in a second."),
    ] = 10.0,
    direct: Annotated[
        bool, typer.Option("--direct", help="Video from facewire itself, not from its SFU.")
    ] = False,
    token: Annotated[
        str,
        typer.Option(
            help=f"Secret of the service; better in {TOKEN_VARIABLE}.", show_default=False
        ),
    ] = "",
    processes: Annotated[
        int,
        typer.Option(
            min=0, max=256, help="Processes of viewers; 0 for one per 50, at most one per core."
        ),
    ] = 0,
    pid: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=MAX_PID,
            help="A further process whose use of the CPU is shown, such as the SFU's; repeat for "
            "more.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a camera many times at once: frame rate, loss, time to join, use of the CPU.

    The viewers decode nothing and run in processes of their own. A service on this machine takes
    half of its places from one address: [server] max_viewers, or [sfu] max_viewers.

    Example: facewire load http://127.0.0.1:8080 --camera door --viewers 200
    """
    from stream.bench.load import LoadPlan, first_camera, is_whep, measure_load, whep_of

    token = token or os.environ.get(TOKEN_VARIABLE, "")
    if camera is None and not is_whep(url):
        camera = first_camera(url, token)
    whep, metrics = whep_of(url, camera or "", direct=direct)
    plan = LoadPlan(
        url=whep,
        metrics_url=metrics,
        token=token,
        viewers=viewers,
        seconds=seconds,
        per_second=per_second,
        processes=processes,
        pids=tuple(pid or ()),
    )
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("joining", total=viewers)
        figures = measure_load(
            plan,
            lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    document = dataclasses.asdict(figures)
    if as_json:
        print_json(document)
        return
    table = Table(show_header=False)
    joined = f"{figures.joined} of {figures.viewers}"
    table.add_row("viewers", joined + (f", from {figures.via}" if figures.via else ""))
    table.add_row("measured", f"{figures.seconds:.1f} s")
    least, median, most = figures.fps
    table.add_row("frames a second", f"{median:.1f} (least {least:.1f}, most {most:.1f})")
    table.add_row("packets lost", f"{100 * figures.loss:.3f} %")
    p50, p95, longest = figures.join_s
    table.add_row("time to join", f"p50 {p50:.2f} s, p95 {p95:.2f} s, longest {longest:.2f} s")
    table.add_row("received", f"{figures.bytes / 1e6:.1f} MB, {figures.mbit_s:.1f} Mbit/s")
    if figures.service_cores is not None:
        table.add_row("CPU of facewire", f"{100 * figures.service_cores:.0f} % of a core")
    for number, cores in figures.process_cores.items():
        table.add_row(f"CPU of process {number}", f"{100 * cores:.0f} % of a core")
    table.add_row("CPU of the viewers", f"{100 * figures.viewer_cores:.0f} % of a core")
    table.add_row("load average", f"{figures.load_average:.1f}")
    for reason, count in figures.failures.items():
        table.add_row("without video", f"{count}: {reason}")
    table_console().print(table)
