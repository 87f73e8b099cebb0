"""`facewire bench search --shards`: a gallery divided among processes of Ray on this machine."""

import logging
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray
from numpy.typing import NDArray

from gallery import Gallery
from gallery.facts import Facts
from gallery.file import GalleryFile
from gallery.shards import divide
from gallery.store import Access
from stream.bench.search import THRESHOLD, People, agreement, changes, fill, timed
from stream.cluster import actors, running
from stream.errors import StreamError

Floats = NDArray[np.float32]

N_EXACT = 2_000
START_S = 3_600.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ShardFigures:
    """The results of one run.

    Attributes:
        n_templates: number of templates, of all shards.
        embedding_size: D.
        n_shards: number of processes.
        first_start_s: time until all shards have read their people and answer, seconds.
        one_ms: a search for one probe in all shards, median on the clock, milliseconds.
        one_p95_ms: its 95th percentile.
        one_cpu_ms: processor time of all shards together for it, mean.
        eight_ms: a search for eight probes at once, median on the clock.
        eight_cpu_ms: processor time of all shards together for it, mean.
        add_ms: enrolling one photo of a new person, median, on the disk and searched.
        remove_ms: erasing one person, median.
        pause_ms: the longest search of one probe while another thread enrolled and erased.
        n_probes: probes whose answer was compared with the plain matrix product's.
        top1: the fraction of those with the same best template.
        rss_mib: memory of all shards after the searches, MiB, mapped files included.
        anonymous_mib: of that, what is not of files.
        restart_s: time from the kill of a shard until all people are searched again, seconds.
    """

    n_templates: int
    embedding_size: int
    n_shards: int
    first_start_s: float
    one_ms: float
    one_p95_ms: float
    one_cpu_ms: float
    eight_ms: float
    eight_cpu_ms: float
    add_ms: float
    remove_ms: float
    pause_ms: float
    n_probes: int
    top1: float
    rss_mib: float
    anonymous_mib: float
    restart_s: float


def bench_shards(
    directory: Path,
    n_templates: int,
    n_shards: int,
    *,
    embedding_size: int = 128,
    faces: Floats | None = None,
    n_exact: int = N_EXACT,
    progress: Callable[[float], None] | None = None,
) -> ShardFigures:
    """Return the figures of a gallery of synthetic people, divided among shards.

    Args:
        directory: empty; the gallery's file stays in it.
        n_templates: number of photos, five per person.
        n_shards: number of processes.
        embedding_size: D.
        faces: as for `bench_search`.
        n_exact: number of probes compared with the plain matrix product.
        progress: called with the fraction done, in [0, 1].

    Raises:
        StreamError: if the shards do not start.
    """
    tell = progress or (lambda part: None)
    people = People(embedding_size, faces)
    fill(directory, n_templates, people, lambda part: tell(0.4 * part))
    store = GalleryFile(directory, access=Access.WRITE)
    divide(Facts(store), n_shards)
    store.close()
    with (
        _shards(directory, n_shards),
        Gallery.open(directory, model_id="bench", embedding_size=embedding_size) as gallery,
    ):
        first_start_s = _all_there_s(gallery)
        tell(0.6)
        probes = people.probes(n_templates, n_exact)
        pids = [each.pid for each in gallery.shards()]
        one, one_cpu_ms = _measured(gallery, probes, pids, 1)
        eight, eight_cpu_ms = _measured(gallery, probes, pids, 8)
        add, remove, pause = changes(gallery, probes)
        tell(0.7)
        top1 = agreement(gallery, probes, people, n_templates, together=8)
        memory = [_memory_mib(pid) for pid in pids]
        tell(0.9)
        os.kill(pids[0], signal.SIGKILL)
        restart_s = _all_there_s(gallery, without=pids[0])
        tell(1.0)
        return ShardFigures(
            n_templates=n_templates,
            embedding_size=embedding_size,
            n_shards=n_shards,
            first_start_s=first_start_s,
            one_ms=statistics.median(one),
            one_p95_ms=float(np.percentile(one, 95)),
            one_cpu_ms=one_cpu_ms,
            eight_ms=statistics.median(eight),
            eight_cpu_ms=eight_cpu_ms,
            add_ms=statistics.median(add),
            remove_ms=statistics.median(remove),
            pause_ms=pause,
            n_probes=len(probes),
            top1=top1,
            rss_mib=sum(rss for rss, _ in memory),
            anonymous_mib=sum(anonymous for _, anonymous in memory),
            restart_s=restart_s,
        )


@contextmanager
def _shards(directory: Path, n: int) -> Iterator[None]:
    os.environ.update(running.NICENESS)
    folder = tempfile.mkdtemp(prefix="facewire-ray-")
    ray.init(
        address="local",  # whatever else of Ray runs here
        include_dashboard=False,
        namespace=actors.NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=80 << 20,
        _temp_dir=folder,
    )
    try:
        handles = [actors.start_shard(number, n, directory) for number in range(n)]
        ray.get([each.pid.remote() for each in handles])
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _all_there_s(gallery: Gallery, without: int = 0) -> float:
    began = time.perf_counter()
    while time.perf_counter() - began < START_S:
        gallery.refresh()
        if all(each.is_there and each.pid != without for each in gallery.shards()):
            return time.perf_counter() - began
        time.sleep(0.1)
    raise StreamError(f"shards do not start: {gallery.unsearched()}")


def _measured(
    gallery: Gallery, probes: Floats, pids: Sequence[int], n: int
) -> tuple[list[float], float]:
    before = sum(map(_cpu_s, pids))
    took = timed(lambda i: gallery.search(probes[i : i + n], threshold=THRESHOLD))
    used_s = sum(map(_cpu_s, pids)) - before
    return took, 1000 * used_s / (1 + len(took))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return TICK_S * (int(fields[11]) + int(fields[12]))


def _memory_mib(pid: int) -> tuple[float, float]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    held = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return int(held["VmRSS"]) / 1024, int(held["RssAnon"]) / 1024
