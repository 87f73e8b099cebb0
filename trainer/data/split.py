"""A set divided into one to train on and one to measure with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.data.faceset import FaceSetWriter, check_free
from trainer.data.labelled import LabelledSet, Progress
from trainer.errors import DataError


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two sets.

    Attributes:
        n_identities: people in it.
        n_images: images in it.
    """

    n_identities: int
    n_images: int


def split(
    source: LabelledSet,
    train: Path,
    held_out: Path,
    *,
    people: float = 0.0,
    images: int = 0,
    seed: int = 0,
    replace: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Part, Part]:
    """Divide a set; every image goes to one of two sets, byte for byte.

    Args:
        source: the set.
        train: directory of the first part.
        held_out: directory of the second part.
        people: number of people held out with all their images; below 1 their share.
        images: instead of people: number of images held out of each person; people with no more
            images than that stay in the first part.
        seed: of the choice.
        replace: replace sets in both directories.
        on_progress: called with images done and in total.

    Raises:
        DataError: if a part would be empty, a directory holds a set, or the disk is full.
    """
    if len({path.resolve() for path in (source.directory, train, held_out)}) < 3:
        raise DataError(f"the two parts of {source.directory} need two other directories")
    if not replace:
        check_free(train)
        check_free(held_out)
    rng = np.random.default_rng(seed)
    n_people = len(source.people)
    n_chosen = max(round(people * n_people), 1) if people < 1 else round(people)
    if not images and n_chosen >= n_people:
        raise DataError(f"{n_chosen} of {n_people} people held out leave nobody to train on")
    chosen = set(rng.permutation(n_people)[:n_chosen].tolist())
    parts = {True: Part(0, 0), False: Part(0, 0)}
    done = 0
    try:
        with (
            FaceSetWriter(train, size=source.size, replace=replace) as first,
            FaceSetWriter(held_out, size=source.size, replace=replace) as second,
        ):
            for place, person in enumerate(source.people):
                records = list(source.records(person))
                if images:
                    n_held = images if len(records) > images else 0
                    held = set(rng.permutation(len(records))[:n_held].tolist())
                else:
                    held = set(range(len(records))) if place in chosen else set()
                for is_held, writer in ((False, first), (True, second)):
                    some = [r for i, r in enumerate(records) if (i in held) == is_held]
                    writer.add(
                        [r.image for r in some], [r.labels[1:] for r in some], name=person.name
                    )
                    part = parts[is_held]
                    parts[is_held] = Part(part.n_identities + bool(some), part.n_images + len(some))
                done += len(records)
                if on_progress:
                    on_progress(done, source.n_images)
            if not parts[True].n_images:
                raise DataError(f"nobody in {source.directory} has more than {images} images")
            # both are written before the first is put in place
            first.complete()
            second.complete()
    except OSError as error:
        raise DataError(
            f"cannot write to {train} or {held_out}: {(error.strerror or '').lower()}"
        ) from error
    return parts[False], parts[True]
