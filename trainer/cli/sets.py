"""Commands about sets of faces: pack, inspect."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.cli.shell import Device, Json, Threads, app, bar, emit, lines_of_facts, opener


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="FOLDER/NAME/*.jpg; photos, or 112x112 crops.")],
    out: Annotated[Path, typer.Argument(help="Directory of the set, or FILE.bin with --pairs.")],
    pairs: Annotated[Path | None, typer.Option(help="pairs.txt: pack these as a .bin.")] = None,
    min_images: Annotated[int, typer.Option(min=1, help="Leave out people with fewer images.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that detect faces.")] = 1,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="FOLDER is a set: copy it with labels from 0.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a set or .bin that is there.")
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Make a RecordIO set (or a .bin of pairs) of a folder of people; an interrupted run continues.

    Example: facewire-train pack photos faces; facewire-train pack lfw lfw.bin --pairs pairs.txt
    """
    if relabel:
        from trainer.data.repair import repair

        with bar("copying") as on_progress:
            copied = repair(
                folder, out, check_images=False, replace=replace, on_progress=on_progress
            )
        emit(*_repaired(copied, out), as_json=as_json)
        return
    # of several processes, each takes its share of the processors
    share = max((os.cpu_count() or 1) // workers, 1)
    open_detector = opener(device, threads or (share if workers > 1 else 0))
    if pairs:
        from trainer.verify import pack_pairs

        with bar("packing") as on_progress:
            facts = pack_pairs(
                folder, pairs, out, open_detector, replace=replace, on_progress=on_progress
            )
        emit(facts, lines_of_facts(facts), as_json=as_json)
        return
    from trainer.data.pack import pack as pack_folder

    with bar("packing") as on_progress:
        packed = pack_folder(
            folder,
            out,
            open_detector=open_detector,
            min_images=min_images,
            workers=workers,
            replace=replace,
            on_progress=on_progress,
        )
    rejected = [{"photo": r.photo, "reason": r.reason} for r in packed.rejected]
    facts = {"identities": packed.n_identities, "images": packed.n_images, "rejected": rejected}
    lines = [f"{packed.n_images} images of {packed.n_identities} people in {out}"]
    lines += [f"rejected {r.photo}: {r.reason}" for r in packed.rejected]
    emit(facts, lines, as_json=as_json)


@app.command()
def inspect(
    directory: Annotated[Path, typer.Argument(help="Directory of a set.")],
    name: Annotated[str, typer.Option(help="Base name of its files.")] = "train",
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet, PNG or JPEG.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Decode every image, not 2,000 of them.")
    ] = False,
    repair_to: Annotated[
        Path | None,
        typer.Option(
            "--repair",
            help="Write a repaired copy to this new directory: labels from 0, identity records, "
            "no damaged images.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the contents of a set.

    Example: facewire-train inspect faces --sheet faces.png
    """
    if repair_to:
        from trainer.data.repair import repair

        with bar("repairing") as on_progress:
            repaired = repair(directory, repair_to, name=name, on_progress=on_progress)
        emit(*_repaired(repaired, repair_to), as_json=as_json)
        return
    from trainer.data.faceset import FaceSet
    from trainer.data.inspection import contact_sheet, write_picture
    from trainer.data.inspection import inspect as look

    faces = FaceSet(directory, name=name)
    with bar("decoding") as on_progress:
        found = look(faces, limit=0 if everything else 2000, on_progress=on_progress)
    if sheet:
        write_picture(sheet, contact_sheet(faces))
    facts = {
        "images": found.n_images,
        "identities": found.n_identities,
        "classes": found.n_classes,
        "histogram": found.histogram,
        "sizes": found.sizes,
        "damaged": list(found.damaged),
        "labels": found.labels,
        "looked_at": found.n_looked_at,
    }
    lines = [
        f"{found.n_images} images of {found.n_identities} people, {found.n_classes} classes",
        f"sizes of {found.n_looked_at} images: {found.sizes}",
        *(f"{people} people with {n} images" for n, people in found.histogram.items()),
        *(f"damaged: {line}" for line in found.damaged),
        *([f"labels: {found.labels}"] if found.labels else []),
    ]
    emit(facts, lines, as_json=as_json)


def _repaired(copied: Any, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the facts and lines of a copied set."""
    facts = {
        "images": copied.n_images,
        "identities": len(copied.labels),
        "old_labels": [float(label) for label in copied.labels],
        "left_out": list(copied.left_out),
    }
    lines = [f"{copied.n_images} images of {len(copied.labels)} people in {out}"]
    return facts, [*lines, *(f"left out: {line}" for line in copied.left_out)]
