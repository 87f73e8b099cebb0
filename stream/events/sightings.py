"""Sightings: one row per track, with the embeddings by which its face is found again.

Who a sighting shows is not stored in it, but in its event: the newest of the stay that names it.
"""

import json
import sqlite3
from dataclasses import asdict

from recognizer import Floats
from stream.events import replica
from stream.events.thumbnails import to_jpeg
from stream.frames import CORE_S, CORE_SHOTS, Sighting

CORE = f"n_good >= {CORE_SHOTS} AND good_s >= {CORE_S}"
"""Of a sighting that alone is enough evidence of a visitor; two of any kind are too."""

PROVISIONAL = f"""(NOT root.is_ignored AND (SELECT count(*) < 2 AND NOT coalesce(max({CORE}), 0)
    FROM sightings JOIN visitors AS own ON own.visitor_id = sightings.visitor_id
    WHERE own.root = root.number))"""
"""Of a visitor `root`: seen too briefly to be sure that it is a person of its own."""


def keep(
    connection: sqlite3.Connection,
    sighting: Sighting,
    offset_s: float,
    model_id: str,
    *,
    is_unknown_kept: bool = True,
) -> int | None:
    """Store a sighting, instead of an earlier report of its track.

    Args:
        connection: to the event log.
        sighting: a track so far.
        offset_s: seconds from its clock to seconds since 1970.
        model_id: of the embeddings.
        is_unknown_kept: whether one of an unknown face is stored, too.

    Returns:
        Its number; None where no event of the stay has a crop, because its person was erased, or
        where it is not stored.
    """
    run, _, number = sighting.track_id.rpartition("-")
    stay = int(sighting.stay.rpartition("-")[2])
    row = connection.execute(
        "SELECT id, identity_id IS NULL AND name IS NULL FROM events WHERE run = ? "
        "AND track_number = ? AND crop IS NOT NULL "
        "AND kind IN ('enter', 'unknown', 'renamed') ORDER BY id DESC LIMIT 1",
        (run, stay),
    ).fetchone()
    if row is None:
        return None
    if row[1] and not is_unknown_kept:
        connection.execute(
            "DELETE FROM sightings WHERE run = ? AND track_number = ?", (run, int(number))
        )
        return None
    values = {
        "run": run,
        "track_number": int(number),
        "stay": stay,
        "event_id": row[0],
        "camera": sighting.camera,
        "began": sighting.began + offset_s,
        "ended": sighting.ended + offset_s,
        "is_over": int(sighting.is_over),
        "model_id": model_id,
        "template": to_bytes(sighting.template),
        "exemplars": to_bytes(sighting.exemplars),
        "n_good": sighting.n_good,
        "n_shots": sighting.n_shots,
        "good_s": sighting.good_s,
        "face_px": sighting.face_px,
        "quality": json.dumps(asdict(sighting.quality)),
        "crop": to_jpeg(sighting.crop),
    }
    changed = ", ".join(f"{name} = excluded.{name}" for name in values)
    values["id"] = replica.next_number(connection, "sightings")
    (number_row,) = connection.execute(
        f"INSERT INTO sightings ({', '.join(values)}) VALUES ({', '.join('?' * len(values))}) "
        f"ON CONFLICT (run, track_number) DO UPDATE SET {changed} RETURNING id",
        list(values.values()),
    ).fetchall()
    return int(number_row[0])


def follow_event(connection: sqlite3.Connection, event_id: int) -> None:
    """Keep the sightings of a stay with its newest event from now on, which names it anew."""
    connection.execute(
        "UPDATE sightings SET event_id = ?1 WHERE (run, stay) = "
        "(SELECT run, track_number FROM events WHERE id = ?1)",
        (event_id,),
    )


def to_bytes(embeddings: Floats) -> bytes:
    """Return embeddings as stored: little-endian float16, half the size at 0.05 % error."""
    return embeddings.astype("<f2").tobytes()
