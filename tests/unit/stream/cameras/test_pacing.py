import numpy as np
import pytest

from stream.cameras.pacing import (
    ALIVE_S,
    RECONNECT_LONGEST_S,
    Backoff,
    Decimator,
    Pacer,
    reconnect_delay,
)

PERIOD_S = 0.04


def due_times(pts: list[float | None], spent_s: float = 0.0) -> list[float]:
    """Times at which a reader releases each frame if it waits as paced and spends time on each."""
    pacer = Pacer(PERIOD_S)
    now, times = 100.0, []
    for each in pts:
        now += pacer.wait_s(each, now)
        times.append(now)
        now += spent_s
    return times


@pytest.mark.parametrize(
    ("pts", "steps"),
    [
        ([0.0], []),
        ([0.0, 0.04, 0.08], [0.04, 0.04]),
        ([5.0, 5.1, 5.3], [0.1, 0.2]),
        ([None, None, None], [0.04, 0.04]),
        ([None, 7.0, 7.1], [0.04, 0.1]),
        ([0.0, 0.04, None, 0.12], [0.04, 0.04, 0.04]),
        # It starts again, jumps on, or stands still: the usual step.
        ([9.0, 9.1, 0.0, 0.1], [0.1, 0.04, 0.1]),
        ([0.0, 3600.0], [0.04]),
        ([1.0, 1.0], [0.04]),
    ],
)
def test_pictures_keep_their_distances(pts: list[float | None], steps: list[float]) -> None:
    np.testing.assert_allclose(np.diff(due_times(pts)), steps, atol=1e-9)


def test_a_slow_reader_does_not_add_to_the_distances() -> None:
    times = due_times([i * 0.04 for i in range(50)], spent_s=0.03)
    np.testing.assert_allclose(times[-1] - times[0], 49 * 0.04, atol=1e-9)


def test_after_a_long_stall_it_goes_on_from_now() -> None:
    pacer = Pacer(PERIOD_S)
    assert pacer.wait_s(0.0, 10.0) == 0
    assert pacer.wait_s(0.04, 15.0) == 0
    assert pacer.wait_s(0.08, 15.0) == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("rate_hz", "fps", "expected"),
    [(None, 25, 250), (10, 25, 100), (5, 25, 50), (25, 25, 250), (30, 25, 250), (12, 30, 120)],
)
def test_the_rate_is_kept(rate_hz: float | None, fps: int, expected: int) -> None:
    rng = np.random.default_rng(0)
    jitter = rng.uniform(-0.004, 0.004, 10 * fps)
    decimator = Decimator(rate_hz)
    kept = [decimator.keep(i / fps + jitter[i]) for i in range(10 * fps)]
    assert sum(kept) == pytest.approx(expected, abs=2)
    assert kept[0]


def test_after_a_pause_nothing_is_caught_up() -> None:
    decimator = Decimator(1.0)
    kept = [decimator.keep(at) for at in (0.0, 10.0, 10.1, 10.2, 11.0)]
    assert kept == [True, True, False, False, True]


@pytest.mark.parametrize("rate_hz", [0, -1])
def test_a_rate_must_be_above_zero(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Decimator(rate_hz)


def test_reconnect_delays_grow_to_a_bound() -> None:
    delays = [reconnect_delay(attempt) for attempt in range(6)]
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]
    assert reconnect_delay(10**9) == RECONNECT_LONGEST_S
    assert reconnect_delay(-1) == 0.5


def test_only_a_session_that_lived_for_a_while_makes_a_camera_be_tried_soon_again() -> None:
    backoff = Backoff()
    assert [backoff.delay_s(None) for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert [backoff.delay_s(0.1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay_s(None) == 0.5
    assert backoff.delay_s(ALIVE_S) == 0.5
    assert backoff.delay_s(0.1) == 0.5
