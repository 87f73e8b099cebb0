"""Findings about photos and people that harm recognition."""

from collections.abc import Iterator

import numpy as np
import pytest

from gallery import Gallery, NewPhoto
from gallery.hygiene import Finding, HygieneLimits, Kind, inspect
from tests.unit.gallery.conftest import Places

LIMITS = HygieneLimits(own=0.3, alike=0.5, redundant=0.95)
SIZE = 8


@pytest.fixture
def gallery(places: Places) -> Iterator[Gallery]:
    with Gallery.open(places("p"), model_id="m", embedding_size=SIZE) as opened:
        yield opened


def add(gallery: Gallery, name: str, *embeddings: dict[int, float], quality: float = 0.8) -> None:
    photos = []
    for embedding in embeddings:
        vector = np.zeros(SIZE, np.float32)
        for axis, value in embedding.items():
            vector[axis] = value
        number = sum(map(len, map(gallery.photos.of, _ids(gallery)))) + len(photos)
        photos.append(NewPhoto(vector, None, f"{number:064x}", quality))
    gallery.photos.add(name, photos)


def _ids(gallery: Gallery) -> list[str]:
    return [summary.identity.identity_id for summary in gallery.people.summaries()]


def found(gallery: Gallery) -> list[Finding]:
    return list(inspect(gallery, LIMITS).findings)


def test_an_empty_gallery_is_clean(gallery: Gallery) -> None:
    report = inspect(gallery, LIMITS)
    assert (report.findings, report.n_people, report.n_photos) == ((), 0, 0)


def test_different_photos_of_different_people_are_clean(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1, 1: 0.5}, {0: 1, 2: 0.5})
    add(gallery, "Eve", {3: 1})
    assert found(gallery) == []


def test_a_photo_unlike_the_others_is_found_with_whom_it_looks_like(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1, 1: 0.5}, {3: 1, 4: 0.4}, {0: 1, 2: 0.5})
    add(gallery, "Eve", {3: 1})
    (unlike, alike) = found(gallery)
    assert (unlike.kind, [p.name for p in unlike.people]) == (Kind.UNLIKE, ["Ada", "Eve"])
    assert unlike.photos[0].photo_id == 2
    assert unlike.similarity == pytest.approx(0)
    assert unlike.like is not None
    assert unlike.finding_id == "unlike-2"
    assert alike.kind is Kind.ALIKE  # by the same photo


def test_people_who_may_be_one_are_found_once(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1, 1: 0.5}, {0: 1, 2: 0.5})
    add(gallery, "Augusta", {0: 1, 3: 0.5})
    (alike,) = found(gallery)
    assert [person.name for person in alike.people] == ["Augusta", "Ada"]  # fewer photos first
    ids = sorted(person.identity_id for person in alike.people)
    assert alike.finding_id == f"alike-{ids[0]}-{ids[1]}"


def test_a_repeated_photo_is_found_and_the_better_kept(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1}, quality=0.5)
    add(gallery, "Ada", {0: 1, 1: 0.1}, quality=0.9)
    (redundant,) = found(gallery)
    assert redundant.kind is Kind.REDUNDANT
    assert [photo.photo_id for photo in redundant.photos] == [1, 2]


def test_a_poor_photo_is_found(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1}, quality=0.1)
    (poor,) = found(gallery)
    assert (poor.kind, poor.similarity, poor.finding_id) == (Kind.POOR, None, "poor-1")


def test_findings_are_in_order(gallery: Gallery) -> None:
    add(gallery, "Ada", {0: 1}, {0: 1, 1: 0.05}, {2: 1})
    add(gallery, "Eve", {4: 1}, quality=0.1)
    kinds = [each.kind for each in found(gallery)]
    assert kinds == [Kind.UNLIKE, Kind.REDUNDANT, Kind.POOR]
