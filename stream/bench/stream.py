"""`facewire bench stream`: speed and CPU use of live recognition on this machine."""

import asyncio
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
from aiortc import RTCPeerConnection, RTCSessionDescription

from recognizer import usable_cpus
from stream.bench.light_viewer import LightViewer
from stream.cameras.camera import CameraState, CameraStatus
from stream.config import Config
from stream.errors import StreamError
from stream.metrics.windows import Percentiles
from stream.service import Service

START_TIMEOUT_S = 20.0
"""How long the first picture may take: a camera's own connection, then a keyframe."""

WARM_UP_S = 3.0
"""Left out of the figures: connecting, the first keyframe, the first scan of every scene."""

STAGES = ("decode", "detect", "follow", "align", "embed", "search", "track", "annotate", "encode")

VECTORS = {"avx512_bf16": "AVX-512 with bf16", "avx512f": "AVX-512", "avx2": "AVX2"}


@dataclass(frozen=True, slots=True)
class CameraBench:
    """The figures of one camera.

    Attributes:
        camera: its source, passwords masked.
        width: pixels.
        height: pixels.
        fps_in: frames captured per second.
        fps_recognized: frames per second whose faces were detected or followed.
        dropped: frames replaced before recognition.
        faces: mean number of faces in view.
    """

    camera: str
    width: int
    height: int
    fps_in: float
    fps_recognized: float
    dropped: int
    faces: float


@dataclass(frozen=True, slots=True)
class StreamBench:
    """The figures of one run; those not listed per camera are of the first, which is watched.

    Attributes:
        machine: processor, cores, operating system.
        camera: the watched one.
        engine: inference engine and device.
        seconds: measured, without warm-up.
        width: pixels.
        height: pixels.
        viewers: WebRTC peers, in another process.
        cameras: every camera, the watched one first.
        stages_ms: milliseconds by stage: decode (processor time), annotate and encode per
            frame; the others per tick with that stage.
        fps_in: frames captured per second.
        fps_out: annotated frames encoded per second.
        fps_viewer: complete frames per second at the slowest viewer; 0 without viewers.
        dropped: frames replaced before recognition.
        encoder_dropped: annotated frames replaced before encoding.
        latency_ms: capture to encoded packet.
        time_to_name_ms: a face's first frame to the event with its name.
        cores: processor seconds per second of the service, without viewers.
        peak_rss_mib: MiB of memory of the service at its peak.
    """

    machine: str
    camera: str
    engine: str
    seconds: float
    width: int
    height: int
    viewers: int
    cameras: tuple[CameraBench, ...]
    stages_ms: dict[str, Percentiles]
    fps_in: float
    fps_out: float
    fps_viewer: float
    dropped: int
    encoder_dropped: int
    latency_ms: Percentiles
    time_to_name_ms: Percentiles
    cores: float
    peak_rss_mib: float


def bench_stream(
    config: Config,
    *,
    seconds: float,
    viewers: int,
    tick: Callable[[float], None] = lambda done: None,
) -> StreamBench:
    """Run the whole service on its cameras and return the figures.

    Args:
        config: the configuration; its first camera, or the demo, is watched.
        seconds: duration of the measurement, after the warm-up.
        viewers: WebRTC peers that watch it, in another process so that their cost stays out of
            the figures.
        tick: called about every second with the fraction done, in [0, 1].

    Raises:
        StreamError: if a camera delivers no frames.
        RecognizerError: if a model cannot be fetched or opened.
    """
    with _viewer_process(viewers) as connection:
        return asyncio.run(_bench(config, seconds, viewers, connection, tick))


async def _bench(
    config: Config,
    seconds: float,
    viewers: int,
    connection: Connection,
    tick: Callable[[float], None],
) -> StreamBench:
    async with Service.open(config) as service:
        name = service.cameras.statuses()[0].name
        await _wait_for_pictures(service)
        for _ in range(viewers):
            offer = await asyncio.to_thread(connection.recv)
            answer = await service.peers.watch(offer, service.cameras.get(name).video.hub)
            connection.send(answer.sdp)
        await asyncio.sleep(WARM_UP_S)
        for window in (
            *service.inference.windows.values(),
            *service.cameras.get(name).windows.values(),
        ):
            window.clear()
        connection.send("start")
        all_before, cpu_before = service.cameras.statuses(), _cpu_s(service)
        started, n_faces = time.monotonic(), [list[int]() for _ in all_before]
        while (elapsed := time.monotonic() - started) < seconds:
            tick(elapsed / seconds)
            await asyncio.sleep(min(1.0, seconds - elapsed))
            for status, counts in zip(all_before, n_faces, strict=True):
                latest = service.cameras.get(status.name).latest
                counts.append(0 if latest is None else len(latest.tracks))
        elapsed, cpu = time.monotonic() - started, _cpu_s(service) - cpu_before
        all_after = service.cameras.statuses()
        before, after = all_before[0], all_after[0]
        connection.send("stop")
        received = await asyncio.to_thread(connection.recv)
        windows = service.inference.windows | service.cameras.get(name).windows
        stages = {stage: window.percentiles() for stage, window in windows.items()}
        return StreamBench(
            machine=machine(),
            camera=after.url,
            engine=f"{service.recognizer.engine} on {service.recognizer.device}",
            seconds=elapsed,
            width=after.width,
            height=after.height,
            viewers=viewers,
            cameras=tuple(map(partial(_camera_figures, elapsed), all_before, all_after, n_faces)),
            stages_ms={stage: stages[stage] for stage in STAGES if stage in stages},
            fps_in=(after.captured - before.captured) / elapsed,
            fps_out=(after.encoded - before.encoded) / elapsed,
            fps_viewer=min(received) / elapsed if received else 0.0,
            dropped=after.dropped - before.dropped,
            encoder_dropped=after.encoder_dropped - before.encoder_dropped,
            latency_ms=stages.get("latency", after.latency_ms),
            time_to_name_ms=service.journal.time_to_name_ms.percentiles(),
            cores=cpu / elapsed,
            peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            + sum(worker.load.rss_mib for worker in service.workers),
        )


def _cpu_s(service: Service) -> float:
    """Return the processor time of the service and its worker processes, seconds."""
    return time.process_time() + service.worker_cpu_s


def _camera_figures(
    elapsed_s: float, before: CameraStatus, after: CameraStatus, n_faces: list[int]
) -> CameraBench:
    captured, dropped = after.captured - before.captured, after.dropped - before.dropped
    return CameraBench(
        camera=after.url,
        width=after.width,
        height=after.height,
        fps_in=captured / elapsed_s,
        fps_recognized=(captured - dropped) / elapsed_s,
        dropped=dropped,
        faces=sum(n_faces) / max(len(n_faces), 1),
    )


async def _wait_for_pictures(service: Service) -> None:
    for _ in range(int(START_TIMEOUT_S / 0.05)):
        waiting = [each for each in service.cameras.statuses() if not _is_giving(each)]
        if not waiting:
            return
        await asyncio.sleep(0.05)
    reason = waiting[0].reason or waiting[0].state
    raise StreamError(f"camera {waiting[0].name} gives no pictures: {reason}")


def _is_giving(status: CameraStatus) -> bool:
    return status.state is CameraState.LIVE and status.width > 0


def machine() -> str:
    """Return a short description of this machine, for tables."""
    facts: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    model = facts.get("model name") or platform.processor() or platform.machine()
    # the speed of networks depends on it: processors of the same name may lack it
    flags = facts.get("flags", "").split()
    vectors = [name for flag, name in VECTORS.items() if flag in flags][:1]
    cores = f"{usable_cpus()} cores"
    return ", ".join([model, *vectors, cores, platform.system(), f"OpenCV {cv2.__version__}"])


@contextmanager
def _viewer_process(viewers: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_watch, args=(theirs, viewers), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _watch(connection: Connection, viewers: int) -> None:
    asyncio.run(_watch_all(connection, viewers))


async def _watch_all(connection: Connection, viewers: int) -> None:
    peers, watching = [], list[LightViewer]()
    for _ in range(viewers):
        peer = RTCPeerConnection()
        peers.append(peer)
        transceiver = peer.addTransceiver("video", direction="recvonly")
        watching.append(LightViewer(transceiver.receiver))
        await peer.setLocalDescription(await peer.createOffer())
        connection.send(peer.localDescription.sdp)
        answer = await asyncio.to_thread(connection.recv)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    while (order := await asyncio.to_thread(connection.recv)) != "stop":
        if order == "start":
            for viewer in watching:
                viewer.n_frames = 0
    connection.send([viewer.n_frames for viewer in watching])
    for viewer in watching:
        viewer.close()
    for peer in peers:
        await peer.close()
