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

from gallery import Gallery, Match, NewPhoto
from gallery.templates import trim_journal

Floats = NDArray[np.float32]

CHUNK = 50_000
PER_PERSON = 5  # photos; enrollment recommends five
REPEATS = 30
# Probes compared with the plain matrix product: enough to detect one wrong answer in 10,000. At a
# million templates they take about as long as filling the gallery.
THRESHOLD = 0.3
"""Of the searches that are timed: any does, their embeddings are made up."""

N_EXACT = 20_000
N_EXACT_LARGE = 2_000  # from two million templates on
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
        first_start_s: time to open the gallery for the first time, seconds.
        start_s: the same for the next time.
        one_ms: a search for one probe, median, milliseconds.
        one_p95_ms: its 95th percentile.
        eight_ms: a search for eight probes at once, median.
        add_ms: enrolling one photo of a new person, median, on the disk and searched.
        remove_ms: erasing one person, median.
        pause_ms: the longest search of one probe while another thread enrolled and erased.
        n_probes: probes whose answer was compared with the plain matrix product's.
        top1: the fraction of those with the same best template.
        rss_mib: memory of the process after the searches, MiB, its libraries included.
        file_mib: size of the file, with that of the index if there is one.
    """

    n_templates: int
    embedding_size: int
    kind: str
    fill_s: float
    first_start_s: float
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
    faces: Floats | None = None,
    n_exact: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> SearchFigures:
    """Return the figures of a gallery filled with synthetic people.

    Without faces, half of the probes are noisy templates, the other half strangers. Strangers are
    harder: no template stands out. With faces, people are mixed from two of the first two thirds
    of them, and the probes are all of the faces, the last third being strangers; if they are too
    few, noisy copies of them.

    Args:
        directory: empty; the gallery's file stays in it.
        n_templates: number of photos, five per person.
        embedding_size: D.
        faces: (M, D) float32 embeddings of real faces, unit length, those of a person one after
            the other; None for random people.
        n_exact: number of probes compared with the plain matrix product; None for 20,000, or
            2,000 from two million templates on.
        progress: called with the fraction done, in [0, 1].
    """
    tell = progress or (lambda part: None)
    if n_exact is None:
        n_exact = N_EXACT if n_templates < 2_000_000 else N_EXACT_LARGE
    people = People(embedding_size, faces)
    began = time.perf_counter()
    fill(directory, n_templates, people, lambda part: tell(0.6 * part))
    fill_s = time.perf_counter() - began
    first_start_s, start_s = (_started_s(directory, embedding_size) for _ in range(2))
    with Gallery.open(directory, model_id="bench", embedding_size=embedding_size) as gallery:
        memory_mib = rss_mib()
        probes = people.probes(n_templates, n_exact)
        unrelated_mib = rss_mib() - memory_mib
        one = timed(lambda i: gallery.search(probes[i : i + 1], threshold=THRESHOLD))
        eight = timed(lambda i: gallery.search(probes[i : i + 8], threshold=THRESHOLD))
        tell(0.7)
        gallery.check_recent()  # reads the whole index once, as the service does
        memory_mib = rss_mib() - unrelated_mib
        add, remove, pause = changes(gallery, probes)
        tell(0.8)
        top1 = agreement(gallery, probes, people, n_templates)
        tell(1.0)
        return SearchFigures(
            n_templates=n_templates,
            embedding_size=embedding_size,
            kind=gallery.index_kind,
            fill_s=fill_s,
            first_start_s=first_start_s,
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
            file_mib=sum(each.stat().st_size for each in directory.iterdir()) / 2**20,
        )


def _started_s(directory: Path, size: int) -> float:
    began = time.perf_counter()
    with Gallery.open(directory, model_id="bench", embedding_size=size):
        return time.perf_counter() - began


class People:
    """Synthetic people and their photos, the same for the same numbers."""

    def __init__(self, size: int, faces: Floats | None) -> None:
        self.size = size
        self._faces = faces

    def photos(self, n: int) -> Iterator[tuple[int, Floats]]:
        """Yield the templates of n photos in chunks, each with the number of its first."""
        for start in range(0, n, CHUNK):
            rng = np.random.default_rng([1, start])
            count = min(CHUNK, n - start)
            yield (
                start,
                self._mixed(rng, count)
                if self._faces is not None
                else _unit(rng, count, self.size),
            )

    def probes(self, n_templates: int, n: int) -> Floats:
        """Return n probes, (n, D) float32."""
        rng = np.random.default_rng(2)
        if self._faces is not None:
            n_real = min(n, len(self._faces))
            real = self._faces[rng.permutation(len(self._faces))[:n_real]]
            copied = self._faces[rng.integers(0, len(self._faces), n - n_real)]
            return np.concatenate([real, _noisy(rng, copied)])
        wanted = np.sort(rng.integers(0, n_templates, n // 2))
        near = np.concatenate(
            [
                rows[wanted[(wanted >= start) & (wanted < start + len(rows))] - start]
                for start, rows in self.photos(n_templates)
            ]
        )
        return rng.permutation(np.concatenate([_noisy(rng, near), _unit(rng, n // 2, self.size)]))

    def _mixed(self, rng: np.random.Generator, n: int) -> Floats:
        assert self._faces is not None
        mixed = self._faces[: -(-2 * len(self._faces) // 3)]
        n_people = -(-n // PER_PERSON)
        pairs = rng.integers(0, len(mixed), (2, n_people))
        parts = rng.uniform(0.2, 0.8, (n_people, 1)).astype(np.float32)
        people = _scaled(parts * mixed[pairs[0]] + (1 - parts) * mixed[pairs[1]])
        return _noisy(rng, np.repeat(_noisy(rng, people), PER_PERSON, axis=0)[:n])


def _unit(rng: np.random.Generator, n: int, size: int) -> Floats:
    return _scaled(rng.standard_normal((n, size), dtype=np.float32))


def _noisy(rng: np.random.Generator, rows: Floats) -> Floats:
    return _scaled(rows + NOISE * rng.standard_normal(rows.shape, dtype=np.float32))


def _scaled(rows: Floats) -> Floats:
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def fill(
    directory: Path, n_templates: int, people: People, progress: Callable[[float], None]
) -> None:
    """Write a gallery of n templates."""
    with Gallery.open(directory, model_id="bench", embedding_size=people.size) as gallery:
        for start, rows in people.photos(n_templates):
            with gallery.store.writing() as connection:
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
        trim_journal(gallery.store)
        gallery.store.truncate_log()


def timed(search: Callable[[int], object]) -> list[float]:
    """Return the milliseconds of each of `REPEATS` searches, given their first probe."""
    search(0)
    times = []
    for repeat in range(REPEATS):
        began = time.perf_counter()
        search(8 * repeat)
        times.append(1000 * (time.perf_counter() - began))
    return times


def changes(gallery: Gallery, probes: Floats) -> tuple[list[float], list[float], float]:
    """Return the milliseconds of additions, of removals, and of the longest search meanwhile."""
    add, remove, searches = [], [], []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            gallery.search(probes[:1], threshold=THRESHOLD)
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


def agreement(
    gallery: Gallery,
    probes: Floats,
    people: People,
    n_templates: int,
    *,
    together: int = TOGETHER,
) -> float:
    """Return the part of the probes with the best template of the plain matrix product."""
    best = np.full(len(probes), -2.0, np.float32)
    person = np.zeros(len(probes), np.int64)
    for start, rows in people.photos(n_templates):
        for first in range(0, len(probes), EXACT_ROWS):
            some = slice(first, first + EXACT_ROWS)
            similarities = probes[some] @ rows.T
            top = similarities.argmax(axis=1)
            value = similarities[np.arange(len(top)), top]
            is_better = value > best[some]
            best[some][is_better] = value[is_better]
            person[some][is_better] = (start + top[is_better]) // PER_PERSON
    same = 0
    for i in range(0, len(probes), together):
        for j, ranked in enumerate(_all_of(gallery, probes[i : i + together])):
            same += bool(ranked) and ranked[0].identity.name == f"person {person[i + j]}"
    return same / len(probes)


def _all_of(gallery: Gallery, probes: Floats) -> list[list[Match]]:
    """Return the most similar person of each probe; shards of a busy machine are waited for."""
    while not (found := gallery.ranked(probes, 1)).is_whole:
        gallery.refresh()
    return found.matches


def rss_mib() -> float:
    """Return the memory of this process, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # the peak, on other systems
