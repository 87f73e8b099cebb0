"""Which face of each photo is the person's, for faces with known people."""

import numpy as np
import pytest

from stream.enrollment.consensus import PhotoFaces, choose_faces
from tests.fakes import LIMITS, looks_like

NOBODY = np.empty((0, len(looks_like(0))), np.float32)
ADA, EVE, BOB = 1, 2, 3


def photo(*people: int, variant: int = 0, subject: int | None = None) -> PhotoFaces:
    """Return a photo of people; that of one face is of that one."""
    faces = [looks_like(person, variant) for person in people]
    if len(faces) == 1:
        subject = 0
    return PhotoFaces(np.stack(faces) if faces else NOBODY, subject)


def chosen(photos: list[PhotoFaces], held: np.ndarray = NOBODY) -> list[int | None]:
    return [choice.face for choice in choose_faces(photos, held, LIMITS)]


@pytest.mark.parametrize(
    ("photos", "faces"),
    [
        ([], []),
        ([photo()], [None]),
        ([photo(ADA)], [0]),
        ([photo(ADA, EVE)], [None]),
        ([photo(ADA), photo(EVE, ADA, variant=1)], [0, 1]),
        # nothing but groups: who repeats
        ([photo(ADA, EVE), photo(BOB, ADA, variant=1), photo(4, ADA, variant=2)], [0, 1, 1]),
        ([photo(ADA, EVE), photo(BOB, 4)], [None, None]),
        # somebody who is in every photo too
        ([photo(ADA, EVE), photo(EVE, ADA, variant=1), photo(ADA, EVE, variant=2)], [None] * 3),
        (
            [
                *(photo(ADA), photo(ADA, variant=3)),
                *(photo(ADA, EVE, variant=1), photo(EVE, ADA, variant=2)),
            ],
            [0, 0, 0, 1],
        ),
        # the wrong person alone among the photos stays for the checks of each photo
        ([photo(ADA), photo(ADA, variant=1), photo(EVE), photo(EVE, ADA, variant=2)], [0, 0, 0, 1]),
        # a group without the person
        ([photo(ADA), photo(ADA, variant=1), photo(EVE, BOB)], [0, 0, None]),
        # framed on a bystander
        ([photo(ADA), photo(ADA, variant=1), photo(EVE, ADA, variant=2, subject=0)], [0, 0, 1]),
        (
            [photo(ADA, variant=v) for v in range(3)] + [photo(EVE, BOB, subject=0)],
            [0, 0, 0, None],
        ),
    ],
)
def test_the_face_of_the_other_photos_is_chosen(
    photos: list[PhotoFaces], faces: list[int | None]
) -> None:
    assert chosen(photos) == faces
    assert chosen(photos[::-1]) == faces[::-1]  # in any order


def test_enrolled_photos_decide_whom_a_group_shows() -> None:
    held = np.stack([looks_like(EVE, 7)])
    assert chosen([photo(ADA, EVE), photo(ADA, EVE, variant=1)], held) == [1, 1]
    assert chosen([photo(ADA, BOB)], held) == [None]


def test_two_faces_that_are_both_like_the_person_are_left_out() -> None:
    alike = PhotoFaces(np.stack([looks_like(ADA, 3), looks_like(ADA, 4)]), None)
    assert chosen([photo(ADA), photo(ADA, variant=1), alike]) == [0, 0, None]


def test_a_refusal_says_why() -> None:
    def why(photos: list[PhotoFaces]) -> str:
        return choose_faces(photos, NOBODY, LIMITS)[-1].detail

    assert why([photo(ADA, EVE), photo(BOB, 4)]) == "no face is in two of the photos"
    assert why([photo(ADA, EVE), photo(ADA, EVE, variant=1)]).startswith("two people are in")
    assert why([photo(ADA), photo(ADA, variant=1), photo(EVE, BOB)]).startswith("none of them is")
