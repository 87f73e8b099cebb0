"""The real networks on moving images: the pipeline's names are complete and never wrong."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from gallery import Gallery, Target
from recognizer import Recognizer, open_recognizer, read_image
from recognizer.detect.turning import Turn, mapped
from stream.demo.scene import ROLES, WIDTH, DemoScene, enrol_demo, screen_from_lobby, step_at
from stream.enrollment.crops import enroll_known
from stream.enrollment.enrollment import enroll_images, photo_item
from stream.frames import Event, EventKind, Frame, Track
from stream.recognition.pipeline import Pipeline
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration

FPS = 12.5
"""Half the demo's rate: enough to follow, and half the time of the test."""

WHO = {
    "obama2.jpg": "Barack Obama",
    "obama3.jpg": "Barack Obama",
    "biden.jpg": "Joe Biden",
    "grace_hopper.jpg": "Grace Hopper",
    "astronaut.png": "Eileen Collins",
}


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return open_recognizer(threads=2)


@pytest.fixture
def gallery(recognizer: Recognizer, tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(
        tmp_path, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as opened:
        yield opened


def new_pipeline(recognizer: Recognizer, gallery: Gallery) -> Pipeline:
    return Pipeline(
        recognizer,
        gallery,
        threshold=recognizer.threshold,
        margin=0.05,
        confirm_s=0.2,
        absence_s=2.0,
        camera_away_s=30.0,
        cooldown_s=10.0,
        clock=lambda: 0.0,  # else a busy machine scans and embeds less often
    )


def test_the_demo_gallery_is_filled_once(recognizer: Recognizer, gallery: Gallery) -> None:
    enrol_demo(gallery, recognizer, photos())
    assert [who.identity.name for who in gallery.people.summaries()] == [
        "Barack Obama",
        "Grace Hopper",
        "Joe Biden",
    ]
    gallery.people.remove(gallery.people.find("Joe Biden").identity_id)
    enrol_demo(gallery, recognizer, photos())
    assert len(gallery.people.summaries()) == 2, "who was removed stays removed"


def test_the_demo_names_everybody_rightly_and_the_stranger_once_told(
    recognizer: Recognizer, gallery: Gallery
) -> None:
    enrol_demo(gallery, recognizer, photos())
    pipeline = new_pipeline(recognizer, gallery)
    scene = DemoScene(photos())
    named: Counter[str] = Counter()
    unnamed: Counter[str] = Counter()
    events: list[Event] = []
    is_told = False
    for i in range(int(46 * FPS)):
        t = i / FPS
        (result,) = pipeline.process([Frame("demo", i, t, scene.render(t))], t)
        events += result.events
        for who, track in recognised(result.tracks, t):
            if track.match is None:
                unnamed[who] += 1
                if who == "Eileen Collins" and t > 6 and not is_told:
                    faces = pipeline.faces_of("demo", track.track_id)
                    identity = enroll_known(
                        gallery, Target(who), faces, similarity=recognizer.limits
                    )
                    pipeline.assign("demo", track.track_id, identity)
                    is_told = True
            else:
                assert track.match.identity.name == who, f"wrong name at {t:.2f} s"
                assert who != "Eileen Collins" or is_told, "nobody said who she is"
                named[who] += 1
    for who in ("Barack Obama", "Joe Biden", "Grace Hopper"):
        assert named[who] > 0.95 * (named[who] + unnamed[who]), (named, unnamed)
    # From six seconds on she is named, whatever she does: walk behind others, leave, return.
    assert named["Eileen Collins"] > 0.7 * (named["Eileen Collins"] + unnamed["Eileen Collins"])
    entries = [event for event in events if event.kind is EventKind.ENTER]
    assert {event.match.identity.name for event in entries if event.match} >= {
        "Barack Obama",
        "Joe Biden",
        "Grace Hopper",
    }
    assert np.median([event.at - event.first_seen for event in entries]) < 0.5
    assert [event.kind for event in events].count(EventKind.UNKNOWN) == 1
    (renamed,) = [event for event in events if event.kind is EventKind.RENAMED]
    assert renamed.match is not None
    assert (renamed.match.identity.name, renamed.previous) == ("Eileen Collins", None)


def test_names_stay_when_the_lights_go_out(recognizer: Recognizer, gallery: Gallery) -> None:
    enrol_demo(gallery, recognizer, photos())
    pipeline = new_pipeline(recognizer, gallery)
    scene = DemoScene(photos())
    rng = np.random.default_rng(0)
    named: Counter[bool] = Counter()
    ids = set()
    for i in range(int(5 * FPS)):
        t = i / FPS
        image = scene.render(t)
        if t > 1:  # 12 % of the light, and the noise of a sensor at high gain
            image = dark(image, rng)
        (result,) = pipeline.process([Frame("demo", i, t, image)], t)
        for who, track in recognised(result.tracks, t):
            ids.add(track.track_id)
            if track.match is not None:
                assert track.match.identity.name == who, f"wrong name at {t:.2f} s"
            if t > 1 and who == "Barack Obama":
                named[track.match is not None] += 1
    assert named[True] > 0.95 * named.total() > 40
    assert len(ids) == 2, "a track ended in the dark"


def dark(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * 4
    return np.rint(image * np.float32(0.12) + noise).clip(0, 255).astype(np.uint8)


def recognised(tracks: tuple[Track, ...], t: float) -> list[tuple[str, Track]]:
    """Pair the tracks with who really stands there; leave out where two faces overlap."""
    to_screen = screen_from_lobby(t)
    there = []
    for role in ROLES:
        if (step := step_at(role.steps, t)) is not None:
            x, y = to_screen @ (step.x, step.y, 1.0)
            if 0 < x < WIDTH:
                there.append((WHO[role.portrait.file], x, y, step.face_px * to_screen[0, 0]))
    pairs = []
    for track in tracks:
        x, y = (track.box[:2] + track.box[2:]) / 2
        near = [who for who, wx, wy, size in there if np.hypot(x - wx, y - wy) < 0.8 * size]
        if len(near) == 1:
            pairs.append((near[0], track))
    return pairs


def test_in_a_film_with_cuts_only_the_enrolled_are_named(
    recognizer: Recognizer, gallery: Gallery
) -> None:
    folder = shared_data("video/enrol")
    singer, pianist = "Lin-Manuel Miranda", "Alex Lacamoire"
    items = [
        photo_item(folder / "lin-manuel-miranda.png", singer),
        photo_item(folder / "alex-lacamoire.png", pianist),
    ]
    assert not enroll_images(recognizer, gallery, items).refused
    pipeline = new_pipeline(recognizer, gallery)
    # By eye: both on the stage, the pianist from near by, the singer, then the audience.
    scenes = ((0.0, {singer, pianist}), (0.65, {pianist}), (2.72, {singer}), (7.02, set()))
    n_singer = 0
    with av.open(str(shared_data("video/short_hamilton_clip.mp4"))) as film:
        fps = float(film.streams.video[0].average_rate or 30)
        for i, decoded in enumerate(film.decode(video=0)):
            t = i / fps
            may_be = [who for since, who in scenes if t >= since][-1]
            frame = Frame("film", i, t, np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8))
            (result,) = pipeline.process([frame], t)
            names = {track.match.identity.name for track in result.tracks if track.match}
            assert names <= may_be, f"wrong name at {t:.2f} s"
            n_singer += 3.1 < t < 7.0 and singer in names
    assert n_singer > 0.9 * 3.9 * fps


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_person_on_the_side_or_head_is_followed_as_one_track(
    recognizer: Recognizer, gallery: Gallery, turns: int
) -> None:
    photo = read_image(photos() / "obama2.jpg")
    (upright,) = recognizer.detect([photo])
    turn = Turn(90 * turns, *photo.shape[:2], scale=560 / max(photo.shape))
    turned = turn.image_of(photo)
    center = mapped(upright.landmarks[0].mean(axis=0), turn.matrix)
    frame = np.full((720, 1280, 3), 120, np.uint8)
    frame[60 : 60 + turn.height, 40 : 40 + turn.width] = turned
    pipeline, seen = new_pipeline(recognizer, gallery), []
    for number in range(75):
        step = number // 4
        image = np.roll(frame, (0, step), axis=(0, 1))
        (result,) = pipeline.process([Frame("door", number, number / FPS, image)], number / FPS)
        x, y = center + np.array([40 + step, 60])
        seen.append(
            {
                track.track_id
                for track in result.tracks
                if track.box[0] < x < track.box[2] and track.box[1] < y < track.box[3]
            }
        )
    last = seen[-25:]
    assert all(len(ids) == 1 for ids in last)
    assert len(set.union(*last)) == 1
