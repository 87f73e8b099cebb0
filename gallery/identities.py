"""Who can be named: the values that leave this package."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Identity:
    """One person.

    Attributes:
        identity_id: stable, never reused, never shown instead of a name.
        name: what people see; unique within a gallery.
    """

    identity_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Target:
    """Whose photos are to be added.

    An id is followed through renames and merges, and refused once it is erased. Without an id the
    person of the name is meant, who is made if there is none.

    Attributes:
        name: as given; not compared where there is an id.
        identity_id: of a person who exists, or existed when the work began; None for by name.
    """

    name: str
    identity_id: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """An identity that a probe was recognized as.

    Attributes:
        identity: who.
        similarity: cosine in [-1, 1] to the best template; larger is more similar.
    """

    identity: Identity
    similarity: float


@dataclass(frozen=True, slots=True)
class IdentitySummary:
    """One person with what a list shows about them.

    Attributes:
        identity: who.
        n_photos: how many photos are enrolled; may be 0.
        created_at: Unix time in seconds.
        notes: free text, may be empty.
    """

    identity: Identity
    n_photos: int
    created_at: float
    notes: str


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """Some of the people, by name.

    Attributes:
        people: in alphabetical order.
        cursor: asks for those after them; None at the end.
        total: how many there are in all, or of those that were searched for.
    """

    people: tuple[IdentitySummary, ...]
    cursor: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Photo:
    """One enrolled photo, without its embedding and crop.

    Attributes:
        photo_id: never reused within a gallery.
        identity_id: whose photo it is.
        source_sha256: of the file or crop it came from, 64 hexadecimal digits.
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
        crop: (112, 112, 3) uint8 RGB, aligned; None where it shall not be kept.
        source_sha256: of the file or crop it came from, 64 hexadecimal digits.
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
