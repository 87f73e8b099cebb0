"""How fast a network trains here, how fast faces are read, and what the index of a set takes."""

import multiprocessing
import os
import queue
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recognizer.cache import CACHE_VARIABLE
from trainer.backbones import BACKBONES, build_backbone
from trainer.data.faceset import FaceSet
from trainer.data.framing import encode_parts
from trainer.data.loader import Augmentation, Plan, Positions, batches
from trainer.data.recordio import Record, pack_record
from trainer.errors import DataError
from trainer.floor import Peaks, floor_s
from trainer.heads.classification import MARGINS, MarginHead
from trainer.training.layout import step_of

CLASSES = 1000  # of the head: its share of the time is small, as for most sets
CLOCK_STEP = 1e-9  # seconds: lower bound of a measured time

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a network is run."""

    precision: str
    channels_last: bool


NO_PEAKS: Mapping[str, Peaks] = MappingProxyType({})
SETTINGS = tuple(Setting(p, last) for p in ("f32", "bf16") for last in (False, True))


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second, forward and backward, the optimizer's step left out.

    Attributes:
        backbone: name.
        batch: images.
        precision: f32 or bf16.
        channels_last: memory layout.
        images_per_s: by the wall clock, median over the runs.
        images_per_cpu_s: by processor time of all threads, median over the runs: what a thread
            does where nothing else runs. 0 on a GPU.
        floor_per_cpu_s: the most that the processor's measured peak and bandwidth allow of
            images_per_cpu_s; see trainer/floor.py. 0 without peaks.
        times_floor: how many times longer than that it takes. 0 without peaks.
    """

    backbone: str
    batch: int
    precision: str
    channels_last: bool
    images_per_s: float
    images_per_cpu_s: float
    floor_per_cpu_s: float = 0.0
    times_floor: float = 0.0


def measure(
    name: str,
    *,
    batch: int,
    device: torch.device,
    clock: Clock,
    cpu_clock: Clock,
    settings: Sequence[Setting] = SETTINGS,
    peaks: Mapping[str, Peaks] = NO_PEAKS,
    runs: int = 5,
) -> list[Speed]:
    """Time forward and backward on random pixels, the settings by turns after one run to warm up.

    Settings take turns, so that a passing load affects all of them equally.

    Args:
        name: of the backbone.
        batch: images.
        device: where.
        clock: seconds of the wall.
        cpu_clock: seconds of the processor, all threads together.
        settings: to be compared.
        peaks: of the processor by precision, for the floor; empty to do without.
        runs: of each setting.
    """
    steps = [_step_of(name, batch, setting, device) for setting in settings]
    walls: list[list[float]] = [[] for _ in settings]
    cpus: list[list[float]] = [[] for _ in settings]
    for run in range(runs + 1):
        for step, wall, cpu in zip(steps, walls, cpus, strict=True):
            start, cpu_start = clock(), cpu_clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if run:
                wall.append(max(clock() - start, CLOCK_STEP))
                cpu.append(max(cpu_clock() - cpu_start, CLOCK_STEP))
    on_cpu = device.type == "cpu"
    found = []
    for setting, wall, cpu in zip(settings, walls, cpus, strict=True):
        speed = Speed(
            name,
            batch,
            setting.precision,
            setting.channels_last,
            batch / statistics.median(wall),
            batch / statistics.median(cpu) if on_cpu else 0.0,
        )
        if on_cpu and setting.precision in peaks:
            limits = peaks[setting.precision]
            least = floor_s(build_backbone(name), batch, setting.precision, limits)
            times = batch / speed.images_per_cpu_s / least
            speed = replace(speed, floor_per_cpu_s=batch / least, times_floor=times)
        found.append(speed)
    return found


def _step_of(name: str, batch: int, setting: Setting, device: torch.device) -> Callable[[], None]:
    head = MarginHead(
        CLASSES, BACKBONES[name].size, MARGINS["arcface"], generator=torch.Generator()
    ).to(device)
    labels = torch.randint(0, CLASSES, (batch,), device=device)

    def loss(embeddings: Tensor) -> Tensor:
        for parameter in head.parameters():
            parameter.grad = None
        return head(embeddings, labels).loss

    return step_of(
        build_backbone(name),
        batch,
        setting.precision,
        channels_last=setting.channels_last,
        device=device,
        head=loss,
    )


@dataclass(frozen=True, slots=True)
class Loading:
    """Images a second read, decoded, changed and batched in one process.

    Attributes:
        change: what was done to the images.
        images_per_s: by the wall clock.
        images_per_cpu_s: by processor time: what one core does.
    """

    change: str
    images_per_s: float
    images_per_cpu_s: float


CHANGES = {
    "mirror": Augmentation(mirror=True, color=0, cutoff=0),
    "mirror, colors": Augmentation(mirror=True, color=1, cutoff=0),
    "mirror, colors, JPEG again, cutoff": Augmentation(mirror=True, color=2, cutoff=32),
}


def measure_loading(
    faces: FaceSet, change: str, *, clock: Clock, cpu_clock: Clock, n_images: int = 2000
) -> Loading:
    """Read so many images in shuffled order; `change` is a key of CHANGES."""
    source = batches(faces, Plan(len(faces), min(64, len(faces)), seed=0), CHANGES[change])
    next(source)
    start, cpu_start, done = clock(), cpu_clock(), 0
    while done < n_images:
        done += len(next(source)[0])
    wall, cpu = max(clock() - start, CLOCK_STEP), max(cpu_clock() - cpu_start, CLOCK_STEP)
    return Loading(change, done / wall, done / cpu)


@dataclass(frozen=True, slots=True)
class Indexing:
    """What opening a large set takes.

    Attributes:
        images: in the set.
        processes: that had it open at the same time: ranks and their loaders' workers.
        first_open_s: seconds of the wall to open it for the first time.
        open_s: seconds to open it again, median over the ranks.
        memory_mb: megabytes that all processes together take more than for a small set.
    """

    images: int
    processes: int
    first_open_s: float
    open_s: float
    memory_mb: float


RANKS, WORKERS = 2, 2  # processes that hold an index; workers of each
HOLD_S = 600.0  # seconds until a process that waits for the others gives up
STRIDE = 5000  # bytes of a record: a set of millions is larger than 4 GiB
IMAGES_PER_IDENTITY = 68  # as in MS1M


def measure_index(n_images: int, *, clock: Clock) -> Indexing:
    """Open a set of so many images, whose records are left empty, in several processes at once."""
    cache = os.environ.get(CACHE_VARIABLE)
    with TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = str(Path(folder) / "cache")  # the user's stays as it is
        try:
            small, large = Path(folder) / "small", Path(folder) / "large"
            _write_empty_set(small, RANKS)
            _write_empty_set(large, n_images)
            _, least = _hold_index(small)
            start = clock()
            FaceSet(large)
            first = clock() - start
            seconds, most = _hold_index(large)
        finally:
            del os.environ[CACHE_VARIABLE]
            if cache is not None:
                os.environ[CACHE_VARIABLE] = cache
    return Indexing(
        n_images, RANKS * (1 + WORKERS), first, statistics.median(seconds), (most - least) / 1e6
    )


def _write_empty_set(folder: Path, n_images: int) -> None:
    """Write a set with identity records and an index, and holes instead of images."""
    folder.mkdir()
    (folder / "property").write_text("100,112,112\n", "ascii")
    starts = np.arange(1, n_images + 1, IMAGES_PER_IDENTITY)
    ends = np.append(starts[1:], n_images + 1)
    end = n_images + 1 + len(starts)
    with (folder / "train.rec").open("wb") as rec, (folder / "train.idx").open("w") as idx:
        for key in range(1, n_images + 1):
            idx.write(f"{key}\t{(key - 1) * STRIDE}\n")
        rec.seek(n_images * STRIDE)
        for key, labels in enumerate(zip(starts, ends, strict=True), n_images + 1):
            idx.write(f"{key}\t{rec.tell()}\n")
            rec.write(
                encode_parts(
                    pack_record(Record(tuple(map(float, labels)), key, b"", is_vector=True))
                )
            )
        idx.write(f"0\t{rec.tell()}\n")
        rec.write(encode_parts(pack_record(Record((n_images + 1, end), 0, b"", is_vector=True))))


def _hold_index(folder: Path) -> tuple[list[float], int]:
    """Open a set in several processes at once.

    Returns:
        The seconds that each rank needs, and the bytes of memory of all together.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RANKS * (1 + WORKERS))
    found = context.Queue()
    ranks = [
        context.Process(target=_be_rank, args=(folder, rank, barrier, found))
        for rank in range(RANKS)
    ]
    for process in ranks:
        process.start()
    rows: list[tuple[float, int]] = []
    while len(rows) < RANKS * (1 + WORKERS):
        try:
            rows.append(found.get(timeout=1))
        except queue.Empty:
            if any(process.exitcode for process in ranks):
                barrier.abort()  # the others need not wait
                raise DataError("a process that opened the set failed") from None
    for process in ranks:
        process.join()
    return [s for s, _ in rows if s], sum(n for _, n in rows)


def _be_rank(folder: Path, rank: int, barrier: Any, found: Any) -> None:
    start = time.perf_counter()
    faces = FaceSet(folder)
    seconds = time.perf_counter() - start
    order = iter(Positions(Plan(len(faces), 1, 0, rank, RANKS), 0))
    next(order)  # the images of an epoch in their order
    fork = multiprocessing.get_context("fork")
    workers = [
        fork.Process(target=_look_up, args=(faces, 0.0, barrier, found)) for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    _look_up(faces, seconds, barrier, found)
    for worker in workers:
        worker.join()


def _look_up(faces: FaceSet, seconds: float, barrier: Any, found: Any) -> None:
    for place in range(0, len(faces), 97):  # every page of the index
        faces.reader.offsets[faces.keys[place]]
    barrier.wait(HOLD_S)
    rollup = Path("/proc/self/smaps_rollup").read_text("ascii")  # pages shared with n: 1/n of each
    (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
    barrier.wait(HOLD_S)  # nobody ends before all have looked
    found.put((seconds, 1024 * int(line.split()[1])))
