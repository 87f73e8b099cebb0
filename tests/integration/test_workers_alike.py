"""The same films through the service's own process and through two workers, frame by frame.

What is done with a frame depends on the time that others took. So here frames have the time of
their film, come one at a time, and no stage takes any time: whatever differs is the processes'.
"""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gallery import Gallery
from recognizer import Recognizer, default_cache, fetch_photos, open_recognizer
from stream.cameras.conversion import Converter
from stream.demo.scene import enrol_demo
from stream.enrollment.naming import Matching
from stream.frames import Event, Frame, FrameResult, Sighting
from stream.metrics.figures import Figures
from stream.recognition.pipeline import Pipeline
from stream.recognition.worker import Inference
from stream.supervisor import Supervisor
from stream.workers.process import Setup, Worker
from stream.workers.wire import Message, Outbox, without_pixels
from tests.integration.test_workers import film

pytestmark = pytest.mark.integration

FPS = 12
CAMERAS = ("a", "b", "c")
SHARES = (("a", "c"), ("b",))
FILM_BEGAN = 1e9  # later than any time of a monotonic clock: nobody leaves by it


@dataclass
class Seen:
    """What was recognized, in order."""

    results: list[FrameResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)


class Kept(Outbox):
    """Keeps what would be sent to the service."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen = Seen()

    def put(self, message: Message) -> None:
        if message.kind == "event":
            self.seen.events.append(message.arguments[0])
        elif message.kind == "sighting":
            self.seen.sightings.append(message.arguments[0])

    def put_faces(self, result: FrameResult) -> None:
        self.seen.results.append(without_pixels(result))


def no_time() -> float:
    return 0.0


def frames(path: Path, camera: str) -> Iterator[Frame]:
    converter = Converter(None, "auto")
    with av.open(str(path)) as source:
        source.streams.video[0].codec_context.thread_count = 1
        for number, picture in enumerate(source.decode(video=0)):
            pixels = converter.convert(picture, None, number / FPS).pixels
            yield Frame(camera, number, FILM_BEGAN + number / FPS, pixels)


def feed(inference: Inference, films: Path, cameras: Sequence[str]) -> None:
    """Recognize all frames of some cameras in turn, and end."""
    inference.start()
    for camera in cameras:
        inference.batcher.add(camera)
    for each in zip(*(frames(films / f"{name}.mp4", name) for name in cameras), strict=True):
        for frame in each:
            n = inference.ticks
            inference.batcher.put(frame)
            while inference.ticks == n:
                assert not inference.failures
                time.sleep(0.001)
    inference.stop()
    inference.join(60.0)


def in_a_worker(connection: Connection, setup: Setup, films: Path, cameras: Sequence[str]) -> None:
    """The target of a process."""
    recognizer = opened(setup)
    with Gallery.open_to_read(
        setup.gallery, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        kept = Kept()
        feed(Worker(kept, setup, recognizer, gallery).inference, films, cameras)
    connection.send(kept.seen)


def opened(setup: Setup) -> Recognizer:
    recognizer = open_recognizer(**setup.recognizer)
    recognizer.set_min_face_px(setup.min_face_px)
    return recognizer


def here(setup: Setup, gallery: Gallery, films: Path) -> Seen:
    """All cameras in this process."""
    seen = Seen()
    inference = Inference(
        Pipeline(opened(setup), gallery, **setup.pipeline),
        show=lambda result: seen.results.append(without_pixels(result)),
        log=seen.events.append,
        keep=seen.sightings.append,
        figures=Figures(),
        supervisor=Supervisor(clock=time.monotonic),
        clock=time.monotonic,
    )
    feed(inference, films, CAMERAS)
    return seen


def setup_of(gallery: Gallery, directory: Path, recognizer: Recognizer, first: int) -> Setup:
    matching = Matching(recognizer, gallery, threshold=None, margin=None)
    pipeline: dict[str, Any] = {
        "threshold": matching.threshold,
        "margin": matching.margin,
        "limits": matching.limits,
        "confirm_s": 0.2,
        "absence_s": 1.0,
        "camera_away_s": 20.0,
        "cooldown_s": 1.0,
        "clock": no_time,
        "run": "run",
        "first_track": first,
    }
    return Setup(directory, None, {"device": "cpu", "threads": 1}, 24, pipeline, 0, 20)


def story(seen: Seen, camera: str) -> dict[str, Any]:
    """Return what happened at a camera, with its tracks numbered as they came."""
    numbers: dict[str | None, int] = {}

    def number(track_id: str | None) -> int:
        return numbers.setdefault(track_id, len(numbers))

    def name(match: Any) -> str:
        return "" if match is None else match.identity.name

    results = [each for each in seen.results if each.frame.camera == camera]
    return {
        "tracks": [
            [(number(each.track_id), each.state, name(each.match)) for each in result.tracks]
            for result in results
        ],
        "boxes": [[each.box for each in result.tracks] for result in results],
        "events": [
            (each.kind, number(each.track_id), name(each.match), each.first_seen)
            for each in seen.events
            if each.camera == camera
        ],
        "sightings": sorted(  # those that end together are in no order
            (number(each.track_id), each.began, each.is_over)
            for each in seen.sightings
            if each.camera == camera
        ),
    }


def test_two_workers_see_what_the_service_s_own_process_sees_camera_by_camera(
    tmp_path: Path,
) -> None:
    films, directory = tmp_path, tmp_path / "gallery"
    for number, camera in enumerate(CAMERAS):
        film(films / f"{camera}.mp4", fps=FPS, is_still=False, start_s=10.0 + 5 * number)
    recognizer = open_recognizer(device="cpu", threads=1)
    with Gallery.open(
        directory, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        enrol_demo(gallery, recognizer, fetch_photos(default_cache(), None))
        alone = here(setup_of(gallery, directory, recognizer, 1), gallery, films)
        context = multiprocessing.get_context("spawn")
        seen = {}
        for first, cameras in zip((1 << 32, 2 << 32), SHARES, strict=True):
            ours, theirs = context.Pipe()
            setup = setup_of(gallery, directory, recognizer, first)
            process = context.Process(target=in_a_worker, args=(theirs, setup, films, cameras))
            process.start()
            theirs.close()
            shared = ours.recv()
            process.join()
            seen |= dict.fromkeys(cameras, shared)
    for camera in CAMERAS:
        expected, found = story(alone, camera), story(seen[camera], camera)
        boxes, others = expected.pop("boxes"), found.pop("boxes")
        assert found == expected
        assert len(found["tracks"]) == 4 * FPS
        assert any(name for tracks in found["tracks"] for *_, name in tracks)
        assert found["events"]
        for each, other in zip(boxes, others, strict=True):
            np.testing.assert_allclose(each, other, atol=0.01)
