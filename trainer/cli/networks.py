"""Commands about networks: fit, recipes, verify, retrieve, export, bench."""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from recognizer import Recognizer
from trainer.cli.shell import (
    ColourOrder,
    Device,
    Json,
    Mean,
    Std,
    Threads,
    app,
    bar,
    console,
    emit,
    lines_of_facts,
    opener,
)
from trainer.errors import DataError

logger = logging.getLogger(__name__)


@app.command()
def fit(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Directory of the set and the .bin targets.")],
    out: Annotated[Path, typer.Option(help="Directory for checkpoints, log and plots.")] = Path(
        "models/run"
    ),
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from OUT/last.pt.")] = False,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Train a network.

    Example: facewire-train fit tiny --data faces --out models/tiny --set run.steps=100

    On 4 GPUs: torchrun --nproc-per-node 4 --no-python facewire-train fit r50-cosface --data faces

    `facewire-train recipes` lists the recipes and explains their keys.
    """
    from trainer.training.recipe import read_recipe
    from trainer.training.run import Run, run_recipe

    run = Run(read_recipe(recipe, settings or []), data, out, resume, device, threads)
    summary = run_recipe(run, console=console)
    if os.environ.get("RANK", "0") != "0":  # torchrun's: one document from all processes
        return
    lines = [line for row in summary["results"] for line in row["lines"]]
    for row in summary["results"]:
        del row["lines"]
    emit(summary, [*lines, f"checkpoint: {summary['checkpoint']}"], as_json=as_json)


@app.command()
def recipes(
    name: Annotated[str, typer.Argument(help="A shipped recipe's name, or a TOML file.")] = "",
    as_json: Json = False,
) -> None:
    """List the recipes and explain every key, or show the values of one recipe.

    Example: facewire-train recipes tiny
    """
    from trainer.training.recipe import read_recipe, recipe_names
    from trainer.training.recipe_keys import (
        idle_keys,
        recipe_keys,
        recipe_summary,
        recipe_values,
        section_meanings,
    )

    keys = [asdict(key) for key in recipe_keys()]
    facts: dict[str, Any] = {"keys": keys}
    if name:
        recipe = read_recipe(name)
        values, idle = recipe_values(recipe), idle_keys(recipe)
        keys[:] = [key | {"value": values[key["name"]]} for key in keys if key["name"] not in idle]
        lines = []
    else:
        facts["recipes"] = {known: recipe_summary(known) for known in recipe_names()}
        lines = [
            "Recipes, for `facewire-train fit RECIPE`; `recipes NAME` shows the values of one:"
        ]
        lines += [f"{known}: {summary}" for known, summary in facts["recipes"].items()]
        lines += ["", "Keys with their defaults, for a TOML file or --set section.key=value:"]
    sections = section_meanings()
    for key in keys:
        section = key["name"].partition(".")[0]
        if section in sections:
            lines += ["", f"[{section}] {sections.pop(section)}"]
        shown = json.dumps(key["value"] if name else key["default"])
        changed = f" (default {json.dumps(key['default'])})" if name else ""
        changed = "" if name and key["value"] == key["default"] else changed
        form = ", ".join(filter(None, (key["kind"], key["limits"])))
        lines.append(f"{key['name']} = {shown}{changed}: {key['meaning']} [{form}]")
    emit(facts, lines, as_json=as_json)


@app.command()
def verify(
    pairs: Annotated[
        list[Path],
        typer.Option(
            help="A .bin file, or pairs.txt with --images; may be repeated. With --templates: rows "
            "`TEMPLATE TEMPLATE LABEL`, label 1 for one person and 0 for two."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Name, .onnx, .pt, .pth, PREFIX,EPOCH[|EPOCH].")
    ] = "sface",
    images: Annotated[
        Path | None,
        typer.Option(
            help="Photos, or crops of 112x112: DIR/NAME/NAME_0001.jpg; "
            "with --templates as that list names them."
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(
            help="Verify templates as IJB-B and IJB-C do: rows `IMAGE TEMPLATE MEDIA`, as in "
            "ijbc_face_tid_mid.txt. The images of one media (a photo, or frames of one video) are "
            "averaged, the media of a template added."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=1, help="Folds of the cross-validation; not used by --templates.")
    ] = 10,
    far: Annotated[
        list[float] | None, typer.Option(help="Report TAR at this FAR; may be repeated.")
    ] = None,
    colour_order: ColourOrder = None,
    mean: Mean = None,
    std: Std = None,
    roc_to: Annotated[Path | None, typer.Option("--roc", help="Write the ROC as PNG.")] = None,
    worst: Annotated[
        Path | None, typer.Option(help="Write sheets of the worst errors to this directory.")
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Measure a model on verification pairs, of images or of templates.

    Example: facewire-train verify --model y1/model,0 --pairs lfw.bin --pairs agedb_30.bin

    insightface's ONNX files need no model card:
    facewire-train verify --model w600k_r50.onnx --pairs lfw.bin

    IJB-C: facewire-train verify --templates ijbc_face_tid_mid.txt --images loose_crop
    --pairs ijbc_template_pair_label.txt
    """
    from trainer.evaluation.onnx_models import InputFacts
    from trainer.evaluation.verification import to_json
    from trainer.verify import (
        open_models,
        open_pairs,
        verify_pairs,
        write_roc,
        write_worst,
    )

    facts = InputFacts(colour_order, mean, std)
    if templates:
        if worst:
            raise DataError("--worst shows pairs of images; leave it out with --templates")
        models = list(open_models(model, device=device, threads=threads, facts=facts))
        _verify_templates(
            models,
            templates,
            pairs,
            images,
            opener(device, threads),
            far,
            roc_to,
            as_json=as_json,
        )
        return
    targets = []
    for path in pairs:
        with bar(f"reading {path.name}") as on_progress:
            targets.append(
                open_pairs(
                    path,
                    images,
                    opener(device, threads),
                    folds=folds,
                    fars=far,
                    on_progress=on_progress,
                )
            )
    rows, lines = [], []
    best: dict[str, float] = {}
    results = {}
    opened = open_models(model, device=device, threads=threads, facts=facts)
    for number, (name, embed) in enumerate(opened):
        for target in targets:
            with bar(f"{name} on {target.name}") as on_progress:
                result = verify_pairs(embed, target, folds=folds, fars=far, on_progress=on_progress)
            rows.append({"model": name, **to_json(result)})
            lines += result_lines(result)
            best[target.name] = max(best.get(target.name, 0.0), result.accuracy_flip.mean)
            # a second model's images have names of their own
            key = f"{target.name}_{number}" if number else target.name
            results[key] = result
            if worst:
                write_worst(worst, key, result, target)
    if roc_to:
        write_roc(roc_to, results)
    lines += [f"Max of [{name}] is {value:1.5f}" for name, value in best.items()]
    emit(rows, lines, as_json=as_json)


def _verify_templates(
    models: Any,
    templates: Path,
    pairs: list[Path],
    images: Path | None,
    opener: Callable[[], Recognizer],
    far: list[float] | None,
    roc_to: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure models on pairs of templates, and print the results."""
    from trainer.evaluation.templates import template_lines, templates_to_json
    from trainer.verify import verify_template_lists, write_roc

    with bar(f"embedding the images of {templates.name}") as on_progress:
        results = verify_template_lists(
            models, templates, pairs, images, opener, fars=far, on_progress=on_progress
        )
    if roc_to:
        several = len(models) > 1
        curves = {f"{r.target}, {name}" if several else r.target: r for name, r in results}
        write_roc(roc_to, curves)
    rows = [{"model": name, **templates_to_json(result)} for name, result in results]
    lines = [
        line for _, result in results for line in [*template_lines(result), *_point_lines(result)]
    ]
    emit(rows, lines, as_json=as_json)


@app.command()
def retrieve(
    gallery: Annotated[Path, typer.Argument(help="GALLERY/NAME/*.jpg: the images to search.")],
    probes: Annotated[
        Path, typer.Argument(help="PROBES/NAME/*.jpg: other images of people in the gallery.")
    ],
    model: Annotated[
        str, typer.Option(help="Name, .onnx, .pt, .pth, PREFIX,EPOCH[|EPOCH].")
    ] = "sface",
    distractors: Annotated[
        Path | None,
        typer.Option(help="Images of other people, in any folders: they make the search harder."),
    ] = None,
    rank: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Report the share of probes with an image of the person among the first so many "
            "that are found; may be repeated. Default: 1, 5 and 20.",
        ),
    ] = None,
    colour_order: ColourOrder = None,
    mean: Mean = None,
    std: Std = None,
    device: Device = "auto",
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Measure how well a model finds people in a gallery, as TinyFace does.

    Images are photos, or aligned crops of 112x112.

    Example: facewire-train retrieve gallery probes --distractors others
    """
    from trainer.evaluation.onnx_models import InputFacts
    from trainer.evaluation.retrieval import retrieval_lines, retrieval_to_json
    from trainer.verify import open_models, retrieve_folders

    with bar(f"embedding {gallery.name} and {probes.name}") as on_progress:
        results = retrieve_folders(
            list(
                open_models(
                    model,
                    device=device,
                    threads=threads,
                    facts=InputFacts(colour_order, mean, std),
                )
            ),
            gallery,
            probes,
            distractors,
            opener(device, threads),
            ranks=sorted(set(rank or (1, 5, 20))),
            on_progress=on_progress,
        )
    rows = [{"model": name, **retrieval_to_json(result)} for name, result in results]
    lines = [line for _, result in results for line in retrieval_lines(result)]
    emit(rows, lines, as_json=as_json)


def result_lines(result: Any) -> list[str]:
    """Return the reference's lines and the operating points."""
    from trainer.evaluation.verification import lines_of

    missed = [f"[{result.target}]Undetected: {result.undetected}"] if result.undetected else []
    return [*lines_of(result), *_point_lines(result), *missed]


def _point_lines(result: Any) -> list[str]:
    return [
        f"[{result.target}]TAR@FAR={p.far:g}: {p.tar:1.5f} "
        f"(similarity >= {p.threshold:.4f}, {p.impostors} impostor pairs)"
        for p in result.points
    ]


@app.command()
def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .pt of `fit`, or a backbone.pth of arcface_torch.")
    ],
    to: Annotated[
        str,
        typer.Argument(help="FILE.onnx, FILE.pth for arcface_torch, or PREFIX,EPOCH for MXNet."),
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="A .bin file; the card's threshold is measured on it.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Name in the model card; default: the file's name.")
    ] = "",
    licence: Annotated[
        str, typer.Option(help="License of the weights, for the model card.")
    ] = "not stated",
    as_json: Json = False,
) -> None:
    """Write a trained backbone as ONNX with a model card, or for arcface_torch or MXNet.

    Example: facewire-train export models/run/best.pt mine.onnx --pairs lfw.bin
    """
    from trainer.export.export import export_checkpoint

    with bar("measuring") as on_progress:
        facts = export_checkpoint(
            checkpoint, to, pairs, name=name, licence=licence, on_progress=on_progress
        )
    emit(facts, lines_of_facts(facts), as_json=as_json)


@app.command()
def bench(
    backbones: Annotated[
        list[str] | None,
        typer.Option("--backbone", help="Network, such as y1 or r50; may be repeated."),
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", help="Batch size, in images; may be repeated.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 0,
    runs: Annotated[
        int, typer.Option(min=1, help="Repetitions of each setting; the median is reported.")
    ] = 5,
    data: Annotated[Path | None, typer.Option(help="Measure loading from this set.")] = None,
    index: Annotated[
        int,
        typer.Option(
            min=0, help="Measure opening a set of so many images, and its memory; 0 to leave out."
        ),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Measure how fast networks train here, in both memory layouts, beside the processor's limit.

    images_per_cpu_s counts processor time, which other programs do not change. floor_per_cpu_s is
    the most of it that the measured peak of operations and the bandwidth of memory allow, and
    times_floor how far away from that the network is.

    Example: facewire-train bench --backbone y1 --batch 16 --threads 2
    """
    from trainer.bench import CHANGES, measure, measure_index, measure_loading
    from trainer.data.faceset import FaceSet
    from trainer.floor import DTYPES, measure_peaks
    from trainer.training.device import open_device, use_threads
    from trainer.training.distributed import World

    use_threads(threads)
    place = open_device(device, World(rank=0, size=1, local_rank=0))
    time_loading = partial(measure_loading, clock=time.perf_counter, cpu_clock=time.process_time)
    time_network = partial(measure, clock=time.perf_counter, cpu_clock=time.process_time)
    found: list[Any] = []
    if data:
        found += [time_loading(FaceSet(data), change) for change in CHANGES]
    if index:
        found.append(measure_index(index, clock=time.perf_counter))
    names = backbones or ([] if data or index else ["y1", "r50"])
    peaks = {}
    if names and place.type == "cpu":
        peaks = {each: measure_peaks(each, cpu_clock=time.process_time) for each in DTYPES}
        for precision, limits in peaks.items():
            logger.info(
                "a CPU second has %.0f Gflop in %s; an addition moves %.0f GB in memory, %.0f in "
                "cache",
                limits.operations / 1e9,
                precision,
                limits.bandwidth[-1] / 1e9,
                max(limits.bandwidth) / 1e9,
            )
    for name in names:
        for batch in batches or [64, 16]:
            found += time_network(name, batch=batch, device=place, peaks=peaks, runs=runs)
            logger.info("measured %s with batches of %d", name, batch)
    rows = [_rounded(asdict(speed)) for speed in found]
    lines = ["  ".join(f"{key} {value}" for key, value in row.items()) for row in rows]
    emit(rows, lines, as_json=as_json)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Round what was measured."""
    return {key: round(v, 1) if isinstance(v, float) else v for key, v in row.items()}
