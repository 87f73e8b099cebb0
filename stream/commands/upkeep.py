"""gallery split, sheet, export, import, calibrate, check, reembed: the rarer care of people."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from stream.commands.common import (
    EXPECTED_FAILURE,
    AsJson,
    DeviceName,
    GalleryDirectory,
    Threads,
    complain,
    gallery_directory,
    print_json,
    recognizer_for,
    table_console,
)

if TYPE_CHECKING:
    from gallery.calibration import Calibration

Who = Annotated[str, typer.Argument(metavar="NAME|ID", show_default=False, help="A person.")]
QUANTILES = (0.0, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999, 1.0)


def split(
    who: Who,
    name: Annotated[str, typer.Argument(metavar="NEW", help="Whose the photos really are.")],
    photos: Annotated[
        list[int], typer.Argument(metavar="PHOTO...", help="Numbers, from gallery show.")
    ],
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Move some photos of a person to a new person.

    Example: facewire gallery split "Grace Hopper" "Ada Lovelace" 17 18
    """
    from gallery import Gallery

    with Gallery.open_any(gallery_directory(gallery)) as people:
        identity = people.split(people.find(who).identity_id, photos, name)
    if as_json:
        print_json({"name": identity.name, "identity_id": identity.identity_id})
    else:
        typer.echo(f"{identity.name} ({identity.identity_id}) has {len(photos)} photos now")


def sheet(
    who: Who,
    out: Annotated[Path, typer.Argument(metavar="OUT.png", show_default=False)],
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Write the crops of a person's photos to one picture, with number and quality.

    Example: facewire gallery sheet "Grace Hopper" hopper.png
    """
    from gallery import Gallery
    from gallery.drawing import contact_sheet, write_png

    with Gallery.open_any(gallery_directory(gallery)) as people:
        photos = people.photos(people.find(who).identity_id)
        crops = [people.store.crop(photo.photo_id) for photo in photos]
    write_png(
        contact_sheet(crops, [f"{photo.photo_id}  q {photo.quality:.2f}" for photo in photos]), out
    )
    if as_json:
        print_json({"image": str(out), "photos": [photo.photo_id for photo in photos]})
    else:
        typer.echo(f"{out}: {len(photos)} photos")


def export_people(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Write everybody to DIR: people.jsonl and photos.npz, which any program can read.

    Example: facewire gallery export backup/
    """
    from gallery import Gallery, exchange

    with Gallery.open_any(gallery_directory(gallery)) as people:
        header = exchange.export_people(people, directory)
    if as_json:
        print_json({"directory": str(directory), **asdict(header)})
    else:
        typer.echo(f"{directory}: {header.n_people} people, {header.n_photos} photos")


def import_people(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)],
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Add everybody of an export; the same export again changes nothing.

    Example: facewire gallery import backup/
    """
    from gallery import Gallery, exchange

    header = exchange.read_header(directory)
    with Gallery.open(
        gallery_directory(gallery), model_id=header.model_id, embedding_size=header.embedding_size
    ) as people:
        added = exchange.import_people(people, directory)
    if as_json:
        print_json({"directory": str(directory), **asdict(added)})
    else:
        typer.echo(f"{added.n_people} new people, {added.n_photos} new photos")


def calibrate(
    far: Annotated[
        float, typer.Option(min=1e-9, max=0.5, help="Wanted rate of false accepts.")
    ] = 1e-3,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw both distributions.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Search this gallery with the threshold found.")
    ] = False,
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Find the threshold for this gallery's own people, each photo left out in turn.

    Example: facewire gallery calibrate --far 1e-3 --plot similarities.png --apply
    """
    from gallery import Gallery
    from gallery import calibration as measure
    from gallery.drawing import similarity_plot, write_png

    with Gallery.open_any(gallery_directory(gallery)) as people:
        result = measure.calibrate(people, far=far)
        if apply:
            measure.choose(people, result)
    if plot is not None:
        write_png(similarity_plot(result), plot)
    if as_json:
        print_json(
            {
                "far": result.far,
                "threshold": result.threshold,
                "threshold_interval": [result.threshold_low, result.threshold_high],
                "tar": None if math.isnan(result.tar) else result.tar,
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
        bool, typer.Option("--repair", help="Mend what can be mended; stop the service first.")
    ] = False,
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Verify the gallery's file, and repair it if asked.

    Example: facewire gallery check --repair
    """
    from gallery.check import check as verify

    report = verify(gallery_directory(gallery), repair=repair)
    if as_json:
        print_json(asdict(report))
    else:
        for problem in report.problems:
            complain(problem)
        for line in report.repaired:
            typer.echo(f"repaired: {line}")
        typer.echo(f"{report.n_people} people, {report.n_photos} photos")
    if report.problems and not report.repaired:
        raise typer.Exit(EXPECTED_FAILURE)


def reembed(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|FILE|PREFIX,EPOCH", show_default=False)
    ],
    drop: Annotated[
        bool, typer.Option("--drop-without-crop", help="Erase photos that keep no crop.")
    ] = False,
    device: DeviceName = "auto",
    threads: Threads = 0,
    gallery: GalleryDirectory = None,
    as_json: AsJson = False,
) -> None:
    """Take the gallery to another model, from the crops it keeps.

    Example: facewire gallery reembed --model new.onnx
    """
    from gallery import reembedding

    recognizer = recognizer_for(model=model, device=device, threads=threads)
    report = reembedding.reembed(
        gallery_directory(gallery),
        recognizer.embed,
        model_id=recognizer.model_id,
        embedding_size=recognizer.embedding_size,
        drop_without_crop=drop,
    )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(
            f"{report.n_photos} photos went from {report.old_model_id} to {report.model_id}, "
            f"{report.n_dropped} dropped"
        )


def _print_calibration(result: "Calibration", *, is_applied: bool) -> None:
    import numpy as np

    console = table_console()
    table = Table("similarity at", *(f"{q:.1%}" for q in QUANTILES), box=None, pad_edge=False)
    for name, values in (("genuine", result.genuine), ("impostor", result.impostor)):
        if len(values):
            table.add_row(name, *(f"{v:.3f}" for v in np.quantile(values, QUANTILES)))
    console.print(table)
    console.print(
        f"threshold {result.threshold:.4f} (95 %: {result.threshold_low:.4f} to "
        f"{result.threshold_high:.4f}) at FAR {result.far:g}, from {len(result.impostor)} "
        f"impostor pairs of {result.n_people} people; it accepts "
        f"{result.tar:.2%} of {len(result.genuine)} genuine photos"
    )
    for pair in result.alike:
        console.print(
            f"too alike, {pair.similarity:.3f}: {pair.name_a} and {pair.name_b} "
            "(relatives, or one person twice: see gallery merge)"
        )
    console.print("applied" if is_applied else "not applied; --apply does")
