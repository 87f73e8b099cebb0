"""import: the people of another program, added to the gallery."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.common import (
    EXPECTED_FAILURE,
    AsJson,
    ConfigFile,
    DeviceName,
    GalleryDirectory,
    ModelSpec,
    Threads,
    complain,
    counting,
    print_json,
    say,
)
from stream.cli.settings import Settings, settings_for
from stream.errors import EnrolmentError

if TYPE_CHECKING:
    from gallery import Gallery, Place
    from recognizer import Recognizer
    from stream.enrollment.crops import Enrolled, EnrolReport, Rejected
    from stream.enrollment.folders import PeopleFolder

KEY_VARIABLE = "FACEWIRE_COMPREFACE_KEY"

KINDS = {"taken": "taken", "already_there": "already there", "refused": "refused"}
"""Outcomes of a photo: the keys of the JSON report, and their words."""

app = typer.Typer(
    no_args_is_help=True,
    help="Add the people of CompreFace, Frigate, Double Take or DeepFace to the gallery.",
)

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check all photos, and add nobody to the gallery.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Accept any photo with a face, whatever its quality.")
]
AnyCertificate = Annotated[
    bool, typer.Option("--any-certificate", help="Accept a certificate that cannot be verified.")
]


@app.command()
def compreface(
    url: Annotated[
        str, typer.Argument(metavar="URL", show_default=False, help="Address of its page.")
    ],
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            show_default=False,
            help=f"API key of a Recognition service; better in {KEY_VARIABLE}.",
        ),
    ] = None,
    dry_run: DryRun = False,
    force: Force = False,
    any_certificate: AnyCertificate = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add the subjects of a CompreFace service, with the photos of their examples.

    The key is that of a Recognition service, from FACEWIRE_COMPREFACE_KEY;
    without it, the command asks. Other users of this machine can see a KEY that
    is given as an argument.

    Example: facewire import compreface http://192.0.2.5:8000
    """
    from stream.integrations.imports.compreface import open_compreface, read_compreface

    api = open_compreface(url, key or _key(), verify_tls=not any_certificate)
    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    with closing(api):
        _run(lambda: read_compreface(api), settings, _How(dry_run, force, as_json))


@app.command()
def frigate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="URL|DIR",
            show_default=False,
            help="Address of Frigate, or its media directory with clips/faces in it.",
        ),
    ],
    dry_run: DryRun = False,
    force: Force = False,
    any_certificate: AnyCertificate = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add the people of Frigate's face library; the faces of its tab Train are left out.

    Port 5000 needs no login. For port 8971 set FACEWIRE_FRIGATE_USER and
    FACEWIRE_FRIGATE_PASSWORD, and --any-certificate for Frigate's own one.

    Examples: facewire import frigate http://192.0.2.6:5000
              facewire import frigate /media/frigate
    """
    from stream.config import (
        FRIGATE_PASSWORD_VARIABLE,
        FRIGATE_TOKEN_VARIABLE,
        FRIGATE_USER_VARIABLE,
    )
    from stream.integrations.frigate.api import FrigateApi
    from stream.integrations.imports.frigate import read_frigate, read_frigate_folder

    how = _How(dry_run, force, as_json)
    is_address = source.lower().startswith(("http:", "https:"))
    with ExitStack() as stack:
        if is_address:
            try:
                api = FrigateApi(
                    source,
                    user=os.environ.get(FRIGATE_USER_VARIABLE, ""),
                    password=os.environ.get(FRIGATE_PASSWORD_VARIABLE, ""),
                    token=os.environ.get(FRIGATE_TOKEN_VARIABLE, ""),
                    verify_tls=not any_certificate,
                )
            except ValueError as error:
                raise EnrolmentError(f"the address of Frigate {error}") from None
            stack.callback(api.close)
        settings = settings_for(
            config=config, gallery=gallery, model=model, device=device, threads=threads
        )
        if is_address:
            _run(lambda: read_frigate(api), settings, how)
        else:
            _run(lambda: read_frigate_folder(Path(source)), settings, how)


@app.command("double-take")
def double_take(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", show_default=False, help="Its .storage, with train/NAME/PHOTO.jpg in it."
        ),
    ],
    dry_run: DryRun = False,
    force: Force = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add the people that Double Take was trained with.

    Example: facewire import double-take /double-take/.storage
    """
    from stream.integrations.imports.folders import read_double_take

    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    _run(lambda: read_double_take(directory), settings, _How(dry_run, force, as_json))


@app.command()
def deepface(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", show_default=False, help="A db_path, with NAME/PHOTO.jpg in it."
        ),
    ],
    dry_run: DryRun = False,
    force: Force = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Add the people of a db_path of DeepFace; its representations_*.pkl are never opened.

    Example: facewire import deepface my_db
    """
    from stream.integrations.imports.folders import read_deepface

    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    _run(lambda: read_deepface(directory), settings, _How(dry_run, force, as_json))


def _key() -> str:
    """Return the key from the environment, or as typed.

    Raises:
        EnrolmentError: if there is neither.
    """
    if key := os.environ.get(KEY_VARIABLE):
        return key
    if not sys.stdin.isatty():
        raise EnrolmentError(f"the API key of CompreFace is missing: set {KEY_VARIABLE}")
    return str(typer.prompt("API key of CompreFace", hide_input=True, err=True))


@dataclass(frozen=True, slots=True)
class _How:
    """The flags of an import."""

    is_trial: bool
    force: bool
    as_json: bool


def _run(read: "Callable[[], PeopleFolder]", settings: Settings, how: _How) -> None:
    """Enroll the people of a program, and print the report."""
    from stream.enrollment.crops import EnrolReport
    from stream.enrollment.enrollment import enroll_images

    found = read()
    place = settings.place if how.is_trial else settings.place_to_write()
    recognizer = settings.open_recognizer()
    outcomes: list[Enrolled | Rejected] = []
    trouble = ""
    with (
        _opened(place, recognizer, is_trial=how.is_trial) as people,
        counting("importing", len(found.items)) as count_one,
    ):

        def progress(outcome: "Enrolled | Rejected") -> None:
            outcomes.append(outcome)
            count_one()

        try:
            report = enroll_images(
                recognizer, people, found.items, force=how.force, progress=progress
            )
        except EnrolmentError as error:  # the program went away: what was added stays
            report, trouble = EnrolReport(tuple(outcomes)), str(error)
    _print_report(report, found, how, trouble)
    if report.refused or found.rejected or trouble:
        raise typer.Exit(EXPECTED_FAILURE)


@contextmanager
def _opened(place: "Place", recognizer: "Recognizer", *, is_trial: bool) -> "Iterator[Gallery]":
    """Open the gallery; for a trial, a copy of it that is erased afterwards."""
    from gallery import Gallery
    from gallery.moving import copy_gallery

    with ExitStack() as stack:
        if is_trial:
            directory = stack.enter_context(TemporaryDirectory(prefix="facewire-dry-run-"))
            copy = Path(directory) / "gallery"
            if _holds_people(place, recognizer):
                copy_gallery(place, copy)
            place = copy
        opened = Gallery.open(
            place, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        )
        yield stack.enter_context(opened)


def _holds_people(place: "Place", recognizer: "Recognizer") -> bool:
    from gallery import Gallery
    from gallery.schema import FILE_NAME

    if isinstance(place, Path) and not (place / FILE_NAME).exists():
        return False
    with Gallery.open_to_read(
        place, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as opened:
        return len(opened) > 0


def _print_report(report: "EnrolReport", found: "PeopleFolder", how: _How, trouble: str) -> None:
    from stream.enrollment.crops import Enrolled
    from stream.enrollment.photo_checks import Reason

    refused = (*found.rejected, *report.refused)
    without = [] if trouble else [name for _, name in found.without_photo(report)]
    counts: dict[str, Counter[str]] = {}
    for each in report.outcomes:
        if isinstance(each, Enrolled):
            name, kind = each.identity.name, "taken"
        else:
            name = each.name
            kind = "already_there" if each.reason is Reason.DUPLICATE else "refused"
        counts.setdefault(name, Counter())[kind] += 1
    n_there = len(report.rejected) - len(report.refused)
    if how.as_json:
        print_json(
            {
                "people": [
                    {"name": name, **{kind: counts[name][kind] for kind in KINDS}}
                    for name in counts
                ],
                "taken": len(report.enrolled),
                "already_there": n_there,
                "rejected": [
                    {
                        "image": each.label,
                        "name": each.name,
                        "reason": each.reason.value,
                        "detail": each.detail,
                    }
                    for each in refused
                ],
                "without_photo": without,
                "skipped": found.n_skipped,
                "is_complete": not trouble,
                "dry_run": how.is_trial,
            }
        )
    else:
        for name, of_one in counts.items():
            parts = [f"{of_one[kind]} {text}" for kind, text in KINDS.items() if of_one[kind]]
            say(f"{name}: {', '.join(parts)}")
        for refusal in refused:
            complain(f"{refusal.label}: {refusal.detail}")
        for name in without:
            complain(f"no usable photo of {name}: {name} is not enrolled")
        n_people = sum(1 for of_one in counts.values() if of_one["taken"])
        say(
            f"photos: {len(report.enrolled)} taken, {n_there} already there, {len(refused)} "
            f"refused; people with new photos: {n_people}"
        )
        if found.n_skipped:
            say(f"{found.n_skipped} files and folders skipped that are no photos of people")
        if how.is_trial:
            say("a dry run: the gallery has not changed")
    if trouble:
        complain(trouble)
