import itertools

import pytest

from stream.video.link_quality import FIRST_HOLD_S, MIN_SHARE, SMALL_SHARE, Link, shared_part


def run(link: Link, losses: list[float], now: float = 0.0) -> list[bool]:
    """Report once a second; whether it was small after each."""
    small = []
    for number, lost in enumerate(losses):
        link.report(lost, now + number)
        small.append(link.is_small)
    return small


@pytest.mark.parametrize("lost", [0.0, 0.01, 0.05, 0.1])
def test_retransmission_copes_with_few_losses(lost: float) -> None:
    link = Link()
    assert not any(run(link, [lost] * 100))
    assert link.share == 1.0


@pytest.mark.parametrize(("lost", "seconds"), [(0.12, 12), (0.3, 5), (0.6, 2), (1.0, 2)])
def test_heavy_losses_lead_to_the_small_rendition(lost: float, seconds: int) -> None:
    small = run(Link(), [lost] * 20)
    assert small.index(True) + 1 == seconds
    assert all(small[seconds - 1 :])


def test_a_short_burst_makes_the_video_smaller_and_passes() -> None:
    link = Link()
    assert not any(run(link, [0.5, 0.5]))
    assert link.share == pytest.approx(0.75**2)
    assert not any(run(link, [0.0] * 8, 2.0))
    assert link.share == 1.0


def test_it_returns_after_a_clean_while_and_not_before() -> None:
    link = Link()
    run(link, [0.6, 0.6])
    small = run(link, [0.0] * 20, 2.0)
    assert FIRST_HOLD_S - 1 <= small.index(False) <= FIRST_HOLD_S + 2
    assert not any(small[small.index(False) :])


def test_the_share_has_a_floor_from_which_it_returns() -> None:
    link = Link()
    run(link, [1.0] * 50)
    assert link.share == MIN_SHARE
    assert run(link, [0.0] * 60, 50.0)[-1] is False


def test_every_failed_try_doubles_the_wait() -> None:
    """A link that carries only the small rendition: a third of the full one is lost."""
    link, changes = Link(), list[float]()
    for second in range(600):
        before = link.is_small
        link.report(0.0 if link.is_small else 0.35, float(second))
        if before and not link.is_small:
            changes.append(second)
    waits = [b - a for a, b in itertools.pairwise(changes)]
    assert 3 <= len(changes) <= 7
    assert all(b > a for a, b in itertools.pairwise(waits[:3]))
    # A long clean stay is forgiven.
    run(link, [0.0] * 200, 1000.0)
    run(link, [0.6, 0.6], 1300.0)
    assert link.is_small
    assert run(link, [0.0] * 15, 1302.0)[-1] is False


@pytest.mark.parametrize(
    ("shares", "small", "part"),
    [
        ([], False, 1.0),
        ([], True, 1.0),
        ([0.6], False, 0.6),
        ([0.6, 1.0], False, 1.0),
        ([0.6, 0.7, 1.0], False, 0.7),
        ([0.4], True, 1.0),
        ([SMALL_SHARE / 2], True, 0.5),
    ],
)
def test_one_bad_link_does_not_take_the_others_bits(
    shares: list[float], small: bool, part: float
) -> None:
    assert shared_part(shares, small=small) == pytest.approx(part)
