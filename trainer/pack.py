"""From a folder of people to a face set."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recognizer import Image, ImageError, Recognizer, read_image
from trainer.errors import DataError
from trainer.faceset import FaceSetWriter, encode
from trainer.photos import PHOTO_SUFFIXES, crop_of, is_crop

WORK = ".pack"  # crops that are done, below the set's directory, until the set is written


@dataclass(frozen=True, slots=True)
class Rejected:
    """A photo that is not in the set, and why."""

    photo: str
    reason: str


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of a folder.

    Attributes:
        n_identities: people with at least one image.
        n_images: in the set.
        names: of the people, in the order of their labels.
        rejected: photos that are not in it.
    """

    n_identities: int
    n_images: int
    names: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def people_of(folder: Path) -> dict[str, list[Path]]:
    """Return the photos below FOLDER/NAME of every person, sorted.

    Raises:
        DataError: if there are none.
    """
    if not folder.is_dir():
        raise DataError(f"cannot find the folder {folder}")
    people = {}
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        photos = sorted(p for p in person.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        if photos and not person.name.startswith("."):
            people[person.name] = photos
    if not people:
        raise DataError(f"{folder} holds no photos (expected {folder}/NAME/*.jpg)")
    return people


def pack(
    folder: Path,
    out: Path,
    *,
    open_detector: Callable[[], Recognizer],
    min_images: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Detect, align and pack a folder of people; run again, it goes on where it stopped.

    Photos of exactly 112x112 pixels are taken for aligned crops and kept byte for byte.

    Args:
        folder: FOLDER/NAME/*.jpg.
        out: directory of the set: train.rec, train.idx, property, names.txt, rejected.json.
        open_detector: called when the first photo that is no crop comes.
        min_images: people with fewer good photos are left out.
        on_progress: told of photos done and photos in all.

    Raises:
        DataError: if nothing is left to pack, or the disk is full.
    """
    people = people_of(folder)
    total, done = sum(map(len, people.values())), 0
    work = out / WORK
    recognizer: Recognizer | None = None
    rejected: list[Rejected] = []
    names: list[str] = []
    n_images = 0
    try:
        with FaceSetWriter(out) as writer:
            for name, photos in people.items():
                images = []
                for photo in photos:
                    result = _read_done(work, name, photo)
                    if result is None:
                        image = _read(photo)
                        if not isinstance(image, str) and not is_crop(image):
                            recognizer = recognizer or open_detector()
                        result = _crop(photo, image, recognizer)
                        _write_done(work, name, photo, result)
                    if isinstance(result, str):
                        rejected.append(Rejected(str(photo), result))
                    else:
                        images.append(result)
                    done += 1
                    if on_progress:
                        on_progress(done, total)
                if len(images) < min_images:
                    rejected += [
                        Rejected(str(photo), f"{name} has fewer than {min_images} good photos")
                        for photo in photos
                    ]
                    continue
                if images:
                    writer.add(images)
                    names.append(name)
                    n_images += len(images)
            if not n_images:
                raise DataError(f"no photo of {folder} shows a face")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror} (run again to go on)") from error
    (out / "names.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    report = [{"photo": r.photo, "reason": r.reason} for r in rejected]
    (out / "rejected.json").write_text(json.dumps(report, indent=1), "utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return Packed(len(names), n_images, tuple(names), tuple(rejected))


def _read(photo: Path) -> Image | str:
    try:
        return read_image(photo)
    except ImageError as error:
        return str(error)


def _crop(photo: Path, image: Image | str, recognizer: Recognizer | None) -> bytes | str:
    """Return the encoded crop, or the reason why there is none."""
    if isinstance(image, str):
        return image
    if recognizer is None or is_crop(image):
        is_plain = photo.suffix.lower() in (".jpg", ".jpeg", ".png")
        return photo.read_bytes() if is_plain else encode(image)
    crop = crop_of(image, recognizer)
    return "no face" if crop is None else encode(crop)


def _read_done(work: Path, name: str, photo: Path) -> bytes | str | None:
    """Return what an earlier, unfinished run made of a photo."""
    base = work / name / photo.name
    crop, reason = base.with_name(f"{photo.name}.crop"), base.with_name(f"{photo.name}.reason")
    if crop.exists():
        return crop.read_bytes()
    return reason.read_text("utf-8") if reason.exists() else None


def _write_done(work: Path, name: str, photo: Path, result: bytes | str) -> None:
    kind, data = ("reason", result.encode()) if isinstance(result, str) else ("crop", result)
    path = work / name / f"{photo.name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    scratch.write_bytes(data)
    scratch.replace(path)
