"""`facewire bench past`: speed, memory and exactness of the search over past sightings."""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer import ImageError, Recognizer, read_photo
from stream.bench.follow import SUFFIXES
from stream.bench.search import rss_mib
from stream.enrollment.searched_face import searched_face
from stream.errors import StreamError
from stream.events.log import EventLog
from stream.events.schema import connect
from stream.events.search import SightingReader, SightingSearch, unit
from stream.events.search_index import Filter

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

CHUNK = 20_000
PER_PERSON = 20
"""Sightings of a person: strangers come back."""

NOISE = 0.06  # deviation per component: sightings of a person are as similar as photos in LFW
MODEL = "bench"
N_CAMERAS = 8
N_APPENDED = 50
LIMIT = 20
MIN_SIMILARITY = 0.4
TIE = 1e-6
"""Difference of similarities below which the order is that of rounding."""


@dataclass(frozen=True, slots=True)
class PastFigures:
    """The results of one run.

    Attributes:
        n_sightings: number of sightings.
        embedding_size: D.
        fill_s: time to write all of them to the file, seconds.
        load_s: time of the first search, which reads all of them, seconds.
        search_ms: a search for one face, median, milliseconds.
        search_p95_ms: its 95th percentile.
        filtered_p95_ms: the same of one camera and half of the time.
        append_ms: one more sighting, from the index's noticing it to its being found, median.
        erase_ms: the same of an erased one.
        exact: the fraction of searches whose results equal those of comparing every sighting in
            float32; results as similar as each other to 1e-6 may be in either order.
        n_exact: number of searches that were compared.
        index_mib: size of the index, MiB.
        rss_mib: growth of the process's memory by the index, MiB.
        process_mib: memory of the process, its libraries included, MiB.
        file_mib: size of the file.
    """

    n_sightings: int
    embedding_size: int
    fill_s: float
    load_s: float
    search_ms: float
    search_p95_ms: float
    filtered_p95_ms: float
    append_ms: float
    erase_ms: float
    exact: float
    n_exact: int
    index_mib: float
    rss_mib: float
    process_mib: float
    file_mib: float


def bench_past(
    directory: Path,
    n_sightings: int,
    *,
    embedding_size: int = 128,
    faces: Floats | None = None,
    n_searches: int = 200,
    n_exact: int = 2_000,
    progress: Callable[[float], None] | None = None,
) -> PastFigures:
    """Return the figures of an event log filled with synthetic sightings.

    A synthetic person is random, or a mix of two of the given faces; each has 20 sightings with
    noise. Half of the probes are noisy sightings, the other half of people never seen.

    Args:
        directory: empty; the file stays in it.
        n_sightings: number of sightings.
        embedding_size: D.
        faces: (M, D) float32 embeddings of real faces, unit length; None for random people.
        n_searches: number of searches for the times.
        n_exact: number of searches compared with all sightings.
        progress: called with the fraction done, in [0, 1].
    """
    tell = progress or (lambda part: None)
    began = time.perf_counter()
    people = _People(embedding_size, faces)
    _fill(directory, n_sightings, people, lambda part: tell(0.6 * part))
    fill_s = time.perf_counter() - began
    probes = people.probes(n_sightings, max(n_searches, n_exact))
    search = SightingSearch(directory, model_id=MODEL, embedding_size=embedding_size)
    try:
        before = rss_mib()
        began = time.perf_counter()
        search.find(probes[:1], limit=LIMIT, min_similarity=MIN_SIMILARITY)
        load_s = time.perf_counter() - began
        after = rss_mib()
        tell(0.7)
        plain = _timed(search, probes[:n_searches], None)
        half = Filter(camera="camera1", after=0.5 * n_sightings)
        filtered = _timed(search, probes[:n_searches], half)
        tell(0.8)
        append, erase = _changes(directory, search, people.probes(n_sightings, N_APPENDED, seed=3))
        tell(0.85)
        equal = _n_equal(search, probes[:n_exact])
        tell(1.0)
        return PastFigures(
            n_sightings=n_sightings,
            embedding_size=embedding_size,
            fill_s=fill_s,
            load_s=load_s,
            search_ms=statistics.median(plain),
            search_p95_ms=float(np.percentile(plain, 95)),
            filtered_p95_ms=float(np.percentile(filtered, 95)),
            append_ms=statistics.median(append),
            erase_ms=statistics.median(erase),
            exact=equal / n_exact,
            n_exact=n_exact,
            index_mib=search.n_bytes / 2**20,
            rss_mib=after - before,
            process_mib=after,
            file_mib=sum(each.stat().st_size for each in directory.iterdir()) / 2**20,
        )
    finally:
        search.close()


def faces_in(
    recognizer: Recognizer, directory: Path, *, progress: Callable[[int, int], None]
) -> Floats:
    """Return the embeddings of the largest faces of the photos below a directory, (M, D).

    Args:
        recognizer: makes the embeddings.
        directory: of the photos.
        progress: called with the number of photos so far, and of all.

    Raises:
        StreamError: if fewer than two of them show a face.
    """
    found = []
    photos = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    for number, path in enumerate(photos):
        progress(number, len(photos))
        try:
            face = searched_face(recognizer, read_photo(path))
        except ImageError as error:
            logger.warning("%s", error)
            continue
        if face is not None:
            found.append(face.probe)
    if len(found) < 2:
        raise StreamError(f"{directory}: fewer than two photos show a face: give more of them")
    return np.concatenate(found)


class _People:
    """Synthetic people and their sightings, the same for the same numbers."""

    def __init__(self, size: int, faces: Floats | None) -> None:
        self.size = size
        self._faces = faces

    def base(self, first: int, n: int, *, seed: int = 1) -> Floats:
        """Return the templates of n people, (n, D) float32, of unit length."""
        rng = np.random.default_rng([seed, first])
        if self._faces is None:
            return unit(rng.standard_normal((n, self.size), dtype=np.float32))
        pairs = rng.integers(0, len(self._faces), (2, n))
        parts = rng.uniform(0.2, 0.8, (n, 1)).astype(np.float32)
        mixed = parts * self._faces[pairs[0]] + (1 - parts) * self._faces[pairs[1]]
        return _noisy(rng, unit(mixed))

    def sightings(self, n: int) -> Iterator[tuple[int, Floats]]:
        """Yield all sightings in chunks, each with the number of its first."""
        for start in range(0, n, CHUNK):
            count = min(CHUNK, n - start)
            rng = np.random.default_rng([4, start])
            base = self.base(start // PER_PERSON, -(-count // PER_PERSON))
            yield start, _noisy(rng, np.repeat(base, PER_PERSON, axis=0)[:count])

    def probes(self, n_sightings: int, n: int, *, seed: int = 2) -> Floats:
        """Return n probes, (n, D): half of people with sightings, half of others."""
        rng = np.random.default_rng(seed)
        starts = rng.integers(0, -(-n_sightings // CHUNK), n // 2) * CHUNK
        near = []
        for start in starts.tolist():
            n_people = max(1, min(CHUNK, n_sightings - start) // PER_PERSON)
            base = self.base(start // PER_PERSON, n_people)
            near.append(base[rng.integers(0, n_people)].copy())  # a view would keep all of them
        known = _noisy(rng, np.stack(near)) if near else np.empty((0, self.size), np.float32)
        strangers = self.base(0, n - len(known), seed=5 + seed)
        return rng.permutation(np.concatenate([known, strangers]))


def _fill(
    directory: Path, n_sightings: int, people: _People, progress: Callable[[float], None]
) -> None:
    connection = connect(directory)
    try:
        connection.execute("PRAGMA foreign_keys = OFF")
        for start, templates in people.sightings(n_sightings):
            connection.execute("BEGIN")
            connection.executemany(EVENT, (_event(start + i) for i in range(len(templates))))
            connection.executemany(
                SIGHTING, (_sighting(start + i, row) for i, row in enumerate(templates))
            )
            connection.execute("COMMIT")
            progress((start + len(templates)) / n_sightings)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


EVENT = (
    "INSERT INTO events (id, kind, camera, at, run, track_number, detail) "
    "VALUES (?, 'unknown', ?, ?, 'bench', ?, '')"
)
SIGHTING = (
    "INSERT INTO sightings (id, run, track_number, stay, event_id, camera, began, ended, is_over, "
    "model_id, template, exemplars, n_good, good_s, face_px, quality, crop) "
    "VALUES (?, 'bench', ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, 9, 3.0, 80.0, '{}', ?)"
)
CROP = bytes(400)  # shorter than a JPEG: a million of those would take 5 GB


def _event(number: int) -> tuple[int, str, float, int]:
    return 1 + number, f"camera{number % N_CAMERAS}", float(number), 1 + number


def _sighting(number: int, template: Floats) -> tuple[object, ...]:
    key, at = 1 + number, float(number)
    stored = template.astype("<f2").tobytes()
    camera = f"camera{number % N_CAMERAS}"
    return key, key, key, key, camera, at, at + 3, MODEL, stored, stored, CROP


def _timed(search: SightingSearch, probes: Floats, only: Filter | None) -> list[float]:
    times = []
    for i in range(len(probes)):
        began = time.perf_counter()
        search.find(probes[i : i + 1], limit=LIMIT, min_similarity=MIN_SIMILARITY, only=only)
        times.append(1000 * (time.perf_counter() - began))
    return times


def _changes(
    directory: Path, search: SightingSearch, faces: Floats
) -> tuple[list[float], list[float]]:
    append, erase = [], []
    with EventLog.open(directory, keep_days=float("inf"), keep_bytes=1 << 60):
        pass  # as the service has done before
    connection = connect(directory)
    try:
        n = int(connection.execute("SELECT max(id) FROM sightings").fetchone()[0])
        for i, face in enumerate(faces):
            began = time.perf_counter()
            connection.execute(EVENT, _event(n + i))
            connection.execute(SIGHTING, _sighting(n + i, face))
            search.follow()
            append.append(1000 * (time.perf_counter() - began))
        for i in range(len(faces)):
            began = time.perf_counter()
            connection.execute("DELETE FROM events WHERE id = ?", (1 + n + i,))
            search.follow()
            erase.append(1000 * (time.perf_counter() - began))
    finally:
        connection.close()
    return append, erase


def _n_equal(search: SightingSearch, probes: Floats) -> int:
    """Return for how many of the probes a search finds what comparing all sightings finds."""
    event_ids, similarities = _nearest(search.reader(), probes)
    n_equal = 0
    for i, (ids, exact) in enumerate(zip(event_ids, similarities, strict=True)):
        n_wanted = min(LIMIT, int(np.count_nonzero(exact >= MIN_SIMILARITY)))
        found = search.find(probes[i : i + 1], limit=LIMIT, min_similarity=MIN_SIMILARITY)
        n_equal += len(found) == n_wanted and all(
            abs(each.similarity - exact[rank]) < TIE
            and (each.event.id == ids[rank] or _gap(exact, rank) < TIE)
            for rank, each in enumerate(found)
        )
    return n_equal


def _gap(similarities: Floats, rank: int) -> float:
    """Return how far the similarity at a rank is from the next one above or below it."""
    return float(np.delete(abs(similarities - similarities[rank]), rank).min(initial=np.inf))


def _nearest(reader: SightingReader, probes: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the sightings most similar to each probe, by comparing all in float32.

    Each is the only one of its stay here.

    Returns:
        (N, up to LIMIT + 1) ids of their events; (N, up to LIMIT + 1) similarities, descending.
    """
    ids = np.empty((len(probes), 0), np.int64)
    best = np.empty((len(probes), 0), np.float32)
    for chunk in reader.all():
        new = np.broadcast_to(np.array(chunk.event_ids, np.int64), (len(probes), len(chunk.ids)))
        ids = np.concatenate([ids, new], axis=1)
        best = np.concatenate([best, probes @ chunk.templates.T], axis=1)
        n = min(LIMIT + 1, best.shape[1])
        kept = np.argpartition(-best, n - 1, axis=1)[:, :n]
        ids, best = np.take_along_axis(ids, kept, 1), np.take_along_axis(best, kept, 1)
    order = np.argsort(-best, axis=1)
    return np.take_along_axis(ids, order, 1), np.take_along_axis(best, order, 1)


def _noisy(rng: np.random.Generator, rows: Floats) -> Floats:
    return unit(rows + np.float32(NOISE) * rng.standard_normal(rows.shape, dtype=np.float32))
