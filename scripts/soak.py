"""Run the service for long with failing cameras and viewers: scripts/soak.py --minutes 30.

Runs `facewire serve` on real RTSP servers, kills and hangs them at random, connects and disconnects
viewers (some without closing), and prints once a minute the service's memory, file descriptors and
threads. Exits 1 if at the end memory has grown by more than 5 % since warm-up, a descriptor or
thread has leaked, a camera is not live, or an unhandled exception is in its log.
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
from aiortc import RTCPeerConnection, RTCSessionDescription

from recognizer import default_cache, fetch_photos
from stream.bench.light_viewer import LightViewer
from stream.demo.scene import DemoScene

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.many_cameras import record
from tests.e2e.harness import await_address
from tests.rtsp_server import RtspServer, why_unavailable

GROWTH = 1.05
"""Memory at the end over memory after warm-up that still counts as flat."""

SLACK = 3
"""Descriptors and threads that may differ by what is under way at the moment of a sample."""

BACK_S = 15.0
"""How long the cameras get at the end to be live again: a reconnect delay and a hung read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Resources of the service at one time."""

    rss_mib: float
    descriptors: int
    threads: int


def main() -> None:
    """Run the soak and print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--fps", type=int, default=10)
    options = parser.parse_args()
    if reason := why_unavailable():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scene = DemoScene(fetch_photos(default_cache(), None))
        servers = []
        for number in range(options.cameras):
            file = Path(folder, f"camera{number}.mp4")
            record(scene, file, start_s=10 * number, fps=options.fps)
            servers.append(stack.enter_context(RtspServer(file=file)))
        log = stack.enter_context(Path(folder, "log").open("w+", encoding="utf-8"))
        command = [str(Path(sys.executable).with_name("facewire")), "serve", "--port=0"]
        command += [f"--camera=c{number}={server.url}" for number, server in enumerate(servers)]
        service = subprocess.Popen(
            command, stderr=log, stdout=log, env={**os.environ, "FACEWIRE_DATA": folder}
        )
        try:
            url = await_address(service, Path(log.name))
            troubles = asyncio.run(soak(service.pid, url, servers, options.minutes * 60))
        finally:
            service.terminate()
            code = service.wait(15)
        log.seek(0)
        text = log.read()
    if code != 0:
        troubles.append(f"the service ended with {code}")
    if found := re.findall(r"Traceback|unexpected failure|was never retrieved", text):
        troubles.append(f"{len(found)} unhandled exceptions in the log")
        sys.stderr.write(text[-20_000:])
    print("\n".join(troubles) or "flat: nothing leaked, nothing unhandled, every camera live")
    sys.exit(bool(troubles))


async def soak(pid: int, url: str, servers: list[RtspServer], seconds: float) -> list[str]:
    """Disturb cameras and viewers; return the problems at the end, a line each."""
    async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
        if troubles := await all_live(client, 60):
            return troubles
        tasks = [asyncio.create_task(disturb(server)) for server in servers]
        tasks += [asyncio.create_task(visit(client, len(servers))) for _ in range(2)]
        samples, started = [sample(pid)], time.monotonic()
        while time.monotonic() - started < seconds:
            await asyncio.sleep(min(20.0, seconds / 30))
            samples.append(sample(pid))
            cameras = (await client.get("/api/cameras")).json()
            back = sum(camera["reconnects"] for camera in cameras)
            now = samples[-1]
            print(
                f"{(time.monotonic() - started) / 60:5.1f} min  {now.rss_mib:6.0f} MiB "
                f"{now.descriptors:4} descriptors {now.threads:3} threads {back:4} reconnects",
                flush=True,
            )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in servers:
            server.restart()
        troubles = await all_live(client, BACK_S)
        await asyncio.sleep(35)  # viewers that did not close are detected by then
        samples.append(sample(pid))
    fifth = max(1, len(samples) // 5)
    early = statistics.median(each.rss_mib for each in samples[fifth : 2 * fifth])
    late = statistics.median(each.rss_mib for each in samples[-fifth:])
    print(f"memory {early:.0f} MiB in the second fifth, {late:.0f} MiB in the last")
    if late > early * GROWTH:
        troubles.append(f"memory grew from {early:.0f} to {late:.0f} MiB")
    for kind in ("descriptors", "threads"):
        first, last = getattr(samples[0], kind), getattr(samples[-1], kind)
        print(f"{kind} {first} at the start, {last} at the end")
        if last > first + SLACK:
            troubles.append(f"{kind} grew from {first} to {last}")
    return troubles


def sample(pid: int) -> Sample:
    """Return the resources of a process, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return Sample(
        int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(re.findall(r"Threads:\s+(\d+)", status)[0]),
    )


async def all_live(client: httpx2.AsyncClient, within_s: float) -> list[str]:
    """Wait for every camera; return a line for each that is not live in time."""
    deadline, waiting = time.monotonic() + within_s, ["the service does not answer"]
    while waiting and time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            cameras = (await client.get("/api/cameras")).json()
            waiting = [
                f"camera {camera['name']} is {camera['state']}: {camera['reason']}"
                for camera in cameras
                if camera["state"] != "live"
            ]
        await asyncio.sleep(0.2)
    return waiting


async def disturb(server: RtspServer) -> None:
    """Kill or hang a random camera at random times, for up to ten seconds."""
    while True:
        await asyncio.sleep(random.uniform(10, 40))
        if random.random() < 0.5:
            server.kill()
            await asyncio.sleep(random.uniform(0, 10))
            await asyncio.to_thread(server.start)
        else:
            server.hang()
            await asyncio.sleep(random.uniform(1, 10))
            server.go_on()


async def visit(client: httpx2.AsyncClient, n_cameras: int) -> None:
    """Watch a random camera for a while, leave with or without closing, and repeat."""
    while True:
        peer = RTCPeerConnection()
        transceiver = peer.addTransceiver("video", direction="recvonly")
        # aiortc keeps every decoded frame that nobody takes.
        viewer = LightViewer(transceiver.receiver)
        try:
            await peer.setLocalDescription(await peer.createOffer())
            camera = f"c{random.randrange(n_cameras)}"
            answer = await client.post(
                f"/api/cameras/{camera}/whep",
                content=peer.localDescription.sdp,
                headers={"Content-Type": "application/sdp"},
            )
            if answer.status_code == 201:
                await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
                await asyncio.sleep(random.uniform(1, 20))
                if random.random() < 0.5:
                    await client.delete(answer.headers["Location"])
        finally:
            viewer.close()
            await peer.close()


if __name__ == "__main__":
    main()
