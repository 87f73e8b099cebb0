"""From a folder of people to a face set."""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from recognizer import ImageError, Recognizer, read_image
from trainer.data.faceset import FaceSetWriter, encode
from trainer.data.photos import PHOTO_SUFFIXES, crop_of, is_crop
from trainer.errors import DataError

WORK = ".pack"  # crops that are done, below the set's directory, until the set is written
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
    on_progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Detect, align and pack a folder of people; an interrupted run continues.

    Photos of exactly 112x112 pixels are taken for aligned crops and kept byte for byte.

    Args:
        folder: FOLDER/NAME/*.jpg.
        out: directory of the set: train.rec, train.idx, property, names.txt, rejected.json.
        open_detector: called when the first photo that is no crop comes; with several workers it
            must be picklable, and each calls it.
        min_images: people with fewer good photos are left out.
        workers: processes; few photos are done in this one.
        on_progress: called with photos done and photos in all.

    Raises:
        DataError: if nothing is left to pack, or the disk is full.
    """
    people = people_of(folder)
    work = out / WORK
    todo = [
        (str(photo), str(work / name))
        for name, photos in people.items()
        for photo in photos
        if _read_done(work / name, photo) is None
    ]
    total = sum(map(len, people.values()))
    rejected: list[Rejected] = []
    names: list[str] = []
    n_images = 0
    try:
        for done, _ in enumerate(_crop_all(todo, open_detector, workers), total - len(todo) + 1):
            if on_progress:
                on_progress(done, total)
        with FaceSetWriter(out) as writer:
            for name, photos in people.items():
                results = [(photo, _read_done(work / name, photo)) for photo in photos]
                images = [made for _, made in results if isinstance(made, bytes)]
                rejected += [Rejected(str(p), made) for p, made in results if isinstance(made, str)]
                if len(images) < min_images:
                    rejected += [
                        Rejected(str(photo), f"{name} has fewer than {min_images} good photos")
                        for photo, made in results
                        if isinstance(made, bytes)
                    ]
                elif images:
                    writer.add(images)
                    names.append(name)
                    n_images += len(images)
            if not n_images:
                raise DataError(f"no photo of {folder} shows a face")
    except OSError as error:
        raise DataError(
            f"cannot write to {out}: {error.strerror} (run again to continue)"
        ) from error
    (out / "names.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    report = [{"photo": r.photo, "reason": r.reason} for r in rejected]
    (out / "rejected.json").write_text(json.dumps(report, indent=1), "utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return Packed(len(names), n_images, tuple(names), tuple(rejected))


class _Cropper:
    """Crops photos one by one; its detector is opened for the first that is no crop."""

    def __init__(self, open_detector: Callable[[], Recognizer]) -> None:
        self._open = open_detector
        self._recognizer: Recognizer | None = None

    def __call__(self, task: tuple[str, str]) -> None:
        photo, work = Path(task[0]), Path(task[1])
        _write_done(work, photo, self._crop(photo))

    def _crop(self, photo: Path) -> bytes | str:
        """Return the encoded crop, or the reason why there is none."""
        try:
            image = read_image(photo)
        except ImageError as error:
            return str(error)
        if is_crop(image):
            is_plain = photo.suffix.lower() in (".jpg", ".jpeg", ".png")
            return photo.read_bytes() if is_plain else encode(image)
        self._recognizer = self._recognizer or self._open()
        crop = crop_of(image, self._recognizer)
        return "no face" if crop is None else encode(crop)


_cropper: _Cropper  # of a worker process: it is opened once for all its photos


def _start_worker(open_detector: Callable[[], Recognizer]) -> None:
    global _cropper
    _cropper = _Cropper(open_detector)


def _work(task: tuple[str, str]) -> None:
    _cropper(task)


def _crop_all(
    tasks: Sequence[tuple[str, str]], open_detector: Callable[[], Recognizer], workers: int
) -> Iterator[None]:
    """Crop photos into their working directories, in this process or in several."""
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


def _read_done(work: Path, photo: Path) -> bytes | str | None:
    """Return what this or an earlier, unfinished run made of a photo; None if it did not yet."""
    crop, reason = (work / f"{photo.name}.{kind}" for kind in ("crop", "reason"))
    if crop.exists():
        return crop.read_bytes()
    return reason.read_text("utf-8") if reason.exists() else None


def _write_done(work: Path, photo: Path, result: bytes | str) -> None:
    kind, data = ("reason", result.encode()) if isinstance(result, str) else ("crop", result)
    path = work / f"{photo.name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.part")
    scratch.write_bytes(data)
    scratch.replace(path)
