"""The command `facewire`: its options, logging, errors and subcommands.

Results go to stdout, everything else to stderr. Expected failures are one line and exit status 1;
wrong usage is 2.
"""

import logging
import os
import sys
import time
from contextlib import closing, suppress
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import typer

from gallery.errors import GalleryError
from recognizer.errors import RecognizerError
from stream.cli import (
    backups,
    bench,
    cluster,
    events,
    importing,
    load,
    models,
    people,
    pictures,
    report,
)
from stream.cli import maintenance as upkeep
from stream.cli import search as past
from stream.cli.common import (
    EXPECTED_FAILURE,
    AsJson,
    ConfigFile,
    ConfigFileAlone,
    DeviceName,
    FetchBars,
    GalleryDirectory,
    ModelSpec,
    complain,
    print_json,
    say,
)
from stream.cli.settings import settings_for
from stream.config import configuration_file, load_config, parse_camera
from stream.errors import StreamError
from stream.logs import JsonFormatter, RedactingFormatter, RepeatLimit
from stream.redaction import redact

logger = logging.getLogger(__name__)

OUR_LOGGERS = ("stream", "recognizer", "gallery")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Real-time face recognition: cameras in, names out, live in the browser.",
    epilog="Start with: facewire serve",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="facewire")
    except (RecognizerError, GalleryError, StreamError) as error:
        logger.debug("traceback", exc_info=error)
        complain(redact(str(error)))
        sys.exit(EXPECTED_FAILURE)
    except OSError as error:
        if error.filename is None:  # of a standard stream: `stream.cli.entry` says it
            raise
        logger.debug("traceback", exc_info=error)
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        complain(f"cannot use {name}: {(error.strerror or str(error)).lower()}")
        sys.exit(EXPECTED_FAILURE)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"facewire {version('facewire')}")
        raise typer.Exit


@app.callback()
def facewire(
    verbose: Annotated[
        bool,
        typer.Option(
            "-v", "--verbose", help="Log more, show tracebacks and messages of libraries."
        ),
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log one JSON object per line.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Real-time face recognition: cameras in, names out, live in the browser."""
    handler = logging.StreamHandler()
    lines = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(
        JsonFormatter() if log_json else RedactingFormatter(lines, datefmt="%H:%M:%S")
    )
    handler.addFilter(RepeatLimit(time.monotonic))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


@app.command()
def serve(
    config: ConfigFileAlone = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="rtsp://, http:// (MJPEG), a file, /dev/video0."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; 0 for a free one.", min=0, max=65535)
    ] = None,
    gallery: GalleryDirectory = None,
    model: Annotated[str | None, typer.Option(metavar="NAME|FILE|PREFIX,EPOCH")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or tensorrt.")] = None,
    is_in_cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Run the cameras that facewire cluster places on this machine, no others.",
        ),
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(help="Secret that clients must send; better in FACEWIRE_TOKEN."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a token.")
    ] = False,
) -> None:
    """Serve cameras to browsers, with the names of people; without a camera, a demo.

    Examples: facewire serve --camera door=rtsp://user:password@192.0.2.7/live
              facewire serve --config facewire.toml
    """
    flags: dict[str, dict[str, Any]] = {
        "server": {
            "host": host,
            "port": port,
            "token": token,
            "insecure": insecure or None,
        },
        "recognizer": {"model": model, "device": device},
        "gallery": {"directory": gallery},
    }
    overrides = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    if camera:
        overrides["cameras"] = {"list": [parse_camera(text) for text in camera]}
    file = configuration_file(config)
    if is_in_cluster:
        overrides["cluster"] = {"placed": True}
    settings = load_config(file, overrides)

    from stream.server import serve as run_service

    def on_ready(url: str) -> None:
        progress.close()
        what = " with the demo" if settings.is_demo else ""
        with suppress(OSError):  # a service may run without an output
            typer.echo(f"facewire is on {url}{what} (Ctrl-C stops it)")

    with closing(FetchBars()) as progress:
        run_service(
            settings,
            progress=progress,
            on_ready=on_ready,
            reload=partial(load_config, file, overrides),
        )


@app.command()
def check(
    device: DeviceName = None,
    model: ModelSpec = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check what the service needs: packages, directories, network, models and the MQTT broker.

    Example: facewire check
    """
    from stream.doctor import run_checks

    settings = settings_for(config=config, needs_gallery=False, model=model, device=device)
    options = settings.recognizer
    findings = run_checks(
        model=options.get("model", "sface"),
        device=options.get("device", "auto"),
        place=settings.place,
        mqtt=load_config(configuration_file(config), is_served=False).mqtt,
    )
    if as_json:
        print_json([{"what": f.what, "is_fine": f.is_fine, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.is_fine else 'FAIL'}  {finding.what}: {finding.detail}")
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(EXPECTED_FAILURE)


app.command()(pictures.detect)
app.command()(pictures.compare)
app.command()(people.enroll)
app.command()(events.events)
app.command()(report.report)
app.command()(past.search)
app.command()(pictures.identify)
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(backups.migrate)
app.command()(load.load)
people.app.command()(upkeep.split)
people.app.command("export")(upkeep.export_people)
people.app.command("import")(upkeep.import_people)
people.app.command()(upkeep.calibrate)
people.app.command()(upkeep.check)
people.app.command()(upkeep.reembed)
app.add_typer(people.app, name="gallery")
app.add_typer(importing.app, name="import")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")
app.add_typer(cluster.app, name="cluster")
