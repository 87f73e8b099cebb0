"""report: who was there on each day, and how long."""

import time
from datetime import date, timedelta
from typing import Annotated

import typer
from rich.table import Table

from gallery import escaped, is_text
from stream.cli.common import AsJson, ConfigFile, GalleryDirectory, print_json, table_console
from stream.cli.settings import settings_for
from stream.config import data_dir
from stream.errors import EventLogError, StreamError
from stream.events.schema import FILE_NAME


def report(
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First day, such as 2026-11-01; else today."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last day, included; else today.")
    ] = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Only of this person.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print each person's first and last time, total time and visits of each day.

    It reads the events of a service that runs, or ran. Days are those of the configured time zone
    (events.time_zone), else of this system's.

    Examples: facewire report --from 2026-11-01 --to 2026-11-30 --csv
              facewire report --person "Grace Hopper"
    """
    from stream.events.attendance import attendance, day_of, report_days, start_of_day
    from stream.events.log import EventLog
    from stream.events.visits import newest_run, read_visits
    from stream.schemas.visits import attendance_csv, attendance_json, clock, local

    if person is not None and not is_text(person):
        raise typer.BadParameter("--person must be UTF-8 text")
    if as_csv and as_json:
        raise typer.BadParameter("choose --csv or --json")
    now = time.time()
    settings = settings_for(config=config, gallery=gallery)
    zone = settings.events.zone
    today = day_of(now, zone)
    try:
        since, until = report_days(_day("--from", first), _day("--to", last), today, option="--")
    except StreamError as error:
        raise typer.BadParameter(str(error)) from error
    if not (settings.directory / FILE_NAME).exists():
        demo = data_dir() / "demo"
        other = f", and those of the demo need --gallery {demo}" if demo.exists() else ""
        raise EventLogError(
            f"no events in {settings.directory} yet: facewire serve writes them{other}"
        )
    with EventLog.open_reader(settings.directory) as log, log.reading():
        visits = read_visits(
            log.connection,
            after=start_of_day(since, zone),
            before=min(now + 1.0, start_of_day(until + timedelta(days=1), zone)),
            live_run=None if settings.service is None else newest_run(log.connection),
            gap_s=settings.events.visit_gap_s,
            name=person,
        )
    rows = attendance(visits, first=since, last=until, zone=zone, now=now)
    if as_json:
        print_json([attendance_json(row, zone=zone) for row in rows])
    elif as_csv:
        typer.echo(attendance_csv(rows, zone=zone), nl=False)
    else:
        table = Table("day", "person", "first", "last", "total", "visits", box=None)
        for row in rows:
            who = row.name or row.visitor or ""
            times = (local(at, zone)[11:19] for at in (row.first_seen, row.last_seen))
            total = clock(row.total_s) + ("" if row.is_exact else " *")
            table.add_row(row.day.isoformat(), escaped(who), *times, total, str(row.n_visits))
        if rows:
            table_console().print(table)
        else:
            typer.echo("no visits on these days")
        if not all(row.is_exact for row in rows):
            typer.echo("* a visit goes on, or the service was killed during it")


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} must be a day such as 2026-11-24, got {text!r}"
        ) from error
