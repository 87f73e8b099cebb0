"""The command that adapts a network to a site's people."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.shell import Device, Json, Threads, app, bar, emit, opener
from trainer.errors import DataError, ExportError


@app.command()
def adapt(
    to: Annotated[Path, typer.Argument(help="FILE.onnx to write, if the network is better.")],
    photos: Annotated[
        list[Path],
        typer.Option(
            help="People: a folder DIR/NAME/*.jpg of photos or 112x112 crops, a set of `pack`, or "
            "an export of `facewire gallery export`; may be repeated."
        ),
    ],
    base: Annotated[
        str, typer.Option(help="Network to begin with: name, .onnx, .pt, .pth or PREFIX,EPOCH.")
    ] = "sface",
    consented: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.txt",
            help="Names of the people who agreed to this, one a line; photos of others are not "
            "read.",
        ),
    ] = None,
    all_consented: Annotated[
        bool, typer.Option("--all-consented", help="Everybody in --photos agreed.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with all that was measured, also of a refused network; default: beside "
            "FILE.onnx, FILE.report.json."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimizer.")] = 100,
    batch: Annotated[int, typer.Option(min=2, help="Crops a step.")] = 16,
    rate: Annotated[
        float, typer.Option(min=1e-8, help="Learning rate of Adam; for y1 0.0015.")
    ] = 4e-3,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="How much TAR of clean photos may at most be lost, as a share of the pairs.",
        ),
    ] = 0.01,
    resamples: Annotated[
        int, typer.Option(min=100, help="Draws of people for the confidence intervals.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Divides the people, and starts everything random.")
    ] = 0,
    name: Annotated[
        str, typer.Option(help="Name in the model card; default: the file's name.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files that are there.")
    ] = False,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Adapt a network to your own people and cameras, and keep it only if it is better.

    It learns to give a small, dark, blurred or badly compressed photo the embedding of the clean
    one. Three people in ten are left out: TAR at FAR of their photos is measured before and after.
    If clean photos lose or degraded ones do not gain, no model is written and the exit status is 1.
    A few hundred photos of ten people or more take some minutes on two CPU cores.

    Example: facewire-train adapt site.onnx --photos people --consented agreed.txt

    Of a gallery: facewire gallery export people-export; facewire-train adapt site.onnx
    --photos people-export --all-consented

    Then: facewire models add site.onnx --name site; facewire gallery reembed --model site
    """
    from trainer.adapt.adapting import Request, lines_of
    from trainer.adapt.adapting import adapt as adapt_base
    from trainer.adapt.people import read_names
    from trainer.adapt.tuning import Tuning

    if all_consented == (consented is not None):
        raise DataError(
            "people must agree before a network learns from their faces: list those who did "
            "(--consented FILE.txt), or say that all in --photos did (--all-consented)"
        )
    request = Request(
        sources=photos,
        to=to,
        report=report or to.with_suffix(".report.json"),
        base=base,
        consented=read_names(consented) if consented else None,
        tuning=Tuning(steps=steps, batch=batch, rate=rate, seed=seed),
        tolerance=tolerance,
        resamples=resamples,
        name=name,
        replace=replace,
        device=device,
        threads=threads,
    )
    adapted = adapt_base(request, opener(device, threads), shown=bar)
    emit(adapted.facts, lines_of(adapted), as_json=as_json)
    if adapted.refusal:
        raise ExportError(
            f"no model was written: {adapted.refusal} (add people or photos, or lower --rate; all "
            f"figures are in {request.report})"
        )
