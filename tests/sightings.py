"""Sightings written to an event log by themselves, without a camera."""

import sqlite3

import numpy as np

from stream.events.schema import FILE_NAME


def sight(
    connection: sqlite3.Connection,
    sighting_id: int,
    template: np.ndarray,
    *,
    event_id: int | None = None,
    camera: str = "door",
    at: float = 1_700_000_000.0,
    name: str | None = None,
    model_id: str = "fake",
    visitor_id: str | None = None,
) -> None:
    """Store a sighting, with an event of its own if that is not given."""
    if event_id is None:
        event_id = sighting_id
        connection.execute(
            "INSERT INTO events (id, kind, camera, at, run, track_number, name, identity_id, "
            "detail) VALUES (?, ?, ?, ?, 'run', ?, ?, ?, '')",
            (
                event_id,
                "unknown" if name is None else "enter",
                camera,
                at,
                event_id,
                name,
                None if name is None else f"id-{name}",
            ),
        )
    connection.execute(
        "INSERT INTO sightings (id, run, track_number, stay, event_id, camera, began, ended, "
        "is_over, model_id, template, exemplars, n_good, good_s, face_px, quality, crop, "
        "visitor_id) VALUES (?, 'run', ?, ?, ?, ?, ?, ?, 1, ?, ?, x'', 9, 3.0, 80.0, '{}', x'', ?)",
        (
            sighting_id,
            sighting_id,
            event_id,
            event_id,
            camera,
            at,
            at + 3,
            model_id,
            template.astype("<f2").tobytes(),
            visitor_id,
        ),
    )


def writer(directory) -> sqlite3.Connection:
    """Return a connection to the log in a directory, as another process has one."""
    connection = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection
