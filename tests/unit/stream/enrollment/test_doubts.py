"""Refused faces by person, and the hint derived from them."""

import pytest

from stream.enrollment.doubts import KEPT_S, MAX_FACES, MAX_PEOPLE, Doubts, hint
from tests.fakes import looks_like


def test_refused_faces_are_forgotten_after_a_while() -> None:
    now = [0.0]
    doubts = Doubts(clock=lambda: now[0])
    assert doubts.refuse("ada", [looks_like(1), looks_like(1, 1)], least=0.3) == 2
    now[0] = KEPT_S
    assert doubts.refuse("ada", [looks_like(1, 2)], least=0.3) == 1
    doubts.forget("ada")
    assert doubts.refuse("ada", [looks_like(1, 3)], least=0.3) == 1


def test_few_faces_of_few_people_are_kept() -> None:
    doubts = Doubts(clock=lambda: 0.0)
    many = [looks_like(1, variant) for variant in range(3 * MAX_FACES)]
    assert doubts.refuse("ada", many, least=-1.0) == MAX_FACES
    for number in range(MAX_PEOPLE):
        doubts.refuse(str(number), [looks_like(2)], least=0.3)
    assert doubts.refuse("ada", [looks_like(1)], least=0.3) == 1


@pytest.mark.parametrize(
    ("n_alike", "n_held", "doubted"),
    [(2, 1, ""), (3, 1, "the first photo"), (3, 3, ""), (4, 3, "the 3 photos")],
)
def test_more_photos_that_agree_than_there_are_cast_doubt(
    n_alike: int, n_held: int, doubted: str
) -> None:
    said = hint(n_alike, n_held, "Ada")
    assert doubted in said
    assert bool(said) == bool(doubted)
