"""Embeddings in, identities out."""

from gallery.errors import (
    ErasedIdentityError,
    GalleryBusyError,
    GalleryDamagedError,
    GalleryError,
    GalleryFormatError,
    ModelMismatchError,
    NameTakenError,
    UnknownIdentityError,
)
from gallery.gallery import Gallery
from gallery.identities import Identity, IdentitySummary, Match, NewPhoto, Photo, Target, clean_name
from gallery.thresholds import naming_threshold

__all__ = [
    "ErasedIdentityError",
    "Gallery",
    "GalleryBusyError",
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
    "Target",
    "UnknownIdentityError",
    "clean_name",
    "naming_threshold",
]
