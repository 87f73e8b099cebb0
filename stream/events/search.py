"""Search over the faces of past sightings: which stays show the face of a photo, event or person.

A sighting is a track whose embeddings were pooled to one template; the sightings of one stay are
one result, with the similarity of the most similar one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.errors import EventLogError, UnknownEventError
from stream.events.log import COLUMNS, LoggedEvent, logged
from stream.events.schema import FILE_NAME, connect_reader, log_errors
from stream.events.search_index import (
    Filter,
    Floats,
    Hit,
    Ids,
    SearchIndex,
    Stored,
    best_stays,
)

logger = logging.getLogger(__name__)

CHUNK = 4_096
"""Sightings read at a time: each statement ends within 20 ms, so that no erasure waits for it."""

MOST_PROBES = 16
"""Probes of one search: more photos of a person are thinned out to the most different ones."""

VALUES = 500
"""Ids of one statement: SQLite takes up to 999 or 32,766 values, by its version."""

READ = """
SELECT sightings.id, sightings.camera, events.at, sightings.event_id, sightings.model_id,
    sightings.template, events.name IS NOT NULL
FROM sightings JOIN events ON events.id = sightings.event_id
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A stay that shows the face searched for.

    Attributes:
        event: the newest event of the stay that says who it is.
        similarity: of its most similar sighting, cosine.
        visitor_id: whom that sighting belongs to; None for none.
        sighting_id: of that sighting.
    """

    event: LoggedEvent
    similarity: float
    visitor_id: str | None
    sighting_id: int


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Some sightings, in ascending order of their ids; (M,) and (M, D)."""

    ids: Ids
    cameras: list[str]
    at: NDArray[np.float64]
    event_ids: list[int]
    templates: Floats
    is_named: list[bool]
    foreign: list[int]  # of other models


class SightingReader:
    """Reads sightings from the event log's file, beside the service that writes it; one thread.

    Args:
        directory: of the event log.
        model_id: of the model whose sightings are compared.
        embedding_size: D of that model.

    Raises:
        EventLogError: if there is no log, or it cannot be read.
    """

    def __init__(self, directory: Path, *, model_id: str, embedding_size: int) -> None:
        self._path = directory / FILE_NAME
        self._model_id = model_id
        self._size = embedding_size
        self._connection = connect_reader(directory)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def version(self) -> int:
        """Return a number that changes whenever any process has changed the file."""
        return self._number("PRAGMA data_version")

    def revision(self) -> int:
        """Return the number of the last change of a sighting."""
        return self._number("SELECT coalesce(max(revision), 0) FROM sighting_changes")

    def count(self) -> int:
        """Return the number of sightings, of all models."""
        return self._number("SELECT count(*) FROM sightings")

    def changed_since(self, revision: int) -> list[int] | None:
        """Return the ids of sightings changed or erased since; None if that is too long ago."""
        with self._errors():
            first = self._connection.execute(
                "SELECT min(revision) FROM sighting_changes"
            ).fetchone()[0]
            if first is not None and first > revision + 1:
                return None
            rows = self._connection.execute(
                "SELECT DISTINCT sighting_id FROM sighting_changes WHERE revision > ?", (revision,)
            ).fetchall()
        return [int(row[0]) for row in rows]

    def all(self, only: Filter | None = None) -> Iterator[_Chunk]:
        """Yield all sightings, or those of a filter, some at a time."""
        clauses, values = _where(only or Filter())
        last = 0
        while True:
            with self._errors():
                rows = self._connection.execute(
                    f"{READ} WHERE sightings.id > ?{clauses} ORDER BY sightings.id LIMIT ?",
                    (last, *values, CHUNK),
                ).fetchall()
            if not rows:
                return
            last = int(rows[-1][0])
            yield self._chunk(rows)

    def some(self, ids: Sequence[int]) -> Iterator[_Chunk]:
        """Yield sightings by id, those that still exist."""
        for start in range(0, len(ids), VALUES):
            few = ids[start : start + VALUES]
            with self._errors():
                rows = self._connection.execute(
                    f"{READ} WHERE sightings.id IN ({_marks(few)}) ORDER BY sightings.id", few
                ).fetchall()
            if rows:
                yield self._chunk(rows)

    def stored(self, ids: Sequence[int]) -> Mapping[int, Stored]:
        """Return what is compared exactly, by id."""
        return {
            sighting_id: Stored(event_id, template, is_named)
            for chunk in self.some(ids)
            for sighting_id, event_id, template, is_named in zip(
                chunk.ids.tolist(), chunk.event_ids, chunk.templates, chunk.is_named, strict=True
            )
        }

    def strangers(self, ids: Sequence[int]) -> Mapping[int, Stored]:
        """Return the same of sightings of unknown people alone."""
        return {key: each for key, each in self.stored(ids).items() if not each.is_named}

    def ids_of(self, identity_id: str) -> Ids:
        """Return the ids of a person's sightings, (M,) int64."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT sightings.id FROM events JOIN sightings ON event_id = events.id "
                "WHERE identity_id = ?",
                (identity_id,),
            ).fetchall()
        return np.array([row[0] for row in rows], np.int64)

    def found(self, hits: Sequence[Hit]) -> list[Found]:
        """Return hits with their events, those that still exist, in the same order."""
        events: dict[int, LoggedEvent] = {}
        visitors: dict[int, str | None] = {}
        for start in range(0, len(hits), VALUES):
            some = hits[start : start + VALUES]
            with self._errors():
                marks = _marks(some)
                rows = self._connection.execute(
                    f"SELECT {COLUMNS} FROM events WHERE id IN ({marks})",
                    [hit.event_id for hit in some],
                ).fetchall()
                events |= {int(row[0]): logged(row) for row in rows}
                visitors |= dict(
                    self._connection.execute(
                        f"SELECT id, visitor_id FROM sightings WHERE id IN ({marks})",
                        [hit.sighting_id for hit in some],
                    ).fetchall()
                )
        return [
            Found(events[hit.event_id], hit.similarity, visitors[hit.sighting_id], hit.sighting_id)
            for hit in hits
            if hit.event_id in events and hit.sighting_id in visitors
        ]

    def of_event(self, event_id: int) -> Floats:
        """Return the templates of an event's stay, (N, D) float32; N is 0 if none was kept.

        Raises:
            UnknownEventError: if there is no such event.
        """
        with self._errors():
            row = self._connection.execute(
                "SELECT run, track_number FROM events WHERE id = ?", (event_id,)
            ).fetchone()
            if row is None:
                raise UnknownEventError(event_id)
            return self._templates(
                "event_id = ? OR event_id IN "
                "(SELECT id FROM events WHERE run = ? AND track_number = ?)",
                (event_id, *row),
            )

    def of_visitor(self, visitor_id: str) -> Floats:
        """Return the templates of a visitor's sightings, (N, D) float32; N is 0 if unknown.

        Those of visitors merged into the same one are among them.
        """
        with self._errors():
            return self._templates(
                "visitor_id = ?1 OR visitor_id IN (SELECT each.visitor_id FROM visitors AS each "
                "JOIN visitors AS wanted USING (root) WHERE wanted.visitor_id = ?1)",
                (visitor_id,),
            )

    def _templates(self, clause: str, values: Sequence[str | int]) -> Floats:
        rows = self._connection.execute(
            f"SELECT template FROM sightings WHERE ({clause}) AND model_id = ? "
            "ORDER BY id DESC LIMIT 1000",
            (*values, self._model_id),
        ).fetchall()
        return self._vectors([row[0] for row in rows if len(row[0]) == 2 * self._size])

    def _chunk(self, rows: list[tuple[int, str, float, int, str, bytes, int]]) -> _Chunk:
        ours = [r for r in rows if r[4] == self._model_id and len(r[5]) == 2 * self._size]
        known = {row[0] for row in ours}
        return _Chunk(
            ids=np.array([row[0] for row in ours], np.int64),
            cameras=[row[1] for row in ours],
            at=np.array([row[2] for row in ours], np.float64),
            event_ids=[row[3] for row in ours],
            templates=self._vectors([row[5] for row in ours]),
            is_named=[bool(row[6]) for row in ours],
            foreign=[row[0] for row in rows if row[0] not in known],
        )

    def _vectors(self, blobs: Sequence[bytes]) -> Floats:
        return unit(np.frombuffer(b"".join(blobs), "<f2").reshape(-1, self._size))

    def _number(self, statement: str) -> int:
        with self._errors():
            return int(self._connection.execute(statement).fetchone()[0])

    def _errors(self) -> AbstractContextManager[None]:
        return log_errors(self._path, "cannot read past sightings")


class SightingSearch:
    """Searches all sightings of a model, with an index that follows the file; one thread.

    Args:
        directory: of the event log.
        model_id: of the model whose sightings are searched.
        embedding_size: D of that model.

    Attributes:
        loaded: fraction of the sightings in the index, in [0, 1]; 1 once it is complete. Read by
            any thread.
        n_foreign: sightings of other models, which are left out. Read by any thread.
    """

    def __init__(self, directory: Path, *, model_id: str, embedding_size: int) -> None:
        self.loaded = 0.0
        self.n_foreign = 0
        self._directory = directory
        self._model_id = model_id
        self._size = embedding_size
        self._reader: SightingReader | None = None
        self._index: SearchIndex | None = None
        self._foreign: set[int] = set()
        self._version = self._revision = -1

    def __len__(self) -> int:
        return 0 if self._index is None else len(self._index)

    @property
    def is_loading(self) -> bool:
        """Whether the index is being filled; from any thread."""
        return 0.0 < self.loaded < 1.0

    @property
    def is_filled(self) -> bool:
        """Whether there is an index that must follow the file; from any thread."""
        return self._index is not None

    @property
    def n_bytes(self) -> int:
        """Size of the index, bytes."""
        return 0 if self._index is None else self._index.n_bytes

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def reader(self) -> SightingReader:
        """Return the reader of the file, opened at its first use.

        Raises:
            EventLogError: if it cannot be opened.
        """
        if self._reader is None:
            self._reader = SightingReader(
                self._directory, model_id=self._model_id, embedding_size=self._size
            )
        return self._reader

    def find(
        self,
        probes: Floats,
        *,
        limit: int,
        min_similarity: float,
        only: Filter | None = None,
    ) -> list[Found]:
        """Return the stays that show the face of any of the probes, most similar first.

        The first search reads all sightings, at about 300,000 a second.

        Args:
            probes: (N, D) float32, unit length: one face, in N photos.
            limit: maximum number of stays.
            min_similarity: cosine that one of their sightings must reach.
            only: which sightings are searched.

        Raises:
            EventLogError: if the file cannot be read.
        """
        index, reader = self.refresh(), self.reader()
        hits = index.search(
            spread(probes, MOST_PROBES),
            reader.stored,
            limit=limit,
            min_similarity=min_similarity,
            only=only,
        )
        return reader.found(hits)

    def find_strangers(
        self, probes: Floats, *, identity_id: str, limit: int, min_similarity: float
    ) -> list[Found]:
        """Return the stays of unknown people that show a person's face, most similar first.

        Args:
            probes: (N, D) float32, unit length: the person's photos.
            identity_id: the person, whose own sightings would be the most similar ones.
            limit: maximum number of stays.
            min_similarity: cosine that one of their sightings must reach.

        Raises:
            EventLogError: if the file cannot be read.
        """
        index, reader = self.refresh(), self.reader()
        hits = index.search(
            spread(probes, MOST_PROBES),
            reader.strangers,
            limit=limit,
            min_similarity=min_similarity,
            without=reader.ids_of(identity_id),
        )
        # Another process may have named some since.
        return [found for found in reader.found(hits) if found.event.name is None]

    def follow(self) -> None:
        """Apply changes of the file if the index was filled; takes microseconds if there are none.

        Raises:
            EventLogError: if the file cannot be read.
        """
        if self._index is not None:
            self.refresh()

    def refresh(self) -> SearchIndex:
        """Return the index with all changes of the file, by any process, filled if need be.

        Raises:
            EventLogError: if the file cannot be read.
        """
        reader = self.reader()
        if self._index is None:
            return self._load(reader)
        version = reader.version()
        if version == self._version:
            return self._index
        # Read first: what is changed meanwhile is applied twice rather than never.
        revision = reader.revision()
        changed = reader.changed_since(self._revision) if revision >= self._revision else None
        if changed is None:
            return self._load(reader)
        for start in range(0, len(changed), CHUNK):
            ids = changed[start : start + CHUNK]
            self._index.remove(np.array(ids, np.int64))
            self._foreign.difference_update(ids)
            for chunk in reader.some(ids):
                self._add(self._index, chunk)
        self.n_foreign = len(self._foreign)
        self._version, self._revision = version, revision
        return self._index

    def _load(self, reader: SightingReader) -> SearchIndex:
        # Both are read first, as above.
        version, revision = reader.version(), reader.revision()
        total, n = reader.count(), 0
        self._index, self._foreign, self.loaded = None, set(), 1e-6
        index = SearchIndex(self._size)
        try:
            for chunk in reader.all():
                self._add(index, chunk)
                n += len(chunk.ids) + len(chunk.foreign)
                self.loaded = min(0.999, max(self.loaded, n / max(1, total)))
        except EventLogError:
            self.loaded = 0.0  # the next search begins anew
            raise
        self._index, self.n_foreign = index, len(self._foreign)
        self._version, self._revision, self.loaded = version, revision, 1.0
        return self.refresh()

    def _add(self, index: SearchIndex, chunk: _Chunk) -> None:
        index.put(chunk.ids, chunk.cameras, chunk.at, chunk.templates)
        self._foreign.update(chunk.foreign)


def scan(
    reader: SightingReader,
    probes: Floats,
    *,
    limit: int,
    min_similarity: float,
    only: Filter | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> tuple[list[Found], int]:
    """Search without an index, by reading every sighting once.

    Args:
        reader: of the file.
        probes: (N, D) float32, unit length: one face, in N photos.
        limit: maximum number of stays.
        min_similarity: cosine that one of their sightings must reach.
        only: which sightings are searched.
        progress: called with the number of sightings read so far.

    Returns:
        The stays, most similar first; the number of sightings of other models, which are left out.
    """
    probes = spread(probes, MOST_PROBES)
    best: list[Hit] = []
    n_read = n_foreign = 0
    for chunk in reader.all(only):
        hits = best_stays(
            chunk.ids.tolist(), chunk.event_ids, chunk.templates, probes, min_similarity
        )
        best = _merged([*best, *hits])[:limit]
        n_foreign += len(chunk.foreign)
        n_read += len(chunk.ids) + len(chunk.foreign)
        progress(n_read)
    return reader.found(best), n_foreign


def foreign_notice(n: int) -> str:
    """Return the notice about sightings of other models."""
    sightings = "1 past sighting is" if n == 1 else f"{n} past sightings are"
    return f"{sightings} of another model: a search leaves them out"


def spread(probes: Floats, n: int) -> Floats:
    """Return at most n of the probes, the most different ones, beginning with the first.

    Args:
        probes: (N, D) float32, unit length.
        n: maximum number.

    Source: farthest-point sampling, Gonzalez 1985.
    """
    if len(probes) <= n:
        return probes
    chosen = [0]
    nearest = probes @ probes[0]
    while len(chosen) < n:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, probes @ probes[chosen[-1]])
    return probes[chosen]


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Return (N, D) vectors as float32 of unit length; a zero vector stays as it is."""
    rows = vectors.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), np.float32)


def _merged(hits: Sequence[Hit]) -> list[Hit]:
    """Return the best hit of each stay, most similar first, equal ones newest first."""
    best: dict[int, Hit] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.similarity, -hit.event_id)):
        best.setdefault(hit.event_id, hit)
    return list(best.values())


def _where(only: Filter) -> tuple[str, list[str | float]]:
    clauses: list[str] = []
    values: list[str | float] = []
    for clause, value in (
        (" AND sightings.camera = ?", only.camera),
        (" AND events.at >= ?", only.after),
        (" AND events.at < ?", only.before),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    return "".join(clauses), values


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
