"""One set of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.data.faceset import FaceSetWriter, check_free
from trainer.data.labelled import LabelledSet, Person, Progress
from trainer.errors import DataError


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a merge.

    Attributes:
        n_identities: in the new set.
        n_images: in the new set.
        n_joined: people who are in more than one set.
        n_duplicates: images that such a person has more than once, and once in the new set.
        left_out: what is wrong with records that are not in the new set.
    """

    n_identities: int
    n_images: int
    n_joined: int
    n_duplicates: int
    left_out: tuple[str, ...]


def merge(
    sources: Sequence[LabelledSet],
    out: Path,
    *,
    replace: bool = False,
    on_progress: Progress | None = None,
) -> Merged:
    """Write one set of all people; the images stay byte for byte.

    People of one name in the `names.txt` of several sets are one person. People of a set without
    names are people of their own, and named after the set and their label.

    Args:
        sources: the sets, in the order of the new labels.
        out: directory of the new set, another one.
        replace: replace a set in `out`.
        on_progress: called with images done and in total.

    Raises:
        DataError: if the images of the sets differ in size, there are none, `out` holds a set, or
            the disk is full.
    """
    if any(source.directory.resolve() == out.resolve() for source in sources):
        raise DataError(f"{out} is one of the sets: write the new set to another directory")
    if not replace:
        check_free(out)
    first = sources[0]
    for source in sources:
        if source.size != first.size:
            raise DataError(
                f"{first.directory} has images of {_text(first.size)}, {source.directory} of "
                f"{_text(source.size)}: one set has images of one size"
            )
    people = _by_name(sources)
    total = sum(source.n_images for source in sources)
    if not total:
        raise DataError("there are no images to merge")
    n_images = n_duplicates = 0
    try:
        with FaceSetWriter(out, size=first.size, replace=replace) as writer:
            for name, parts in people.items():
                images: list[bytes] = []
                labels = []
                seen: set[bytes] = set()
                for source, person in parts:
                    n_before = len(images)
                    for record in source.records(person):
                        if record.image in seen:
                            n_duplicates += 1
                            continue
                        images.append(record.image)
                        labels.append(record.labels[1:])
                    seen.update(images[n_before:])  # only those of other sets count as twice
                writer.add(images, labels, name=name)
                n_images += len(images)
                if on_progress:
                    on_progress(n_images + n_duplicates, total)
    except OSError as error:
        raise DataError(f"cannot write to {out}: {(error.strerror or '').lower()}") from error
    joined = sum(len({id(source) for source, _ in parts}) > 1 for parts in people.values())
    left_out = tuple(line for source in sources for line in source.left_out)
    return Merged(len(people), n_images, joined, n_duplicates, left_out)


def _by_name(sources: Sequence[LabelledSet]) -> dict[str, list[tuple[LabelledSet, Person]]]:
    """Return where the images of each person are."""
    people: dict[str, list[tuple[LabelledSet, Person]]] = {}
    for source in sources:
        for person in source.people:
            if person.name:
                people.setdefault(person.name, []).append((source, person))
    for source in sources:
        for person in source.people:
            if not person.name:
                name = stem = f"{source.directory.resolve().name}-{person.label:g}"
                number = 1
                while name in people:
                    number += 1
                    name = f"{stem}-{number}"
                people[name] = [(source, person)]
    return people


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
