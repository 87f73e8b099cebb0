"""enroll and gallery: adding and managing people."""

import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gallery import MAX_INTEGER
from stream.cli.common import (
    EXPECTED_FAILURE,
    AsJson,
    ConfigFile,
    DeviceName,
    GalleryDirectory,
    ModelSpec,
    Replace,
    Threads,
    complain,
    counting,
    people_and_events,
    print_json,
    say,
    table_console,
    write_output,
)
from stream.cli.settings import Settings, settings_for
from stream.errors import EnrolmentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gallery import Gallery, IdentitySummary, Photo
    from recognizer import Recognizer
    from stream.enrollment.enrollment import EnrolItem, Enrolled, EnrolReport, Rejected
    from stream.enrollment.folders import PeopleFolder

app = typer.Typer(no_args_is_help=True, help="Manage the people in a gallery.")
Who = Annotated[str, typer.Argument(metavar="NAME|ID", show_default=False, help="A person.")]


def enroll(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", show_default=False, help="The person in the photos."),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", show_default=False, help="Photos of that person."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|ZIP|CSV",
            help="Many people at once: all photos below DIR/NAME/, a zip file of such folders, or "
            "a list with a name and a file a line.",
        ),
    ] = None,
    video: Annotated[
        str | None,
        typer.Option(metavar="FILE|CAMERA", help="The best frames of a video with one person."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept any photo with a face, whatever its quality.")
    ] = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add people from photos; a running service names them within a second.

    Of a photo with several faces, the one that the person's other photos show is taken.

    Examples: facewire enroll "Grace Hopper" grace1.jpg grace2.jpg
              facewire enroll --folder people/ --config facewire.toml
              facewire enroll "Grace Hopper" --video interview.mp4
    """
    from gallery import Gallery, clean_name
    from stream.enrollment.enrollment import enroll_images, photo_item
    from stream.enrollment.folders import read_people

    n_ways = sum([folder is not None, bool(images), video is not None])
    if n_ways != 1 or (folder is None) != bool(name):
        raise typer.BadParameter("give NAME and IMAGEs, NAME and --video, or --folder alone")
    found = None if folder is None else read_people(folder)
    if found is not None:
        items = list(found.items)
    else:
        name = clean_name(name or "")
        items = [photo_item(path, name) for path in images or ()]
    if video is not None:
        _refuse_endless(video)
    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    place = settings.place_to_write()
    recognizer = settings.open_recognizer()
    if video is not None:
        items = _shots(recognizer, video, name or "")
    with (
        Gallery.open(
            place,
            model_id=recognizer.model_id,
            embedding_size=recognizer.embedding_size,
        ) as people,
        counting("enrolling", len(items)) as count_one,
    ):

        def progress(outcome: "Enrolled | Rejected") -> None:
            count_one()

        report = enroll_images(recognizer, people, items, force=force, progress=progress)
    _print_report(report, found, as_json=as_json)
    if report.refused or (found is not None and found.rejected):
        raise typer.Exit(EXPECTED_FAILURE)


def _refuse_endless(video: str) -> None:
    """Refuse a pipe, socket or directory as a video; a camera's device is read as one."""
    from recognizer import refuse_special
    from stream.cameras.source import DEMO_URL, parse_address

    if video == DEMO_URL or (address := parse_address(video)).is_live:
        return
    path = Path(address.file.removeprefix("file:"))
    try:
        refuse_special(path)
    except OSError as error:
        raise EnrolmentError(f"cannot read {path}: {(error.strerror or '').lower()}") from error


def _shots(recognizer: "Recognizer", video: str, name: str) -> "list[EnrolItem]":
    from stream.cameras.source import SourceSettings, open_source
    from stream.cli.video_shots import FRAMES_PER_S, best_shots, frames_of

    source = open_source(
        video,
        clock=time.monotonic,
        settings=SourceSettings(loop=False, target_fps=FRAMES_PER_S),
    )
    with closing(source):
        return best_shots(recognizer, frames_of(source, name), name)


@app.command("list")
def list_people(
    gallery: GalleryDirectory = None, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List people by name.

    Example: facewire gallery list --json
    """
    from gallery import Access, Gallery

    settings = settings_for(config=config, gallery=gallery)
    with Gallery.open_any(settings.place, access=Access.READ) as opened:
        everybody = opened.people.summaries()
    if as_json:
        print_json([_summary_json(summary) for summary in everybody])
        return
    table = Table("name", "photos", "since", "id", box=None, pad_edge=False)
    for summary in everybody:
        identity = summary.identity
        table.add_row(
            identity.name, str(summary.n_photos), _iso(summary.created_at), identity.identity_id
        )
    table_console().print(table)


@app.command()
def show(
    who: Who,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Write all faces into one image, with quality."),
    ] = None,
    replace: Replace = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one person's photos and their quality.

    Example: facewire gallery show "Grace Hopper" --sheet hopper.png
    """
    from gallery import Access, Gallery

    settings = settings_for(config=config, gallery=gallery)
    with Gallery.open_any(settings.place, access=Access.READ) as opened:
        identity = opened.people.find(who)
        photos = opened.photos.of(identity.identity_id)
        if sheet is not None:
            _write_sheet(opened, photos, sheet, replace=replace)
    if as_json:
        print_json(
            {
                "name": identity.name,
                "identity_id": identity.identity_id,
                "sheet": None if sheet is None else str(sheet),
                "photos": [
                    {
                        "photo_id": photo.photo_id,
                        "quality": round(photo.quality, 4),
                        "model": photo.model_id,
                        "created_at": _iso(photo.created_at),
                        "source_sha256": photo.source_sha256,
                    }
                    for photo in photos
                ],
            }
        )
        return
    say(f"{identity.name} ({identity.identity_id})")
    for photo in photos:
        say(
            f"  photo {photo.photo_id}: quality {photo.quality:.2f}, {_iso(photo.created_at)}, "
            f"{photo.model_id}, file {photo.source_sha256[:12]}"
        )
    if sheet is not None:
        say(f"{sheet}: {len(photos)} photos")


@app.command()
def rename(
    who: Who,
    name: Annotated[str, typer.Argument(metavar="NEW", show_default=False, help="The new name.")],
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a person another name.

    Example: facewire gallery rename "G. Hopper" "Grace Hopper"
    """
    settings = settings_for(config=config, gallery=gallery)
    with people_and_events(settings.to_write(), settings.place) as (opened, _):
        identity = opened.people.rename(opened.people.find(who).identity_id, name)
    _print_person(identity.name, identity.identity_id, as_json=as_json)


@app.command()
def merge(
    who: Who,
    into: Annotated[
        str,
        typer.Argument(metavar="INTO", show_default=False, help="The person who gets all photos."),
    ],
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Merge a person into another, who is the same.

    Example: facewire gallery merge "Admiral Hopper" "Grace Hopper"
    """
    settings = settings_for(config=config, gallery=gallery)
    with people_and_events(settings.to_write(), settings.place) as (opened, _):
        kept = opened.people.find(into)
        identity = opened.people.merge(opened.people.find(who).identity_id, kept.identity_id)
    _print_person(identity.name, identity.identity_id, as_json=as_json)


@app.command()
def remove(
    who: Annotated[
        list[str], typer.Argument(metavar="NAME|ID...", show_default=False, help="People.")
    ],
    photo: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=MAX_INTEGER,
            metavar="PHOTO",
            help="Erase only this photo of the one person; its number is in gallery show.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase people: photos, embeddings, and their names and images in past events.

    Examples: facewire gallery remove "Grace Hopper"
              facewire gallery remove "Grace Hopper" --photo 17
    """
    from gallery import NameTakenError, UnknownIdentityError

    if photo:
        _remove_photos(who, photo, settings_for(config=config, gallery=gallery), as_json=as_json)
        return

    removed, is_complete = [], True
    settings = settings_for(config=config, gallery=gallery)
    with people_and_events(settings.to_write(), settings.place) as (opened, events):
        for one in who:
            try:
                identity = opened.people.find(one)
            except (UnknownIdentityError, NameTakenError) as error:
                complain(error)
                is_complete = False
                continue
            if not yes and sys.stdin.isatty():
                typer.confirm(f"Erase {identity.name} permanently?", abort=True, err=True)
            opened.people.remove(identity.identity_id)
            events.reconcile()  # erased there too before it is reported
            removed.append({"name": identity.name, "identity_id": identity.identity_id})
            if not as_json:
                say(f"removed {identity.name}")
    if as_json:
        print_json({"removed": removed})
    if not is_complete:
        raise typer.Exit(EXPECTED_FAILURE)


def _remove_photos(
    who: "Sequence[str]", photo_ids: "Sequence[int]", settings: Settings, *, as_json: bool
) -> None:
    """Erase photos of one person."""
    if len(who) != 1:
        raise typer.BadParameter(f"--photo is of one person, got {len(who)} names")
    with people_and_events(settings.to_write(), settings.place) as (opened, _):
        identity = opened.people.find(who[0])
        for photo_id in photo_ids:
            opened.photos.remove(photo_id, of=identity.identity_id)
            if not as_json:
                say(f"removed photo {photo_id} of {identity.name}")
    if as_json:
        print_json({"removed": [{"name": identity.name, "photo_id": each} for each in photo_ids]})


def _write_sheet(
    gallery: "Gallery", photos: "Sequence[Photo]", out: Path, *, replace: bool
) -> None:
    from gallery.drawing import contact_sheet, png_bytes

    crops = [gallery.photos.crop(photo.photo_id) for photo in photos]
    titles = [f"{photo.photo_id}  q {photo.quality:.2f}" for photo in photos]
    write_output(out, png_bytes(contact_sheet(crops, titles)), replace=replace)


def _print_report(report: "EnrolReport", folder: "PeopleFolder | None", *, as_json: bool) -> None:
    rejected = (*(folder.rejected if folder else ()), *report.rejected)
    without = folder.without_photo(report) if folder else []
    n_skipped = folder.n_skipped if folder else 0
    if as_json:
        print_json(
            {
                "enrolled": [
                    {"image": photo.label, "name": photo.identity.name} for photo in report.enrolled
                ],
                "rejected": [
                    {"image": photo.label, "reason": photo.reason.value, "detail": photo.detail}
                    for photo in rejected
                ],
                "without_photo": [name for _, name in without],
                "skipped": n_skipped,
            }
        )
        return
    for photo in report.enrolled:
        say(f"{photo.label}: enrolled as {photo.identity.name}")
    for each in rejected:
        complain(f"{each.label}: {each.detail}")
    for path, name in without:
        complain(f"{path}: no usable photo of {name}: {name} is not enrolled")
    say(f"{len(report.enrolled)} enrolled, {len(rejected)} rejected")
    if n_skipped:
        say(f"{n_skipped} hidden and system files and folders skipped")


def _print_person(name: str, identity_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "identity_id": identity_id})
    else:
        say(f"{name} ({identity_id})")


def _summary_json(summary: "IdentitySummary") -> dict[str, Any]:
    return {
        "name": summary.identity.name,
        "identity_id": summary.identity.identity_id,
        "n_photos": summary.n_photos,
        "created_at": _iso(summary.created_at),
        "notes": summary.notes,
    }


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")
