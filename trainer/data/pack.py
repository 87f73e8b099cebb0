"""From photos of people to a face set."""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recognizer import ImageError, Recognizer, read_image
from recognizer.geometry.alignment import align
from trainer.data.faceset import (
    REJECTED,
    FaceSetWriter,
    check_free,
    check_there,
    encode,
    resize_short,
)
from trainer.data.labelled import LabelledSet
from trainer.data.photo_list import Photo, around, read_photo_list
from trainer.data.photos import PHOTO_SUFFIXES, crop_of, is_crop
from trainer.errors import DataError

WORK = ".pack"  # crops that are done, below the set's directory, until the set is written
CROP, REASON = ".crop", ".reason"  # what a photo became, by the digest of its content
PHOTOS_PER_WORKER = 16  # a process takes seconds to start, a photo some tens of milliseconds


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
    people = {}
    for person in _folders(folder):
        photos = sorted(p for p in person.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        if photos:
            people[person.name] = photos
    if not people:
        raise DataError(f"{folder} holds no photos (expected {folder}/NAME/*.jpg)")
    return people


def photos_of(folder: Path, rejected: list[Rejected]) -> dict[str, list[Photo]]:
    """Return the files below FOLDER/NAME of every person, sorted; adds what is no one's photo.

    Raises:
        DataError: if there are none.
    """
    people_of(folder)
    people = {}
    for person in _folders(folder):
        files = sorted(p for p in person.iterdir() if p.is_file() and not p.name.startswith("."))
        if files:
            people[person.name] = [Photo(path) for path in files]
        else:
            rejected.append(Rejected(str(person), f"no photos (expected {person}/*.jpg)"))
    rejected += [
        Rejected(str(path), f"in no person's folder (expected {folder}/NAME/{path.name})")
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()
    ]
    return people


def _folders(folder: Path) -> list[Path]:
    """Return the folders of people: not those that cameras, archives and file servers add.

    Raises:
        DataError: if there is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"cannot find the folder {folder}")
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "@")) and path.name != "__MACOSX"
    )


def pack(
    folder: Path,
    out: Path,
    *,
    open_detector: Callable[[], Recognizer],
    min_images: int = 1,
    workers: int = 1,
    replace: bool = False,
    append: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Detect, align and pack photos of people; an interrupted run continues.

    Photos of exactly 112x112 pixels are treated as aligned crops and stored byte for byte.

    Args:
        folder: FOLDER/NAME/*.jpg, or a list of photos, see `read_photo_list`.
        out: directory of the set: train.rec, train.idx, property, names.txt, rejected.json.
        open_detector: called at the first photo that is not a crop; with several workers it must be
            picklable, and each calls it.
        min_images: people with fewer good photos are left out.
        workers: number of processes; few photos are processed in this one.
        replace: replace a set in `out`, once the new one is complete.
        append: add to the set in `out`. Photos of a person in its `names.txt` become that person's,
            except those that are in the set already; others follow as new people.
        on_progress: called with photos done and photos in all.

    Raises:
        DataError: if `out` holds a set that is neither to be replaced nor appended to, nothing is
            left to pack, or the disk is full.
        RecordError: if there is no set to append to, or it cannot be read.
    """
    if append and replace:
        raise DataError("--append keeps the set and --replace does not: use one of them")
    if append:
        check_there(out)
    elif not replace:
        check_free(out)
    rejected: list[Rejected] = []
    people = read_photo_list(folder) if folder.is_file() else photos_of(folder, rejected)
    work = out / WORK
    todo = [(photo, str(work)) for photos in people.values() for photo in photos]
    names: list[str] = []
    n_images = 0
    try:
        with FaceSetWriter(out, replace=replace or append) as writer:
            old = LabelledSet(out) if append else None
            if old:
                old.need_names(f"append to {out}")  # before any work
            done = []
            for path in _crop_all(todo, open_detector, workers):
                done.append(path)
                if on_progress:
                    on_progress(len(done), len(todo))
            made = iter(done)
            results = {name: [(p, next(made)) for p in photos] for name, photos in people.items()}
            if old:
                n_images += _copy_old(old, writer, results, names, rejected)
            for name, photos in results.items():
                images, labels = _good(photos, rejected)
                if len(images) < min_images:
                    reason = f"{name} has fewer than {min_images} good photos"
                    rejected += [
                        Rejected(str(photo.path), reason)
                        for photo, path in photos
                        if path.suffix == CROP
                    ]
                elif images:
                    writer.add(images, labels, name=name)
                    names.append(name)
                    n_images += len(images)
            if not n_images:
                raise DataError(f"no photo of {folder} shows a face")
            report = [{"photo": r.photo, "reason": r.reason} for r in rejected]
            writer.attach(REJECTED, json.dumps(report, indent=1))
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {(error.strerror or '').lower()} (run again to continue)"
        ) from error
    shutil.rmtree(work, ignore_errors=True)
    return Packed(len(names), n_images, tuple(names), tuple(rejected))


def _good(
    photos: Iterable[tuple[Photo, Path]], rejected: list[Rejected]
) -> tuple[list[bytes], list[tuple[float, ...]]]:
    """Return the crops of a person and their further labels; adds the photos without a crop."""
    images, labels = [], []
    for photo, path in photos:
        if path.suffix == CROP:
            images.append(path.read_bytes())
            labels.append(photo.labels)
        else:
            rejected.append(Rejected(str(photo.path), path.read_text("utf-8")))
    return images, labels


def _copy_old(
    old: LabelledSet,
    writer: FaceSetWriter,
    results: dict[str, list[tuple[Photo, Path]]],
    names: list[str],
    rejected: list[Rejected],
) -> int:
    """Write the people of a set with the new photos of each, which are taken out of `results`.

    Returns:
        The number of images written.
    """
    n_images = 0
    writer.size = old.size
    rejected += [Rejected(str(old.path), line) for line in old.left_out]
    for person in old.people:
        records = list(old.records(person))
        images, labels = [r.image for r in records], [r.labels[1:] for r in records]
        there = set(images)
        more = zip(*_good(results.pop(person.name, []), rejected), strict=True)
        for image, extra in more:
            if image not in there:
                images.append(image)
                labels.append(extra)
        writer.add(images, labels, name=person.name)
        names.append(person.name)
        n_images += len(images)
    return n_images


class _Cropper:
    """Crops photos one by one; opens its detector at the first photo that is not a crop."""

    def __init__(self, open_detector: Callable[[], Recognizer]) -> None:
        self._open = open_detector
        self._recognizer: Recognizer | None = None

    def __call__(self, task: tuple[Photo, str]) -> Path:
        """Crop a photo, unless it was done before; returns the file of the result."""
        photo, work = task[0], Path(task[1])
        try:
            content = photo.path.read_bytes()
        except OSError as error:
            reason = f"cannot read: {(error.strerror or '').lower()}"
            return _write_done(work / _digest(os.fsencode(photo.path)), reason)
        # by content: a folder that changed meanwhile, or another one, gets none of its crops
        place = repr((photo.path.suffix.lower(), photo.box, photo.landmarks, photo.is_aligned))
        stem = work / _digest(place.encode(), content)
        for kind in (CROP, REASON):
            if (path := stem.with_suffix(kind)).exists():
                return path
        return _write_done(stem, self._crop(photo, content))

    def _crop(self, photo: Photo, content: bytes) -> bytes | str:
        """Return the encoded crop, or the reason why there is none."""
        try:
            image = read_image(photo.path)
        except ImageError as error:
            return str(error)
        if is_crop(image):
            is_plain = photo.path.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
            return content if is_plain else encode(image)
        if photo.is_aligned:
            return encode(resize_short(image))
        if photo.landmarks:
            landmarks = np.array(photo.landmarks, np.float32).reshape(1, 5, 2)
            return encode(align(image, landmarks)[0])
        image = around(image, photo.box) if photo.box else image
        if not image.size:
            return "the box is outside of the image"
        self._recognizer = self._recognizer or self._open()
        crop = crop_of(image, self._recognizer)
        return "no face" if crop is None else encode(crop)


_cropper: _Cropper  # of a worker process: it is opened once for all its photos


def _start_worker(open_detector: Callable[[], Recognizer]) -> None:
    global _cropper
    _cropper = _Cropper(open_detector)


def _work(task: tuple[Photo, str]) -> Path:
    return _cropper(task)


def _crop_all(
    tasks: Sequence[tuple[Photo, str]], open_detector: Callable[[], Recognizer], workers: int
) -> Iterator[Path]:
    """Crop photos, in this process or in several; yields the files of the results in order."""
    workers = min(workers, -(-len(tasks) // PHOTOS_PER_WORKER))
    if workers < 2:
        yield from map(_Cropper(open_detector), tasks)
        return
    # spawned: a forked process would share the engine's threads, which it has not
    with ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(open_detector,),
    ) as pool:
        try:
            yield from pool.map(_work, tasks, chunksize=4)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, perhaps of too little memory: run again to continue, "
                "with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _write_done(stem: Path, result: bytes | str) -> Path:
    kind, data = (REASON, result.encode()) if isinstance(result, str) else (CROP, result)
    path = stem.with_suffix(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.part")  # two photos may have one content
    scratch.write_bytes(data)
    scratch.replace(path)
    return path
