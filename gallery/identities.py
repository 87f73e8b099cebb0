"""Who can be named: the values that leave this package."""

from dataclasses import dataclass


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
class Match:
    """An identity that a probe was recognised as.

    Attributes:
        identity: who.
        similarity: cosine in [-1, 1] to the best template; larger is more alike.
    """

    identity: Identity
    similarity: float
