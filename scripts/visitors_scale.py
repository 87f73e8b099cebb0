#!/usr/bin/env python3
"""Measure what many visitors cost.

scripts/visitors_scale.py [VISITORS] [TRACKS]: an event log is filled with so many visitors of three
sightings each, with random embeddings of 128 numbers. Then tracks are assigned as the service does
it, and visitors are corrected as a person does it. Figures are milliseconds of this process's
processor time: those of one core, whatever else the machine does.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from gallery import Gallery
from recognizer import Floats, Quality
from stream.events.log import EventLog
from stream.events.sightings import to_bytes
from stream.events.thumbnails import to_jpeg
from stream.frames import Event, EventKind, Sighting
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook

D = 128
SIGHTINGS = 3
MARGIN = 0.05  # as the other limits near SFace's: the embeddings are made up
LIMITS = JoinLimits(pair=0.38, per_decade=0.055, margin=MARGIN)
QUALITY = Quality(100, 30, 0, 0, 0, 1, 0.5, 0.8)
CROP = np.full((112, 112, 3), 90, np.uint8)


def unit(rows: NDArray[np.floating]) -> Floats:
    """Return (..., D) float32 rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def fill(log: EventLog, faces: Floats, rng: np.random.Generator) -> None:
    """Store visitors with their events and sightings, as of the last hours."""
    connection, now = log.connection, time.time()
    jpeg, quality = to_jpeg(CROP), json.dumps(asdict(QUALITY))
    connection.execute("BEGIN")
    number = 0
    for visitor, face in enumerate(faces, start=1):
        at, visitor_id = now - len(faces) + visitor, f"{visitor:016x}"
        connection.execute(
            "INSERT INTO visitors (number, visitor_id, first_seen, last_seen, visit_count, "
            "is_ignored, root) VALUES (?, ?, ?, ?, ?, 0, ?)",
            (visitor, visitor_id, at, at, SIGHTINGS, visitor),
        )
        for template in unit(face + 0.05 * rng.normal(size=(SIGHTINGS, D))):
            number += 1
            (event_id,) = connection.execute(
                "INSERT INTO events (kind, camera, at, run, track_number, detail, visitor_id, "
                "visit_count, crop) VALUES ('unknown', 'door', ?, 'old', ?, '', ?, 1, ?) "
                "RETURNING id",
                (at, number, visitor_id, jpeg),
            ).fetchone()
            connection.execute(
                "INSERT INTO sightings (run, track_number, stay, event_id, camera, began, ended, "
                "is_over, model_id, template, exemplars, n_good, good_s, n_shots, face_px, "
                "quality, crop, visitor_id) VALUES ('old', ?, ?, ?, 'door', ?, ?, 1, 'm', ?, ?, "
                "8, 3, 8, 100, ?, ?, ?)",
                (
                    number,
                    number,
                    event_id,
                    at,
                    at + 1,
                    to_bytes(template),
                    to_bytes(template[np.newaxis]),
                    quality,
                    jpeg,
                    visitor_id,
                ),
            )
    connection.execute("COMMIT")


def took(work: Callable[[], object]) -> float:
    """Return the processor time of a function, milliseconds."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


class TimedBook(VisitorBook):
    """Visitors that measure each assignment, milliseconds."""

    took_ms: list[float]

    def keep(self, sighting_id: int, sighting: Sighting) -> None:
        """Assign a sighting; see `VisitorBook.keep`."""
        self.took_ms.append(took(lambda: super(TimedBook, self).keep(sighting_id, sighting)))


def show(log: EventLog, template: Floats, track: int) -> None:
    """Write the event of an unknown face."""
    sighting = Sighting(
        camera="hall",
        track_id=f"run-{track}",
        stay=f"run-{track}",
        began=float(track),
        ended=track + 3.0,
        is_over=True,
        template=template,
        exemplars=template[np.newaxis],
        n_good=8,
        good_s=3.0,
        n_shots=8,
        face_px=100.0,
        crop=CROP,
        quality=QUALITY,
    )
    event = Event(
        EventKind.UNKNOWN, "hall", float(track), sighting.stay, None, float(track), CROP,
        sighting=sighting,
    )  # fmt: skip
    if not log.is_silent(event):
        log.append(event, time.time())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("visitors", nargs="?", type=int, default=20_000)
    parser.add_argument("tracks", nargs="?", type=int, default=300)
    wanted = parser.parse_args()
    rng = np.random.default_rng(0)
    faces = unit(rng.normal(size=(wanted.visitors, D)))
    with (
        TemporaryDirectory(prefix="facewire-bench-") as directory,
        Gallery.open(Path(directory), model_id="m", embedding_size=D) as gallery,
        EventLog.open(Path(directory), keep_bytes=1 << 40) as log,
    ):
        log.follow(gallery)
        fill(log, faces, rng)
        book = TimedBook(
            log, gallery, limits=LIMITS, threshold=lambda: 0.5, is_enabled=True, keep_days=30.0
        )
        book.took_ms = []
        log.keeper = book
        figures = {"reading all": took(lambda: book.proposals())}
        for track in range(1, wanted.tracks + 1):
            known = faces[int(rng.integers(len(faces)))]
            one = known + 0.05 * rng.normal(size=D) if track % 4 else rng.normal(size=D)
            show(log, unit(one), track)
        for share in (50, 95):
            figures[f"assigning a track, p{share}"] = float(np.percentile(book.took_ms, share))
        ids = [each.visitor_id for each in book.page(limit=60)[0]]
        figures["60 visitors of the list"] = took(lambda: book.page(limit=60))

        def with_next(change: Callable[[], object]) -> float:
            """Return what a change takes together with the next track."""

            def both() -> None:
                change()
                show(log, faces[0], 10**6 + len(figures))

            return took(both)

        figures["a merge"] = with_next(lambda: book.merge(ids[1], ids[0]))
        figures["its undo"] = with_next(lambda: book.unmerge(ids[0]))
        figures["ignoring one"] = with_next(lambda: book.ignore(ids[2], is_ignored=True))
        figures["erasing one"] = with_next(lambda: book.erase(ids[3]))
        figures["the hourly retention"] = with_next(lambda: log.retain(time.time()))
    print(f"{wanted.visitors} visitors with {SIGHTINGS} sightings, {wanted.tracks} tracks; ms")
    for what, milliseconds in figures.items():
        print(f"{milliseconds:10.2f}  {what}")


if __name__ == "__main__":
    main()
