"""events: the log of events in the terminal."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Annotated

import typer

from gallery import escaped, is_text, replacing
from stream.cli.common import (
    AsJson,
    ConfigFile,
    GalleryDirectory,
    json_text,
    print_json,
)
from stream.cli.settings import settings_for
from stream.config import data_dir
from stream.errors import EventLogError
from stream.events.log import MAX_LIMIT, EventLog, LoggedEvent
from stream.events.schema import FILE_NAME
from stream.frames import EventKind

POLL_S = 0.5
"""Seconds between two reads of a followed log: short enough for a person at a terminal."""

SPANS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

OfCamera = Annotated[str | None, typer.Option(help="Only of this camera.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Such as 10m, 2h, 3d or 2026-11-24T08:00.")
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Only before then, given like --since.")
]

Find = Callable[..., list[LoggedEvent]]


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new events; Ctrl-C ends it.")
    ] = False,
    camera: OfCamera = None,
    person: Annotated[
        str | None, typer.Option(metavar="NAME|ID", help="Only of this person, or visitor.")
    ] = None,
    kind: Annotated[
        list[EventKind] | None, typer.Option(help="Only of this kind; may be repeated.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Only of stays that had entered this zone of their camera.")
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_LIMIT, help="How many past events, the newest.")
    ] = 50,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print events, the newest last; a service may run meanwhile.

    --json prints one document, with --follow one object a line.

    Examples: facewire events --since 1h --kind enter
              facewire events --follow --person "Grace Hopper"
    """
    from stream.schemas.events import event_json

    for option, text in (("--camera", camera), ("--person", person), ("--zone", zone)):
        if text is not None and not is_text(text):
            raise typer.BadParameter(f"{option} must be UTF-8 text")
    now = time.time()
    directory = settings_for(config=config, gallery=gallery).directory
    replacing.finish(directory)
    if not (directory / FILE_NAME).exists():
        demo = data_dir() / "demo"
        other = f", and those of the demo need --gallery {demo}" if demo.exists() else ""
        raise EventLogError(f"no events in {directory} yet: facewire serve writes them{other}")
    with EventLog.open_reader(directory) as log:
        find = partial(
            log.list,
            camera=camera,
            name=person,
            zone=zone,
            kinds=kind or (),
            after=moment("--since", since, now),
            before=moment("--until", until, now),
        )
        newest = log.list(limit=1)
        past = find(limit=limit)[::-1]
        if as_json and not follow:
            print_json([event_json(event) for event in past])
            return
        for event in past:
            typer.echo(_line(event, as_json=as_json))
        if follow:
            for event in _coming(find, newest[0].id if newest else 0):
                typer.echo(_line(event, as_json=as_json))


def _coming(find: Find, last: int) -> Iterator[LoggedEvent]:
    """Yield events newer than event `last` as they are written, without end."""
    while True:
        fresh: list[LoggedEvent] = []
        cursor = None
        while page := [e for e in find(limit=MAX_LIMIT, cursor=cursor) if e.id > last]:
            fresh += page
            if len(page) < MAX_LIMIT:
                break
            cursor = page[-1].id
        yield from reversed(fresh)
        last = max((event.id for event in fresh), default=last)
        time.sleep(POLL_S)


def moment(option: str, text: str | None, now: float) -> float | None:
    """Return a time in seconds since 1970, of a time span ago or a date in the local time zone."""
    if text is None:
        return None
    if span := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
        return now - float(span[1]) * SPANS_S[span[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{option} must be like 10m, 2h, 3d, 2026-11-24 or 2026-11-24T08:00, got {text!r}"
        ) from error


def _line(event: LoggedEvent, *, as_json: bool) -> str:
    from stream.schemas.events import event_json

    if as_json:
        return json_text(event_json(event))
    at = datetime.fromisoformat(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    words = [f"{at}  {event.camera:<12}  {event.kind:<11}"]
    if event.name is not None:
        words.append(event.name)
    if event.similarity is not None:
        words.append(f"{event.similarity:.2f}")
    if event.zones:
        words.append(f"[{', '.join(event.zones)}]")
    if event.detail:
        words.append(f"({event.detail})")
    return escaped("  ".join(words).rstrip())
