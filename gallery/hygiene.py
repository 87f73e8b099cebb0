"""Photos and people of a gallery that harm recognition, found by comparing all photos.

Photos unlike their person's others, people who may be one, photos that add nothing, poor photos.
Nothing is changed here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gallery.gallery import Gallery
from gallery.groups import main_group
from gallery.identities import Identity, Photo
from gallery.templates import all_templates, names_of

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

MAX_COMPARED = 400_000_000  # similarities of photos, a few seconds: all of up to 20,000 photos
CHUNK = 8_000_000  # similarities in memory at a time, 32 MB
MIN_QUALITY = 0.2
"""Of a photo's `quality`; one in 50 of LFW's photos is poorer."""


class Kind(StrEnum):
    """What is wrong."""

    UNLIKE = "unlike"
    ALIKE = "alike"
    REDUNDANT = "redundant"
    POOR = "poor"


@dataclass(frozen=True, slots=True)
class HygieneLimits:
    """Levels of the findings.

    Attributes:
        own: minimum similarity of a photo to some other of its person, cosine.
        alike: similarity of the closest photos from which two people may be one, cosine.
        redundant: similarity from which a photo adds nothing to another, cosine.
        quality: minimum quality of a photo, in [0, 1].
    """

    own: float
    alike: float
    redundant: float
    quality: float = MIN_QUALITY


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: what it is.
        people: whose photo it is, and whom it is like; of `alike` the two, the one with more
            photos second.
        photos: the photo; of `redundant` the one to erase and the one it repeats, of `alike` the
            closest of each person.
        similarity: of `unlike` to the person's other photos, else of the two photos, cosine; None
            for `poor`.
        like: of `unlike`, the similarity to the second person; None if there is none.
    """

    kind: Kind
    people: tuple[Identity, ...]
    photos: tuple[Photo, ...]
    similarity: float | None
    like: float | None = None

    @property
    def finding_id(self) -> str:
        """Id that stays the same while the photo or the people exist."""
        if self.kind is Kind.ALIKE:
            return "-".join([self.kind, *sorted(person.identity_id for person in self.people)])
        return f"{self.kind}-{self.photos[0].photo_id}"


@dataclass(frozen=True, slots=True)
class Hygiene:
    """What was found, worst first within each kind.

    Attributes:
        findings: by kind.
        limits: of them.
        n_people: people with photos.
        n_photos: all photos.
        is_sampled: whether people were compared by only some of the photos of a large gallery.
    """

    findings: tuple[Finding, ...]
    limits: HygieneLimits
    n_people: int
    n_photos: int
    is_sampled: bool


def inspect(gallery: Gallery, limits: HygieneLimits) -> Hygiene:
    """Return what harms recognition in a gallery.

    Args:
        gallery: any; read once, its photos are held in memory meanwhile.
        limits: of the gallery's model.

    Raises:
        GalleryError: if the file cannot be read.
    """
    batches = list(all_templates(gallery.store))
    if not batches:
        return Hygiene((), limits, 0, 0, is_sampled=False)
    photo_ids, persons, embeddings = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    order = np.argsort(persons, kind="stable")
    table = _Table(gallery, photo_ids[order], persons[order], embeddings[order])
    closest = table.closest()
    found = [
        *table.own_findings(limits, closest),
        *table.alike(limits.alike, closest),
    ]
    kinds = list(Kind)
    found.sort(key=lambda each: (kinds.index(each.kind), _rank(each)))
    return Hygiene(
        tuple(found),
        limits,
        len(table.people),
        len(photo_ids),
        is_sampled=len(closest.asked) < len(photo_ids),
    )


def _rank(finding: Finding) -> tuple[float, int]:
    worst = finding.photos[0].quality if finding.similarity is None else finding.similarity
    if finding.kind in (Kind.ALIKE, Kind.REDUNDANT):
        worst = -worst
    return worst, finding.photos[0].photo_id


@dataclass(frozen=True, slots=True, eq=False)
class _Closest:
    """The most similar photo of another person, for each photo that was asked about.

    Attributes:
        asked: positions of the photos.
        other: position of the most similar photo of another person, by position; -1 for none.
        similarity: to it, by position.
    """

    asked: Ids
    other: Ids
    similarity: Floats


class _Table:
    """All photos, those of one person adjacent."""

    def __init__(self, gallery: Gallery, photo_ids: Ids, persons: Ids, embeddings: Floats) -> None:
        self._gallery = gallery
        self._photo_ids = photo_ids
        self._persons = persons
        self._embeddings = embeddings
        self.people, self._starts = np.unique(persons, return_index=True)
        self._ends = np.append(self._starts[1:], len(persons))
        self._names = names_of(gallery.store, [int(person) for person in self.people])
        self._photos: dict[int, dict[int, Photo]] = {}

    def closest(self) -> _Closest:
        n = len(self._persons)
        other, best = np.full(n, -1, np.int64), np.full(n, -1.0, np.float32)
        n_asked = min(n, max(MAX_COMPARED // n, 1))
        asked = np.sort(np.random.default_rng(0).permutation(n)[:n_asked])
        step = max(CHUNK // n, 1)
        for start in range(0, n_asked, step):
            some = asked[start : start + step]
            similarities = self._embeddings[some] @ self._embeddings.T
            similarities[self._persons[some][:, None] == self._persons] = -2.0
            nearest = similarities.argmax(axis=1)
            value = similarities[np.arange(len(some)), nearest]
            best[some] = value
            other[some] = np.where(value > -2.0, nearest, -1)
        return _Closest(asked, other, best)

    def own_findings(self, limits: HygieneLimits, closest: _Closest) -> Iterator[Finding]:
        """Yield what the photos of each person show among themselves."""
        for start, end in zip(self._starts.tolist(), self._ends.tolist(), strict=True):
            rows = self._embeddings[start:end]
            similarities = rows @ rows.T
            np.fill_diagonal(similarities, -1.0)
            photos = [self._photo(position) for position in range(start, end)]
            if any(photo is None for photo in photos):  # erased meanwhile
                continue
            some = [photo for photo in photos if photo is not None]
            qualities = np.array([photo.quality for photo in some])
            main = main_group(similarities >= limits.own, qualities)
            whose = self._names[int(self._persons[start])]
            for i in np.flatnonzero(~main).tolist():
                yield self._unlike(
                    whose, some[i], float(similarities[i, main].max()), start + i, limits, closest
                )
            listed = set(np.flatnonzero(~main).tolist())
            kept: list[int] = []
            for i in np.argsort(-qualities, kind="stable").tolist():
                if i in listed:
                    continue
                to_kept = similarities[i, kept]
                if to_kept.max(initial=-1.0) >= limits.redundant:
                    nearest = kept[int(to_kept.argmax())]
                    value = float(similarities[i, nearest])
                    yield Finding(Kind.REDUNDANT, (whose,), (some[i], some[nearest]), value)
                    continue
                kept.append(i)
                if some[i].quality < limits.quality:
                    yield Finding(Kind.POOR, (whose,), (some[i],), None)

    def alike(self, level: float, closest: _Closest) -> Iterator[Finding]:
        """Yield the pairs of people with photos of at least this similarity."""
        pairs: dict[tuple[int, int], tuple[float, int, int]] = {}
        for i in closest.asked.tolist():
            j, value = int(closest.other[i]), float(closest.similarity[i])
            if j < 0 or value < level:
                continue
            a, b = sorted((i, j))
            key = int(self._persons[a]), int(self._persons[b])
            pairs[key] = max(pairs.get(key, (-1.0, 0, 0)), (value, a, b))
        for value, a, b in pairs.values():
            first, second = sorted((a, b), key=self._n_photos)
            photos = self._photo(first), self._photo(second)
            if photos[0] is None or photos[1] is None:
                continue
            people = tuple(self._names[int(self._persons[i])] for i in (first, second))
            yield Finding(Kind.ALIKE, people, (photos[0], photos[1]), value)

    def _unlike(
        self,
        whose: Identity,
        photo: Photo,
        value: float,
        position: int,
        limits: HygieneLimits,
        closest: _Closest,
    ) -> Finding:
        other, like = int(closest.other[position]), float(closest.similarity[position])
        if other < 0 or like < limits.alike or int(self._persons[other]) not in self._names:
            return Finding(Kind.UNLIKE, (whose,), (photo,), value)
        looks_like = self._names[int(self._persons[other])]
        return Finding(Kind.UNLIKE, (whose, looks_like), (photo,), value, like)

    def _n_photos(self, position: int) -> int:
        index = int(np.searchsorted(self.people, self._persons[position]))
        return int(self._ends[index] - self._starts[index])

    def _photo(self, position: int) -> Photo | None:
        """Return a photo; None if it was erased meanwhile."""
        person = int(self._persons[position])
        identity = self._names.get(person)
        if identity is None:
            return None
        if person not in self._photos:
            photos = self._gallery.photos.of(identity.identity_id)
            self._photos[person] = {photo.photo_id: photo for photo in photos}
        return self._photos[person].get(int(self._photo_ids[position]))
