"""`facewire bench search`: speed and accuracy of a gallery of a given size, synthetic people."""

import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, NewPhoto
from gallery.templates import trim_journal

Floats = NDArray[np.float32]

CHUNK = 50_000
PER_PERSON = 5  # photos; enrollment recommends five
REPEATS = 30
# Probes compared with the plain matrix product: enough to detect one wrong answer in 10,000. At a
# million templates they take about as long as filling the gallery.
N_EXACT = 20_000
TOGETHER = 32  # probes per search when the answers are compared
EXACT_ROWS = 250  # probes per product: 50 MB of similarities
NOISE = 0.06  # deviation per component: probes are as similar to their template as in LFW


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """The results of one run.

    Attributes:
        n_templates: number of templates.
        embedding_size: D.
        kind: how the index stores them.
        fill_s: time to write all of them to the file, seconds.
        start_s: time to open the gallery, seconds.
        one_ms: a search for one probe, median, milliseconds.
        one_p95_ms: its 95th percentile.
        eight_ms: a search for eight probes at once, median.
        add_ms: enrolling one photo of a new person, median, on the disk and searched.
        remove_ms: erasing one person, median.
        pause_ms: the longest search of one probe while another thread enrolled and erased.
        n_probes: probes whose answer was compared with the plain matrix product's.
        top1: the fraction of those with the same best template.
        rss_mib: memory of the process with the gallery open, MiB, its libraries included.
        file_mib: size of the file.
    """

    n_templates: int
    embedding_size: int
    kind: str
    fill_s: float
    start_s: float
    one_ms: float
    one_p95_ms: float
    eight_ms: float
    add_ms: float
    remove_ms: float
    pause_ms: float
    n_probes: int
    top1: float
    rss_mib: float
    file_mib: float


def bench_search(
    directory: Path,
    n_templates: int,
    *,
    embedding_size: int = 128,
    n_exact: int = N_EXACT,
    progress: Callable[[float], None] | None = None,
) -> SearchFigures:
    """Return the figures of a gallery filled with synthetic people.

    Half of the probes are noisy templates, the other half strangers. Strangers are harder: no
    template stands out.

    Args:
        directory: empty; the gallery's file stays in it.
        n_templates: number of photos, five per person.
        embedding_size: D.
        n_exact: number of probes compared with the plain matrix product.
        progress: called with the fraction done, in [0, 1].
    """
    tell = progress or (lambda part: None)
    began = time.perf_counter()
    _fill(directory, n_templates, embedding_size, lambda part: tell(0.6 * part))
    fill_s = time.perf_counter() - began
    began = time.perf_counter()
    with Gallery.open(directory, model_id="bench", embedding_size=embedding_size) as gallery:
        start_s = time.perf_counter() - began
        memory_mib = rss_mib()
        probes = _probes(n_templates, embedding_size, n_exact)
        one = _timed(lambda i: gallery.search(probes[i : i + 1], threshold=0.3))
        eight = _timed(lambda i: gallery.search(probes[i : i + 8], threshold=0.3))
        tell(0.7)
        add, remove, pause = _changes(gallery, probes)
        tell(0.8)
        top1 = _agreement(gallery, probes, n_templates)
        tell(1.0)
        return SearchFigures(
            n_templates=n_templates,
            embedding_size=embedding_size,
            kind=gallery.index_kind,
            fill_s=fill_s,
            start_s=start_s,
            one_ms=statistics.median(one),
            one_p95_ms=float(np.percentile(one, 95)),
            eight_ms=statistics.median(eight),
            add_ms=statistics.median(add),
            remove_ms=statistics.median(remove),
            pause_ms=pause,
            n_probes=len(probes),
            top1=top1,
            rss_mib=memory_mib,
            file_mib=gallery.file.path.stat().st_size / 2**20,
        )


def _chunks(n: int, size: int) -> Iterator[tuple[int, Floats]]:
    for start in range(0, n, CHUNK):
        rng = np.random.default_rng([1, start])
        yield start, _unit(rng, min(CHUNK, n - start), size)


def _unit(rng: np.random.Generator, n: int, size: int) -> Floats:
    rows = rng.standard_normal((n, size), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _fill(directory: Path, n_templates: int, size: int, progress: Callable[[float], None]) -> None:
    with Gallery.open(directory, model_id="bench", embedding_size=size) as gallery:
        for start, rows in _chunks(n_templates, size):
            with gallery.file.writing() as connection:
                connection.executemany(
                    "INSERT INTO identities (person, identity_id, name, name_key, created_at)"
                    " VALUES (?, ?, ?, ?, 0)",
                    [
                        (1 + number, f"{number:016x}", f"person {number}", f"person {number}")
                        for number in range(start // PER_PERSON, (start + len(rows)) // PER_PERSON)
                    ],
                )
                connection.executemany(
                    "INSERT INTO photos (person, source_sha256, quality, model_id, created_at,"
                    " embedding) VALUES (?, ?, 0.5, 'bench', 0, ?)",
                    (
                        (1 + (start + i) // PER_PERSON, f"{start + i:064x}", row.tobytes())
                        for i, row in enumerate(rows)
                    ),
                )
            progress((start + len(rows)) / n_templates)
        trim_journal(gallery.file)
        gallery.file.truncate_log()


def _probes(n_templates: int, size: int, n_probes: int) -> Floats:
    rng = np.random.default_rng(2)
    wanted = np.sort(rng.integers(0, n_templates, n_probes // 2))
    near = np.concatenate(
        [
            rows[wanted[(wanted >= start) & (wanted < start + len(rows))] - start]
            for start, rows in _chunks(n_templates, size)
        ]
    )
    near = near + NOISE * rng.standard_normal(near.shape, dtype=np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return rng.permutation(np.concatenate([near, _unit(rng, n_probes // 2, size)]))


def _timed(search: Callable[[int], object]) -> list[float]:
    search(0)
    times = []
    for repeat in range(REPEATS):
        began = time.perf_counter()
        search(8 * repeat)
        times.append(1000 * (time.perf_counter() - began))
    return times


def _changes(gallery: Gallery, probes: Floats) -> tuple[list[float], list[float], float]:
    add, remove, searches = [], [], []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            gallery.search(probes[:1], threshold=0.3)
            searches.append(1000 * (time.perf_counter() - began))

    looking = threading.Thread(target=look, name="bench-look")
    looking.start()
    try:
        for number in range(REPEATS):
            photo = NewPhoto(probes[number], None, f"{number:064x}", 0.5)
            began = time.perf_counter()
            identity, _ = gallery.photos.add(f"new {number}", [photo])
            added = time.perf_counter()
            gallery.people.remove(identity.identity_id)
            removed = time.perf_counter()
            add.append(1000 * (added - began))
            remove.append(1000 * (removed - added))
    finally:
        stop.set()
        looking.join()
    return add, remove, max(searches, default=0.0)


def _agreement(gallery: Gallery, probes: Floats, n_templates: int) -> float:
    best = np.full(len(probes), -2.0, np.float32)
    person = np.zeros(len(probes), np.int64)
    for start, rows in _chunks(n_templates, gallery.embedding_size):
        for first in range(0, len(probes), EXACT_ROWS):
            some = slice(first, first + EXACT_ROWS)
            similarities = probes[some] @ rows.T
            top = similarities.argmax(axis=1)
            value = similarities[np.arange(len(top)), top]
            is_better = value > best[some]
            best[some][is_better] = value[is_better]
            person[some][is_better] = (start + top[is_better]) // PER_PERSON
    same = 0
    for i in range(0, len(probes), TOGETHER):
        for j, ranked in enumerate(gallery.best(probes[i : i + TOGETHER])):
            same += ranked[0].identity.name == f"person {person[i + j]}"
    return same / len(probes)


def rss_mib() -> float:
    """Return the memory of this process, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # the peak, on other systems
