"""Measure the start and memory of many cameras: scripts/camera_startup.py 64 --fps 5.

Writes a looped 720p file for each camera, of the demo's lobby, each of which begins at another
second. Starts `facewire serve` with one of them and then with all, and reports the seconds until a
frame of every camera is recognized, the processor time until then, the memory that each camera
adds (the service's share of all pages, PSS, of all its processes), threads and file descriptors.
Then it measures for some seconds how many frames are followed, and what it takes. Other work on the
machine lengthens the times, and the processor seconds far less.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx2

from recognizer import default_cache, fetch_photos
from stream.bench.stream import machine
from stream.demo.scene import DemoScene

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.many_cameras import enrolled, record
from tests.e2e.harness import await_address

PATIENCE_S = 300.0
"""How long the first frames may take; the report says when they came."""

SETTLE_S = 5.0
"""From the last camera's first frame to the measurement: first scans and their embeddings."""

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """What the processes of a service use at one moment; `cpu_s` since their start.

    Attributes:
        cpu_s: processor time, seconds.
        pss_mib: memory, where a page of several processes is divided among them, MiB.
        threads: their number.
        descriptors: open files and sockets.
        processes: their number.
    """

    cpu_s: float
    pss_mib: float
    threads: int
    descriptors: int
    processes: int


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the service.

    Attributes:
        cameras: their number.
        page_s: from the command until the page is answered, seconds.
        first_s: until a frame of every camera is recognized, likewise.
        first_cpu_s: processor time until then, seconds.
        captured: frames captured a second and camera, after the start.
        followed: of those, recognized.
        cores: processor seconds a second, likewise.
        used: at the end.
    """

    cameras: int
    page_s: float
    first_s: float
    first_cpu_s: float
    captured: float
    followed: float
    cores: float
    used: Used


def main() -> None:
    """Write the files, start the service with one and with all, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cameras", type=int, nargs="?", default=64)
    parser.add_argument("--fps", type=int, default=5, help="of each file (default: 5)")
    parser.add_argument("--seconds", type=float, default=20, help="measured after the start")
    parser.add_argument("--workers", default="auto", help="as in [recognizer] (default: auto)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.cameras < 2:
        parser.error("cameras must be at least 2: what one adds is the difference from one")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        films = write_films(folder, options.cameras, options.fps)
        environment = enrolled(Path(__file__).parents[1], folder / "data")
        decode_ms = decoding_ms(films[0])
        one, many = (
            start(folder, some, environment, options.workers, options.seconds)
            for some in (films[:1], films)
        )
    found = {
        "machine": machine(),
        "fps": options.fps,
        "decode_ms": decode_ms,
        "decode_cores": decode_ms * options.fps * options.cameras / 1e3,
        "one": asdict(one),
        "many": asdict(many),
        "camera_mib": (many.used.pss_mib - one.used.pss_mib) / (many.cameras - 1),
        "camera_start_cpu_s": (many.first_cpu_s - one.first_cpu_s) / (many.cameras - 1),
    }
    print(json.dumps(found, indent=2) if options.json else table(found))


def write_films(folder: Path, n: int, fps: int) -> list[Path]:
    """Write n looped files with the same packets, each from another second on."""
    whole = folder / "whole.mp4"
    record(DemoScene(fetch_photos(default_cache(), None)), whole, start_s=0, fps=fps)
    with av.open(str(whole)) as source:
        template = source.streams.video[0]
        time_base = Fraction(1, 90000)
        data = [
            (bytes(packet), packet.is_keyframe) for packet in source.demux(template) if packet.size
        ]
        starts = [number for number, (_, is_keyframe) in enumerate(data) if is_keyframe]
        films = []
        for number in range(n):
            film = folder / f"camera{number}.mp4"
            first = starts[number % len(starts)]
            with av.open(str(film), "w") as out:
                stream = out.add_stream_from_template(template)
                for place, (body, is_keyframe) in enumerate(data[first:] + data[:first]):
                    packet = av.Packet(body)
                    packet.stream, packet.time_base = stream, time_base
                    packet.duration = 90000 // fps
                    packet.pts = packet.dts = place * packet.duration
                    packet.is_keyframe = is_keyframe
                    out.mux(packet)
            films.append(film)
    return films


def decoding_ms(film: Path) -> float:
    """Return the processor milliseconds in which a frame is decoded, by one thread."""
    with av.open(str(film)) as source:
        source.streams.video[0].codec_context.thread_count = 1
        started = time.thread_time()
        n = sum(1 for _ in source.decode(video=0))
        return (time.thread_time() - started) * 1e3 / n


def start(
    folder: Path, films: list[Path], environment: dict[str, str], workers: str, seconds: float
) -> Start:
    """Start the service with a camera for each film, and measure it."""
    settings = folder / f"{len(films)}.toml"
    lines = ["[recognizer]", f"workers = {workers if workers.isdigit() else json.dumps(workers)}"]
    for number, film in enumerate(films):
        lines += ["[[cameras]]", f'name = "c{number:02}"', f"url = {json.dumps(str(film))}"]
    settings.write_text("\n".join(lines) + "\n", "utf-8")
    log = folder / f"{len(films)}.log"
    command = [str(Path(sys.executable).with_name("facewire")), "serve", "--port=0"]
    # a gallery each, since the cameras of the last start are kept in it
    data = folder / f"data{len(films)}"
    (folder / "data").rename(data)
    with log.open("wb") as out:
        began = time.monotonic()
        service = subprocess.Popen(
            [*command, f"--config={settings}"],
            stdout=out,
            stderr=out,
            env={**environment, "FACEWIRE_DATA": str(data)},
        )
    try:
        url = await_address(service, log)
        page_s = time.monotonic() - began
        with httpx2.Client(base_url=url, timeout=PATIENCE_S) as client:
            first_s = await_first_frames(client, began)
            first_cpu_s = used(service.pid).cpu_s
            time.sleep(SETTLE_S)
            before, counts, at = used(service.pid), counted(client), time.monotonic()
            time.sleep(seconds)
            after, later, elapsed = used(service.pid), counted(client), time.monotonic() - at
    finally:
        service.terminate()
        service.wait(60)
        data.rename(folder / "data")
    captured, dropped = (later[each] - counts[each] for each in ("captured", "dropped"))
    each = elapsed * len(films)
    return Start(
        cameras=len(films),
        page_s=page_s,
        first_s=first_s,
        first_cpu_s=first_cpu_s,
        captured=captured / each,
        followed=(captured - dropped) / each,
        cores=(after.cpu_s - before.cpu_s) / elapsed,
        used=after,
    )


def await_first_frames(client: httpx2.Client, began: float) -> float:
    """Return the seconds until a frame of every camera was recognized."""
    while time.monotonic() - began < PATIENCE_S:
        cameras = client.get("/api/cameras").json()
        # the size is that of the last recognized frame
        waiting = [each for each in cameras if each["state"] != "live" or not each["width"]]
        if not waiting:
            return time.monotonic() - began
        time.sleep(0.2)
    first = waiting[0]
    sys.exit(
        f"{len(waiting)} of {len(cameras)} cameras have no frame after {PATIENCE_S:g} s: "
        f"{first['name']} is {first['state']} {first['reason']}"
    )


def counted(client: httpx2.Client) -> dict[str, float]:
    """Return the frames captured, and those dropped before recognition, of all cameras."""
    found = {"captured": 0.0, "dropped": 0.0}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("facewire_camera_captured_frames_total"):
            found["captured"] += float(line.rsplit(" ", 1)[1])
        elif line.startswith("facewire_camera_dropped_frames") and 'cause="recognition"' in line:
            found["dropped"] += float(line.rsplit(" ", 1)[1])
    return found


def used(pid: int) -> Used:
    """Return what a process and its children use."""
    folders = [Path("/proc", str(each)) for each in (pid, *descendants(pid))]
    cpu_s, pss_kib, threads, descriptors = 0.0, 0, 0, 0
    for folder in folders:
        fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        cpu_s += (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
        threads += int(fields[17])
        descriptors += len(list((folder / "fd").iterdir()))
        for line in (folder / "smaps_rollup").read_text().splitlines():
            pss_kib += int(line.split()[1]) if line.startswith("Pss:") else 0
    return Used(cpu_s, pss_kib / 1024, threads, descriptors, len(folders))


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    children = [
        int(child)
        for task in Path("/proc", str(pid), "task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [each for child in children for each in (child, *descendants(child))]


def table(found: dict[str, Any]) -> str:
    """Return the figures as lines of text."""
    lines = [
        found["machine"],
        f"decoding alone: {found['decode_ms']:.2f} ms a frame, "
        f"{found['decode_cores']:.2f} cores for all",
    ]
    for each in (found["one"], found["many"]):
        use = each["used"]
        lines.append(
            f"{each['cameras']:3} cameras: page {each['page_s']:.1f} s, every camera's first "
            f"frame {each['first_s']:.1f} s ({each['first_cpu_s']:.1f} s of processor time); "
            f"{use['pss_mib']:.0f} MiB, {use['processes']} processes, {use['threads']} threads, "
            f"{use['descriptors']} descriptors; followed {each['followed']:.2f} of "
            f"{each['captured']:.2f} frames a second and camera, {each['cores']:.2f} cores"
        )
    lines.append(
        f"each camera adds {found['camera_mib']:.1f} MiB, and "
        f"{found['camera_start_cpu_s']:.2f} s of processor time to the start"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
