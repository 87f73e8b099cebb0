"""cluster: cameras of several machines, placed by Ray and taken over when a machine dies."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from gallery.address import shown
from gallery.errors import GalleryUnreachableError
from stream.cli.common import (
    AsJson,
    ConfigFileAlone,
    finite,
    need_ray,
    print_json,
    say,
    table_console,
)
from stream.config import DATABASE_VARIABLE, Config, configuration_file, load_config, parse_camera
from stream.config.cluster import SITE_NAME
from stream.config_file import describe
from stream.errors import CameraExistsError, ClusterError, ConfigError, UnknownCameraError

if TYPE_CHECKING:
    from stream.cluster.database import ClusterDatabase, State

ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
RAY_PORT = 6379
"""Of Ray's first machine, by Ray's own default."""

app = typer.Typer(
    no_args_is_help=True,
    help="Cameras of several machines: placed on them, and taken over when one dies.",
    epilog="On the first machine: facewire cluster start; on others: facewire cluster start "
    "--join FIRST:6379; then: facewire cluster add door rtsp://192.0.2.7/live",
)

Site = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="A site: cameras of a site run only on machines of the same one.",
        show_default=False,
    ),
]


@app.command()
def start(
    context: typer.Context,
    join: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Join the first machine instead.", show_default=False
        ),
    ] = "",
    site: Site = "",
    service_port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="TCP port of each machine's service; else as configured there, or 8080.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address that each service listens on; else as configured there.",
            show_default=False,
        ),
    ] = None,
    ray_port: Annotated[
        int, typer.Option(min=1, max=65535, help="TCP port of Ray on the first machine.")
    ] = RAY_PORT,
    cpus: Annotated[
        float,
        typer.Option(min=0, max=1024, callback=finite, help="Ray's CPUs that each service takes."),
    ] = 1.0,
    gpus: Annotated[
        float,
        typer.Option(
            min=0, max=64, callback=finite, help="Ray's GPUs that each service takes, if there."
        ),
    ] = 0.0,
    config: ConfigFileAlone = None,
) -> None:
    """Start Ray here if it does not run, and a service on each of its machines.

    Each machine's service has its own configuration and secrets, of FACEWIRE_CONFIG and the
    environment in which Ray was started there. All name one database: FACEWIRE_DATABASE.

    Examples: facewire cluster start
              facewire cluster start --join 192.0.2.1:6379 --site warehouse
    """
    settings = _settings(config)
    if join and not ADDRESS.fullmatch(join):
        raise ClusterError(f"--join {join!r} must be HOST:PORT, such as 192.0.2.1:{RAY_PORT}")
    given = {
        option: value
        for option, name, value in (
            ("--port", "service_port", service_port),
            ("--host", "host", host),
            ("--cpus", "cpus", cpus),
            ("--gpus", "gpus", gpus),
            ("--ray-port", "ray_port", ray_port),
        )
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if join and given:
        raise ClusterError(
            f"{', '.join(given)} with --join would do nothing: what is given to facewire cluster "
            "start on the first machine holds for all"
        )
    _check_site(site)
    need_ray()
    from stream.cluster import actors, running

    if join or not running.ray_address():
        running.start_ray(join=join, port=ray_port, site=site)
        say(f"Ray runs on this machine{f' and has joined {join}' if join else ''}")
        if not os.environ.get("RAY_AUTH_MODE"):
            say(
                "anybody who reaches its ports can run programs here: set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN on each machine, or keep them in a private network"
            )
        if not join:
            say(
                "on each other machine run: facewire cluster start --join "
                f"{socket.gethostname()}:{ray_port}"
            )
    elif site:
        raise ClusterError(
            "Ray runs on this machine: its site is set by FACEWIRE_SITE, or before Ray is started"
        )
    elif "--ray-port" in given:
        raise ClusterError("Ray runs on this machine: --ray-port does nothing before ray stop")
    if join:
        say("its service starts in a moment: facewire cluster nodes")
        return
    arguments = [] if service_port is None else [f"--port={service_port}"]
    arguments += [] if host is None else [f"--host={host}"]
    given.pop("--ray-port", None)  # Ray's own
    options = actors.Options(tuple(arguments), cpus, gpus, settings.gallery.shards)
    if troubles := running.start(options, given):
        raise ClusterError("; ".join(troubles))
    say("the coordinator runs; services start in a moment: facewire cluster nodes")


@app.command()
def stop() -> None:
    """Stop the services of all machines, and the placing of cameras; what is wanted stays.

    Ray goes on: ray stop, on each machine, ends it.

    Example: facewire cluster stop
    """
    need_ray()
    from stream.cluster import running

    say("all services are stopped" if running.stop() else "no cluster runs")


@app.command()
def add(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="Its name.")],
    url: Annotated[str, typer.Argument(help="rtsp://, http:// (MJPEG), or a file.")],
    site: Site = "",
    config: ConfigFileAlone = None,
) -> None:
    """Add a camera; a machine that runs begins with it within a second or two.

    Its URL is stored in the database, with its password. More settings are on the page.

    Examples: facewire cluster add door rtsp://user:password@192.0.2.7/live
              facewire cluster add dock rtsp://192.0.2.8/live --site warehouse
    """
    from stream.cameras.source import check_url
    from stream.config import CameraConfig

    try:
        settings = CameraConfig.model_validate(parse_camera(f"{camera}={url}"))
    except ValidationError as error:  # not chained: the message may hold a password
        raise ConfigError(describe(error, f"camera {camera}")) from None
    check_url(settings.url)
    _check_site(site)
    with _database(config) as database:
        if not database.want(settings, site or None):
            raise CameraExistsError(camera)
        say(f"camera {camera} is wanted; where it runs: facewire cluster status")
        if not database.state().running:
            say("no machine runs now: facewire cluster start")


@app.command()
def remove(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="Its name.")],
    config: ConfigFileAlone = None,
) -> None:
    """Remove a camera; its past events stay.

    Example: facewire cluster remove door
    """
    with _database(config) as database:
        if not database.unwant(camera):
            raise UnknownCameraError(camera)
    say(f"camera {camera} is removed")


@app.command()
def status(config: ConfigFileAlone = None, as_json: AsJson = False) -> None:
    """Show which machine runs which camera, and why a camera runs nowhere.

    Exit status 1 if one does, or if nothing places cameras.

    Example: facewire cluster status
    """
    from stream.cluster.placing import without_machine

    with _database(config) as database:
        state = database.state()
    nowhere = without_machine(state.wanted, state.running, state.placed)
    trouble = _coordinator_trouble(state)
    if as_json:
        print_json(
            {
                "cameras": [
                    {
                        "camera": each.name,
                        "site": each.site,
                        "node": placement.node if placement else None,
                        "generation": placement.generation if placement else None,
                        "since_s": round(placement.since_s, 1) if placement else None,
                        "problem": nowhere.get(each.name, ""),
                    }
                    for each in state.wanted
                    for placement in [state.placements.get(each.name)]
                ],
                "problem": trouble,
            }
        )
    else:
        table = Table("camera", "site", "machine", "generation", "since", "problem")
        for each in state.wanted:
            placement = state.placements.get(each.name)
            where = (
                (placement.node, str(placement.generation), _duration(placement.since_s))
                if placement
                else ("", "", "")
            )
            table.add_row(each.name, each.site or "", *where, nowhere.get(each.name, ""))
        table_console().print(table)
        if trouble:
            say(trouble)
    if nowhere or trouble:
        raise typer.Exit(1)


@app.command()
def nodes(
    forget: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Forget a machine that will not come back.",
            show_default=False,
        ),
    ] = "",
    config: ConfigFileAlone = None,
    as_json: AsJson = False,
) -> None:
    """List the machines of the cluster, with the number of their cameras.

    Example: facewire cluster nodes
    """
    with _database(config) as database:
        if forget and not database.forget(forget):
            raise ClusterError(f"machine {forget} runs, or is not known: facewire cluster nodes")
        state = database.state()
    running = {machine.node for machine in state.running}
    placed = list(state.placed.values())
    if as_json:
        print_json(
            [
                {
                    "node": each.machine.node,
                    "site": each.machine.site,
                    "cores": each.machine.cores,
                    "load": round(each.machine.load, 3),
                    "cameras": placed.count(each.machine.node),
                    "is_running": each.machine.node in running,
                    "silent_s": None if each.silent_s is None else round(each.silent_s, 1),
                }
                for each in state.nodes
            ]
        )
        return
    table = Table("machine", "site", "cores", "in use", "cameras", "state")
    for each in state.nodes:
        if each.machine.node in running:
            what = "runs"
        elif each.silent_s is None:
            what = "has stopped"
        else:
            what = f"silent for {_duration(each.silent_s)}"
        machine = each.machine
        table.add_row(
            *(
                machine.node,
                machine.site or "",
                f"{machine.cores:g}",
                f"{100 * machine.load:.0f} %",
            ),
            *(str(placed.count(machine.node)), what),
        )
    table_console().print(table)


def _check_site(site: str) -> None:
    if site and not SITE_NAME.fullmatch(site):
        raise ClusterError(f"site {site!r} must be 1 to 64 letters, digits, . - or _")


def _coordinator_trouble(state: "State") -> str:
    from stream.cluster.database import DEAD_S

    if not state.coordinator[0]:
        return "no coordinator has run yet: facewire cluster start"
    if state.coordinator_silent_s > DEAD_S:
        silent = _duration(state.coordinator_silent_s)
        return (
            f"the coordinator is silent for {silent}: cameras stay where they are until it is back"
        )
    return ""


def _duration(seconds: float) -> str:
    whole = round(seconds)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _settings(config: Path | None) -> Config:
    """Return the configuration, which must name a database."""
    settings = load_config(configuration_file(config), is_served=False)
    if not settings.gallery.database:
        raise ClusterError(
            f"a cluster needs a database that its machines share: set {DATABASE_VARIABLE}, or "
            "[gallery] database in the file of --config"
        )
    return settings


@contextmanager
def _database(config: Path | None) -> Iterator["ClusterDatabase"]:
    address = _settings(config).gallery.database
    try:
        from stream.cluster.database import ClusterDatabase
    except ImportError as error:
        raise ClusterError("a cluster needs psycopg: pip install '.[cluster]'") from error
    database = ClusterDatabase(address)
    try:
        yield database
    except GalleryUnreachableError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ClusterError(f"cannot reach the database {shown(address)}: {reason}") from error
    finally:
        database.close()
