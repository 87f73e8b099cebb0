"""`facewire load`: many viewers of one camera, over WHEP, from facewire itself or from an SFU.

The viewers decode nothing and run in processes of their own, so that they slow down neither the
measured service nor each other.
"""

import asyncio
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import httpx2
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.codecs import get_capabilities

from recognizer import usable_cpus
from stream.bench.light_viewer import LightViewer
from stream.errors import StreamError
from stream.http_address import parse_http_address

JOIN_TIMEOUT_S = 20.0
"""How long a viewer may take to its first keyframe."""

VIEWERS_OF_ONE = 50
"""Viewers of one process, by default; beyond it, more processes are started, up to the cores."""

START_TIMEOUT_S = 60.0
"""How long a process of viewers may take to start on a busy machine."""

LEAVE_S = 10.0
"""How long the viewers may take to leave; a service notices those that do not."""

SDP = "application/sdp"
CPU_METRIC = "facewire_cpu_seconds_total "


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is measured.

    Attributes:
        url: WHEP address.
        metrics_url: of facewire's figures; empty for none.
        token: sent as bearer token; empty for none.
        viewers: how many.
        seconds: measured, after the last has joined.
        per_second: viewers that are started per second.
        processes: processes of viewers; 0 to choose.
        pids: further processes whose use of the CPU is shown.
    """

    url: str
    metrics_url: str
    token: str
    viewers: int
    seconds: float
    per_second: float
    processes: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What was measured.

    Attributes:
        via: what sends the video, as the answers say: "facewire", "janus", or "" where they do not.
        viewers: viewers that were started.
        joined: viewers that have received a whole keyframe.
        seconds: measured, after the last has joined.
        fps: complete frames per second of each viewer that joined: least, median, and greatest.
        loss: packets that were lost, of all, in [0, 1].
        join_s: seconds from the offer to the whole first keyframe: p50, p95, and longest.
        bytes: bytes of RTP received while measuring.
        mbit_s: the same, Mbit/s.
        service_cores: processor seconds per second of facewire while measuring; None if unknown.
        viewer_cores: those of the processes of viewers.
        process_cores: those of the further processes, by number.
        load_average: of the last minute, at the end.
        failures: number of viewers by reason.
    """

    via: str
    viewers: int
    joined: int
    seconds: float
    fps: tuple[float, float, float]
    loss: float
    join_s: tuple[float, float, float]
    bytes: int
    mbit_s: float
    service_cores: float | None
    viewer_cores: float
    process_cores: dict[int, float]
    load_average: float
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one viewer has seen.

    Attributes:
        join_s: seconds from its offer to its first keyframe; None if there was none.
        frames: complete frames while measuring.
        packets: packets received while measuring.
        missing: packets lost meanwhile.
        bytes: bytes received meanwhile.
        via: what sends the video.
        failure: why it has not joined; empty if it has.
    """

    join_s: float | None
    frames: int
    packets: int
    missing: int
    bytes: int
    via: str
    failure: str


def is_whep(url: str) -> bool:
    """Whether an address is that of WHEP, not of a service.

    Raises:
        StreamError: if it is no http:// or https:// address.
    """
    try:
        parse_http_address(url)
    except ValueError as error:
        raise StreamError(f"the address of the service {error}") from None
    return urlsplit(url).path.rstrip("/").endswith("/whep")


def whep_of(url: str, camera: str, *, direct: bool) -> tuple[str, str]:
    """Return the WHEP address of a service's camera, and the address of the service's figures.

    Args:
        url: of the service; or a WHEP address, which ends with /whep, and then has no figures.
        camera: its name.
        direct: from facewire itself, not from its SFU.

    Raises:
        StreamError: if it is no http:// or https:// address.
    """
    if is_whep(url):
        return url, ""
    base = url.rstrip("/") + "/"
    whep = urljoin(base, f"api/cameras/{quote(camera, safe='')}/whep")
    return whep + ("?direct=1" if direct else ""), urljoin(base, "metrics")


def first_camera(url: str, token: str) -> str:
    """Return the name of a service's first camera.

    Raises:
        StreamError: if it cannot be asked, or has none.
    """
    plan = LoadPlan(url.rstrip("/") + "/api/cameras", "", token, 1, 1.0, 1.0, 1, ())
    response = _ask(plan)
    if response.status_code != 200:
        raise StreamError(f"no cameras can be listed: {_reason(response)}")
    try:
        return str(response.json()[0]["name"])
    except (ValueError, LookupError, TypeError):
        raise StreamError("the service has no camera: add one, or name one by --camera") from None


def measure_load(
    plan: LoadPlan, progress: Callable[[str, int, int], None] = lambda what, done, total: None
) -> LoadFigures:
    """Connect the viewers, measure, and return the figures.

    Args:
        plan: what is measured.
        progress: called with "joining" or "measuring", what is done, and the total.

    Raises:
        StreamError: if no viewer could join.
    """
    for pid in plan.pids:
        if _cpu_s(pid) is None:
            raise StreamError(f"there is no process {pid}: name a running one by --pid")
    _ask(plan)
    n_processes = plan.processes or math.ceil(plan.viewers / VIEWERS_OF_ONE)
    n_processes = min(n_processes, plan.viewers if plan.processes else usable_cpus())
    counts = [len(range(i, plan.viewers, n_processes)) for i in range(n_processes)]
    with _processes(plan, counts) as (connections, pids):
        n_done = 0
        while n_done < plan.viewers:
            for connection in _ready(connections):
                n_done += connection.recv()
            progress("joining", n_done, plan.viewers)
        with httpx2.Client(headers=_headers(plan), timeout=10.0, trust_env=False) as client:
            service = _service_cpu_s(client, plan)
            before = [_cpu_s(pid) for pid in (*pids, *plan.pids)]
            started = time.monotonic()
            for connection in connections:
                connection.send("start")
            while (elapsed := time.monotonic() - started) < plan.seconds:
                progress("measuring", round(elapsed), math.ceil(plan.seconds))
                time.sleep(min(0.5, plan.seconds - elapsed))
            elapsed = time.monotonic() - started
            for connection in connections:
                connection.send("stop")
            after = [_cpu_s(pid) for pid in (*pids, *plan.pids)]
            service_after = _service_cpu_s(client, plan)
        seen = [each for connection in connections for each in connection.recv()]
    cores = [
        (end - begin) / elapsed if begin is not None and end is not None else 0.0
        for begin, end in zip(before, after, strict=True)
    ]
    service_cores = None
    if service is not None and service_after is not None:
        service_cores = (service_after - service) / elapsed
    return _figures(plan, seen, elapsed, service_cores, sum(cores[: len(pids)]), cores[len(pids) :])


def _figures(
    plan: LoadPlan,
    seen: Sequence[Seen],
    elapsed: float,
    service_cores: float | None,
    viewer_cores: float,
    process_cores: Sequence[float],
) -> LoadFigures:
    joined = [each for each in seen if each.join_s is not None]
    failures = Counter(each.failure for each in seen if each.failure)
    if not joined:
        reason = failures.most_common(1)[0][0] if failures else "no video"
        raise StreamError(f"none of {plan.viewers} viewers got video: {reason}")
    fps = sorted(each.frames / elapsed for each in joined)
    joins = sorted(each.join_s for each in joined if each.join_s is not None)
    n_missing, n_bytes = sum(each.missing for each in joined), sum(each.bytes for each in joined)
    n_expected = n_missing + sum(each.packets for each in joined)
    return LoadFigures(
        via=joined[0].via,
        viewers=plan.viewers,
        joined=len(joined),
        seconds=elapsed,
        fps=(fps[0], _quantile(fps, 0.5), fps[-1]),
        loss=n_missing / n_expected if n_expected else 0.0,
        join_s=(_quantile(joins, 0.5), _quantile(joins, 0.95), joins[-1]),
        bytes=n_bytes,
        mbit_s=n_bytes * 8 / elapsed / 1e6,
        service_cores=service_cores,
        viewer_cores=viewer_cores,
        process_cores=dict(zip(plan.pids, process_cores, strict=True)),
        load_average=os.getloadavg()[0],
        failures=dict(failures),
    )


def _quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which a part of the values is; nearest rank."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def _ask(plan: LoadPlan) -> httpx2.Response:
    """Return the answer of the address, which shows that it can be reached."""
    try:
        return httpx2.get(plan.url, timeout=10.0, trust_env=False, headers=_headers(plan))
    except (httpx2.HTTPError, OSError, ValueError):
        host = urlsplit(plan.url).netloc.rpartition("@")[2]
        raise StreamError(f"the service at {host} cannot be reached: start it first") from None


def _reason(response: httpx2.Response) -> str:
    """Return why a request was refused, in one line."""
    with suppress(ValueError, LookupError, TypeError):
        return " ".join(str(response.json()["error"]).split())[:200]
    return f"the service answers with status {response.status_code}"


def _headers(plan: LoadPlan) -> dict[str, str]:
    return {"Authorization": f"Bearer {plan.token}"} if plan.token else {}


def _service_cpu_s(client: httpx2.Client, plan: LoadPlan) -> float | None:
    """Return the processor time of facewire, seconds; None if it does not say so."""
    if not plan.metrics_url:
        return None
    with suppress(httpx2.HTTPError, OSError, ValueError):
        for line in client.get(plan.metrics_url).text.splitlines():
            if line.startswith(CPU_METRIC):
                return float(line.removeprefix(CPU_METRIC))
    return None


def _cpu_s(pid: int) -> float | None:
    """Return the processor time of a process, seconds; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # proc(5): utime and stime follow the name, which may hold spaces, in parentheses.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ready(connections: Sequence[Connection]) -> list[Connection]:
    ready = [each for each in wait(connections, START_TIMEOUT_S) if isinstance(each, Connection)]
    if not ready:
        raise StreamError("the processes of the viewers do not answer: try fewer viewers")
    return ready


@contextmanager
def _processes(
    plan: LoadPlan, counts: Sequence[int]
) -> Iterator[tuple[list[Connection], list[int]]]:
    context = multiprocessing.get_context("spawn")
    connections, processes = [], []
    try:
        for index, count in enumerate(counts):
            ours, theirs = context.Pipe()
            arguments = (theirs, plan, count, index, len(counts))
            process = context.Process(target=_run, args=arguments, daemon=True)
            process.start()
            theirs.close()
            connections.append(ours)
            processes.append(process)
        yield connections, [process.pid or 0 for process in processes]
        ends_at = time.monotonic() + LEAVE_S
        for process in processes:
            process.join(max(0.0, ends_at - time.monotonic()))
    except EOFError:
        raise StreamError("a process of viewers has ended: try fewer viewers") from None
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _run(connection: Connection, plan: LoadPlan, count: int, index: int, step: int) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(_view_all(connection, plan, count, index, step))


async def _view_all(
    connection: Connection, plan: LoadPlan, count: int, index: int, step: int
) -> None:
    limits = httpx2.Limits(max_connections=8)
    async with httpx2.AsyncClient(
        headers=_headers(plan), timeout=JOIN_TIMEOUT_S, trust_env=False, limits=limits
    ) as http:
        viewers = [_Viewer(plan.url, http) for _ in range(count)]
        started = time.monotonic()

        async def join(number: int, viewer: "_Viewer") -> None:
            at = started + (number * step + index) / plan.per_second
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            await viewer.join()
            connection.send(1)

        await asyncio.gather(*(join(number, each) for number, each in enumerate(viewers)))
        await asyncio.to_thread(connection.recv)
        for viewer in viewers:
            viewer.begin()
        await asyncio.to_thread(connection.recv)
        connection.send([viewer.seen() for viewer in viewers])
        await asyncio.gather(*(viewer.close() for viewer in viewers))


class _Viewer:
    """One viewer; decodes nothing."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self._url = url
        self._http = http
        self._connection: RTCPeerConnection | None = None
        self._light: LightViewer | None = None
        self._before = (0, 0, 0)
        self._join_s: float | None = None
        self._via = self._failure = self._resource = ""

    async def join(self) -> None:
        """Connect, and wait for the first keyframe."""
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                self._failure = await self._join()
        except TimeoutError:
            self._failure = f"no keyframe within {JOIN_TIMEOUT_S:.0f} s"

    async def _join(self) -> str:
        """Return why it could not join; empty if it has."""
        connection = self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = connection.addTransceiver("video", direction="recvonly")
        codecs = get_capabilities("video").codecs
        h264 = [each for each in codecs if each.mimeType in ("video/H264", "video/rtx")]
        transceiver.setCodecPreferences(h264)
        light = self._light = LightViewer(transceiver.receiver)
        await connection.setLocalDescription(await connection.createOffer())
        light.skip_queues()
        started = time.monotonic()
        try:
            response = await self._http.post(
                self._url,
                content=connection.localDescription.sdp.encode(),
                headers={"Content-Type": SDP},
            )
        except (httpx2.HTTPError, OSError):
            return "the service cannot be reached"
        if response.status_code != 201:
            return _reason(response)
        self._via = response.headers.get("facewire-via", "")
        self._resource = urljoin(self._url, response.headers.get("location", ""))
        answer = RTCSessionDescription(response.text, "answer")
        try:
            await connection.setRemoteDescription(answer)
        except (ValueError, AssertionError):
            return "the answer cannot be used"
        while light.joined_at is None:
            if connection.connectionState in ("failed", "closed"):
                return "no route by UDP"
            await asyncio.sleep(0.01)
        self._join_s = light.joined_at - started
        return ""

    def begin(self) -> None:
        """Measure from now on."""
        if self._light is not None:
            self._light.n_frames = 0
            self._before = (self._light.n_packets, self._light.n_missing, self._light.n_bytes)

    def seen(self) -> Seen:
        """Return what it has seen since `begin`."""
        light = self._light
        if light is None:
            return Seen(None, 0, 0, 0, 0, "", self._failure)
        packets, missing, n_bytes = self._before
        return Seen(
            join_s=self._join_s,
            frames=light.n_frames,
            packets=light.n_packets - packets,
            missing=light.n_missing - missing,
            bytes=light.n_bytes - n_bytes,
            via=self._via,
            failure=self._failure,
        )

    async def close(self) -> None:
        """Leave."""
        if self._resource:
            with suppress(httpx2.HTTPError, OSError, httpx2.InvalidURL):
                await self._http.delete(self._resource)
        if self._light is not None:
            self._light.close()
        if self._connection is not None:
            await self._connection.close()
