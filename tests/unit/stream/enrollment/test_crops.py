"""Adding aligned faces to a gallery: checks and writes are atomic under concurrent changes."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import Gallery, NewPhoto, Target
from recognizer import Quality
from stream.enrollment.crops import EnrolReport, FaceCrop, enroll_crops, with_mirrors
from stream.enrollment.doubts import Doubts
from stream.enrollment.photo_checks import Reason
from tests.fakes import LIMITS, FakeRecognizer, FakeWorld, looks_like

GOOD = Quality(
    size_px=120, sharpness=300, yaw=0, pitch=0, roll=0, score=0.99, brightness=0.5, overall=0.8
)
SIZE = len(looks_like(0))


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path, model_id="m", embedding_size=SIZE) as opened:
        yield opened


@pytest.fixture
def elsewhere(people: Gallery) -> Iterator[Gallery]:
    """Another process's view of the same file."""
    directory = Path(people.store.place)
    with Gallery.open(directory, model_id="m", embedding_size=SIZE) as opened:
        yield opened


def face(
    person: int, variant: int = 0, quality: Quality = GOOD, shade: int | None = None
) -> FaceCrop:
    crop = np.full((112, 112, 3), (person * 16 + variant) if shade is None else shade, np.uint8)
    return FaceCrop(f"{person}-{variant}", crop, looks_like(person, variant), quality)


def reasons(report: EnrolReport) -> list[Reason]:
    return [each.reason for each in report.rejected]


def add(
    gallery: Gallery, who: str | Target, faces: Sequence[FaceCrop], *, force: bool = False
) -> EnrolReport:
    target = who if isinstance(who, Target) else Target(who)
    return enroll_crops(gallery, target, faces, similarity=LIMITS, force=force)


def test_no_faces_make_nobody(people: Gallery) -> None:
    report = add(people, "Ada", [])
    assert (report.enrolled, report.identity, people.people.summaries()) == ((), None, [])


def test_good_faces_are_added_to_a_new_person(people: Gallery) -> None:
    report = add(people, "Ada", [face(1), face(1, 1)])
    assert [each.label for each in report.enrolled] == ["1-0", "1-1"]
    assert report.identity == people.people.find("Ada")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"size_px": 30.0}, Reason.TOO_SMALL),
        ({"sharpness": 1.0}, Reason.BLURRED),
        ({"yaw": 80.0}, Reason.TURNED_AWAY),
        ({"brightness": 0.01}, Reason.TOO_DARK),
    ],
)
def test_a_poor_face_is_refused_and_the_others_added(
    people: Gallery, fault: dict[str, float], reason: Reason
) -> None:
    report = add(people, "Ada", [face(1), face(1, 1, replace(GOOD, **fault))])
    assert (len(report.enrolled), reasons(report)) == (1, [reason])


def test_a_face_unlike_its_mirror_image_is_refused_unless_forced(people: Gallery) -> None:
    limits = replace(LIMITS, min_mirror=0.94)
    faces = [face(1), replace(face(1, 1), mirror_similarity=0.93)]
    report = enroll_crops(people, Target("Ada"), faces, similarity=limits)
    assert (len(report.enrolled), reasons(report)) == (1, [Reason.UNCLEAR])
    report = enroll_crops(people, Target("Ada"), faces[1:], similarity=limits, force=True)
    assert not report.rejected


def test_mirror_images_are_compared_with_their_faces() -> None:
    recognizer: Any = FakeRecognizer(FakeWorld())
    assert with_mirrors(recognizer, []) == []
    measured = with_mirrors(recognizer, [face(1), face(2)])
    assert [each.mirror_similarity for each in measured] == pytest.approx([1, 1])


def test_another_person_is_refused_unless_forced(people: Gallery) -> None:
    add(people, "Ada", [face(1)])
    twin = [face(1, 1)]
    report = add(people, "Augusta", twin)
    assert reasons(report) == [Reason.OTHER_PERSON]
    assert "looks like Ada" in report.rejected[0].detail
    assert add(people, "Augusta", twin, force=True).identity == people.people.find("Augusta")


def test_a_face_unlike_the_person_is_refused(people: Gallery) -> None:
    add(people, "Ada", [face(1), face(1, 1)])
    assert reasons(add(people, "Ada", [face(2)])) == [Reason.UNLIKE_OTHERS]


def test_the_same_face_twice_is_added_once(people: Gallery) -> None:
    report = add(people, "Ada", [face(1), face(1)])
    assert (len(report.enrolled), reasons(report)) == (1, [Reason.DUPLICATE])
    assert reasons(add(people, "Ada", [face(1)])) == [Reason.DUPLICATE]
    assert reasons(add(people, "Eve", [face(1)])) == [Reason.OTHER_PERSON]


def test_an_erased_person_does_not_come_back(people: Gallery, elsewhere: Gallery) -> None:
    ada = add(people, "Ada", [face(1)]).identity
    assert ada is not None
    elsewhere.people.remove(ada.identity_id)
    report = add(people, Target("Ada", ada.identity_id), [face(1, 1), face(1, 2)])
    assert reasons(report) == [Reason.ERASED] * 2
    assert report.rejected[0].detail == "Ada was erased while photos were being added"
    assert people.people.summaries() == []


def test_a_renamed_person_keeps_getting_photos(people: Gallery, elsewhere: Gallery) -> None:
    ada = add(people, "Ada", [face(1)]).identity
    assert ada is not None
    elsewhere.people.rename(ada.identity_id, "Ada Lovelace")
    elsewhere.photos.add("Ada", [NewPhoto(looks_like(5), None, "5" * 64, 0.5)])
    report = add(people, Target("Ada", ada.identity_id), [face(1, 1)])
    assert [each.identity.name for each in report.enrolled] == ["Ada Lovelace"]


def test_photos_follow_a_merge_to_who_is_left(people: Gallery, elsewhere: Gallery) -> None:
    first = add(people, "Ada", [face(1)]).identity
    second = add(people, "Augusta", [face(1, 1)], force=True).identity
    assert first is not None
    assert second is not None
    elsewhere.people.merge(first.identity_id, second.identity_id)
    report = add(people, Target("Ada", first.identity_id), [face(1, 2)])
    assert report.identity == second
    assert len(people.photos.of(second.identity_id)) == 3


def test_checks_know_what_another_process_has_just_written(
    people: Gallery, elsewhere: Gallery
) -> None:
    """Of two who enroll one new name at once, the second is compared with the first's photos."""
    add(elsewhere, "Ada", [face(1), face(1, 1)])
    assert reasons(add(people, "Ada", [face(2)])) == [Reason.UNLIKE_OTHERS]
    assert reasons(add(people, "Eve", [face(1, 2)])) == [Reason.OTHER_PERSON]
    assert len(add(people, "Ada", [face(1, 2)]).enrolled) == 1
    assert len(people.people.summaries()) == 1


@pytest.mark.parametrize("_attempt", range(5))
def test_of_two_who_enroll_one_new_name_at_once_one_wins(
    people: Gallery, elsewhere: Gallery, _attempt: int
) -> None:
    """Each looked the name up before the other wrote; the faces are of different people."""
    start = threading.Barrier(2)

    def enroll(gallery: Gallery, person: int) -> EnrolReport:
        start.wait()
        return add(gallery, "Ada", [face(person), face(person, 1)])

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(enroll, (people, elsewhere), (1, 2)))
    (loser,) = (report for report in reports if not report.enrolled)
    assert reasons(loser) == [Reason.UNLIKE_OTHERS] * 2
    (ada,) = people.people.summaries()
    assert ada.n_photos == 2


def test_a_name_that_is_none_is_refused(people: Gallery) -> None:
    with pytest.raises(ValueError, match="empty"):
        add(people, " ", [face(1)])


def test_the_first_photo_is_in_doubt_where_three_later_ones_disagree(people: Gallery) -> None:
    doubts = Doubts()
    add(people, "Ada", [face(2)])
    details = []
    for variant in range(4):
        (rejected,) = enroll_crops(
            people, Target("Ada"), [face(1, variant)], similarity=LIMITS, doubts=doubts
        ).rejected
        assert rejected.reason is Reason.UNLIKE_OTHERS
        details.append("the first photo of Ada may be of somebody else" in rejected.detail)
    assert details == [False, False, True, True]


def test_the_same_wrong_photo_again_or_different_strangers_raise_no_doubt(people: Gallery) -> None:
    doubts = Doubts()
    add(people, "Ada", [face(2)])
    for wrong in (face(1), face(1), face(1), face(4), face(5), face(6)):
        report = enroll_crops(people, Target("Ada"), [wrong], similarity=LIMITS, doubts=doubts)
        assert "may be of somebody else" not in report.rejected[0].detail
