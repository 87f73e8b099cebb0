"""From a folder of people to a face set."""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from recognizer import ImageError, Recognizer, read_image
from trainer.data.faceset import FaceSetWriter, check_free, encode
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
    workers: int = 1,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Detect, align and pack a folder of people; an interrupted run continues.

    Photos of exactly 112x112 pixels are treated as aligned crops and stored byte for byte.

    Args:
        folder: FOLDER/NAME/*.jpg.
        out: directory of the set: train.rec, train.idx, property, names.txt, rejected.json.
        open_detector: called at the first photo that is not a crop; with several workers it must be
            picklable, and each calls it.
        min_images: people with fewer good photos are left out.
        workers: number of processes; few photos are processed in this one.
        replace: replace a set in `out`, once the new one is complete.
        on_progress: called with photos done and photos in all.

    Raises:
        DataError: if `out` holds a set, nothing is left to pack, or the disk is full.
    """
    if not replace:
        check_free(out)
    people = people_of(folder)
    work = out / WORK
    todo = [(str(photo), str(work)) for photos in people.values() for photo in photos]
    rejected: list[Rejected] = []
    names: list[str] = []
    n_images = 0
    try:
        done = []
        for path in _crop_all(todo, open_detector, workers):
            done.append(path)
            if on_progress:
                on_progress(len(done), len(todo))
        made = iter(done)
        with FaceSetWriter(out, replace=replace) as writer:
            for name, photos in people.items():
                results = [(photo, _read_done(next(made))) for photo in photos]
                images = [crop for _, crop in results if isinstance(crop, bytes)]
                rejected += [Rejected(str(p), crop) for p, crop in results if isinstance(crop, str)]
                if len(images) < min_images:
                    rejected += [
                        Rejected(str(photo), f"{name} has fewer than {min_images} good photos")
                        for photo, crop in results
                        if isinstance(crop, bytes)
                    ]
                elif images:
                    writer.add(images)
                    names.append(name)
                    n_images += len(images)
            if not n_images:
                raise DataError(f"no photo of {folder} shows a face")
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {(error.strerror or '').lower()} (run again to continue)"
        ) from error
    (out / "names.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    report = [{"photo": r.photo, "reason": r.reason} for r in rejected]
    (out / "rejected.json").write_text(json.dumps(report, indent=1), "utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return Packed(len(names), n_images, tuple(names), tuple(rejected))


class _Cropper:
    """Crops photos one by one; opens its detector at the first photo that is not a crop."""

    def __init__(self, open_detector: Callable[[], Recognizer]) -> None:
        self._open = open_detector
        self._recognizer: Recognizer | None = None

    def __call__(self, task: tuple[str, str]) -> Path:
        """Crop a photo, unless it was done before; returns the file of the result."""
        photo, work = Path(task[0]), Path(task[1])
        try:
            content = photo.read_bytes()
        except OSError as error:
            return _write_done(work / _digest(os.fsencode(photo)), f"cannot read: {error.strerror}")
        # by content: a folder that changed meanwhile, or another one, gets none of its crops
        stem = work / _digest(photo.suffix.lower().encode(), content)
        for kind in (CROP, REASON):
            if (path := stem.with_suffix(kind)).exists():
                return path
        return _write_done(stem, self._crop(photo, content))

    def _crop(self, photo: Path, content: bytes) -> bytes | str:
        """Return the encoded crop, or the reason why there is none."""
        try:
            image = read_image(photo)
        except ImageError as error:
            return str(error)
        if is_crop(image):
            is_plain = photo.suffix.lower() in (".jpg", ".jpeg", ".png")
            return content if is_plain else encode(image)
        self._recognizer = self._recognizer or self._open()
        crop = crop_of(image, self._recognizer)
        return "no face" if crop is None else encode(crop)


_cropper: _Cropper  # of a worker process: it is opened once for all its photos


def _start_worker(open_detector: Callable[[], Recognizer]) -> None:
    global _cropper
    _cropper = _Cropper(open_detector)


def _work(task: tuple[str, str]) -> Path:
    return _cropper(task)


def _crop_all(
    tasks: Sequence[tuple[str, str]], open_detector: Callable[[], Recognizer], workers: int
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


def _read_done(path: Path) -> bytes | str:
    """Return the crop of a photo, or the reason why there is none."""
    return path.read_bytes() if path.suffix == CROP else path.read_text("utf-8")


def _write_done(stem: Path, result: bytes | str) -> Path:
    kind, data = (REASON, result.encode()) if isinstance(result, str) else (CROP, result)
    path = stem.with_suffix(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.part")  # two photos may have one content
    scratch.write_bytes(data)
    scratch.replace(path)
    return path
