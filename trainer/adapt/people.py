"""The people that a network is adapted to: their aligned crops, and who is learned from."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from recognizer import Image, ImageError, Recognizer, read_image
from trainer.data.faceset import FaceSet, decode, resize_short
from trainer.data.pack import Rejected, photos_of
from trainer.data.photos import crop_of, is_crop
from trainer.errors import DataError, RecordError

HELD_OUT = 0.3  # share of the people with several photos that are measured, never learned from
CHOOSING = 0.2  # and that choose how far to go from the base
MIN_HELD_OUT, MIN_CHOOSING, MIN_LEARNED = 4, 2, 4
MIN_PEOPLE = MIN_HELD_OUT + MIN_CHOOSING + MIN_LEARNED

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Aligned crops and whom they show.

    Attributes:
        images: (N, 112, 112, 3) uint8 RGB.
        people: (N,) names.
    """

    images: Image
    people: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> list[str]:
        """The people, sorted."""
        return sorted(set(self.people.tolist()))

    def of(self, names: Collection[str]) -> "Crops":
        """Return the crops of some people."""
        chosen = np.isin(self.people, list(names))
        return Crops(self.images[chosen], self.people[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Who does what; no person is in two parts.

    Attributes:
        learned: crops that are learned from.
        choosing: crops that choose how far to go from the base.
        held_out: crops that are measured before and after.
    """

    learned: Crops
    choosing: Crops
    held_out: Crops


def read_people(
    sources: Sequence[Path],
    open_detector: Callable[[], Recognizer],
    *,
    consented: Collection[str] | None,
    on_progress: OnProgress | None = None,
) -> tuple[Crops, list[str]]:
    """Read the crops of people.

    Args:
        sources: each is a folder DIR/NAME/PHOTO of photos or 112x112 crops, a set that `pack` made,
            or an export that `facewire gallery export` made. A name in several is one person.
        open_detector: called at the first photo that is not a crop.
        consented: names of the people to read; None for all.
        on_progress: called with images done and in all, of each source.

    Returns:
        The crops, and for each image that is left out a line with the reason.

    Raises:
        DataError: if a source cannot be read, or a name of `consented` is in none of them.
    """
    images: list[Image] = []
    people: list[str] = []
    left_out: list[str] = []
    known = set[str]()
    for source in sources:
        rejected: list[Rejected] = []
        found = _crops_in(source, open_detector, consented, known, rejected, on_progress)
        for name, place, crop in found:
            if isinstance(crop, str):
                left_out.append(f"{place}: {crop}" if place not in crop else crop)
            else:
                images.append(crop)
                people.append(name)
        left_out += [f"{each.photo}: {each.reason}" for each in rejected]
    for name in sorted(consented or ()):
        if name not in known:
            raise DataError(
                f"{name!r} is in the list of people who agreed, but has no photos in "
                f"{', '.join(map(str, sources))}"
            )
    if not images:
        raise DataError(f"{', '.join(map(str, sources))}: no photo shows a face")
    return Crops(np.stack(images), np.array(people)), left_out


def read_names(path: Path) -> list[str]:
    """Read the names of people who agreed, one a line; empty lines and those with # are skipped.

    Raises:
        DataError: if the file cannot be read or names nobody.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"cannot read {path}: {(why or '').lower()}") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise DataError(f"{path} names nobody (expected one name a line)")
    return names


def split(crops: Crops, *, seed: int) -> Split:
    """Divide people by chance: about half are learned from, a fifth chooses, the rest is measured.

    People with one photo are learned from: there is no pair of photos to measure them with.

    Args:
        crops: of all.
        seed: the same gives the same people.

    Raises:
        DataError: if there are too few people.
    """
    names, counts = np.unique(crops.people, return_counts=True)
    several = names[counts > 1]
    if len(several) < MIN_PEOPLE:
        raise DataError(
            f"{len(several)} people have two photos or more, {MIN_PEOPLE} are needed: "
            "some are learned from, and others show whether it helped"
        )
    order = np.random.default_rng(seed).permutation(several).tolist()
    n_held_out = max(MIN_HELD_OUT, round(HELD_OUT * len(several)))
    n_choosing = max(MIN_CHOOSING, round(CHOOSING * len(several)))
    held_out, choosing = order[:n_held_out], order[n_held_out : n_held_out + n_choosing]
    learned = set(names.tolist()) - {*held_out, *choosing}
    return Split(crops.of(learned), crops.of(choosing), crops.of(held_out))


Found = Iterator[tuple[str, str, Image | str]]
"""Name of a person, place of an image, and its crop or the reason why there is none."""


def _crops_in(
    source: Path,
    open_detector: Callable[[], Recognizer],
    consented: Collection[str] | None,
    known: set[str],
    rejected: list[Rejected],
    on_progress: OnProgress | None,
) -> Found:
    if (source / "people.jsonl").exists():
        entries = _in_export(source)
    elif (source / "train.rec").exists():
        entries = _in_set(source)
    else:
        entries = _in_folder(source, open_detector, rejected)
    # what is not consented is not even decoded
    wanted = [e for e in entries if consented is None or e[0] in consented]
    known.update(name for name, _, _ in wanted)
    for number, (name, place, read) in enumerate(wanted, 1):
        crop: Image | str
        try:
            crop = read()
        except (ImageError, RecordError) as error:
            crop = str(error)
        yield name, place, crop
        if on_progress:
            on_progress(number, len(wanted))


Entry = tuple[str, str, Callable[[], Image | str]]


def _in_folder(
    folder: Path, open_detector: Callable[[], Recognizer], rejected: list[Rejected]
) -> list[Entry]:
    opened: list[Recognizer] = []

    def read(photo: Path) -> Image | str:
        image = read_image(photo)
        if is_crop(image):
            return image
        if not opened:
            opened.append(open_detector())
        crop = crop_of(image, opened[0])
        return "no face" if crop is None else crop

    return [
        (name, str(photo.path), lambda photo=photo: read(photo.path))  # type: ignore[misc]
        for name, photos in photos_of(folder, rejected).items()
        for photo in photos
    ]


def _in_set(directory: Path) -> list[Entry]:
    faces = FaceSet(directory)
    listed = directory / "names.txt"
    names = listed.read_text("utf-8").splitlines() if listed.exists() else []

    def entry(key: int) -> Entry:
        label = faces.label(key)
        number = -1 if label is None or label != label else int(label)
        name = names[number] if 0 <= number < len(names) else f"label {number}"
        place = f"{faces.path}, record {key}"
        return name, place, lambda: resize_short(faces.read(key)[0])

    return [entry(int(key)) for key in faces.keys]


def _in_export(directory: Path) -> list[Entry]:
    """Read people.jsonl and photos.npz, as `gallery` documents them."""
    try:
        with (directory / "people.jsonl").open(encoding="utf-8") as stream:
            people: list[dict[str, Any]] = [json.loads(line) for line in stream][1:]
        with np.load(directory / "photos.npz", allow_pickle=False) as arrays:
            ends, crops = arrays["crop_ends"].tolist(), arrays["crops"]
        names = [str(person["name"]) for person in people for _ in person["photos"]]
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise DataError(
            f"{directory} is no export, or is damaged (`facewire gallery export` makes one)"
        ) from error
    if len(names) != len(ends) or [0, *ends] != sorted([0, *ends]) or [0, *ends][-1] > len(crops):
        raise DataError(f"{directory} is damaged: photos.npz is not of people.jsonl")

    def entry(number: int, name: str) -> Entry:
        place = f"{directory}, photo {number + 1} ({name})"
        encoded = crops[ends[number - 1] if number else 0 : ends[number]].tobytes()
        if not encoded:
            return name, place, lambda: "the gallery keeps no crop of it"
        return name, place, lambda: resize_short(decode(encoded, name=place))

    return [entry(number, name) for number, name in enumerate(names)]
