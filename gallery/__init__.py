"""Embeddings in, identities out."""

from gallery.errors import (
    GalleryDamagedError,
    GalleryError,
    GalleryFormatError,
    ModelMismatchError,
    NameTakenError,
    UnknownIdentityError,
)
from gallery.gallery import Gallery
from gallery.identities import Identity, IdentitySummary, Match, NewPhoto, Photo, clean_name
from gallery.thresholds import naming_threshold

__all__ = [
    "Gallery",
    "GalleryDamagedError",
    "GalleryError",
    "GalleryFormatError",
    "Identity",
    "IdentitySummary",
    "Match",
    "ModelMismatchError",
    "NameTakenError",
    "NewPhoto",
    "Photo",
    "UnknownIdentityError",
    "clean_name",
    "naming_threshold",
]
