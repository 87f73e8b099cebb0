"""gallery split, export, import, calibrate, check, reembed: maintenance of a gallery."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    counted,
    finite,
    people_and_events,
    print_json,
    say,
    table_console,
    write_output,
)
from stream.cli.settings import settings_for

if TYPE_CHECKING:
    from gallery.calibration import Calibration

Who = Annotated[str, typer.Argument(metavar="NAME|ID", show_default=False, help="A person.")]
MANY_STRANGERS = 0.01  # rate of strangers who are named, above which a lower FAR is advised
QUANTILES = (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999, 1.0)


def split(
    who: Who,
    name: Annotated[str, typer.Argument(metavar="OTHER", help="The right person, known or new.")],
    photos: Annotated[
        list[int],
        typer.Argument(
            metavar="PHOTO...", min=1, max=MAX_INTEGER, help="Numbers, from gallery show."
        ),
    ],
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Move some photos of a person to another; past events that show the other go with them.

    Example: facewire gallery split "Grace Hopper" "Ada Lovelace" 17 18
    """
    from gallery import UnknownIdentityError
    from gallery.errors import other_model
    from stream.events.reassign import events_of_other

    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    with people_and_events(settings.to_write(), settings.place) as (opened, events):
        identity_id = opened.people.find(who).identity_id
        crops = events.crops(identity_id)
        # Opened first: no photos are moved if their events cannot be.
        recognizer = settings.open_recognizer() if crops else None
        if recognizer is not None and recognizer.model_id != opened.model_id:
            raise other_model(opened.store.place, opened.model_id, recognizer.model_id)
        try:
            known = opened.people.find(name)
        except UnknownIdentityError:
            other = opened.photos.split(identity_id, photos, name)
        else:
            other = opened.photos.move(identity_id, photos, known.identity_id)
        if recognizer is not None:
            found = events_of_other(
                recognizer, opened, crops, identity_id=identity_id, other_id=other.identity_id
            )
            events.reassign(found, other)
    if as_json:
        print_json({"name": other.name, "identity_id": other.identity_id})
    else:
        say(f"{other.name} ({other.identity_id}) got {len(photos)} photos")


def export_people(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    replace: Replace = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Export all people to DIR: people.jsonl and photos.npz, for any program.

    An export that is already in DIR is kept, unless --replace is given.

    Example: facewire gallery export backup/
    """
    from gallery import Access, Gallery, exchange

    settings = settings_for(config=config, gallery=gallery)
    with Gallery.open_any(settings.place, access=Access.READ) as people:
        header = exchange.export_people(people, directory, replace=replace)
    if as_json:
        print_json({"directory": str(directory), **asdict(header)})
    else:
        say(f"{directory}: {header.n_people} people, {header.n_photos} photos")


def import_people(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out people whose name is taken here, and exit 0.")
    ] = False,
    rename: Annotated[
        bool, typer.Option("--rename", help="Add them with a number after the name.")
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add their photos to the person of that name.")
    ] = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Import all people of an export; the same export again changes nothing.

    A person whose name is taken here by another is reported and left out, unless --rename or
    --merge is given; the others are added.

    Examples: facewire gallery import backup/
              facewire gallery import backup/ --merge
    """
    from gallery import Gallery, exchange, importing

    if skip + rename + merge > 1:
        raise typer.BadParameter("give one of --skip, --rename and --merge")
    on_clash = importing.OnClash.SKIP
    if rename or merge:
        on_clash = importing.OnClash.RENAME if rename else importing.OnClash.MERGE
    header = exchange.read_header(directory)
    settings = settings_for(config=config, gallery=gallery)
    with Gallery.open(
        settings.place_to_write(), model_id=header.model_id, embedding_size=header.embedding_size
    ) as people:
        added = importing.import_people(people, directory, on_clash=on_clash)
    left_out = [clash for clash in added.clashes if clash.became is None]
    if as_json:
        print_json({"directory": str(directory), **asdict(added)})
    else:
        say(f"{added.n_people} new people, {added.n_photos} new photos")
        for clash in added.clashes:
            if clash.became is not None:
                what = "photos added to that person" if merge else f"added as {clash.became}"
                say(f"{clash.name} is another person here: {what}")
    if not skip:
        for clash in left_out:
            complain(f"{clash.name} is another person here: left out; see --rename and --merge")
        if left_out:
            raise typer.Exit(EXPECTED_FAILURE)


def calibrate(
    far: Annotated[
        float,
        typer.Option(min=1e-9, max=0.5, callback=finite, help="Wanted rate of false accepts."),
    ] = 1e-3,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw both distributions.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Use the threshold for this gallery.")
    ] = False,
    replace: Replace = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure the threshold for this gallery's own people, each photo left out in turn.

    Example: facewire gallery calibrate --far 1e-3 --plot similarities.png --apply
    """
    from gallery import Access, Gallery
    from gallery import calibration as measure
    from gallery.drawing import png_bytes, similarity_plot
    from recognizer.similarities import measured

    access = Access.WRITE if apply else Access.READ
    settings = settings_for(config=config, gallery=gallery)
    place = settings.place_to_write() if apply else settings.place
    with Gallery.open_any(place, access=access) as people:
        result = measure.calibrate(people, far=far)
        if apply:
            found = measured(result.genuine, result.impostor)
            measure.choose(people, result, similarities=asdict(found))
    if plot is not None:
        write_output(plot, png_bytes(similarity_plot(result)), replace=replace)
    if as_json:
        print_json(
            {
                "far": result.far,
                "threshold": result.threshold,
                "threshold_interval": [result.threshold_low, result.threshold_high],
                "tar": None if math.isnan(result.tar) else result.tar,
                "stranger_rate": result.stranger_rate,
                "impostors": len(result.impostor),
                "genuine": len(result.genuine),
                "people": result.n_people,
                "photos": result.n_photos,
                "alike": [asdict(pair) for pair in result.alike],
                "applied": apply,
            }
        )
    else:
        _print_calibration(result, is_applied=apply)


def check(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair the file; stop the service first.")
    ] = False,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Verify the gallery's file, and list photos and people that harm recognition.

    Each finding has the command that mends it; look first, by `gallery show NAME --sheet`.

    Examples: facewire gallery check --json
              facewire gallery check --repair
    """
    from gallery import Access, Gallery
    from gallery.check import check as verify
    from gallery.hygiene import inspect
    from stream.enrollment.naming import hygiene_limits, limits_of
    from stream.schemas.hygiene import hygiene_json

    settings = settings_for(config=config, gallery=gallery)
    place = settings.place_to_write() if repair else settings.place
    report = verify(place, repair=repair)
    hygiene = None
    if not report.problems or report.repaired:
        with Gallery.open_any(place, access=Access.READ) as people:
            limits = hygiene_limits(limits_of(people), people.people.count())
            given = (("--gallery", gallery), ("--config", config))
            options = [word for name, value in given if value for word in (name, str(value))]
            hygiene = hygiene_json(inspect(people, limits), people.model_id, options=options)
    if as_json:
        print_json({**asdict(report), "hygiene": hygiene})
    else:
        for problem in report.problems:
            complain(problem)
        for note in report.notes:
            complain(note)
        for line in report.repaired:
            say(f"repaired: {line}")
        for found in hygiene["findings"] if hygiene else ():
            say(f"{found['detail']}: {found['command']}")
        say(f"{report.n_people} people, {report.n_photos} photos")
    if report.problems and not report.repaired:
        raise typer.Exit(EXPECTED_FAILURE)


def reembed(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|FILE|PREFIX,EPOCH", show_default=False)
    ],
    drop: Annotated[
        bool, typer.Option("--drop-without-crop", help="Erase photos without a kept crop.")
    ] = False,
    device: DeviceName = None,
    threads: Threads = None,
    gallery: GalleryDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change the gallery to another model, from the crops that it keeps.

    Example: facewire gallery reembed --model new.onnx
    """
    from gallery import reembedding

    settings = settings_for(
        config=config, gallery=gallery, model=model, device=device, threads=threads
    )
    place = settings.place_to_write()
    recognizer = settings.open_recognizer()
    with counted("photos") as progress:
        report = reembedding.reembed(
            place,
            recognizer.embed,
            model_id=recognizer.model_id,
            embedding_size=recognizer.embedding_size,
            drop_without_crop=drop,
            progress=progress,
        )
    if as_json:
        print_json(asdict(report))
    else:
        say(
            f"{report.n_photos} photos went from {report.old_model_id} to {report.model_id}, "
            f"{report.n_dropped} dropped"
        )


def _print_calibration(result: "Calibration", *, is_applied: bool) -> None:
    import numpy as np

    from gallery.calibration import finest_far

    console = table_console()
    table = Table("similarity at", *(f"{q:.1%}" for q in QUANTILES), box=None, pad_edge=False)
    for name, values in (("genuine", result.genuine), ("impostor", result.impostor)):
        if len(values):
            table.add_row(name, *(f"{v:.3f}" for v in np.quantile(values, QUANTILES)))
    console.print(table)
    console.print(
        f"threshold {result.threshold:.4f} (95 %: {result.threshold_low:.4f} to "
        f"{result.threshold_high:.4f}) at FAR {result.far:g}, from {len(result.impostor)} "
        f"impostor pairs of {result.n_people} people"
    )
    if len(result.genuine):
        console.print(f"it accepts {result.tar:.2%} of {len(result.genuine)} genuine photos")
    else:
        console.print(
            "no person has two photos: the rate of accepted genuine photos cannot be measured"
        )
    console.print(
        f"a stranger who is compared with everybody is named {result.stranger_rate:.2%} of the time"
    )
    if result.stranger_rate > MANY_STRANGERS:
        finer = max(MANY_STRANGERS / result.n_people, finest_far(len(result.impostor)))
        advice = f"--far {finer:.2g} makes it rarer"
        if finer >= result.far:
            advice = "a lower --far makes it rarer; to measure it, enroll more people"
        console.print(f"that is high: {advice}")
    for pair in result.alike:
        console.print(
            f"very similar, {pair.similarity:.3f}: {pair.name_a} and {pair.name_b} "
            "(relatives, or one person twice: see gallery merge)"
        )
    console.print("applied" if is_applied else "not applied; --apply does")
