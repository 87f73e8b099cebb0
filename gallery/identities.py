"""Identities, matches and photos: the values returned by this package."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Identity:
    """One person.

    Attributes:
        identity_id: stable, never reused, never shown instead of a name.
        name: shown to people; unique within a gallery.
    """

    identity_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Target:
    """The person to whom photos are to be added.

    An id stays valid through renames and merges, and is rejected once erased. Without an id it is
    the person of the name, who is created if there is none.

    Attributes:
        name: as given; not compared if there is an id.
        identity_id: of a person who exists, or existed when the work started; None for by name.
    """

    name: str
    identity_id: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """An identity that a probe was recognized as.

    Attributes:
        identity: of the person.
        similarity: cosine in [-1, 1] to the best template; larger is more similar.
    """

    identity: Identity
    similarity: float


@dataclass(frozen=True, slots=True)
class IdentitySummary:
    """Summary of one person for a list.

    Attributes:
        identity: of the person.
        n_photos: number of enrolled photos; may be 0.
        created_at: Unix time in seconds.
        notes: free text, may be empty.
    """

    identity: Identity
    n_photos: int
    created_at: float
    notes: str


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page of the people, by name.

    Attributes:
        people: in alphabetical order.
        cursor: of the next page; None at the end.
        total: number of all people, or of those that match the search.
    """

    people: tuple[IdentitySummary, ...]
    cursor: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Photo:
    """One enrolled photo, without its embedding and crop.

    Attributes:
        photo_id: never reused within a gallery.
        identity_id: of its person.
        source_sha256: of the source file or crop, 64 hexadecimal digits.
        quality: in [0, 1].
        model_id: of the model that embedded it.
        created_at: Unix time in seconds.
        has_crop: whether the aligned crop is stored.
    """

    photo_id: int
    identity_id: str
    source_sha256: str
    quality: float
    model_id: str
    created_at: float
    has_crop: bool


@dataclass(frozen=True, slots=True, eq=False)
class NewPhoto:
    """One photo to be enrolled.

    Attributes:
        embedding: (D,) float32, finite and not zero; scaled to unit length when stored.
        crop: (112, 112, 3) uint8 RGB, aligned; None to not store it.
        source_sha256: of the source file or crop, 64 hexadecimal digits.
        quality: in [0, 1].
    """

    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8] | None
    source_sha256: str
    quality: float

    def __post_init__(self) -> None:
        digits = self.source_sha256
        if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
            raise ValueError(f"source_sha256 must be 64 hexadecimal digits, got {digits!r}")
        if not 0.0 <= self.quality <= 1.0:
            raise ValueError(f"quality must be in [0, 1], got {self.quality}")
        if self.crop is not None and (
            self.crop.shape != (112, 112, 3) or self.crop.dtype != np.uint8
        ):
            raise ValueError(
                f"crop must be (112, 112, 3) uint8, got {self.crop.shape} {self.crop.dtype}"
            )
