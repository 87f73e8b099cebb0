"""bench: this machine's figures."""

import dataclasses
import statistics
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from stream.cli.common import (
    EXPECTED_FAILURE,
    MAX_FACE_PX,
    AsJson,
    ConfigFileAlone,
    DeviceName,
    FetchBars,
    MinFace,
    ModelSpec,
    Threads,
    complain,
    counted,
    finite,
    need_ray,
    print_json,
    table_console,
    write_output,
)
from stream.cli.settings import settings_to_measure
from stream.config import configuration_file, load_config, parse_camera
from stream.errors import StreamError

if TYPE_CHECKING:
    from recognizer import Floats
    from stream.bench.quality import QualityFigures
    from stream.bench.search import SearchFigures
    from stream.bench.shards import ShardFigures
    from stream.bench.stream import StreamBench
    from stream.bench.visitors import VisitorFigures

MAX_TEMPLATES = 100_000_000  # 13 GB in one byte a number
MAX_PEOPLE = 100_000
MAX_SEED = 2**31 - 1
MAX_SIZE = 16_384  # of an embedding, as of model cards

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


@app.callback()
def bench() -> None:
    """Measure this machine."""


@app.command()
def stream(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="URL...",
            help="Files or cameras as in serve --camera; demo: if none. The first is watched.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=86_400, callback=finite, help="How long to measure.")
    ] = 30.0,
    viewers: Annotated[
        int, typer.Option(min=0, max=100, help="Viewers of the first one by WebRTC meanwhile.")
    ] = 1,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure the service from camera to viewer: stages, rates, drops, latency.

    What is given replaces the cameras of the configuration.

    Example: facewire bench stream rtsp://192.0.2.7/live rtsp://192.0.2.8/live --seconds 60
    """
    from stream.bench.stream import bench_stream

    # The demo by itself comes with its people enrolled.
    urls = [] if sources in (None, ["demo:"]) else sources
    named = [parse_camera(f"bench{number}={url}") for number, url in enumerate(urls, 1)]
    cameras = {"cameras": {"list": named}} if named else {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring", total=1.0)
        result = bench_stream(
            load_config(configuration_file(config), cameras, is_served=False),
            seconds=seconds,
            viewers=viewers,
            tick=lambda done: bar.update(task, completed=done),
        )
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        _print_tables(result)


@app.command()
def search(
    templates: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="N...", min=1, max=MAX_TEMPLATES, help="Sizes; 10000 100000 if none."
        ),
    ] = None,
    size: Annotated[int, typer.Option(min=2, max=MAX_SIZE, help="Numbers in an embedding.")] = 128,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Photos whose faces are mixed into people and are the probes; else random people.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        int,
        typer.Option(min=0, max=1_000, help="Processes of Ray that share the people; 0 for none."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a gallery of N synthetic photos: search, start, changes, memory, exactness.

    10,000,000 take 10 GB of disk for the time of the run.

    Example: facewire bench search 1000000 --images photos
    """
    from stream.bench.search import bench_search

    if shards:
        need_ray()
        from stream.bench.shards import bench_shards

    faces = None if images is None else _faces_in(images)
    size = size if faces is None else faces.shape[1]
    figures = []
    for n_templates in templates or (10_000, 100_000):
        with (
            TemporaryDirectory(prefix="facewire-bench-") as directory,
            Progress(console=Console(stderr=True), transient=True) as bar,
        ):
            task = bar.add_task(f"{n_templates} templates", total=1.0)
            measure: Callable[..., SearchFigures | ShardFigures] = (
                partial(bench_shards, n_shards=shards) if shards else bench_search
            )
            figures.append(
                measure(
                    Path(directory),
                    n_templates,
                    embedding_size=size,
                    faces=faces,
                    progress=partial(_show, bar, task),
                )
            )
    if as_json:
        print_json([dataclasses.asdict(each) for each in figures])
        return
    table = Table("", *(f"{each.n_templates} x {size}" for each in figures), box=None)
    for field in dataclasses.fields(figures[0])[2:]:
        values = [getattr(each, field.name) for each in figures]
        table.add_row(field.name, *(v if isinstance(v, str) else f"{v:.5g}" for v in values))
    Console(highlight=False).print(table)


def _faces_in(images: Path) -> "Floats":
    """Return the embeddings, (N, D) float32, of the faces in a directory's photos."""
    from recognizer import open_recognizer
    from stream.bench.past import faces_in

    with closing(FetchBars()) as bars:
        recognizer = open_recognizer(progress=bars)
    with counted("photos") as counter:
        return faces_in(recognizer, images, progress=counter)


@app.command()
def past(
    sightings: Annotated[
        int,
        typer.Argument(
            metavar="N", min=1, max=MAX_TEMPLATES, help="Sightings, each with an event."
        ),
    ] = 100_000,
    size: Annotated[int, typer.Option(min=2, max=MAX_SIZE, help="Numbers in an embedding.")] = 128,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Photos whose faces are mixed into people; else random people.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the search over N past sightings: times, memory, changes, exactness.

    Example: facewire bench past 1000000
    """
    from stream.bench.past import bench_past

    faces = None if images is None else _faces_in(images)
    size = size if faces is None else faces.shape[1]
    with (
        TemporaryDirectory(prefix="facewire-bench-") as directory,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task(f"{sightings} sightings", total=1.0)
        figures = bench_past(
            Path(directory),
            sightings,
            embedding_size=size,
            faces=faces,
            progress=partial(_show, bar, task),
        )
    if as_json:
        print_json(dataclasses.asdict(figures))
        return
    table = Table("", f"{sightings} x {size}", box=None)
    for name, value in list(dataclasses.asdict(figures).items())[2:]:
        table.add_row(name, f"{value:.5g}")
    Console(highlight=False).print(table)


@app.command()
def detect(
    image: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGE", show_default=False, help="An image; a 720p crowd if none."),
    ] = None,
    device: DeviceName = None,
    threads: Threads = None,
    min_face_px: MinFace = None,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure detection and tracking of faces by network, beside the hardware's limit.

    Example: facewire bench detect --threads 1
    """
    from recognizer.bench import bench_detect

    settings = settings_to_measure(config, device=device, threads=threads, min_face_px=min_face_px)
    with closing(FetchBars()) as progress:
        result = bench_detect(
            image=image,
            device=settings.get("device", "auto"),
            threads=settings["threads"],
            min_face_px=settings.get("min_face_px", 40),
            progress=progress,
        )
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    console = table_console()
    console.print(f"{result.engine} on {result.device}, {result.threads} threads")
    console.print(
        f"{result.width}x{result.height}, smallest face {result.min_face_px} px, "
        f"{result.n_faces} faces: {result.ms:.1f} ms, {result.fps:.0f} a second"
    )
    table = Table("stage", "ms", "limit ms", "inputs", box=None, pad_edge=False)
    for stage in result.stages:
        floor = f"{stage.floor_ms:.1f}" if stage.floor_ms else ""
        table.add_row(stage.name, f"{stage.ms:.1f}", floor, str(stage.n_inputs or ""))
    console.print(table)
    console.print(f"tracking {result.n_followed} faces: {result.follow_ms:.1f} ms")
    live = result.live
    console.print(
        f"live scan of a camera in whose view everything moves: from {live.small_px} px "
        f"{live.small_ms:.1f} ms, from {live.large_px} px {live.large_ms:.1f} ms, "
        f"ratio {live.ratio:.2f}"
    )
    console.print(f"limit: operations at the measured peak, {result.peak_gflops:.0f} GFLOP/s")


@app.command()
def follow(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="VIDEO",
            show_default=False,
            help="A video, or a directory of photos, which are moved; the demo scene if none.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, callback=finite, help="Of the video at most.")
    ] = 20.0,
    scan_every: Annotated[
        float,
        typer.Option(
            "--scan-every",
            metavar="SECONDS",
            min=0.1,
            max=60,
            callback=finite,
            help="Between two full searches; serve takes 0.2 for one camera, more for many.",
        ),
    ] = 0.2,
    device: DeviceName = None,
    threads: Threads = None,
    min_face_px: MinFace = None,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure how faces are followed between searches: cost, and error against O-Net alone.

    Example: facewire bench follow --seconds 10 --threads 1
    """
    from stream.bench.follow import bench_follow

    settings = settings_to_measure(config, device=device, threads=threads, min_face_px=min_face_px)
    with closing(FetchBars()) as progress:
        result = bench_follow(
            source,
            seconds=seconds,
            scan_every_s=scan_every,
            device=settings.get("device", "auto"),
            threads=settings["threads"],
            min_face_px=settings.get("min_face_px", 40),
            progress=progress,
        )
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    console = table_console()
    console.print(f"{result.engine}; {result.source}, {result.frames} frames")
    console.print(
        f"a face and frame, {result.faces} in a call: {result.ms:.3f} ms "
        f"(optical flow {result.flow_ms:.3f}, O-Net {result.network_ms:.3f} "
        f"for {100 * result.confirmed:.1f} % of them, {result.begin_ms:.3f} after a search)"
    )
    console.print(
        f"error of a box's sides from the mean of O-Net's, in widths: "
        f"p50 {100 * result.mean_error_p50:.1f} %, p95 {100 * result.mean_error_p95:.1f} %; "
        f"a single one of O-Net's on every frame p95 {100 * result.network_mean_error_p95:.1f} %"
    )
    console.print(
        f"from a single one of O-Net's: p50 {100 * result.error_p50:.1f} %, "
        f"p95 {100 * result.error_p95:.1f} %, of its center p95 {100 * result.center_p95:.1f} %; "
        f"O-Net against itself p95 {100 * result.network_error_p95:.1f} %"
    )
    console.print(
        f"lost {result.lost}, by O-Net {result.network_lost}; "
        f"kept where O-Net alone loses {result.kept_longer}"
    )
    console.print(
        f"RGB made for {100 * result.rgb:.0f} % of the frames: "
        f"{result.bytes_per_frame / 1e6:.1f} MB moved a frame, "
        f"{result.bytes_per_frame_rgb / 1e6:.1f} with RGB of each"
    )


@app.command()
def embed(
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="f32, bf16 on a CPU that has it, or tf32 with cuda; else as configured, or f32.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast aligned crops are embedded, one and eight in a call.

    Example: facewire bench embed --threads 1
    """
    from recognizer.bench import bench_embed

    settings = settings_to_measure(
        config, model=model, device=device, threads=threads, precision=precision
    )
    with closing(FetchBars()) as progress:
        result = bench_embed(
            model=settings.get("model", "sface"),
            device=settings.get("device", "auto"),
            threads=settings["threads"],
            precision=settings.get("precision", "f32"),
            progress=progress,
        )
    if as_json:
        print_json(dataclasses.asdict(result))
        return
    console = table_console()
    console.print(f"{result.model}, {result.engine} on {result.device}, {result.threads} threads")
    console.print(f"one crop {result.ms_one:.1f} ms, eight in a call {result.ms_eight:.1f} ms")


@app.command()
def quality(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", show_default=False, help="Photos of people, DIR/NAME/PHOTO.jpg."
        ),
    ],
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="These degradations, such as dark,turned-90; all if not given.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MAX_PEOPLE,
            help="Take so many people, chosen by the seed; all if not given.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the noise and the choice of people.")
    ] = 0,
    any_way_up: Annotated[
        bool,
        typer.Option("--any-way-up", help="Detect as in photos: faces in all four orientations."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write a chart as PNG, needs matplotlib; no file is overwritten.",
            show_default=False,
        ),
    ] = None,
    min_face_px: Annotated[
        int | None,
        typer.Option(
            "--min-face-px",
            min=12,
            max=MAX_FACE_PX,
            help="Smallest face to detect, pixels; else as configured, or 12.",
            show_default=False,
        ),
    ] = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure who is found and recognized in photos that are small, dark, blurred or turned.

    Each photo is degraded and compared with all other photos as they are.

    Examples: facewire bench quality people/
              facewire bench quality people/ --only as-is,dark,24px --plot quality.png
    """
    from recognizer import open_recognizer
    from stream.bench.quality import (
        bench_quality,
        choose_photos,
        chosen_degradations,
        quality_chart,
        require_matplotlib,
    )

    degradations = chosen_degradations(only)
    if plot is not None:
        require_matplotlib()
        if plot.exists():
            raise StreamError(f"{plot} already exists: name another file")
    settings = settings_to_measure(
        config, model=model, device=device, threads=threads, min_face_px=min_face_px
    )
    settings.setdefault("min_face_px", 12)
    photos = choose_photos(directory, limit=limit, seed=seed)
    with closing(FetchBars()) as bars:
        recognizer = open_recognizer(**settings, progress=bars)
    with counted("photos") as progress:
        result = bench_quality(
            recognizer,
            photos,
            degradations,
            min_face_px=settings["min_face_px"],
            any_way_up=any_way_up,
            seed=seed,
            progress=progress,
        )
    for reason in result.unreadable:
        complain(reason)
    if plot is not None:
        write_output(plot, quality_chart(result))
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        _print_quality(result)
    if result.unreadable:
        raise typer.Exit(EXPECTED_FAILURE)


@app.command()
def visitors(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", show_default=False, help="Photos of people, DIR/NAME/PHOTO.jpg."
        ),
    ],
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the tracks and their order.")
    ] = 0,
    seeds: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Runs, each with the next seed; figures are medians."),
    ] = 1,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    min_face_px: MinFace = None,
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether unknown people who come back are recognized as the same visitors.

    Everybody comes 2 to 30 times, seen for 3 to 20 blurred, turned, noisy shots of a photo.

    Examples: facewire bench visitors people/ --seed 1
              facewire bench visitors people/ --seeds 20 --json
    """
    from recognizer import open_recognizer
    from stream.bench.visitors import bench_visitors

    settings = settings_to_measure(
        config, model=model, device=device, threads=threads, min_face_px=min_face_px
    )
    settings.setdefault("min_face_px", 40)
    with closing(FetchBars()) as bars:
        recognizer = open_recognizer(**settings, progress=bars)
    with counted("shots") as progress:
        result = bench_visitors(
            recognizer, directory, seeds=range(seed, seed + seeds), progress=progress
        )
    for reason in result.unreadable:
        complain(reason)
    if as_json:
        print_json(result.as_json())
    else:
        _print_visitors(result)
    if result.unreadable:
        raise typer.Exit(EXPECTED_FAILURE)


VISITOR_FIGURES = {
    "precision": ("precision", ".5f"),
    "recall": ("recall", ".4f"),
    "a person": ("visitors_per_person", ".2f"),
    "visitors": ("visitors", ".0f"),
    "tracks": ("tracks", ".0f"),
    "not assigned": ("unassigned", ".0f"),
    "ms": ("assign_ms", ".2f"),
    "ms p95": ("assign_ms_p95", ".2f"),
    "joined from": ("join", ".3f"),
    "proposals": ("proposals", ".0f"),
}
"""Columns of the table of visitors: the figure, and how it is written."""


def _print_visitors(result: "VisitorFigures") -> None:
    console = table_console()
    console.print(f"{result.model}, {result.engine}; {result.people} people")
    table = Table("seed", box=None, pad_edge=False)
    for column in VISITOR_FIGURES:
        table.add_column(column, justify="right")
    rows = {
        str(run.seed): [float(getattr(run, name)) for name, _ in VISITOR_FIGURES.values()]
        for run in result.runs
    }
    if result.seeds > 1:
        for name, of in (("median", statistics.median), ("min", min), ("max", max)):
            rows[name] = [of(result.of(figure)) for figure, _ in VISITOR_FIGURES.values()]
    for name, values in rows.items():
        written = zip(values, VISITOR_FIGURES.values(), strict=True)
        table.add_row(name, *(format(value, spec) for value, (_, spec) in written))
    console.print(table)


def _print_quality(result: "QualityFigures") -> None:
    from stream.bench.quality import FARS

    console = table_console()
    console.print(
        f"{result.model}, {result.engine} on {result.device}, smallest face "
        f"{result.min_face_px} px; {result.photos} photos of {result.people} people, "
        f"{result.genuine} genuine and {result.impostors} impostor pairs"
    )
    table = Table("", "undetected", "false faces", "accuracy", box=None, pad_edge=False)
    for far in FARS:
        table.add_column(f"TAR@{far:g}")
    for far in FARS:
        table.add_column(f"both@{far:g}")
    table.add_column("ms")
    for each in result.degradations:
        found = [
            {rate.far: f"{rate.tar:.3f}" for rate in some}
            for some in (each.tar_at_far, each.tar_at_far_degraded)
        ]
        table.add_row(
            each.name,
            f"{each.undetected:.3f}",
            f"{each.false_faces:.2f}",
            f"{each.accuracy:.3f}",
            *(some.get(far, "") for some in found for far in FARS),
            f"{each.ms:.0f}",
        )
    console.print(table)
    console.print("TAR: degraded against photos as they are; both: degraded against degraded")


def _show(bar: Progress, task: TaskID, done: float) -> None:
    bar.update(task, completed=done)


def _print_tables(result: "StreamBench") -> None:
    console = table_console()
    console.print(f"{result.machine}; {result.engine}")
    console.print(
        f"{result.camera}, {result.width}x{result.height}, {result.viewers} watching, "
        f"{result.seconds:.0f} s"
    )
    stages = Table("ms", "p50", "p95", "n", box=None, pad_edge=False)
    spans = {
        **result.stages_ms,
        "latency, capture to packet": result.latency_ms,
        "time to name": result.time_to_name_ms,
    }
    for name, span in spans.items():
        stages.add_row(name, f"{span.p50:.1f}", f"{span.p95:.1f}", str(span.n))
    console.print(stages)
    if len(result.cameras) > 1:
        console.print(_cameras_table(result))
    console.print(
        f"fps in {result.fps_in:.1f}, annotated {result.fps_out:.1f}, "
        f"at the viewer {result.fps_viewer:.1f}; dropped {result.dropped} before recognition, "
        f"{result.encoder_dropped} before encoding"
    )
    console.print(f"{result.cores:.2f} cores, {result.peak_rss_mib:.0f} MiB at the peak")


def _cameras_table(result: "StreamBench") -> Table:
    table = Table("camera", "faces", "fps in", "recognized", "dropped", box=None, pad_edge=False)
    for each in result.cameras:
        rates = (f"{each.fps_in:.1f}", f"{each.fps_recognized:.1f}", str(each.dropped))
        table.add_row(each.camera, f"{each.faces:.1f}", *rates)
    return table
