"""Measure how long recognition pauses while other processes write the gallery.

scripts/gallery_lock.py --json

The whole service runs on the demo camera. The longest time between two recognized frames is
measured: without other processes, while another process holds the gallery's write lock and people
are added and renamed through the service, and while `facewire gallery import` adds many people in
another process.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gallery import GalleryBusyError
from gallery.exchange import FORMAT, PEOPLE, PHOTOS, VERSION
from stream.config import load_config
from stream.service import Service

POLL_S = 0.002
WARM_UP_TICKS = 50
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True, slots=True)
class Pause:
    """Figures of recognition during an activity.

    Attributes:
        during: the activity.
        seconds: its duration.
        ticks: number of recognized batches of frames.
        longest_s: the longest time between two of them, seconds.
        refused: writes of this service that were refused because the gallery was busy.
    """

    during: str
    seconds: float
    ticks: int
    longest_s: float
    refused: int = 0


class TickWatch:
    """Records the longest time between two ticks, in a separate thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopping = threading.Event()
        self.longest_s = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._started = time.monotonic()
        self._ticks = service.inference.ticks
        self._thread.start()

    def end(self, during: str, refused: int = 0) -> Pause:
        """Stop watching and return the figures."""
        self._stopping.set()
        self._thread.join()
        seconds = time.monotonic() - self._started
        ticks = self._service.inference.ticks - self._ticks
        return Pause(during, round(seconds, 2), ticks, round(self.longest_s, 3), refused)

    def _watch(self) -> None:
        last, at = self._service.inference.ticks, time.monotonic()
        while not self._stopping.wait(POLL_S):
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - at)
            if (ticks := self._service.inference.ticks) != last:
                last, at = ticks, now


def main() -> None:
    """Run the service and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long the lock is held")
    parser.add_argument("--people", type=int, default=30_000, help="how many are imported")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FACEWIRE_DATA"] = str(Path(scratch, "data"))
        pauses = asyncio.run(measure(Path(scratch, "export"), options.seconds, options.people))
    if options.json:
        sys.stdout.write(
            json.dumps([{name: getattr(p, name) for name in Pause.__slots__} for p in pauses])
            + "\n"
        )
        return
    for pause in pauses:
        sys.stdout.write(
            f"{pause.during}: {pause.ticks} ticks in {pause.seconds} s, longest pause "
            f"{pause.longest_s} s, {pause.refused} writes refused as busy\n"
        )


async def measure(export: Path, seconds: float, n_people: int) -> list[Pause]:
    """Run the service on the demo camera and return each pause."""
    async with Service.open(load_config()) as service:
        path = Path(service.gallery.store.place, "gallery.sqlite3")
        write_export(export, service, n_people)
        while service.inference.ticks < WARM_UP_TICKS:
            await asyncio.sleep(0.1)
        pauses = [await watched(service, "nothing else", asyncio.sleep(seconds))]
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLD, str(path), str(seconds), stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        await holder.stdout.readline()
        pauses.append(await watched(service, "another process holds the lock", holder.wait()))
        command = str(Path(sys.executable).with_name("facewire"))
        importer = await asyncio.create_subprocess_exec(
            command, "gallery", "import", str(export), "--gallery", str(path.parent),
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        pauses.append(
            await watched(service, f"{n_people} people are imported", importer.wait(), settle_s=2)
        )
        assert importer.returncode == 0
        assert len(service.gallery) >= n_people, "the import was not seen"
        return pauses


async def watched(
    service: Service, during: str, work: Awaitable[object], settle_s: float = 0.0
) -> Pause:
    """Return the figures during an activity, with people renamed continuously."""
    ended = asyncio.Event()
    watch = TickWatch(service)
    renaming = asyncio.create_task(rename_people(service, ended.is_set))
    await work
    await asyncio.sleep(settle_s)
    ended.set()
    return watch.end(during, await renaming)


async def rename_people(service: Service, is_ended: Callable[[], bool]) -> int:
    """Rename a person and list people, repeatedly; return the number of refused writes."""
    refused = number = 0
    first = (await service.gallery_worker.read(service.gallery.people.summaries))[0].identity
    while not is_ended():
        number += 1
        try:
            await service.gallery_worker.write(
                service.gallery.people.rename, first.identity_id, f"{first.name} {number % 2}"
            )
        except GalleryBusyError:
            refused += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(
                service.gallery_worker.read(service.gallery.people.find, first.identity_id), 1
            )
        await asyncio.sleep(0.1)
    return refused


def write_export(directory: Path, service: Service, n_people: int) -> None:
    """Write generated people in the format of `gallery export`."""
    rng = np.random.default_rng(0)
    size = service.gallery.embedding_size
    rows = rng.standard_normal((n_people, size)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    directory.mkdir()
    np.savez(
        directory / PHOTOS,
        embeddings=rows,
        crop_ends=np.zeros(n_people, np.int64),
        crops=np.zeros(0, np.uint8),
    )
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model_id": service.gallery.model_id,
        "embedding_size": size,
        "n_people": n_people,
        "n_photos": n_people,
    }
    photo = {"quality": 0.5, "model_id": service.gallery.model_id, "created_at": 0.0}
    people = [
        {
            "identity_id": f"{number:016x}",
            "name": f"Person {number}",
            "notes": "",
            "created_at": 0.0,
            "photos": [{**photo, "source_sha256": f"{number:064x}"}],
        }
        for number in range(n_people)
    ]
    with (directory / PEOPLE).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in [header, *people])


if __name__ == "__main__":
    main()
