"""Visitors in the real service: the demo's four people, none of them enrolled."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Gallery
from recognizer import open_recognizer, read_image
from stream.bench.visitor_service import VisitorService
from stream.bench.visitor_tracks import plan_tracks, source_face, synthetic_tracks
from stream.enrollment.naming import Matching
from stream.events.log import EventLog
from stream.frames import EventKind, Frame
from stream.recognition.pipeline import Pipeline
from stream.visitors.assignment import JoinLimits
from stream.visitors.book import VisitorBook
from tests.e2e.harness import PATIENCE_S, RunningService, service
from tests.shared_data import photos, shared_data

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PEOPLE = 4  # in the demo's scene


def ask(running: RunningService, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{running.url}{path}", data, {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return json.load(answer)


def test_the_two_most_similar_people_are_two_visitors(tmp_path: Path) -> None:
    """Of the people with several photos, so that none is the other under a wrong name."""
    folder = shared_data("lfw_fold1_aligned112")
    own = {
        person.name: sorted(person.iterdir())
        for person in sorted(folder.iterdir())
        if len(list(person.iterdir())) >= 4
    }
    recognizer = open_recognizer()
    means = []
    for paths in own.values():
        mean = recognizer.embed(np.stack([read_image(path) for path in paths])).mean(axis=0)
        means.append(mean / np.linalg.norm(mean))
    among = np.stack(means) @ np.stack(means).T
    np.fill_diagonal(among, -1)
    two = [list(own)[index] for index in np.unravel_index(among.argmax(), among.shape)]
    faces = [source_face(recognizer, path, name) for name in two for path in own[name]]
    tracks = synthetic_tracks(recognizer, plan_tracks(faces, seed=1))
    with VisitorService(recognizer, tmp_path) as service:
        for track in tracks:
            service.show(track)
        labels = service.labels()
    held: dict[int, set[str]] = {}
    for label, track in zip(labels.tolist(), tracks, strict=True):
        if label >= 0:
            held.setdefault(label, set()).add(track.person)
    assert sum(map(len, held.values())) == len(held) >= 2


def test_a_brief_poor_look_at_a_visitor_is_an_event_after_it_has_left(tmp_path: Path) -> None:
    recognizer = open_recognizer()
    photo = read_image(photos() / "obama.jpg")
    (faces,) = recognizer.detect([photo])
    side = float(faces.boxes[0, 2] - faces.boxes[0, 0])

    def scene(face_px: float, blur_px: float, step: int) -> NDArray[np.uint8]:
        scale = face_px / side
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), blur_px)[:460, :600]
        picture = np.full((480, 640, 3), 90, np.uint8)
        picture[10 : 10 + small.shape[0], 20 + step : 20 + step + small.shape[1]] = small
        return picture

    empty = np.full((480, 640, 3), 90, np.uint8)
    film = [scene(110, 0.1, step % 8) for step in range(60)] + [empty] * 280
    film += [scene(42, 1.0, step) for step in range(8)] + [empty] * 30
    with (
        Gallery.open(
            tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ) as gallery,
        EventLog.open(tmp_path) as log,
    ):
        log.follow(gallery)
        matching = Matching(recognizer, gallery, threshold=None, margin=None)
        log.keeper = VisitorBook(
            log,
            gallery,
            limits=JoinLimits.of(matching.limits),
            threshold=lambda: matching.threshold,
            is_enabled=True,
            keep_days=30.0,
        )
        pipeline = Pipeline(
            recognizer,
            gallery,
            threshold=matching.threshold,
            margin=matching.margin,
            confirm_s=0.2,
            absence_s=2.0,
            camera_away_s=20.0,
            cooldown_s=10.0,
            clock=lambda: 0.0,  # whatever a busy machine takes
        )
        offset_s = time.time()
        found = []
        for number, picture in enumerate(film):
            at = number / 20
            (result,) = pipeline.process([Frame("door", number, at, picture)], at)
            events = [log.append(event, offset_s + event.at) for event in result.events]
            for sighting in result.sightings:
                events += log.keep_sighting(sighting, offset_s)
            found += [(event.kind, event.visitor, event.visit_count) for event in events]
    assert found == [
        (EventKind.UNKNOWN, "Visitor 1", 1),
        (EventKind.EXIT, "Visitor 1", None),
        (EventKind.UNKNOWN, "Visitor 1", 2),
        (EventKind.EXIT, "Visitor 1", None),
    ]


def test_the_demos_people_are_four_visitors_and_one_gets_a_name(tmp_path: Path) -> None:
    config = tmp_path / "facewire.toml"
    config.write_text('[visitors]\nenabled = true\n[[cameras]]\nname = "demo"\nurl = "demo:"\n')
    arguments = [f"--config={config}", f"--gallery={tmp_path / 'people'}"]
    with service("visitors", tmp_path / "data", *arguments) as running:
        deadline = time.monotonic() + PATIENCE_S
        found: dict[str, Any] = {"visitors": [], "total": 0}
        while found["total"] < PEOPLE or any(v["is_provisional"] for v in found["visitors"]):
            assert time.monotonic() < deadline, found
            found = ask(running, "api/visitors")
            assert found["total"] <= PEOPLE
            time.sleep(0.2)
        # They come again and again, and there is no fifth.
        before = {each["visitor_id"]: each["visit_count"] for each in found["visitors"]}
        deadline = time.monotonic() + PATIENCE_S
        while any(v["visit_count"] < before[v["visitor_id"]] + 2 for v in found["visitors"]):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)
            found = ask(running, "api/visitors")
            assert {each["visitor_id"] for each in found["visitors"]} == set(before)
        chosen = found["visitors"][0]
        assert ask(running, f"api/visitors/{chosen['visitor_id']}")["seen"]
        ask(running, f"api/visitors/{chosen['visitor_id']}/name", {"name": "Ada"})
        events = ask(running, "api/events?kind=unknown&name=Ada")["events"]
        assert events
        assert {event["name"] for event in events} == {"Ada"}
        assert ask(running, "api/visitors")["total"] == PEOPLE - 1
