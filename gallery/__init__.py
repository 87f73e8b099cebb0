"""Embeddings in, identities out."""

from gallery.errors import (
    GalleryError,
    GalleryFormatError,
    ModelMismatchError,
    UnknownIdentityError,
)
from gallery.identities import Identity, Match

__all__ = [
    "GalleryError",
    "GalleryFormatError",
    "Identity",
    "Match",
    "ModelMismatchError",
    "UnknownIdentityError",
]
