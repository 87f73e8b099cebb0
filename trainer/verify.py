"""The parts of `facewire-train verify`: models, pairs, results and plots."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recognizer import Recognizer
from trainer.data.inspection import write_picture
from trainer.data.pairs import PairSet, read_bin, read_pairs_txt, write_bin
from trainer.data.photos import pairs_of_photos
from trainer.errors import DataError
from trainer.evaluation.embedding import Embed, embed_pairs, recognizer_embed, torch_embed
from trainer.evaluation.plots import chart, worst_pairs
from trainer.evaluation.verification import Verification, roc, verify_embeddings

OnProgress = Callable[[int, int], None]


def open_models(spec: str, *, device: str, threads: int) -> Iterator[tuple[str, Embed]]:
    """Yield every model of a spec with its id.

    Args:
        spec: a name, an .onnx file, a .pt checkpoint of ours, or PREFIX,EPOCH[|EPOCH...].
        device: "auto", "cpu" or "cuda".
        threads: of the CPU; 0 for all.
    """
    if spec.endswith(".pt"):
        import torch

        from trainer.export.export import open_backbone
        from trainer.training.device import device_kind

        place = torch.device(device_kind(device))
        yield Path(spec).stem, torch_embed(open_backbone(Path(spec))[0].to(place), place)
        return
    prefix, comma, epochs = spec.rpartition(",")
    for one in [f"{prefix},{epoch}" for epoch in epochs.split("|")] if comma else [spec]:
        embed, model_id = recognizer_embed(one, device=device, threads=threads)
        yield model_id, embed


def open_pairs(
    path: Path,
    images: Path | None,
    open_detector: Callable[[], Recognizer],
    *,
    on_progress: OnProgress,
) -> PairSet:
    """Open a `.bin`, or the photos that a pairs.txt names.

    Raises:
        DataError: if pairs.txt comes without a directory of photos.
        RecordError: if the file is damaged.
    """
    if path.suffix != ".txt":
        return read_bin(path)
    if images is None:
        raise DataError(f"{path} needs --images, the directory of the photos")
    return pairs_of_photos(
        images,
        read_pairs_txt(path),
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


def write_roc(path: Path, results: Mapping[str, Verification]) -> None:
    """Write the ROC curves of results by name, all in one plot."""
    curves = {name: roc(result.distances, result.is_same) for name, result in results.items()}
    write_picture(path, chart("TAR over FAR", curves, log_x=True))


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
