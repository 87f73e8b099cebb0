#!/usr/bin/env python
"""Measures how many photos of a person's folder are enrolled, and how many by a wrong face.

Usage: scripts/enroll_folders.py DIR [BYSTANDERS] [--seed N] [--people N]

DIR/NAME/PHOTO.jpg has at least four photos a person, each of one face. Of these and of faces of
other people (BYSTANDERS/NAME/PHOTO.jpg, else the others in DIR) group photos of two to six people
are composed, whose truth is known: a folder for each person, enrolled into an empty gallery.

  mixed      two photos in five of the person alone, the others of groups
  groups     groups only
  companion  groups only, one other person is in half of them
  strangers  as mixed, and three groups more without the person

taken: the person's face was enrolled; wrong: another face was; refused: none was.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gallery import Gallery
from recognizer import Recognizer, open_recognizer, read_image
from stream.enrollment.enrollment import EnrolItem, Enrolled, enroll_images, upload_item
from stream.enrollment.photo_checks import EnrolLimits, choose_face

KINDS = ("mixed", "groups", "companion", "strangers")
LEAST = 4
Image = NDArray[np.uint8]
Face = tuple[Image, NDArray[np.float32]]  # a photo, and the embedding of its face


def main() -> None:
    """Print a line for each kind of folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("bystanders", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=1_000)
    options = parser.parse_args()
    recognizer = open_recognizer()
    everybody = read_faces(recognizer, options.directory)
    people = {name: faces for name, faces in everybody.items() if len(faces) >= LEAST}
    if options.bystanders is not None:
        everybody |= read_faces(recognizer, options.bystanders)
    print("kind       photos  taken  wrong  refused")
    for kind in KINDS:
        counts = Counter[str]()
        for number, name in enumerate(list(people)[: options.people]):
            rng = np.random.default_rng([options.seed, number])
            others = [faces for other, faces in everybody.items() if other != name]
            counts += measure(recognizer, kind, people[name], others, rng)
        print(
            f"{kind:<10} {counts.total():>6} "
            + "  ".join(f"{counts[what]:>5}" for what in ("taken", "wrong", "refused"))
            + f"   {counts['taken'] / max(counts.total() - counts['left out'], 1):.1%} taken,"
            f" {counts['left out']} groups without the person left out"
        )


def read_faces(recognizer: Recognizer, directory: Path) -> dict[str, list[Face]]:
    """Return the usable photos of each person."""
    people: dict[str, list[Face]] = {}
    for path in sorted(directory.glob("*/*")):
        image = read_image(path)
        (found,) = recognizer.detect([image])
        crops, qualities = recognizer.align_and_judge(image, found)
        height, width = image.shape[:2]
        chosen = choose_face(found, qualities, (height, width), EnrolLimits(), force=False)
        if isinstance(chosen, int):
            embedding = recognizer.embed(crops[chosen : chosen + 1])[0]
            people.setdefault(path.parent.name, []).append((image, embedding))
    return people


def measure(
    recognizer: Recognizer,
    kind: str,
    own: Sequence[Face],
    others: Sequence[Sequence[Face]],
    rng: np.random.Generator,
) -> Counter[str]:
    """Return what became of the photos of one folder."""
    items, truths = [], []
    for number, (photo, own_one) in enumerate(_folder(kind, own, others, rng)):
        jpeg = cv2.imencode(".jpg", photo[:, :, ::-1])[1].tobytes()
        items.append(upload_item(str(number), "Somebody", jpeg))
        truths.append(own_one)
    counts = Counter[str]()
    for truth, taken in zip(truths, _enrolled(recognizer, items), strict=True):
        if taken is None:
            counts["left out" if truth is None else "refused"] += 1
        elif truth is not None and float(taken @ truth) > 0.8:  # the same face, of the same photo
            counts["taken"] += 1
        else:
            counts["wrong"] += 1
    return counts


def _enrolled(
    recognizer: Recognizer, items: Sequence[EnrolItem]
) -> Iterator[NDArray[np.float32] | None]:
    """Yield the enrolled embedding of each photo, None for a refused one."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Gallery.open(
            Path(directory),
            model_id=recognizer.model_id,
            embedding_size=recognizer.embedding_size,
        ) as gallery,
    ):
        report = enroll_images(recognizer, gallery, items)
        held = iter(gallery.photos.embeddings("Somebody"))
        for outcome in report.outcomes:
            yield next(held) if isinstance(outcome, Enrolled) else None


def _folder(
    kind: str, own: Sequence[Face], others: Sequence[Sequence[Face]], rng: np.random.Generator
) -> Iterator[tuple[Image, NDArray[np.float32] | None]]:
    """Yield each photo of a folder with the embedding of the person's face in it."""
    n_alone = len(own) * 2 // 5 if kind in ("mixed", "strangers") else 0
    order = rng.permutation(len(own))
    companion = max(others, key=len) if kind == "companion" else ()
    for number, index in enumerate(order):
        face = own[index]
        if number < n_alone:
            yield face
            continue
        beside = _some(others, int(rng.integers(1, 6)), rng)
        if companion and number % 2:
            beside[0] = companion[number % len(companion)][0]
        yield group([face[0], *beside], rng), face[1]
    for _ in range(3 if kind == "strangers" else 0):
        yield group(_some(others, int(rng.integers(2, 6)), rng), rng), None


def _some(others: Sequence[Sequence[Face]], n: int, rng: np.random.Generator) -> list[Image]:
    chosen = rng.choice(len(others), n, replace=False)
    return [others[i][int(rng.integers(len(others[i])))][0] for i in chosen]


def group(photos: Sequence[Image], rng: np.random.Generator) -> Image:
    """Return photos side by side in random order, each scaled by 0.7 to 1.3, in up to two rows."""
    tiles = []
    for index in rng.permutation(len(photos)):
        side = int(250 * rng.uniform(0.7, 1.3))
        small = cv2.resize(photos[index], (side, side), interpolation=cv2.INTER_AREA)
        tiles.append(cv2.copyMakeBorder(small, 325 - side, 0, 0, 325 - side, cv2.BORDER_REPLICATE))
    per_row = 3 if len(tiles) > 3 else len(tiles)
    while len(tiles) % per_row:
        tiles.append(np.full((325, 325, 3), 127, np.uint8))
    rows = [np.hstack(tiles[i : i + per_row]) for i in range(0, len(tiles), per_row)]
    return np.asarray(np.vstack(rows), np.uint8)


if __name__ == "__main__":
    main()
