"""What is stored of visitors in the event log's database, and how it is read.

Sightings and events keep the visitor to whom they were assigned; a merge only gives that visitor
another `root`, so that it can be undone. Ids are random and never reused.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from recognizer import Floats
from stream.events.logged import stored_quality
from stream.events.sightings import CORE
from stream.frames import CLEAR_QUALITY, MIN_GOOD, Sighting

VISITORS = """
SELECT root.number, root.visitor_id,
    sum(each.visit_count), min(each.first_seen), max(each.last_seen), root.is_ignored
FROM visitors AS root JOIN visitors AS each ON each.root = root.number
WHERE root.root = root.number {where}
GROUP BY root.number ORDER BY max(each.last_seen) DESC, root.number DESC {limit}
"""
PROPOSALS = """
SELECT max(visitor_proposals.id), max(similarity) AS best,
    min(a.root, b.root) AS first, max(a.root, b.root) AS second
FROM visitor_proposals
JOIN visitors AS a ON a.number = one JOIN visitors AS b ON b.number = other
JOIN visitors AS c ON c.number = a.root JOIN visitors AS d ON d.number = b.root
WHERE c.number != d.number AND NOT (c.is_ignored AND d.is_ignored)
GROUP BY first, second ORDER BY best DESC
"""
NO_CROP = np.zeros((112, 112, 3), np.uint8)
"""Crops have no part in the assignment."""

OF_ROOT = "SELECT visitor_id FROM visitors WHERE root = ?"

POOR = f"n_good < {MIN_GOOD} AND json_extract(quality, '$.overall') < {CLEAR_QUALITY}"
"""Of a sighting of a poor track, see `Sighting.is_poor`."""

IN_VIEW = """(NOT is_over AND NOT EXISTS (SELECT 1 FROM events WHERE kind = 'exit'
    AND events.run = sightings.run AND events.track_number = sightings.stay))"""
"""Of a sighting of a track that has not ended, in a stay that goes on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One sighting of a visitor; times are ISO 8601 in UTC."""

    sighting_id: int
    event_id: int
    camera: str
    began: str
    ended: str


@dataclass(frozen=True, slots=True)
class Merged:
    """A visitor that was merged into another one.

    Attributes:
        number, visitor_id: of the merged one.
        at: when, ISO 8601 in UTC; None if it was by an earlier version.
        similarity: average cosine, where they were merged without a person; else None.
    """

    number: int
    visitor_id: str
    at: str | None
    similarity: float | None


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
        merged: the visitors merged into it, the latest last.
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
    merged: tuple[Merged, ...]

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
    connection: sqlite3.Connection,
    model_id: str,
    size: int,
    *,
    is_poor: bool,
    root: int | None = None,
) -> dict[int, dict[int, Floats]]:
    """Return the templates of visitors by their sightings, and what ignored ones keep.

    Args:
        connection: to the event log.
        model_id: of the embeddings; others are of no use.
        size: D.
        is_poor: of poor tracks, or of all others.
        root: only of this visitor; None for all.
    """
    whose, values = ("", ()) if root is None else ("root = ? AND ", (root,))
    found: dict[int, dict[int, Floats]] = {}
    for number, sighting, template in connection.execute(
        "SELECT visitors.root, sightings.id, template FROM sightings "
        "JOIN visitors ON visitors.visitor_id = sightings.visitor_id "
        f"WHERE {whose} model_id = ? AND coalesce({POOR}, 0) = ? ORDER BY sightings.id",
        (*values, model_id, int(is_poor)),
    ):
        found.setdefault(number, {})[sighting] = from_bytes(template)
    for number, kept in connection.execute(
        f"SELECT root, kept FROM visitors WHERE {whose} kept IS NOT NULL AND kept_model = ? "
        "AND kept_poor = ?",
        (*values, model_id, int(is_poor)),
    ):
        own = found.setdefault(number, {})
        n_before = sum(each < 0 for each in own)
        for row, template in enumerate(from_bytes(kept).reshape(-1, size)):
            own[-1 - n_before - row] = template
    return found


def uncount(
    connection: sqlite3.Connection, root: int, sighting_ids: Sequence[int]
) -> list[tuple[str, int]]:
    """Subtract the stays that leave a visitor with some of its sightings, before they leave.

    Returns:
        Run and first track of these stays.
    """
    own = "SELECT visitor_id FROM visitors WHERE root = ?1"
    stays = connection.execute(
        "WITH leaving AS (SELECT value AS id FROM json_each(?2)) "
        "SELECT min(visitor_id), run, stay FROM sightings AS each "
        f"WHERE id IN leaving AND visitor_id IN ({own}) AND NOT EXISTS ("
        "SELECT 1 FROM sightings AS other WHERE other.run = each.run AND other.stay = each.stay "
        f"AND other.id NOT IN leaving AND other.visitor_id IN ({own})) GROUP BY run, stay",
        (root, json.dumps(list(sighting_ids))),
    ).fetchall()
    for visitor_id, *_ in stays:
        connection.execute(
            "UPDATE visitors SET visit_count = max(0, visit_count - 1) WHERE visitor_id = ?",
            (visitor_id,),
        )
    return [(str(run), int(stay)) for _, run, stay in stays]


def move(
    connection: sqlite3.Connection, sighting_ids: Sequence[int], root: int, number: int
) -> None:
    """Give sightings of one visitor to another one, with their events and stays."""
    ids = json.dumps(list(sighting_ids))
    some = "SELECT value FROM json_each(?)"
    uncount(connection, root, sighting_ids)
    (visitor_id,) = connection.execute(
        "SELECT visitor_id FROM visitors WHERE number = ?", (number,)
    ).fetchone()
    (n_stays,) = connection.execute(
        f"SELECT count(DISTINCT run || '-' || stay) FROM sightings AS each WHERE id IN ({some}) "
        "AND NOT EXISTS (SELECT 1 FROM sightings AS other WHERE other.run = each.run "
        f"AND other.stay = each.stay AND other.visitor_id IN ({OF_ROOT}))",
        (ids, number),
    ).fetchone()
    connection.execute(
        f"UPDATE sightings SET visitor_id = ? WHERE id IN ({some})", (visitor_id, ids)
    )
    connection.execute(
        "UPDATE events SET visitor_id = ? WHERE id IN "
        f"(SELECT event_id FROM sightings WHERE id IN ({some}))",
        (visitor_id, ids),
    )
    connection.execute(
        "UPDATE visitors SET visit_count = visit_count + ? WHERE number = ?", (n_stays, number)
    )
    for each in (root, number):
        connection.execute(
            "UPDATE visitors SET last_seen = coalesce("
            f"(SELECT max(ended) FROM sightings WHERE visitor_id IN ({OF_ROOT})), last_seen) "
            "WHERE number = ?",
            (each, each),
        )


def merge(
    connection: sqlite3.Connection, visitor: int, into: int, similarity: float | None = None
) -> None:
    """Make two visitors one, so that it can be undone; drop what was proposed of them.

    Args:
        connection: to the event log.
        visitor: which becomes the other.
        into: the one that stays.
        similarity: the cosine by which it was decided; None where a person did.
    """
    connection.execute(
        "UPDATE visitors SET merged_into = ?, merged_time = ?, merged_similarity = ?, merged_at = "
        "(SELECT coalesce(max(merged_at), 0) + 1 FROM visitors) WHERE number = ?",
        (into, time.time(), similarity, visitor),
    )
    connection.execute("UPDATE visitors SET root = ? WHERE root = ?", (into, visitor))
    connection.execute(
        "DELETE FROM visitor_proposals WHERE (one, other) IN (VALUES (?, ?))",
        (min(visitor, into), max(visitor, into)),
    )


def unmerge(connection: sqlite3.Connection, number: int) -> None:
    """Undo the merge of a visitor into another one; what was merged into it before stays so."""
    connection.execute(
        "UPDATE visitors SET merged_into = NULL, merged_at = NULL, merged_time = NULL, "
        "merged_similarity = NULL WHERE number = ?",
        (number,),
    )
    connection.execute(
        "WITH RECURSIVE tree (number) AS (VALUES (?1) UNION ALL SELECT visitors.number "
        "FROM visitors JOIN tree ON visitors.merged_into = tree.number) "
        "UPDATE visitors SET root = ?1 WHERE number IN tree",
        (number,),
    )


def apart(connection: sqlite3.Connection, root: int | None = None) -> set[tuple[int, int]]:
    """Return the pairs of visitors that are different people, by their roots.

    Args:
        connection: to the event log.
        root: only pairs with this visitor; None for all.
    """
    pairs = (
        "SELECT a.root, b.root FROM visitors_apart JOIN visitors AS a ON a.number = one "
        "JOIN visitors AS b ON b.number = other"
    )
    if root is None:
        rows = connection.execute(pairs)
    else:  # each has an index of its own
        rows = connection.execute(
            f"{pairs} WHERE a.root = ?1 UNION {pairs} WHERE b.root = ?1", (root,)
        )
    return {(int(one), int(other)) for one, other in rows}


def keep_apart_no_more(connection: sqlite3.Connection, one: int, other: int) -> None:
    """Forget that two visitors, by their roots, are different people."""
    own = "SELECT number FROM visitors WHERE root ="
    connection.execute(
        f"DELETE FROM visitors_apart WHERE (one IN ({own} ?1) AND other IN ({own} ?2)) "
        f"OR (one IN ({own} ?2) AND other IN ({own} ?1))",
        (one, other),
    )


def keep_apart(connection: sqlite3.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Store that pairs of visitors are different people: what is proposed of them is hidden."""
    for pair in pairs:
        one, other = sorted(pair)
        if one != other:
            connection.execute("INSERT OR IGNORE INTO visitors_apart VALUES (?, ?)", (one, other))


def propose(connection: sqlite3.Connection, number: int, maybe: Mapping[int, float]) -> None:
    """Store that a visitor may be the same as others, by their cosine."""
    for each, similarity in maybe.items():
        one, other = sorted((number, each))
        connection.execute(
            "INSERT INTO visitor_proposals (one, other, similarity) VALUES (?, ?, ?) "
            "ON CONFLICT (one, other) DO UPDATE SET similarity = max(similarity, ?3)",
            (one, other, similarity),
        )


def sighting(connection: sqlite3.Connection, sighting_id: int, model_id: str) -> Sighting | None:
    """Return a stored sighting without its crop; its times are seconds since 1970.

    None if it is gone, or its embeddings are of another model.
    """
    row = connection.execute(
        "SELECT camera, run, track_number, stay, began, ended, is_over, template, exemplars, "
        "n_good, good_s, max(n_shots, n_good), face_px, quality FROM sightings "
        "WHERE id = ? AND model_id = ?",
        (sighting_id, model_id),
    ).fetchone()
    if row is None:
        return None
    camera, run, number, stay, began, ended, is_over, template, exemplars, *counts, quality = row
    n_good, good_s, n_shots, face_px = counts
    measured, mean = stored_quality(quality), from_bytes(template)
    if measured is None:
        return None
    beside = connection.execute(
        "SELECT run || '-' || track_number FROM sightings WHERE run = ? AND camera = ? "
        "AND id != ? AND began < ? AND ended > ?",
        (run, camera, sighting_id, ended, began),
    ).fetchall()
    return Sighting(
        camera=camera,
        track_id=f"{run}-{number}",
        stay=f"{run}-{stay}",
        began=began,
        ended=ended,
        is_over=bool(is_over),
        template=mean,
        exemplars=from_bytes(exemplars).reshape(-1, len(mean)),
        n_good=n_good,
        good_s=good_s,
        n_shots=n_shots,
        face_px=face_px,
        crop=NO_CROP,
        quality=measured,
        beside=frozenset(track_id for (track_id,) in beside),
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
        "SELECT number, visitor_id, merged_time, merged_similarity FROM visitors "
        "WHERE root = ?1 AND number != ?1 ORDER BY merged_at",
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
        merged=tuple(
            Merged(other, other_id, None if at is None else iso(at), similarity)
            for other, other_id, at, similarity in merged
        ),
    )
