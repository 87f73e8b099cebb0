"""Measure what a frame costs here, and where 16 and 64 cores end: scripts/scale.py --fps 10.

Decodes and recognizes looped 720p files of the demo's lobby in one thread, as fast as it can, with
the time of the films, so that no frame is lost and other programs change only how long it takes:
all figures are processor time. Then it runs the service with two workers on the same files, for the
cost of their news in the service's own process. With py-spy (--py-spy, or in the PATH) it samples
how much of that time holds the interpreter lock; without it half is assumed. The model is in
`stream/bench/scale.py`.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import av
import cv2

from gallery import Gallery
from recognizer import open_recognizer
from stream.bench.scale import Costs, best_workers, limit_of
from stream.bench.stream import machine
from stream.cameras.conversion import Converter
from stream.config import Config
from stream.enrollment.naming import Matching
from stream.frames import Frame, FrameResult
from stream.recognition.pipeline import Pipeline
from stream.service import Service
from stream.video.channel import NOMINAL_FPS, VideoOut
from stream.video.rendition import Feed
from stream.workers.process import Demand, RelayHub
from stream.workers.wire import Outbox

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.camera_startup import write_films
from scripts.many_cameras import enrolled

SETTLE_S = 4.0
"""Left out: connections, first scans and their embeddings."""

ASSUMED_LOCK = 0.5
"""Part of the processor time that holds the lock, where it is not measured."""

LOCK_S = 2
"""Seconds of one sample; samples with and without the lock are taken in turn."""

LOCK_ROUNDS = 4

KEPT = 60
"""Frames of the first film that are drawn and encoded."""

CORES = (2, 4, 8, 16, 32, 64)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", type=int, default=24, help="measured (default: 24)")
    parser.add_argument("--fps", type=int, default=10, help="of each camera (default: 10)")
    parser.add_argument("--seconds", type=float, default=8, help="of each film (default: 8)")
    parser.add_argument("--use", type=float, default=0.85, help="part of a core that can be used")
    parser.add_argument("--py-spy", default=shutil.which("py-spy") or "", help="its program")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        films = write_films(Path(scratch), options.cameras, options.fps)
        os.environ.update(enrolled(Path(__file__).parents[1], Path(scratch, "data")))
        spent = stages(Path(scratch, "data", "gallery"), films, options)
        parent, parent_camera = asyncio.run(news(films, options.seconds))
    lock = spent["lock_part"] if options.py_spy else ASSUMED_LOCK
    costs = Costs(
        decode=spent["decode"],
        recognize=spent["recognize"],
        show=spent["show"],
        lock=lock * (spent["decode"] + spent["recognize"]),
        parent=parent,
        parent_camera=parent_camera,
    )
    found = {
        "machine": machine(),
        "fps": options.fps,
        "use": options.use,
        "lock_part": lock,
        "is_lock_measured": bool(options.py_spy),
        "ms": {name: round(1e3 * value, 3) for name, value in asdict(costs).items()},
        "table": [line(costs, cores, options.fps, options.use) for cores in CORES],
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(found["machine"])
    print(", ".join(f"{name} {ms} ms" for name, ms in found["ms"].items()))
    print(f"holds the lock: {lock:.0%} of the time{'' if options.py_spy else ' (assumed)'}")
    for each in found["table"]:
        print(", ".join(f"{name}: {value}" for name, value in each.items()))


def line(costs: Costs, cores: int, fps: float, use: float) -> dict[str, object]:
    """Return the row of a number of cores."""
    n = best_workers(costs, cores=cores, fps=fps)
    row: dict[str, object] = {"cores": cores, "workers": n}
    for name, workers, watched in (
        ("one process", 1, 0.0),
        ("workers, none watched", n, 0.0),
        ("workers, a quarter watched", n, 0.25),
    ):
        limit = limit_of(costs, cores=cores, workers=workers, fps=fps, watched=watched, use=use)
        row[name] = f"{limit.cameras} ({limit.by})"
    return row


def stages(directory: Path, films: list[Path], options: argparse.Namespace) -> dict[str, float]:
    """Return the processor seconds a frame by stage, and the part that holds the lock."""
    cv2.setNumThreads(1)
    recognizer = open_recognizer()
    recognizer.set_min_face_px(24)
    with Gallery.open_to_read(
        directory, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        matching = Matching(recognizer, gallery, threshold=None, margin=None)
        pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=matching.threshold,
            margin=matching.margin,
            limits=matching.limits,
            confirm_s=0.2,
            absence_s=2.0,
            camera_away_s=20.0,
            cooldown_s=10.0,
            clock=time.process_time,
        )
        sources = [frames(film, f"c{number:02}", options.fps) for number, film in enumerate(films)]
        n_steps = round(options.seconds * options.fps)
        spent = Counter[str]()
        one = run(pipeline, sources, n_steps, spent)
        watched = RelayHub("c00", Outbox(1 << 30), time.monotonic)
        watched.ask(Demand(1, ((Feed(), 1.0),)))
        video = VideoOut(watched, fps=NOMINAL_FPS)
        began = time.process_time()
        for result in one:
            video.send(video.render(result), result)
        show = (time.process_time() - began) / len(one)
        lock_part = 0.0
        if options.py_spy:
            counts = Counter[str]()
            sampler = threading.Thread(target=sample, args=(options.py_spy, counts))
            sampler.start()
            while sampler.is_alive():
                run(pipeline, sources, options.fps, Counter())
            lock_part = counts["lock"] / max(1, counts["all"])
    n = n_steps * len(films)
    return {
        "decode": spent["decode"] / 1e9 / n,
        "recognize": spent["recognize"] / 1e9 / n,
        "show": show,
        "lock_part": lock_part,
    }


def run(
    pipeline: Pipeline,
    sources: list[Iterator[Frame]],
    n_steps: int,
    spent: "Counter[str]",
) -> list[FrameResult]:
    """Recognize frames of all films; return some results of the first.

    Args:
        pipeline: recognizes.
        sources: endless frames of each film.
        n_steps: frames of each.
        spent: processor nanoseconds by stage, added to.
    """
    kept: list[FrameResult] = []
    for step in range(n_steps):
        began = time.process_time_ns()
        ready = [next(source) for source in sources]
        decoded = time.process_time_ns()
        results = pipeline.process(ready, ready[0].captured_at)
        spent["decode"] += decoded - began
        spent["recognize"] += time.process_time_ns() - decoded
        if n_steps - step <= KEPT:
            kept.append(results[0])
    return kept


def frames(film: Path, camera: str, fps: float) -> Iterator[Frame]:
    """Yield the frames of a looped film, at the time of the film."""
    converter, number = Converter(None, "auto"), 0
    while True:
        with av.open(str(film)) as source:
            source.streams.video[0].codec_context.thread_count = 1
            for picture in source.decode(video=0):
                number += 1
                pixels = converter.convert(picture, None, number / fps).pixels
                yield Frame(camera, number, number / fps, pixels)


def sample(py_spy: str, counts: "Counter[str]") -> None:
    """Count samples in which a thread of this process runs, and those in which it has the lock."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "stacks")
        command = [py_spy, "record", "--pid", str(os.getpid()), "--format", "raw", "-o", str(out)]
        command += ["--duration", str(LOCK_S), "--rate", "100", "--threads"]
        for kind in ("all", "lock") * LOCK_ROUNDS:
            extra = ["--gil"] if kind == "lock" else []
            subprocess.run([*command, *extra], check=True, capture_output=True)
            for line in out.read_text().splitlines():
                if "MainThread" in line:
                    counts[kind] += int(line.rsplit(" ", 1)[1])


async def news(films: list[Path], seconds: float) -> tuple[float, float]:
    """Return the processor seconds of the service's process for the news of two workers.

    Returns:
        For a frame, and for a second of a camera without frames: from a run at all frames, and one
        at a frame a second.
    """
    cameras = [{"name": f"c{number:02}", "url": str(film)} for number, film in enumerate(films)]
    config = Config.model_validate({"recognizer": {"workers": 2}, "cameras": cameras})
    async with Service.open(config) as service:
        while any(not each.width for each in service.cameras.statuses()):
            await asyncio.sleep(0.1)
        rates = [await rate(service, seconds)]
        for camera in service.cameras:
            slow = camera.config.model_copy(update={"target_fps": 1.0})
            await service.cameras.change(camera.name, slow)
        rates.append(await rate(service, seconds))
    (many, busy), (few, quiet) = rates
    frame = max(0.0, (busy - quiet) / max(1e-9, many - few))
    return frame, max(0.0, busy - many * frame) / len(films)


async def rate(service: Service, seconds: float) -> tuple[float, float]:
    """Return the frames recognized in a second, and this process's processor seconds for them."""
    await asyncio.sleep(SETTLE_S)
    before, began, at = recognized(service), time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - at
    n = recognized(service) - before
    return n / elapsed, (time.process_time() - began) / elapsed


def recognized(service: Service) -> int:
    """Return the frames recognized so far."""
    return sum(each.captured - each.dropped for each in service.cameras.statuses())


if __name__ == "__main__":
    main()
