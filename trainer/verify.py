"""The parts of `facewire-train verify` and `retrieve`: models, pairs, results and plots."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recognizer import Recognizer
from trainer.data.inspection import write_picture
from trainer.data.pack import people_of
from trainer.data.pairs import PairSet, read_bin, read_pairs_txt, write_bin
from trainer.data.photos import PHOTO_SUFFIXES, pairs_of_photos
from trainer.data.templates import read_template_pairs, read_templates
from trainer.errors import DataError
from trainer.evaluation.embedding import (
    Embed,
    embed_files,
    embed_pairs,
    recognizer_embed,
    torch_embed,
)
from trainer.evaluation.onnx_models import NOTHING_STATED, InputFacts
from trainer.evaluation.plots import chart, worst_pairs
from trainer.evaluation.retrieval import Retrieval, retrieve
from trainer.evaluation.templates import TemplateVerification, verify_templates
from trainer.evaluation.verification import (
    Floats64,
    Verification,
    check_pairs,
    operating_points,
    roc,
    verify_embeddings,
)

OnProgress = Callable[[int, int], None]

POINTS_DRAWN = 20_000  # of a curve; a plot of millions takes minutes and shows no difference


def open_models(
    spec: str, *, device: str, threads: int, facts: InputFacts = NOTHING_STATED
) -> Iterator[tuple[str, Embed]]:
    """Yield every model of a spec with its id.

    Args:
        spec: a name, an .onnx file, a .pt checkpoint of ours, a backbone.pth of arcface_torch,
            or PREFIX,EPOCH[|EPOCH...].
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 for all.
        facts: about the input of an .onnx file, where it does not say them itself.

    Raises:
        DataError: if facts are given for another model, or the network gives no embeddings.
    """
    if spec.endswith((".pt", ".pth")):
        if facts.stated():
            raise DataError(f"{facts.hint} are of an .onnx file, and {spec} is another model")
        import torch

        from trainer.export.export import open_backbone
        from trainer.training.device import device_kind

        place = torch.device(device_kind(device))
        backbone, recipe = open_backbone(Path(spec))
        if recipe.head.loss == "genderage":
            raise DataError(f"{spec} estimates gender and age and gives no embeddings")
        yield Path(spec).stem, torch_embed(backbone.to(place), place)
        return
    prefix, comma, epochs = spec.rpartition(",")
    for one in [f"{prefix},{epoch}" for epoch in epochs.split("|")] if comma else [spec]:
        embed, model_id = recognizer_embed(one, device=device, threads=threads, facts=facts)
        yield model_id, embed


def open_pairs(
    path: Path,
    images: Path | None,
    open_detector: Callable[[], Recognizer],
    *,
    folds: int,
    fars: Sequence[float] | None,
    on_progress: OnProgress,
) -> PairSet:
    """Open a `.bin`, or the photos that a pairs.txt names, for a verification.

    Raises:
        DataError: if pairs.txt comes without a directory of photos, there are fewer pairs than
            folds, or a wanted FAR is too fine.
        RecordError: if the file is damaged.
    """
    if path.suffix != ".txt":
        found = read_bin(path)
        check_pairs(found.is_same, folds=folds, fars=fars, target=found.name)
        return found
    if images is None:
        raise DataError(f"{path} needs --images, the directory of the photos")
    pairs = read_pairs_txt(path)
    is_same = np.array([pair.is_same for pair in pairs], bool)
    check_pairs(is_same, folds=folds, fars=fars, target=path.stem)
    return pairs_of_photos(
        images,
        pairs,
        name=path.stem,
        open_detector=open_detector,
        on_progress=on_progress,
    )


def verify_pairs(
    embed: Embed,
    pairs: PairSet,
    *,
    folds: int,
    fars: Sequence[float] | None,
    on_progress: OnProgress | None = None,
) -> Verification:
    """Embed all images, plain and mirrored, and apply the protocol."""
    plain, mirrored = embed_pairs(embed, pairs, on_progress=on_progress)
    return verify_embeddings(
        plain, mirrored, pairs.is_same, target=pairs.name, folds=folds, fars=fars
    )


def verify_template_lists(
    models: Sequence[tuple[str, Embed]],
    path: Path,
    pairs: Sequence[Path],
    images: Path | None,
    open_detector: Callable[[], Recognizer],
    *,
    fars: Sequence[float] | None,
    on_progress: OnProgress,
) -> list[tuple[str, TemplateVerification]]:
    """Apply IJB's protocol: every image is embedded once, all lists are read before that.

    Args:
        models: ids and functions.
        path: of the list `IMAGE TEMPLATE MEDIA`.
        pairs: lists `TEMPLATE TEMPLATE LABEL`.
        images: directory of the images.
        open_detector: called when the first image comes that is not a crop.
        fars: wanted; None for those that the data allow.
        on_progress: called with images done and images in all.

    Returns:
        Ids of models with results, by model and by list of pairs.

    Raises:
        DataError: if a list is wrong, an image cannot be read, or a wanted FAR is too fine.
    """
    if images is None:
        raise DataError(f"{path} needs --images, the directory of the images")
    templates = read_templates(path, images)
    targets = [read_template_pairs(each, templates) for each in pairs]
    for target in targets:  # a FAR that is too fine is refused before hours of embedding
        operating_points(np.zeros(len(target.a)), target.is_same, fars, target=target.name)
    embeds = [embed for _, embed in models]
    found = embed_files(
        embeds,
        templates.images,
        open_detector,
        named_in=lambda i: f"{templates.path}, line {templates.lines[i]}",
        on_progress=on_progress,
    )
    return [
        (name, verify_templates(embeddings, templates, target, fars=fars))
        for (name, _), embeddings in zip(models, found, strict=True)
        for target in targets
    ]


def retrieve_folders(
    models: Sequence[tuple[str, Embed]],
    gallery: Path,
    probes: Path,
    distractors: Path | None,
    open_detector: Callable[[], Recognizer],
    *,
    ranks: Sequence[int],
    on_progress: OnProgress,
) -> list[tuple[str, Retrieval]]:
    """Search the people of folders GALLERY/NAME and PROBES/NAME; an image is embedded once.

    Args:
        models: ids and functions.
        gallery: images that are searched.
        probes: images that are searched for, of people in the gallery.
        distractors: directory of images of other people, at any depth.
        open_detector: called when the first image comes that is not a crop.
        ranks: to report, from 1.
        on_progress: called with images done and images in all.

    Returns:
        Ids of models with results.

    Raises:
        DataError: if a folder is missing or empty, a person of the probes is not in the gallery, a
            file is in two of the folders, or an image cannot be read.
    """
    searched, wanted = people_of(gallery), people_of(probes)
    for name in wanted:
        if name not in searched:
            raise DataError(f"{probes / name} has photos, but {gallery} has none of {name}")
    others = _photos_below(distractors) if distractors else []
    parts = [
        [photo for photos in people.values() for photo in photos] for people in (searched, wanted)
    ]
    files = [*parts[0], *parts[1], *others]
    seen = set[Path]()
    for photo in files:
        if photo.resolve() in seen:
            raise DataError(f"{photo} is in the folders twice: it would find itself")
        seen.add(photo.resolve())
    ids = {name: number for number, name in enumerate(searched)}
    gallery_ids, probe_ids = (
        np.array([ids[name] for name, photos in people.items() for _ in photos])
        for people in (searched, wanted)
    )
    stops = np.cumsum([len(part) for part in parts])
    results = []
    embeds = [embed for _, embed in models]
    found = embed_files(embeds, files, open_detector, on_progress=on_progress)
    for (model, _), embeddings in zip(models, found, strict=True):
        of_gallery, of_probes, of_others = np.split(embeddings, stops)
        result = retrieve(
            of_gallery, gallery_ids, of_probes, probe_ids, of_others, ranks, target=probes.name
        )
        results.append((model, result))
    return results


def _photos_below(folder: Path) -> list[Path]:
    """Return the images of a directory, at any depth."""
    if not folder.is_dir():
        raise DataError(f"cannot find the folder {folder}")
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
    if not photos:
        raise DataError(f"{folder} holds no photos")
    return photos


def write_roc(path: Path, results: Mapping[str, Verification | TemplateVerification]) -> None:
    """Write the ROC curves of results by name, all in one plot."""
    curves = {name: thinned(*roc(r.distances, r.is_same)) for name, r in results.items()}
    write_picture(path, chart("TAR over FAR", curves, log_x=True))


def thinned(far: Floats64, tar: Floats64) -> tuple[Floats64, Floats64]:
    """Return at most `POINTS_DRAWN` points of a curve, dense where FAR is small: its axis is log.

    Args:
        far: ascending.
        tar: ascending; of the points of one FAR the last is kept.
    """
    if len(far) <= POINTS_DRAWN:
        return far, tar
    last = np.flatnonzero(np.diff(far, append=np.inf))
    places = np.geomspace(1, len(last), POINTS_DRAWN).round().astype(np.int64) - 1
    kept = last[np.unique(places)]
    return far[kept], tar[kept]


def write_worst(folder: Path, name: str, result: Verification, pairs: PairSet) -> None:
    """Write the sheets of the worst errors of one kind and the other."""
    for is_same, kind in ((True, "rejected"), (False, "accepted")):
        sheet = worst_pairs(pairs, result.distances, result.threshold, is_same=is_same)
        write_picture(folder / f"{name}_{kind}.png", sheet)


def pack_pairs(
    folder: Path,
    pairs_txt: Path,
    out: Path,
    open_detector: Callable[[], Recognizer],
    *,
    replace: bool = False,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Write the photos of a pairs.txt as a `.bin`.

    Raises:
        DataError: if `out` exists, or a photo shows no face: a `.bin` cannot say so.
    """
    if out.exists() and not replace:
        raise DataError(f"{out} exists: choose another file, or replace it (--replace)")
    pairs = read_pairs_txt(pairs_txt)
    made = pairs_of_photos(
        folder, pairs, name=out.stem, open_detector=open_detector, on_progress=on_progress
    )
    stems = [stem for pair in pairs for stem in (pair.a, pair.b)]
    if missing := [s for s, image in zip(stems, made.images, strict=True) if not image]:
        names = ", ".join(dict.fromkeys(missing))
        raise DataError(f"no face in {names}: take these pairs out of {pairs_txt}")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bin(out, made)
    return {"bin": str(out), "pairs": len(made.is_same), "same": int(made.is_same.sum())}
