from pathlib import Path

import numpy as np
import pytest

from recognizer import ImageError
from stream.demo.outlines import OUTLINES
from stream.demo.room import CANVAS_HEIGHT, CANVAS_SCALE, CANVAS_WIDTH, COUNTER_TOP, draw_lobby
from stream.demo.scene import (
    ENROLLED,
    HEIGHT,
    PERIOD_S,
    ROLES,
    WIDTH,
    DemoScene,
    Step,
    step_at,
    view_at,
)
from tests.shared_data import photos

TIMES = [i / 25 for i in range(int(PERIOD_S * 25))]


@pytest.fixture(scope="module")
def scene() -> DemoScene:
    return DemoScene(photos())


def test_a_picture_is_720p_and_new_each_time(scene: DemoScene) -> None:
    image = scene.render(1.0)
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = 0
    assert scene.render(1.0).any()


def test_the_same_time_gives_the_same_picture(scene: DemoScene) -> None:
    assert (scene.render(12.3) == scene.render(12.3)).all()
    assert (scene.render(12.0) == scene.render(12.0 + PERIOD_S)).all()
    assert (scene.render(12.3) != scene.render(12.4)).any()


def test_the_loop_closes_without_a_jump(scene: DemoScene) -> None:
    last, first, second = (
        scene.render(t).astype(int) for t in (PERIOD_S - 0.04, PERIOD_S, PERIOD_S + 0.04)
    )
    assert np.abs(last - first).mean() < 3 * np.abs(first - second).mean() + 1


def test_missing_photos_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        DemoScene(tmp_path)


def test_the_camera_never_looks_beyond_the_room() -> None:
    for t in TIMES:
        left, top, width, height = view_at(t)
        assert left >= 0
        assert top >= 0
        assert left + width <= CANVAS_SCALE * CANVAS_WIDTH
        assert top + height <= CANVAS_SCALE * CANVAS_HEIGHT


def test_somebody_known_and_the_stranger_are_there_within_two_seconds_and_mostly() -> None:
    enrolled_or_other = {"obama2.jpg", "obama3.jpg", "biden.jpg", "grace_hopper.jpg"}
    n_both = 0
    for t in TIMES:
        there = {
            role.portrait.file
            for role in ROLES
            if (step := step_at(role.steps, t)) is not None and _is_in_view(step, t)
        }
        is_both = bool(there & enrolled_or_other) and "astronaut.png" in there
        n_both += is_both
        if t < 2:
            assert is_both
    assert n_both / len(TIMES) > 0.7


def test_two_photos_of_one_person_are_never_shown_together() -> None:
    for t in TIMES:
        there = [
            role.portrait.file
            for role in ROLES
            if (step := step_at(role.steps, t)) is not None and _is_in_view(step, t)
        ]
        assert len([file for file in there if file.startswith("obama")]) <= 1


def test_faces_are_large_enough_and_nobody_floats_above_the_counter() -> None:
    for role in ROLES:
        portrait = role.portrait
        below = (portrait.bottom - portrait.face[1]) / portrait.face[2]
        for step in role.steps:
            assert 60 <= step.face_px <= 200
            assert step.y + below * step.face_px >= COUNTER_TOP + 10


def test_the_enrolled_photo_of_obama_is_not_shown() -> None:
    assert "obama.jpg" not in {role.portrait.file for role in ROLES}
    assert "obama.jpg" in {file for _, file in ENROLLED}
    assert "astronaut.png" not in {file for _, file in ENROLLED}


def test_walks_are_whole() -> None:
    steps = (Step(1, 0, 0, 100), Step(2, 100, 0, 100), Step(3, 100, 0, 100))
    assert step_at(steps, 0.9) is None
    assert step_at(steps, 3.0) is None
    assert step_at((), 1.0) is None
    middle = step_at(steps, 1.5)
    assert middle is not None
    assert abs(middle.x - 50) < 6


def test_every_outline_is_of_a_photo_that_is_shown() -> None:
    assert set(OUTLINES) == {role.portrait.file for role in ROLES}


def test_the_room_is_drawn_the_same_each_time() -> None:
    first = draw_lobby()
    assert first.shape == (CANVAS_SCALE * CANVAS_HEIGHT, CANVAS_SCALE * CANVAS_WIDTH, 3)
    assert (first == draw_lobby()).all()


def _is_in_view(step: Step, t: float) -> bool:
    """Return whether a face is completely in the frame."""
    left, _, width, _ = view_at(t)
    middle = CANVAS_SCALE * (step.x + 200)
    half = CANVAS_SCALE * step.face_px / 2
    return left + half < middle < left + width - half
