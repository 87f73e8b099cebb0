"""Commands about sets of faces: pack, merge, split, extract, inspect."""

from pathlib import Path
from typing import Annotated, Any

import typer

from recognizer import usable_cpus
from trainer.cli.shell import Device, Json, Threads, app, bar, emit, lines_of_facts, opener
from trainer.errors import DataError

Replace = Annotated[bool, typer.Option("--replace", help="Replace a set or .bin that is there.")]


@app.command()
def pack(
    folder: Annotated[
        Path,
        typer.Argument(
            help="FOLDER/NAME/*.jpg: photos, or 112x112 crops; or a list of photos, FILE.lst, as "
            "im2rec and face2rec2 take it."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Directory of the set, or FILE.bin with --pairs.")],
    pairs: Annotated[
        Path | None, typer.Option(help="pairs.txt or pairs_label.txt: pack these as a .bin.")
    ] = None,
    min_images: Annotated[int, typer.Option(min=1, help="Leave out people with fewer images.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that detect faces.")] = 1,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="FOLDER is a set: copy it with labels from 0.")
    ] = False,
    replace: Replace = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add to the set in OUT: new people, and new photos of people it has by name.",
        ),
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Make a RecordIO set (or a .bin of pairs) of a folder of people; an interrupted run continues.

    Example: facewire-train pack photos faces; facewire-train pack more_photos faces --append

    Pairs to measure with: facewire-train pack lfw lfw.bin --pairs pairs.txt
    """
    if append and (relabel or pairs):
        raise DataError("--append adds photos to a set: leave out --relabel and --pairs")
    if relabel:
        from trainer.data.repair import repair

        with bar("copying") as on_progress:
            copied = repair(
                folder, out, check_images=False, replace=replace, on_progress=on_progress
            )
        emit(*_repaired(copied, out), as_json=as_json)
        return
    # of several processes, each takes its share of the processors
    share = max(usable_cpus() // workers, 1)
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
            append=append,
            on_progress=on_progress,
        )
    rejected = [{"photo": r.photo, "reason": r.reason} for r in packed.rejected]
    facts = {"identities": packed.n_identities, "images": packed.n_images, "rejected": rejected}
    lines = [f"{packed.n_images} images of {packed.n_identities} people in {out}"]
    lines += [f"rejected {r.photo}: {r.reason}" for r in packed.rejected]
    emit(facts, lines, as_json=as_json)


@app.command()
def merge(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="SET... OUT", help="Directories of sets, and that of the new one."),
    ],
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Make one set of several; people of one name in their names.txt become one person.

    Example: facewire-train merge faces more_faces all_faces
    """
    from trainer.data.labelled import LabelledSet
    from trainer.data.merge import merge as merge_sets

    if len(sets) < 3:
        raise DataError("give two sets or more, and the directory of the new set last")
    *paths, out = sets
    sources = []
    for path in paths:
        with bar(f"reading {path.name}") as on_progress:
            sources.append(LabelledSet(path, on_progress=on_progress))
    with bar("merging") as on_progress:
        merged = merge_sets(sources, out, replace=replace, on_progress=on_progress)
    facts = {
        "identities": merged.n_identities,
        "images": merged.n_images,
        "joined": merged.n_joined,
        "duplicates": merged.n_duplicates,
        "left_out": list(merged.left_out),
    }
    lines = [
        f"{merged.n_images} images of {merged.n_identities} people in {out}",
        f"{merged.n_joined} people are in more than one set; "
        f"{merged.n_duplicates} of their images were there twice",
        *(f"left out: {line}" for line in merged.left_out),
    ]
    emit(facts, lines, as_json=as_json)


@app.command()
def split(
    directory: Annotated[Path, typer.Argument(help="Directory of a set.")],
    train: Annotated[Path, typer.Argument(help="Directory of the set to train on.")],
    held_out: Annotated[Path, typer.Argument(help="Directory of the set to measure with.")],
    people: Annotated[
        float,
        typer.Option(
            min=0, help="People held out with all their images: a number, or a share below 1."
        ),
    ] = 0.1,
    images: Annotated[
        int,
        typer.Option(
            min=0, help="Instead of people, hold out so many images of each person; 0 for people."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice.")] = 0,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Divide a set into one to train on and one to measure with.

    Example: facewire-train split faces train_faces test_faces --people 4
    """
    from trainer.data.labelled import LabelledSet
    from trainer.data.split import split as split_set

    with bar(f"reading {directory.name}") as on_progress:
        source = LabelledSet(directory, on_progress=on_progress)
    with bar("splitting") as on_progress:
        parts = split_set(
            source,
            train,
            held_out,
            people=people,
            images=images,
            seed=seed,
            replace=replace,
            on_progress=on_progress,
        )
    named = dict(zip(("train", "held_out"), parts, strict=True))
    facts = {
        **{k: {"identities": p.n_identities, "images": p.n_images} for k, p in named.items()},
        "left_out": source.left_out,
    }
    lines = [
        f"{part.n_images} images of {part.n_identities} people in {out}"
        for part, out in zip(parts, (train, held_out), strict=True)
    ]
    lines += [f"left out: {line}" for line in source.left_out]
    emit(facts, lines, as_json=as_json)


@app.command()
def extract(
    directory: Annotated[Path, typer.Argument(help="Directory of a set.")],
    folder: Annotated[Path, typer.Argument(help="A new folder, for FOLDER/NAME/*.jpg.")],
    name: Annotated[str, typer.Option(help="Base name of the set's files.")] = "train",
    as_json: Json = False,
) -> None:
    """Write the images of a set to a folder for each person, byte for byte.

    Example: facewire-train extract faces crops
    """
    from trainer.data.extract import extract as extract_images
    from trainer.data.labelled import LabelledSet

    with bar(f"reading {directory.name}") as on_progress:
        source = LabelledSet(directory, name=name, on_progress=on_progress)
    with bar("extracting") as on_progress:
        done = extract_images(source, folder, on_progress=on_progress)
    facts = {
        "identities": done.n_identities,
        "images": done.n_images,
        "renamed": done.renamed,
        "left_out": list(done.left_out),
    }
    lines = [
        f"{done.n_images} images of {done.n_identities} people in {folder}",
        *(f"{person} is in the folder {given}" for person, given in done.renamed.items()),
        *(f"left out: {line}" for line in done.left_out),
    ]
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
