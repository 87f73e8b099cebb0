import numpy as np
import pytest

from stream.cameras.liveness import (
    AWAY_S,
    MAX_STEADY_S,
    STEADY_S,
    Liveness,
    Report,
    Stillness,
)

STEP_S = 0.25


def told(pattern: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """What is reported of a camera that gives frames, or none, for some seconds each in turn."""
    liveness, now, reports = Liveness(), 0.0, []
    for seconds, is_live in pattern:
        due = liveness.came(now) if is_live else liveness.went(now, "lost")
        for _ in range(round(seconds / STEP_S)):
            reports += [(now, report.is_up) for report in due]
            now += STEP_S
            due = liveness.check(now)
        reports += [(now, report.is_up) for report in due]
    return reports


def test_nothing_is_no_report() -> None:
    assert Liveness().check(100.0) == []
    assert Liveness().end("removed") == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ([(60, True)], [(0, True)]),
        ([(60, False)], [(AWAY_S, False)]),
        # A short gap is none, nor is a second one once the camera was steady.
        ([(20, True), (4, False), (20, True), (4, False), (20, True)], [(0, True)]),
        ([(20, True), (60, False)], [(0, True), (25, False)]),
        (
            [(20, True), (60, False), (60, True)],
            [(0, True), (25, False), (80 + 2 * STEADY_S, True)],
        ),
    ],
)
def test_gains_and_losses_are_reported(
    pattern: list[tuple[float, bool]], expected: list[tuple[float, bool]]
) -> None:
    assert told(pattern) == expected


def test_a_camera_that_comes_and_goes_is_reported_as_down_once() -> None:
    assert told([(0.25, True), (1, False)] * 500) == [(0, True), (0.25 + AWAY_S, False)]


def test_however_it_comes_and_goes_reports_are_few() -> None:
    for alive_s in (1, 6, 11, 21, 41, 100):
        hours = told([(alive_s, True), (alive_s, False)] * (7200 // (2 * alive_s)))
        late = [at for at, _ in hours if at > 3600]
        assert len(late) <= 2 * 3600 / MAX_STEADY_S + 2, alive_s


def test_the_reason_is_the_last_one() -> None:
    liveness = Liveness()
    liveness.came(0.0)
    liveness.went(10.0, "the camera closed the connection")
    liveness.went(11.0, "connection refused")
    assert liveness.check(10.0 + AWAY_S) == [Report(False, "connection refused")]


def test_who_is_switched_off_is_reported_at_once_and_again_when_switched_on() -> None:
    liveness = Liveness()
    assert liveness.came(0.0) == [Report(True)]
    assert liveness.end("switched off") == [Report(False, "switched off")]
    assert liveness.end("removed") == []
    assert liveness.came(1.0) == [Report(True)]


def frame(value: int, at: tuple[int, int] = (0, 0)) -> np.ndarray:
    image = np.full((40, 60, 3), 7, np.uint8)
    image[at] = value
    return image


def test_only_frames_without_a_difference_are_frozen() -> None:
    stillness = Stillness(30.0)
    assert not any(stillness.is_frozen(frame(1), float(at)) for at in range(30))
    assert stillness.is_frozen(frame(1), 30.0)
    assert stillness.is_frozen(frame(1), 90.0)
    # One gray level in one pixel, in a row that is compared first and in one that is not.
    for number, place in enumerate([(16, 3), (17, 59)]):
        assert not stillness.is_frozen(frame(2, place), 100.0 + number)
    assert not stillness.is_frozen(np.zeros((20, 20, 3), np.uint8), 200.0)


def test_never_frozen_where_that_is_wanted() -> None:
    stillness = Stillness(0.0)
    assert not any(stillness.is_frozen(frame(1), float(at)) for at in range(1000))
