"""What is stored of visitors in the event log's database, and how it is read.

Sightings and events keep the visitor to whom they were assigned; a merge only gives that visitor
another `root`, so that it can be undone. Ids are random and never reused.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from recognizer import Floats

VISITORS = """
SELECT root.number, root.visitor_id,
    sum(each.visit_count), min(each.first_seen), max(each.last_seen), root.is_ignored
FROM visitors AS root JOIN visitors AS each ON each.root = root.number
WHERE root.root = root.number {where}
GROUP BY root.number ORDER BY max(each.last_seen) DESC, root.number DESC {limit}
"""
OF_ROOT = "SELECT visitor_id FROM visitors WHERE root = ?"

MIN_GOOD = 3
"""Good shots of a track that is not poor."""

CORE = "n_good >= 8 AND good_s >= 2"
"""Of a sighting that alone is enough evidence of a visitor; two of any kind are too."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One sighting of a visitor; times are ISO 8601 in UTC."""

    sighting_id: int
    event_id: int
    camera: str
    began: str
    ended: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """One visitor with all that were merged into it.

    Attributes:
        number: counts from 1, never reused.
        visitor_id: 16 hexadecimal digits, never reused.
        visit_count: stays so far.
        sightings: tracks that are kept.
        cameras: that saw it, by name.
        first_seen, last_seen: ISO 8601 in UTC.
        is_ignored: never announced.
        is_provisional: seen too briefly to be sure that it is a person of its own.
        crop_id: the sighting with the best crop; None where none is kept.
        merged: ids of the visitors merged into it, the latest last.
    """

    number: int
    visitor_id: str
    visit_count: int
    sightings: int
    cameras: tuple[str, ...]
    first_seen: str
    last_seen: str
    is_ignored: bool
    is_provisional: bool
    crop_id: int | None
    merged: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called until it has a name."""
        return f"Visitor {self.number}"


def found(connection: sqlite3.Connection, at: float) -> tuple[int, str]:
    """Add a visitor; return its number and id."""
    visitor_id = secrets.token_hex(8)
    number = connection.execute(
        "INSERT INTO visitors (visitor_id, first_seen, last_seen, visit_count, is_ignored) "
        "VALUES (?, ?, ?, 0, 0)",
        (visitor_id, at, at),
    ).lastrowid
    connection.execute("UPDATE visitors SET root = number WHERE number = ?", (number,))
    assert number is not None
    return number, visitor_id


def read(
    connection: sqlite3.Connection, where: str = "", limit: str = "", values: Iterable[object] = ()
) -> list[Visitor]:
    """Return visitors, the last seen first."""
    rows = connection.execute(VISITORS.format(where=where, limit=limit), tuple(values)).fetchall()
    return [_visitor(connection, row) for row in rows]


def seen(connection: sqlite3.Connection, number: int, limit: int = 200) -> list[Seen]:
    """Return a visitor's sightings, newest first."""
    rows = connection.execute(
        f"SELECT id, event_id, camera, began, ended FROM sightings WHERE visitor_id IN ({OF_ROOT}) "
        "ORDER BY began DESC LIMIT ?",
        (number, limit),
    )
    return [Seen(row[0], row[1], row[2], iso(row[3]), iso(row[4])) for row in rows.fetchall()]


def templates(
    connection: sqlite3.Connection, model_id: str, size: int, *, is_poor: bool
) -> dict[int, dict[int, Floats]]:
    """Return the templates of every visitor by its sightings, and what ignored ones keep.

    Args:
        connection: to the event log.
        model_id: of the embeddings; others are of no use.
        size: D.
        is_poor: of poor tracks, or of all others.
    """
    found: dict[int, dict[int, Floats]] = {}
    for number, sighting, template in connection.execute(
        "SELECT visitors.root, sightings.id, template FROM sightings "
        "JOIN visitors ON visitors.visitor_id = sightings.visitor_id "
        "WHERE model_id = ? AND (n_good < ?) = ? ORDER BY sightings.id",
        (model_id, MIN_GOOD, int(is_poor)),
    ):
        found.setdefault(number, {})[sighting] = from_bytes(template)
    for number, kept in connection.execute(
        "SELECT root, kept FROM visitors WHERE kept IS NOT NULL AND kept_model = ? "
        "AND kept_poor = ?",
        (model_id, int(is_poor)),
    ):
        own = found.setdefault(number, {})
        for row, template in enumerate(from_bytes(kept).reshape(-1, size)):
            own[-1 - row] = template
    return found


def set_roots(connection: sqlite3.Connection) -> None:
    """Find the root of every visitor anew, after a merge or its undo."""
    connection.execute(
        "WITH RECURSIVE tree (number, root) AS ("
        "SELECT number, number FROM visitors WHERE merged_into IS NULL UNION ALL "
        "SELECT visitors.number, tree.root FROM visitors JOIN tree "
        "ON visitors.merged_into = tree.number) "
        "UPDATE visitors SET root = (SELECT root FROM tree WHERE tree.number = visitors.number)"
    )


def apart(connection: sqlite3.Connection) -> set[tuple[int, int]]:
    """Return the pairs of visitors that are different people, by their roots."""
    rows = connection.execute(
        "SELECT a.root, b.root FROM visitors_apart JOIN visitors AS a ON a.number = one "
        "JOIN visitors AS b ON b.number = other"
    )
    return {(int(one), int(other)) for one, other in rows}


def keep_apart(connection: sqlite3.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Store that pairs of visitors are different people, and drop what was proposed of them."""
    for pair in pairs:
        one, other = sorted(pair)
        if one != other:
            connection.execute("INSERT OR IGNORE INTO visitors_apart VALUES (?, ?)", (one, other))
            connection.execute(
                "DELETE FROM visitor_proposals WHERE one = ? AND other = ?", (one, other)
            )


def propose(connection: sqlite3.Connection, number: int, maybe: Mapping[int, float]) -> None:
    """Store that a visitor may be the same as others, by their cosine."""
    for each, similarity in maybe.items():
        one, other = sorted((number, each))
        connection.execute(
            "INSERT INTO visitor_proposals (one, other, similarity) VALUES (?, ?, ?) "
            "ON CONFLICT (one, other) DO UPDATE SET similarity = max(similarity, ?3)",
            (one, other, similarity),
        )


def from_bytes(blob: bytes) -> Floats:
    """Return stored float16 as float32."""
    return np.frombuffer(blob, "<f2").astype(np.float32)


def iso(wall_at: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC."""
    moment = datetime.fromtimestamp(wall_at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _visitor(connection: sqlite3.Connection, row: tuple[object, ...]) -> Visitor:
    number, visitor_id, visits, first, last, is_ignored = row
    own = f"visitor_id IN ({OF_ROOT})"
    (count, core), *_ = connection.execute(
        f"SELECT count(*), coalesce(max({CORE}), 0) FROM sightings WHERE {own}", (number,)
    ).fetchall()
    cameras = connection.execute(
        f"SELECT DISTINCT camera FROM sightings WHERE {own} ORDER BY camera", (number,)
    ).fetchall()
    best = connection.execute(
        f"SELECT id FROM sightings WHERE {own} "
        "ORDER BY json_extract(quality, '$.overall') DESC LIMIT 1",
        (number,),
    ).fetchone()
    merged = connection.execute(
        "SELECT visitor_id FROM visitors WHERE root = ?1 AND number != ?1 ORDER BY merged_at",
        (number,),
    ).fetchall()
    return Visitor(
        number=int(str(number)),
        visitor_id=str(visitor_id),
        visit_count=int(str(visits)),
        sightings=count,
        cameras=tuple(name for (name,) in cameras),
        first_seen=iso(float(str(first))),
        last_seen=iso(float(str(last))),
        is_ignored=bool(is_ignored),
        is_provisional=not core and count < 2 and not is_ignored,
        crop_id=None if best is None else int(best[0]),
        merged=tuple(each for (each,) in merged),
    )
